//! How fast `msght webhooks` receives deliveries, over embedded stores: `cargo bench --bench webhooks [COUNT]`.
//!
//! Prints the deliveries stored a second by senders that wait for nothing, the time to the answer at 200 a second, and the
//! size of the inbox a million deliveries.

// The stricter lints are for the program.
#![allow(clippy::pedantic, clippy::print_stdout)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use support::program::Sandbox;
use support::webhooks::{HttpRequest, WebhookServer};

/// Deliveries of each part, unless the command line says otherwise.
const COUNT: u64 = 10_000;
/// Senders at a time.
const SENDERS: u64 = 32;
/// Deliveries a second of the second part.
const RATE: u64 = 200;

/// A delivery of some 7 KB, as most of GitHub's are.
fn delivery(number: u64) -> HttpRequest {
    let user =
        json!({ "login": "octocat", "id": 583_231, "url": "https://api.github.com/users/octocat", "type": "User" });
    let urls: Vec<String> =
        (0..60).map(|kind| format!("https://api.github.com/repos/contoso/web/kind-{kind}{{/number}}")).collect();
    let body = json!({
        "action": "edited",
        "issue": { "number": number, "title": format!("Number {number}"), "body": "It fails. ".repeat(150), "user": user },
        "repository": { "id": 7, "name": "web", "owner": { "login": "contoso" }, "urls": urls },
        "organization": { "login": "contoso" },
        "sender": user,
    });
    HttpRequest::delivery(number, "issues", body.to_string())
}

#[tokio::main]
async fn main() {
    let count = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(COUNT);
    let sandbox = Sandbox::new("http://127.0.0.1:9/");
    let server = WebhookServer::start(&sandbox, &[]).await;

    let next = Arc::new(AtomicU64::new(1));
    let began = Instant::now();
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| {
            let (next, address) = (Arc::clone(&next), server.address.clone());
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number > count {
                        break;
                    }
                    assert_eq!(delivery(number).send(&address).await.0, 202);
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    let took = began.elapsed();
    println!("{count} deliveries in {took:.2?}: {:.0} a second", count as f64 / took.as_secs_f64());

    let mut sent = Vec::new();
    for number in count + 1..=count + RATE * 15 {
        let address = server.address.clone();
        sent.push(tokio::spawn(async move {
            let request = delivery(number);
            let began = Instant::now();
            assert_eq!(request.send(&address).await.0, 202);
            began.elapsed()
        }));
        tokio::time::sleep(Duration::from_millis(1000 / RATE)).await;
    }
    let mut times = Vec::new();
    for one in sent {
        times.push(one.await.unwrap());
    }
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("at {RATE} a second: p50 {:.1?}, p99 {:.1?}, slowest {:.1?}", at(0.5), at(0.99), at(1.0));

    server.stop().await;
    let size = std::fs::metadata(sandbox.data_dir().join("documents.db")).unwrap().len();
    let stored = count + RATE * 15;
    println!(
        "{stored} deliveries of {} bytes take {size} bytes: {:.2} GB a million",
        delivery(1).body.len(),
        size as f64 / stored as f64 / 1000.0
    );
}
