//! Publishing of stored events, and requeuing of those that got lost on their way.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::queue::{Queue, Route};
use crate::store::BackendError;
use crate::store::relational::Relational;
use crate::store::relational::leases::process_name;
use crate::store::relational::outbox::{OutboxEvent, PUBLISH_TIMEOUT};

/// Events that are claimed and published at a time.
const PUBLISH_BATCH: u32 = 1000;
/// Time after which an event that was published and not processed is put on msght's own queue again: the broker may have lost
/// its message.
const OVERDUE_AGE: Duration = Duration::from_hours(1);
/// Events requeued at a time.
const REQUEUE_BATCH: u32 = 500;

/// The counts of a publisher's round.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Published {
    /// Events that the exchange has confirmed.
    pub published: usize,
    /// Events that could not be published; the next round tries again.
    pub failed: usize,
}

/// Publishes the outbox. Any number of processes may: each event is claimed by one.
#[derive(Clone)]
pub struct Publisher {
    relational: Relational,
    queue: Queue,
    /// The name of its claims, which no other publisher has.
    name: String,
    /// Routes whose queues have been declared.
    declared: Arc<Mutex<HashSet<Route>>>,
}

impl Publisher {
    /// Creates a publisher from the outbox to the queue's exchange.
    pub fn new(relational: &Relational, queue: &Queue) -> Self {
        let name = format!("{}/{:08x}", process_name(), rand::random::<u32>());
        Self { relational: relational.clone(), queue: queue.clone(), name, declared: Arc::default() }
    }

    /// Publishes what is stored and not published, until nothing is left, a batch fails, or it is stopped.
    ///
    /// # Errors
    /// The outbox can't be read or written.
    pub async fn publish_pending(&self, stop: &CancellationToken) -> Result<Published, BackendError> {
        let mut total = Published::default();
        while !stop.is_cancelled() {
            let events = self.relational.claim_unpublished(&self.name, PUBLISH_BATCH).await?;
            if events.is_empty() {
                break;
            }
            let is_last = events.len() < PUBLISH_BATCH as usize;
            let round = tokio::time::timeout(PUBLISH_TIMEOUT, self.publish(events)).await;
            let round = if let Ok(round) = round {
                round?
            } else {
                // The claim ends by itself: what was sent and not noted is published again.
                tracing::warn!("publishing events took too long");
                break;
            };
            total.published += round.published;
            total.failed += round.failed;
            if round.failed > 0 {
                self.relational.release_unpublished(&self.name).await?;
                break;
            }
            if is_last {
                break;
            }
        }
        Ok(total)
    }

    /// Publishes claimed events by type, and notes each type when the exchange has confirmed it.
    async fn publish(&self, events: Vec<OutboxEvent>) -> Result<Published, BackendError> {
        let mut by_kind: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for event in events {
            by_kind.entry(event.kind).or_default().push(event.id);
        }
        let mut round = Published::default();
        for (kind, ids) in by_kind {
            let count = ids.len();
            let Ok(route) = Route::for_event_type(&kind) else {
                // No queue can have such a name. The event is stored, and that is all there is to do.
                tracing::warn!(%kind, count, "events of a type that can't be a routing key are not routed");
                self.relational.mark_published(&ids).await?;
                self.relational.mark_events_processed(&ids).await?;
                continue;
            };
            let sent = async {
                self.declare(&route).await?;
                self.queue.publish(&route, ids.clone()).await
            };
            match sent.await {
                Ok(()) => {
                    self.relational.mark_published(&ids).await?;
                    tracing::debug!(%kind, count, "events published");
                    round.published += count;
                }
                Err(error) => {
                    // Its queue may have been deleted.
                    self.declared.lock().await.remove(&route);
                    tracing::warn!(%kind, count, %error, "events are not published yet");
                    round.failed += count;
                }
            }
        }
        Ok(round)
    }

    /// Declares msght's own queue of a type, so that a foreign consumer's alone doesn't make its events routable.
    async fn declare(&self, route: &Route) -> Result<(), BackendError> {
        let mut declared = self.declared.lock().await;
        if !declared.contains(route) {
            self.queue.declare(std::slice::from_ref(route)).await?;
            declared.insert(route.clone());
        }
        Ok(())
    }

    /// Puts events that were published an hour ago and never processed on msght's own queue again, where that queue is empty:
    /// what still waits there is not lost. Returns their number.
    ///
    /// # Errors
    /// The outbox or the queue can't be used.
    pub async fn requeue_overdue(&self) -> Result<usize, BackendError> {
        let mut requeued = 0;
        for kind in self.relational.overdue_event_types(OVERDUE_AGE).await? {
            let Ok(route) = Route::for_event_type(&kind) else { continue };
            self.declare(&route).await?;
            let depth = self.queue.depth(&route).await?;
            if depth.ready > 0 || depth.waiting > 0 {
                continue;
            }
            let ids = self.relational.take_overdue_events(&kind, OVERDUE_AGE, REQUEUE_BATCH).await?;
            if ids.is_empty() {
                continue;
            }
            tracing::warn!(%kind, count = ids.len(), "events were not processed for an hour: put on the queue again");
            requeued += ids.len();
            self.queue.enqueue(&route, ids).await?;
        }
        Ok(requeued)
    }
}
