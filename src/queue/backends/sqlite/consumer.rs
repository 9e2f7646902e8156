//! A consumer of the embedded queue: it fetches messages under a lease, renews the lease, and settles what it fetched.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::{SqliteQueue, now};
use crate::process_id;
use crate::queue::delivery::{Acker, Consumer, Delivery, Disposition, SettleOutcome};
use crate::queue::route::Route;
use crate::store::BackendError;

/// Time after the last renewal at which a consumer's lease expires: what a killed consumer held is back within half a
/// minute, and a machine that stalls for some seconds loses nothing.
const LEASE_TTL: Duration = Duration::from_secs(30);
/// Two renewals may fail or come late before the lease expires.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(10);
/// Time between polls of an empty queue; a poll takes some microseconds and no lock. What this process publishes is
/// fetched at once.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Time between searches for consumers that died with messages in progress.
const RECOVERY_INTERVAL: Duration = Duration::from_secs(1);
/// Messages fetched in one transaction: many make fetching cheap, too many would keep other consumers waiting.
const MAX_FETCH: usize = 256;

/// A consumer's lease: its row in the table of consumers.
struct ConsumerLease {
    queue: SqliteQueue,
    id: i64,
    /// Another process has found the lease expired: what it held is no longer this consumer's.
    lost: AtomicBool,
}

/// The hold on a leased message; on drop the message returns to its queue.
struct AckHandle {
    lease: Arc<ConsumerLease>,
    message: i64,
    settled: bool,
    runtime: Handle,
    _permit: OwnedSemaphorePermit,
}

struct Worker {
    queue: SqliteQueue,
    name: String,
    lease: Arc<ConsumerLease>,
    /// One permit for each message that may still be fetched.
    permits: Arc<Semaphore>,
    prefetch: u32,
    /// Time of the last search for dead consumers.
    recovered: Option<Instant>,
}

impl SqliteQueue {
    pub(in crate::queue) async fn consume(
        &self,
        route: &Route,
        prefetch: u16,
        stop: CancellationToken,
    ) -> Result<Consumer, BackendError> {
        let name = route.queue();
        self.require(&name, "consuming").await?;
        let lease = ConsumerLease::acquire(self, &name).await.map_err(self.failed("consuming from"))?;
        let (sender, deliveries) = mpsc::channel(prefetch.into());
        let mut worker = Worker {
            queue: self.clone(),
            name: name.clone(),
            lease: Arc::new(lease),
            permits: Arc::new(Semaphore::new(prefetch.into())),
            prefetch: prefetch.into(),
            recovered: None,
        };
        let stopped = stop.clone();
        tokio::spawn(async move {
            if let Err(error) = worker.run(&sender, &stopped).await {
                let error = worker.queue.failed("consuming from")(error);
                // If the consumer was dropped, nobody is interested.
                let _ = sender.send(Err(error)).await;
            }
            drop(sender);
            worker.finish().await;
        });
        Ok(Consumer::new(deliveries, stop, name))
    }

    /// Releases what dead consumers held, except consumer `own`.
    pub(super) async fn recover(&self, own: Option<i64>) -> Result<(), sqlx::Error> {
        let consumers: Vec<(i64, Option<String>, i64)> =
            sqlx::query_as("SELECT id, holder, expires_at FROM consumers").fetch_all(&self.0.pool).await?;
        for (id, holder, expires_at) in consumers {
            // A lease that expires later than any can was taken by a clock that was ahead.
            let latest = lease_expiry().saturating_add(milliseconds(LEASE_TTL));
            let gone = holder.as_deref().is_some_and(process_id::has_ended) || expires_at > latest;
            if Some(id) == own || !(gone || expires_at <= now()) {
                continue;
            }
            let mut write = self.begin_unsynced().await?;
            // One that is only late may have renewed its lease since.
            let removed = sqlx::query("DELETE FROM consumers WHERE id = ? AND (? OR expires_at <= ?)")
                .bind(id)
                .bind(gone)
                .bind(now())
                .execute(&mut *write.tx)
                .await?
                .rows_affected();
            if removed > 0 {
                sqlx::query("UPDATE messages SET state = 'ready', consumer = NULL WHERE consumer = ?")
                    .bind(id)
                    .execute(&mut *write.tx)
                    .await?;
            }
            write.commit().await?;
        }
        Ok(())
    }
}

impl Worker {
    async fn run(
        &mut self,
        sender: &mpsc::Sender<Result<Delivery, BackendError>>,
        stop: &CancellationToken,
    ) -> Result<(), sqlx::Error> {
        let mut renewal = interval(RENEWAL_INTERVAL);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let queue = self.queue.clone();
        loop {
            let first = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = sender.closed() => return Ok(()),
                _ = renewal.tick() => { self.renew().await?; continue }
                permit = Arc::clone(&self.permits).acquire_owned() => permit,
            };
            // The semaphore is never closed.
            let Ok(first) = first else { return Ok(()) };
            let published = queue.0.published.notified();
            tokio::pin!(published);
            // Enabled before the poll, so that what is published during it is noticed.
            published.as_mut().enable();
            let fetched = self.fetch(first).await?;
            if fetched.is_empty() {
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = sender.closed() => return Ok(()),
                    _ = renewal.tick() => self.renew().await?,
                    () = published => {}
                    () = sleep(POLL_INTERVAL) => {}
                }
            }
            for delivery in fetched {
                if sender.send(Ok(delivery)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    /// Fetches as many messages as are ready and as there are permits for.
    async fn fetch(&mut self, first: OwnedSemaphorePermit) -> Result<Vec<Delivery>, sqlx::Error> {
        if self.recovered.is_none_or(|recovered| recovered.elapsed() >= RECOVERY_INTERVAL) {
            self.queue.recover(Some(self.lease.id)).await?;
            self.recovered = Some(Instant::now());
        }
        let any: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM messages WHERE queue = ?1 AND state = 'ready') \
             OR EXISTS (SELECT 1 FROM messages WHERE queue = ?1 AND available_at <= ?2)",
        )
        .bind(self.name.clone())
        .bind(now())
        .fetch_one(&self.queue.0.pool)
        .await?;
        if !any {
            return Ok(Vec::new());
        }
        let mut permits = first;
        while permits.num_permits() < MAX_FETCH {
            match Arc::clone(&self.permits).try_acquire_owned() {
                Ok(more) => permits.merge(more),
                Err(_) => break,
            }
        }
        let mut write = self.queue.begin_unsynced().await?;
        sqlx::query("UPDATE messages SET state = 'ready', available_at = NULL WHERE queue = ? AND available_at <= ?")
            .bind(self.name.clone())
            .bind(now())
            .execute(&mut *write.tx)
            .await?;
        let mut rows: Vec<(i64, String, u32)> = sqlx::query_as(
            "UPDATE messages SET state = 'leased', consumer = ?1 WHERE id IN \
             (SELECT id FROM messages WHERE queue = ?2 AND state = 'ready' ORDER BY id LIMIT ?3) \
             AND EXISTS (SELECT 1 FROM consumers WHERE id = ?1) RETURNING id, body, attempts",
        )
        .bind(self.lease.id)
        .bind(self.name.clone())
        .bind(i64::try_from(permits.num_permits()).unwrap_or(1))
        .fetch_all(&mut *write.tx)
        .await?;
        write.commit().await?;
        // SQLite returns the rows in no guaranteed order.
        rows.sort_unstable_by_key(|(id, ..)| *id);
        let handle = |permit, message| AckHandle {
            lease: Arc::clone(&self.lease),
            message,
            settled: false,
            runtime: Handle::current(),
            _permit: permit,
        };
        Ok(rows
            .into_iter()
            .filter_map(|(id, body, attempts)| {
                // There are no more rows than permits: the statement's limit is their number.
                permits.split(1).map(|permit| Delivery::new(body, attempts, handle(permit, id)))
            })
            .collect())
    }

    /// Renews the lease, or replaces one that others have found expired.
    async fn renew(&mut self) -> Result<(), sqlx::Error> {
        let statement =
            sqlx::query("UPDATE consumers SET expires_at = ? WHERE id = ?").bind(lease_expiry()).bind(self.lease.id);
        if self.queue.execute_unsynced(statement).await? == 0 {
            self.lease.lost.store(true, Ordering::Relaxed);
            tracing::warn!(queue = self.name, "the lease expired before its renewal; its messages are delivered again");
            self.lease = Arc::new(ConsumerLease::acquire(&self.queue, &self.name).await?);
        }
        Ok(())
    }

    /// Keeps the lease until every delivery is settled, then removes it.
    async fn finish(mut self) {
        let mut renewal = interval(RENEWAL_INTERVAL);
        loop {
            tokio::select! {
                biased;
                all = Arc::clone(&self.permits).acquire_many_owned(self.prefetch) => { drop(all); break }
                _ = renewal.tick() => {
                    if self.renew().await.is_err() {
                        break;
                    }
                }
            }
        }
        let removed = async {
            let mut write = self.queue.begin_unsynced().await?;
            sqlx::query("UPDATE messages SET state = 'ready', consumer = NULL WHERE consumer = ?")
                .bind(self.lease.id)
                .execute(&mut *write.tx)
                .await?;
            sqlx::query("DELETE FROM consumers WHERE id = ?").bind(self.lease.id).execute(&mut *write.tx).await?;
            write.commit().await
        };
        if let Err(error) = removed.await {
            tracing::debug!(%error, "a consumer's lease was not removed and will expire");
        }
    }
}

impl ConsumerLease {
    async fn acquire(queue: &SqliteQueue, name: &str) -> Result<Self, sqlx::Error> {
        let mut write = queue.begin_unsynced().await?;
        let id = sqlx::query_scalar("INSERT INTO consumers (queue, holder, expires_at) VALUES (?, ?, ?) RETURNING id")
            .bind(name.to_owned())
            .bind(process_id::this_process())
            .bind(lease_expiry())
            .fetch_one(&mut *write.tx)
            .await?;
        write.commit().await?;
        Ok(Self { queue: queue.clone(), id, lost: AtomicBool::new(false) })
    }
}

/// Returns the expiry of a lease that is acquired or renewed now.
fn lease_expiry() -> i64 {
    now().saturating_add(milliseconds(LEASE_TTL))
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

impl Acker for AckHandle {
    fn is_expired(&self) -> bool {
        self.lease.lost.load(Ordering::Relaxed)
    }

    fn settle(
        mut self: Box<Self>,
        disposition: Disposition,
    ) -> BoxFuture<'static, Result<SettleOutcome, BackendError>> {
        const DELETE: &str = "DELETE FROM messages WHERE id = ?1 AND consumer = ?2";
        const MOVE: &str = "UPDATE messages SET state = ?3, consumer = NULL, available_at = ?4, attempts = ?5, \
                            reason = ?6 WHERE id = ?1 AND consumer = ?2";
        Box::pin(async move {
            let of_message = |statement: &'static str| sqlx::query(statement).bind(self.message).bind(self.lease.id);
            let (doing, statement) = match disposition {
                Disposition::Ack => ("acknowledging a message in", of_message(DELETE)),
                Disposition::Retry { delay, reason, attempts } => {
                    let available_at = Some(now().saturating_add(milliseconds(delay)));
                    let moved = of_message(MOVE).bind("waiting").bind(available_at).bind(attempts).bind(reason);
                    ("postponing a message in", moved)
                }
                Disposition::DeadLetter { reason, attempts } => {
                    let moved = of_message(MOVE).bind("dead").bind(None::<i64>).bind(attempts).bind(reason);
                    ("dead-lettering a message in", moved)
                }
            };
            let queue = &self.lease.queue;
            let changed = queue.execute_unsynced(statement).await.map_err(queue.failed(doing))?;
            self.settled = true;
            Ok(if changed == 0 { SettleOutcome::Expired } else { SettleOutcome::Applied })
        })
    }
}

/// Returns a message to its place in the queue.
async fn release(lease: Arc<ConsumerLease>, message: i64) {
    let statement = sqlx::query("UPDATE messages SET state = 'ready', consumer = NULL WHERE id = ? AND consumer = ?")
        .bind(message)
        .bind(lease.id);
    match lease.queue.execute_unsynced(statement).await {
        Ok(_) => lease.queue.0.published.notify_waiters(),
        Err(error) => tracing::debug!(%error, "a message was not released and returns when its lease expires"),
    }
}

impl Drop for AckHandle {
    fn drop(&mut self) {
        if !self.settled {
            self.runtime.spawn(release(Arc::clone(&self.lease), self.message));
        }
    }
}
