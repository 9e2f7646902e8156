//! What a consumer gets, and how it settles it.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{LONGEST_RETRY, rabbitmq, sqlite};
use crate::store::BackendError;

/// Characters of a reason that are kept with a message: enough for an error with its causes, and far below what a
/// broker takes as headers.
const REASON_MAX_CHARS: usize = 1000;

/// Messages in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth {
    /// To be taken now. What consumers hold unsettled does not count, unless they are gone.
    pub ready: u64,
    /// Waiting for the time at which they come back.
    pub waiting: u64,
    /// Given up: they wait for a person.
    pub dead: u64,
}

/// A message that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The message's text.
    pub body: String,
    /// How often it had failed before.
    pub attempts: u32,
    /// Why it was given up.
    pub reason: String,
}

/// A stream of a queue's messages. Its connection is renewed when it breaks.
pub struct Consumer {
    deliveries: mpsc::Receiver<Result<Delivery, BackendError>>,
    stop: CancellationToken,
    queue: String,
}

impl Consumer {
    pub(super) fn new(
        deliveries: mpsc::Receiver<Result<Delivery, BackendError>>,
        stop: CancellationToken,
        queue: String,
    ) -> Self {
        Self { deliveries, stop, queue }
    }

    /// The next message, or nothing when the consumer was asked to stop. Waits for as long as the queue is empty.
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// The store can't be had within the patience, or the queue is gone. The consumer has ended then.
    pub async fn next(&mut self) -> Result<Option<Delivery>, BackendError> {
        loop {
            let received = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(None),
                received = self.deliveries.recv() => received,
            };
            match received {
                // Whatever the consumer lost while this waited here is delivered again, to whomever.
                Some(Ok(delivery)) if delivery.is_stale() => {}
                Some(received) => return received.map(Some),
                None => {
                    return Err(BackendError {
                        operation: format!("consuming the queue {}", self.queue),
                        cause: "its consumer has ended".to_owned(),
                        hint: "run the command again; unsettled messages are back in the queue",
                        before_start: false,
                    });
                }
            }
        }
    }
}

/// What came of settling a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// It is as was asked.
    Settled,
    /// The hold was lost before (the connection broke, the broker or the lease gave it no more time): the message is
    /// delivered again as it was.
    Lost,
}

/// A message that this consumer holds. One that is dropped unsettled goes back to its place in the queue.
pub struct Delivery {
    body: String,
    attempts: u32,
    hold: Hold,
}

pub(super) enum Hold {
    Sqlite(sqlite::Held),
    Rabbitmq(rabbitmq::Held),
}

impl Delivery {
    pub(super) fn new(body: String, attempts: u32, hold: Hold) -> Self {
        Self { body, attempts, hold }
    }

    /// The message's text.
    pub fn body(&self) -> &str {
        &self.body
    }

    /// How often it has failed before: counted by [`retry_later`](Self::retry_later), so that a consumer that dies does
    /// not use up the attempts of what it held.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The work is done: the message goes. Where the hold was lost meanwhile (the connection broke, the lease expired)
    /// this does nothing, and the message is delivered again.
    ///
    /// # Errors
    /// The store can't be written.
    pub async fn ack(self) -> Result<(), BackendError> {
        match self.hold {
            Hold::Sqlite(held) => held.ack().await,
            Hold::Rabbitmq(held) => held.ack().await,
        }
    }

    /// The message comes back after a time, without holding up others: at `after` or a little later (RabbitMQ knows
    /// some steps, and the next one counts), at [`LONGEST_RETRY`] the latest. `counted` says whether this was an attempt
    /// that failed.
    ///
    /// # Errors
    /// The store can't be written; the message is back in the queue then.
    pub async fn retry_later(self, after: Duration, reason: &str, counted: bool) -> Result<Settlement, BackendError> {
        let attempts = self.attempts.saturating_add(u32::from(counted));
        let after = after.min(LONGEST_RETRY);
        match self.hold {
            Hold::Sqlite(held) => held.retry_later(after, &cut(reason), attempts).await,
            Hold::Rabbitmq(held) => held.retry_later(after, &cut(reason), attempts).await,
        }
    }

    /// The message is given up and kept aside, with the reason.
    ///
    /// # Errors
    /// The store can't be written; the message is back in the queue then.
    pub async fn dead_letter(self, reason: &str) -> Result<Settlement, BackendError> {
        match self.hold {
            Hold::Sqlite(held) => held.dead_letter(&cut(reason)).await,
            Hold::Rabbitmq(held) => held.dead_letter(&cut(reason), self.attempts).await,
        }
    }

    fn is_stale(&self) -> bool {
        match &self.hold {
            Hold::Sqlite(held) => held.is_stale(),
            Hold::Rabbitmq(held) => held.is_stale(),
        }
    }
}

fn cut(reason: &str) -> String {
    reason.chars().take(REASON_MAX_CHARS).collect()
}

/// What to do about a queue that is not there.
pub(super) const NO_QUEUE_ADVICE: &str =
    "check `queue.url` and `queue.exchange`; msght makes its queues when it publishes or consumes";

/// No queue would get the message.
pub(super) fn unroutable(exchange: &str, key: &str, place: &str) -> BackendError {
    BackendError {
        operation: format!("publishing to exchange {exchange}, routing key {key}, at {place}"),
        cause: "no queue is bound to that key, so the message would be lost".to_owned(),
        hint: "bind a queue to it, or start the command that consumes it once",
        before_start: false,
    }
}
