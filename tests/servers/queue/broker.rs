//! What only a broker can do: be killed, hang, refuse.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use msght::queue::{Route, SettleOutcome};
use tokio::time::timeout;

use super::sandbox::{self, Kind, Sandbox, bodies, channel, consumer, next, no_more, push};
use support::servers::free_port;
use support::servers::rabbitmq::{LOCKED_VHOST, ODD_PASSWORD, ODD_USER, RabbitServer};

/// Every byte percent-encoded.
fn encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_kills_lose_no_message() {
    const ALL: u32 = 5000;
    let server = Arc::new(tokio::task::spawn_blocking(RabbitServer::start).await.unwrap());
    let url = server.vhost_url();
    let queue = sandbox::open(&url).await;
    queue.declare(&[push()]).await.unwrap();
    let published = Arc::new(AtomicUsize::new(0));
    let publishing = tokio::spawn({
        let (queue, published) = (queue.clone(), Arc::clone(&published));
        async move {
            for start in (0..ALL).step_by(50) {
                queue
                    .publish(&push(), bodies(start..start + 50))
                    .await
                    .expect("a broker that comes back is waited for");
                published.fetch_add(50, Ordering::Relaxed);
            }
        }
    });
    let consuming = tokio::spawn({
        let queue = queue.clone();
        async move {
            let mut deliveries = consumer(&queue, &push(), 32).await;
            let (mut distinct, mut all) = (BTreeSet::new(), 0);
            while distinct.len() < ALL as usize {
                let delivery = next(&mut deliveries).await;
                all += 1;
                distinct.insert(delivery.body().to_owned());
                match all % 50 {
                    0 => drop(delivery.retry_after(Duration::from_secs(1), "now and then").await.unwrap()),
                    _ => delivery.ack().await.unwrap(),
                }
            }
            (deliveries, all)
        }
    });
    for part in [ALL / 5, ALL * 3 / 5] {
        let deadline = Instant::now() + Duration::from_secs(60);
        while published.load(Ordering::Relaxed) < part as usize && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let server = Arc::clone(&server);
        tokio::task::spawn_blocking(move || {
            server.kill();
            server.restart();
        })
        .await
        .unwrap();
    }
    publishing.await.unwrap();
    let (mut deliveries, all) = timeout(Duration::from_secs(120), consuming).await.expect("all come").unwrap();
    // What was put off or published twice still comes; then there is nothing left.
    while let Ok(next) = timeout(Duration::from_secs(3), deliveries.next()).await {
        next.unwrap().unwrap().ack().await.unwrap();
    }
    println!("{all} deliveries of {ALL} messages");
    assert!(all < ALL * 2, "few come twice: {all}");
    assert_eq!(queue.depth(&push()).await.unwrap(), msght::queue::Depth::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_hangs_is_noticed_and_waited_for() {
    let server = tokio::task::spawn_blocking(RabbitServer::start).await.unwrap();
    let queue = sandbox::open(&format!("{}?heartbeat=2", server.vhost_url())).await;
    queue.declare(&[push()]).await.unwrap();
    let mut deliveries = consumer(&queue, &push(), 2).await;
    queue.publish(&push(), bodies(0..1)).await.unwrap();
    let held = next(&mut deliveries).await;
    server.freeze(true);
    let began = Instant::now();
    let publishing = tokio::spawn({
        let queue = queue.clone();
        async move { queue.publish(&push(), bodies(1..2)).await }
    });
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert!(!publishing.is_finished(), "nothing counts as published without the broker's word");
    server.freeze(false);
    timeout(Duration::from_secs(40), publishing).await.expect("goes on").unwrap().unwrap();
    println!("published {:?} after the broker began to hang", began.elapsed());
    held.ack().await.expect("an acknowledgement that came too late is no error");
    let mut seen = BTreeSet::new();
    while seen.len() < 2 {
        let delivery = next(&mut deliveries).await;
        seen.insert(delivery.body().to_owned());
        delivery.ack().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn overdue_messages_are_redelivered() {
    let settings = "[{rabbit, [{consumer_timeout, 2000}, {channel_tick_interval, 500}]}].";
    let server = tokio::task::spawn_blocking(move || RabbitServer::start_with(settings)).await.unwrap();
    let queue = sandbox::open(&server.vhost_url()).await;
    queue.declare(&[push()]).await.unwrap();
    queue.publish(&push(), bodies(0..3)).await.unwrap();
    let mut deliveries = consumer(&queue, &push(), 2).await;
    let held = next(&mut deliveries).await;
    // The second waits in the consumer's buffer meanwhile, and is taken back with the first.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let settled = held.retry_after(Duration::ZERO, "too late").await.expect("a late settlement does nothing");
    assert_eq!(settled, SettleOutcome::Expired);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let delivery = next(&mut deliveries).await;
        seen.push((delivery.body().to_owned(), delivery.attempts()));
        delivery.ack().await.unwrap();
    }
    assert_eq!(seen, (0..3).map(|n| (format!("message {n}"), 0)).collect::<Vec<_>>());
    no_more(&mut deliveries).await;
    assert_eq!(queue.depth(&push()).await.unwrap(), msght::queue::Depth::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn blocked_broker_still_serves_consumers() {
    // More than any disk has: the alarm is on from the first check.
    let settings = "[{rabbit, [{disk_free_limit, 1000000000000000}]}].";
    let server = tokio::task::spawn_blocking(move || RabbitServer::start_with(settings)).await.unwrap();
    let url =
        msght::backend_url::BackendUrl::parse(&server.vhost_url(), &[msght::backend_url::BackendKind::Amqp]).unwrap();
    let retry_policy = msght::retry::RetryPolicy::new(Duration::from_secs(1), |_| {});
    let queue = msght::queue::Queue::open(&url, sandbox::EXCHANGE, &retry_policy).await.unwrap();
    queue.declare(&[push()]).await.unwrap();
    let mut deliveries = consumer(&queue, &push(), 1).await;
    no_more(&mut deliveries).await;
    let began = Instant::now();
    let error = queue.publish(&push(), bodies(0..1)).await.unwrap_err();
    let text = error.to_string();
    println!("{text} after {:?}", began.elapsed());
    assert!(text.contains("short of memory or disk") && began.elapsed() < Duration::from_secs(60), "{text}");
    queue.depth(&push()).await.expect("other work goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn absent_broker_is_a_named_error() {
    let server = tokio::task::spawn_blocking(RabbitServer::start).await.unwrap();
    let url =
        msght::backend_url::BackendUrl::parse(&server.vhost_url(), &[msght::backend_url::BackendKind::Amqp]).unwrap();
    let retry_policy = msght::retry::RetryPolicy::new(Duration::from_secs(2), |_| {});
    let queue = msght::queue::Queue::open(&url, sandbox::EXCHANGE, &retry_policy).await.unwrap();
    queue.declare(&[push()]).await.unwrap();
    let mut deliveries = consumer(&queue, &push(), 2).await;
    server.kill();
    let error = queue.publish(&push(), bodies(0..1)).await.unwrap_err();
    assert!(!error.before_start && error.to_string().contains("amqp://guest:***@127.0.0.1:"), "{error}");
    let error = timeout(Duration::from_secs(30), deliveries.next()).await.unwrap().err().expect("it has ended");
    assert!(error.to_string().contains("PushEvents"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_broker_is_rejected_at_open() {
    let server = RabbitServer::shared();
    let port = server.port();
    let odd = format!("{}:{}", encode(ODD_USER), encode(ODD_PASSWORD));
    // Accepts and says nothing, as a broker that starts.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    for (url, expected) in [
        (format!("amqp://guest:guest@127.0.0.1:{port}/nowhere"), "vhost nowhere not found"),
        (format!("amqp://guest:s3cret%40%2F%3A%25@127.0.0.1:{port}/v0"), "percent-encode whatever"),
        (format!("amqp://{odd}@127.0.0.1:{port}/v0"), "access to vhost 'v0' refused"),
        (format!("amqp://guest:guest@127.0.0.1:{}/v0", free_port()), "refused"),
        (format!("amqp://guest:guest@no-such-host.invalid:{port}/v0"), "check that the broker runs"),
        (format!("amqp://guest:guest@[::1]:{port}/v0"), "refused"),
        (format!("amqp://guest:s3cret@127.0.0.1:{silent_port}/v0"), "no answer to a connection within"),
        (format!("amqp://guest:s3cret@127.0.0.1:{port}port/v0"), "not an AMQP URL"),
        (format!("amqp://guest:s3cret/raw@127.0.0.1:{port}/v0"), "user or password contains"),
    ] {
        let began = Instant::now();
        let error = sandbox::try_open(&url).await.err().unwrap_or_else(|| panic!("{url} opens"));
        let text = error.to_string();
        println!("{text}");
        assert!(error.before_start && text.contains(expected), "{url}: {text}");
        assert!(began.elapsed() < Duration::from_secs(30), "{url} took {:?}", began.elapsed());
        for secret in ["s3cret", ODD_PASSWORD, &encode(ODD_PASSWORD)] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn special_password_works_and_missing_rights_are_named() {
    let (user, password) = (encode(ODD_USER), encode(ODD_PASSWORD));
    let url = format!("amqp://{user}:{password}@127.0.0.1:{}/{LOCKED_VHOST}", RabbitServer::shared().port());
    let queue = sandbox::try_open(&url).await.expect("the password is decoded");
    let error = queue.declare(&[Route::Projects]).await.expect_err("no right to declare");
    let text = error.to_string();
    assert!(error.before_start && text.contains("access to exchange 'github' in vhost 'locked' refused"), "{text}");
    assert!(text.contains("grant the user the permission") && !text.contains(&password), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn queue_with_other_properties_is_an_error() {
    for what in ["queue with arguments", "queue that is not durable", "exchange of another type", "retry queue"] {
        let sandbox = Sandbox::new(Kind::Rabbitmq);
        let (_connection, channel) = channel(&sandbox.url()).await;
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let mut arguments = FieldTable::default();
        arguments.insert("x-max-length".into(), AMQPValue::LongInt(5));
        let none = FieldTable::default();
        match what {
            "queue with arguments" => {
                channel.queue_declare("msght.projects".into(), durable, arguments).await.unwrap();
            }
            "queue that is not durable" => {
                channel.queue_declare("msght.projects".into(), QueueDeclareOptions::default(), none).await.unwrap();
            }
            "exchange of another type" => {
                let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
                channel.exchange_declare("github".into(), ExchangeKind::Fanout, durable, none).await.unwrap();
            }
            _ => {
                channel.queue_declare("msght.projects.retry.1s".into(), durable, arguments).await.unwrap();
            }
        }
        let queue = sandbox.open().await;
        let error = if what == "retry queue" {
            queue.declare(&[Route::Projects]).await.unwrap();
            queue.publish(&Route::Projects, bodies(0..1)).await.unwrap();
            let mut deliveries = consumer(&queue, &Route::Projects, 1).await;
            let error =
                next(&mut deliveries).await.retry_after(Duration::ZERO, "once").await.expect_err("not possible");
            assert_eq!(next(&mut deliveries).await.body(), "message 0", "the message is back");
            error
        } else {
            let error = queue.declare(&[Route::Projects]).await.expect_err(what);
            assert!(error.before_start, "{what}");
            error
        };
        let text = error.to_string();
        println!("{text}");
        assert!(
            text.contains("PRECONDITION_FAILED") && text.contains("created with other properties"),
            "{what}: {text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ghtorrents_queues_are_accepted() {
    let sandbox = Sandbox::new(Kind::Rabbitmq);
    let (_connection, channel) = channel(&sandbox.url()).await;
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare("PushEvents".into(), durable, FieldTable::default()).await.unwrap();
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare("github".into(), ExchangeKind::Topic, options, FieldTable::default()).await.unwrap();
    let queue = sandbox.open().await;
    queue.declare(&[push()]).await.unwrap();
    let send = |payload: &'static [u8]| {
        let options = lapin::options::BasicPublishOptions::default();
        channel.basic_publish(
            "github".into(),
            "evt.PushEvent".into(),
            options,
            payload,
            lapin::BasicProperties::default(),
        )
    };
    send(b"12345678").await.unwrap();
    send(b"\xff\xfe not text").await.unwrap();
    let mut deliveries = consumer(&queue, &push(), 1).await;
    let delivery = next(&mut deliveries).await;
    assert_eq!((delivery.body(), delivery.attempts()), ("12345678", 0));
    delivery.ack().await.unwrap();
    next(&mut deliveries).await.dead_letter("no text").await.unwrap();
    assert_eq!(queue.requeue_dead(&push(), 1).await.unwrap(), 1);
    assert_eq!(next(&mut deliveries).await.body(), "\u{fffd}\u{fffd} not text");
}

#[tokio::test(flavor = "multi_thread")]
async fn consumer_of_deleted_queue_ends_with_error() {
    let sandbox = Sandbox::new(Kind::Rabbitmq);
    let queue = sandbox.open().await;
    queue.declare(&[push()]).await.unwrap();
    let mut deliveries = consumer(&queue, &push(), 1).await;
    no_more(&mut deliveries).await;
    let (_connection, channel) = channel(&sandbox.url()).await;
    channel.queue_delete("PushEvents".into(), lapin::options::QueueDeleteOptions::default()).await.unwrap();
    let error = timeout(Duration::from_secs(30), deliveries.next()).await.unwrap().err().expect("it has ended");
    assert!(error.to_string().contains("no queue 'PushEvents'"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_is_described_by_product_and_version() {
    let sandbox = Sandbox::new(Kind::Rabbitmq);
    let described = sandbox.open().await.describe().await.unwrap();
    assert!(described.starts_with("RabbitMQ 3.") || described.starts_with("RabbitMQ 4."), "{described}");
    assert!(described.contains("amqp://guest:***@") && described.ends_with("exchange github"), "{described}");
}
