//! Requeuing of stored events, and of the dead letters of events.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::REQUEUE_BATCH;
use crate::cli::LoadArgs;
use crate::queue::{Queue, Route};
use crate::store::relational::Relational;
use crate::store::relational::outbox::{EventRange, OutboxEvent};

/// Stored events requeued at a time.
const EVENTS_BATCH: u32 = 500;

/// Requeues the dead letters of events, of one type or of all. Returns the number by queue.
///
/// # Errors
/// The store or the queue can't be used; what was requeued before stays so.
pub(super) async fn requeue_dead(
    relational: &Relational,
    queue: &Queue,
    kind: Option<&str>,
    shutdown: &CancellationToken,
) -> anyhow::Result<BTreeMap<String, usize>> {
    let kinds = match kind {
        Some(kind) => vec![kind.to_owned()],
        None => relational.event_types().await?,
    };
    let mut done = BTreeMap::new();
    for route in kinds.iter().filter_map(|kind| Route::for_event_type(kind).ok()) {
        queue.declare(std::slice::from_ref(&route)).await?;
        let mut left = queue.depth(&route).await?.dead;
        let mut requeued = 0;
        while left > 0 && !shutdown.is_cancelled() {
            let batch = u32::try_from(left).unwrap_or(REQUEUE_BATCH).min(REQUEUE_BATCH);
            let letters = queue.dead_letters(&route, batch).await?;
            let count = queue.requeue_dead(&route, batch).await?;
            if count == 0 {
                break;
            }
            let ids: Vec<String> = letters.into_iter().map(|letter| letter.body).collect();
            relational.mark_events_requeued(&ids).await?;
            requeued += count as usize;
            left = left.saturating_sub(count.into());
        }
        done.insert(route.queue(), requeued);
    }
    Ok(done)
}

/// Requeues stored events onto msght's own queues, or publishes them to the exchange again. Returns the number by queue.
///
/// # Errors
/// The store or the queue can't be used; what was requeued before stays so.
pub(super) async fn requeue_stored(
    relational: &Relational,
    queue: &Queue,
    args: &LoadArgs,
    shutdown: &CancellationToken,
) -> anyhow::Result<BTreeMap<String, usize>> {
    let Some(since) = args.since else { return Ok(BTreeMap::new()) };
    let range = EventRange { since, until: args.until, kind: args.kind.clone() };
    let limit = args.rate.map_or(EVENTS_BATCH, |rate| rate.min(EVENTS_BATCH));
    let mut after = None;
    let mut done: BTreeMap<String, usize> = BTreeMap::new();
    while !shutdown.is_cancelled() {
        let page = relational.events_between(&range, after.as_ref(), limit).await?;
        let Some((at, last)) = page.last() else { break };
        after = Some((*at, last.id.clone()));
        let count = page.len();
        let mut by_kind: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (_, OutboxEvent { id, kind }) in page {
            by_kind.entry(kind).or_default().push(id);
        }
        for (kind, ids) in by_kind {
            // A type that can't be a routing key has no queue.
            let Ok(route) = Route::for_event_type(&kind) else { continue };
            queue.declare(std::slice::from_ref(&route)).await?;
            *done.entry(route.queue()).or_default() += ids.len();
            if args.republish {
                queue.publish(&route, ids.clone()).await?;
                relational.mark_published(&ids).await?;
            } else {
                queue.enqueue(&route, ids.clone()).await?;
            }
            relational.mark_events_requeued(&ids).await?;
        }
        if count < limit as usize {
            break;
        }
        if let Some(rate) = args.rate {
            let pause = Duration::from_secs_f64(60.0 * count as f64 / f64::from(rate));
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
    Ok(done)
}
