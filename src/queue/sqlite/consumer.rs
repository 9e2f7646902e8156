//! A consumer of the embedded queue: it takes messages under a lease, renews that, and settles what it took.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::{SqliteQueue, now};
use crate::process_id;
use crate::queue::delivery::{Hold, Settlement};
use crate::queue::{Consumer, Delivery};
use crate::store::BackendError;

/// How long what a consumer holds stays its own after the last renewal: what one that was killed held is back within
/// half a minute, and a machine that stalls for some seconds loses nothing.
const LEASE: Duration = Duration::from_secs(30);
/// Two renewals may fail or come late before the lease is over.
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// How often an empty queue is looked at: a look takes some microseconds and no lock. A message that this process
/// publishes is taken at once.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often it is looked for consumers that died with messages in hand.
const RECOVER_EVERY: Duration = Duration::from_secs(1);
/// Messages taken in one transaction: many at a time make taking cheap, too many would keep other consumers waiting.
const TAKEN_AT_ONCE: usize = 256;

/// A consumer's entry in the table of consumers.
struct Lease {
    queue: SqliteQueue,
    id: i64,
    /// Another process has found it over: what it held is no longer this consumer's.
    lost: AtomicBool,
}

/// A leased message; it goes back to its queue on drop.
pub(in crate::queue) struct Held {
    lease: Arc<Lease>,
    message: i64,
    settled: bool,
    runtime: Handle,
    _room: OwnedSemaphorePermit,
}

struct Worker {
    queue: SqliteQueue,
    name: String,
    lease: Arc<Lease>,
    /// One permit a message that may still be taken.
    room: Arc<Semaphore>,
    prefetch: u32,
    /// When it was last looked for consumers that are gone.
    recovered: Option<Instant>,
}

pub(super) async fn start(
    queue: SqliteQueue,
    name: String,
    prefetch: u16,
    stop: CancellationToken,
) -> Result<Consumer, BackendError> {
    let lease = Lease::take(&queue, &name).await.map_err(queue.failed("consuming from"))?;
    let (sender, deliveries) = mpsc::channel(prefetch.into());
    let mut worker = Worker {
        queue,
        name: name.clone(),
        lease: Arc::new(lease),
        room: Arc::new(Semaphore::new(prefetch.into())),
        prefetch: prefetch.into(),
        recovered: None,
    };
    let stopped = stop.clone();
    tokio::spawn(async move {
        if let Err(error) = worker.run(&sender, &stopped).await {
            let error = worker.queue.failed("consuming from")(error);
            // Whoever has dropped the consumer doesn't want to know.
            let _ = sender.send(Err(error)).await;
        }
        drop(sender);
        worker.finish().await;
    });
    Ok(Consumer::new(deliveries, stop, name))
}

impl Worker {
    async fn run(
        &mut self,
        sender: &mpsc::Sender<Result<Delivery, BackendError>>,
        stop: &CancellationToken,
    ) -> Result<(), sqlx::Error> {
        let mut renewal = interval(RENEW_EVERY);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let queue = self.queue.clone();
        loop {
            let first = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = sender.closed() => return Ok(()),
                _ = renewal.tick() => { self.renew().await?; continue }
                permit = Arc::clone(&self.room).acquire_owned() => permit,
            };
            // The semaphore is never closed.
            let Ok(first) = first else { return Ok(()) };
            let published = queue.0.published.notified();
            tokio::pin!(published);
            // Armed before the look, so that what is published during it is not slept over.
            published.as_mut().enable();
            let taken = self.take(first).await?;
            if taken.is_empty() {
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = sender.closed() => return Ok(()),
                    _ = renewal.tick() => self.renew().await?,
                    () = published => {}
                    () = sleep(LOOK_EVERY) => {}
                }
            }
            for delivery in taken {
                if sender.send(Ok(delivery)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    /// Takes as many messages as there are and as there is room for.
    async fn take(&mut self, first: OwnedSemaphorePermit) -> Result<Vec<Delivery>, sqlx::Error> {
        if self.recovered.is_none_or(|recovered| recovered.elapsed() >= RECOVER_EVERY) {
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
        let mut room = first;
        while room.num_permits() < TAKEN_AT_ONCE {
            match Arc::clone(&self.room).try_acquire_owned() {
                Ok(more) => room.merge(more),
                Err(_) => break,
            }
        }
        let mut writing = self.queue.begin_unsynced().await?;
        sqlx::query("UPDATE messages SET state = 'ready', available_at = NULL WHERE queue = ? AND available_at <= ?")
            .bind(self.name.clone())
            .bind(now())
            .execute(&mut *writing.tx)
            .await?;
        let mut rows: Vec<(i64, String, u32)> = sqlx::query_as(
            "UPDATE messages SET state = 'leased', consumer = ?1 WHERE id IN \
             (SELECT id FROM messages WHERE queue = ?2 AND state = 'ready' ORDER BY id LIMIT ?3) \
             AND EXISTS (SELECT 1 FROM consumers WHERE id = ?1) RETURNING id, body, attempts",
        )
        .bind(self.lease.id)
        .bind(self.name.clone())
        .bind(i64::try_from(room.num_permits()).unwrap_or(1))
        .fetch_all(&mut *writing.tx)
        .await?;
        writing.commit().await?;
        // SQLite returns the rows in no promised order.
        rows.sort_unstable_by_key(|(id, ..)| *id);
        let held = |room, id| Held {
            lease: Arc::clone(&self.lease),
            message: id,
            settled: false,
            runtime: Handle::current(),
            _room: room,
        };
        Ok(rows
            .into_iter()
            .filter_map(|(id, body, attempts)| {
                // There are no more rows than permits: the statement's limit is their number.
                room.split(1).map(|room| Delivery::new(body, attempts, Hold::Sqlite(held(room, id))))
            })
            .collect())
    }

    /// Renews the lease; one that others have found over is replaced.
    async fn renew(&mut self) -> Result<(), sqlx::Error> {
        let mut writing = self.queue.begin_unsynced().await?;
        let renewed = sqlx::query("UPDATE consumers SET expires_at = ? WHERE id = ?")
            .bind(end_of_lease())
            .bind(self.lease.id)
            .execute(&mut *writing.tx)
            .await?
            .rows_affected();
        writing.commit().await?;
        if renewed == 0 {
            self.lease.lost.store(true, Ordering::Relaxed);
            tracing::warn!(
                queue = self.name,
                "the lease was over before it was renewed; its messages are delivered again"
            );
            self.lease = Arc::new(Lease::take(&self.queue, &self.name).await?);
        }
        Ok(())
    }

    /// Keeps the lease until everything that was handed out is settled, then removes it.
    async fn finish(mut self) {
        let mut renewal = interval(RENEW_EVERY);
        loop {
            tokio::select! {
                biased;
                all = Arc::clone(&self.room).acquire_many_owned(self.prefetch) => { drop(all); break }
                _ = renewal.tick() => {
                    if self.renew().await.is_err() {
                        break;
                    }
                }
            }
        }
        let removed = async {
            let mut writing = self.queue.begin_unsynced().await?;
            sqlx::query("UPDATE messages SET state = 'ready', consumer = NULL WHERE consumer = ?")
                .bind(self.lease.id)
                .execute(&mut *writing.tx)
                .await?;
            sqlx::query("DELETE FROM consumers WHERE id = ?").bind(self.lease.id).execute(&mut *writing.tx).await?;
            writing.commit().await
        };
        if let Err(error) = removed.await {
            tracing::debug!(%error, "a consumer's lease is left to its end");
        }
    }
}

impl SqliteQueue {
    /// Frees what consumers held that are gone, `own` excepted.
    pub(super) async fn recover(&self, own: Option<i64>) -> Result<(), sqlx::Error> {
        let consumers: Vec<(i64, Option<String>, i64)> =
            sqlx::query_as("SELECT id, holder, expires_at FROM consumers").fetch_all(&self.0.pool).await?;
        for (id, holder, expires_at) in consumers {
            // A lease that ends later than any can was taken by a clock that was ahead.
            let latest = end_of_lease().saturating_add(milliseconds(LEASE));
            let gone = holder.as_deref().is_some_and(process_id::is_gone) || expires_at > latest;
            if Some(id) == own || !(gone || expires_at <= now()) {
                continue;
            }
            let mut writing = self.begin_unsynced().await?;
            // One that is only late may have renewed its lease since.
            let removed = sqlx::query("DELETE FROM consumers WHERE id = ? AND (? OR expires_at <= ?)")
                .bind(id)
                .bind(gone)
                .bind(now())
                .execute(&mut *writing.tx)
                .await?
                .rows_affected();
            if removed > 0 {
                sqlx::query("UPDATE messages SET state = 'ready', consumer = NULL WHERE consumer = ?")
                    .bind(id)
                    .execute(&mut *writing.tx)
                    .await?;
            }
            writing.commit().await?;
        }
        Ok(())
    }
}

impl Lease {
    async fn take(queue: &SqliteQueue, name: &str) -> Result<Self, sqlx::Error> {
        let mut writing = queue.begin_unsynced().await?;
        let id = sqlx::query_scalar("INSERT INTO consumers (queue, holder, expires_at) VALUES (?, ?, ?) RETURNING id")
            .bind(name.to_owned())
            .bind(process_id::this_process())
            .bind(end_of_lease())
            .fetch_one(&mut *writing.tx)
            .await?;
        writing.commit().await?;
        Ok(Self { queue: queue.clone(), id, lost: AtomicBool::new(false) })
    }
}

fn end_of_lease() -> i64 {
    now().saturating_add(milliseconds(LEASE))
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

impl Held {
    pub(in crate::queue) fn is_stale(&self) -> bool {
        self.lease.lost.load(Ordering::Relaxed)
    }

    pub(in crate::queue) async fn ack(mut self) -> Result<(), BackendError> {
        let failed = self.lease.queue.failed("acknowledging in");
        let acked = async {
            let mut writing = self.lease.queue.begin_unsynced().await?;
            sqlx::query("DELETE FROM messages WHERE id = ? AND consumer = ?")
                .bind(self.message)
                .bind(self.lease.id)
                .execute(&mut *writing.tx)
                .await?;
            writing.commit().await
        };
        acked.await.map_err(failed)?;
        self.settled = true;
        Ok(())
    }

    pub(in crate::queue) async fn retry_later(
        mut self,
        after: Duration,
        reason: &str,
        attempts: u32,
    ) -> Result<Settlement, BackendError> {
        let failed = self.lease.queue.failed("putting off a message in");
        let put_off = async {
            let mut writing = self.lease.queue.begin_unsynced().await?;
            let settled = sqlx::query(
                "UPDATE messages SET state = 'waiting', consumer = NULL, available_at = ?, attempts = ?, reason = ? \
                 WHERE id = ? AND consumer = ?",
            )
            .bind(now().saturating_add(milliseconds(after)))
            .bind(attempts)
            .bind(reason.to_owned())
            .bind(self.message)
            .bind(self.lease.id)
            .execute(&mut *writing.tx)
            .await?
            .rows_affected();
            writing.commit().await?;
            Ok(settled)
        };
        let settled = put_off.await.map_err(failed)?;
        self.settled = true;
        Ok(if settled == 0 { Settlement::Lost } else { Settlement::Settled })
    }

    pub(in crate::queue) async fn dead_letter(mut self, reason: &str) -> Result<Settlement, BackendError> {
        let failed = self.lease.queue.failed("giving up a message in");
        let given_up = async {
            let mut writing = self.lease.queue.begin_unsynced().await?;
            let settled = sqlx::query(
                "UPDATE messages SET state = 'dead', consumer = NULL, reason = ? WHERE id = ? AND consumer = ?",
            )
            .bind(reason.to_owned())
            .bind(self.message)
            .bind(self.lease.id)
            .execute(&mut *writing.tx)
            .await?
            .rows_affected();
            writing.commit().await?;
            Ok(settled)
        };
        let settled = given_up.await.map_err(failed)?;
        self.settled = true;
        Ok(if settled == 0 { Settlement::Lost } else { Settlement::Settled })
    }
}

/// Puts a message back where it was.
async fn give_back(lease: Arc<Lease>, message: i64) {
    let given_back = async {
        let mut writing = lease.queue.begin_unsynced().await?;
        sqlx::query("UPDATE messages SET state = 'ready', consumer = NULL WHERE id = ? AND consumer = ?")
            .bind(message)
            .bind(lease.id)
            .execute(&mut *writing.tx)
            .await?;
        writing.commit().await
    };
    match given_back.await {
        Ok(()) => lease.queue.0.published.notify_waiters(),
        Err(error) => tracing::debug!(%error, "a message is left to its lease's end"),
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.settled {
            self.runtime.spawn(give_back(Arc::clone(&self.lease), self.message));
        }
    }
}
