//! The report that the server has received an event: to the log, or over the queue to `msght webhook-listener`.

use crate::queue::{Queue, Route};
use crate::telemetry::CustomEvent;

/// Where received events are reported.
#[derive(Clone)]
pub enum ReceivedEvents {
    /// To this process's log.
    Log,
    /// Over the queue `LogMessages`.
    Queue(Queue),
}

impl ReceivedEvents {
    /// Reports events by type and number. What the queue doesn't take goes to the log: no report is waited for.
    pub async fn report(&self, events: &[(String, String)]) {
        if events.is_empty() {
            return;
        }
        if let Self::Queue(queue) = self {
            let bodies = events.iter().map(|(kind, id)| format!("{kind} {id}")).collect();
            let published = async {
                queue.declare(std::slice::from_ref(&Route::Log)).await?;
                queue.publish(&Route::Log, bodies).await
            };
            match published.await {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, "received events are not reported over the queue"),
            }
        }
        for (kind, id) in events {
            CustomEvent::ReceivedEvent { kind, id }.emit();
        }
    }
}
