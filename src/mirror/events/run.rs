//! The loops that pull feeds and publish events.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::Utc;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::publisher::Publisher;
use super::puller::pull;
use crate::github::{ApiError, RequestCounter};
use crate::mirror::error::MirrorError;
use crate::mirror::session::Mirror;
use crate::queue::Queue;
use crate::store::BackendError;
use crate::store::relational::Relational;
use crate::store::relational::feeds::{Feed, FeedOwner, PULL_TIMEOUT};
use crate::store::relational::leases::process_name;
use crate::store::relational::outbox::FIRST_LIVE_START;
use crate::store::relational::refreshes::{RefreshKind, RefreshRequest, Wanted};

/// Maximum number of feeds pulled at a time by one process.
const MAX_CONCURRENT_PULLS: usize = 16;
/// Time between polls for feeds that are due: others may have asked for one.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Time between sweeps of the outbox.
const SWEEP_INTERVAL: Duration = Duration::from_mins(1);

/// Counters of what a process has pulled and published.
#[derive(Debug, Default)]
pub struct FeedStats {
    /// Pulls that were finished.
    pub pulls: AtomicU64,
    /// Pulls that failed.
    pub failed_pulls: AtomicU64,
    /// Feeds that had a gap.
    pub gaps: AtomicU64,
    /// Events that were new.
    pub events: AtomicU64,
    /// Events that the exchange has confirmed.
    pub published: AtomicU64,
    /// Responses of GitHub.
    pub requests: RequestCounter,
}

/// State that the tasks of a process share.
struct Shared {
    mirror: Mirror,
    stats: Arc<FeedStats>,
    /// Notified when events were stored.
    stored: Notify,
}

/// Pulls the feeds that are due and publishes their events until `stop` is canceled. What is in progress then is finished
/// or left as it was.
///
/// # Errors
/// A store can't be used any more.
pub async fn run_feeds(
    mirror: &Mirror,
    queue: &Queue,
    stats: &Arc<FeedStats>,
    stop: &CancellationToken,
) -> Result<(), BackendError> {
    mirror.stores.relational.remember_moment(FIRST_LIVE_START).await?;
    // A process may have died between a gap and its closing.
    close_gaps(&mirror.stores.relational).await?;
    let mirror = Mirror { cancel: stop.clone(), ..mirror.clone() };
    let publisher = Publisher::new(&mirror.stores.relational, queue);
    let shared = Arc::new(Shared { mirror, stats: Arc::clone(stats), stored: Notify::new() });
    let publishing = publish_loop(&publisher, &shared.stored, &shared.stats, stop);
    tokio::try_join!(pull_loop(&shared, stop), publishing)?;
    // What the last pulls have stored.
    publish_once(&publisher, &shared.stats, &CancellationToken::new()).await
}

/// Publishes what other processes have stored, and requeues what got lost, until `stop` is canceled.
///
/// # Errors
/// A store can't be used any more.
pub async fn run_publisher(
    mirror: &Mirror,
    queue: &Queue,
    stats: &Arc<FeedStats>,
    stop: &CancellationToken,
) -> Result<(), BackendError> {
    publish_loop(&Publisher::new(&mirror.stores.relational, queue), &Notify::new(), stats, stop).await
}

async fn publish_once(publisher: &Publisher, stats: &FeedStats, stop: &CancellationToken) -> Result<(), BackendError> {
    let round = publisher.publish_pending(stop).await?;
    stats.published.fetch_add(round.published as u64, Ordering::Relaxed);
    Ok(())
}

/// Publishes at the start, whenever events were stored, and once a minute.
async fn publish_loop(
    publisher: &Publisher,
    stored: &Notify,
    stats: &FeedStats,
    stop: &CancellationToken,
) -> Result<(), BackendError> {
    let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let is_sweep = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            _ = sweep.tick() => true,
            () = stored.notified() => false,
        };
        publish_once(publisher, stats, stop).await?;
        if is_sweep && let Err(error) = publisher.requeue_overdue().await {
            tracing::warn!(%error, "events that were not processed could not be requeued");
        }
    }
}

/// Kinds of a repository's entities that a gap in its feed may have hidden.
const GAP_KINDS: [RefreshKind; 13] = [
    RefreshKind::Repository,
    RefreshKind::Branches,
    RefreshKind::Issues,
    RefreshKind::IssueComments,
    RefreshKind::IssueEvents,
    RefreshKind::Pulls,
    RefreshKind::ReviewComments,
    RefreshKind::CommitComments,
    RefreshKind::Labels,
    RefreshKind::Releases,
    RefreshKind::Stars,
    RefreshKind::Forks,
    RefreshKind::Collaborators,
];
/// Gaps that are closed at a time.
const GAP_BATCH: usize = 100;

/// Has the lists of repositories read whose feeds had a gap. An organization's gap stays open: which of its repositories it
/// concerns is not known, and the next `msght start` reads those that have changed.
async fn close_gaps(relational: &Relational) -> Result<(), BackendError> {
    for gap in relational.open_feed_gaps(GAP_BATCH).await? {
        let FeedOwner::Repository { id, owner, name } = &gap.owner else { continue };
        let wish = |kind| RefreshRequest::of_repository(*id, owner, name, kind, None, Wanted::Read);
        relational.request_refreshes(GAP_KINDS.into_iter().map(wish).collect()).await?;
        relational.close_feed_gap(&gap).await?;
        tracing::info!(feed = gap.feed, "a gap in the feed: the repository's lists are read instead");
    }
    Ok(())
}

/// Claims feeds that are due, and pulls them concurrently.
async fn pull_loop(shared: &Arc<Shared>, stop: &CancellationToken) -> Result<(), BackendError> {
    let puller = format!("{}/{:08x}", process_name(), rand::random::<u32>());
    let mut pulls: JoinSet<Result<(), BackendError>> = JoinSet::new();
    let mut failure = None;
    while failure.is_none() && !stop.is_cancelled() {
        let free = MAX_CONCURRENT_PULLS.saturating_sub(pulls.len());
        let due = match shared.mirror.stores.relational.claim_due_feeds(&puller, free).await {
            Ok(due) => due,
            Err(error) => {
                failure = Some(error);
                break;
            }
        };
        let is_idle = due.len() < free;
        for feed in due {
            pulls.spawn(pull_claimed(Arc::clone(shared), feed));
        }
        tokio::select! {
            () = stop.cancelled() => {}
            Some(joined) = pulls.join_next() => failure = joined.unwrap_or(Ok(())).err(),
            () = tokio::time::sleep(POLL_INTERVAL), if is_idle => {}
        }
    }
    while let Some(joined) = pulls.join_next().await {
        failure = failure.or(joined.unwrap_or(Ok(())).err());
    }
    failure.map_or(Ok(()), Err)
}

/// Pulls a claimed feed and records the result.
async fn pull_claimed(shared: Arc<Shared>, feed: Feed) -> Result<(), BackendError> {
    let Shared { mirror, stats, stored } = &*shared;
    let relational = &mirror.stores.relational;
    let pulled = tokio::time::timeout(PULL_TIMEOUT, pull(mirror, &feed, &stats.requests)).await;
    let pulled = pulled
        .unwrap_or_else(|_| Err(MirrorError::Answer(format!("it took longer than {} s", PULL_TIMEOUT.as_secs()))));
    match pulled {
        Ok(pulled) => {
            relational.finish_pull(&feed, &pulled.pull).await?;
            stats.pulls.fetch_add(1, Ordering::Relaxed);
            stats.events.fetch_add(pulled.new as u64, Ordering::Relaxed);
            if pulled.pull.gap.is_some() {
                stats.gaps.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(feed = feed.key, known = ?feed.newest_at, "the feed doesn't reach back to what is known");
                close_gaps(relational).await?;
            }
            let late = feed.newest_at.map(|newest| (Utc::now() - newest).num_seconds());
            tracing::debug!(feed = feed.key, new = pulled.new, since_last_event = ?late, "feed pulled");
            if pulled.new > 0 {
                stored.notify_one();
            }
            Ok(())
        }
        Err(MirrorError::Store(error)) => Err(error),
        Err(MirrorError::Canceled) => relational.release_feed(&feed).await,
        // The repository's own refresh finds out whether it is gone or renamed.
        Err(MirrorError::Api(error @ (ApiError::NotFound { .. } | ApiError::NoAccess { .. }))) => {
            tracing::info!(feed = feed.key, %error, "the feed is gone");
            relational.drop_feed(&feed).await
        }
        Err(error) => {
            stats.failed_pulls.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(feed = feed.key, %error, "the feed could not be pulled");
            relational.fail_pull(&feed, &error.to_string()).await
        }
    }
}
