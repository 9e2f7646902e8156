//! Events: each is stored once and routed once, whatever goes wrong on the way.

mod foreign_queue;
mod processing;
mod requeue;

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::Utc;
use fake_github::{FakeGitHub, Live, Options, World};
use foreign_queue::ForeignQueue;
use msght::backend_url::{BackendKind, BackendUrl};
use msght::retry::RetryPolicy;
use msght::store::relational::Relational;
use msght::store::relational::feeds::{Announcement, FeedTarget};
use rstest::rstest;
use support::backends::Backends::{self, Embedded, Servers};
use support::program::{RunOutput, Sandbox, finish};
use support::stores::RelationalStore;

/// A sandbox with a queue of its own, the organization's name in its list, and another program's queue.
async fn sandbox(fake: &FakeGitHub, publish: &str) -> (Sandbox, ForeignQueue) {
    let sandbox = Sandbox::new(fake.url()).with_queue().with("MSGHT_EVENTS__PUBLISH", publish);
    std::fs::write(sandbox.path().join("orgs.txt"), "contoso\n").unwrap();
    // Creates the queue with its exchange, and the tables.
    sandbox.run(&["load", "--route", "users", "--file", "/dev/null"]).await.assert_output(0, &[]);
    relational(&sandbox).await.close().await;
    let theirs = ForeignQueue::bind(&sandbox).await;
    (sandbox, theirs)
}

/// Pulls the organization's feed, as if GitHub's interval were over.
async fn pull(sandbox: &Sandbox) -> RunOutput {
    make_feeds_due(sandbox).await;
    let output = sandbox.run(&["mirror-events", "--once"]).await;
    output.assert_output(0, &["1 feed pulled, 0 failed"]);
    output
}

async fn make_feeds_due(sandbox: &Sandbox) {
    sandbox.stores().relational.execute("UPDATE msght_feeds SET pulled_at = 0, next_at = NULL").await;
}

/// Ids of all events that GitHub has.
fn ids_of(fake: &FakeGitHub) -> BTreeSet<String> {
    fake.all("/orgs/contoso/events").iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

async fn stored(sandbox: &Sandbox) -> BTreeSet<String> {
    let documents: BTreeSet<String> = sandbox.stores().collection("events").await.into_keys().collect();
    let rows = sandbox.stores().sql("SELECT event_id FROM msght_events").await;
    let rows: BTreeSet<String> = rows.into_iter().flatten().collect();
    assert_eq!(documents, rows, "each document has its row");
    documents
}

/// Asserts that these are all the events, each once.
fn assert_each_once(taken: &[String], expected: &BTreeSet<String>) {
    let distinct: BTreeSet<String> = taken.iter().cloned().collect();
    assert_eq!(&distinct, expected);
    assert_eq!(taken.len(), distinct.len(), "some came twice");
}

/// The relational store, as a delivery's intake uses it.
async fn relational(sandbox: &Sandbox) -> Relational {
    let url = match &sandbox.stores().relational {
        RelationalStore::Sqlite(path) => format!("sqlite:{}", path.display()),
        RelationalStore::Mysql { url } => url.clone(),
    };
    let url = BackendUrl::parse(&url, &[BackendKind::Sqlite, BackendKind::Mysql]).unwrap();
    Relational::open(&url, &RetryPolicy::new(Duration::from_secs(60), |_| {})).await.unwrap()
}

#[rstest]
#[tokio::test]
async fn every_event_is_stored_once_and_routed_once(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::many(1, 3), Options::unlimited()).await;
    let (sandbox, theirs) = sandbox(&fake, "all").await;
    let all = ids_of(&fake);
    pull(&sandbox).await;
    assert_eq!(stored(&sandbox).await, all);
    assert_each_once(&theirs.take().await, &all);
    let sql = "SELECT count(*) FROM msght_events WHERE published_at IS NULL";
    assert_eq!(sandbox.stores().number(sql).await, 0);
    // Each type has its own queue of msght's, too.
    let kinds = sandbox.stores().sql("SELECT DISTINCT type FROM msght_events").await;
    let mut ours = Vec::new();
    for kind in kinds.iter().flatten() {
        ours.extend(theirs.take_from(&format!("{kind}s")).await);
    }
    assert_each_once(&ours, &all);
    // What is known is neither stored nor published again.
    pull(&sandbox).await;
    assert_eq!(theirs.take().await, [""; 0]);
    fake.world_mut(|world| {
        let repo = world.repo("contoso/r001");
        world.push(repo, "main", 2, 0);
        world.open_issue(repo, None, "New", None);
    });
    pull(&sandbox).await;
    let later: BTreeSet<String> = ids_of(&fake).difference(&all).cloned().collect();
    assert!(later.len() >= 2, "{later:?}");
    assert_each_once(&theirs.take().await, &later);
}

#[rstest]
#[tokio::test]
async fn only_events_since_the_first_start_are_live(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::many(1, 2), Options::unlimited()).await;
    let (sandbox, theirs) = sandbox(&fake, "live").await;
    pull(&sandbox).await;
    let old = stored(&sandbox).await;
    assert_eq!(old, ids_of(&fake), "all are stored");
    assert_eq!(theirs.take().await, [""; 0], "none is published");
    fake.world_mut(|world| {
        let repo = world.repo("contoso/r001");
        world.push(repo, "main", 1, 0);
    });
    // A backfill that finds them first publishes them as well.
    sandbox.mirror(&["contoso/r001"]).await;
    pull(&sandbox).await;
    let later: BTreeSet<String> = ids_of(&fake).difference(&old).cloned().collect();
    assert_each_once(&theirs.take().await, &later);
}

#[rstest]
#[tokio::test]
async fn events_that_come_late_behind_known_ones_are_found(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let live = Live { feed_lag: Duration::from_secs(1), feed_behind: 50, ..Live::default() };
    let fake = FakeGitHub::start(World::many(1, 1), Options { live, ..Options::unlimited() }).await;
    let (sandbox, theirs) = sandbox(&fake, "all").await;
    pull(&sandbox).await;
    for round in 0..4 {
        fake.world_mut(|world| {
            let repo = world.repo("contoso/r000");
            world.push(repo, "main", 1, 0);
            world.open_issue(repo, None, &format!("Round {round}"), None);
        });
        pull(&sandbox).await;
    }
    tokio::time::timeout(Duration::from_secs(60), async {
        while fake.world(|world| {
            let repo = world.repo("contoso/r000");
            world.repos[repo].feed.len()
        }) > ids_of(&fake).len()
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .expect("the feed shows all");
    pull(&sandbox).await;
    assert_eq!(stored(&sandbox).await, ids_of(&fake));
    assert_each_once(&theirs.take().await, &ids_of(&fake));
}

#[rstest]
#[tokio::test]
async fn killed_puller_loses_no_event(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::many(1, 12), Options::unlimited()).await;
    let (sandbox, theirs) = sandbox(&fake, "all").await;
    for delay in [40, 80, 120, 160, 200, 260, 340] {
        make_feeds_due(&sandbox).await;
        let mut child = sandbox.spawn(&["mirror-events"]);
        tokio::time::sleep(Duration::from_millis(delay)).await;
        child.kill().await.unwrap();
        let _ = finish(child).await;
    }
    // A pull and a claim of dead processes are taken over.
    sandbox.stores().relational.execute("UPDATE msght_feeds SET puller_until = 0").await;
    pull(&sandbox).await;
    let all = ids_of(&fake);
    assert_eq!(stored(&sandbox).await, all);
    let taken: BTreeSet<String> = theirs.take().await.into_iter().collect();
    assert_eq!(taken, all, "each was routed at least once");
}

#[rstest]
#[tokio::test]
async fn event_is_published_after_a_crash_between_its_steps(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::many(1, 2), Options::unlimited()).await;
    let (sandbox, theirs) = sandbox(&fake, "all").await;
    pull(&sandbox).await;
    theirs.take().await;
    let ids: Vec<String> = ids_of(&fake).into_iter().collect();
    let execute = async |sql: String| sandbox.stores().relational.execute(&sql).await;
    // Between document and row; between row and publishing, claimed by a process that is no more; between confirm and note.
    execute(format!("DELETE FROM msght_events WHERE event_id = '{}'", ids[0])).await;
    execute(format!(
        "UPDATE msght_events SET published_at = NULL, publisher = 'host/1/x/00', publisher_until = 9 WHERE event_id = '{}'",
        ids[1]
    ))
    .await;
    execute(format!("UPDATE msght_events SET published_at = NULL WHERE event_id = '{}'", ids[2])).await;
    execute("UPDATE msght_feeds SET etag = NULL".to_owned()).await;
    pull(&sandbox).await;
    assert_each_once(&theirs.take().await, &ids[..3].iter().cloned().collect());
}

#[rstest]
#[tokio::test]
async fn announced_event_that_never_comes_is_counted(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::many(1, 1), Options::unlimited()).await;
    let (sandbox, _theirs) = sandbox(&fake, "all").await;
    pull(&sandbox).await;
    let events = sandbox.stores().collection("events").await;
    let (id, known) = events.iter().find(|(_, event)| event["type"] == "PushEvent").unwrap();
    let number = known["repo"]["id"].as_i64().unwrap();
    let shown = sandbox.stores().sql(&format!("SELECT mark FROM msght_events WHERE event_id = '{id}'")).await;
    let announce = |mark: &str, kind: &str, age: i64| {
        let at = Utc::now() - chrono::Duration::seconds(age);
        let announcement = Announcement { kind: kind.to_owned(), mark: mark.to_owned(), at };
        FeedTarget::repository(Some(number), "contoso", "r000").announcing(Some(announcement))
    };
    let relational = relational(&sandbox).await;
    let targets = vec![
        announce(&shown[0][0], "PushEvent", 5),
        announce("1 PullRequestEvent 1 opened", "PullRequestEvent", 5),
        announce("1 PullRequestEvent 2 opened", "PullRequestEvent", 40_000),
    ];
    relational.request_feeds(targets).await.unwrap();
    relational.close().await;
    sandbox.run(&["mirror-events", "--once"]).await.assert_output(0, &["1 feed pulled"]);
    let open = sandbox.stores().sql("SELECT mark FROM msght_announcements").await;
    assert_eq!(open, [["1 PullRequestEvent 1 opened"]], "what is known and what is given up are settled");
    let misses = sandbox.stores().sql("SELECT type, never_in_feed FROM msght_feed_misses").await;
    assert_eq!(misses, [["PullRequestEvent", "1"]]);
    let next = sandbox.stores().number("SELECT next_at - pulled_at FROM msght_feeds WHERE next_at IS NOT NULL").await;
    assert!((55..=75).contains(&next), "GitHub's interval and a minute after the announcement: {next}");
}

#[rstest]
#[tokio::test]
async fn feed_that_no_longer_reaches_back_is_a_gap(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::many(1, 1), Options::unlimited()).await;
    let (sandbox, _theirs) = sandbox(&fake, "all").await;
    let pull_both = async || {
        let number = fake.one("/repos/contoso/r000")["id"].as_i64();
        let relational = relational(&sandbox).await;
        make_feeds_due(&sandbox).await;
        relational.request_feeds(vec![FeedTarget::repository(number, "contoso", "r000")]).await.unwrap();
        relational.close().await;
        sandbox.run(&["mirror-events", "--once"]).await.assert_output(0, &["2 feeds pulled, 0 failed"]);
    };
    pull_both().await;
    assert_eq!(sandbox.stores().number("SELECT count(*) FROM msght_feed_gaps").await, 0);
    fake.world_mut(|world| {
        let repo = world.repo("contoso/r000");
        for number in 0..320 {
            world.open_issue(repo, None, &format!("Issue {number}"), None);
        }
    });
    pull_both().await;
    // The repository's lists are read instead; which ones an organization's gap concerns is not known.
    let gaps = "SELECT CASE WHEN closed_at IS NULL THEN 'open' ELSE 'closed' END FROM msght_feed_gaps \
                WHERE after_at < before_at ORDER BY feed";
    assert_eq!(sandbox.stores().sql(gaps).await, [["open"], ["closed"]]);
    let wishes = "SELECT count(*) FROM msght_refreshes WHERE repo = 'r000' AND kind IN ('issues', 'pulls', 'branches')";
    assert_eq!(sandbox.stores().number(wishes).await, 3);
}
