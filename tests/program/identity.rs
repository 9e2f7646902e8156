//! What is one thing to GitHub is one thing here: renamed, recreated and transferred.

use serde_json::Value;

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

/// Titles of a repository's issues that are not marked as gone.
async fn titles(stores: &StoredData, repository: &str) -> Vec<String> {
    let issues = stores.collection("issues").await;
    let live = issues
        .iter()
        .filter(|(id, issue)| id.starts_with(&format!("{repository}/")) && issue["_msght"]["deleted_at"].is_null());
    live.map(|(_, issue)| issue["title"].as_str().unwrap().to_owned()).collect()
}

#[rstest]
#[tokio::test]
async fn new_repository_under_old_name_is_distinct(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (fake, sandbox) = mirrored(names::QUIET).await;
    fake.world_mut(|w| {
        let (quiet, alice) = (w.repo(names::QUIET), w.find_user("alice"));
        w.open_issue(quiet, alice, "of the renamed one", None);
        w.rename_repo(quiet, "silent");
        let new = w.add_repo(names::QUIET);
        w.open_issue(new, alice, "of the new one", None);
    });
    sandbox.mirror(&[names::QUIET]).await;
    sandbox.mirror(&["contoso/silent"]).await;
    let stores = sandbox.stores();
    assert_eq!(stores.number("SELECT count(*) FROM projects WHERE name IN ('quiet', 'silent')").await, 2);
    assert_eq!(titles(stores, names::QUIET).await, ["of the new one"]);
    assert_eq!(titles(stores, "contoso/silent").await.len(), 3);
    let sql = "SELECT count(*) FROM issues i JOIN projects p ON p.id = i.repo_id WHERE p.name = ";
    assert_eq!(stores.number(&format!("{sql}'quiet'")).await, 1);
    assert_eq!(stores.number(&format!("{sql}'silent'")).await, 3);
}

#[rstest]
#[tokio::test]
async fn recreated_repository_is_fetched_again(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (fake, sandbox) = mirrored(names::QUIET).await;
    fake.world_mut(|w| {
        let (quiet, alice) = (w.repo(names::QUIET), w.find_user("alice"));
        w.delete_repo(quiet);
        let new = w.add_repo(names::QUIET);
        w.open_issue(new, alice, "the only one", None);
    });
    let output = sandbox.mirror(&[names::QUIET]).await;
    assert!(output.err.contains("not the repository that was mirrored under this name before"), "{}", output.err);
    let stores = sandbox.stores();
    assert_eq!(titles(stores, names::QUIET).await, ["the only one"]);
    let sql = "SELECT name FROM projects WHERE deleted = 1";
    let aside = stores.sql(sql).await[0][0].clone();
    assert!(aside.starts_with("quiet~"), "{aside}");
    assert_eq!(titles(stores, &format!("contoso/{aside}")).await.len(), 2, "the former one's data stay");
    let before = sandbox.stores().data_fingerprint().await;
    let output = sandbox.mirror(&[names::QUIET]).await;
    assert!(!output.err.contains("mirrored under this name"), "{}", output.err);
    assert!(sandbox.stores().data_fingerprint().await == before);
}

#[rstest]
#[tokio::test]
async fn transferred_issue_is_marked(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (fake, sandbox) = mirrored(names::QUIET).await;
    let there = fake.world_mut(|w| {
        let (quiet, web) = (w.repo(names::QUIET), w.repo(names::WEB));
        let alice = w.find_user("alice");
        // The label is what makes the issue be asked for by its number.
        w.open_issue(quiet, alice, "stays", None);
        w.label_issue(quiet, 3, "bug");
        let there = w.transfer_issue(quiet, 1, web);
        w.rename_label(quiet, "bug", "defect");
        there
    });
    sandbox.mirror(&[names::QUIET]).await;
    let issues = sandbox.stores().collection("issues").await;
    assert!(issues[&format!("{}/1", names::QUIET)]["_msght"]["deleted_at"].is_string());
    assert!(!issues.contains_key(&format!("{}/{there}", names::QUIET)), "number {there} is another repository's");
    let labels: Vec<&Value> = issues[&format!("{}/3", names::QUIET)]["labels"].as_array().unwrap().iter().collect();
    assert_eq!(labels[0]["name"], "defect");
}

#[rstest]
#[tokio::test]
async fn renamed_organization_keeps_its_repositories(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    let repositories = ["quiet", "archived"];
    for name in repositories {
        sandbox.mirror(&[&format!("contoso/{name}")]).await;
    }
    fake.world_mut(|w| w.rename_user("contoso", "globex"));
    for name in repositories {
        // By the old name, which GitHub redirects, and by the new one.
        sandbox.mirror(&[&format!("contoso/{name}")]).await;
        sandbox.mirror(&[&format!("globex/{name}")]).await;
    }
    let stores = sandbox.stores();
    assert_eq!(stores.number("SELECT count(*) FROM users WHERE login IN ('contoso', 'globex')").await, 1);
    let documents = stores.documents().await;
    for collection in ["issues", "repo_labels", "branches", "issue_comments"] {
        assert!(documents[collection].keys().all(|id| id.starts_with("globex/")), "{collection}");
        assert!(documents[collection].len() >= 2, "{collection}");
    }
    assert_eq!(stores.number("SELECT count(*) FROM projects WHERE name IN ('quiet', 'archived')").await, 2);
}

#[rstest]
#[tokio::test]
async fn reused_login_keeps_authors_apart(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (fake, sandbox) = mirrored(names::QUIET).await;
    let comments = "SELECT u.login FROM issue_comments c JOIN users u ON u.id = c.user_id JOIN issues i ON i.id = c.issue_id \
                    JOIN projects p ON p.id = i.repo_id WHERE p.name = 'quiet' ORDER BY c.comment_id";
    let before = sandbox.stores().sql(comments).await;
    let carol = fake.world_mut(|w| {
        let (quiet, carol) = (w.repo(names::QUIET), w.add_user("carol-one", UserKind::User));
        w.add_comment(quiet, 1, Some(carol), "by the first");
        carol
    });
    sandbox.mirror(&[names::QUIET]).await;
    fake.world_mut(|w| {
        w.rename_user("carol-one", "carol-two");
        let (quiet, new) = (w.repo(names::QUIET), w.add_user("carol-one", UserKind::User));
        assert_ne!(new, carol);
        w.add_comment(quiet, 1, Some(new), "by the second");
    });
    sandbox.mirror(&[names::QUIET]).await;
    let logins = sandbox.stores().sql(comments).await;
    let [first, second] = [&logins[before.len()][0], &logins[before.len() + 1][0]];
    assert_eq!(second, "carol-one");
    assert!(first == "carol-two" || first.starts_with("carol-one~"), "{first}");
    // Once the first one is met again, the row has the present login.
    fake.world_mut(|w| _ = w.add_comment(w.repo(names::QUIET), 1, Some(carol), "by the first again"));
    sandbox.mirror(&[names::QUIET]).await;
    let logins: Vec<String> = sandbox.stores().sql(comments).await.into_iter().map(|mut row| row.remove(0)).collect();
    assert_eq!(logins[before.len()..], ["carol-two", "carol-one", "carol-two"]);
    sandbox.stores().assert_sound().await;
}

#[rstest]
#[tokio::test]
async fn a_transferred_repository_stays_one_project(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (fake, sandbox) = mirrored(names::QUIET).await;
    fake.world_mut(|w| w.transfer_repo(w.repo(names::QUIET), "fabrikam"));
    sandbox.mirror(&[names::QUIET]).await;
    sandbox.mirror(&["fabrikam/quiet"]).await;
    let stores = sandbox.stores();
    assert_eq!(stores.number("SELECT count(*) FROM projects WHERE name = 'quiet'").await, 1);
    assert_eq!(titles(stores, "fabrikam/quiet").await.len(), 2);
    assert!(titles(stores, names::QUIET).await.is_empty());
}

#[rstest]
#[tokio::test]
async fn every_name_that_a_repository_had_is_kept(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (fake, sandbox) = mirrored(names::QUIET).await;
    fake.world_mut(|w| w.rename_repo(w.repo(names::QUIET), "silent"));
    sandbox.mirror(&[names::QUIET]).await;
    fake.world_mut(|w| w.transfer_repo(w.repo("contoso/silent"), "fabrikam"));
    sandbox.mirror(&["contoso/silent"]).await;
    fake.world_mut(|w| w.rename_user("fabrikam", "globex"));
    sandbox.mirror(&["globex/silent"]).await;
    // Nothing is added where nothing was renamed.
    sandbox.mirror(&["globex/silent", "globex/silent"]).await;
    let sql = "SELECT n.owner, n.name, u.login, p.name FROM project_names n JOIN projects p ON p.id = n.project_id \
               JOIN users u ON u.id = p.owner_id ORDER BY n.owner, n.name";
    let found: Vec<String> = sandbox.stores().sql(sql).await.into_iter().map(|row| row.join("/")).collect();
    let expected = ["contoso/quiet/globex/silent", "contoso/silent/globex/silent", "fabrikam/silent/globex/silent"];
    assert_eq!(found, expected);
    assert_eq!(sandbox.stores().number("SELECT count(*) FROM project_names WHERE renamed_at < '2020-01-01'").await, 0);
    sandbox.stores().assert_sound().await;
}
