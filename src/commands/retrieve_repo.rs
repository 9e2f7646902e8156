//! `msght retrieve-repo`: mirrors everything of the given repositories.

use tokio_util::sync::CancellationToken;

use super::{Outcome, each, in_turn, open_mirror, print};
use crate::cli::RetrieveRepoArgs;
use crate::config::Settings;
use crate::mirror::{Mirror, Options, repository_lease};
use crate::names::RepoName;
use crate::store::relational::leases::process_name;
use crate::telemetry::Console;
use crate::workers::alone_in_turn;

/// Mirrors the repositories that the arguments name.
///
/// # Errors
/// What kept it from starting; what fails within a repository is counted and shown in its table.
pub async fn run(
    settings: Settings,
    args: RetrieveRepoArgs,
    console: Console,
    shutdown: CancellationToken,
) -> anyhow::Result<Outcome> {
    let repositories = args.repositories()?;
    let options = options(&settings, &args)?;
    let mirror = open_mirror(&settings, &console, &shutdown).await?;
    let process = process_name();
    let outcome = each(&repositories, "repositories", &console, &shutdown, async |repository: &RepoName| {
        let work = async |mirror: Mirror| mirror.repository(repository, options.clone()).await;
        let (what, lease) = (repository.to_string(), repository_lease(repository));
        let ended = alone_in_turn(&mirror, (&what, &lease), &process, &shutdown, work).await?;
        let report = match in_turn(ended) {
            Ok(report) => report,
            Err(error) => return Ok(Err(error)),
        };
        print(report.to_string().as_bytes())?;
        if !report.is_complete() {
            let (incomplete, stages) = (report.incomplete_stages(), report.stages.len());
            console.error(&format!("error: {repository}: {incomplete} of {stages} stages are not complete"));
        }
        Ok(Ok(report.is_complete()))
    })
    .await;
    mirror.close().await;
    outcome
}

fn options(settings: &Settings, args: &RetrieveRepoArgs) -> anyhow::Result<Options> {
    let stages = args.stages()?;
    let id = |id: Option<u64>| id.map(|id| i64::try_from(id).unwrap_or(i64::MAX));
    Ok(Options {
        stages,
        full: args.full,
        exclude_events: args.exclude_events.iter().cloned().collect(),
        events_after: id(args.events_after),
        events_before: id(args.events_before),
        fork_commits: settings.mirror.fork_commits,
    })
}
