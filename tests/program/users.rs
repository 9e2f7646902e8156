//! Accounts: profile, followers, following, memberships; and the queue that they come from.

use std::collections::BTreeSet;

use rstest::rstest;
use serde_json::Value;

use fake_github::{FakeGitHub, Options, UserKind, World};
use support::backends::Backends::{self, Embedded, Servers};
use support::program::{RunOutput, Sandbox};
use support::stores::StoredData;

async fn edge_cases() -> (FakeGitHub, Sandbox) {
    let fake = FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    (fake, sandbox)
}

/// Mirrors accounts and expects that all went well.
async fn retrieve(sandbox: &Sandbox, logins: &[&str]) -> RunOutput {
    let mut args = vec!["retrieve-user"];
    args.extend(logins);
    let output = sandbox.run(&args).await;
    output.assert_output(0, &[]);
    output
}

/// The logins that GitHub lists.
fn listed(fake: &FakeGitHub, path: &str) -> BTreeSet<String> {
    fake.all(path).iter().map(|row| row["login"].as_str().unwrap().to_owned()).collect()
}

/// The logins in an account's documents of a collection, those that are not marked as gone.
async fn stored(stores: &StoredData, collection: &str, tag: &str, login: &str) -> BTreeSet<String> {
    let documents = stores.collection(collection).await;
    let own = documents.values().filter(|document| document[tag] == login);
    let live = own.filter(|document| document["_msght"]["deleted_at"].is_null());
    live.map(|document| document["login"].as_str().unwrap().to_owned()).collect()
}

/// The logins that the tables tie an account to.
async fn tied(stores: &StoredData, table: &str, wanted: &str, of: &str, login: &str) -> BTreeSet<String> {
    let sql = format!(
        "SELECT o.login FROM {table} x JOIN users o ON o.id = x.{wanted} JOIN users u ON u.id = x.{of} \
         WHERE u.login = '{login}'"
    );
    stores.sql(&sql).await.into_iter().map(|mut row| row.remove(0)).collect()
}

/// Everything that is stored of an account is what GitHub has.
async fn assert_complete(fake: &FakeGitHub, stores: &StoredData, login: &str) {
    let followers = listed(fake, &format!("/users/{login}/followers"));
    assert_eq!(stored(stores, "followers", "follows", login).await, followers, "{login}");
    assert_eq!(tied(stores, "followers", "follower_id", "user_id", login).await, followers, "{login}");
    let following = listed(fake, &format!("/users/{login}/following"));
    assert_eq!(stored(stores, "following", "follower", login).await, following, "{login}");
    assert_eq!(tied(stores, "followers", "user_id", "follower_id", login).await, following, "{login}");
    let organizations = listed(fake, &format!("/users/{login}/orgs"));
    assert_eq!(stored(stores, "user_orgs", "user", login).await, organizations, "{login}");
    let rows = tied(stores, "organization_members", "org_id", "user_id", login).await;
    assert!(rows.is_superset(&organizations), "{login}: {rows:?}");
    let profile = fake.one(&format!("/users/{login}"));
    let document = &stores.collection("users").await[login];
    for (field, value) in profile.as_object().unwrap() {
        assert_eq!(&document[field], value, "{login}: {field}");
    }
    if profile["type"] == "Organization" {
        let members = listed(fake, &format!("/orgs/{login}/members"));
        assert_eq!(stored(stores, "org_members", "org", login).await, members, "{login}");
        assert_eq!(tied(stores, "organization_members", "user_id", "org_id", login).await, members, "{login}");
    }
    let sql = format!("SELECT type, name, company, location, email, deleted FROM users WHERE login = '{login}'");
    let row = &stores.sql(&sql).await[0];
    let text = |field: &str| profile[field].as_str().unwrap_or("NULL").to_owned();
    let kind = if profile["type"] == "Organization" { "ORG" } else { "USR" };
    assert_eq!(*row, [kind.to_owned(), text("name"), text("company"), text("location"), text("email"), "0".to_owned()]);
}

#[rstest]
#[tokio::test]
async fn accounts_are_mirrored_with_their_relations(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (fake, sandbox) = edge_cases().await;
    let logins = ["alice", "bob", "dependabot[bot]", "contoso", "fabrikam", "frank-with-his-login-of-just-39-letters"];
    let output = retrieve(&sandbox, &logins).await;
    assert_eq!(output.out.lines().count(), logins.len(), "{}", output.out);
    for login in logins {
        assert_complete(&fake, sandbox.stores(), login).await;
        assert!(output.out.contains(&format!("{login}: done: ")), "{}", output.out);
    }
    // As GitHub gives it, and the tag behind it.
    let document = &sandbox.stores().collection("followers").await["bob/alice"];
    let row = fake.all("/users/bob/followers").into_iter().find(|row| row["login"] == "alice").unwrap();
    assert!(row.as_object().unwrap().iter().all(|(field, value)| document[field] == *value));
    assert_eq!(document["follows"], "bob");
    assert_eq!(sandbox.stores().number("SELECT count(*) FROM followers WHERE created_at IS NOT NULL").await, 0);
}

#[rstest]
#[tokio::test]
async fn unchanged_account_is_free(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (fake, sandbox) = edge_cases().await;
    let logins = ["alice", "ALICE", "contoso", "carol"];
    retrieve(&sandbox, &logins).await;
    let before = sandbox.stores().data_fingerprint().await;
    fake.reset_counters();
    let output = retrieve(&sandbox, &logins).await;
    assert_eq!(fake.counted(), 0, "{:?}\n{}", fake.by_template(), output.out);
    assert!(sandbox.stores().data_fingerprint().await == before);
    let output = retrieve(&sandbox, &["alice", "--full"]).await;
    assert_eq!(fake.counted(), 4, "{:?}", fake.by_template());
    assert!(output.out.contains("alice: done: 0 new, 0 changed, 0 gone, 4 requests, 0 free"), "{}", output.out);
    assert!(sandbox.stores().data_fingerprint().await == before);
}

#[rstest]
#[tokio::test]
async fn ties_follow_githubs_newest_state(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (fake, sandbox) = edge_cases().await;
    let logins = ["alice", "bob", "contoso", "fabrikam"];
    retrieve(&sandbox, &logins).await;
    fake.world_mut(|w| {
        let [alice, bob, carol, erin, contoso, fabrikam] =
            ["alice", "bob", "carol", "erin", "contoso", "fabrikam"].map(|login| w.user(login));
        w.unfollow(alice, bob);
        w.follow(carol, bob);
        w.follow(bob, erin);
        w.follow(erin, alice);
        w.leave(contoso, alice);
        w.leave(fabrikam, bob);
        w.join(fabrikam, alice, true);
        w.join(contoso, bob, true);
        w.users[alice as usize].company = Some("@fabrikam".to_owned());
    });
    retrieve(&sandbox, &logins).await;
    for login in logins {
        assert_complete(&fake, sandbox.stores(), login).await;
    }
    let marked = |document: &Value| document["_msght"]["deleted_at"].is_string();
    let stores = sandbox.stores();
    assert!(marked(&stores.collection("followers").await["bob/alice"]), "lost, and kept");
    assert!(marked(&stores.collection("following").await["alice/bob"]));
    assert!(marked(&stores.collection("org_members").await["contoso/alice"]));
    assert!(marked(&stores.collection("user_orgs").await["alice/contoso"]));
    let fresh = Sandbox::new(fake.url());
    retrieve(&fresh, &logins).await;
    for table in ["followers", "organization_members"] {
        assert_eq!(stores.tables().await[table], fresh.stores().tables().await[table], "{table}");
    }
}

#[rstest]
#[tokio::test]
async fn private_membership_is_kept(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (fake, sandbox) = edge_cases().await;
    retrieve(&sandbox, &["contoso", "carol", "dave"]).await;
    fake.world_mut(|w| {
        let (contoso, fabrikam, carol, dave) = (w.user("contoso"), w.user("fabrikam"), w.user("carol"), w.user("dave"));
        w.join(contoso, carol, false);
        // Of this one nobody has read the members.
        w.leave(fabrikam, dave);
    });
    retrieve(&sandbox, &["carol", "dave"]).await;
    let stores = sandbox.stores();
    let organizations = tied(stores, "organization_members", "org_id", "user_id", "carol").await;
    assert!(organizations.contains("contoso"), "{organizations:?}");
    assert!(!stored(stores, "user_orgs", "user", "carol").await.contains("contoso"));
    assert!(!tied(stores, "organization_members", "org_id", "user_id", "dave").await.contains("fabrikam"));
}

#[rstest]
#[case(2)]
#[case(3)]
#[case(4)]
#[tokio::test]
async fn shifted_follower_is_found(#[values(Embedded, Servers)] stores: Backends, #[case] nth: u32) {
    let _over = stores.select();
    let (fake, sandbox) = edge_cases().await;
    fake.world_mut(|w| {
        let alice = w.user("alice");
        for number in 0..350 {
            let fan = w.add_user(&format!("fan-{number}"), UserKind::User);
            w.follow(fan, alice);
        }
    });
    fake.before_request("/followers?", nth, |w| {
        let alice = w.user("alice");
        let first: Vec<u32> = w.follows.iter().filter(|edge| edge.1 == alice).map(|edge| edge.0).take(3).collect();
        first.into_iter().for_each(|fan| w.unfollow(fan, alice));
    });
    retrieve(&sandbox, &["alice"]).await;
    let followers = listed(&fake, "/users/alice/followers");
    assert_eq!(stored(sandbox.stores(), "followers", "follows", "alice").await, followers);
    assert_eq!(tied(sandbox.stores(), "followers", "follower_id", "user_id", "alice").await, followers);
    // The profile was read before, and counts them.
    retrieve(&sandbox, &["alice"]).await;
    assert_complete(&fake, sandbox.stores(), "alice").await;
    fake.reset_counters();
    retrieve(&sandbox, &["alice"]).await;
    assert_eq!(fake.counted(), 0, "{:?}", fake.by_template());
}

#[rstest]
#[tokio::test]
async fn gone_account_is_marked_unknown_is_an_error(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (fake, sandbox) = edge_cases().await;
    retrieve(&sandbox, &["bob", "carol"]).await;
    fake.world_mut(|w| w.account_becomes_ghost(w.user("carol")));
    let output = retrieve(&sandbox, &["carol", "bob"]).await;
    assert!(output.out.starts_with("carol: gone, marked deleted\nbob: done: "), "{}", output.out);
    assert!(output.err.contains("carol was known before and is marked as deleted"), "{}", output.err);
    let stores = sandbox.stores();
    assert_eq!(stores.sql("SELECT login FROM users WHERE deleted = 1").await, [["carol"]]);
    assert!(stores.collection("users").await["carol"]["_msght"]["deleted_at"].is_string());
    assert!(!tied(stores, "followers", "user_id", "follower_id", "bob").await.contains("carol"));
    let before = stores.data_fingerprint().await;
    let output = retrieve(&sandbox, &["carol"]).await;
    assert!(!output.err.contains("carol"), "{}", output.err);
    assert!(stores.data_fingerprint().await == before);

    let output = sandbox.run(&["retrieve-user", "nobody-at-all", "bob"]).await;
    output.assert_output(1, &["error: nobody-at-all: ", "not found (404)", "1 of 2 accounts incomplete"]);
    assert!(output.out.starts_with("bob: done: "), "{}", output.out);
    assert_eq!(stores.number("SELECT count(*) FROM users WHERE login = 'nobody-at-all'").await, 0);
}

#[rstest]
#[tokio::test]
async fn returning_account_is_unmarked(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (fake, sandbox) = edge_cases().await;
    retrieve(&sandbox, &["erin"]).await;
    let hide = |hidden: bool| {
        fake.world_mut(|w| {
            let erin = w.user("erin");
            w.users[erin as usize].profile_hidden = hidden;
        });
    };
    hide(true);
    assert_eq!(retrieve(&sandbox, &["erin"]).await.out, "erin: gone, marked deleted\n");
    hide(false);
    retrieve(&sandbox, &["erin"]).await;
    assert_complete(&fake, sandbox.stores(), "erin").await;
    assert!(sandbox.stores().collection("users").await["erin"]["_msght"]["deleted_at"].is_null());
}

#[rstest]
#[case::by_its_old_login("alice")]
#[case::by_its_new_login("alicia")]
#[tokio::test]
async fn a_renamed_account_stays_one_row(#[values(Embedded, Servers)] stores: Backends, #[case] asked: &str) {
    let _over = stores.select();
    let (fake, sandbox) = edge_cases().await;
    retrieve(&sandbox, &["alice", "bob"]).await;
    let rows = sandbox.stores().number("SELECT count(*) FROM users").await;
    fake.world_mut(|w| {
        w.unfollow(w.user("alice"), w.user("bob"));
        w.rename_user("alice", "alicia");
    });
    let output = retrieve(&sandbox, &[asked]).await;
    assert!(output.out.starts_with("alicia: done: "), "{}", output.out);
    assert!(output.err.contains("alice is now alicia"), "{}", output.err);
    let stores = sandbox.stores();
    assert_eq!(stores.number("SELECT count(*) FROM users").await, rows);
    assert_eq!(stores.number("SELECT count(*) FROM users WHERE login = 'alice'").await, 0);
    assert_complete(&fake, stores, "alicia").await;
    assert_eq!(stored(stores, "followers", "follows", "alice").await, BTreeSet::new());
    assert!(stores.collection("users").await["alice"]["_msght"]["deleted_at"].is_string());
    let before = stores.data_fingerprint().await;
    retrieve(&sandbox, &["alicia"]).await;
    fake.reset_counters();
    retrieve(&sandbox, &["alicia", "alicia"]).await;
    assert_eq!(fake.counted(), 0, "{:?}", fake.by_template());
    assert!(stores.data_fingerprint().await == before);
    retrieve(&sandbox, &["bob"]).await;
    assert_complete(&fake, stores, "bob").await;
}

#[rstest]
#[tokio::test]
async fn login_in_other_case_stays_one_row(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (fake, sandbox) = edge_cases().await;
    retrieve(&sandbox, &["alice", "bob"]).await;
    let rows = sandbox.stores().number("SELECT count(*) FROM users").await;
    fake.world_mut(|w| w.rename_user("bob", "BOB"));
    for _ in 0..3 {
        fake.reset_counters();
        retrieve(&sandbox, &["bob", "alice"]).await;
        let stores = sandbox.stores();
        assert_eq!(stores.number("SELECT count(*) FROM users").await, rows);
        let following = tied(stores, "followers", "user_id", "follower_id", "alice").await;
        assert_eq!(following.len(), listed(&fake, "/users/alice/following").len(), "{following:?}");
        assert_eq!(stored(stores, "followers", "follows", "BOB").await, listed(&fake, "/users/bob/followers"));
    }
    assert_eq!(fake.counted(), 0, "{:?}", fake.by_template());
}

#[rstest]
#[tokio::test]
async fn reused_login_is_another_row(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (fake, sandbox) = edge_cases().await;
    retrieve(&sandbox, &["alice", "dave"]).await;
    fake.world_mut(|w| {
        w.rename_user("alice", "alicia");
        w.account_becomes_ghost(w.user("dave"));
        for login in ["alice", "dave"] {
            let new = w.add_user(login, UserKind::User);
            w.follow(new, w.user("bob"));
        }
    });
    let output = retrieve(&sandbox, &["alice", "dave"]).await;
    assert!(output.err.contains("alice is not the account that had this login before"), "{}", output.err);
    let stores = sandbox.stores();
    for login in ["alice", "dave"] {
        assert_complete(&fake, stores, login).await;
    }
    let gone = stores.sql("SELECT login FROM users WHERE deleted = 1").await;
    assert!(gone.len() == 1 && gone[0][0].starts_with("dave~"), "{gone:?}");
    retrieve(&sandbox, &["alicia", "alice"]).await;
    for login in ["alice", "alicia"] {
        assert_complete(&fake, stores, login).await;
    }
}

#[rstest]
#[tokio::test]
async fn anonymous_run_lists_public_members(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (fake, sandbox) = edge_cases().await;
    let sandbox = sandbox.tokens("");
    retrieve(&sandbox, &["contoso"]).await;
    let public = listed(&fake, "/orgs/contoso/public_members");
    assert!(public.len() < listed(&fake, "/orgs/contoso/members").len());
    assert_eq!(stored(sandbox.stores(), "org_members", "org", "contoso").await, public);
}

#[rstest]
#[tokio::test]
async fn rejected_list_is_reported_and_others_read(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    use fake_github::{Fault, FaultKind};
    let (fake, sandbox) = edge_cases().await;
    fake.set_fault(Fault::always("/followers", FaultKind::Permission("followers=read")));
    let output = retrieve(&sandbox, &["alice"]).await;
    assert!(
        output.out.starts_with("alice: done: ") && output.out.ends_with("; followers not permitted\n"),
        "{}",
        output.out
    );
    let following = listed(&fake, "/users/alice/following");
    assert_eq!(stored(sandbox.stores(), "following", "follower", "alice").await, following);
}

#[rstest]
#[tokio::test]
async fn worker_retrieves_accounts_or_dead_letters(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let (fake, sandbox) = edge_cases().await;
    let sandbox = sandbox.with("MSGHT_QUEUE__ATTEMPTS", "2").with("MSGHT_QUEUE__RETRY_AFTER", "1s");
    std::fs::write(sandbox.path().join("logins.txt"), "alice\ncontoso # the organization\n\nnobody-at-all\nbob\n")
        .unwrap();
    sandbox.run(&["load", "--route", "users", "--file", "logins.txt"]).await.assert_output(0, &["4 messages"]);
    let output = sandbox.run(&["retrieve-users", "--drain", "--jobs", "2"]).await;
    output.assert_output(
        1,
        &["3 done, 1 failed attempts, 1 given up", "alice: done: ", "nobody-at-all: ", "dead letters"],
    );
    for login in ["alice", "contoso", "bob"] {
        assert_complete(&fake, sandbox.stores(), login).await;
    }
    assert_eq!(sandbox.stores().number("SELECT count(*) FROM msght_leases WHERE name LIKE 'user %'").await, 0);
    fake.world_mut(|w| w.account_becomes_ghost(w.user("bob")));
    std::fs::write(sandbox.path().join("logins.txt"), "bob\n").unwrap();
    sandbox.run(&["load", "--route", "users", "--file", "logins.txt"]).await.assert_output(0, &[]);
    sandbox.run(&["retrieve-users", "--drain"]).await.assert_output(0, &["bob: gone, marked deleted", "1 done"]);
}
