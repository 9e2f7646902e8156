//! A repository's run: which stages, in which order, side by side.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::context::{Shared, Work};
use super::entities::{
    commits, counts, details, events, issues, labels, people, pulls, refs, refusals, repository, stars,
};
use super::error::MirrorError;
use super::options::Options;
use super::report::{End, Report, StageReport};
use super::resolve::Opened;
use super::session::Mirror;
use super::stage::Stage;
use super::stats::Tally;
use super::writer::Writer;
use crate::names::RepoName;
use crate::store::relational::Counted;

/// Chains of stages that don't wait for each other. Commits are walked from the heads that branches have; issues whose
/// labels were renamed are read again before those that changed, so that the newer answer is stored last.
const SIDE_BY_SIDE: [&[Stage]; 14] = [
    &[Stage::People],
    &[Stage::Labels, Stage::Issues],
    &[Stage::Milestones],
    &[Stage::Topics],
    &[Stage::Languages],
    &[Stage::Releases],
    &[Stage::Branches, Stage::Commits],
    &[Stage::CommitComments],
    &[Stage::Pulls],
    &[Stage::ReviewComments],
    &[Stage::IssueComments],
    &[Stage::IssueEvents],
    &[Stage::Stars],
    &[Stage::Forks],
];

/// What became of one stage.
struct Done {
    stage: Stage,
    result: Result<(), MirrorError>,
    /// Why it was cut off, where that ended the whole run.
    cut_off: Option<String>,
    time: Duration,
}

impl Mirror {
    /// Mirrors one repository and reports what each stage did.
    ///
    /// # Errors
    /// No token can read the repository, GitHub does not answer for it, or a store can't be used. What goes wrong
    /// within a stage is in the report.
    pub async fn repository(&self, name: &RepoName, options: Options) -> Result<Report, MirrorError> {
        let started = Instant::now();
        let tally = Arc::new(Tally::default());
        let (writer, tasks) = Writer::start(&self.stores);
        let opened = self.open(name, &options, &tally, &writer).await;
        let (repository, lease) = match opened {
            Ok(Opened { repository, lease, .. }) => (repository, lease),
            Err(error) => {
                drop(writer);
                tasks.finished().await;
                return Err(error);
            }
        };
        let (relational, project) = (self.stores.relational.clone(), repository.project);
        if let Err(error) = relational.load_lists(project).await {
            // Each is asked for by itself then, and says what is wrong.
            tracing::warn!(%error, "the state of the lists is not loaded");
        }
        let cancel = self.cancel.child_token();
        let lost = lease.as_ref().map(|lease| lease.lost().clone());
        let watching = lost.clone().map(|lost| {
            let cancel = cancel.clone();
            AbortOnDropHandle::new(tokio::spawn(async move {
                lost.cancelled().await;
                cancel.cancel();
            }))
        });
        let shared = Arc::new(Shared { cancel, ..self.run_context(repository, options, writer) });
        let mut run = Run { shared, tallies: HashMap::from([(Stage::Repo, tally)]), done: Vec::new(), fatal: None };
        run.stages().await;
        let report = run.report(started).await;
        let Run { shared, fatal, .. } = run;
        // The writer ends with its last sender.
        drop(shared);
        tasks.finished().await;
        relational.unload_lists(project);
        drop(watching);
        if let Some(lease) = lease {
            lease.release().await?;
        }
        if lost.is_some_and(|lost| lost.is_cancelled()) {
            return Err(MirrorError::Busy("its lease was lost".to_owned()));
        }
        match fatal {
            Some(MirrorError::Cancelled) | None => report,
            Some(error) => Err(error),
        }
    }
}

/// The stages of one repository at work.
struct Run {
    shared: Arc<Shared>,
    tallies: HashMap<Stage, Arc<Tally>>,
    done: Vec<Done>,
    /// What ended the run before all stages were through.
    fatal: Option<MirrorError>,
}

impl Run {
    fn wanted(&self, stage: Stage) -> bool {
        self.shared.options.stages.contains(&stage)
    }

    async fn stages(&mut self) {
        self.side_by_side(&[&[Stage::Repo]]).await;
        self.side_by_side(&SIDE_BY_SIDE).await;
        self.side_by_side(&[&[Stage::Events]]).await;
        for stage in [Stage::Issues, Stage::Pulls, Stage::IssueComments] {
            self.follow_up(stage).await;
        }
        self.side_by_side(&[&[Stage::Details]]).await;
        // Pull requests tell how many review comments they have only where they were read whole.
        self.follow_up(Stage::ReviewComments).await;
    }

    async fn side_by_side(&mut self, chains: &[&[Stage]]) {
        let mut tasks: JoinSet<Vec<Done>> = JoinSet::new();
        for chain in chains {
            let mut chain = chain.to_vec();
            chain.retain(|stage| self.wanted(*stage) || *stage == Stage::Repo);
            let works: Vec<(Stage, Work)> = chain.into_iter().map(|stage| (stage, self.work(stage))).collect();
            if works.is_empty() || self.fatal.is_some() {
                continue;
            }
            tasks.spawn(async move {
                let mut done = Vec::new();
                for (stage, work) in works {
                    done.push(run_stage(stage, &work).await);
                }
                done
            });
        }
        while let Some(joined) = tasks.join_next().await {
            match joined {
                Ok(done) => done.into_iter().for_each(|done| self.take(done)),
                Err(error) => {
                    let error = MirrorError::Answer(format!("a stage broke off: {error}"));
                    self.fatal.get_or_insert(error);
                }
            }
        }
    }

    fn take(&mut self, mut done: Done) {
        match done.result {
            Err(error) if error.ends_the_run() => {
                done.cut_off = Some(error.to_string());
                done.result = Ok(());
                // The store's own error says more than that the writer has stopped.
                if self.fatal.is_none() || matches!(self.fatal, Some(MirrorError::WriterStopped)) {
                    self.fatal = Some(error);
                }
            }
            result => done.result = result,
        }
        self.done.push(done);
    }

    /// Reads what a stage's lists have not given though others refer to it or count it; it counts with that stage.
    async fn follow_up(&mut self, stage: Stage) {
        let ended_well = |stage: Stage| {
            self.done.iter().any(|done| done.stage == stage && done.result.is_ok() && done.cut_off.is_none())
        };
        // Counts are compared with lists that were read in the same run.
        let counted_by = match stage {
            Stage::IssueComments => Stage::Issues,
            Stage::ReviewComments => Stage::Details,
            _ => stage,
        };
        if !ended_well(stage) || !ended_well(counted_by) || self.fatal.is_some() {
            return;
        }
        let work = self.work(stage);
        if work.is_refused() {
            return;
        }
        let started = Instant::now();
        let result = async {
            work.flush().await?;
            match stage {
                Stage::Issues => issues::missing(&work).await?,
                Stage::Pulls => pulls::missing(&work).await?,
                Stage::IssueComments => counts::reconcile(&work, Counted::IssueComments).await?,
                Stage::ReviewComments => counts::reconcile(&work, Counted::ReviewComments).await?,
                _ => {}
            }
            work.flush().await
        }
        .await
        .or_else(|error| refusals::accept(stage, &work, error));
        work.progress.finish();
        let time = started.elapsed();
        if let Some(done) = self.done.iter_mut().find(|done| done.stage == stage) {
            done.time += time;
        }
        if result.is_err() {
            let before = self.done.iter().position(|done| done.stage == stage);
            let time = before.map_or(time, |position| self.done.remove(position).time);
            self.take(Done { stage, result, cut_off: None, time });
        }
    }

    fn work(&mut self, stage: Stage) -> Work {
        let tally = Arc::clone(self.tallies.entry(stage).or_default());
        let label = format!("{} {stage}", self.shared.subject.name);
        Work { shared: Arc::clone(&self.shared), tally, progress: self.shared.console.progress(&label) }
    }

    async fn report(&mut self, started: Instant) -> Result<Report, MirrorError> {
        if self.fatal.is_none()
            && let Err(error) = self.shared.writer.flush().await
        {
            self.fatal = Some(error);
        }
        let stages: Vec<StageReport> = Stage::ALL
            .iter()
            .filter(|stage| **stage == Stage::Repo || self.wanted(**stage))
            .map(|stage| self.stage_report(*stage))
            .collect();
        let report = Report { subject: self.shared.subject.name.to_string(), stages, time: started.elapsed() };
        if report.is_complete() && self.fatal.is_none() && self.is_whole() {
            self.shared.stores.relational.retrieved(self.shared.subject.project).await?;
        }
        Ok(report)
    }

    /// Whether all stages were asked for, details perhaps excepted.
    fn is_whole(&self) -> bool {
        Stage::ALL.iter().all(|stage| *stage == Stage::Details || self.wanted(*stage))
    }

    fn stage_report(&self, stage: Stage) -> StageReport {
        let tally = self.tallies.get(&stage).cloned().unwrap_or_default();
        let done = self.done.iter().find(|done| done.stage == stage);
        let end = done.map(|done| End { result: &done.result, cut_off: done.cut_off.as_deref(), time: done.time });
        StageReport::of(stage.name(), &tally, end.as_ref())
    }
}

async fn run_stage(stage: Stage, work: &Work) -> Done {
    let started = Instant::now();
    let result = match stage {
        Stage::Repo => repository::owner_and_parent(work).await,
        Stage::People => people::people(work).await,
        Stage::Labels => labels::labels(work).await,
        Stage::Milestones => labels::milestones(work).await,
        Stage::Topics => repository::topics(work).await,
        Stage::Languages => repository::languages(work).await,
        Stage::Releases => refs::releases(work).await,
        Stage::Branches => refs::branches(work).await,
        Stage::Commits => commits::commits(work).await,
        Stage::CommitComments => commits::commit_comments(work).await,
        Stage::Pulls => match pulls::pulls(work).await {
            Err(error) => pulls::commits_after_failed_list(work, error).await,
            done => done,
        },
        Stage::ReviewComments => pulls::review_comments(work).await,
        Stage::Issues => issues::issues(work).await,
        Stage::IssueComments => issues::comments(work).await,
        Stage::IssueEvents => issues::events(work).await,
        Stage::Stars => stars::stars(work).await,
        Stage::Forks => stars::forks(work).await,
        Stage::Events => events::events(work).await,
        Stage::Details => details::details(work).await,
    };
    let result = result.or_else(|error| refusals::accept(stage, work, error));
    // What a stage handed in counts only once it is stored.
    let result = match result {
        Ok(()) => work.flush().await,
        error => error,
    };
    work.progress.finish();
    let repository = &work.repository().name;
    match &result {
        Ok(()) => tracing::info!(%repository, %stage, seconds = started.elapsed().as_secs_f64(), "stage done"),
        Err(error) => tracing::warn!(%repository, %stage, %error, "stage failed"),
    }
    Done { stage, result, cut_off: None, time: started.elapsed() }
}
