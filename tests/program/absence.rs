//! What is not found once, or not shown to one token, is not gone; and nobody who is mentioned stays without a profile.

use fake_github::{FakeGitHub, Fault, FaultKind, Options, TokenSpec, UserKind, Visible, World, names};
use support::program::Sandbox;

const NOT_FOUND: FaultKind = FaultKind::Status { status: 404, html: false };

#[tokio::test]
async fn single_404_marks_no_account_as_gone() {
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[names::QUIET]).await;
    let stores = sandbox.stores();
    let due = "UPDATE msght_users SET profile_at = NULL";
    let details = [names::QUIET, "--only", "details"];
    let gone = "SELECT count(*) FROM users WHERE login = 'alice' AND deleted = 1";
    let alice = fake.world(|w| w.users[w.user("alice") as usize].id);

    stores.relational.execute(due).await;
    fake.set_fault(Fault::always("/users/alice", NOT_FOUND));
    sandbox.mirror(&details).await;
    assert_eq!(stores.number(gone).await, 0, "the number still leads to it");

    // A profile that can't be had is told in every run, and keeps no other.
    stores.relational.execute(due).await;
    fake.clear_faults();
    fake.set_fault(Fault::always("/users/alice", FaultKind::Permission("metadata=read")));
    for _ in 0..2 {
        let output = sandbox.run(&["retrieve-repo", names::QUIET]).await;
        assert_eq!((output.code, output.stage("details")[0].as_str()), (Some(1), "incomplete"), "{}", output.out);
        assert!(output.out.contains("the profile of alice"), "{}", output.out);
        let read = "SELECT count(*) FROM users u JOIN msght_users m ON m.user_id = u.id WHERE u.fake = 0 \
                    AND u.login <> 'ghost' AND m.profile_at IS NULL";
        assert_eq!(stores.number(read).await, 1);
    }

    fake.clear_faults();
    fake.set_fault(Fault::always("/users/alice", NOT_FOUND));
    fake.set_fault(Fault::always(&format!("/user/{alice}"), NOT_FOUND));
    sandbox.mirror(&details).await;
    assert_eq!(stores.number(gone).await, 1);
    assert!(stores.collection("users").await["alice"]["_msght"]["deleted_at"].is_string());
    // It is looked for again, but not at once; and the mark goes by itself.
    fake.clear_faults();
    sandbox.mirror(&details).await;
    assert_eq!(stores.number(gone).await, 1);
    stores
        .relational
        .execute("UPDATE msght_profiles SET look_again_at = '2020-01-01 00:00:00' WHERE look_again_at IS NOT NULL")
        .await;
    sandbox.mirror(&details).await;
    assert_eq!(stores.number(gone).await, 0);
    assert!(stores.collection("users").await["alice"]["_msght"]["deleted_at"].is_null());

    // Without a number it takes two looks, some time apart.
    stores.relational.execute("DELETE FROM msght_profiles").await;
    stores.relational.execute("DELETE FROM msght_users").await;
    fake.world_mut(|w| w.account_becomes_ghost(w.user("alice")));
    let output = sandbox.run(&["retrieve-repo", names::QUIET, "--only", "details"]).await;
    output.assert_output(1, &[]);
    assert!(output.out.contains("not found by login"), "{}", output.out);
    assert_eq!(stores.number(gone).await, 0);
    stores
        .relational
        .execute("UPDATE msght_profiles SET missing_since = '2020-01-01 00:00:00' WHERE missing_since IS NOT NULL")
        .await;
    sandbox.mirror(&details).await;
    assert_eq!(stores.number(gone).await, 1);
}

#[tokio::test]
async fn single_404_marks_no_repository_as_gone() {
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    let stores = sandbox.stores();
    sandbox.mirror(&[names::QUIET]).await;
    let number = fake.world(|w| w.repos[w.repo(names::QUIET)].id);
    let gone = "SELECT count(*) FROM projects WHERE name = 'quiet' AND deleted = 1";
    fake.set_fault(Fault::next(1, &format!("/repos/{}", names::QUIET), NOT_FOUND));
    sandbox.mirror(&[names::QUIET]).await;
    assert_eq!(stores.number(gone).await, 0);
    fake.set_fault(Fault::next(1, &format!("/repos/{}", names::QUIET), NOT_FOUND));
    fake.set_fault(Fault::next(1, &format!("/repositories/{number}"), NOT_FOUND));
    assert_eq!(sandbox.run(&["retrieve-repo", names::QUIET]).await.code, Some(1));
    assert_eq!(stores.number(gone).await, 1);
    fake.clear_faults();
    sandbox.mirror(&[names::QUIET]).await;
    assert_eq!(stores.number(gone).await, 0);
    assert!(stores.collection("repos").await[names::QUIET]["_msght"]["deleted_at"].is_null());
    // A mark that something else has left goes in spite of an entity tag.
    stores.relational.execute("UPDATE projects SET deleted = 1 WHERE name = 'quiet'").await;
    sandbox.mirror(&[names::QUIET]).await;
    assert_eq!(stores.number(gone).await, 0);
    // A full update counts as one though nothing has changed.
    stores.relational.execute("UPDATE projects SET updated_at = '2020-01-01 00:00:00'").await;
    sandbox.mirror(&[names::QUIET]).await;
    let updated = "SELECT count(*) FROM projects WHERE name = 'quiet' AND updated_at > '2021-01-01'";
    assert_eq!(stores.number(updated).await, 1);
    // Where no number is known, it takes two looks, some time apart.
    stores.relational.execute("DELETE FROM msght_projects").await;
    fake.world_mut(|w| w.delete_repo(w.repo(names::QUIET)));
    for expected in [0, 1] {
        assert_eq!(sandbox.run(&["retrieve-repo", names::QUIET]).await.code, Some(1));
        assert_eq!(stores.number(gone).await, expected);
        stores
            .relational
            .execute("UPDATE msght_lists SET watermark = '2020-01-01 00:00:00' WHERE name = 'missed'")
            .await;
    }
}

/// Two tokens: of somebody who sees all, and of somebody who sees less.
fn two_tokens(owner: &str, other: &str) -> Options {
    let token = |name: &str, login: &str, private: Visible| {
        TokenSpec { login: login.to_owned(), ..TokenSpec::new(name) }.private(private)
    };
    let tokens = vec![token("token-owner", owner, Visible::All), token("token-other", other, Visible::None)];
    Options { tokens, ..Options::unlimited() }
}

/// The same stores, with other tokens.
fn beside(sandbox: &Sandbox, fake: &FakeGitHub, tokens: &str) -> Sandbox {
    let data_dir = sandbox.data_dir();
    Sandbox::new(fake.url()).tokens(tokens).with("MSGHT_DATA_DIR", data_dir.to_str().unwrap())
}

#[tokio::test]
async fn drafts_hidden_from_another_token_are_kept() {
    let mut world = World::edge_cases(1);
    let (quiet, alice) = (world.repo(names::QUIET), world.user("alice"));
    let drafts = ["v1", "v2"].map(|tag| world.add_release(quiet, tag, alice, None));
    let public = world.add_release(quiet, "v0", alice, None);
    world.add_release(quiet, "v0.1", alice, None);
    world.repos[quiet].releases.iter_mut().filter(|r| drafts.contains(&r.id)).for_each(|r| r.draft = true);
    let fake = FakeGitHub::start(world, two_tokens("alice", "bob")).await;
    let owner = Sandbox::new(fake.url()).tokens("token-owner");
    let stores = owner.stores();
    let other = beside(&owner, &fake, "token-other");
    let only = [names::QUIET, "--only", "releases"];
    let marked = async || -> Vec<u64> {
        let releases = stores.collection("releases").await;
        let gone = releases.values().filter(|release| release["_msght"]["deleted_at"].is_string());
        gone.map(|release| release["id"].as_u64().unwrap()).collect()
    };
    owner.mirror(&only).await;
    fake.world_mut(|w| w.delete_release(quiet, public));
    for _ in 0..2 {
        other.mirror(&only).await;
        assert_eq!(marked().await, [public]);
    }
    fake.world_mut(|w| w.delete_release(quiet, drafts[0]));
    owner.mirror(&only).await;
    assert_eq!(marked().await.len(), 2);
    assert!(!marked().await.contains(&drafts[1]));
}

#[tokio::test]
async fn teams_hidden_from_another_token_are_kept() {
    let mut world = World::estate(5, &[("contoso", 6)]);
    let (contoso, users) = (world.user("contoso"), ["dev0", "dev1", "dev2"].map(|login| world.user(login)));
    let secret = world.add_team("contoso", "Secret", &users[..1], &[0, 2]);
    world.teams[secret].secret = true;
    let readers = world.teams.iter().position(|team| team.name == "Readers").unwrap();
    let fake = FakeGitHub::start(world, two_tokens("dev0", "dev1")).await;
    let owner = Sandbox::new(fake.url()).tokens("token-owner");
    let stores = owner.stores();
    let (other, anonymous) = (beside(&owner, &fake, "token-other"), beside(&owner, &fake, ""));
    for sandbox in [&owner, &other] {
        std::fs::write(sandbox.path().join("orgs.txt"), "contoso\n").unwrap();
    }
    let list = async |sandbox: &Sandbox| sandbox.run(&["get-repos"]).await.assert_output(0, &[]);
    let counts = async || {
        let of = async |sql: &str| stores.number(sql).await;
        [
            of("SELECT count(*) FROM teams WHERE deleted = 0").await,
            of("SELECT count(*) FROM team_projects").await,
            of("SELECT count(*) FROM organization_members").await,
        ]
    };
    list(&owner).await;
    let before = counts().await;
    assert_eq!(stores.number("SELECT count(*) FROM team_projects WHERE role = 'write'").await, before[1]);
    for _ in 0..2 {
        list(&other).await;
        assert_eq!(counts().await, before);
    }
    // Whoever is no member is sent on to the public members, and then told that nothing has changed there.
    for _ in 0..2 {
        anonymous.run(&["retrieve-user", "contoso"]).await.assert_output(0, &[]);
        assert_eq!(counts().await, before);
    }
    // What everybody is shown is gone for everybody; the secret one where its own reader looks again.
    fake.world_mut(|w| {
        w.teams[readers].deleted = true;
        w.teams[secret].deleted = true;
        w.leave(contoso, users[2]);
    });
    list(&other).await;
    assert_eq!((counts().await[0], counts().await[2]), (before[0] - 1, before[2] - 1));
    list(&owner).await;
    assert_eq!(counts().await[0], before[0] - 2);
}

#[tokio::test]
async fn feed_tells_since_when_members_are_members() {
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    let stores = sandbox.stores();
    sandbox.mirror(&[names::QUIET]).await;
    assert_eq!(stores.number("SELECT count(*) FROM project_members WHERE created_at IS NULL").await, 0);
    assert_eq!(stores.number("SELECT count(*) FROM project_members").await, 1);
    // Once the list is refused, the feed alone tells of members; once it can be read again, it decides.
    fake.set_fault(Fault::always("/collaborators", FaultKind::Permission("metadata=read")));
    fake.world_mut(|w| w.add_collaborator(w.repo(names::QUIET), w.user("bob"), "write"));
    sandbox.mirror(&[names::QUIET]).await;
    sandbox.mirror(&[names::QUIET, "--only", "events", "--full"]).await;
    assert_eq!(stores.number("SELECT count(*) FROM project_members").await, 2);
    fake.clear_faults();
    fake.world_mut(|w| w.remove_collaborator(w.repo(names::QUIET), w.user("bob")));
    sandbox.mirror(&[names::QUIET]).await;
    assert_eq!(stores.number("SELECT count(*) FROM project_members").await, 1);
}

/// Columns of GHTorrent's that GitHub tells nothing for.
const NEVER_TOLD: [&str; 7] = [
    "users.long",
    "users.lat",
    "users.country_code",
    "users.state",
    "users.city",
    "followers.created_at",
    "organization_members.created_at",
];

#[tokio::test]
async fn every_mentioned_account_gets_a_profile() {
    let mut world = World::edge_cases(1);
    let web = world.repo(names::WEB);
    let fan = world.add_user("only-a-fan", UserKind::User);
    world.follow(fan, world.user("alice"));
    world.let_in("contoso", fan);
    let keepers = world.add_team("contoso", "Keepers", &[world.user("alice")], &[web]);
    let inner = world.add_team("contoso", "Inner Keepers", &[], &[]);
    world.teams[inner].parent = Some(keepers);
    world.make_owner("contoso", world.user("alice"));
    let token = TokenSpec { login: "alice".to_owned(), ..TokenSpec::new("fake-token") };
    let fake = FakeGitHub::start(world, Options { tokens: vec![token], ..Options::unlimited() }).await;
    let sandbox = Sandbox::new(fake.url());
    std::fs::write(sandbox.path().join("orgs.txt"), "contoso\n").unwrap();
    sandbox.run(&["get-repos", "--no-hooks"]).await.assert_output(0, &[]);
    sandbox.mirror(&[names::WEB, names::WEB_FORK, names::QUIET]).await;
    sandbox.run(&["retrieve-user", "alice"]).await.assert_output(0, &[]);
    let stores = sandbox.stores();
    let without = "SELECT u.login FROM users u LEFT JOIN msght_users m ON m.user_id = u.id WHERE u.fake = 0 AND u.id > 0 \
                   AND u.login <> 'ghost' AND m.profile_at IS NULL";
    assert_eq!(stores.sql(without).await, Vec::<Vec<String>>::new());
    let profiles = fake.by_template()["/users/{login}"];
    let accounts = stores.number("SELECT count(*) FROM users WHERE fake = 0 AND id > 0").await;
    // The owner's and alice's own are read by their lists, too.
    assert!(profiles <= usize::try_from(accounts).unwrap() + 4, "{profiles} requests for {accounts} profiles");
    let tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'msght%' AND name NOT LIKE '%sqlx%' \
                  AND name NOT LIKE 'sqlite%'";
    for table in stores.sql(tables).await.concat() {
        if stores.number(&format!("SELECT count(*) FROM {table}")).await == 0 {
            continue;
        }
        for column in stores.sql(&format!("SELECT name FROM pragma_table_info('{table}')")).await.concat() {
            let filled = stores.number(&format!("SELECT count(`{column}`) FROM {table}")).await;
            assert!(filled > 0 || NEVER_TOLD.contains(&format!("{table}.{column}").as_str()), "{table}.{column}");
        }
    }
    // A month later they are asked for conditionally, and are as they were.
    let month_ago = "UPDATE msght_users SET profile_at = '2020-01-01 00:00:00'";
    stores.relational.execute(month_ago).await;
    let before = stores.data_fingerprint().await;
    fake.reset_counters();
    sandbox.mirror(&[names::WEB, "--only", "details"]).await;
    assert!(fake.by_status()[&304] > 10, "{:?}", fake.by_status());
    assert!(fake.counted() <= 5, "{:?}", fake.by_template());
    assert!(stores.data_fingerprint().await == before);
}
