//! The inbox of deliveries, on each backend of the document store.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use msght::backend_url::{BackendKind, BackendUrl};
use msght::retry::RetryPolicy;
use msght::store::documents::Documents;
use msght::store::documents::deliveries::{CompressedBody, DeliveryKey, DeliveryState, NewDelivery, Stored};
use rstest::rstest;
use support::servers::mongodb::MongoServer;
use tempfile::TempDir;

/// What a store runs on.
#[derive(Clone, Copy, Debug)]
enum On {
    Sqlite,
    Mongodb,
}

const LEASE: Duration = Duration::from_secs(60);

async fn open(on: On, name: &str) -> (Documents, TempDir) {
    let directory = TempDir::new().unwrap();
    let url = match on {
        On::Sqlite => BackendUrl::sqlite(directory.path().join("documents.db")),
        On::Mongodb => {
            BackendUrl::parse(&MongoServer::shared().url(name), &[BackendKind::Mongodb]).expect("the server's URL")
        }
    };
    let policy = RetryPolicy::new(Duration::from_secs(60), |_| {});
    (Documents::open(&url, &policy).await.unwrap(), directory)
}

fn key(number: u64) -> DeliveryKey {
    DeliveryKey::new(&format!("72D3162E-cc78-11e3-81ab-{number:012x}"), 7)
}

fn delivery(number: u64, body: &[u8]) -> NewDelivery {
    NewDelivery {
        key: key(number),
        event: "issues".to_owned(),
        action: Some("opened".to_owned()),
        owner: Some("contoso".to_owned()),
        repo: None,
        headers: vec![("x-github-event".to_owned(), "issues".to_owned())],
        received_at: Utc::now() - TimeDelta::milliseconds(1000 - i64::try_from(number).unwrap()),
        body: CompressedBody::compress(body),
    }
}

/// Bytes that don't compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    std::iter::repeat_with(|| next().to_le_bytes()).flatten().take(length).collect()
}

async fn state_of(store: &Documents, number: u64) -> Option<DeliveryState> {
    store.known_deliveries(&[key(number)]).await.unwrap()[0]
}

#[rstest]
#[tokio::test]
async fn delivery_is_stored_claimed_and_finished_once(#[values(On::Sqlite, On::Mongodb)] on: On) {
    let (store, _directory) = open(on, "deliveries_once").await;
    let batch = [delivery(1, b"{\"a\": \"\xf0\x9f\x8e\x89\"}"), delivery(2, b""), delivery(1, b"{}")];
    assert_eq!(store.store_deliveries(&batch[..2]).await.unwrap(), [Stored::New, Stored::New]);
    assert_eq!(store.store_deliveries(&batch[2..]).await.unwrap(), [Stored::Pending]);
    assert_eq!(store.store_deliveries(&batch[..1]).await.unwrap(), [Stored::Pending]);
    let mut claimed = store.claim_deliveries(10, LEASE).await.unwrap();
    claimed.sort_by(|one, other| one.key.cmp(&other.key));
    assert_eq!(claimed.len(), 2);
    assert_eq!((claimed[0].key.clone(), claimed[0].event.as_str(), claimed[0].attempts), (key(1), "issues", 0));
    assert_eq!(claimed[0].headers, batch[0].headers);
    let body = store.delivery_body(&key(1)).await.unwrap();
    assert_eq!(body.as_deref(), Some(&b"{\"a\": \"\xf0\x9f\x8e\x89\"}"[..]));
    assert_eq!(store.delivery_body(&key(2)).await.unwrap().as_deref(), Some(&b""[..]));
    assert_eq!(store.claim_deliveries(10, LEASE).await.unwrap(), []);
    assert_eq!(store.store_deliveries(&batch[..1]).await.unwrap(), [Stored::Pending], "it is being worked");
    assert_eq!(store.finish_deliveries(&claimed).await.unwrap(), 2);
    assert_eq!(store.finish_deliveries(&claimed).await.unwrap(), 0);
    assert_eq!(store.store_deliveries(&batch).await.unwrap(), [Stored::Done, Stored::Done, Stored::Done]);
    assert_eq!(store.claim_deliveries(10, LEASE).await.unwrap(), []);
    let counts = store.delivery_counts().await.unwrap();
    assert_eq!((counts.done, counts.pending(), counts.oldest_pending), (2, 0, None));
    assert_eq!(state_of(&store, 3).await, None);
}

#[rstest]
#[tokio::test]
async fn failed_delivery_is_retried_at_its_time_and_dead_one_by_redelivery(#[values(On::Sqlite, On::Mongodb)] on: On) {
    let (store, _directory) = open(on, "deliveries_failed").await;
    store.store_deliveries(&[delivery(1, b"{}")]).await.unwrap();
    let claimed = store.claim_deliveries(1, LEASE).await.unwrap();
    store.fail_delivery(&claimed[0], Some(Utc::now() + TimeDelta::hours(1)), "no").await.unwrap();
    assert_eq!(state_of(&store, 1).await, Some(DeliveryState::Failed));
    assert_eq!(store.claim_deliveries(1, LEASE).await.unwrap(), []);
    assert!(store.delivery_counts().await.unwrap().oldest_pending.is_some());
    // Delivered again, it is due at once.
    assert_eq!(store.store_deliveries(&[delivery(1, b"{}")]).await.unwrap(), [Stored::Pending]);
    let claimed = store.claim_deliveries(1, LEASE).await.unwrap();
    assert_eq!(claimed[0].attempts, 1);
    store.fail_delivery(&claimed[0], None, "never").await.unwrap();
    assert_eq!(state_of(&store, 1).await, Some(DeliveryState::Dead));
    assert_eq!(store.delivery_counts().await.unwrap().dead, 1);
    assert_eq!(store.store_deliveries(&[delivery(1, b"{\"new\": 1}")]).await.unwrap(), [Stored::Pending]);
    let claimed = store.claim_deliveries(1, LEASE).await.unwrap();
    assert_eq!(claimed[0].attempts, 0);
    assert_eq!(store.delivery_body(&key(1)).await.unwrap().as_deref(), Some(&b"{\"new\": 1}"[..]));
}

#[rstest]
#[tokio::test]
async fn expired_lease_is_claimed_by_another_and_the_first_loses_it(#[values(On::Sqlite, On::Mongodb)] on: On) {
    let (store, _directory) = open(on, "deliveries_lease").await;
    store.store_deliveries(&[delivery(1, b"{}"), delivery(2, b"{}")]).await.unwrap();
    let first = store.claim_deliveries(2, Duration::ZERO).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let second = store.claim_deliveries(1, LEASE).await.unwrap();
    assert_eq!(second[0].key, key(1));
    let mut finished = first.clone();
    finished.sort_by(|one, other| one.key.cmp(&other.key));
    store.fail_delivery(&finished[0], None, "too late").await.unwrap();
    assert_eq!(state_of(&store, 1).await, Some(DeliveryState::Working));
    assert_eq!(store.finish_deliveries(&finished).await.unwrap(), 1);
    assert_eq!(state_of(&store, 1).await, Some(DeliveryState::Working));
    assert_eq!(state_of(&store, 2).await, Some(DeliveryState::Done));
    store.release_deliveries(&second).await.unwrap();
    assert_eq!(state_of(&store, 1).await, Some(DeliveryState::Received));
    // Nothing that a living process holds is taken from it.
    let third = store.claim_deliveries(1, LEASE).await.unwrap();
    assert_eq!(store.release_abandoned_deliveries().await.unwrap(), 0);
    assert_eq!(store.finish_deliveries(&third).await.unwrap(), 1);
}

#[rstest]
#[tokio::test]
async fn large_bodies_keep_their_bytes(#[values(On::Sqlite, On::Mongodb)] on: On) {
    let (store, _directory) = open(on, "deliveries_large").await;
    let body = noise(24_900_000);
    let batch = [delivery(1, &body), delivery(2, &body[..9_000_000]), delivery(3, &vec![b'%'; 80 << 20])];
    assert_eq!(store.store_deliveries(&batch).await.unwrap(), [Stored::New; 3]);
    assert_eq!(store.delivery_body(&key(1)).await.unwrap().as_deref(), Some(&body[..]));
    assert_eq!(store.delivery_body(&key(2)).await.unwrap().map(|body| body.len()), Some(9_000_000));
    assert_eq!(store.delivery_body(&key(3)).await.unwrap().map(|body| body.len()), Some(80 << 20));
}

#[rstest]
#[tokio::test]
async fn purge_removes_bodies_then_heads_of_finished_deliveries(#[values(On::Sqlite, On::Mongodb)] on: On) {
    let (store, _directory) = open(on, "deliveries_purge").await;
    store.store_deliveries(&[delivery(1, b"{}"), delivery(2, &noise(9_000_000)), delivery(3, b"{}")]).await.unwrap();
    let claimed = store.claim_deliveries(2, LEASE).await.unwrap();
    store.finish_deliveries(&claimed).await.unwrap();
    let (past, future) = (DateTime::UNIX_EPOCH, Utc::now() + TimeDelta::hours(1));
    let purged = store.purge_deliveries(past, past, 100).await.unwrap();
    assert_eq!((purged.bodies, purged.heads), (0, 0));
    let purged = store.purge_deliveries(future, past, 100).await.unwrap();
    assert_eq!((purged.bodies, purged.heads), (2, 0));
    assert_eq!(store.delivery_body(&key(2)).await.unwrap(), None);
    assert_eq!(store.store_deliveries(&[delivery(2, b"{}")]).await.unwrap(), [Stored::Done]);
    let purged = store.purge_deliveries(future, future, 100).await.unwrap();
    assert_eq!((purged.bodies, purged.heads), (0, 2));
    assert_eq!(state_of(&store, 1).await, None);
    assert_eq!(state_of(&store, 3).await, Some(DeliveryState::Received));
}

#[rstest]
#[tokio::test]
async fn gap_in_listening_is_kept(#[values(On::Sqlite, On::Mongodb)] on: On) {
    let (store, _directory) = open(on, "deliveries_gap").await;
    let at = |second: i64| DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap();
    assert_eq!(store.begin_listening(at(0)).await.unwrap(), None);
    store.record_listening(at(30), true).await.unwrap();
    let gap = store.begin_listening(at(90)).await.unwrap().unwrap();
    assert_eq!((gap.from, gap.until, gap.stopped_cleanly), (at(30), at(90), true));
    assert_eq!(store.last_listening_gap().await.unwrap(), Some(gap));
    store.record_listening(at(120), false).await.unwrap();
    let gap = store.begin_listening(at(150)).await.unwrap().unwrap();
    assert_eq!((gap.from, gap.until, gap.stopped_cleanly), (at(120), at(150), false));
}
