//! Retrieval of due repositories, some concurrently.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::plan::DueRepository;
use super::report::{RepositoryResult, RetrievalStatus};
use super::stop_conditions::StopConditions;
use crate::github::ApiError;
use crate::leased::{BUSY_RETRY_DELAY, Exclusive, run_if_free};
use crate::mirror::{Mirror, MirrorError, Options, repository_lease_name};
use crate::telemetry::{Console, CustomEvent, Progress};

/// Maximum number of retries of a repository whose lease another process holds; such repositories come last.
const MAX_BUSY_RETRIES: u32 = 6;

/// The state that the jobs share.
struct RunState {
    mirror: Mirror,
    options: Options,
    process: String,
    limits: StopConditions,
    console: Console,
    overall: Progress,
    /// Canceled with the run, and by errors that affect all repositories.
    stop: CancellationToken,
    pending: Mutex<VecDeque<(DueRepository, u32)>>,
    results: Mutex<Vec<RepositoryResult>>,
}

/// Retrieves due repositories in this order, `jobs` concurrently, until all are done, a stop condition is met, or
/// `mirror.cancel` is canceled. Returns all results, including repositories not reached.
///
/// # Errors
/// An error that would end every repository's work: a store that can't be used, or no token left.
pub async fn run(
    mirror: &Mirror,
    due: Vec<DueRepository>,
    jobs: u16,
    options: &Options,
    process: &str,
    limits: StopConditions,
    console: &Console,
) -> anyhow::Result<Vec<RepositoryResult>> {
    limits.apply(&mirror.github);
    let overall = console.progress("repositories");
    overall.set_length(due.len() as u64);
    let shared = Arc::new(RunState {
        mirror: Mirror { console: console.without_progress(), ..mirror.clone() },
        options: options.clone(),
        process: process.to_owned(),
        limits,
        console: console.clone(),
        overall,
        stop: mirror.cancel.child_token(),
        pending: Mutex::new(due.into_iter().map(|due| (due, 0)).collect()),
        results: Mutex::default(),
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
    let mut results = std::mem::take(&mut *shared.results.lock().unwrap_or_else(PoisonError::into_inner));
    let pending = std::mem::take(&mut *shared.pending.lock().unwrap_or_else(PoisonError::into_inner));
    if let Some(why) = shared.limits.reached(&shared.mirror.github).filter(|_| !pending.is_empty()) {
        console
            .line(&format!("{why}: {} repositories are left for the next run, which begins with them", pending.len()));
    }
    results.extend(pending.into_iter().map(|(due, _)| RepositoryResult::not_reached(due.name.to_string())));
    Ok(results)
}

async fn job(shared: Arc<RunState>) -> anyhow::Result<()> {
    let bar = shared.console.start_terminal_progress("");
    loop {
        if shared.stop.is_cancelled() || shared.limits.reached(&shared.mirror.github).is_some() {
            break;
        }
        let next = shared.pending.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some((due, retries)) = next else { break };
        bar.message(&due.name.to_string());
        if retries > 0 {
            tokio::select! {
                () = shared.stop.cancelled() => {}
                () = tokio::time::sleep(BUSY_RETRY_DELAY) => {}
            }
        }
        let started = Instant::now();
        let (owner, name) = (due.name.owner(), due.name.name());
        CustomEvent::BeginningDataAcquisition { organization: owner, repository: name }.emit();
        let ended =
            run_if_free(&shared.mirror, &repository_lease_name(&due.name), &shared.process, &shared.stop, |mirror| {
                let (name, options) = (due.name.clone(), shared.options.clone());
                async move { mirror.sync_repository(&name, options).await }
            })
            .await?;
        let result = match ended {
            Exclusive::HeldBy(_) if retries < MAX_BUSY_RETRIES => {
                shared.pending.lock().unwrap_or_else(PoisonError::into_inner).push_back((due, retries + 1));
                continue;
            }
            // It is the next run's first.
            Exclusive::Canceled(_) => {
                shared.pending.lock().unwrap_or_else(PoisonError::into_inner).push_front((due, retries));
                break;
            }
            Exclusive::HeldBy(who) => {
                RepositoryResult::new(due.name.to_string(), RetrievalStatus::Busy(who), started.elapsed())
            }
            Exclusive::Finished(Ok(report)) => RepositoryResult::of(due.name.to_string(), &report),
            // No token is left, or a store failed: nothing else could be retrieved either.
            Exclusive::Finished(Err(
                error @ (MirrorError::Store(_) | MirrorError::Api(ApiError::Unauthorized { .. })),
            )) => {
                return Err(error.into());
            }
            Exclusive::Finished(Err(error)) => {
                RepositoryResult::new(due.name.to_string(), RetrievalStatus::of_error(&error), started.elapsed())
            }
        };
        match result.state {
            RetrievalStatus::Done => CustomEvent::RepoDataGathered { organization: owner, repository: name }.emit(),
            RetrievalStatus::Inaccessible(_) => {
                CustomEvent::InaccessibleRepo { organization: owner, repository: name }.emit();
            }
            _ => {}
        }
        shared.report(&result);
        shared.results.lock().unwrap_or_else(PoisonError::into_inner).push(result);
        shared.overall.inc(1);
    }
    bar.finish();
    Ok(())
}

impl RunState {
    /// Reports one repository; failures are shown even with `--quiet`.
    fn report(&self, result: &RepositoryResult) {
        let line = format!("{}: {}", result.repository, result.summary);
        if result.state.is_done() {
            tracing::info!(repository = %result.repository, summary = %result.summary, "retrieved");
            self.console.line(&line);
        } else {
            tracing::warn!(repository = %result.repository, summary = %result.summary, "not done");
            self.console.error(&format!("error: {line}"));
        }
    }
}
