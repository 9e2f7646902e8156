//! Many processes share the work: each repository once, by one at a time, and none is lost when a worker dies.

use std::time::Duration;

use rstest::rstest;

use fake_github::{FakeGitHub, Options, World};
use support::backends::Backends::{self, Embedded, Servers};
use support::program::{Sandbox, finish};
use support::stores::difference;
use support::workers::{assert_no_concurrent_work, drain, load, worker};

#[rstest]
#[tokio::test]
async fn worker_drains_queue_and_dead_letters(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let fake = FakeGitHub::start(World::many(1, 3), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url()).with_queue().with("MSGHT_QUEUE__RETRY_AFTER", "1s");
    let sandbox = sandbox.with("MSGHT_QUEUE__ATTEMPTS", "2");
    std::fs::write(sandbox.path().join("list"), "# ours\ncontoso r000\ncontoso/r001\r\n\ncontoso none\n").unwrap();
    let loaded = sandbox.run(&["load", "--route", "projects", "--file", "list"]).await;
    loaded.assert_output(0, &["3 messages put on the queue msght.projects"]);
    let output = sandbox.run(&["retrieve-repos", "--drain"]).await;
    output.assert_output(
        1,
        &[
            "contoso r000: done: ",
            "contoso r001: done: ",
            "no token can read contoso/none",
            "attempt 1 of 2, the next in 1 s",
            "given up after 2 attempts",
            "2 done, 1 failed attempts, 1 given up",
        ],
    );
    let alone = Sandbox::new(fake.url());
    alone.mirror(&["contoso/r000", "contoso/r001"]).await;
    assert_eq!(difference(&alone.dump().await, &sandbox.dump().await), None);
    // What was given up can be tried again.
    let again = sandbox.run(&["load", "--route", "projects", "--dead"]).await;
    again.assert_output(0, &["1 message put on the queue msght.projects"]);
    sandbox.run(&["retrieve-repos", "--drain"]).await.assert_output(1, &["0 done, 1 failed attempts, 1 given up"]);
}

#[rstest]
#[tokio::test]
async fn invalid_file_loads_nothing(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let sandbox = Sandbox::new("http://127.0.0.1:1/").with_queue();
    std::fs::write(sandbox.path().join("list"), "contoso web\nnonsense\n").unwrap();
    let output = sandbox.run(&["load", "--route", "projects", "--file", "list"]).await;
    output.assert_output(2, &["list, line 2", "\"nonsense\"", "nothing was put on the queue"]);
    sandbox.run(&["load", "--route", "projects", "--file", "none"]).await.assert_output(2, &["can't read none"]);
    sandbox.run(&["load", "--route", "evt.PushEvent", "--file", "list"]).await.assert_output(2, &["takes no file"]);
    sandbox.run(&["retrieve-repos", "--drain"]).await.assert_output(0, &["0 done"]);
}

#[rstest]
#[tokio::test]
async fn four_workers_never_share_a_repository(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let options = Options { latency: Duration::from_millis(2), ..Options::unlimited() };
    let fake = FakeGitHub::start(World::many(2, 40), options).await;
    let sandbox = Sandbox::new(fake.url()).with_queue();
    // Everything stands on the queue twice.
    load(&sandbox, 40).await;
    load(&sandbox, 40).await;
    let workers: Vec<_> = (0..4).map(|number| worker(&sandbox, number)).collect();
    let mut shares = Vec::new();
    for child in workers {
        let output = finish(child).await;
        output.assert_output(0, &[]);
        shares.push(output.err.matches(": done: ").count());
    }
    assert_eq!(shares.iter().sum::<usize>(), 80, "{shares:?}");
    assert!(shares.iter().all(|share| *share > 0), "{shares:?}");
    assert_no_concurrent_work(&fake);
    let alone = Sandbox::new(fake.url());
    let names: Vec<String> = (0..40).map(|r| format!("contoso/r{r:03}")).collect();
    alone.mirror(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(difference(&alone.dump().await, &sandbox.dump().await), None);
}

#[rstest]
#[tokio::test]
async fn jobs_take_turns_at_a_queued_duplicate(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let options = Options { latency: Duration::from_millis(10), ..Options::unlimited() };
    let fake = FakeGitHub::start(World::many(4, 4), options).await;
    let once = Sandbox::new(fake.url()).with_queue();
    load(&once, 4).await;
    drain(&once).await;
    let cost = fake.counted();
    fake.reset_counters();
    let twice = Sandbox::new(fake.url()).with_queue();
    let list: String = (0..8).map(|r| format!("contoso r{:03}\n", r / 2)).collect();
    std::fs::write(twice.path().join("projects"), list).unwrap();
    twice.run(&["load", "--route", "projects", "--file", "projects"]).await.assert_output(0, &[]);
    drain(&twice).await;
    // The second time is a refresh.
    let (both, most) = (fake.counted(), cost + 4 * 8);
    assert!(both <= most, "{both} requests, {cost} for once");
}

#[rstest]
#[tokio::test]
async fn renamed_repository_has_one_worker_at_a_time(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let options = Options { latency: Duration::from_millis(10), ..Options::unlimited() };
    let fake = FakeGitHub::start(World::many(4, 2), options).await;
    fake.world_mut(|w| {
        for r in 0..2 {
            w.rename_repo(w.repo(&format!("contoso/r{r:03}")), &format!("n{r:03}"));
        }
    });
    let once = Sandbox::new(fake.url()).with_queue();
    load(&once, 2).await;
    drain(&once).await;
    let cost = fake.counted();
    fake.reset_counters();
    let twice = Sandbox::new(fake.url()).with_queue();
    std::fs::write(twice.path().join("list"), "contoso r000\ncontoso n000\ncontoso n001\ncontoso r001\n").unwrap();
    twice.run(&["load", "--route", "projects", "--file", "list"]).await.assert_output(0, &[]);
    let output = finish(worker(&twice, 0)).await;
    output.assert_output(0, &["4 done"]);
    // The second time is a refresh; each look under an old name is two requests.
    let (both, most) = (fake.counted(), cost + 2 * 12);
    assert!(both <= most, "{both} requests, {cost} for once");
    assert_eq!(difference(&once.dump().await, &twice.dump().await), None);
}

#[rstest]
#[tokio::test]
async fn workers_that_are_killed_lose_no_repository(#[values(Embedded, Servers)] stores: Backends) {
    let _over = stores.select();
    let options = Options { latency: Duration::from_millis(5), ..Options::unlimited() };
    let fake = FakeGitHub::start(World::many(3, 30), options).await;
    let sandbox = Sandbox::new(fake.url()).with_queue();
    load(&sandbox, 30).await;
    for round in 0..3 {
        let mut workers: Vec<_> = (0..2).map(|number| worker(&sandbox, 10 * round + number)).collect();
        tokio::time::sleep(Duration::from_millis(700)).await;
        for child in &mut workers {
            child.kill().await.unwrap();
        }
    }
    drain(&sandbox).await;
    assert_no_concurrent_work(&fake);
    let alone = Sandbox::new(fake.url());
    let names: Vec<String> = (0..30).map(|r| format!("contoso/r{r:03}")).collect();
    alone.mirror(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(difference(&alone.dump().await, &sandbox.dump().await), None);
}
