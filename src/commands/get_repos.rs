//! `msght get-repos`: lists every organisation, and rewrites `projects.txt`.

mod hooks;
mod show;

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Outcome, open_mirror, print};
use crate::cli::{GetReposArgs, ListArgs};
use crate::config::Settings;
use crate::github::hooks::HookState;
use crate::lists::{ListError, Orgs, Projects};
use crate::mirror::{Inventory, Mirror, MirrorError, OrganizationReport};
use crate::names::RepoName;
use crate::store::relational::inventory::Inventoried;
use crate::store::relational::leases::process_name;
use crate::telemetry::Console;

use hooks::Hooks;
use show::{as_json, as_table};

/// Organisations that are listed side by side.
const ORGANIZATIONS_AT_A_TIME: usize = 4;

/// What listing all organisations came to.
pub(super) struct Listed {
    /// Each organisation, in the order of `orgs.txt`.
    organizations: Vec<ListedOrganization>,
    /// The repositories of all `projects.txt`.
    pub projects: Projects,
    /// What could not be had beside the organisations themselves.
    pub problems: Vec<String>,
}

/// What was found of one organisation.
struct ListedOrganization {
    found: OrganizationReport,
    own: Vec<Inventoried>,
    /// Its webhook, where there is to be one.
    hook: Option<HookState>,
}

/// The files that say what is listed, read and found to be usable.
pub(super) struct Lists {
    orgs: Orgs,
    projects: Projects,
}

/// Lists the organisations of `orgs.txt`.
///
/// # Errors
/// What kept it from starting; what fails with an organisation is shown with it.
pub async fn run(
    settings: Settings,
    args: GetReposArgs,
    console: Console,
    shutdown: CancellationToken,
) -> anyhow::Result<Outcome> {
    let lists = Lists::read(&args.lists, &console)?;
    let settings = args.lists.tokens.apply(settings, &console);
    let mirror = open_mirror(&settings, &console, &shutdown).await?;
    let listed = list(&settings, &mirror, lists, &args.lists, &console, &process_name(), false).await;
    mirror.close().await;
    let listed = listed?;
    let text = if args.json { as_json(&listed)? } else { as_table(&listed) };
    print(text.as_bytes())?;
    Ok(listed.outcome(&console))
}

impl Lists {
    /// Reads both files, and makes sure that what has to be written can be.
    ///
    /// # Errors
    /// A file that can't be used; nothing was done.
    pub fn read(args: &ListArgs, console: &Console) -> anyhow::Result<Self> {
        let orgs = Orgs::read(&args.orgs, args.discover)?;
        for login in &orgs.duplicates {
            console.line(&format!("{}: {login} stands there more than once", args.orgs.display()));
        }
        let projects = Projects::read(&args.projects)?;
        projects.check_writable()?;
        if args.discover {
            orgs.check_writable()?;
        }
        Ok(Self { orgs, projects })
    }
}

/// Lists all organisations and rewrites `projects.txt`, unless all is only for show.
///
/// # Errors
/// A store or a file that can't be used, or the user's wish to stop: `projects.txt` is then as it was.
pub(super) async fn list(
    settings: &Settings,
    mirror: &Mirror,
    lists: Lists,
    args: &ListArgs,
    console: &Console,
    process: &str,
    dry_run: bool,
) -> anyhow::Result<Listed> {
    let Lists { mut orgs, mut projects } = lists;
    let mut problems = Vec::new();
    if args.discover {
        let discovered = mirror.discover().await?;
        problems = discovered.problems;
        for login in orgs.add(&discovered.logins).map_err(after_work)? {
            console.line(&format!("{login} added to {}", args.orgs.display()));
        }
        if orgs.logins.is_empty() {
            problems.push(format!("the tokens belong to no organisation, and {} names none", args.orgs.display()));
        }
    }
    let mut found = look_at_all(mirror, &orgs.logins, console, process).await?;
    for organization in &mut found {
        mirror.vanished(organization, process).await?;
    }
    let hooks = Hooks::new(settings, mirror, args, console, dry_run).await?;
    let mut organizations = Vec::new();
    for mut found in found {
        let own = mirror.stores.relational.inventory_of(&found.login).await?;
        update(&mut projects, mirror, &found, &own, args).await?;
        let hook = hooks.of(&mut found).await;
        organizations.push(ListedOrganization { found, own, hook });
    }
    hooks.leave().await;
    if !dry_run {
        projects.write().map_err(after_work)?;
    }
    Ok(Listed { organizations, projects, problems })
}

/// A file's error that is no longer one of usage: work was done before it.
fn after_work(error: ListError) -> anyhow::Error {
    anyhow::Error::msg(error.to_string())
}

async fn look_at_all(
    mirror: &Mirror,
    logins: &[String],
    console: &Console,
    process: &str,
) -> anyhow::Result<Vec<OrganizationReport>> {
    let inventory = mirror.stores.relational.inventory().await?;
    let before: Inventory = Arc::new(inventory.into_iter().map(|known| (known.github_id, known)).collect());
    let progress = console.progress("organisations");
    progress.set_length(logins.len() as u64);
    let room = Arc::new(Semaphore::new(ORGANIZATIONS_AT_A_TIME));
    let mut tasks = JoinSet::new();
    for (place, login) in logins.iter().enumerate() {
        let (mirror, login, process) = (mirror.clone(), login.clone(), process.to_owned());
        let (before, room) = (Arc::clone(&before), Arc::clone(&room));
        tasks.spawn(async move {
            // The semaphore is never closed.
            let _turn = room.acquire_owned().await.ok();
            if mirror.cancel.is_cancelled() {
                return Err(MirrorError::Cancelled);
            }
            mirror.organization(&login, &before, &process).await.map(|found| (place, found))
        });
    }
    let mut found = Vec::new();
    while let Some(done) = tasks.join_next().await {
        found.push(done??);
        progress.inc(1);
    }
    progress.finish();
    found.sort_by_key(|(place, _)| *place);
    let mut seen = HashSet::new();
    let organizations = found.into_iter().map(|(_, organization)| organization);
    // An organisation that was renamed may stand there under both names.
    Ok(organizations.filter(|organization| seen.insert(organization.login.to_lowercase())).collect())
}

/// Puts an organisation's repositories into `projects.txt`. A line is taken out only where it is known what became of it.
async fn update(
    projects: &mut Projects,
    mirror: &Mirror,
    organization: &OrganizationReport,
    own: &[Inventoried],
    args: &ListArgs,
) -> anyhow::Result<()> {
    let kept = own.iter().filter(|known| known.listed.is_some() && !known.deleted);
    let mut repositories: Vec<RepoName> =
        kept.filter_map(|known| RepoName::new(&known.owner, &known.name).ok()).collect();
    let relational = &mirror.stores.relational;
    let mut taken: HashSet<String> = repositories.iter().map(RepoName::folded).collect();
    for name in projects.of(&organization.asked).into_iter().chain(projects.of(&organization.login)) {
        // Under its organisation's present name it is the same.
        let present = RepoName::new(&organization.login, name.name()).unwrap_or_else(|_| name.clone());
        if taken.contains(&present.folded())
            || relational.is_accounted_for(name.owner(), name.name()).await?
            || relational.is_accounted_for(present.owner(), present.name()).await?
        {
            continue;
        }
        if organization.listed {
            tracing::info!(repository = %name, file = %args.projects.display(), "in no list, kept");
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

impl Listed {
    /// Shows what is not complete; how it went.
    pub fn outcome(&self, console: &Console) -> Outcome {
        for problem in &self.problems {
            console.error(&format!("error: {problem}"));
        }
        for ListedOrganization { found: organization, .. } in &self.organizations {
            for note in &organization.notes {
                console.line(&format!("{}: {note}", organization.asked));
            }
            for problem in &organization.problems {
                console.error(&format!("error: {}: {problem}", organization.asked));
            }
        }
        let incomplete = self.organizations.iter().filter(|listed| !listed.found.problems.is_empty()).count();
        if incomplete > 0 {
            console.error(&format!("{incomplete} of {} organisations are not complete", self.organizations.len()));
        }
        if incomplete == 0 && self.problems.is_empty() { Outcome::Complete } else { Outcome::Incomplete }
    }
}
