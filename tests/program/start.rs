//! `msght start`: all repositories of all organizations, as fresh as asked.

use std::time::Duration;

use rstest::rstest;

use fake_github::{
    APP_KEY_FILE, AppSpec, FakeGitHub, Fault, FaultKind, InstallationSpec, Limits, Options, TokenSpec, Visible, World,
};
use support::backends::Backends::{self, Embedded, Servers};
use support::program::{RunOutput, Sandbox, finish};
use support::stores::difference;

const ORGS: &str = "contoso\nfabrikam\nnorthwind\n";
const TOKENS: &str = "token-one,token-two,token-three";

/// An owner's token that is shown one organization's private repositories, and one that is shown another's; one of nobody's.
/// The third's only the App is shown.
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
        token("token-two", "dev1", of(&["fabrikam"])),
        token("token-three", "outsider", Visible::None),
    ]
}

async fn estate(seed: u64, sizes: [usize; 3]) -> (FakeGitHub, Sandbox) {
    let world = World::estate(seed, &[("contoso", sizes[0]), ("fabrikam", sizes[1]), ("northwind", sizes[2])]);
    let options = Options { tokens: tokens(&world), app: Some(app()), ..Options::unlimited() };
    let fake = FakeGitHub::start(world, options).await;
    let sandbox = sandbox(&fake);
    (fake, sandbox)
}

fn app() -> AppSpec {
    AppSpec::new(4711).installed(InstallationSpec::on("northwind"))
}

fn with_app(sandbox: Sandbox) -> Sandbox {
    sandbox.with("MSGHT_GITHUB__APP_ID", "4711").with("MSGHT_GITHUB__APP_PRIVATE_KEY_FILE", APP_KEY_FILE)
}

fn sandbox(fake: &FakeGitHub) -> Sandbox {
    let sandbox = with_app(Sandbox::new(fake.url()).tokens(TOKENS));
    std::fs::write(sandbox.path().join("orgs.txt"), ORGS).unwrap();
    sandbox
}

async fn start(sandbox: &Sandbox, args: &[&str]) -> RunOutput {
    let mut all = vec!["start", "--detail", "skeleton"];
    all.extend(args);
    sandbox.run(&all).await
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

#[rstest]
#[tokio::test]
async fn estate_is_retrieved_then_refreshed(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    // The servers of the tests are slow.
    let sizes = if stores == Embedded { [270, 180, 50] } else { [12, 10, 2] };
    let all: usize = sizes.iter().sum();
    let (fake, sandbox) = estate(11, sizes).await;
    let output = start(&sandbox, &[]).await;
    output.assert_output(0, &[&format!("{all} repositories are due, 0 are fresh enough"), "contoso/r000: done: "]);
    assert!(output.out.ends_with(&format!("{all} done\n")), "{}", output.out);
    let first = counted(&fake, 0);
    // It is all there, and some two dozen that are also retrieved by hand are the same.
    let by_hand = with_app(Sandbox::new(fake.url()).tokens(TOKENS));
    let names = std::fs::read_to_string(sandbox.path().join("projects.txt")).unwrap().replace(' ', "/");
    assert_eq!(names.lines().count(), all);
    let mut args: Vec<&str> = names.lines().step_by((all / 24).max(1)).collect();
    args.extend(["--detail", "skeleton"]);
    by_hand.mirror(&args).await;
    let tables = sandbox.stores().tables().await;
    for (table, rows) in by_hand.stores().tables().await {
        // An owner's list tells more of people.
        let missing: Vec<_> = rows.difference(&tables[table]).filter(|_| table != "users").collect();
        assert!(missing.is_empty(), "{table}: {missing:?}");
    }
    let complete = sandbox.stores().number("SELECT count(*) FROM msght_projects WHERE retrieved_at IS NOT NULL").await;
    assert_eq!(complete, i64::try_from(all).unwrap());
    sandbox.stores().assert_sound().await;

    start(&sandbox, &[]).await.assert_output(0, &[&format!("0 repositories are due, {all} are fresh enough")]);
    change(&fake, 20);
    let before = fake.request_count();
    start(&sandbox, &["--max-age", "0"]).await.assert_output(0, &[]);
    let second = counted(&fake, before);
    assert!(second * 100 < first * 8, "{second} requests after {first}");
    let unchanged = fake.request_count();
    start(&sandbox, &["--max-age", "0"]).await.assert_output(0, &[]);
    let third = counted(&fake, unchanged);
    // What may not be read is asked for again each time; and the App's tags are void with each new token of it, so that the
    // lists of what only the App reads, a third of northwind's, are read again.
    let apps_alone = sizes[2] / 3;
    assert!(third <= 20 + 20 * apps_alone, "{third} requests where nothing has changed");
    let free = fake.requests().iter().skip(unchanged).filter(|request| request.status == 304).count();
    assert!(free * 100 > (free + third) * 95, "{free} of {} answers were 304", free + third);
}

#[rstest]
#[tokio::test]
async fn the_estimate_is_near_what_the_run_then_uses(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (fake, sandbox) = estate(12, [15, 10, 5]).await;
    let near = async |age: &str| {
        let output = start(&sandbox, &["--max-age", age, "--dry-run"]).await;
        output.assert_output(0, &[]);
        let about =
            output.out.lines().find_map(|line| line.split_once("; about ")).unwrap_or_else(|| panic!("{}", output.out));
        let estimated: f64 = about.1.split(' ').next().unwrap().parse().unwrap();
        let before = fake.request_count();
        start(&sandbox, &["--max-age", age]).await.assert_output(0, &[]);
        let used = counted(&fake, before);
        let off = (estimated - used as f64).abs();
        assert!(off <= 0.15 * used as f64 || off <= 12.0, "{estimated} estimated, {used} used\n{}", output.out);
        assert!(output.out.contains("with these tokens it would end at about "), "{}", output.out);
    };
    near("10d").await;
    change(&fake, 3);
    near("0").await;
    let sandbox = self::sandbox(&fake);
    start(&sandbox, &["--dry-run"]).await.assert_output(0, &[]);
    assert!(!sandbox.path().join("projects.txt").exists(), "a dry run writes no file");
}

#[rstest]
#[tokio::test]
async fn one_run_at_a_time_and_a_dead_ones_lease_ends(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (fake, sandbox) = estate(13, [40, 1, 1]).await;
    let before = fake.request_count();
    let mut child = sandbox.spawn(&["start", "--detail", "skeleton"]);
    while fake.request_count() < before + 100 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let output = start(&sandbox, &[]).await;
    output.assert_output(1, &["another msght start is running", "has it since"]);
    child.kill().await.unwrap();
    // As if it ran on another machine, which nobody can look at from here.
    let elsewhere = "UPDATE msght_leases SET holder = 'elsewhere/1/00000000/11111111'";
    sandbox.stores().relational.execute(elsewhere).await;
    start(&sandbox, &[]).await.assert_output(1, &["another msght start is running"]);
    // Instead of waiting for a minute.
    sandbox.stores().relational.execute("UPDATE msght_leases SET expires_at = 0").await;
    start(&sandbox, &[]).await.assert_output(0, &[]);
}

#[rstest]
#[tokio::test]
async fn killed_anywhere_and_begun_again_it_ends_equal(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (fake, sandbox) = estate(14, [14, 8, 4]).await;
    let undisturbed = self::sandbox(&fake);
    start(&undisturbed, &[]).await.assert_output(0, &[]);
    for round in 0..10 {
        let before = fake.request_count();
        let mut child = sandbox.spawn(&["start", "--detail", "skeleton"]);
        while fake.request_count() < before + 8 + 7 * round && child.try_wait().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let _ = child.kill().await;
        sandbox.stores().relational.execute("UPDATE msght_leases SET expires_at = 0").await;
    }
    start(&sandbox, &[]).await.assert_output(0, &[]);
    assert_eq!(difference(&undisturbed.dump().await, &sandbox.dump().await), None);
    let read = |sandbox: &Sandbox| std::fs::read_to_string(sandbox.path().join("projects.txt")).unwrap();
    assert_eq!(read(&sandbox), read(&undisturbed));
}

#[rstest]
#[tokio::test]
async fn limited_run_leaves_the_rest_for_the_next(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (fake, sandbox) = estate(15, [12, 4, 4]).await;
    let output = start(&sandbox, &["--max-requests", "150", "--jobs", "2"]).await;
    output.assert_output(1, &["(--max-requests)", "are left for the next run", "not reached"]);
    assert_eq!(counted(&fake, 0), 150, "not one request beyond");
    let retrieved =
        async || sandbox.stores().number("SELECT count(*) FROM msght_projects WHERE retrieved_at IS NOT NULL").await;
    let done = retrieved().await;
    assert!((2..9).contains(&done), "{done}");
    let output = start(&sandbox, &["--max-age", "0", "--max-requests", "120", "--jobs", "1"]).await;
    output.assert_output(1, &[]);
    assert!(retrieved().await > done, "those that were not reached come first");
    let minute_ago = (chrono::Local::now() - chrono::TimeDelta::minutes(1)).format("%H:%M").to_string();
    // That is tomorrow's: it does not end this run.
    start(&sandbox, &["--until", &minute_ago]).await.assert_output(0, &[]);
    start(&sandbox, &["--until", "25:99"]).await.assert_output(2, &["HH:MM"]);
}

#[rstest]
#[tokio::test]
async fn what_fails_is_told_and_stops_nothing_else(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (fake, sandbox) = estate(16, [6, 3, 2]).await;
    fake.set_fault(Fault::always("/repos/contoso/r001/issues/events", FaultKind::Permission("issues=read")));
    fake.set_fault(Fault::always("/repos/contoso/r000/labels", FaultKind::Status { status: 422, html: false }));
    fake.set_fault(Fault::next(1, "/repos/northwind/n000/issues?", FaultKind::Revoke).on_token("token-three"));
    std::fs::write(sandbox.path().join("projects.txt"), "elsewhere nothing\n").unwrap();
    let output = start(&sandbox, &[]).await;
    output.assert_output(
        1,
        &["error: contoso/r000: incomplete: labels", "error: elsewhere/nothing: inaccessible: no token can read"],
    );
    let line = |name: &str| output.out.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap().to_owned();
    assert!(
        line("contoso/r000").contains("partial") && line("elsewhere/nothing").contains("inaccessible"),
        "{}",
        output.out
    );
    assert!(line("contoso/r002").contains("done") && line("northwind/n001").contains("done"), "{}", output.out);
    assert!(line("contoso/r001").contains("done"), "what its tokens may not read is no failure: {}", output.out);
    assert!(output.err.contains("issue-events not permitted"), "{}", output.err);
    assert!(output.out.contains(" 1 partial, 1 inaccessible\n"), "{}", output.out);
    let log = std::fs::read_to_string(sandbox.data_dir().join("logfile.txt")).unwrap();
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
    fake.reinstate("token-three");
    std::fs::write(sandbox.path().join("projects.txt"), "").unwrap();
    start(&sandbox, &[]).await.assert_output(0, &[]);
}

#[rstest]
#[tokio::test]
async fn what_is_due_can_be_left_to_workers(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (_fake, sandbox) = estate(17, [5, 2, 1]).await;
    let sandbox = sandbox.with_queue();
    sandbox.run(&["start", "--enqueue"]).await.assert_output(0, &["8 repositories put on the queue msght.projects"]);
    sandbox.run(&["retrieve-repos", "--drain", "--detail", "skeleton"]).await.assert_output(0, &["8 done"]);
    sandbox.run(&["start", "--enqueue"]).await.assert_output(0, &["0 repositories put on the queue"]);
}

#[rstest]
#[tokio::test]
async fn validators_work_across_tokens(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let world = World::estate(18, &[("contoso", 10), ("fabrikam", 6), ("northwind", 4)]);
    let all = |name: &str, login: &str| TokenSpec { login: login.to_owned(), ..TokenSpec::new(name) };
    let tokens = vec![all("token-one", "dev0"), all("token-two", "dev1"), all("token-three", "dev2")];
    let fake = FakeGitHub::start(world, Options { tokens, ..Options::unlimited() }).await;
    let sandbox = Sandbox::new(fake.url()).tokens(TOKENS);
    std::fs::write(sandbox.path().join("orgs.txt"), ORGS).unwrap();
    start(&sandbox, &["--jobs", "8"]).await.assert_output(0, &[]);
    let before = fake.request_count();
    start(&sandbox, &["--max-age", "0", "--jobs", "8"]).await.assert_output(0, &[]);
    let requests = fake.requests();
    let all = requests.len() - before;
    let free = requests.iter().skip(before).filter(|request| request.status == 304).count();
    assert!(free * 100 > all * 99, "{free} of {all} answers were 304");
}

#[rstest]
#[tokio::test]
async fn revoked_token_costs_only_its_own_repositories(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (fake, sandbox) = estate(19, [9, 9, 3]).await;
    let before = fake.request_count();
    let run = sandbox.spawn(&["start", "--detail", "skeleton", "--jobs", "2"]);
    while fake.request_count() < before + 200 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    fake.revoke("token-two");
    let output = finish(run).await;
    output.assert_output(1, &["GitHub rejected the token … (401)", "no token can read fabrikam/f00"]);
    // Three of fabrikam's are private; those that were begun with the token are partial, the others inaccessible.
    let is_lost = |line: &&str| line.contains(" inaccessible ") || line.contains(" partial ");
    let lost: Vec<&str> = output.out.lines().filter(is_lost).collect();
    assert!(lost.len() == 3 && lost.iter().all(|line| line.starts_with("fabrikam/")), "{}", output.out);
    let of_others = output.out.lines().filter(|line| line.starts_with("contoso/") || line.starts_with("northwind/"));
    assert_eq!(of_others.filter(|line| line.contains(" done ")).count(), 12, "{}", output.out);
    let deleted = sandbox.stores().number("SELECT count(*) FROM projects WHERE deleted = 1").await;
    assert_eq!(deleted, 0, "a token that is out says nothing of what is there");
    fake.reinstate("token-two");
    start(&sandbox, &[]).await.assert_output(0, &[]);
}

#[rstest]
#[tokio::test]
async fn exhausted_budgets_are_waited_for(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let world = World::estate(20, &[("contoso", 8), ("fabrikam", 4), ("northwind", 3)]);
    // Three windows of seven seconds are needed, at the least: so few requests that a slow machine has to wait, too.
    let tokens = tokens(&world).into_iter().map(|token| token.budget(30, 10, 6)).collect();
    let limits = Limits { hour: 7, secondary: false, ..Limits::default() };
    let app = AppSpec::new(4711).installed(InstallationSpec::on("northwind").budget(30, 10, 6));
    let fake = FakeGitHub::start(world, Options { tokens, limits, app: Some(app), ..Options::default() }).await;
    let sandbox = sandbox(&fake).with("MSGHT_GITHUB__RESERVE", "0");
    let output = start(&sandbox, &[]).await;
    output.assert_output(0, &["15 repositories are due", "for the rate limit"]);
    assert!(output.out.ends_with("15 done\n"), "{}", output.out);
    let violations = fake.limit_violations();
    assert!(violations.is_empty(), "{violations:?}");
}
