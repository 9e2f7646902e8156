//! `msght start`: all repositories of all organisations, as fresh as asked.

use std::time::Duration;

use crate::support::fake_github::{FakeGitHub, Fault, FaultKind, Options, TokenSpec, Visible, World};
use crate::support::family::{Family, family};
use crate::support::program::{Place, Ran};
use crate::support::stores::difference;

const ORGS: &str = "contoso\nfabrikam\nnorthwind\n";
const TOKENS: &str = "token-one,token-two,token-three";

/// An owner's token that is shown one organisation's private repositories, and one that is shown the others'; one of nobody's.
fn tokens(world: &World) -> Vec<TokenSpec> {
    let of = |orgs: &[&str]| {
        let names = (0..world.repos.len()).map(|repo| world.full_name(repo));
        Visible::Only(names.filter(|name| orgs.iter().any(|org| name.starts_with(org))).collect())
    };
    let token = |name: &str, login: &str, private| {
        TokenSpec { login: login.to_owned(), ..TokenSpec::new(name) }.private(private)
    };
    vec![
        token("token-one", "dev0", of(&["contoso"])),
        token("token-two", "dev1", of(&["fabrikam", "northwind"])),
        token("token-three", "outsider", Visible::None),
    ]
}

async fn estate(seed: u64, sizes: [usize; 3]) -> (FakeGitHub, Place) {
    let world = World::estate(seed, &[("contoso", sizes[0]), ("fabrikam", sizes[1]), ("northwind", sizes[2])]);
    let options = Options { tokens: tokens(&world), ..Options::unlimited() };
    let fake = FakeGitHub::start(world, options).await;
    let place = place(&fake);
    (fake, place)
}

fn place(fake: &FakeGitHub) -> Place {
    let place = Place::new(fake.url()).tokens(TOKENS);
    std::fs::write(place.path().join("orgs.txt"), ORGS).unwrap();
    place
}

async fn start(place: &Place, args: &[&str]) -> Ran {
    let mut all = vec!["start", "--detail", "skeleton"];
    all.extend(args);
    place.run(&all).await
}

/// The requests since then that count.
fn counted(fake: &FakeGitHub, since: usize) -> usize {
    fake.requests().iter().skip(since).filter(|request| request.status != 304).count()
}

/// Changes one repository in so many.
fn change(fake: &FakeGitHub, every: usize) {
    fake.world_mut(|w| {
        let user = w.user("dev1");
        let who = w.person_of(user);
        for repo in (0..w.repos.len()).step_by(every) {
            w.push(repo, "main", 1, who);
            w.open_issue(repo, Some(user), "News", None);
        }
    });
}

#[tokio::test]
async fn everything_is_retrieved_and_a_day_later_only_what_has_changed() {
    // The servers of the tests are slow.
    let sizes = if family() == Family::Embedded { [60, 40, 20] } else { [12, 8, 4] };
    let all: usize = sizes.iter().sum();
    let (fake, place) = estate(11, sizes).await;
    let ran = start(&place, &[]).await;
    ran.said(0, &[&format!("{all} repositories are due, 0 are fresh enough"), "contoso/r000: done: "]);
    assert!(ran.out.ends_with(&format!("{all} done\n")), "{}", ran.out);
    let first = counted(&fake, 0);
    // It is all there, and the same as by hand.
    let by_hand = Place::new(fake.url()).tokens(TOKENS);
    let names = std::fs::read_to_string(place.path().join("projects.txt")).unwrap().replace(' ', "/");
    let mut args: Vec<&str> = names.lines().collect();
    assert_eq!(args.len(), all);
    args.extend(["--detail", "skeleton"]);
    by_hand.mirror(&args).await;
    let tables = by_hand.stores().tables().await;
    for (table, rows) in place.stores().tables().await {
        // The list tells more people, and members.
        if !matches!(table, "users" | "organization_members") {
            assert_eq!(rows, tables[table], "{table}");
        }
    }
    place.stores().assert_sound().await;

    start(&place, &[]).await.said(0, &[&format!("0 repositories are due, {all} are fresh enough")]);
    change(&fake, 20);
    let before = fake.request_count();
    start(&place, &["--max-age", "0"]).await.said(0, &[]);
    let second = counted(&fake, before);
    assert!(second * 100 < first * 8, "{second} requests after {first}");
    let unchanged = fake.request_count();
    start(&place, &["--max-age", "0"]).await.said(0, &[]);
    let third = counted(&fake, unchanged);
    // A list may not be read, which is asked again each time.
    assert!(third <= 12, "{third} requests where nothing has changed");
    let free = fake.requests().iter().skip(unchanged).filter(|request| request.status == 304).count();
    assert!(free * 100 > (free + third) * 95, "{free} of {} answers were 304", free + third);
}

#[tokio::test]
async fn the_estimate_is_near_what_the_run_then_uses() {
    let (fake, place) = estate(12, [15, 10, 5]).await;
    let near = async |age: &str| {
        let ran = start(&place, &["--max-age", age, "--dry-run"]).await;
        ran.said(0, &[]);
        let about =
            ran.out.lines().find_map(|line| line.split_once("; about ")).unwrap_or_else(|| panic!("{}", ran.out));
        let estimated: f64 = about.1.split(' ').next().unwrap().parse().unwrap();
        let before = fake.request_count();
        start(&place, &["--max-age", age]).await.said(0, &[]);
        let used = counted(&fake, before);
        let off = (estimated - used as f64).abs();
        assert!(off <= 0.15 * used as f64 || off <= 12.0, "{estimated} estimated, {used} used\n{}", ran.out);
        assert!(ran.out.contains("with the present tokens it would end at about "), "{}", ran.out);
    };
    near("10d").await;
    change(&fake, 3);
    near("0").await;
    let place = self::place(&fake);
    start(&place, &["--dry-run"]).await.said(0, &[]);
    assert!(!place.path().join("projects.txt").exists(), "a dry run writes no file");
}

#[tokio::test]
async fn one_run_at_a_time_and_a_dead_ones_lease_ends() {
    let (fake, place) = estate(13, [40, 1, 1]).await;
    let before = fake.request_count();
    let mut child = place.spawn(&["start", "--detail", "skeleton"]);
    while fake.request_count() < before + 100 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let ran = start(&place, &[]).await;
    ran.said(1, &["another msght start is running", "has it since"]);
    child.kill().await.unwrap();
    start(&place, &[]).await.said(1, &["another msght start is running"]);
    // Instead of waiting for a minute.
    place.stores().relational.execute("UPDATE msght_leases SET expires_at = 0").await;
    start(&place, &[]).await.said(0, &[]);
}

#[tokio::test]
async fn killed_anywhere_and_begun_again_it_ends_equal() {
    let (fake, place) = estate(14, [14, 8, 4]).await;
    let undisturbed = self::place(&fake);
    start(&undisturbed, &[]).await.said(0, &[]);
    for round in 0..10 {
        let before = fake.request_count();
        let mut child = place.spawn(&["start", "--detail", "skeleton"]);
        while fake.request_count() < before + 8 + 7 * round && child.try_wait().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let _ = child.kill().await;
        place.stores().relational.execute("UPDATE msght_leases SET expires_at = 0").await;
    }
    start(&place, &[]).await.said(0, &[]);
    assert_eq!(difference(&undisturbed.dump().await, &place.dump().await), None);
    let read = |place: &Place| std::fs::read_to_string(place.path().join("projects.txt")).unwrap();
    assert_eq!(read(&place), read(&undisturbed));
}

#[tokio::test]
async fn limits_end_the_run_and_the_rest_comes_first_next_time() {
    let (fake, place) = estate(15, [12, 4, 4]).await;
    let ran = start(&place, &["--max-requests", "150", "--jobs", "2"]).await;
    ran.said(1, &["(--max-requests)", "are left for the next run", "not reached"]);
    let used = counted(&fake, 0);
    // What is in hand is finished: two repositories of some twenty requests.
    assert!((150..210).contains(&used), "{used}");
    let retrieved =
        async || place.stores().number("SELECT count(*) FROM msght_projects WHERE retrieved_at IS NOT NULL").await;
    let done = retrieved().await;
    assert!((3..9).contains(&done), "{done}");
    let ran = start(&place, &["--max-age", "0", "--max-requests", "120", "--jobs", "1"]).await;
    ran.said(1, &[]);
    assert!(retrieved().await > done, "those that were not reached come first");
    let minute_ago = (chrono::Local::now() - chrono::TimeDelta::minutes(1)).format("%H:%M").to_string();
    // That is tomorrow's: it does not end this run.
    start(&place, &["--until", &minute_ago]).await.said(0, &[]);
    start(&place, &["--until", "25:99"]).await.said(2, &["HH:MM"]);
}

#[tokio::test]
async fn what_fails_is_told_and_stops_nothing_else() {
    let (fake, place) = estate(16, [6, 3, 2]).await;
    fake.set_fault(Fault::always("/repos/contoso/r001/issues/events", FaultKind::Permission("issues=read")));
    fake.set_fault(Fault::always("/repos/contoso/r000/labels", FaultKind::Status { status: 422, html: false }));
    fake.set_fault(Fault::next(1, "/repos/northwind/n000/issues?", FaultKind::Revoke).on_token("token-three"));
    std::fs::write(place.path().join("projects.txt"), "elsewhere nothing\n").unwrap();
    let ran = start(&place, &[]).await;
    ran.said(
        1,
        &["error: contoso/r000: incomplete: labels", "error: elsewhere/nothing: inaccessible: no token can read"],
    );
    let line = |name: &str| ran.out.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap().to_owned();
    assert!(
        line("contoso/r000").contains("partial") && line("elsewhere/nothing").contains("inaccessible"),
        "{}",
        ran.out
    );
    assert!(line("contoso/r002").contains("done") && line("northwind/n001").contains("done"), "{}", ran.out);
    assert!(ran.out.contains(" 2 partial, 1 inaccessible\n"), "{}", ran.out);
    let log = std::fs::read_to_string(place.data_dir().join("logfile.txt")).unwrap();
    for event in [
        "Data Collection Starting",
        "Beginning Data Acquisition",
        "Repo Data Gathered",
        "Key Does Not Have Access to Repo",
        "Inaccessible Repo",
        "Data Collection Complete",
    ] {
        assert!(log.contains(event), "{event} is not in the log");
    }
    assert!(!log.contains("token-one") && !log.contains("token-two"), "a token is in the log");
    fake.clear_faults();
    std::fs::write(place.path().join("projects.txt"), "").unwrap();
    start(&place, &[]).await.said(0, &[]);
}

#[tokio::test]
async fn what_is_due_can_be_left_to_workers() {
    let (_fake, place) = estate(17, [5, 2, 1]).await;
    let place = place.with_queue();
    place.run(&["start", "--enqueue"]).await.said(0, &["8 repositories put on the queue msght.projects"]);
    place.run(&["retrieve-repos", "--drain", "--detail", "skeleton"]).await.said(0, &["8 done"]);
    place.run(&["start", "--enqueue"]).await.said(0, &["0 repositories put on the queue"]);
}

#[tokio::test]
async fn tags_are_used_whichever_token_they_were_given_to() {
    let world = World::estate(18, &[("contoso", 10), ("fabrikam", 6), ("northwind", 4)]);
    let all = |name: &str, login: &str| TokenSpec { login: login.to_owned(), ..TokenSpec::new(name) };
    let tokens = vec![all("token-one", "dev0"), all("token-two", "dev1"), all("token-three", "dev2")];
    let fake = FakeGitHub::start(world, Options { tokens, ..Options::unlimited() }).await;
    let place = place(&fake);
    start(&place, &["--jobs", "8"]).await.said(0, &[]);
    let before = fake.request_count();
    start(&place, &["--max-age", "0", "--jobs", "8"]).await.said(0, &[]);
    let requests = fake.requests();
    let all = requests.len() - before;
    let free = requests.iter().skip(before).filter(|request| request.status == 304).count();
    assert!(free * 100 > all * 99, "{free} of {all} answers were 304");
}
