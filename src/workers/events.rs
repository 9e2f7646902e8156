//! The handler of the queues of events: an event is processed when both stores have what it tells of.
//!
//! An event leaves the same wishes as a delivery does. Most have come true long before, since the delivery came first: then
//! the event costs no request. For the others the handler holds its message until a worker of refreshes has read them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Backoff, Handler, JobOutcome, WorkerConfig, WorkerStats};
use crate::json;
use crate::leased::{Exclusive, run_when_free};
use crate::mirror::events::wishes_of;
use crate::mirror::{ForkCommits, Mirror, MirrorError, repository_lease_name};
use crate::names::RepoName;
use crate::queue::{Queue, Route};
use crate::store::documents::Collection;
use crate::store::relational::ProjectRecord;
use crate::store::relational::refreshes::{Refresh, RefreshOutcome, RefreshRequest, RefreshState};
use crate::telemetry::Console;

/// Delays after failed attempts at an event (`docs/queue.md`).
const RETRY_STEPS: [Duration; 5] = [
    Duration::from_secs(5),
    Duration::from_mins(1),
    Duration::from_mins(5),
    Duration::from_mins(15),
    Duration::from_hours(1),
];
/// Maximum time of work on one message: RabbitMQ takes messages back after half an hour.
const MAX_WORK_TIME: Duration = Duration::from_mins(20);
/// Time for which a message is held while what its event names is read; then it makes room for others.
const MAX_HOLD_TIME: Duration = Duration::from_mins(5);
/// Delays between looks whether a wish has come true: the first one, and the maximum; they double.
const POLL_DELAYS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Delay of an event whose wishes are still waited for, or whose repository is not retrieved yet.
const DEFER_DELAY: Duration = Duration::from_mins(1);
/// Time after which an event whose repository is not retrieved counts as failed.
const MAX_RETRIEVAL_WAIT: chrono::TimeDelta = chrono::TimeDelta::hours(24);
/// Maximum length of an event's id, in characters; GitHub's have some 11.
const MAX_ID_CHARS: usize = 64;
/// Time between looks for types of events that nobody knew before.
const TYPES_INTERVAL: Duration = Duration::from_mins(1);

/// The types of events that GitHub's feeds have (GitHub docs: GitHub event types). Others are consumed once they are stored.
const KNOWN_TYPES: [&str; 16] = [
    "CommitCommentEvent",
    "CreateEvent",
    "DeleteEvent",
    "DiscussionEvent",
    "ForkEvent",
    "GollumEvent",
    "IssueCommentEvent",
    "IssuesEvent",
    "MemberEvent",
    "PublicEvent",
    "PullRequestEvent",
    "PullRequestReviewCommentEvent",
    "PullRequestReviewEvent",
    "PushEvent",
    "ReleaseEvent",
    "WatchEvent",
];

/// The settings of the workers of events.
#[derive(Debug, Clone)]
pub struct EventsConfig {
    /// The types to process; all if empty.
    pub types: Vec<String>,
    /// Messages held at a time, of each type.
    pub prefetch: u16,
    /// Stop when the queues are empty.
    pub drain: bool,
    /// Attempts before a message becomes a dead letter.
    pub attempts: u32,
}

/// Processes the queues of events until `stop` is canceled, or all are empty if [`drain`](EventsConfig::drain) is set. A
/// worker of refreshes must run beside it, in this process or in another.
///
/// # Errors
/// A queue or a store can't be used any more; what was in progress is back in its queue.
pub async fn run_events(
    mirror: &Mirror,
    queue: &Queue,
    config: &EventsConfig,
    console: &Console,
    stop: &CancellationToken,
) -> anyhow::Result<WorkerStats> {
    let handler = Arc::new(EventHandler { mirror: mirror.clone(), drain: config.drain });
    // Ends the other types' workers when one fails.
    let workers_stop = stop.child_token();
    let mut workers: JoinSet<anyhow::Result<WorkerStats>> = JoinSet::new();
    let mut started: BTreeSet<String> = BTreeSet::new();
    let mut stats = WorkerStats::default();
    let mut failure = None;
    loop {
        for kind in types_to_process(mirror, config).await? {
            let Ok(route) = Route::for_event_type(&kind) else { continue };
            if !started.insert(kind) {
                continue;
            }
            let (jobs, drain, attempts) = (config.prefetch, config.drain, config.attempts);
            let settings = WorkerConfig { route, jobs, drain, attempts, backoff: Backoff::Steps(&RETRY_STEPS) };
            let (queue, handler, console, stop) =
                (queue.clone(), Arc::clone(&handler), console.clone(), workers_stop.clone());
            workers.spawn(async move { super::run(&queue, &settings, handler, &console, &stop).await });
        }
        tokio::select! {
            Some(joined) = workers.join_next() => match joined {
                Ok(Ok(one)) => stats.add(one),
                Ok(Err(error)) => failure = Some(error),
                Err(error) => tracing::error!(%error, "a worker of events panicked"),
            },
            () = stop.cancelled() => break,
            () = tokio::time::sleep(TYPES_INTERVAL), if !config.drain => {}
        }
        if failure.is_some() || (config.drain && workers.is_empty()) {
            break;
        }
    }
    if failure.is_some() {
        workers_stop.cancel();
    }
    while let Some(joined) = workers.join_next().await {
        match joined {
            Ok(Ok(one)) => stats.add(one),
            Ok(Err(error)) => failure = failure.or(Some(error)),
            Err(error) => tracing::error!(%error, "a worker of events panicked"),
        }
    }
    failure.map_or(Ok(stats), Err)
}

async fn types_to_process(mirror: &Mirror, config: &EventsConfig) -> anyhow::Result<BTreeSet<String>> {
    if !config.types.is_empty() {
        return Ok(config.types.iter().cloned().collect());
    }
    let mut types: BTreeSet<String> = KNOWN_TYPES.iter().map(|&kind| kind.to_owned()).collect();
    types.extend(mirror.stores.relational.event_types().await?);
    Ok(types)
}

/// Processes the event that a message names.
struct EventHandler {
    mirror: Mirror,
    /// Whether nobody waits for a repository to be retrieved.
    drain: bool,
}

/// What is known of an event before anything is read at GitHub.
enum Prepared {
    /// Nothing is left to do, for this reason.
    Settled(&'static str),
    /// It can't be processed, ever.
    Hopeless(String),
    /// Its repository was never retrieved.
    Unknown(Vec<RefreshRequest>),
    /// The stores lack what these wishes ask for.
    Missing(ProjectRecord, Vec<RefreshRequest>),
}

/// Stores the rows that an event tells of, and returns what both stores still lack.
///
/// # Errors
/// A store that can't be used, or a row that it rejects.
async fn prepare(mirror: &Mirror, id: &str) -> Result<Prepared, MirrorError> {
    let relational = &mirror.stores.relational;
    if id.is_empty() || id.chars().count() > MAX_ID_CHARS {
        return Ok(Prepared::Hopeless("the message names no event: expected its id".to_owned()));
    }
    let Some(text) = mirror.stores.documents.get(Collection::Events, id).await? else {
        return Ok(Prepared::Hopeless("no event with this id is stored".to_owned()));
    };
    let event: Value = match json::parse(&text) {
        Ok(event) => event,
        Err(error) => return Ok(Prepared::Hopeless(format!("the stored event can't be read: {error}"))),
    };
    if relational.event_record(id).await?.is_some_and(|record| record.processed_at.is_some()) {
        return Ok(Prepared::Settled("processed before"));
    }
    mirror.apply_event(&text).await?;
    let wishes = wishes_of(&event);
    let Some(first) = wishes.first() else { return Ok(Prepared::Settled("names nothing to be read")) };
    let Some(known) = mirror.find_refreshed(first).await? else { return Ok(Prepared::Unknown(wishes)) };
    let missing = mirror.unfulfilled(&known, wishes).await?;
    Ok(if missing.is_empty() { Prepared::Settled("both stores have it") } else { Prepared::Missing(known, missing) })
}

impl Handler for EventHandler {
    const REPORTS_EACH: bool = false;

    async fn handle(&self, body: &str, stop: CancellationToken) -> anyhow::Result<JobOutcome> {
        let id = body.trim();
        match tokio::time::timeout(MAX_WORK_TIME, self.process(id, &stop)).await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(MirrorError::Store(error))) => Err(error.into()),
            Ok(Err(MirrorError::Canceled)) => Ok(JobOutcome::Interrupted),
            Ok(Err(error)) => Ok(JobOutcome::Retry(error.to_string())),
            Err(_) => Ok(JobOutcome::Retry(format!("not done within {} minutes", MAX_WORK_TIME.as_secs() / 60))),
        }
    }

    async fn failed(&self, body: &str, why: &str, dead: bool) {
        if let Err(error) = self.mirror.stores.relational.mark_event_failed(body.trim(), why, dead).await {
            tracing::warn!(event = body, %error, "a failed attempt is not noted");
        }
    }
}

impl EventHandler {
    async fn process(&self, id: &str, stop: &CancellationToken) -> Result<JobOutcome, MirrorError> {
        let done = async |what: &str| {
            self.mirror.stores.relational.mark_events_processed(&[id.to_owned()]).await?;
            Ok(JobOutcome::Completed(what.to_owned()))
        };
        match prepare(&self.mirror, id).await? {
            Prepared::Settled(what) => done(what).await,
            Prepared::Hopeless(why) => Ok(JobOutcome::DeadLetter(why)),
            Prepared::Unknown(wishes) => self.wait_for_retrieval(id, wishes).await,
            Prepared::Missing(known, wishes) => match self.fulfill(&known, wishes, stop).await? {
                None => done("read").await,
                Some(outcome) => Ok(outcome),
            },
        }
    }

    /// Has a repository retrieved that was never mirrored, and puts the event off until it is.
    async fn wait_for_retrieval(&self, id: &str, wishes: Vec<RefreshRequest>) -> Result<JobOutcome, MirrorError> {
        let relational = &self.mirror.stores.relational;
        let why = "its repository is not retrieved yet".to_owned();
        relational.request_refreshes(wishes).await?;
        let stored_at = relational.event_record(id).await?.and_then(|record| record.stored_at);
        let is_patient = !self.drain && stored_at.is_none_or(|at| Utc::now() - at < MAX_RETRIEVAL_WAIT);
        Ok(if is_patient { JobOutcome::Defer(why, DEFER_DELAY) } else { JobOutcome::Retry(why) })
    }

    /// Leaves wishes, and waits until they have come true or were given up. Returns `None` if both stores have it all.
    async fn fulfill(
        &self,
        known: &ProjectRecord,
        wishes: Vec<RefreshRequest>,
        stop: &CancellationToken,
    ) -> Result<Option<JobOutcome>, MirrorError> {
        let relational = &self.mirror.stores.relational;
        let mut new = Vec::new();
        for wish in &wishes {
            // Expressed anew, one that is pending would begin with its attempts again.
            if !matches!(relational.refresh_state(wish).await?, RefreshState::Pending) {
                new.push(wish.clone());
            }
        }
        relational.request_refreshes(new).await?;
        let deadline = Instant::now() + MAX_HOLD_TIME;
        let (mut delay, max_delay) = POLL_DELAYS;
        let mut left = wishes;
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(Some(JobOutcome::Interrupted)),
                () = tokio::time::sleep(delay) => delay = (delay * 2).min(max_delay),
            }
            let mut pending = Vec::new();
            for wish in self.mirror.unfulfilled(known, left).await? {
                match relational.refresh_state(&wish).await? {
                    RefreshState::Pending => pending.push(wish),
                    RefreshState::Failed(why) => return Ok(Some(JobOutcome::Retry(why))),
                    // It was read, and GitHub's answer believed: a branch may be gone again.
                    RefreshState::Concluded => {}
                }
            }
            if pending.is_empty() {
                return Ok(None);
            }
            if Instant::now() >= deadline {
                return Ok(Some(JobOutcome::Defer("what it names is still being read".to_owned(), DEFER_DELAY)));
            }
            left = pending;
        }
    }
}

/// Processes one event, whatever became of it before, and returns what was done.
///
/// # Errors
/// An event that is not stored, a store that can't be used, or GitHub's answer.
pub async fn process_event(
    mirror: &Mirror,
    id: &str,
    fork_commits: ForkCommits,
    process: &str,
    stop: &CancellationToken,
) -> anyhow::Result<EventReport> {
    let relational = &mirror.stores.relational;
    let record = relational.event_record(id).await?;
    let mut report = EventReport { kind: record.map(|record| record.kind), ..EventReport::default() };
    match prepare(mirror, id).await? {
        Prepared::Settled(what) => report.lines.push(what.to_owned()),
        Prepared::Hopeless(why) => anyhow::bail!("event {id}: {why}"),
        Prepared::Unknown(wishes) => {
            let name = wishes.first().map(|wish| format!("{}/{}", wish.owner, wish.repo)).unwrap_or_default();
            anyhow::bail!("event {id}: {name} was never mirrored: retrieve it with msght retrieve-repo {name}");
        }
        Prepared::Missing(known, wishes) => {
            let refreshes: Vec<Refresh> = wishes.into_iter().map(Refresh::immediate).collect();
            let name = RepoName::new(&known.owner, &known.name)?;
            let lease = repository_lease_name(&name);
            let what = name.to_string();
            let ended = run_when_free(mirror, (&what, &lease), process, stop, async |mirror: Mirror| {
                mirror.refresh_repository(&known, &refreshes, fork_commits).await
            });
            let refreshed = match ended.await? {
                Exclusive::HeldBy(who) => anyhow::bail!("event {id}: {name}: {who}"),
                Exclusive::Canceled(_) => return Err(MirrorError::Canceled.into()),
                Exclusive::Finished(refreshed) => refreshed?,
            };
            (report.requests, report.free) = (refreshed.requests, refreshed.free);
            let mut failures = BTreeMap::new();
            for (refresh, outcome) in refreshes.iter().zip(&refreshed.outcomes) {
                let RefreshRequest { kind, entity, .. } = &refresh.request;
                let named = format!("{} {}", kind.name(), entity.as_deref().unwrap_or_default());
                match outcome {
                    RefreshOutcome::Done => report.lines.push(format!("{named}: read")),
                    RefreshOutcome::Retry(why) | RefreshOutcome::Defer(why, _) | RefreshOutcome::Failed(why) => {
                        failures.insert(named, why.clone());
                    }
                }
            }
            if let Some((named, why)) = failures.first_key_value() {
                relational.mark_event_failed(id, why, false).await?;
                anyhow::bail!("event {id}: {named}: {why}");
            }
        }
    }
    relational.mark_events_processed(&[id.to_owned()]).await?;
    Ok(report)
}

/// What was done for one event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventReport {
    /// Its type, if it has a row.
    pub kind: Option<String>,
    /// What was read, or the reason why nothing had to be.
    pub lines: Vec<String>,
    /// Requests that count on a rate limit.
    pub requests: u64,
    /// Requests answered 304, which do not.
    pub free: u64,
}
