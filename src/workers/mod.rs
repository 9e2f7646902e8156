//! Working a queue: some messages at a time, each settled by what became of it.
//!
//! A message is acknowledged when its work is done and stored. What fails comes back later, each time after a longer
//! wait, and is kept with the dead letters in the end. What is in hand when the worker is stopped or dies goes back to the
//! queue.

mod leased;
mod repositories;
mod users;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use leased::{Ended, alone, alone_in_turn};
pub use repositories::Repositories;
pub use users::Users;

use crate::queue::{Delivery, Queue, Route, Settlement};
use crate::telemetry::Console;

/// Each wait before a further attempt is so many times as long as the one before: a minute's trouble is over at the
/// second attempt, an hour's at the fourth.
const WAIT_GROWS: u32 = 4;
/// How often an idle worker that is to stop with the queue's end looks whether it is there.
const EMPTY_CHECK: Duration = Duration::from_millis(500);

/// So many looks in a row must find it empty.
const EMPTY_LOOKS: u32 = 2;

/// A message that was in hand for longer than its queue allows (RabbitMQ's `consumer_timeout`), or over a broken connection.
const LOST: &str =
    "not counted as an attempt, because the queue has taken the message back meanwhile and gives it again";

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The work is done.
    Done(String),
    /// It failed, and may succeed later.
    Failed(String),
    /// It can't be worked at the moment, for a reason that is not its own (somebody else is at it, GitHub can't be
    /// reached): look again after so long, without counting an attempt.
    NotNow(String, Duration),
    /// It will never succeed.
    Hopeless(String),
    /// The worker was stopped: the message goes back as it is.
    Stopped,
}

/// How one kind of message is worked.
pub trait Handler: Send + Sync + 'static {
    /// Works a message. `stop` is cancelled when the worker is to stop.
    ///
    /// # Errors
    /// What would end every other message's work too (a store that can't be used): the worker ends, and the message goes
    /// back.
    fn work(&self, body: &str, stop: CancellationToken) -> impl Future<Output = anyhow::Result<Verdict>> + Send;
}

/// How a queue is worked.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The queue.
    pub route: Route,
    /// Messages at a time; more than it works at once a worker need not hold.
    pub jobs: u16,
    /// Whether to stop when the queue is empty.
    pub drain: bool,
    /// How often a message is tried.
    pub attempts: u32,
    /// The wait after the first failure.
    pub retry_after: Duration,
}

/// What a worker has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Worked {
    /// Messages that were worked to their end.
    pub done: u64,
    /// Attempts that failed and come back.
    pub failed: u64,
    /// Messages that were given up.
    pub dead: u64,
}

/// Works a queue until it is stopped, or empty if that is what was asked for.
///
/// # Errors
/// The queue or a store can't be used any more; what was in hand is back in the queue.
pub async fn run<H: Handler>(
    queue: &Queue,
    policy: &Policy,
    handler: Arc<H>,
    console: &Console,
    stop: &CancellationToken,
) -> anyhow::Result<Worked> {
    queue.declare(std::slice::from_ref(&policy.route)).await?;
    let mut consumer = queue.consume(&policy.route, policy.jobs, stop.clone()).await?;
    // Ends the jobs in hand when the worker ends for a reason of its own.
    let jobs_stop = stop.child_token();
    let mut jobs: JoinSet<anyhow::Result<Worked>> = JoinSet::new();
    let mut worked = Worked::default();
    let mut failure = None;
    let mut empty_looks = 0;
    loop {
        tokio::select! {
            Some(joined) = jobs.join_next() => match joined {
                Ok(Ok(one)) => worked.add(one),
                Ok(Err(error)) => { failure = Some(error); break; }
                // A panic has printed itself; the message is back in the queue.
                Err(error) => tracing::error!(%error, "a job broke off"),
            },
            next = consumer.next(), if jobs.len() < usize::from(policy.jobs) => match next {
                Ok(Some(delivery)) => {
                    empty_looks = 0;
                    let job = Job { policy: policy.clone(), handler: Arc::clone(&handler), console: console.clone() };
                    jobs.spawn(job.run(delivery, jobs_stop.clone()));
                }
                Ok(None) => break,
                Err(error) => { failure = Some(error.into()); break; }
            },
            () = tokio::time::sleep(EMPTY_CHECK), if policy.drain && jobs.is_empty() => {
                let depth = queue.depth(&policy.route).await?;
                // A message on its way from waiting to ready may be in neither count.
                empty_looks = if depth.ready == 0 && depth.waiting == 0 { empty_looks + 1 } else { 0 };
                if empty_looks == EMPTY_LOOKS {
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
            Err(error) => tracing::error!(%error, "a job broke off"),
        }
    }
    failure.map_or(Ok(worked), Err)
}

impl Worked {
    fn add(&mut self, other: Self) {
        self.done += other.done;
        self.failed += other.failed;
        self.dead += other.dead;
    }
}

impl Policy {
    /// The wait before the next attempt, after so many have failed.
    fn wait(&self, failed: u32) -> Duration {
        self.retry_after.saturating_mul(WAIT_GROWS.saturating_pow(failed.saturating_sub(1)))
    }
}

/// One message at work.
struct Job<H> {
    policy: Policy,
    handler: Arc<H>,
    console: Console,
}

impl<H: Handler> Job<H> {
    async fn run(self, delivery: Delivery, stop: CancellationToken) -> anyhow::Result<Worked> {
        let body = delivery.body().to_owned();
        let failed = delivery.attempts().saturating_add(1);
        let working = {
            let (handler, body) = (Arc::clone(&self.handler), body.clone());
            tokio::spawn(async move { handler.work(&body, stop).await })
        };
        let worked = working.await.unwrap_or_else(|panic| Ok(Verdict::Failed(format!("its job broke off: {panic}"))));
        let verdict = match worked {
            Err(error) => {
                // The worker ends. Should it be this message that no store can take, the next worker must not end so, too.
                let why = format!("{error:#}");
                let settled = if failed >= self.policy.attempts {
                    delivery.dead_letter(&why).await
                } else {
                    delivery.retry_later(self.policy.wait(failed), &why, true).await
                };
                if let Err(unsettled) = settled {
                    tracing::warn!(%body, error = %unsettled, "the message goes back as it is");
                }
                return Err(error);
            }
            Ok(Verdict::Failed(why)) if failed >= self.policy.attempts => {
                Verdict::Hopeless(format!("{why}; given up after {failed} attempts"))
            }
            Ok(verdict) => verdict,
        };
        let none = Worked::default();
        match verdict {
            Verdict::Done(what) => {
                // The work is stored: only now may the message go.
                delivery.ack().await?;
                self.console.line(&format!("{body}: {what}"));
                Ok(Worked { done: 1, ..none })
            }
            Verdict::Failed(why) => {
                let wait = self.policy.wait(failed);
                let attempts = self.policy.attempts;
                let then = match delivery.retry_later(wait, &why, true).await? {
                    Settlement::Settled => format!("attempt {failed} of {attempts}, the next in {} s", wait.as_secs()),
                    Settlement::Lost => LOST.to_owned(),
                };
                self.console.error(&format!("error: {body}: {why}; {then}"));
                Ok(Worked { failed: 1, ..none })
            }
            Verdict::NotNow(why, wait) => {
                tracing::info!(%body, %why, "put back");
                delivery.retry_later(wait, &why, false).await?;
                Ok(none)
            }
            Verdict::Hopeless(why) => {
                let settled = delivery.dead_letter(&why).await?;
                let (then, worked) = match settled {
                    Settlement::Settled => ("it is kept with the dead letters", Worked { dead: 1, ..none }),
                    Settlement::Lost => (LOST, Worked { failed: 1, ..none }),
                };
                self.console.error(&format!("error: {body}: {why}; {then}"));
                Ok(worked)
            }
            // Dropped, it goes back to the queue.
            Verdict::Stopped => Ok(none),
        }
    }
}
