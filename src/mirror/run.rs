//! A repository's run: which stages, in which order, side by side.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::context::{Options, PAGES_KIB, Repository, Shared, Tally, Work, page_validator, read_now};
use super::error::MirrorError;
use super::item::Item;
use super::report::{End, Report, StageReport};
use super::repository::{project_row, repository_document, unknown_parent};
use super::stage::Stage;
use super::writer::{PageWrite, Writer};
use super::{commits, details, events, issues, labels, people, pulls, refs, repository, stars};
use crate::github::{Accept, ApiError, ApiUrl, Fetched, Get, GitHub, Page, Validator};
use crate::names::RepoName;
use crate::store::Stores;
use crate::store::documents::Collection;
use crate::store::relational::leases::Lease;
use crate::store::relational::rows::Progress as Step;
use crate::store::relational::state::PageState;
use crate::store::relational::{KnownProject, Rows};
use crate::telemetry::Console;

/// What a run needs from outside.
#[derive(Clone)]
pub struct Mirror {
    /// The way to GitHub.
    pub github: GitHub,
    /// The stores.
    pub stores: Stores,
    /// Where users read.
    pub console: Console,
    /// Set when the user asks to stop.
    pub cancel: CancellationToken,
    /// What this process is called, if it has to be alone at what it mirrors.
    pub alone_as: Option<Arc<str>>,
}

/// What a worker at a repository holds a lease on.
pub fn lease_of(name: &RepoName) -> String {
    format!("project {name}")
}

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

/// A repository that GitHub has answered for.
pub(super) struct Opened {
    /// The repository.
    pub repository: Repository,
    /// The name that its documents bore until now, where that was another one.
    pub renamed_from: Option<String>,
    /// On its present name, where it was asked for by another one and must not be in two hands.
    pub lease: Option<Lease>,
}

/// What became of one stage.
struct Done {
    stage: Stage,
    result: Result<(), MirrorError>,
    /// Why it was cut off, where that ended the whole run.
    cut_off: Option<String>,
    time: Duration,
}

impl Mirror {
    /// Gives up this process's part of the tokens, and closes the stores.
    pub async fn close(self) {
        self.github.leave().await;
        self.stores.close().await;
    }

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
        let cancel = self.cancel.child_token();
        let lost = lease.as_ref().map(|lease| lease.lost().clone());
        let watching = lost.clone().map(|lost| {
            let cancel = cancel.clone();
            AbortOnDropHandle::new(tokio::spawn(async move {
                lost.cancelled().await;
                cancel.cancel();
            }))
        });
        let shared = Arc::new(Shared {
            github: self.github.clone(),
            stores: self.stores.clone(),
            writer,
            subject: repository,
            options,
            started: read_now(),
            room: Arc::new(Semaphore::new(PAGES_KIB)),
            console: self.console.clone(),
            cancel,
        });
        let mut run = Run { shared, tallies: HashMap::from([(Stage::Repo, tally)]), done: Vec::new(), fatal: None };
        run.stages().await;
        let report = run.report(started).await;
        let Run { shared, fatal, .. } = run;
        // The writer ends with its last sender.
        drop(shared);
        tasks.finished().await;
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

    /// Asks for the repository itself: decides access, and follows a rename.
    ///
    /// # Errors
    /// [`MirrorError::Gone`] where GitHub has it no more and it is marked so.
    pub(super) async fn open(
        &self,
        name: &RepoName,
        options: &Options,
        tally: &Tally,
        writer: &Writer,
    ) -> Result<Opened, MirrorError> {
        let relational = &self.stores.relational;
        let known = relational.known_project(name.owner(), name.name()).await?;
        let mut validator = None;
        if let Some(known) = &known {
            let list = relational.list(known.id, "repo").await?.id;
            let page = relational.pages(list).await?.into_iter().next();
            validator = page.and_then(|page| page.validator);
        }
        let last_reader = validator.as_ref().map(|v| v.token.clone());
        let sent = validator.filter(|_| !options.full).map(|v| Validator { etag: v.etag, token: v.token });
        let fetched = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Err(MirrorError::Cancelled),
            fetched = self.github.repository(name, sent.as_ref(), &tally.meter) => fetched,
        };
        let page = match (fetched, &known) {
            (Ok(Fetched::Page(page)), _) => *page,
            (Ok(Fetched::Unchanged), Some(known)) => {
                let id = format!("{}/{}", known.owner, known.name);
                let stored = self.stores.documents.get(Collection::Repos, &id).await?;
                let facts = stored.and_then(|json| serde_json::from_str::<Value>(&json).ok());
                if let Some(facts) = facts {
                    let asked = name;
                    let name = RepoName::new(&known.owner, &known.name)
                        .map_err(|error| MirrorError::Answer(error.to_string()))?;
                    let public = facts.get("private").and_then(Value::as_bool).map(|private| !private);
                    self.github.is_called(asked, &name, public);
                    let repository = Repository { project: known.id, name, facts };
                    let lease = self.lease_under(asked, &repository.name).await?;
                    return Ok(Opened { repository, renamed_from: None, lease });
                }
                self.read_again(name, tally).await?
            }
            (Ok(Fetched::Unchanged), None) => self.read_again(name, tally).await?,
            (Err(error), Some(known)) if is_denied(&error) => match self.elsewhere(known, name, tally).await? {
                Some(page) => page,
                None if !self.is_gone(name, known, last_reader.as_deref(), &error).await? => return Err(error.into()),
                None => return Err(self.mark_gone(name, known, error).await?),
            },
            (Err(error), _) => return Err(error.into()),
        };
        let item = Item::single(&page.body, read_now())?;
        let present = RepoName::new(&item.need_text("owner.login")?, &item.need_text("name")?)
            .map_err(|error| MirrorError::Answer(error.to_string()))?;
        let public = item.at("private").and_then(Value::as_bool).map(|private| !private);
        self.github.is_called(name, &present, public);
        let lease = self.lease_under(name, &present).await?;
        let github_id = item.need_integer("id")?;
        if let Some(other) = relational.known_project(present.owner(), present.name()).await?
            && let Some(other_id) = other.github_id.filter(|other_id| *other_id != github_id)
        {
            self.make_room(&present, &other, other_id, tally).await?;
        }
        let mut renamed_from = None;
        if let Some(before) = relational.project_by_github_id(github_id).await? {
            renamed_from = before.documents_as.clone().filter(|before| *before != present.to_string());
            self.rename_documents(&before, &present.to_string()).await?;
        }
        let parent = unknown_parent(item.value());
        let row = project_row(item.value(), parent, true)
            .ok_or_else(|| MirrorError::Answer(format!("{name} came without an owner or a name")))?;
        let project = relational.project(row).await?;
        relational.set_documents_name(project, &present.to_string()).await?;
        if options.full {
            relational.forget(project).await?;
        }
        let list = relational.list(project, "repo").await?.id;
        let state = PageState::only(&ApiUrl::repo(&present, &[]), page_validator(&page));
        let rows = Rows { progress: vec![Step::Page { list, page: state }], ..Rows::default() };
        let counts = Arc::clone(&tally.counts);
        writer.write(PageWrite { counts, documents: vec![repository_document(&item)?], rows }).await?;
        let repository = Repository { project, name: present, facts: item.value().clone() };
        Ok(Opened { repository, renamed_from, lease })
    }

    /// A worker holds a lease on the name that it was given; where the repository bears another one, on that too.
    async fn lease_under(&self, asked: &RepoName, present: &RepoName) -> Result<Option<Lease>, MirrorError> {
        let Some(process) = self.alone_as.as_deref().filter(|_| !asked.is_same_as(present)) else { return Ok(None) };
        match self.stores.relational.lease(&lease_of(present), process).await? {
            Ok(lease) => Ok(Some(lease)),
            Err(holder) => Err(MirrorError::Busy(holder.to_string())),
        }
    }

    /// Whether an answer means that GitHub has the repository no more (data model, §4: 404 and 451). 403 tells nothing of
    /// the repository, only of the token; nor does a 404 where a token that could read it may be out.
    fn proves_deletion(&self, name: &RepoName, error: &ApiError) -> bool {
        match error {
            ApiError::NoAccess { tried, .. } => {
                tried.iter().all(|(_, status)| *status == 404) && !self.github.is_blind_to(name.owner())
            }
            ApiError::NotFound { .. } => !self.github.is_blind_to(name.owner()),
            error => matches!(error, ApiError::Legal { .. }),
        }
    }

    /// The same of one that was mirrored. A private one is only gone if who read it last could still read it.
    async fn is_gone(
        &self,
        name: &RepoName,
        known: &KnownProject,
        last_reader: Option<&str>,
        error: &ApiError,
    ) -> Result<bool, MirrorError> {
        if matches!(error, ApiError::Legal { .. }) {
            return Ok(true);
        }
        let id = format!("{}/{}", known.owner, known.name);
        let stored = self.stores.documents.get(Collection::Repos, &id).await?;
        let facts = stored.and_then(|json| serde_json::from_str::<Value>(&json).ok());
        let private = facts.and_then(|facts| facts.get("private")?.as_bool()).unwrap_or(true);
        let could_read = last_reader.is_none_or(|tags| self.github.has_reader(tags, name.owner()));
        Ok(self.proves_deletion(name, error) && (could_read || !private))
    }

    /// A repository that the App may be shown on another account: it may have gone there, or its owner may have another name.
    async fn elsewhere(
        &self,
        known: &KnownProject,
        name: &RepoName,
        tally: &Tally,
    ) -> Result<Option<Page>, MirrorError> {
        let Some(number) = known.github_id else { return Ok(None) };
        let url = ApiUrl::path(&["repositories", &number.to_string()]);
        for token in self.github.tokens_elsewhere(name.owner()) {
            let (url, only) = (url.clone(), Some(token.clone()));
            let request = Get { url, repo: None, accept: Accept::Json, validator: None, divisible: false, only };
            let fetched = tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Err(MirrorError::Cancelled),
                fetched = self.github.get(&request, &tally.meter) => fetched,
            };
            match fetched {
                Ok(Fetched::Page(page)) => {
                    let item = Item::single(&page.body, read_now())?;
                    let present = RepoName::new(&item.need_text("owner.login")?, &item.need_text("name")?)
                        .map_err(|error| MirrorError::Answer(error.to_string()))?;
                    let private = item.at("private").and_then(Value::as_bool).unwrap_or(true);
                    self.github.can_read(&token, &present, !private);
                    return Ok(Some(*page));
                }
                Ok(Fetched::Unchanged) => {}
                Err(error) if error.is_refusal() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Marks a repository as deleted; says so the first time.
    async fn mark_gone(
        &self,
        name: &RepoName,
        known: &KnownProject,
        error: ApiError,
    ) -> Result<MirrorError, MirrorError> {
        if self.stores.relational.mark_project_deleted(known.id).await? {
            self.console.line(&format!("{name} was mirrored before and is marked as deleted; its data stay"));
        } else if !known.deleted {
            return Ok(error.into());
        }
        let id = format!("{}/{}", known.owner, known.name);
        self.stores.documents.mark_deleted(Collection::Repos, &[id], read_now()).await?;
        Ok(MirrorError::Gone(error))
    }

    /// Another repository was mirrored under this name before: it bears another name now, and its data go with it, or it
    /// can't be had, and its data stay under a name that no repository can have.
    async fn make_room(
        &self,
        name: &RepoName,
        other: &KnownProject,
        other_id: i64,
        tally: &Tally,
    ) -> Result<(), MirrorError> {
        let request = Get {
            url: ApiUrl::path(&["repositories", &other_id.to_string()]),
            repo: Some(name.clone()),
            accept: Accept::Json,
            validator: None,
            divisible: false,
            only: None,
        };
        match self.github.get(&request, &tally.meter).await {
            Ok(Fetched::Page(page)) => {
                let item = Item::single(&page.body, read_now())?;
                let present = format!("{}/{}", item.need_text("owner.login")?, item.need_text("name")?);
                let row = project_row(item.value(), unknown_parent(item.value()), true)
                    .ok_or_else(|| MirrorError::Answer(format!("{present} came without an owner or a name")))?;
                self.rename_documents(other, &present).await?;
                self.stores.relational.project(row).await?;
                Ok(())
            }
            Ok(Fetched::Unchanged) => Err(MirrorError::Answer(format!("{} answered 304", request.url))),
            Err(error @ (ApiError::NotFound { .. } | ApiError::Forbidden { .. } | ApiError::Legal { .. })) => {
                let aside = format!("{}~{other_id}", other.name);
                self.console.line(&format!(
                    "{name} is not the repository that was mirrored under this name before; the former one's data are \
                     kept as {}/{aside}",
                    other.owner
                ));
                self.rename_documents(other, &format!("{}/{aside}", other.owner)).await?;
                self.stores.relational.set_aside(other.id, &aside, self.proves_deletion(name, &error)).await?;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Moves a repository's documents to its present name, whenever and by whatever the rename was learnt.
    async fn rename_documents(&self, project: &KnownProject, present: &str) -> Result<(), MirrorError> {
        let Some(before) = project.documents_as.as_deref().filter(|before| *before != present) else { return Ok(()) };
        if let (Some(from), Some(to)) = (before.split_once('/'), present.split_once('/')) {
            self.console.line(&format!("{before} is now {present}; its data go with it"));
            self.stores.documents.rename_repository(from, to).await?;
            if !before.eq_ignore_ascii_case(present) {
                self.stores.relational.add_former_name(project.id, from.0, from.1).await?;
            }
            let generation = self.stores.documents.identity().await?.generation;
            let progress = vec![Step::Documents { generation }];
            self.stores.relational.apply(Rows { progress, ..Rows::default() }).await?;
        }
        Ok(self.stores.relational.set_documents_name(project.id, present).await?)
    }

    async fn read_again(&self, name: &RepoName, tally: &Tally) -> Result<crate::github::Page, MirrorError> {
        match self.github.repository(name, None, &tally.meter).await? {
            Fetched::Page(page) => Ok(*page),
            Fetched::Unchanged => Err(MirrorError::Answer(format!("{name} answered 304 to an unconditional request"))),
        }
    }
}

/// Whether an answer may mean that a repository is no more, or has gone elsewhere.
fn is_denied(error: &ApiError) -> bool {
    matches!(error, ApiError::NoAccess { .. } | ApiError::NotFound { .. } | ApiError::Legal { .. })
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
        self.missing().await;
        self.side_by_side(&[&[Stage::Details]]).await;
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

    /// What lists have not given though others refer to it; it counts with the stage that it belongs to.
    async fn missing(&mut self) {
        for stage in [Stage::Issues, Stage::Pulls] {
            let ended_well =
                self.done.iter().any(|done| done.stage == stage && done.result.is_ok() && done.cut_off.is_none());
            if !ended_well || self.fatal.is_some() {
                continue;
            }
            let work = self.work(stage);
            let started = Instant::now();
            let result = async {
                work.flush().await?;
                match stage {
                    Stage::Issues => issues::missing(&work).await,
                    _ => pulls::missing(&work).await,
                }
            }
            .await;
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
        let changed = report.stages.iter().any(|stage| stage.new + stage.changed + stage.deleted > 0);
        if report.is_complete() && self.fatal.is_none() && self.is_whole() {
            self.shared.stores.relational.retrieved(self.shared.subject.project, changed).await?;
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
        Stage::Pulls => pulls::pulls(work).await,
        Stage::ReviewComments => pulls::review_comments(work).await,
        Stage::Issues => issues::issues(work).await,
        Stage::IssueComments => issues::comments(work).await,
        Stage::IssueEvents => issues::events(work).await,
        Stage::Stars => stars::stars(work).await,
        Stage::Forks => stars::forks(work).await,
        Stage::Events => events::events(work).await,
        Stage::Details => details::details(work).await,
    };
    // GitHub docs: 409 where a repository has no commits yet.
    let result = match result {
        Err(MirrorError::Api(ApiError::EmptyRepository { .. })) => Ok(()),
        result => result,
    };
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
