//! Accounts and repositories under other names than before, their capitals included, by whatever that was learned.

use std::collections::BTreeSet;

use rstest::rstest;

use fake_github::{FakeGitHub, Options, UserKind, World, names};
use support::backends::Backends::{self, Embedded, Servers};
use support::program::Sandbox;
use support::stores::StoredData;

async fn mirrored(repository: &str) -> (FakeGitHub, Sandbox) {
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[repository]).await;
    (fake, sandbox)
}

/// Whether a document is there and marked as gone; `None` where there is none.
async fn is_marked(stores: &StoredData, collection: &str, id: &str) -> Option<bool> {
    let documents = stores.collection(collection).await;
    documents.get(id).map(|document| document["_msght"]["deleted_at"].is_string())
}

/// The rows of `users` with this GitHub number: login and whether it is marked as deleted.
async fn rows_of(stores: &StoredData, number: u64) -> Vec<Vec<String>> {
    let sql = "SELECT u.login, u.deleted FROM users u JOIN msght_users m ON m.user_id = u.id WHERE m.github_id = ";
    stores.sql(&format!("{sql}{number}")).await
}

#[rstest]
#[tokio::test]
async fn details_follow_renamed_accounts_by_number(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (fake, sandbox) = mirrored(names::QUIET).await;
    let stores = sandbox.stores();
    let (alice, accounts) =
        (fake.world(|w| w.users[w.user("alice") as usize].id), stores.number("SELECT count(*) FROM users").await);
    // Nobody mentions her again, and her profile is due.
    fake.world_mut(|w| w.rename_user("alice", "alicia"));
    stores.relational.execute("UPDATE msght_users SET profile_at = NULL").await;
    sandbox.mirror(&[names::QUIET, "--only", "details"]).await;
    assert_eq!(rows_of(stores, alice).await, [["alicia", "0"]]);
    assert_eq!(is_marked(stores, "users", "alicia").await, Some(false));
    assert_eq!(is_marked(stores, "users", "alice").await, Some(true));
    assert_eq!(stores.number("SELECT count(*) FROM users").await, accounts);

    // Her old login is somebody else's now, and the feed still shows her under it.
    fake.world_mut(|w| {
        let (quiet, other) = (w.repo(names::QUIET), w.add_user("alice", UserKind::User));
        w.star(quiet, other);
    });
    sandbox.mirror(&[names::QUIET]).await;
    sandbox.mirror(&[names::QUIET, "--full"]).await;
    assert_eq!(rows_of(stores, alice).await, [["alicia", "0"]]);
    let other = fake.world(|w| w.users[w.user("alice") as usize].id);
    assert_eq!(rows_of(stores, other).await, [["alice", "0"]]);
    assert_eq!(is_marked(stores, "users", "alice").await, Some(false));
    let stars = "SELECT u.login FROM watchers x JOIN users u ON u.id = x.user_id JOIN projects p ON p.id = x.repo_id \
                 WHERE p.name = 'quiet' ORDER BY u.login";
    assert_eq!(stores.sql(stars).await, [["alice"], ["alicia"]]);
    stores.assert_sound().await;
}

#[rstest]
#[tokio::test]
async fn swapped_logins_follow_their_accounts(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let (alice, bob) = fake.world_mut(|w| {
        w.star(w.repo(names::QUIET), w.user("bob"));
        ["alice", "bob"].map(|login| w.users[w.user(login) as usize].id).into()
    });
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[names::QUIET]).await;
    fake.world_mut(|w| {
        for (old, new) in [("alice", "nobody-yet"), ("bob", "alice"), ("nobody-yet", "bob")] {
            w.rename_user(old, new);
        }
    });
    sandbox.mirror(&[names::QUIET]).await;
    let stores = sandbox.stores();
    assert_eq!(rows_of(stores, alice).await, [["bob", "0"]]);
    assert_eq!(rows_of(stores, bob).await, [["alice", "0"]]);
    let users = stores.collection("users").await;
    assert_eq!((users["bob"]["id"].as_u64(), users["alice"]["id"].as_u64()), (Some(alice), Some(bob)));
    assert_eq!(stores.number("SELECT count(*) FROM watchers").await, 2);
    stores.assert_sound().await;
}

#[rstest]
#[tokio::test]
async fn accounts_without_ids_get_them(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (fake, sandbox) = mirrored(names::QUIET).await;
    let stores = sandbox.stores();
    let accounts = stores.number("SELECT count(*) FROM users").await;
    let alice = fake.world(|w| w.users[w.user("alice") as usize].id);
    // As in a database that GHTorrent made.
    for sql in ["DELETE FROM msght_profiles", "DELETE FROM msght_users"] {
        stores.relational.execute(sql).await;
    }
    sandbox.mirror(&[names::QUIET, "--full"]).await;
    assert_eq!(rows_of(stores, alice).await, [["alice", "0"]]);
    fake.world_mut(|w| w.rename_user("alice", "alicia"));
    sandbox.mirror(&[names::QUIET, "--full"]).await;
    assert_eq!(rows_of(stores, alice).await, [["alicia", "0"]]);
    assert_eq!(stores.number("SELECT count(*) FROM users").await, accounts);
    stores.assert_sound().await;
}

#[rstest]
#[tokio::test]
async fn changed_capitals_are_taken_and_cost_no_row(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (fake, sandbox) = mirrored(names::QUIET).await;
    sandbox.run(&["retrieve-user", "contoso"]).await.assert_output(0, &[]);
    let stores = sandbox.stores();
    let ties = async || {
        let of = async |sql: &str| stores.number(sql).await;
        [
            of("SELECT count(*) FROM watchers").await,
            of("SELECT count(*) FROM project_members").await,
            of("SELECT count(*) FROM organization_members").await,
            of("SELECT count(*) FROM followers").await,
            of("SELECT count(*) FROM users").await,
            of("SELECT count(*) FROM projects").await,
        ]
    };
    let before = ties().await;
    fake.world_mut(|w| {
        w.rename_user("alice", "Alice");
        w.rename_repo(w.repo(names::QUIET), "Quiet");
    });
    sandbox.mirror(&[names::QUIET]).await;
    sandbox.run(&["retrieve-user", "contoso"]).await.assert_output(0, &[]);
    assert_eq!(ties().await, before);
    let login = stores.sql("SELECT login FROM users WHERE login = 'alice'").await;
    let name = stores.sql("SELECT name FROM projects WHERE name = 'quiet'").await;
    assert_eq!((login, name), (vec![vec!["Alice".to_owned()]], vec![vec!["Quiet".to_owned()]]));
    assert_eq!(is_marked(stores, "watchers", "contoso/Quiet/Alice").await, Some(false));
    assert_eq!(is_marked(stores, "watchers", "contoso/Quiet/alice").await, Some(true));
    assert_eq!(is_marked(stores, "org_members", "contoso/Alice").await, Some(false));
    assert_eq!(is_marked(stores, "users", "Alice").await, Some(false));
    assert_eq!(is_marked(stores, "users", "alice").await, Some(true));
    // The next run finds nothing to do.
    let settled = stores.data_fingerprint().await;
    sandbox.mirror(&["contoso/Quiet"]).await;
    assert!(stores.data_fingerprint().await == settled);
}

#[rstest]
#[tokio::test]
async fn repository_renamed_during_a_run_keeps_issues(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (fake, sandbox) = mirrored(names::QUIET).await;
    fake.world_mut(|w| w.rename_label(w.repo(names::QUIET), "bug", "defect"));
    // The label is what makes the issue be asked for by its number.
    fake.before_request("/issues/1", 1, |w| w.rename_repo(w.repo(names::QUIET), "silent"));
    sandbox.mirror(&[names::QUIET]).await;
    sandbox.mirror(&["contoso/silent"]).await;
    let stores = sandbox.stores();
    assert_eq!(is_marked(stores, "issues", "contoso/silent/1").await, Some(false));
    assert_eq!(stores.collection("issues").await["contoso/silent/1"]["labels"][0]["name"], "defect");
}

#[rstest]
#[tokio::test]
async fn renamed_repository_updates_its_commits(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (fake, sandbox) = mirrored(names::QUIET).await;
    let urls = async || -> BTreeSet<bool> {
        let commits = sandbox.stores().collection("commits").await;
        commits.values().map(|commit| commit["url"].as_str().unwrap().contains("/repos/fabrikam/silent/")).collect()
    };
    fake.world_mut(|w| {
        w.rename_repo(w.repo(names::QUIET), "silent");
        w.transfer_repo(w.repo("contoso/silent"), "fabrikam");
    });
    sandbox.mirror(&["fabrikam/silent", "--full"]).await;
    assert_eq!(urls().await, BTreeSet::from([true]));
    let number = fake.world(|w| w.repos[w.repo("fabrikam/silent")].id);
    let commits = sandbox.stores().collection("commits").await;
    assert!(commits.values().all(|commit| commit["_msght"]["repository_id"] == number));
}
