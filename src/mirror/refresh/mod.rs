//! Refresh of what deliveries and events name: the lists concerned are read once, and each wish is compared with the stores.
//!
//! | file | does |
//! |---|---|
//! | `check.rs` | tells whether the stores have what a wish asks for |
//! | `single.rs` | reads entities one by one: deleted ones, and those that no list shows |
//! | `organization.rs` | refreshes members and teams |

mod check;
mod organization;
mod single;

use std::collections::BTreeSet;

use self::check::{Checker, collection_of};
use super::error::MirrorError;
use super::options::{ForkCommits, Options};
use super::run::{OpenFrom, RepositoryRun};
use super::session::Mirror;
use super::stage::Stage;
use crate::names::RepoName;
use crate::store::relational::ProjectRecord;
use crate::store::relational::refreshes::{Refresh, RefreshKind, RefreshOutcome, RefreshRequest, Wanted};

/// Age in seconds of a wish from which on GitHub's answer is believed, where a key may come back: its API lags by some 30
/// seconds behind its deliveries.
const SETTLED_AFTER: i64 = 35;
/// The same for what nobody waits for.
const BACKGROUND_SETTLED_AFTER: i64 = 12;
/// Number of failed attempts from which on the repository itself is asked for: it may have gone or moved.
const RESOLVE_AFTER: i64 = 2;
/// Seconds until the next attempt where a name belonged to another repository.
const NAME_REUSED_DELAY: i64 = 1;

/// Counts of the repository's JSON that its entities change. Without them no list is compared with an outdated count.
const OUTDATED_COUNTS: [&str; 4] = ["open_issues_count", "stargazers_count", "forks_count", "topics"];

/// Result of refreshing a repository or an organization.
#[derive(Debug, Default)]
pub struct Refreshed {
    /// The result for each wish, in their order.
    pub outcomes: Vec<RefreshOutcome>,
    /// The kinds that were asked for at GitHub.
    pub read: Vec<RefreshKind>,
    /// Requests that count on a rate limit.
    pub requests: u64,
    /// Requests answered 304, which do not.
    pub free: u64,
}

/// Returns the stages whose lists have a kind's entities.
fn stages_of(kind: RefreshKind) -> &'static [Stage] {
    match kind {
        RefreshKind::Repository => &[Stage::Repo],
        RefreshKind::Topics => &[Stage::Topics],
        RefreshKind::Languages => &[Stage::Languages],
        RefreshKind::Labels => &[Stage::Labels],
        RefreshKind::Milestones => &[Stage::Milestones],
        RefreshKind::Branches | RefreshKind::Tags | RefreshKind::Commits => &[Stage::Branches, Stage::Commits],
        RefreshKind::CommitComments => &[Stage::CommitComments],
        RefreshKind::Issues => &[Stage::Issues],
        RefreshKind::IssueComments => &[Stage::IssueComments],
        RefreshKind::IssueEvents => &[Stage::IssueEvents],
        RefreshKind::Pulls | RefreshKind::PullCommits => &[Stage::Pulls],
        RefreshKind::ReviewComments => &[Stage::ReviewComments],
        RefreshKind::Releases => &[Stage::Releases],
        RefreshKind::Stars => &[Stage::Stars],
        RefreshKind::Forks => &[Stage::Forks],
        RefreshKind::Collaborators | RefreshKind::Contributors => &[Stage::People],
        RefreshKind::Details => &[Stage::Details],
        RefreshKind::Counts
        | RefreshKind::Reviews
        | RefreshKind::Organization
        | RefreshKind::Members
        | RefreshKind::Teams
        | RefreshKind::TeamMembers
        | RefreshKind::TeamRepositories
        | RefreshKind::OutsideCollaborators => &[],
    }
}

/// Returns the stage that the requests for single entities of a kind count with.
fn stage_of(kind: RefreshKind) -> Stage {
    match kind {
        RefreshKind::Reviews => Stage::Details,
        kind => stages_of(kind).first().copied().unwrap_or(Stage::Repo),
    }
}

impl Mirror {
    /// Finds the repository that a wish names, by its number if that is known; `None` if it was never mirrored.
    ///
    /// # Errors
    /// A store that can't be used.
    pub async fn find_refreshed(&self, request: &RefreshRequest) -> Result<Option<ProjectRecord>, MirrorError> {
        let relational = &self.stores.relational;
        let mut found = match request.repository_id {
            Some(number) => relational.find_project_by_github_id(number).await?,
            None => None,
        };
        if found.is_none() {
            let named = relational.find_project(&request.owner, &request.repo).await?;
            // Under its name there may be another one, which is gone or has moved.
            let is_another = |known: &ProjectRecord| known.github_id.is_some() && request.repository_id.is_some();
            found = named.filter(|known| !is_another(known));
        }
        let Some(known) = found.filter(|known| known.documents_name.is_some()) else { return Ok(None) };
        Ok(relational.has_completed_lists(known.id).await?.then_some(known))
    }

    /// Returns those of an event's wishes that the stores don't fulfill, without a request.
    ///
    /// # Errors
    /// A store that can't be used.
    pub async fn unfulfilled(
        &self,
        known: &ProjectRecord,
        wishes: Vec<RefreshRequest>,
    ) -> Result<Vec<RefreshRequest>, MirrorError> {
        let checker = Checker::of_repository(&self.stores, known.id, &known.owner, &known.name);
        let mut left = Vec::new();
        for wish in wishes {
            if !checker.is_fulfilled(&wish).await? {
                left.push(wish);
            }
        }
        Ok(left)
    }

    /// Reads what wishes name in a repository, each list once, and compares each wish with the stores. The caller holds
    /// the repository's lease.
    ///
    /// # Errors
    /// GitHub does not answer for the repository, a store can't be used, or the user wishes to stop. What goes wrong with
    /// one kind is in the outcomes.
    pub async fn refresh_repository(
        &self,
        known: &ProjectRecord,
        refreshes: &[Refresh],
        fork_commits: ForkCommits,
    ) -> Result<Refreshed, MirrorError> {
        let mut outcomes = vec![RefreshOutcome::Done; refreshes.len()];
        let before = Checker::of_repository(&self.stores, known.id, &known.owner, &known.name);
        let mut left = Vec::new();
        for (at, refresh) in refreshes.iter().enumerate() {
            if !before.is_fulfilled_already(&refresh.request).await? {
                left.push(at);
            }
        }
        if left.is_empty() {
            return Ok(Refreshed { outcomes, ..Refreshed::default() });
        }
        let kinds: BTreeSet<RefreshKind> = left.iter().map(|at| refreshes[*at].request.kind).collect();
        let stages: BTreeSet<Stage> = kinds.iter().flat_map(|kind| stages_of(*kind)).copied().collect();
        let options = Options { fork_commits, ..Options::of(stages.into_iter().collect()) };
        let name = RepoName::new(&known.owner, &known.name).map_err(|error| MirrorError::Answer(error.to_string()))?;
        let is_doubtful = left.iter().any(|at| is_doubtful(&refreshes[*at], &name));
        let stored = if known.deleted || is_doubtful { None } else { self.stored_repository(known).await? };
        let from = match stored {
            Some(mut repository) => {
                if let Some(json) = repository.json.as_object_mut() {
                    json.retain(|key, _| !OUTDATED_COUNTS.contains(&key.as_str()));
                }
                OpenFrom::Store(Box::new(repository))
            }
            None => OpenFrom::GitHub,
        };
        let mut run = match RepositoryRun::open(self, &name, options, from).await {
            // Marked as deleted: nothing of it can be read any more.
            Err(MirrorError::Gone(error)) => {
                tracing::info!(repository = %name, %error, "gone, marked deleted");
                return Ok(Refreshed { outcomes, read: kinds.into_iter().collect(), ..Refreshed::default() });
            }
            run => run?,
        };
        let present = run.context.resource.json.get("id").and_then(serde_json::Value::as_i64);
        if known.github_id.is_some() && present != known.github_id {
            run.finish().await?;
            for at in left {
                let why = format!("{name} is another repository now");
                outcomes[at] = RefreshOutcome::Defer(why, NAME_REUSED_DELAY);
            }
            return Ok(Refreshed { outcomes, ..Refreshed::default() });
        }
        run.stages_alone().await;
        if kinds.contains(&RefreshKind::Labels) || kinds.contains(&RefreshKind::Milestones) {
            run.fetch_changed_pulls().await;
        }
        let result = self.conclude(&mut run, refreshes, &left, &mut outcomes).await;
        let report = run.finish().await;
        result?;
        let report = report?;
        if self.cancel.is_cancelled() {
            return Err(MirrorError::Canceled);
        }
        let sum = |number: fn(&super::report::StageReport) -> u64| report.stages.iter().map(number).sum::<u64>();
        let (requests, free) = (sum(|stage| stage.requests), sum(|stage| stage.free));
        Ok(Refreshed { outcomes, read: kinds.into_iter().collect(), requests, free })
    }

    /// Reads single entities, and compares the wishes with the stores.
    async fn conclude(
        &self,
        run: &mut RepositoryRun,
        refreshes: &[Refresh],
        left: &[usize],
        outcomes: &mut [RefreshOutcome],
    ) -> Result<(), MirrorError> {
        run.context.writer.flush().await?;
        let repository = run.context.resource.clone();
        let (owner, repo) = (repository.name.owner().to_owned(), repository.name.name().to_owned());
        let checker = Checker::of_repository(&self.stores, repository.project, &owner, &repo);
        let mut singles = single::read(run, &checker, refreshes, left).await?;
        run.context.writer.flush().await?;
        for at in left {
            let refresh = &refreshes[*at];
            let kind = refresh.request.kind;
            let stages = stages_of(kind);
            let failure =
                singles.failures.remove(at).or_else(|| stages.iter().find_map(|stage| run.incomplete_reason(*stage)));
            outcomes[*at] = match failure {
                _ if stages.iter().any(|stage| run.is_refused(*stage)) => RefreshOutcome::Done,
                // It is gone again: its deletion was told of before.
                Some(_) if singles.not_found.contains(at) && refresh.age >= SETTLED_AFTER => RefreshOutcome::Done,
                Some(why) => RefreshOutcome::Retry(why),
                None => outcome(&checker, refresh).await?,
            };
        }
        Ok(())
    }
}

/// Returns whether a wish makes it doubtful that the repository is still there, under the same name: then GitHub is asked,
/// and so it is where the wish concerns the repository itself, or where something of it seems to be gone.
fn is_doubtful(refresh: &Refresh, name: &RepoName) -> bool {
    let RefreshRequest { owner, repo, kind, wanted, .. } = &refresh.request;
    let is_renamed = !owner.eq_ignore_ascii_case(name.owner()) || !repo.eq_ignore_ascii_case(name.name());
    matches!(kind, RefreshKind::Repository | RefreshKind::Counts)
        || is_renamed
        || refresh.attempts >= RESOLVE_AFTER
        || *wanted == Wanted::Gone && collection_of(*kind).is_some() && !kind.is_reusable()
}

/// Compares a wish with the stores after its kind was read.
async fn outcome(checker: &Checker<'_>, refresh: &Refresh) -> Result<RefreshOutcome, MirrorError> {
    let kind = refresh.request.kind;
    // Nothing but time tells whether GitHub has counted what was announced.
    let is_counted = matches!(kind, RefreshKind::Contributors | RefreshKind::Languages);
    if is_counted && refresh.age < BACKGROUND_SETTLED_AFTER {
        return Ok(RefreshOutcome::Retry("GitHub may not have counted it yet".to_owned()));
    }
    if checker.is_fulfilled(&refresh.request).await? {
        return Ok(RefreshOutcome::Done);
    }
    let settled_after = if kind.is_background() { BACKGROUND_SETTLED_AFTER } else { SETTLED_AFTER };
    if kind.is_reusable() && refresh.age >= settled_after {
        tracing::info!(request = ?refresh.request, "another state than announced is believed");
        return Ok(RefreshOutcome::Done);
    }
    Ok(RefreshOutcome::Retry("GitHub does not show it yet".to_owned()))
}
