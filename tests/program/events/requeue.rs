//! Requeuing: what an operator asks for, and what the program finds by itself.

use fake_github::{FakeGitHub, Options, World};
use rstest::rstest;
use support::backends::Backends::{self, Embedded, Servers};

use super::{assert_each_once, ids_of, pull, sandbox};

#[rstest]
#[tokio::test]
async fn stored_events_are_requeued_for_msght_alone(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::many(1, 2), Options::unlimited()).await;
    let (sandbox, theirs) = sandbox(&fake, "none").await;
    pull(&sandbox).await;
    let pushes: Vec<String> = fake
        .all("/orgs/contoso/events")
        .iter()
        .filter(|event| event["type"] == "PushEvent")
        .map(|event| event["id"].as_str().unwrap().to_owned())
        .collect();
    let output = sandbox.run(&["load", "--since", "2000-01-01", "--type", "PushEvent"]).await;
    output.assert_output(0, &["put on the queue PushEvents"]);
    assert_each_once(&theirs.take_from("PushEvents").await, &pushes.iter().cloned().collect());
    assert_eq!(theirs.take().await, [""; 0], "other consumers don't see it");
    sandbox.run(&["load", "--since", "2000-01-01", "--republish"]).await.assert_output(0, &[]);
    assert_each_once(&theirs.take().await, &ids_of(&fake));
    sandbox.run(&["load", "--since", "2099-01-01"]).await.assert_output(0, &["no event is stored"]);
    sandbox.run(&["load", "--since", "2000-01-01", "--rate", "none"]).await.assert_output(2, &["600/min"]);
    let output = sandbox.run(&["load", "--since", "2026-01-02", "--until", "2026-01-01"]).await;
    output.assert_output(2, &["--until is not after --since"]);
}

#[rstest]
#[tokio::test]
async fn event_whose_message_was_lost_is_requeued(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::many(1, 1), Options::unlimited()).await;
    let (sandbox, theirs) = sandbox(&fake, "all").await;
    pull(&sandbox).await;
    theirs.take().await;
    let ours = theirs.take_from("PushEvents").await;
    assert!(!ours.is_empty());
    let execute = async |sql: &str| sandbox.stores().relational.execute(sql).await;
    execute("UPDATE msght_events SET queued_at = queued_at - 7200").await;
    // What is processed, or given up, is not lost.
    execute(&format!("UPDATE msght_events SET processed_at = 1 WHERE event_id = '{}'", ours[0])).await;
    pull(&sandbox).await;
    let again = theirs.take_from("PushEvents").await;
    assert_each_once(&again, &ours[1..].iter().cloned().collect());
    assert_eq!(theirs.take().await, [""; 0], "not through the exchange");
}
