//! `msght retrieve-repo`: mirrors everything of the given repositories.

use super::output::print;
use super::run_each::{run_each, run_waiting_for_lease};
use super::{App, CommandOutcome};
use crate::cli::RetrieveRepoArgs;
use crate::config::Settings;
use crate::mirror::{Options, repository_lease_name};
use crate::names::RepoName;

/// Mirrors the repositories one after another, and prints each one's table of stages.
///
/// # Errors
/// The reason why it could not start; failures within a repository are counted and shown in its table.
pub(super) async fn run(app: App, args: &RetrieveRepoArgs) -> anyhow::Result<CommandOutcome> {
    let repositories = args.repositories()?;
    let options = options(&app.settings, args)?;
    for warning in args.warnings() {
        app.console.error(&format!("warning: {warning}"));
    }
    let mirror = app.mirror().await?;
    let outcome = run_each(&app, &repositories, ("repository", "repositories"), async |repository: &RepoName| {
        let (subject, lease) = (repository.to_string(), repository_lease_name(repository));
        let retrieved = run_waiting_for_lease(&app, &mirror, (&subject, &lease), async |mirror| {
            mirror.sync_repository(repository, options.clone()).await
        });
        let report = match retrieved.await? {
            Ok(report) => report,
            Err(error) => return Ok(Err(error)),
        };
        print(&report.to_string())?;
        if !report.is_complete() {
            let (incomplete, stages) = (report.incomplete_stages(), report.stages.len());
            app.console.error(&format!("error: {repository}: {incomplete} of {stages} stages incomplete"));
        }
        Ok(Ok(report.is_complete()))
    })
    .await;
    mirror.close().await;
    outcome
}

fn options(settings: &Settings, args: &RetrieveRepoArgs) -> anyhow::Result<Options> {
    let id = |id: Option<u64>| id.map(|id| i64::try_from(id).unwrap_or(i64::MAX));
    Ok(Options {
        stages: args.stages()?,
        full: args.full,
        exclude_events: args.exclude_events.iter().cloned().collect(),
        events_after: id(args.events_after),
        events_before: id(args.events_before),
        fork_commits: settings.mirror.fork_commits,
    })
}
