//! Deliveries: what a consumer receives, and how it settles each message.

use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::store::BackendError;

/// The longest delay of a message that [`Delivery::retry_after`] or [`Delivery::defer`] sends back; a longer one is cut to it.
pub const MAX_RETRY_DELAY: Duration = Duration::from_hours(1);
/// Characters of a reason that are kept with a message: enough for an error with its causes, and far below the limit of
/// a broker's headers.
const MAX_REASON_CHARS: usize = 1000;

/// Numbers of messages in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth {
    /// Messages that can be delivered now. What live consumers hold unsettled does not count.
    pub ready: u64,
    /// Messages that wait for their retry.
    pub waiting: u64,
    /// Dead letters, which wait for a person.
    pub dead: u64,
}

/// A message that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The message's text.
    pub body: String,
    /// Failed attempts before the last one.
    pub attempts: u32,
    /// The reason for giving it up.
    pub reason: String,
}

/// A stream of a queue's messages. A broken connection is renewed.
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

    /// Returns the next message, or `None` when the consumer was asked to stop. Waits while the queue is empty, and is
    /// cancel-safe.
    ///
    /// # Errors
    /// The backend can't be reached within the retry policy's time, or the queue is gone. The consumer has ended then.
    pub async fn next(&mut self) -> Result<Option<Delivery>, BackendError> {
        loop {
            let received = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(None),
                received = self.deliveries.recv() => received,
            };
            match received {
                // One that expired while it waited here is delivered again, to any consumer.
                Some(Ok(delivery)) if delivery.acker.is_expired() => {}
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

/// The outcome of settling a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettleOutcome {
    /// The message was settled as requested.
    Applied,
    /// The delivery had expired (connection lost or lease over); the message will be redelivered unchanged.
    Expired,
}

/// The way in which a message is settled.
pub(super) enum Disposition {
    /// Its work is done: it is removed.
    Ack,
    /// It returns to its queue after `delay`.
    Retry { delay: Duration, reason: String, attempts: u32 },
    /// It is kept aside as a dead letter.
    DeadLetter { reason: String, attempts: u32 },
}

/// A backend's hold on one delivered message. One that is dropped unsettled returns the message to its place in the queue.
pub(super) trait Acker: Send {
    /// Returns whether the delivery has expired: the backend has taken the message back, and delivers it again.
    fn is_expired(&self) -> bool;

    /// Settles the message.
    ///
    /// # Errors
    /// The backend can't be written; the message is back in the queue then.
    fn settle(self: Box<Self>, disposition: Disposition) -> BoxFuture<'static, Result<SettleOutcome, BackendError>>;
}

/// A message that this consumer holds. One that is dropped unsettled returns to its place in the queue.
pub struct Delivery {
    body: String,
    attempts: u32,
    acker: Box<dyn Acker>,
}

impl Delivery {
    pub(super) fn new(body: String, attempts: u32, acker: impl Acker + 'static) -> Self {
        Self { body, attempts, acker: Box::new(acker) }
    }

    /// Returns the message's text.
    pub fn body(&self) -> &str {
        &self.body
    }

    /// Returns the number of failed attempts. Only [`retry_after`](Self::retry_after) counts them: a consumer that dies
    /// uses up no attempt of what it held.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Acknowledges the message: its work is done. Does nothing if the delivery has expired; the message is delivered
    /// again then.
    ///
    /// # Errors
    /// The backend can't be written.
    pub async fn ack(self) -> Result<(), BackendError> {
        self.acker.settle(Disposition::Ack).await.map(drop)
    }

    /// Counts a failed attempt, and returns the message to its queue after `delay`, without holding up others. RabbitMQ
    /// rounds the delay up to one of its steps; [`MAX_RETRY_DELAY`] is the limit.
    ///
    /// # Errors
    /// The backend can't be written; the message is back in the queue then.
    pub async fn retry_after(self, delay: Duration, reason: &str) -> Result<SettleOutcome, BackendError> {
        let attempts = self.attempts.saturating_add(1);
        self.return_after(delay, reason, attempts).await
    }

    /// Returns the message to its queue as [`retry_after`](Self::retry_after) does, with no attempt counted.
    ///
    /// # Errors
    /// The backend can't be written; the message is back in the queue then.
    pub async fn defer(self, delay: Duration, reason: &str) -> Result<SettleOutcome, BackendError> {
        let attempts = self.attempts;
        self.return_after(delay, reason, attempts).await
    }

    async fn return_after(self, delay: Duration, reason: &str, attempts: u32) -> Result<SettleOutcome, BackendError> {
        let delay = delay.min(MAX_RETRY_DELAY);
        self.acker.settle(Disposition::Retry { delay, reason: truncate(reason), attempts }).await
    }

    /// Gives the message up and keeps it aside with the reason.
    ///
    /// # Errors
    /// The backend can't be written; the message is back in the queue then.
    pub async fn dead_letter(self, reason: &str) -> Result<SettleOutcome, BackendError> {
        self.acker.settle(Disposition::DeadLetter { reason: truncate(reason), attempts: self.attempts }).await
    }
}

fn truncate(reason: &str) -> String {
    reason.chars().take(MAX_REASON_CHARS).collect()
}
