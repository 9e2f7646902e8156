//! Refreshes: works the wishes that deliveries and events have left, a repository or organization at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::github::ApiError;
use crate::leased::{Exclusive, run_if_free};
use crate::mirror::{ForkCommits, Mirror, MirrorError, Refreshed, account_lease_name, repository_lease_name};
use crate::names::RepoName;
use crate::queue::{Queue, Route};
use crate::store::relational::refreshes::{ClaimedTarget, RefreshKind, RefreshOutcome, RefreshRequest, Wanted};

/// Time between looks for due wishes while there are none.
const IDLE_INTERVAL: Duration = Duration::from_millis(500);
/// Looks in a row that must find no wish at all before a worker stops that is to stop when nothing is left.
const EMPTY_LOOKS: u32 = 2;
/// Delay in seconds of wishes whose repository another process has.
const BUSY_DELAY: i64 = 5;
/// Delay in seconds of wishes while GitHub can't be reached.
const OUTAGE_DELAY: i64 = 60;
/// Time for which a repository that was put on the queue to be retrieved whole is not put there again.
const QUEUED_FOR: Duration = Duration::from_mins(10);
/// Maximum number of repositories remembered as queued.
const MAX_QUEUED: usize = 10_000;

/// Settings of the worker.
#[derive(Debug, Clone)]
pub struct RefreshConfig {
    /// Repositories at a time.
    pub jobs: u16,
    /// Whether to stop when no wish is left, and to wait for none that can be worked now.
    pub drain: bool,
    /// Commits that count as a fork's own.
    pub fork_commits: ForkCommits,
}

/// Counts of a worker's run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RefreshStats {
    /// Wishes that came true.
    pub done: u64,
    /// Attempts after which GitHub did not show what was announced, or that failed.
    pub retried: u64,
    /// Requests that count on a rate limit.
    pub requests: u64,
    /// Requests answered 304, which do not.
    pub free: u64,
}

/// What the worker's jobs share.
struct Shared {
    mirror: Mirror,
    queue: Queue,
    config: RefreshConfig,
    process: String,
    /// Repositories that were put on the queue, and when.
    queued: Mutex<HashMap<String, Instant>>,
}

/// Works wishes until `stop` is canceled, or none is left if [`drain`](RefreshConfig::drain) is set.
///
/// # Errors
/// A store or the queue can't be used any more; claimed wishes are due again when their claims have expired.
pub async fn run_refreshes(
    mirror: Mirror,
    queue: Queue,
    config: RefreshConfig,
    process: String,
    stop: &CancellationToken,
) -> anyhow::Result<RefreshStats> {
    let relational = mirror.stores.relational.clone();
    let jobs_stop = stop.child_token();
    let limit = usize::from(config.jobs);
    let shared = Arc::new(Shared { mirror, queue, config, process, queued: Mutex::default() });
    let mut jobs: JoinSet<anyhow::Result<RefreshStats>> = JoinSet::new();
    let (mut stats, mut failure, mut empty_looks) = (RefreshStats::default(), None, 0);
    while failure.is_none() && !stop.is_cancelled() {
        let free = u32::try_from(limit.saturating_sub(jobs.len())).unwrap_or(0);
        let claimed = match free {
            0 => Vec::new(),
            _ => match relational.claim_refreshes(free, shared.config.drain).await {
                Ok(claimed) => claimed,
                Err(error) => {
                    failure = Some(error.into());
                    break;
                }
            },
        };
        let idle = claimed.is_empty();
        for target in claimed {
            let (shared, stop) = (Arc::clone(&shared), jobs_stop.clone());
            jobs.spawn(async move { shared.work(target, stop).await });
        }
        if idle && jobs.is_empty() && shared.config.drain {
            match relational.refresh_counts().await {
                Ok(counts) => empty_looks = if counts.pending == 0 { empty_looks + 1 } else { 0 },
                Err(error) => failure = Some(error.into()),
            }
            if empty_looks == EMPTY_LOOKS {
                break;
            }
        }
        if !idle && jobs.len() < limit {
            continue;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            Some(joined) = jobs.join_next() => stats.record(joined, &mut failure),
            () = tokio::time::sleep(IDLE_INTERVAL), if jobs.len() < limit => {}
        }
    }
    if failure.is_some() {
        jobs_stop.cancel();
    }
    while let Some(joined) = jobs.join_next().await {
        stats.record(joined, &mut failure);
    }
    if let Err(error) = relational.purge_refresh_paces().await {
        tracing::warn!(%error, "outdated paces stay");
    }
    failure.map_or(Ok(stats), Err)
}

/// Returns the wish for what takes one request an item, where anything was read that may refer to new ones.
fn details_of(claimed: &ClaimedTarget, refreshed: &Refreshed) -> Option<RefreshRequest> {
    let mut done = claimed.refreshes.iter().zip(&refreshed.outcomes).filter(|(refresh, outcome)| {
        **outcome == RefreshOutcome::Done && !refresh.request.kind.is_background() && !refresh.request.repo.is_empty()
    });
    let RefreshRequest { repository_id, owner, repo, .. } = &done.next().filter(|_| refreshed.requests > 0)?.0.request;
    Some(RefreshRequest::of_repository(*repository_id, owner, repo, RefreshKind::Details, None, Wanted::Read))
}

impl RefreshStats {
    /// Adds the counts of another run.
    pub fn add(&mut self, other: Self) {
        self.done += other.done;
        self.retried += other.retried;
        self.requests += other.requests;
        self.free += other.free;
    }

    fn record(
        &mut self,
        joined: Result<anyhow::Result<Self>, tokio::task::JoinError>,
        failure: &mut Option<anyhow::Error>,
    ) {
        match joined {
            Ok(Ok(one)) => self.add(one),
            Ok(Err(error)) => _ = failure.get_or_insert(error),
            // A panic has printed itself; the claim expires.
            Err(error) => tracing::error!(%error, "a refresh panicked"),
        }
    }
}

impl Shared {
    /// Works the wishes of one repository or organization, and records the results.
    async fn work(&self, claimed: ClaimedTarget, stop: CancellationToken) -> anyhow::Result<RefreshStats> {
        let all = |outcome: RefreshOutcome| vec![outcome; claimed.refreshes.len()];
        let Some(first) = claimed.refreshes.first() else { return Ok(RefreshStats::default()) };
        let kinds = || {
            let mut kinds: Vec<RefreshKind> = claimed.refreshes.iter().map(|refresh| refresh.request.kind).collect();
            kinds.dedup();
            kinds
        };
        let ended = if first.request.repo.is_empty() {
            let lease = account_lease_name(&first.request.owner);
            run_if_free(&self.mirror, &lease, &self.process, &stop, |mirror| {
                let claimed = &claimed;
                async move { mirror.refresh_organization(&first.request.owner, &claimed.refreshes).await }
            })
            .await?
        } else {
            match self.find(&claimed).await? {
                None => {
                    self.queue_whole(&claimed).await?;
                    Exclusive::Finished(Ok(Refreshed { outcomes: all(RefreshOutcome::Done), ..Refreshed::default() }))
                }
                Some(known) => {
                    let name = RepoName::new(&known.owner, &known.name)?;
                    run_if_free(&self.mirror, &repository_lease_name(&name), &self.process, &stop, |mirror| {
                        let (known, claimed) = (&known, &claimed);
                        async move {
                            mirror.refresh_repository(known, &claimed.refreshes, self.config.fork_commits).await
                        }
                    })
                    .await?
                }
            }
        };
        let defer =
            |why: String, delay| Refreshed { outcomes: all(RefreshOutcome::Defer(why, delay)), ..Refreshed::default() };
        let refreshed = match ended {
            Exclusive::HeldBy(who) => defer(who, BUSY_DELAY),
            Exclusive::Canceled(done) => done.unwrap_or_else(|| defer("stopped".to_owned(), 0)),
            Exclusive::Finished(Ok(refreshed)) => refreshed,
            Exclusive::Finished(Err(MirrorError::Api(
                error @ (ApiError::Connect { .. } | ApiError::Unavailable { .. }),
            ))) => defer(error.to_string(), OUTAGE_DELAY),
            // No token is usable, or a store: nothing else could be refreshed either.
            Exclusive::Finished(Err(
                error @ (MirrorError::Store(_) | MirrorError::Api(ApiError::Unauthorized { .. })),
            )) => {
                return Err(error.into());
            }
            Exclusive::Finished(Err(error)) => Refreshed {
                outcomes: all(RefreshOutcome::Retry(error.to_string())),
                read: kinds(),
                ..Refreshed::default()
            },
        };
        self.report(&claimed, &refreshed);
        self.mirror.stores.relational.conclude_refreshes(&claimed, &refreshed.outcomes, &refreshed.read).await?;
        if let Some(details) = details_of(&claimed, &refreshed) {
            self.mirror.stores.relational.request_refreshes(vec![details]).await?;
        }
        let number =
            |is: fn(&RefreshOutcome) -> bool| refreshed.outcomes.iter().filter(|outcome| is(outcome)).count() as u64;
        Ok(RefreshStats {
            done: number(|outcome| *outcome == RefreshOutcome::Done),
            retried: number(|outcome| matches!(outcome, RefreshOutcome::Retry(_))),
            requests: refreshed.requests,
            free: refreshed.free,
        })
    }

    /// Finds the repository that wishes name; `None` if it was never mirrored.
    async fn find(&self, claimed: &ClaimedTarget) -> anyhow::Result<Option<crate::store::relational::ProjectRecord>> {
        for refresh in &claimed.refreshes {
            if let Some(known) = self.mirror.find_refreshed(&refresh.request).await? {
                return Ok(Some(known));
            }
        }
        Ok(None)
    }

    /// Puts a repository that was never mirrored on the queue, to be retrieved whole.
    async fn queue_whole(&self, claimed: &ClaimedTarget) -> anyhow::Result<()> {
        let Some(request) = claimed.refreshes.last().map(|refresh| &refresh.request) else { return Ok(()) };
        let mut queued = self.queued.lock().await;
        queued.retain(|_, at| at.elapsed() < QUEUED_FOR);
        if queued.contains_key(&claimed.target) {
            return Ok(());
        }
        self.queue.declare(std::slice::from_ref(&Route::Projects)).await?;
        self.queue.publish(&Route::Projects, vec![format!("{} {}", request.owner, request.repo)]).await?;
        tracing::info!(owner = request.owner, repo = request.repo, "never mirrored: queued to be retrieved whole");
        if queued.len() < MAX_QUEUED {
            queued.insert(claimed.target.clone(), Instant::now());
        }
        Ok(())
    }

    fn report(&self, claimed: &ClaimedTarget, refreshed: &Refreshed) {
        let first = claimed.refreshes.first().map(|refresh| &refresh.request);
        let name = first.map(|request| format!("{}/{}", request.owner, request.repo)).unwrap_or_default();
        let done = refreshed.outcomes.iter().filter(|outcome| **outcome == RefreshOutcome::Done).count();
        let (requests, free) = (refreshed.requests, refreshed.free);
        tracing::info!(%name, wishes = claimed.refreshes.len(), done, requests, free, "refreshed");
        for (refresh, outcome) in claimed.refreshes.iter().zip(&refreshed.outcomes) {
            if let RefreshOutcome::Failed(why) | RefreshOutcome::Retry(why) = outcome {
                let request = &refresh.request;
                let (kind, entity) = (request.kind.name(), request.entity.as_deref().unwrap_or_default());
                tracing::info!(%name, kind, entity, attempts = refresh.attempts + 1, %why, "not refreshed yet");
            }
        }
    }
}
