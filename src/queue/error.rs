//! Errors that both backends report in the same words.

use crate::store::BackendError;

/// Advice for a queue that does not exist.
pub(super) const NO_QUEUE_ADVICE: &str =
    "check `queue.url` and `queue.exchange`; msght creates its queues when it publishes or consumes";

/// Returns the error for a message that no queue would receive. `place` is the file or the broker, without secrets.
pub(super) fn unroutable(exchange: &str, key: &str, place: &str) -> BackendError {
    BackendError {
        operation: format!("publishing to exchange {exchange}, routing key {key}, at {place}"),
        cause: "no queue is bound to that key, so the message would be lost".to_owned(),
        hint: "bind a queue to it, or start the command that consumes it once",
        before_start: false,
    }
}
