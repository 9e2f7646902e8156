//! The queue's behaviors, each over both backends: an SQLite file and a real RabbitMQ.

mod broker;
mod sandbox;

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use msght::queue::{Depth, Queue, Route, SettleOutcome};
use rstest::rstest;
use sandbox::{Kind, Sandbox, bodies, consumer, next, no_more, push, settle_all};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Whatever a test waits for comes long before; on a machine that is busy with other tests, seconds late.
const SOON: Duration = Duration::from_secs(30);

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn messages_are_consumed_in_order(#[values(Kind::Sqlite, Kind::Rabbitmq)] kind: Kind) {
    let sandbox = Sandbox::new(kind);
    let queue = sandbox.open().await;
    queue.declare(&[Route::Projects, Route::Users]).await.unwrap();
    queue.declare(&[Route::Projects]).await.expect("declaring again changes nothing");
    queue.publish(&Route::Projects, bodies(0..1200)).await.unwrap();
    queue.publish(&Route::Users, vec!["ümlaut \u{1F980} '\"\\ \n".to_owned()]).await.unwrap();
    queue.publish(&Route::Users, Vec::new()).await.expect("nothing to publish is done");
    assert_eq!(queue.depth(&Route::Projects).await.unwrap(), Depth { ready: 1200, waiting: 0, dead: 0 });

    let mut users = consumer(&queue, &Route::Users, 1).await;
    let user = next(&mut users).await;
    assert_eq!((user.body(), user.attempts()), ("ümlaut \u{1F980} '\"\\ \n", 0));
    user.ack().await.unwrap();

    let mut projects = consumer(&queue, &Route::Projects, 16).await;
    for number in 0..1200 {
        let delivery = next(&mut projects).await;
        assert_eq!(delivery.body(), format!("message {number}"));
        delivery.ack().await.unwrap();
    }
    no_more(&mut projects).await;
    assert_eq!(queue.depth(&Route::Projects).await.unwrap(), Depth::default());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_no_queue_would_get_is_an_error(#[values(Kind::Sqlite, Kind::Rabbitmq)] kind: Kind) {
    let sandbox = Sandbox::new(kind);
    let queue = sandbox.open().await;
    queue.declare(&[push()]).await.unwrap();
    let error = queue.publish(&Route::for_event_type("NeverHeardOf").unwrap(), bodies(0..3)).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("evt.NeverHeardOf") && text.contains("no queue is bound") && !error.before_start, "{text}");
    queue.publish(&push(), bodies(0..1)).await.expect("the next one goes through");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_not_there_is_an_error(#[values(Kind::Sqlite, Kind::Rabbitmq)] kind: Kind) {
    let sandbox = Sandbox::new(kind);
    let queue = sandbox.open().await;
    queue.declare(&[Route::Projects]).await.unwrap();
    let consuming = queue.consume(&push(), 1, CancellationToken::new()).await.err().expect("no such queue").to_string();
    let counting = queue.depth(&push()).await.unwrap_err().to_string();
    assert!(consuming.contains("PushEvents") && counting.contains("PushEvents"), "{consuming}\n{counting}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn every_bound_queue_gets_each_event_once(#[values(Kind::Sqlite, Kind::Rabbitmq)] kind: Kind) {
    let sandbox = Sandbox::new(kind);
    let queue = sandbox.open().await;
    let watch = Route::for_event_type("WatchEvent").unwrap();
    queue.declare(&[push(), watch.clone(), Route::Projects]).await.unwrap();
    sandbox.bind_theirs(&["evt.PushEvent"]).await;
    queue.publish(&push(), bodies(0..50)).await.unwrap();
    queue.publish(&watch, bodies(50..100)).await.unwrap();
    queue.publish(&Route::Projects, bodies(100..101)).await.unwrap();

    let mut ours = consumer(&queue, &push(), 10).await;
    assert_eq!(settle_all(&mut ours, 50).await, (0..50).map(|n| format!("message {n}")).collect());
    no_more(&mut ours).await;
    let theirs = sandbox.take_theirs().await;
    assert_eq!(theirs, (0..100).map(|n| format!("message {n}")).collect::<Vec<_>>());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn deferred_message_returns_with_attempts(#[values(Kind::Sqlite, Kind::Rabbitmq)] kind: Kind) {
    let sandbox = Sandbox::new(kind);
    let queue = sandbox.open().await;
    queue.declare(&[push()]).await.unwrap();
    queue.publish(&push(), bodies(0..3)).await.unwrap();
    let mut deliveries = consumer(&queue, &push(), 1).await;
    let began = Instant::now();
    let settled = next(&mut deliveries).await.retry_after(Duration::from_secs(600), "a long time").await.unwrap();
    assert_eq!(settled, SettleOutcome::Applied);
    next(&mut deliveries).await.retry_after(Duration::from_secs(1), "counted").await.unwrap();
    next(&mut deliveries).await.ack().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(10), "others are not held up");
    assert_eq!(queue.depth(&push()).await.unwrap().dead, 0);

    let again = next(&mut deliveries).await;
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!((again.body(), again.attempts()), ("message 1", 1));
    again.defer(Duration::from_secs(1), "not counted").await.unwrap();
    let again = next(&mut deliveries).await;
    assert_eq!((again.body(), again.attempts()), ("message 1", 1));
    again.retry_after(Duration::ZERO, "counted once more").await.unwrap();
    let again = next(&mut deliveries).await;
    assert_eq!((again.body(), again.attempts()), ("message 1", 2));
    again.ack().await.unwrap();
    assert_eq!(queue.depth(&push()).await.unwrap(), Depth { ready: 0, waiting: 1, dead: 0 });
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_keep_their_reason(#[values(Kind::Sqlite, Kind::Rabbitmq)] kind: Kind) {
    let sandbox = Sandbox::new(kind);
    let queue = sandbox.open().await;
    queue.declare(&[push()]).await.unwrap();
    assert_eq!(queue.requeue_dead(&push(), 10).await.unwrap(), 0);
    assert_eq!(queue.dead_letters(&push(), 10).await.unwrap(), []);
    queue.publish(&push(), bodies(0..3)).await.unwrap();
    let mut deliveries = consumer(&queue, &push(), 1).await;
    for _ in 0..3 {
        let delivery = next(&mut deliveries).await;
        let reason = format!("{} failed: {}", delivery.body(), "long ".repeat(1000));
        delivery.dead_letter(&reason).await.unwrap();
    }
    no_more(&mut deliveries).await;
    for _ in 0..2 {
        let letters = queue.dead_letters(&push(), 2).await.unwrap();
        assert_eq!(letters.len(), 2, "looking takes nothing away");
        assert_eq!(letters[0].body, "message 0");
        assert!(letters[0].reason.starts_with("message 0 failed: long") && letters[0].reason.len() == 1000);
    }
    assert_eq!(queue.depth(&push()).await.unwrap(), Depth { ready: 0, waiting: 0, dead: 3 });
    assert_eq!(queue.requeue_dead(&push(), 2).await.unwrap(), 2);
    assert_eq!(settle_all(&mut deliveries, 2).await, BTreeSet::from(["message 0".to_owned(), "message 1".to_owned()]));
    assert_eq!(queue.requeue_dead(&push(), 1000).await.unwrap(), 1);
    let last = next(&mut deliveries).await;
    assert_eq!((last.body(), last.attempts()), ("message 2", 0));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn prefetch_limits_held_messages(#[values(Kind::Sqlite, Kind::Rabbitmq)] kind: Kind) {
    let sandbox = Sandbox::new(kind);
    let (one, other) = (sandbox.open().await, sandbox.open().await);
    one.declare(&[push()]).await.unwrap();
    one.publish(&push(), bodies(0..10)).await.unwrap();
    let mut first = consumer(&one, &push(), 3).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(next(&mut first).await);
    }
    no_more(&mut first).await;
    assert_eq!(one.depth(&push()).await.unwrap().ready, 7);
    let mut second = consumer(&other, &push(), 20).await;
    let rest = settle_all(&mut second, 7).await;
    no_more(&mut second).await;
    let ours: BTreeSet<String> = held.iter().map(|delivery| delivery.body().to_owned()).collect();
    assert!(ours.is_disjoint(&rest) && ours.len() + rest.len() == 10, "{ours:?} {rest:?}");
    held.pop().unwrap().ack().await.unwrap();
    one.publish(&push(), bodies(10..11)).await.unwrap();
    // Either of the two may take it, now that both have room.
    let taken = tokio::select! { taken = first.next() => taken, taken = second.next() => taken };
    assert_eq!(taken.unwrap().unwrap().body(), "message 10");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn four_consumers_share_messages(#[values(Kind::Sqlite, Kind::Rabbitmq)] kind: Kind) {
    let sandbox = Sandbox::new(kind);
    let queue = sandbox.open().await;
    queue.declare(&[push()]).await.unwrap();
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let queue = sandbox.open().await;
        workers.spawn(async move {
            let mut deliveries = consumer(&queue, &push(), 8).await;
            let mut done = Vec::new();
            while let Ok(next) = timeout(Duration::from_secs(3), deliveries.next()).await {
                let delivery = next.unwrap().unwrap();
                done.push(delivery.body().to_owned());
                delivery.ack().await.unwrap();
            }
            done
        });
    }
    for hundred in 0..4 {
        queue.publish(&push(), bodies(hundred * 100..(hundred + 1) * 100)).await.unwrap();
    }
    let shares: Vec<Vec<String>> = workers.join_all().await;
    let all: Vec<&String> = shares.iter().flatten().collect();
    let distinct: BTreeSet<&String> = all.iter().copied().collect();
    assert_eq!((all.len(), distinct.len()), (400, 400), "{:?}", shares.iter().map(Vec::len).collect::<Vec<_>>());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn unsettled_messages_return(#[values(Kind::Sqlite, Kind::Rabbitmq)] kind: Kind) {
    let sandbox = Sandbox::new(kind);
    let queue = sandbox.open().await;
    queue.declare(&[push()]).await.unwrap();
    queue.publish(&push(), bodies(0..5)).await.unwrap();
    let stop = CancellationToken::new();
    let mut deliveries = queue.consume(&push(), 4, stop.clone()).await.unwrap();
    let kept = next(&mut deliveries).await;
    drop(next(&mut deliveries).await);
    stop.cancel();
    assert!(timeout(SOON, deliveries.next()).await.unwrap().unwrap().is_none(), "a stop ends the stream");
    drop(deliveries);
    // With the last one in hand the subscription ends, and whatever it had not handed out is back at the latest.
    kept.ack().await.unwrap();
    let mut others = consumer(&queue, &push(), 10).await;
    let rest = settle_all(&mut others, 4).await;
    assert_eq!(rest, (1..5).map(|n| format!("message {n}")).collect(), "all but the one in hand");
    no_more(&mut others).await;
    drop(others);
    assert_eq!(queue.depth(&push()).await.unwrap(), Depth::default());
}

/// Not a test of its own: the process that the next test kills.
#[tokio::test]
#[ignore = "run by another test"]
async fn a_process_that_holds_messages() {
    let Ok(url) = std::env::var("MSGHT_TEST_QUEUE_URL") else { return };
    let queue = sandbox::open(&url).await;
    let mut deliveries = consumer(&queue, &push(), 3).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(next(&mut deliveries).await);
    }
    std::fs::write(std::env::var("MSGHT_TEST_FLAG").unwrap(), "holding").unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_process_held_comes_back_at_once(#[values(Kind::Sqlite, Kind::Rabbitmq)] kind: Kind) {
    let sandbox = Sandbox::new(kind);
    let queue = sandbox.open().await;
    queue.declare(&[push()]).await.unwrap();
    queue.publish(&push(), bodies(0..5)).await.unwrap();
    let flag = sandbox.directory().join("flag");
    let mut child = support::servers::spawn({
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "queue::a_process_that_holds_messages"]);
        command.env("MSGHT_TEST_QUEUE_URL", sandbox.url()).env("MSGHT_TEST_FLAG", &flag);
        command.stdout(Stdio::null());
        command
    });
    timeout(SOON, async {
        while !flag.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the process takes its messages");
    let mut deliveries = consumer(&queue, &push(), 10).await;
    assert_eq!(settle_all(&mut deliveries, 2).await, BTreeSet::from(["message 3".to_owned(), "message 4".to_owned()]));
    no_more(&mut deliveries).await;
    child.kill().unwrap();
    child.wait().unwrap();
    let killed = Instant::now();
    assert_eq!(settle_all(&mut deliveries, 3).await, (0..3).map(|n| format!("message {n}")).collect());
    assert!(killed.elapsed() < Duration::from_secs(10), "{:?}", killed.elapsed());
    assert_eq!(queue.depth(&push()).await.unwrap(), Depth::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_dead_consumer_are_ready() {
    let sandbox = Sandbox::new(Kind::Sqlite);
    let (one, other) = (sandbox.open().await, sandbox.open().await);
    one.declare(&[push()]).await.unwrap();
    one.publish(&push(), bodies(0..3)).await.unwrap();
    let mut slow = consumer(&one, &push(), 2).await;
    let _held = next(&mut slow).await;
    assert!(other.depth(&push()).await.unwrap().ready <= 2, "what is held by somebody who is there does not count");
    sandbox.execute("UPDATE consumers SET expires_at = 0, holder = NULL").await;
    // A worker that stops with the queue's end must not take it for empty.
    assert_eq!(other.depth(&push()).await.unwrap().ready, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_lease_frees_its_messages() {
    let sandbox = Sandbox::new(Kind::Sqlite);
    let (one, other) = (sandbox.open().await, sandbox.open().await);
    one.declare(&[push()]).await.unwrap();
    one.publish(&push(), bodies(0..2)).await.unwrap();
    let mut slow = consumer(&one, &push(), 2).await;
    let (first, second) = (next(&mut slow).await, next(&mut slow).await);
    // As if the process had been stopped for longer than its lease.
    sandbox.execute("UPDATE consumers SET expires_at = 0, holder = NULL").await;
    let mut quick = consumer(&other, &push(), 2).await;
    let taken = next(&mut quick).await;
    assert_eq!(taken.body(), "message 0");
    first.ack().await.expect("a late acknowledgement is no error");
    let settled = second.dead_letter("late").await.expect("nor is any other settlement");
    assert_eq!(settled, SettleOutcome::Expired);
    assert_eq!(other.depth(&push()).await.unwrap(), Depth::default(), "both are in the other consumer's hands");
    taken.ack().await.unwrap();
    next(&mut quick).await.ack().await.unwrap();
    drop(quick);
    other.publish(&push(), bodies(2..3)).await.unwrap();
    assert_eq!(next(&mut slow).await.body(), "message 2", "the consumer goes on under a new lease");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manuals_statements_do_what_it_says() {
    let sandbox = Sandbox::new(Kind::Sqlite);
    let queue = sandbox.open().await;
    queue.declare(&[Route::Projects, push()]).await.unwrap();
    sandbox.execute(&sandbox::manual(sandbox::GIVE_REPOSITORY)).await;
    let mut deliveries = consumer(&queue, &Route::Projects, 1).await;
    let delivery = next(&mut deliveries).await;
    assert_eq!((delivery.body(), delivery.attempts()), ("octocat Hello-World", 0));
    assert_eq!(delivery.dead_letter("gone").await.unwrap(), SettleOutcome::Applied);
    assert_eq!(sandbox.rows(&sandbox::manual(sandbox::SEE_DEAD)).await, 1);
    sandbox.bind_theirs(&[]).await;
    queue.publish(&push(), bodies(0..2)).await.unwrap();
    sandbox.execute(&sandbox::manual(sandbox::DELETE_QUEUE)).await;
    assert_eq!(sandbox.rows("SELECT id FROM messages WHERE queue = 'theirs'").await, 0);
    assert_eq!(sandbox.rows("SELECT queue FROM bindings WHERE queue = 'theirs'").await, 0);
    queue.publish(&push(), bodies(2..3)).await.expect("our own queue is still there");
    assert_eq!(queue.depth(&push()).await.unwrap().ready, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_queue_files_are_rejected() {
    let sandbox = Sandbox::new(Kind::Sqlite);
    let opened: Vec<Queue> = futures::future::join_all((0..8).map(|_| sandbox.open())).await;
    assert!(opened[0].describe().await.unwrap().starts_with("SQLite 3."));
    sandbox.execute("PRAGMA user_version = 99").await;
    let newer = sandbox::try_open(&sandbox.url()).await.err().expect("a newer layout is refused");
    assert!(newer.before_start && newer.to_string().contains("a newer msght wrote it (layout 99"), "{newer}");
    let other = Sandbox::new(Kind::Sqlite);
    other.execute("CREATE TABLE something (x)").await;
    let error = sandbox::try_open(&other.url()).await.err().expect("another database is refused");
    assert!(error.before_start && error.to_string().contains("another kind"), "{error}");
}

/// Not a test of its own: a worker that the next test kills. It notes what it does before it acknowledges.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by another test"]
async fn a_process_that_works() {
    let Ok(url) = std::env::var("MSGHT_TEST_QUEUE_URL") else { return };
    let queue = sandbox::open(&url).await;
    let mut deliveries = consumer(&queue, &push(), 16).await;
    let mut notes =
        OpenOptions::new().append(true).create(true).open(std::env::var("MSGHT_TEST_NOTES").unwrap()).unwrap();
    loop {
        let delivery = next(&mut deliveries).await;
        notes.write_all(format!("{}\n", delivery.body()).as_bytes()).unwrap();
        delivery.ack().await.unwrap();
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn repeated_worker_kills_lose_nothing(#[values(Kind::Sqlite, Kind::Rabbitmq)] kind: Kind) {
    const ALL: u32 = 3000;
    const WORKERS: usize = 3;
    let sandbox = Sandbox::new(kind);
    let queue = sandbox.open().await;
    queue.declare(&[push()]).await.unwrap();
    let notes = sandbox.directory().join("notes");
    let start = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "queue::a_process_that_works"]);
        command.env("MSGHT_TEST_QUEUE_URL", sandbox.url()).env("MSGHT_TEST_NOTES", &notes);
        support::servers::spawn({
            command.stdout(Stdio::null());
            command
        })
    };
    let done =
        || -> Vec<String> { std::fs::read_to_string(&notes).unwrap_or_default().lines().map(str::to_owned).collect() };
    let mut workers: Vec<_> = (0..WORKERS).map(|_| start()).collect();
    for start_at in (0..ALL).step_by(500) {
        let before = done().len();
        queue.publish(&push(), bodies(start_at..start_at + 500)).await.unwrap();
        let worker = &mut workers[start_at as usize / 500 % WORKERS];
        timeout(SOON, async {
            while done().len() < before + 100 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("the workers work");
        worker.kill().unwrap();
        worker.wait().unwrap();
        *worker = start();
    }
    timeout(SOON, async {
        while queue.depth(&push()).await.unwrap() != Depth::default()
            || done().iter().collect::<BTreeSet<_>>().len() < ALL as usize
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .expect("everything gets done");
    for mut worker in workers {
        worker.kill().unwrap();
        worker.wait().unwrap();
    }
    // At most what each kill left in hand is done twice.
    println!("{kind:?}: {} done of {ALL}", done().len());
    assert!(done().len() <= ALL as usize + 6 * 16, "{}", done().len());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn throughput(#[values(Kind::Sqlite, Kind::Rabbitmq)] kind: Kind) {
    let sandbox = Sandbox::new(kind);
    let queue = sandbox.open().await;
    queue.declare(&[push()]).await.unwrap();
    let began = Instant::now();
    queue.publish(&push(), bodies(0..5000)).await.unwrap();
    let batch = 5000.0 / began.elapsed().as_secs_f64();
    let began = Instant::now();
    for number in 0..200 {
        queue.publish(&push(), bodies(number..number + 1)).await.unwrap();
    }
    let single = 200.0 / began.elapsed().as_secs_f64();
    let began = Instant::now();
    let mut deliveries = consumer(&queue, &push(), 64).await;
    for _ in 0..5200 {
        next(&mut deliveries).await.ack().await.unwrap();
    }
    let consumed = 5200.0 / began.elapsed().as_secs_f64();
    println!("{kind:?}: published {batch:.0}/s in a batch, {single:.0}/s one by one; consumed {consumed:.0}/s");
}
