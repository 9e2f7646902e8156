//! `msght get-repos`: lists every organisation, and rewrites `projects.txt`.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Outcome, client, open_mirror, plain_table, print};
use crate::cli::{GetReposArgs, ListArgs};
use crate::config::Settings;
use crate::files::{FileError, Orgs, Projects};
use crate::github::hooks::{HookState, WantedHook};
use crate::github::{GitHub, Meter};
use crate::mirror::{Inventory, Mirror, MirrorError, Organization};
use crate::names::RepoName;
use crate::store::relational::inventory::Inventoried;
use crate::store::relational::leases::process_name;
use crate::telemetry::Console;

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
    found: Organization,
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
    let mut hooks = Hooks::new(settings, mirror, args, console, dry_run).await?;
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

/// The webhooks of organisations, managed with a token of their own.
struct Hooks {
    client: Option<(GitHub, WantedHook)>,
}

impl Hooks {
    /// None where no address is set, or none are wanted.
    async fn new(
        settings: &Settings,
        mirror: &Mirror,
        args: &ListArgs,
        console: &Console,
        dry_run: bool,
    ) -> anyhow::Result<Self> {
        let Some(url) = settings.webhooks.public_url.clone().filter(|_| !args.no_hooks && !dry_run) else {
            if args.repair_hooks {
                console.line("webhooks.public_url is not set: there are no webhooks to repair");
            }
            return Ok(Self { client: None });
        };
        let wanted = WantedHook { url, secret: settings.webhooks.secret.clone(), repair: args.repair_hooks };
        let github = match settings.hook_token() {
            Some(token) => {
                let mut settings = settings.clone();
                settings.set_read_token(token);
                client(&settings, console).await?
            }
            None => mirror.github.clone(),
        };
        Ok(Self { client: Some((github, wanted)) })
    }

    /// An organisation's hook; a problem with it is one of the organisation's.
    async fn of(&mut self, found: &mut Organization) -> Option<HookState> {
        let (github, wanted) = self.client.as_ref().filter(|_| found.listed && !found.person)?;
        let meter = Meter::default();
        let state = github.organization_hook(&found.login, wanted, &meter).await;
        found.requests += meter.counted();
        found.free += meter.free();
        match &state {
            HookState::Repaired(wrong) => found.notes.push(format!("webhook repaired: {wrong}")),
            state => {
                let advice =
                    if matches!(state, HookState::Wrong(_)) { " (--repair-hooks puts that right)" } else { "" };
                found.problems.extend(state.problem().map(|problem| format!("webhook: {problem}{advice}")));
            }
        }
        Some(state)
    }

    async fn leave(&self) {
        if let Some((github, _)) = &self.client {
            github.leave().await;
        }
    }
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

/// The repositories that count as an organisation's.
fn present(own: &[Inventoried]) -> impl Iterator<Item = &Inventoried> {
    own.iter().filter(|known| known.listed.is_some() && !known.deleted)
}

fn as_table(listed: &Listed) -> String {
    let mut total = [0_usize; 7];
    let mut rows: Vec<[String; 10]> = Vec::new();
    for ListedOrganization { found: organization, own, hook } in &listed.organizations {
        let numbers = numbers(organization, own);
        total.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
        let result = if organization.problems.is_empty() { "done" } else { "incomplete" };
        let hook = hook.as_ref().map_or("-".to_owned(), ToString::to_string);
        rows.push(row(&organization.login, numbers, hook, result));
    }
    rows.push(row("total", total, String::new(), ""));
    let mut text = plain_table(
        [
            "organisation",
            "repositories",
            "new",
            "renamed",
            "gone",
            "private",
            "requests",
            "free (304)",
            "webhook",
            "result",
        ],
        rows,
    );
    for ListedOrganization { found: organization, .. } in &listed.organizations {
        text.extend(organization.renamed.iter().map(|(from, to)| format!("renamed: {from} is now {to}\n")));
        text.extend(organization.gone.iter().map(|name| format!("gone: {name}, marked as deleted\n")));
        text.extend(organization.unreadable.iter().map(|name| format!("no longer readable: {name}\n")));
    }
    text
}

fn row(name: &str, numbers: [usize; 7], hook: String, result: &str) -> [String; 10] {
    let [repositories, new, renamed, gone, private, requests, free] = numbers.map(|number| number.to_string());
    [name.to_owned(), repositories, new, renamed, gone, private, requests, free, hook, result.to_owned()]
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
    let organization = |ListedOrganization { found: organization, own, hook }: &ListedOrganization| {
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
            "webhook": hook.as_ref().map(ToString::to_string),
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
