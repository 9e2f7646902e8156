//! The inbox's writer: all deliveries that wait are stored in one transaction, and then answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::Utc;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use crate::store::BackendError;
use crate::store::documents::Documents;
use crate::store::documents::deliveries::{NewDelivery, Stored};

/// Deliveries that may wait for the writer; more are rejected.
const MAX_WAITING: usize = 2048;
/// Maximum deliveries per transaction.
const MAX_BATCH: usize = 512;
/// Maximum compressed bytes per transaction, unless a single body has more.
const MAX_BATCH_BYTES: usize = 16 * 1024 * 1024;
/// Maximum time of a transaction: GitHub waits 10 s for an answer.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);
/// Interval of attempts while the store is down, and of the record that deliveries are received.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Probe intervals between two records that deliveries are received.
const PROBES_PER_HEARTBEAT: u32 = 15;

/// The reason why a delivery was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InboxError {
    /// The store can't be written at the moment.
    Unavailable,
    /// Too many deliveries wait.
    Busy,
}

struct Job {
    delivery: NewDelivery,
    reply: oneshot::Sender<Result<Stored, InboxError>>,
}

/// A handle to the writer.
#[derive(Clone)]
pub struct Inbox {
    jobs: mpsc::Sender<Job>,
    health: Arc<Health>,
}

#[derive(Debug, Default)]
struct Health {
    is_down: AtomicBool,
    came_back: Notify,
    stored: Notify,
}

/// The task behind an [`Inbox`].
pub struct InboxWriter {
    documents: Documents,
    jobs: mpsc::Receiver<Job>,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    report: Box<dyn Fn(&str) + Send + Sync>,
}

impl Inbox {
    /// Creates a writer and its handle. `report` gets a line when the store fails, and when it is back.
    pub fn new(
        documents: Documents,
        metrics: Arc<Metrics>,
        report: impl Fn(&str) + Send + Sync + 'static,
    ) -> (Self, InboxWriter) {
        let (sender, jobs) = mpsc::channel(MAX_WAITING);
        let health = Arc::<Health>::default();
        let writer = InboxWriter { documents, jobs, health: Arc::clone(&health), metrics, report: Box::new(report) };
        (Self { jobs: sender, health }, writer)
    }

    /// Stores a delivery, and returns when it is durable.
    ///
    /// # Errors
    /// It may not be stored, and has to be delivered again.
    pub async fn store(&self, delivery: NewDelivery) -> Result<Stored, InboxError> {
        if self.is_down() {
            return Err(InboxError::Unavailable);
        }
        let (reply, answer) = oneshot::channel();
        self.jobs.try_send(Job { delivery, reply }).map_err(|_| InboxError::Busy)?;
        answer.await.unwrap_or(Err(InboxError::Unavailable))
    }

    /// Returns whether the store could not be written at the last attempt.
    pub fn is_down(&self) -> bool {
        self.health.is_down.load(Ordering::Relaxed)
    }

    /// Waits until something new is stored.
    pub async fn stored(&self) {
        self.health.stored.notified().await;
    }

    /// Waits until the store has been down and is back.
    pub async fn came_back(&self) {
        self.health.came_back.notified().await;
    }
}

impl InboxWriter {
    /// Stores what comes until `stop`, then what waits, and records every few seconds that deliveries are received.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut probes = interval(PROBE_INTERVAL);
        probes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut since_heartbeat = 0;
        loop {
            tokio::select! {
                biased;
                _ = probes.tick() => {
                    since_heartbeat += 1;
                    if self.is_down() || since_heartbeat >= PROBES_PER_HEARTBEAT {
                        since_heartbeat = 0;
                        self.probe().await;
                    }
                }
                job = self.jobs.recv() => match job {
                    Some(job) => {
                        let batch = self.gather(job);
                        self.store(batch).await;
                    }
                    None => break,
                },
                () = stop.cancelled() => break,
            }
        }
        let stopped = timeout(STORE_TIMEOUT, self.documents.record_listening(Utc::now(), true));
        if let Ok(Err(error)) = stopped.await {
            tracing::warn!(%error, "the orderly stop is not recorded");
        }
    }

    /// Takes what waits, up to a batch.
    fn gather(&mut self, first: Job) -> Vec<Job> {
        let mut bytes = first.delivery.body.compressed_size();
        let mut batch = vec![first];
        while batch.len() < MAX_BATCH && bytes < MAX_BATCH_BYTES {
            let Ok(job) = self.jobs.try_recv() else { break };
            bytes += job.delivery.body.compressed_size();
            batch.push(job);
        }
        batch
    }

    async fn store(&self, batch: Vec<Job>) {
        if self.is_down() {
            for job in batch {
                let _ = job.reply.send(Err(InboxError::Unavailable));
            }
            return;
        }
        let (deliveries, replies): (Vec<_>, Vec<_>) = batch.into_iter().map(|job| (job.delivery, job.reply)).unzip();
        match self.attempt(&deliveries).await {
            Ok(stored) => {
                for (reply, stored) in replies.into_iter().zip(stored) {
                    // A sender that is gone has its delivery stored all the same.
                    let _ = reply.send(Ok(stored));
                }
            }
            // One that the store rejects must not keep the others out.
            Err(error) if deliveries.len() > 1 && self.probe_write().await.is_ok() => {
                tracing::warn!(%error, deliveries = deliveries.len(), "storing deliveries one by one");
                for (reply, delivery) in replies.into_iter().zip(&deliveries) {
                    let stored = self.attempt(std::slice::from_ref(delivery)).await;
                    let stored = stored.ok().and_then(|stored| stored.first().copied());
                    let _ = reply.send(stored.ok_or(InboxError::Unavailable));
                }
            }
            Err(error) => {
                if self.probe_write().await.is_err() {
                    self.set_down(&error);
                }
                for reply in replies {
                    let _ = reply.send(Err(InboxError::Unavailable));
                }
            }
        }
    }

    async fn attempt(&self, deliveries: &[NewDelivery]) -> Result<Vec<Stored>, String> {
        let result = match timeout(STORE_TIMEOUT, self.documents.store_deliveries(deliveries)).await {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(_) => Err(format!("the document store took longer than {} s", STORE_TIMEOUT.as_secs())),
        };
        match &result {
            Ok(stored) => {
                self.metrics.batches.add(1);
                let new = stored.iter().filter(|stored| **stored == Stored::New).count() as u64;
                self.metrics.stored.add(new);
                self.health.stored.notify_one();
                self.metrics.repeated.add(stored.len() as u64 - new);
            }
            Err(error) => {
                self.metrics.store_failures.add(1);
                tracing::error!(error, deliveries = deliveries.len(), "deliveries are not stored");
            }
        }
        result
    }

    /// Checks that the store can be written, by recording that deliveries are received.
    async fn probe(&self) {
        match self.probe_write().await {
            Ok(()) => {
                if self.health.is_down.swap(false, Ordering::Relaxed) {
                    (self.report)("the document store is back: deliveries are accepted again");
                    self.health.came_back.notify_one();
                }
            }
            Err(error) => self.set_down(&error),
        }
    }

    async fn probe_write(&self) -> Result<(), String> {
        match timeout(STORE_TIMEOUT, self.documents.record_listening(Utc::now(), false)).await {
            Ok(result) => result.map_err(|error: BackendError| error.to_string()),
            Err(_) => Err(format!("the document store took longer than {} s", STORE_TIMEOUT.as_secs())),
        }
    }

    fn set_down(&self, error: &str) {
        if !self.health.is_down.swap(true, Ordering::Relaxed) {
            (self.report)(&format!("deliveries are rejected with 503 until the document store is back: {error}"));
        }
    }

    fn is_down(&self) -> bool {
        self.health.is_down.load(Ordering::Relaxed)
    }
}
