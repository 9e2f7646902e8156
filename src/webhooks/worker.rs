//! Works what the inbox holds: each delivery becomes wishes for refreshes and feeds. Removes what is old.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::dispatch::dispatch;
use super::inbox::Inbox;
use super::metrics::Metrics;
use super::payload::BodyForm;
use super::received::ReceivedEvents;
use crate::json;
use crate::mirror::events::announcement;
use crate::names::RepoName;
use crate::store::documents::deliveries::{ClaimedDelivery, PurgedDeliveries};
use crate::store::relational::feeds::FeedTarget;
use crate::store::relational::refreshes::RefreshRequest;
use crate::store::{BackendError, Stores};

/// Deliveries claimed at a time.
const BATCH: u32 = 64;
/// Time after which others may claim them. A batch takes seconds; one of the largest payloads half a minute.
const LEASE: Duration = Duration::from_mins(2);
/// Interval of looks into the inbox, which other processes fill, too.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Delay after a store failed, beside its own retries.
const STORE_RETRY_DELAY: Duration = Duration::from_secs(5);
/// Interval of looks for deliveries whose worker has died.
const ABANDONED_INTERVAL: Duration = Duration::from_secs(10);
/// Interval of purges.
const PURGE_INTERVAL: Duration = Duration::from_hours(1);
/// Deliveries purged per transaction.
const PURGE_BATCH: u32 = 500;
/// Pause between such transactions, for whoever else writes.
const PURGE_PAUSE: Duration = Duration::from_millis(200);
/// Days for which the heads of finished deliveries are kept.
const KEEP_HEADS_DAYS: i64 = 400;
/// Seconds until the next attempt, by failed attempts; after the last one the delivery is dead.
const RETRY_AFTER: [i64; 5] = [10, 60, 5 * 60, 15 * 60, 60 * 60];

/// The worker of the inbox. Any number of processes may have one.
pub struct InboxWorker {
    /// Both stores.
    pub stores: Stores,
    /// The inbox that this process fills.
    pub inbox: Inbox,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// Days for which the bodies of finished deliveries are kept.
    pub keep_days: u32,
    /// Where received events are reported.
    pub received: ReceivedEvents,
    /// Ends the worker; what it holds is finished or given back.
    pub cancel: CancellationToken,
}

/// What a delivery asks for.
struct Wishes {
    refreshes: Vec<RefreshRequest>,
    feed: Option<FeedTarget>,
}

impl InboxWorker {
    /// Works until it is canceled. A store that is down is waited for.
    pub async fn run(self) {
        let (mut next_abandoned, mut next_purge) = (Instant::now(), Instant::now() + PURGE_PAUSE);
        while !self.cancel.is_cancelled() {
            let result = async {
                if Instant::now() >= next_abandoned {
                    next_abandoned = Instant::now() + ABANDONED_INTERVAL;
                    self.stores.documents.release_abandoned_deliveries().await?;
                }
                if Instant::now() >= next_purge {
                    next_purge = Instant::now() + PURGE_INTERVAL;
                    self.purge().await?;
                }
                self.work_batch().await
            };
            let pause = match result.await {
                Ok(true) => continue,
                Ok(false) => POLL_INTERVAL,
                Err(error) => {
                    tracing::error!(%error, "deliveries can't be worked at the moment");
                    STORE_RETRY_DELAY
                }
            };
            tokio::select! {
                () = self.inbox.stored() => {}
                () = tokio::time::sleep(pause) => {}
                () = self.cancel.cancelled() => {}
            }
        }
    }

    /// Claims and works a batch; returns whether there was any.
    async fn work_batch(&self) -> Result<bool, BackendError> {
        let claimed = self.stores.documents.claim_deliveries(BATCH, LEASE).await?;
        if claimed.is_empty() {
            return Ok(false);
        }
        let done = self.work(&claimed).await;
        if done.is_err() {
            // Not their fault: they are worked again without a failed attempt.
            if let Err(error) = self.stores.documents.release_deliveries(&claimed).await {
                tracing::warn!(%error, "claimed deliveries wait for the end of their lease");
            }
        }
        done.map(|()| true)
    }

    async fn work(&self, claimed: &[ClaimedDelivery]) -> Result<(), BackendError> {
        let mut refreshes = Vec::new();
        let mut feeds = Vec::new();
        let mut done = Vec::new();
        for delivery in claimed {
            let body = match self.stores.documents.delivery_body(&delivery.key).await {
                Ok(Some(body)) => body,
                Ok(None) => {
                    self.fail(delivery, "its body is missing").await?;
                    continue;
                }
                Err(error) if error.operation.starts_with("reading the delivery") => {
                    self.fail(delivery, &error.cause).await?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let work = delivery.clone();
            // A panic over one payload must not end the work on all others.
            match tokio::task::spawn_blocking(move || read(&work, &body)).await {
                Ok(Ok(wishes)) => {
                    if wishes.refreshes.is_empty() {
                        self.metrics.unnamed.count(&delivery.event);
                    }
                    refreshes.extend(wishes.refreshes);
                    feeds.extend(wishes.feed);
                    done.push(delivery.clone());
                }
                Ok(Err(reason)) => self.fail(delivery, reason).await?,
                Err(error) => self.fail(delivery, &format!("working it failed: {error}")).await?,
            }
        }
        self.stores.relational.request_refreshes(refreshes).await?;
        self.stores.relational.request_feeds(feeds).await?;
        let finished = self.stores.documents.finish_deliveries(&done).await?;
        self.metrics.worked.add(finished);
        let events: Vec<_> = done.iter().map(|done| (done.event.clone(), done.key.guid.clone())).collect();
        self.received.report(&events).await;
        Ok(())
    }

    /// Records a failed attempt.
    async fn fail(&self, delivery: &ClaimedDelivery, reason: &str) -> Result<(), BackendError> {
        let delay = usize::try_from(delivery.attempts).ok().and_then(|attempts| RETRY_AFTER.get(attempts));
        let retry_at = delay.map(|seconds| Utc::now() + TimeDelta::seconds(*seconds));
        self.metrics.failed.add(1);
        if retry_at.is_none() {
            self.metrics.given_up.add(1);
        }
        tracing::error!(delivery = %delivery.key, event = delivery.event, reason, dead = retry_at.is_none(), "delivery failed");
        self.stores.documents.fail_delivery(delivery, retry_at, reason).await
    }

    /// Removes what is older than it is kept, in small steps.
    async fn purge(&self) -> Result<(), BackendError> {
        let before = |days: i64| Utc::now().checked_sub_signed(TimeDelta::days(days)).unwrap_or(DateTime::UNIX_EPOCH);
        let heads_days = KEEP_HEADS_DAYS.max(i64::from(self.keep_days));
        let (bodies, heads) = (before(i64::from(self.keep_days)), before(heads_days));
        while !self.cancel.is_cancelled() {
            let purged = self.stores.documents.purge_deliveries(bodies, heads, PURGE_BATCH).await?;
            if purged == PurgedDeliveries::default() {
                break;
            }
            tracing::info!(bodies = purged.bodies, heads = purged.heads, "old deliveries removed");
            tokio::time::sleep(PURGE_PAUSE).await;
        }
        Ok(())
    }
}

/// Reads what a delivery asks for.
fn read(delivery: &ClaimedDelivery, body: &[u8]) -> Result<Wishes, &'static str> {
    let content_type = delivery.headers.iter().find(|(name, _)| name == "content-type");
    let form = content_type.and_then(|(_, value)| BodyForm::of(value)).unwrap_or(BodyForm::Json);
    let text = form.text(body).ok_or("the form has no field payload")?;
    let payload: Value = json::parse(&text).map_err(|_| "the payload is not JSON")?;
    let refreshes = dispatch(&delivery.event, &payload).refreshes;
    Ok(Wishes { refreshes, feed: feed(delivery, &payload) })
}

/// Returns the feed that shows the event which a delivery announces, if any does.
fn feed(delivery: &ClaimedDelivery, payload: &Value) -> Option<FeedTarget> {
    let announced = announcement(&delivery.event, payload, delivery.received_at)?;
    let text = |pointer: &str| payload.pointer(pointer).and_then(Value::as_str);
    let owner = text("/repository/owner/login").or_else(|| text("/repository/owner/name"))?;
    let name = RepoName::new(owner, text("/repository/name")?).ok()?;
    let id = payload.pointer("/repository/id").and_then(Value::as_i64);
    Some(FeedTarget::repository(id, name.owner(), name.name()).announcing(Some(announced)))
}
