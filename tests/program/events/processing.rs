//! Processing of events: both stores have what an event tells of before it counts as processed.

use std::time::Duration;

use fake_github::{FakeGitHub, Options, Payload, World};
use rstest::rstest;
use support::backends::Backends::{self, Embedded, Servers};
use support::program::{Sandbox, finish};
use support::stores::difference;

use super::{pull, sandbox};

const UNPROCESSED: &str = "SELECT count(*) FROM msght_events WHERE processed_at IS NULL";

/// Mirrors these repositories of the organization.
async fn mirror(sandbox: &Sandbox, repositories: &[&str]) {
    sandbox.mirror(repositories).await;
}

/// Asserts that the stores are those of a fresh mirror.
async fn assert_as_fresh(fake: &FakeGitHub, sandbox: &Sandbox, repositories: &[&str]) {
    let fresh = Sandbox::new(fake.url());
    mirror(&fresh, repositories).await;
    assert_eq!(difference(&fresh.dump().await, &sandbox.dump().await), None);
}

#[rstest]
#[tokio::test]
async fn event_whose_state_was_read_costs_no_request(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::many(1, 2), Options::unlimited()).await;
    let (sandbox, _theirs) = sandbox(&fake, "all").await;
    mirror(&sandbox, &["contoso/r000", "contoso/r001"]).await;
    pull(&sandbox).await;
    fake.reset_counters();
    let output = sandbox.run(&["data-retrieval", "--drain"]).await;
    output.assert_output(0, &["0 failed attempts, 0 given up"]);
    assert_eq!(sandbox.stores().number(UNPROCESSED).await, 0);
    let repositories = fake.requests().iter().filter(|request| request.path_and_query.starts_with("/repos/")).count();
    assert_eq!(repositories, 0);
}

#[rstest]
#[tokio::test]
async fn processed_events_make_the_stores_as_a_fresh_mirror(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::many(1, 2), Options::unlimited()).await;
    let (sandbox, _theirs) = sandbox(&fake, "all").await;
    let repositories = ["contoso/r000", "contoso/r001"];
    mirror(&sandbox, &repositories).await;
    fake.world_mut_from(Duration::from_secs(3600), |world| {
        let repo = world.repo("contoso/r001");
        let user = world.user("dev3");
        let commits = world.push(repo, "main", 3, 0);
        world.create_branch(repo, "topic", commits[0]);
        world.push(repo, "topic", 2, 1);
        let issue = world.open_issue(repo, Some(user), "New", Some("body"));
        world.add_comment(repo, issue, Some(user), "A comment");
        world.close_issue(repo, issue, Some(user));
        world.comment_commit(repo, commits[1], Some(user), "On a commit");
        world.add_tag(repo, "v9", commits[2]);
        world.add_release(repo, "v9", user, Some("Nine"));
    });
    pull(&sandbox).await;
    sandbox.run(&["data-retrieval", "--drain"]).await.assert_output(0, &["0 failed attempts, 0 given up"]);
    assert_eq!(sandbox.stores().number(UNPROCESSED).await, 0);
    for (collection, kind) in [("issue_comments", "a comment"), ("releases", "a release"), ("commit_comments", "one")] {
        let fresh = Sandbox::new(fake.url());
        mirror(&fresh, &repositories).await;
        let expected: Vec<String> = fresh.stores().collection(collection).await.into_keys().collect();
        let found: Vec<String> = sandbox.stores().collection(collection).await.into_keys().collect();
        assert_eq!(found, expected, "{kind}");
    }
    // What no event tells of, such as contributors, an ordinary run brings.
    mirror(&sandbox, &repositories).await;
    assert_as_fresh(&fake, &sandbox, &repositories).await;
}

#[rstest]
#[tokio::test]
async fn commits_that_were_pushed_over_are_kept(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::many(1, 1), Options::unlimited()).await;
    let (sandbox, _theirs) = sandbox(&fake, "all").await;
    mirror(&sandbox, &["contoso/r000"]).await;
    let lost = fake.world_mut(|world| {
        let repo = world.repo("contoso/r000");
        let commits = world.push(repo, "main", 2, 0);
        world.force_push(repo, "main", 2, 1);
        commits.into_iter().map(|commit| world.sha(commit).to_string()).collect::<Vec<String>>()
    });
    pull(&sandbox).await;
    sandbox.run(&["data-retrieval", "--drain"]).await.assert_output(0, &["0 given up"]);
    for sha in lost {
        let sql = format!("SELECT count(*) FROM commits WHERE sha = '{sha}'");
        assert_eq!(sandbox.stores().number(&sql).await, 1, "{sha}");
    }
}

#[rstest]
#[tokio::test]
async fn message_of_an_unknown_event_is_a_dead_letter_at_once(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::many(1, 1), Options::unlimited()).await;
    let (sandbox, theirs) = sandbox(&fake, "all").await;
    mirror(&sandbox, &["contoso/r000"]).await;
    pull(&sandbox).await;
    theirs.put("PushEvents", "999").await;
    theirs.put("PushEvents", "").await;
    let output = sandbox.run(&["data-retrieval", "--drain", "--types", "PushEvent"]).await;
    output.assert_output(1, &["no event with this id is stored", "names no event", "0 failed attempts, 2 given up"]);
    let output = sandbox.run(&["load", "--dead", "--type", "PushEvent"]).await;
    output.assert_output(0, &["2 messages put on the queue PushEvents"]);
    sandbox.run(&["load", "--route", "evt.PushEvent", "--dead"]).await.assert_output(0, &["0 messages"]);
}

#[rstest]
#[tokio::test]
async fn event_of_an_unknown_type_is_routed_and_processed(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::many(1, 1), Options::unlimited()).await;
    let (sandbox, theirs) = sandbox(&fake, "all").await;
    mirror(&sandbox, &["contoso/r000"]).await;
    fake.world_mut(|world| {
        let (repo, user) = (world.repo("contoso/r000"), world.user("dev1"));
        world.feed(repo, user, Payload::Future);
    });
    pull(&sandbox).await;
    let id = fake.all("/repos/contoso/r000/events")[0]["id"].as_str().unwrap().to_owned();
    assert!(theirs.take().await.contains(&id));
    sandbox.run(&["data-retrieval", "--drain"]).await.assert_output(0, &["0 given up"]);
    let sql = format!("SELECT count(*) FROM msght_events WHERE event_id = '{id}' AND processed_at IS NOT NULL");
    assert_eq!(sandbox.stores().number(&sql).await, 1);
}

#[rstest]
#[tokio::test]
async fn one_event_is_processed_by_its_id(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::many(1, 1), Options::unlimited()).await;
    let (sandbox, _theirs) = sandbox(&fake, "none").await;
    mirror(&sandbox, &["contoso/r000"]).await;
    fake.world_mut_from(Duration::from_secs(600), |world| {
        let repo = world.repo("contoso/r000");
        world.open_issue(repo, None, "New", None);
    });
    pull(&sandbox).await;
    let id = fake.all("/repos/contoso/r000/events")[0]["id"].as_str().unwrap().to_owned();
    let output = sandbox.run(&["data-retrieval", &id]).await;
    output.assert_output(0, &[]);
    assert!(output.out.contains(&format!("IssuesEvent {id}")) && output.out.contains("issues"), "{}", output.out);
    let output = sandbox.run(&["data-retrieval", &id]).await;
    assert!(output.out.contains("processed before"), "{}", output.out);
    sandbox.run(&["data-retrieval", "77"]).await.assert_output(1, &["event 77: no event with this id is stored"]);
}

#[rstest]
#[tokio::test]
async fn killed_workers_lose_no_event(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let options = Options { latency: Duration::from_millis(3), ..Options::unlimited() };
    let fake = FakeGitHub::start(World::many(1, 4), options).await;
    let (sandbox, _theirs) = sandbox(&fake, "all").await;
    let repositories = ["contoso/r000", "contoso/r001", "contoso/r002", "contoso/r003"];
    mirror(&sandbox, &repositories).await;
    fake.world_mut_from(Duration::from_secs(7200), |world| {
        for name in repositories {
            let repo = world.repo(name);
            world.push(repo, "main", 2, 0);
            for number in 0..5 {
                world.open_issue(repo, None, &format!("Issue {number}"), None);
            }
        }
    });
    pull(&sandbox).await;
    for delay in [200, 400, 600, 800, 1200] {
        let mut child = sandbox.spawn(&["data-retrieval"]);
        tokio::time::sleep(Duration::from_millis(delay)).await;
        child.kill().await.unwrap();
        let _ = finish(child).await;
    }
    sandbox.run(&["data-retrieval", "--drain"]).await.assert_output(0, &["0 given up"]);
    assert_eq!(sandbox.stores().number(UNPROCESSED).await, 0);
}
