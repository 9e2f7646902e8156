//! Retrieving repositories, some at a time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::limits::Limits;
use super::plan::Due;
use super::report::{State, Worked};
use crate::github::ApiError;
use crate::mirror::{Mirror, MirrorError, Options, repository_lease};
use crate::telemetry::{Console, Event, Progress};
use crate::workers::{Ended, alone};

/// What another process is at is looked at again after this long, and as the last.
const BUSY_FOR: Duration = Duration::from_secs(10);
/// How often it is looked at again once nothing else is left to do.
const BUSY_LOOKS: u32 = 6;

/// What the jobs share.
struct Shared {
    mirror: Mirror,
    options: Options,
    process: String,
    limits: Limits,
    console: Console,
    overall: Progress,
    /// Cancelled with the run, and by what would end every other repository's work too.
    stop: CancellationToken,
    left: Mutex<VecDeque<(Due, u32)>>,
    worked: Mutex<Vec<Worked>>,
}

/// Retrieves what is due, in this order, `jobs` at a time, until all is done, a limit is reached, or `mirror.cancel` is
/// cancelled. Returns how each went, those not reached included.
///
/// # Errors
/// What would end every repository's work: a store that can't be used, or no token left.
pub async fn work(
    mirror: &Mirror,
    due: Vec<Due>,
    jobs: u16,
    options: &Options,
    process: &str,
    limits: Limits,
    console: &Console,
) -> anyhow::Result<Vec<Worked>> {
    limits.apply(&mirror.github);
    let overall = console.progress("repositories");
    overall.set_length(due.len() as u64);
    let shared = Arc::new(Shared {
        mirror: Mirror { console: console.without_progress(), ..mirror.clone() },
        options: options.clone(),
        process: process.to_owned(),
        limits,
        console: console.clone(),
        overall,
        stop: mirror.cancel.child_token(),
        left: Mutex::new(due.into_iter().map(|due| (due, 0)).collect()),
        worked: Mutex::default(),
    });
    let mut tasks = JoinSet::new();
    for _ in 0..jobs {
        tasks.spawn(job(Arc::clone(&shared)));
    }
    let mut failure = None;
    while let Some(joined) = tasks.join_next().await {
        if let Err(error) = joined.map_err(anyhow::Error::from).flatten() {
            shared.stop.cancel();
            failure.get_or_insert(error);
        }
    }
    shared.overall.finish();
    if let Some(error) = failure {
        return Err(error);
    }
    let mut worked = std::mem::take(&mut *shared.worked.lock().unwrap_or_else(PoisonError::into_inner));
    let left = std::mem::take(&mut *shared.left.lock().unwrap_or_else(PoisonError::into_inner));
    if let Some(why) = shared.limits.reached(&shared.mirror.github).filter(|_| !left.is_empty()) {
        console.line(&format!("{why}: {} repositories are left for the next run, which begins with them", left.len()));
    }
    worked.extend(left.into_iter().map(|(due, _)| Worked::not_reached(due.name.to_string())));
    Ok(worked)
}

async fn job(shared: Arc<Shared>) -> anyhow::Result<()> {
    let bar = shared.console.bar("");
    loop {
        if shared.stop.is_cancelled() || shared.limits.reached(&shared.mirror.github).is_some() {
            break;
        }
        let next = shared.left.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some((due, looks)) = next else { break };
        bar.message(&due.name.to_string());
        if looks > 0 {
            tokio::select! {
                () = shared.stop.cancelled() => {}
                () = tokio::time::sleep(BUSY_FOR) => {}
            }
        }
        let started = Instant::now();
        let (owner, name) = (due.name.owner(), due.name.name());
        Event::BeginningDataAcquisition { organization: owner, repository: name }.emit();
        let ended = alone(&shared.mirror, &repository_lease(&due.name), &shared.process, &shared.stop, |mirror| {
            let (name, options) = (due.name.clone(), shared.options.clone());
            async move { mirror.repository(&name, options).await }
        })
        .await?;
        let worked = match ended {
            Ended::Busy(_) if looks < BUSY_LOOKS => {
                shared.left.lock().unwrap_or_else(PoisonError::into_inner).push_back((due, looks + 1));
                continue;
            }
            // It is the next run's first.
            Ended::Stopped(_) => {
                shared.left.lock().unwrap_or_else(PoisonError::into_inner).push_front((due, looks));
                break;
            }
            Ended::Busy(who) => Worked::new(due.name.to_string(), State::Busy(who), started.elapsed()),
            Ended::With(Ok(report)) => Worked::of(due.name.to_string(), &report),
            // No token is left, or a store: nothing else could be retrieved either.
            Ended::With(Err(error @ (MirrorError::Store(_) | MirrorError::Api(ApiError::Unauthorized { .. })))) => {
                return Err(error.into());
            }
            Ended::With(Err(error)) => Worked::new(due.name.to_string(), State::of_error(&error), started.elapsed()),
        };
        match worked.state {
            State::Done => Event::RepoDataGathered { organization: owner, repository: name }.emit(),
            State::Inaccessible(_) => Event::InaccessibleRepo { organization: owner, repository: name }.emit(),
            _ => {}
        }
        shared.tell(&worked);
        shared.worked.lock().unwrap_or_else(PoisonError::into_inner).push(worked);
        shared.overall.inc(1);
    }
    bar.finish();
    Ok(())
}

impl Shared {
    /// A line a repository; what is not done is also said when quiet.
    fn tell(&self, worked: &Worked) {
        let line = format!("{}: {}", worked.repository, worked.summary);
        if worked.state.is_done() {
            tracing::info!(repository = %worked.repository, summary = %worked.summary, "retrieved");
            self.console.line(&line);
        } else {
            tracing::warn!(repository = %worked.repository, summary = %worked.summary, "not done");
            self.console.error(&format!("error: {line}"));
        }
    }
}
