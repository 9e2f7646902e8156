//! `msght get-repos`: lists every organization, and rewrites `projects.txt`.

mod output;
mod webhooks;

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::output::{as_json, as_table};
use self::webhooks::Webhooks;
use super::output::{counted, print};
use super::{App, CommandOutcome};
use crate::cli::{GetReposArgs, ListArgs};
use crate::github::webhooks::WebhookState;
use crate::list_files::{ListError, Orgs, Projects};
use crate::mirror::{Inventory, Mirror, MirrorError, OrganizationReport};
use crate::names::RepoName;
use crate::store::relational::inventory::RepositoryRecord;
use crate::store::relational::leases::process_name;

/// Organizations that are listed concurrently.
const MAX_CONCURRENT_ORGANIZATIONS: usize = 4;

/// The result of listing all organizations.
pub(super) struct ListingReport {
    /// Each organization, in the order of `orgs.txt`.
    organizations: Vec<ListedOrganization>,
    /// The repositories of the whole `projects.txt`.
    pub projects: Projects,
    /// Failures that concern no single organization.
    problems: Vec<String>,
}

/// The result of listing one organization.
struct ListedOrganization {
    report: OrganizationReport,
    repositories: Vec<RepositoryRecord>,
    /// The state of its webhook; `None` where it is to have none.
    webhook: Option<WebhookState>,
}

/// `orgs.txt` and `projects.txt`, read and found to be usable.
pub(super) struct InputFiles {
    orgs: Orgs,
    projects: Projects,
}

/// Lists the organizations of `orgs.txt`, and prints the result.
///
/// # Errors
/// The reason why it could not start; failures with an organization are shown with it.
pub(super) async fn run(app: App, args: &GetReposArgs) -> anyhow::Result<CommandOutcome> {
    let files = InputFiles::read(&app, &args.lists)?;
    let app = app.with_tokens(&args.lists.tokens);
    let mirror = app.mirror().await?;
    let listed = list(&app, &mirror, files, &args.lists, &process_name(), false).await;
    mirror.close().await;
    let report = listed?;
    print(&if args.json { as_json(&report)? } else { as_table(&report) })?;
    Ok(report.outcome(&app))
}

impl InputFiles {
    /// Reads both files, and checks that those to be rewritten are writable.
    ///
    /// # Errors
    /// A file that can't be used; nothing was done.
    pub(super) fn read(app: &App, args: &ListArgs) -> anyhow::Result<Self> {
        let orgs = Orgs::read(&args.orgs, args.discover)?;
        for login in &orgs.duplicates {
            app.console.line(&format!("{}: {login} is listed more than once", args.orgs.display()));
        }
        let projects = Projects::read(&args.projects)?;
        projects.check_writable()?;
        if args.discover {
            orgs.check_writable()?;
        }
        Ok(Self { orgs, projects })
    }
}

/// Lists all organizations, and rewrites `projects.txt` unless it is a dry run.
///
/// # Errors
/// A store or a file that can't be used, or shutdown: `projects.txt` is then unchanged.
pub(super) async fn list(
    app: &App,
    mirror: &Mirror,
    files: InputFiles,
    args: &ListArgs,
    process: &str,
    dry_run: bool,
) -> anyhow::Result<ListingReport> {
    let InputFiles { mut orgs, mut projects } = files;
    let mut problems = Vec::new();
    if args.discover {
        let discovered = mirror.discover_organizations().await?;
        problems = discovered.problems;
        for login in orgs.add(&discovered.logins).map_err(as_runtime_error)? {
            app.console.line(&format!("{login} added to {}", args.orgs.display()));
        }
        if orgs.logins.is_empty() {
            problems.push(format!("the tokens belong to no organization, and {} lists none", args.orgs.display()));
        }
    }
    let mut reports = list_organizations(app, mirror, &orgs.logins, process).await?;
    for report in &mut reports {
        mirror.resolve_unlisted(report, process).await?;
    }
    let webhooks = Webhooks::new(app, mirror, args, dry_run).await?;
    let mut organizations = Vec::new();
    for mut report in reports {
        let repositories = mirror.stores.relational.inventory_of(&report.login).await?;
        update(&mut projects, mirror, &report, &repositories, args).await?;
        let webhook = webhooks.reconcile(&mut report).await;
        organizations.push(ListedOrganization { report, repositories, webhook });
    }
    webhooks.close().await;
    if !dry_run {
        projects.write().map_err(as_runtime_error)?;
    }
    Ok(ListingReport { organizations, projects, problems })
}

/// Converts a file's error to one that is no longer a usage error: work was done before it.
fn as_runtime_error(error: ListError) -> anyhow::Error {
    anyhow::Error::msg(error.to_string())
}

/// Lists organizations concurrently, and returns their reports in the order of `logins`.
async fn list_organizations(
    app: &App,
    mirror: &Mirror,
    logins: &[String],
    process: &str,
) -> anyhow::Result<Vec<OrganizationReport>> {
    let inventory = mirror.stores.relational.inventory().await?;
    let before: Inventory = Arc::new(inventory.into_iter().map(|known| (known.github_id, known)).collect());
    let progress = app.console.progress("organizations");
    progress.set_length(logins.len() as u64);
    let permits = Arc::new(Semaphore::new(MAX_CONCURRENT_ORGANIZATIONS));
    let mut tasks = JoinSet::new();
    for (place, login) in logins.iter().enumerate() {
        let (mirror, login, process) = (mirror.clone(), login.clone(), process.to_owned());
        let (before, permits) = (Arc::clone(&before), Arc::clone(&permits));
        tasks.spawn(async move {
            // The semaphore is never closed.
            let _permit = permits.acquire_owned().await.ok();
            if mirror.cancel.is_cancelled() {
                return Err(MirrorError::Canceled);
            }
            mirror.sync_organization(&login, &before, &process).await.map(|report| (place, report))
        });
    }
    let mut reports = Vec::new();
    while let Some(done) = tasks.join_next().await {
        reports.push(done??);
        progress.inc(1);
    }
    progress.finish();
    reports.sort_by_key(|(place, _)| *place);
    let mut seen = HashSet::new();
    let reports = reports.into_iter().map(|(_, report)| report);
    // A renamed organization may be listed under both names.
    Ok(reports.filter(|report| seen.insert(report.login.to_lowercase())).collect())
}

/// Updates an organization's lines in `projects.txt`. A line is removed only if its repository's fate is known.
async fn update(
    projects: &mut Projects,
    mirror: &Mirror,
    organization: &OrganizationReport,
    inventory: &[RepositoryRecord],
    args: &ListArgs,
) -> anyhow::Result<()> {
    let kept = inventory.iter().filter(|known| known.listed.is_some() && !known.deleted);
    let mut repositories: Vec<RepoName> =
        kept.filter_map(|known| RepoName::new(&known.owner, &known.name).ok()).collect();
    let relational = &mirror.stores.relational;
    let mut taken: HashSet<String> = repositories.iter().map(RepoName::folded).collect();
    for name in projects.of(&organization.asked).into_iter().chain(projects.of(&organization.login)) {
        // Under its organization's current name it is the same repository.
        let present = RepoName::new(&organization.login, name.name()).unwrap_or_else(|_| name.clone());
        if taken.contains(&present.folded())
            || relational.is_known_missing(name.owner(), name.name()).await?
            || relational.is_known_missing(present.owner(), present.name()).await?
        {
            continue;
        }
        if organization.listed {
            tracing::info!(repository = %name, file = %args.projects.display(), "not listed, kept");
        }
        taken.insert(name.folded());
        repositories.push(name);
    }
    let renamed = !organization.asked.eq_ignore_ascii_case(&organization.login);
    let (present, former): (Vec<_>, Vec<_>) =
        repositories.into_iter().partition(|name| name.owner().eq_ignore_ascii_case(&organization.login));
    if renamed {
        projects.set(&organization.asked, former);
    }
    projects.set(&organization.login, present);
    Ok(())
}

impl ListingReport {
    /// Reports problems and remarks to the console, and returns the outcome.
    pub(super) fn outcome(&self, app: &App) -> CommandOutcome {
        for problem in &self.problems {
            app.console.error(&format!("error: {problem}"));
        }
        for ListedOrganization { report, .. } in &self.organizations {
            for note in &report.notes {
                app.console.line(&format!("{}: {note}", report.asked));
            }
            for problem in &report.problems {
                app.console.error(&format!("error: {}: {problem}", report.asked));
            }
        }
        let incomplete = self.organizations.iter().filter(|listed| !listed.report.problems.is_empty()).count();
        if incomplete > 0 {
            let total = counted(self.organizations.len() as u64, "organization", "organizations");
            app.console.error(&format!("{incomplete} of {total} incomplete"));
        }
        if incomplete == 0 && self.problems.is_empty() { CommandOutcome::Complete } else { CommandOutcome::Incomplete }
    }
}
