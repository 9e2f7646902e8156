//! Run of a repository: its stages, their order, and their results.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::context::{RunContext, StageContext};
use super::entities::{counts, issues, pulls, refusals};
use super::error::MirrorError;
use super::options::Options;
use super::report::{Report, StageEnd, StageOutcome, StageReport};
use super::resolve::ResolvedRepository;
use super::resource::Repository;
use super::session::Mirror;
use super::stage::{Phase, Stage, stage_table};
use super::stats::StageStats;
use super::writer::{Writer, WriterTasks};
use crate::names::RepoName;
use crate::store::relational::CommentKind;
use crate::store::relational::leases::Lease;

/// A follow-up of a stage: fetches items that other stages refer to or count and that the stage's lists lacked.
struct FollowUp {
    stage: Stage,
    /// The phase that it follows.
    after: Phase,
    /// Another stage that must have succeeded: counts are compared with lists that were read in the same run.
    requires: Option<Stage>,
    run: for<'a> fn(&'a StageContext) -> BoxFuture<'a, Result<(), MirrorError>>,
}

/// The follow-ups, in the order in which they run.
const FOLLOW_UPS: [FollowUp; 4] = [
    FollowUp {
        stage: Stage::Issues,
        after: Phase::Feed,
        requires: None,
        run: |context| issues::fetch_referenced(context).boxed(),
    },
    FollowUp {
        stage: Stage::Pulls,
        after: Phase::Feed,
        requires: None,
        run: |context| pulls::fetch_referenced(context).boxed(),
    },
    FollowUp {
        stage: Stage::IssueComments,
        after: Phase::Feed,
        requires: Some(Stage::Issues),
        run: |context| counts::reconcile_comment_counts(context, CommentKind::IssueComments).boxed(),
    },
    // Pull requests tell how many review comments they have only where they were fetched one by one.
    FollowUp {
        stage: Stage::ReviewComments,
        after: Phase::Details,
        requires: Some(Stage::Details),
        run: |context| counts::reconcile_comment_counts(context, CommentKind::ReviewComments).boxed(),
    },
];

/// Source of the repository that a run opens.
pub(super) enum OpenFrom {
    /// GitHub's answer.
    GitHub,
    /// What is stored; nothing is requested. Counts that its entities change are left out, since they may be outdated.
    Store(Box<Repository>),
}

/// The result of one stage.
struct StageResult {
    stage: Stage,
    result: Result<(), MirrorError>,
    /// Reason why it was aborted, if that ended the whole run.
    aborted_by: Option<String>,
    time: Duration,
}

impl Mirror {
    /// Mirrors one repository and reports what each stage did.
    ///
    /// # Errors
    /// No token can read the repository, GitHub does not answer for it, or a store can't be used. What goes wrong
    /// within a stage is in the report.
    pub async fn sync_repository(&self, name: &RepoName, options: Options) -> Result<Report, MirrorError> {
        let mut run = RepositoryRun::open(self, name, options, OpenFrom::GitHub).await?;
        run.stages().await;
        run.finish().await
    }
}

/// A repository that was resolved, with the lease and the writer that stages, or refreshes of single entities, need.
pub(super) struct RepositoryRun {
    pub(super) context: Arc<RunContext>,
    stats: HashMap<Stage, Arc<StageStats>>,
    results: Vec<StageResult>,
    /// Error that ended the run before all stages were through.
    fatal: Option<MirrorError>,
    started: Instant,
    writer_tasks: WriterTasks,
    lease: Option<Lease>,
    /// Cancels the run when the lease is lost.
    _lease_watch: Option<AbortOnDropHandle<()>>,
}

impl RepositoryRun {
    /// Resolves the repository and stores its own document and row, or takes it from the stores.
    pub(super) async fn open(
        mirror: &Mirror,
        name: &RepoName,
        options: Options,
        from: OpenFrom,
    ) -> Result<Self, MirrorError> {
        let started = Instant::now();
        let stats = Arc::new(StageStats::default());
        let (writer, writer_tasks) = Writer::start(&mirror.stores);
        let opened = match from {
            OpenFrom::GitHub => mirror.resolve(name, &options, &stats, &writer).await,
            OpenFrom::Store(repository) => {
                Ok(ResolvedRepository { repository: *repository, renamed_from: None, lease: None })
            }
        };
        let (repository, lease) = match opened {
            Ok(ResolvedRepository { repository, lease, .. }) => (repository, lease),
            Err(error) => {
                drop(writer);
                writer_tasks.finished().await;
                return Err(error);
            }
        };
        if let Err(error) = mirror.stores.relational.load_lists(repository.project).await {
            // Each is asked for by itself then, and says what is wrong.
            tracing::warn!(%error, "can't preload the sync state of the lists");
        }
        let cancel = mirror.cancel.child_token();
        let lease_watch = lease.as_ref().map(|lease| {
            let (lost, cancel) = (lease.lost_token().clone(), cancel.clone());
            AbortOnDropHandle::new(tokio::spawn(async move {
                lost.cancelled().await;
                cancel.cancel();
            }))
        });
        let context = Arc::new(RunContext { cancel, ..mirror.run_context(repository, options, writer) });
        Ok(Self {
            context,
            stats: HashMap::from([(Stage::Repo, stats)]),
            results: Vec::new(),
            fatal: None,
            started,
            writer_tasks,
            lease,
            _lease_watch: lease_watch,
        })
    }

    /// Runs the stages that the options name.
    async fn stages(&mut self) {
        for phase in Phase::ALL {
            self.run_concurrently(phase.chains()).await;
            for follow_up in FOLLOW_UPS.iter().filter(|follow_up| follow_up.after == phase) {
                self.follow_up(follow_up).await;
            }
        }
    }

    /// Runs the stages that the options name, without follow-ups: these conclude from what no list has that it is gone,
    /// which takes lists that show everything.
    pub(super) async fn stages_alone(&mut self) {
        let itself = self.context.options.stages.contains(&Stage::Repo);
        for phase in Phase::ALL.into_iter().filter(|phase| itself || *phase != Phase::Repository) {
            self.run_concurrently(phase.chains()).await;
        }
    }

    /// Fetches pull requests that carry a label or milestone that was found changed.
    pub(super) async fn fetch_changed_pulls(&mut self) {
        if self.fatal.is_some() {
            return;
        }
        let (context, started) = (self.stage_context(Stage::Pulls), Instant::now());
        let result = async {
            pulls::fetch_referenced(&context).await?;
            context.flush().await
        }
        .await
        .or_else(|error| refusals::record_refusal(Stage::Pulls, &context, error));
        self.record(StageResult { stage: Stage::Pulls, result, aborted_by: None, time: started.elapsed() });
    }

    /// Returns the reason why a stage is not complete; `None` if it is, or was not to run.
    pub(super) fn incomplete_reason(&self, stage: Stage) -> Option<String> {
        if !self.wanted(stage) {
            return None;
        }
        let StageReport { outcome, .. } = self.stage_report(stage);
        (!outcome.is_complete()).then(|| outcome.notes().first().cloned().unwrap_or_else(|| outcome.to_string()))
    }

    /// Returns whether GitHub or the repository has refused a stage.
    pub(super) fn is_refused(&self, stage: Stage) -> bool {
        let outcome = self.stage_report(stage).outcome;
        matches!(outcome, StageOutcome::NotPermitted(_) | StageOutcome::Disabled(_))
    }

    /// Waits until all is stored, gives up the lease, and reports.
    pub(super) async fn finish(mut self) -> Result<Report, MirrorError> {
        let report = self.report().await;
        let Self { context, fatal, writer_tasks, lease, _lease_watch: lease_watch, .. } = self;
        let (relational, project) = (context.stores.relational.clone(), context.resource.project);
        // The writer ends with its last sender.
        drop(context);
        writer_tasks.finished().await;
        relational.unload_lists(project);
        drop(lease_watch);
        if let Some(lease) = lease {
            let lost = lease.lost_token().clone();
            lease.release().await?;
            if lost.is_cancelled() {
                return Err(MirrorError::Busy("its lease was lost".to_owned()));
            }
        }
        match fatal {
            Some(MirrorError::Canceled) | None => report,
            Some(error) => Err(error),
        }
    }

    fn wanted(&self, stage: Stage) -> bool {
        stage == Stage::Repo || self.context.options.stages.contains(&stage)
    }

    async fn run_concurrently(&mut self, chains: Vec<Vec<Stage>>) {
        let mut tasks: JoinSet<Vec<StageResult>> = JoinSet::new();
        for mut chain in chains {
            chain.retain(|stage| self.wanted(*stage));
            if chain.is_empty() || self.fatal.is_some() {
                continue;
            }
            let chain: Vec<(Stage, StageContext)> =
                chain.into_iter().map(|stage| (stage, self.stage_context(stage))).collect();
            tasks.spawn(async move {
                let mut results = Vec::new();
                for (stage, context) in chain {
                    results.push(run_stage(stage, &context).await);
                }
                results
            });
        }
        while let Some(joined) = tasks.join_next().await {
            match joined {
                Ok(results) => results.into_iter().for_each(|result| self.record(result)),
                Err(error) => {
                    let error = MirrorError::Answer(format!("a stage panicked: {error}"));
                    self.fatal.get_or_insert(error);
                }
            }
        }
    }

    fn record(&mut self, mut done: StageResult) {
        match done.result {
            Err(error) if error.is_fatal() => {
                done.aborted_by = Some(error.to_string());
                done.result = Ok(());
                // The store's own error says more than that the writer has stopped.
                if self.fatal.is_none() || matches!(self.fatal, Some(MirrorError::WriterStopped)) {
                    self.fatal = Some(error);
                }
            }
            result => done.result = result,
        }
        self.results.push(done);
    }

    fn succeeded(&self, stage: Stage) -> bool {
        self.results.iter().any(|done| done.stage == stage && done.result.is_ok() && done.aborted_by.is_none())
    }

    /// Runs a follow-up; it counts with its stage.
    async fn follow_up(&mut self, follow_up: &FollowUp) {
        let stage = follow_up.stage;
        if self.fatal.is_some()
            || !self.succeeded(stage)
            || follow_up.requires.is_some_and(|required| !self.succeeded(required))
        {
            return;
        }
        let context = self.stage_context(stage);
        if context.is_refused() {
            return;
        }
        let started = Instant::now();
        let result = async {
            context.flush().await?;
            (follow_up.run)(&context).await?;
            context.flush().await
        }
        .await
        .or_else(|error| refusals::record_refusal(stage, &context, error));
        context.progress.finish();
        let time = started.elapsed();
        if let Some(done) = self.results.iter_mut().find(|done| done.stage == stage) {
            done.time += time;
        }
        if result.is_err() {
            let before = self.results.iter().position(|done| done.stage == stage);
            let time = before.map_or(time, |position| self.results.remove(position).time);
            self.record(StageResult { stage, result, aborted_by: None, time });
        }
    }

    pub(super) fn stage_context(&mut self, stage: Stage) -> StageContext {
        let stats = Arc::clone(self.stats.entry(stage).or_default());
        StageContext::new(&self.context, stats, stage.name())
    }

    async fn report(&mut self) -> Result<Report, MirrorError> {
        if self.fatal.is_none()
            && let Err(error) = self.context.writer.flush().await
        {
            self.fatal = Some(error);
        }
        let wanted = Stage::ALL.into_iter().filter(|stage| self.wanted(*stage));
        let stages: Vec<StageReport> = wanted.map(|stage| self.stage_report(stage)).collect();
        let report = Report { resource: self.context.resource.name.to_string(), stages, time: self.started.elapsed() };
        if report.is_complete() && self.fatal.is_none() && self.covers_all_stages() {
            self.context.stores.relational.mark_retrieved(self.context.resource.project).await?;
        }
        Ok(report)
    }

    /// Returns whether all stages run, details perhaps excepted.
    fn covers_all_stages(&self) -> bool {
        Stage::ALL.iter().all(|stage| *stage == Stage::Details || self.context.options.stages.contains(stage))
    }

    fn stage_report(&self, stage: Stage) -> StageReport {
        let stats = self.stats.get(&stage).cloned().unwrap_or_default();
        let done = self.results.iter().find(|done| done.stage == stage);
        let end =
            done.map(|done| StageEnd { result: &done.result, aborted_by: done.aborted_by.as_deref(), time: done.time });
        StageReport::of(stage.name(), &stats, end.as_ref())
    }
}

macro_rules! define_dispatch {
    ($(
        #[doc = $help:literal]
        $stage:ident: $name:literal, $phase:ident $(after $predecessor:ident)?, $lists:literal lists,
        $entity:ident::$function:ident;
    )+) => {
        /// Runs what the table of stages registers for the stage.
        async fn dispatch(stage: Stage, context: &StageContext) -> Result<(), MirrorError> {
            match stage {
                $(Stage::$stage => super::entities::$entity::$function(context).await,)+
            }
        }
    };
}

stage_table!(define_dispatch);

async fn run_stage(stage: Stage, context: &StageContext) -> StageResult {
    let started = Instant::now();
    let result = dispatch(stage, context).await.or_else(|error| refusals::record_refusal(stage, context, error));
    // What a stage handed in counts only once it is stored.
    let result = match result {
        Ok(()) => context.flush().await,
        error => error,
    };
    context.progress.finish();
    let repository = &context.repository().name;
    match &result {
        Ok(()) => tracing::info!(%repository, %stage, seconds = started.elapsed().as_secs_f64(), "stage done"),
        Err(error) => tracing::warn!(%repository, %stage, %error, "stage failed"),
    }
    StageResult { stage, result, aborted_by: None, time: started.elapsed() }
}
