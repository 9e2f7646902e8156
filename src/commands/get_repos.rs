//! `msght get-repos`: lists every organisation, and rewrites `projects.txt`.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Outcome, open_mirror, plain_table, print};
use crate::cli::{GetReposArgs, ListArgs};
use crate::config::Settings;
use crate::files::{FileError, Orgs, Projects};
use crate::mirror::{Mirror, MirrorError, Organization};
use crate::names::RepoName;
use crate::store::relational::inventory::Inventoried;
use crate::store::relational::leases::process_name;
use crate::telemetry::Console;

/// Organisations that are listed side by side.
const ORGANIZATIONS_AT_A_TIME: usize = 4;

/// What listing all organisations came to.
pub(super) struct Listed {
    /// Each organisation, in the order of `orgs.txt`.
    pub organizations: Vec<(Organization, Vec<Inventoried>)>,
    /// The repositories of all `projects.txt`.
    pub projects: Projects,
    /// What could not be had beside the organisations themselves.
    pub problems: Vec<String>,
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
    let listed = list(&mirror, lists, &args.lists, &console, &process_name(), false).await;
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
        for login in &orgs.repeated {
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
    let mut organizations = Vec::new();
    for organization in &mut found {
        mirror.vanished(organization, process).await?;
    }
    for organization in found {
        let own = mirror.stores.relational.inventory_of(&organization.login).await?;
        update(&mut projects, mirror, &organization, &own, args).await?;
        organizations.push((organization, own));
    }
    if !dry_run {
        projects.write().map_err(after_work)?;
    }
    Ok(Listed { organizations, projects, problems })
}

/// A file's error that is no longer one of usage: work was done before it.
fn after_work(error: FileError) -> anyhow::Error {
    anyhow::Error::msg(error.to_string())
}

async fn look_at_all(
    mirror: &Mirror,
    logins: &[String],
    console: &Console,
    process: &str,
) -> anyhow::Result<Vec<Organization>> {
    let progress = console.progress("organisations");
    progress.set_length(logins.len() as u64);
    let room = Arc::new(Semaphore::new(ORGANIZATIONS_AT_A_TIME));
    let mut tasks = JoinSet::new();
    for (place, login) in logins.iter().enumerate() {
        let (mirror, login, process, room) = (mirror.clone(), login.clone(), process.to_owned(), Arc::clone(&room));
        tasks.spawn(async move {
            // The semaphore is never closed.
            let _turn = room.acquire_owned().await.ok();
            if mirror.cancel.is_cancelled() {
                return Err(MirrorError::Cancelled);
            }
            mirror.organization(&login, &process).await.map(|found| (place, found))
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
    organization: &Organization,
    own: &[Inventoried],
    args: &ListArgs,
) -> anyhow::Result<()> {
    let kept = own.iter().filter(|known| known.listed.is_some() && !known.deleted);
    let mut repositories: Vec<RepoName> =
        kept.filter_map(|known| RepoName::new(&known.owner, &known.name).ok()).collect();
    let relational = &mirror.stores.relational;
    for name in projects.of(&organization.asked).into_iter().chain(projects.of(&organization.login)) {
        // Under its organisation's present name it is the same.
        let present = RepoName::new(&organization.login, name.name()).unwrap_or_else(|_| name.clone());
        let listed = repositories.iter().any(|known| known.is_same_as(&present));
        if listed
            || relational.is_accounted_for(name.owner(), name.name()).await?
            || relational.is_accounted_for(present.owner(), present.name()).await?
        {
            continue;
        }
        if organization.listed {
            tracing::info!(repository = %name, file = %args.projects.display(), "in no list, kept");
        }
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
        for (organization, _) in &self.organizations {
            for note in &organization.notes {
                console.line(&format!("{}: {note}", organization.asked));
            }
            for problem in &organization.problems {
                console.error(&format!("error: {}: {problem}", organization.asked));
            }
        }
        let incomplete =
            self.organizations.iter().filter(|(organization, _)| !organization.problems.is_empty()).count();
        if incomplete > 0 {
            console.error(&format!("{incomplete} of {} organisations are not complete", self.organizations.len()));
        }
        if incomplete == 0 && self.problems.is_empty() { Outcome::Complete } else { Outcome::Incomplete }
    }
}

/// The repositories that count as an organisation's.
fn present(own: &[Inventoried]) -> impl Iterator<Item = &Inventoried> {
    own.iter().filter(|known| known.listed.is_some() && !known.deleted)
}

fn as_table(listed: &Listed) -> String {
    let mut total = [0_usize; 7];
    let mut rows: Vec<[String; 9]> = Vec::new();
    for (organization, own) in &listed.organizations {
        let numbers = numbers(organization, own);
        total.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
        let result = if organization.problems.is_empty() { "done" } else { "incomplete" };
        rows.push(row(&organization.login, result, numbers));
    }
    rows.push(row("total", "", total));
    let mut text = plain_table(
        ["organisation", "repositories", "new", "renamed", "gone", "private", "requests", "free (304)", "result"],
        rows,
    );
    for (organization, _) in &listed.organizations {
        text.extend(organization.renamed.iter().map(|(from, to)| format!("renamed: {from} is now {to}\n")));
        text.extend(organization.gone.iter().map(|name| format!("gone: {name}, marked as deleted\n")));
        text.extend(organization.unreadable.iter().map(|name| format!("no longer readable: {name}\n")));
    }
    text
}

fn row(name: &str, result: &str, numbers: [usize; 7]) -> [String; 9] {
    let [repositories, new, renamed, gone, private, requests, free] = numbers.map(|number| number.to_string());
    [name.to_owned(), repositories, new, renamed, gone, private, requests, free, result.to_owned()]
}

fn numbers(organization: &Organization, own: &[Inventoried]) -> [usize; 7] {
    let private = present(own).filter(|known| known.visibility.as_deref().is_some_and(|v| v != "public")).count();
    let number = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    [
        present(own).count(),
        organization.new.len(),
        organization.renamed.len(),
        organization.gone.len() + organization.unreadable.len(),
        private,
        number(organization.requests),
        number(organization.free),
    ]
}

fn as_json(listed: &Listed) -> anyhow::Result<String> {
    let organization = |(organization, own): &(Organization, Vec<Inventoried>)| {
        let [repositories, _, _, _, private, requests, free] = numbers(organization, own);
        let renamed: Vec<Value> =
            organization.renamed.iter().map(|(from, to)| json!({"from": from, "to": to})).collect();
        json!({
            "organization": organization.asked,
            "login": organization.login,
            "person": organization.person,
            "repositories": repositories,
            "private": private,
            "new": organization.new,
            "renamed": renamed,
            "gone": organization.gone,
            "unreadable": organization.unreadable,
            "notes": organization.notes,
            "problems": organization.problems,
            "complete": organization.problems.is_empty(),
            "requests": requests,
            "free": free,
        })
    };
    let organizations: Vec<Value> = listed.organizations.iter().map(organization).collect();
    let all = json!({"organizations": organizations, "problems": listed.problems});
    Ok(format!("{}\n", serde_json::to_string_pretty(&all)?))
}
