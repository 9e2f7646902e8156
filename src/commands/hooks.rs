//! `msght hooks`: lists organizations' webhooks, pings them, and takes in what they have missed.

mod ping;
mod rounds;

use serde_json::{Value, json};
use url::Url;

use super::hook_clients::HookClients;
use super::output::{counted, plain_table, pretty_json, print};
use super::{App, CommandOutcome};
use crate::cli::{HookTargets, HooksArgs, HooksCommand, HooksListArgs, HooksMissedArgs, UsageError};
use crate::github::RequestCounter;
use crate::github::webhooks::{WebhookSpec, WebhookState};
use crate::list_files::Orgs;
use crate::mirror::Mirror;
use crate::webhooks::missed::{OrganizationRound, Rounds};

pub(super) use rounds::keep_looking;

/// Runs one of the subcommands.
///
/// # Errors
/// A setting, a file or a store that can't be used; failures with an organization are shown with it.
pub(super) async fn run(app: App, args: &HooksArgs) -> anyhow::Result<CommandOutcome> {
    match &args.command {
        HooksCommand::List(args) => list(app, args).await,
        HooksCommand::Ping(args) => ping::run(app, args).await,
        HooksCommand::Missed(args) => missed(app, args).await,
    }
}

/// Returns the organizations that are meant.
fn organizations(targets: &HookTargets) -> anyhow::Result<Vec<String>> {
    if targets.organizations.is_empty() {
        return Ok(Orgs::read(&targets.orgs, false)?.logins);
    }
    Ok(targets.organizations.clone())
}

/// Returns the address that GitHub delivers to.
fn public_url(app: &App) -> Result<Url, UsageError> {
    let url = app.settings.webhooks.public_url.clone();
    url.ok_or_else(|| UsageError::new("webhooks.public_url is not set: the address at which GitHub reaches the server"))
}

async fn list(app: App, args: &HooksListArgs) -> anyhow::Result<CommandOutcome> {
    let organizations = organizations(&args.targets)?;
    let ours = app.settings.webhooks.public_url.clone();
    let github = app.github().await?;
    let clients = HookClients::new(&app, &github).await?;
    let counter = RequestCounter::default();
    let (mut rows, mut entries, mut outcome) = (Vec::new(), Vec::new(), CommandOutcome::Complete);
    for organization in &organizations {
        let mut failed = None;
        for (github, token) in clients.of(organization) {
            match github.webhooks(organization, token.as_ref(), &counter).await {
                Ok(hooks) => {
                    failed = None;
                    for hook in hooks {
                        let is_ours = ours.as_ref().is_some_and(|url| hook.is_for(url));
                        let note = match (is_ours, hook.wrong.join(", ")) {
                            (false, _) => String::new(),
                            (true, wrong) if wrong.is_empty() => "ours".to_owned(),
                            (true, wrong) => format!("ours: {wrong}"),
                        };
                        let active = if hook.active { "active" } else { "inactive" };
                        entries.push(json!({
                            "organization": organization, "id": hook.id, "url": hook.address, "active": hook.active,
                            "content_type": hook.content_type, "events": hook.events, "ours": is_ours,
                            "problems": if is_ours { hook.wrong } else { Vec::new() },
                        }));
                        let events = hook.events.join(",");
                        let id = hook.id.to_string();
                        rows.push([
                            organization.clone(),
                            id,
                            active.to_owned(),
                            hook.content_type,
                            events,
                            hook.address,
                            note,
                        ]);
                    }
                    break;
                }
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            app.console.error(&format!("error: {organization}: {error}"));
            outcome = CommandOutcome::Incomplete;
        }
    }
    clients.close().await;
    github.close().await;
    let header = ["ORGANIZATION", "WEBHOOK", "STATE", "FORM", "EVENTS", "URL", "REMARKS"];
    print(&if args.json { pretty_json(&entries)? } else { plain_table(header, rows) })?;
    Ok(outcome)
}

/// Runs a round over the organizations' webhooks.
async fn missed(app: App, args: &HooksMissedArgs) -> anyhow::Result<CommandOutcome> {
    let organizations = organizations(&args.targets)?;
    let url = public_url(&app)?;
    let mirror = app.mirror().await?;
    let rounds = rounds(&app, &mirror, url, (args.repair, args.redeliver)).await?;
    let clients = HookClients::new(&app, &mirror.github).await?;
    let mut reports = Vec::new();
    for organization in &organizations {
        if app.shutdown.is_cancelled() {
            break;
        }
        reports.push(rounds.organization(organization, &clients.of(organization)).await?);
    }
    clients.close().await;
    rounds.queue.close().await;
    mirror.close().await;
    print(&if args.json { pretty_json(&as_json(&reports))? } else { as_table(&reports) })?;
    Ok(outcome(&app, &reports))
}

/// Builds what a round needs.
async fn rounds(app: &App, mirror: &Mirror, url: Url, (repair, redeliver): (bool, bool)) -> anyhow::Result<Rounds> {
    let webhooks = &app.settings.webhooks;
    Ok(Rounds {
        stores: mirror.stores.clone(),
        queue: app.queue().await?,
        spec: WebhookSpec { url, secret: webhooks.secrets.first().cloned(), repair },
        ignore: webhooks.ignore.clone(),
        redeliver,
        cancel: app.shutdown.clone(),
    })
}

/// Reports problems and gaps to the console, and returns the outcome.
fn outcome(app: &App, reports: &[OrganizationRound]) -> CommandOutcome {
    let mut failed = 0;
    for report in reports {
        let organization = &report.organization;
        if let Some(WebhookState::Repaired(wrong)) = &report.hook.state {
            app.console.line(&format!("{organization}: webhook repaired: {wrong}"));
        }
        for gap in &report.gaps {
            let done = match gap.repositories {
                Some(queued) => format!("{} to be retrieved", counted(queued, "repository is", "repositories are")),
                None => "not closed yet".to_owned(),
            };
            app.console.line(&format!("{organization}: {} to {}: {}; {done}", gap.from, gap.until, gap.reason));
        }
        let errors = report.errors();
        for error in &errors {
            app.console.error(&format!("error: {organization}: {error}"));
        }
        failed += usize::from(!errors.is_empty());
    }
    if failed == 0 && !app.shutdown.is_cancelled() { CommandOutcome::Complete } else { CommandOutcome::Incomplete }
}

fn state(report: &OrganizationRound) -> String {
    report.hook.state.as_ref().map_or_else(|| "unknown".to_owned(), ToString::to_string)
}

fn as_table(reports: &[OrganizationRound]) -> String {
    let header = ["ORGANIZATION", "WEBHOOK", "DELIVERIES", "MISSED", "TAKEN IN", "REDELIVERED", "REQUESTS"];
    let row = |report: &OrganizationRound| {
        [
            report.organization.clone(),
            state(report),
            report.deliveries.to_string(),
            report.missing.to_string(),
            report.fetched.to_string(),
            report.redelivered.to_string(),
            report.requests.to_string(),
        ]
    };
    plain_table(header, reports.iter().map(row).collect())
}

fn as_json(reports: &[OrganizationRound]) -> Value {
    let one = |report: &OrganizationRound| {
        json!({
            "organization": report.organization,
            "webhook": {
                "id": report.hook.id,
                "state": state(report),
                "problem": report.hook.state.as_ref().and_then(WebhookState::problem),
            },
            "log_pages": report.pages,
            "log_entries": report.entries,
            "deliveries": report.deliveries,
            "waiting": report.waiting,
            "missed": report.missing,
            "taken_in": report.fetched,
            "redelivered": report.redelivered,
            "gaps": report.gaps,
            "problems": report.problems,
            "requests": report.requests,
            "free_requests": report.free,
        })
    };
    reports.iter().map(one).collect()
}
