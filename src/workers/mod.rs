//! Workers: they process a queue's messages concurrently and settle each by its job's outcome.
//!
//! A message is acknowledged when its work is done and stored. A failed one is retried with increasing delays and becomes a
//! dead letter in the end. What is in progress when the worker is stopped or dies returns to the queue.
//!
//! | file | contents |
//! |---|---|
//! | `leased_job.rs` | a message's job under a lease, and what its end means for the message |
//! | `repositories.rs`, `users.rs` | the jobs of each queue |
//! | `events.rs` | the jobs of the queues of events: done when both stores have what an event tells of |
//! | `refreshes.rs` | refreshes that deliveries and events ask for |
//! | `received_events.rs` | events that the webhook server has received, reported |

mod events;
mod leased_job;
mod received_events;
mod refreshes;
mod repositories;
mod users;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use events::{EventReport, EventsConfig, process_event, run_events};
pub use received_events::ReceivedEventHandler;
pub use refreshes::{RefreshConfig, RefreshStats, run_refreshes};
pub use repositories::RepositoryHandler;
pub use users::UserHandler;

use crate::queue::{Delivery, MAX_RETRY_DELAY, Queue, Route, SettleOutcome};
use crate::telemetry::Console;

/// Factor between the delays of successive attempts: a minute's outage is over at the second attempt, an hour's at the
/// fourth.
const BACKOFF_FACTOR: u32 = 4;
/// Time between polls of the queue's depth by an idle worker that stops when the queue is empty.
const EMPTY_POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Polls in a row that must find it empty.
const EMPTY_POLLS: u32 = 2;

/// The note on a message that was held for longer than its queue allows (RabbitMQ's `consumer_timeout`), or over a broken
/// connection.
const EXPIRED: &str = "not counted as an attempt: the queue has taken the message back meanwhile and delivers it again";

/// The outcome of a message's job, which decides how the message is settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobOutcome {
    /// The work is done, with its summary.
    Completed(String),
    /// The work failed for this reason and may succeed later.
    Retry(String),
    /// The work can't be done now for a reason outside the message (another process does it, GitHub can't be reached): it is
    /// retried after this delay, with no attempt counted.
    Defer(String, Duration),
    /// The work will never succeed, for this reason.
    DeadLetter(String),
    /// The worker was stopped: the message returns unchanged.
    Interrupted,
}

/// The processing of one kind of message.
pub trait Handler: Send + Sync + 'static {
    /// Whether users are told of each completed message; otherwise only the log is.
    const REPORTS_EACH: bool = true;

    /// Processes a message. `stop` is canceled when the worker is to stop.
    ///
    /// # Errors
    /// An error that would end every other job, too (a store that can't be used): the worker ends, and the message returns.
    fn handle(&self, body: &str, stop: CancellationToken) -> impl Future<Output = anyhow::Result<JobOutcome>> + Send;

    /// Records a failed attempt at a message; `dead` says that it becomes a dead letter.
    fn failed(&self, _body: &str, _why: &str, _dead: bool) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// The settings of a worker.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// The queue.
    pub route: Route,
    /// Jobs at a time, and messages held at a time.
    pub jobs: u16,
    /// Stop when the queue is empty.
    pub drain: bool,
    /// Attempts before a message becomes a dead letter.
    pub attempts: u32,
    /// Delays after failures.
    pub backoff: Backoff,
}

/// The delays after a message's failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backoff {
    /// This one after the first failure, and four times as long after each further one.
    Growing(Duration),
    /// One after another; the last one stays.
    Steps(&'static [Duration]),
}

impl Backoff {
    /// Returns the delay before the next attempt, after `failed` attempts.
    fn delay(self, failed: u32) -> Duration {
        let before = failed.saturating_sub(1);
        match self {
            Self::Growing(first) => first.saturating_mul(BACKOFF_FACTOR.saturating_pow(before)),
            Self::Steps(steps) => {
                let position = usize::try_from(before).unwrap_or(usize::MAX);
                steps.get(position).or(steps.last()).copied().unwrap_or(MAX_RETRY_DELAY)
            }
        }
    }
}

/// The counts of a worker's run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WorkerStats {
    /// Messages that were completed.
    pub done: u64,
    /// Failed attempts that are retried.
    pub failed: u64,
    /// Messages that became dead letters.
    pub dead: u64,
}

/// Processes a queue until `stop` is canceled, or the queue is empty if [`drain`](WorkerConfig::drain) is set.
///
/// # Errors
/// The queue or a store can't be used any more; what was in progress is back in the queue.
pub async fn run<H: Handler>(
    queue: &Queue,
    config: &WorkerConfig,
    handler: Arc<H>,
    console: &Console,
    stop: &CancellationToken,
) -> anyhow::Result<WorkerStats> {
    queue.declare(std::slice::from_ref(&config.route)).await?;
    let mut consumer = queue.consume(&config.route, config.jobs, stop.clone()).await?;
    // Ends the running jobs when the worker ends for a reason of its own.
    let jobs_stop = stop.child_token();
    let mut jobs: JoinSet<anyhow::Result<WorkerStats>> = JoinSet::new();
    let mut worked = WorkerStats::default();
    let mut failure = None;
    let mut empty_polls = 0;
    loop {
        tokio::select! {
            Some(joined) = jobs.join_next() => match joined {
                Ok(Ok(one)) => worked.add(one),
                Ok(Err(error)) => { failure = Some(error); break; }
                // A panic has printed itself; the message is back in the queue.
                Err(error) => tracing::error!(%error, "a job panicked"),
            },
            next = consumer.next(), if jobs.len() < usize::from(config.jobs) => match next {
                Ok(Some(delivery)) => {
                    empty_polls = 0;
                    let job = Job { config: config.clone(), handler: Arc::clone(&handler), console: console.clone() };
                    jobs.spawn(job.run(delivery, jobs_stop.clone()));
                }
                Ok(None) => break,
                Err(error) => { failure = Some(error.into()); break; }
            },
            () = tokio::time::sleep(EMPTY_POLL_INTERVAL), if config.drain && jobs.is_empty() => {
                let depth = queue.depth(&config.route).await?;
                // A message on its way from waiting to ready may be in neither count.
                empty_polls = if depth.ready == 0 && depth.waiting == 0 { empty_polls + 1 } else { 0 };
                if empty_polls == EMPTY_POLLS {
                    break;
                }
            }
        }
    }
    if failure.is_some() {
        jobs_stop.cancel();
    }
    while let Some(joined) = jobs.join_next().await {
        match joined {
            Ok(Ok(one)) => worked.add(one),
            Ok(Err(error)) => failure = failure.or(Some(error)),
            Err(error) => tracing::error!(%error, "a job panicked"),
        }
    }
    failure.map_or(Ok(worked), Err)
}

impl WorkerStats {
    fn add(&mut self, other: Self) {
        self.done += other.done;
        self.failed += other.failed;
        self.dead += other.dead;
    }
}

/// The processing of one message.
struct Job<H> {
    config: WorkerConfig,
    handler: Arc<H>,
    console: Console,
}

impl<H: Handler> Job<H> {
    async fn run(self, delivery: Delivery, stop: CancellationToken) -> anyhow::Result<WorkerStats> {
        let body = delivery.body().to_owned();
        let failed = delivery.attempts().saturating_add(1);
        let working = {
            let (handler, body) = (Arc::clone(&self.handler), body.clone());
            tokio::spawn(async move { handler.handle(&body, stop).await })
        };
        let handled = working.await.unwrap_or_else(|panic| Ok(JobOutcome::Retry(format!("its job panicked: {panic}"))));
        let outcome = match handled {
            Err(error) => {
                // The worker ends. If it is this message that no store accepts, the next worker must not end, too.
                let why = format!("{error:#}");
                let settled = if failed >= self.config.attempts {
                    delivery.dead_letter(&why).await
                } else {
                    delivery.retry_after(self.config.backoff.delay(failed), &why).await
                };
                if let Err(unsettled) = settled {
                    tracing::warn!(%body, error = %unsettled, "the message returns unchanged");
                }
                return Err(error);
            }
            Ok(JobOutcome::Retry(why)) if failed >= self.config.attempts => {
                JobOutcome::DeadLetter(format!("{why}; given up after {failed} attempts"))
            }
            Ok(outcome) => outcome,
        };
        let none = WorkerStats::default();
        match outcome {
            JobOutcome::Completed(what) => {
                // The work is stored: only now may the message go.
                delivery.ack().await?;
                if H::REPORTS_EACH {
                    self.console.line(&format!("{body}: {what}"));
                } else {
                    tracing::debug!(%body, %what, "done");
                }
                Ok(WorkerStats { done: 1, ..none })
            }
            JobOutcome::Retry(why) => {
                self.handler.failed(&body, &why, false).await;
                let delay = self.config.backoff.delay(failed);
                let attempts = self.config.attempts;
                let then = match delivery.retry_after(delay, &why).await? {
                    SettleOutcome::Applied => {
                        format!("attempt {failed} of {attempts}, the next in {} s", delay.as_secs())
                    }
                    SettleOutcome::Expired => EXPIRED.to_owned(),
                };
                self.console.error(&format!("error: {body}: {why}; {then}"));
                Ok(WorkerStats { failed: 1, ..none })
            }
            JobOutcome::Defer(why, delay) => {
                tracing::info!(%body, %why, "deferred");
                delivery.defer(delay, &why).await?;
                Ok(none)
            }
            JobOutcome::DeadLetter(why) => {
                self.handler.failed(&body, &why, true).await;
                let settled = delivery.dead_letter(&why).await?;
                let (then, worked) = match settled {
                    SettleOutcome::Applied => ("it is kept with the dead letters", WorkerStats { dead: 1, ..none }),
                    SettleOutcome::Expired => (EXPIRED, WorkerStats { failed: 1, ..none }),
                };
                self.console.error(&format!("error: {body}: {why}; {then}"));
                Ok(worked)
            }
            // Dropped, the message returns to the queue.
            JobOutcome::Interrupted => Ok(none),
        }
    }
}
