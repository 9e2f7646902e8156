//! `msght retrieve-repo`: mirrors everything of the given repositories.

use tokio_util::sync::CancellationToken;

use super::{Outcome, client, open_stores, print};
use crate::cli::RetrieveRepoArgs;
use crate::config::Settings;
use crate::mirror::{Mirror, MirrorError, Options};
use crate::telemetry::Console;

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
    let stores = open_stores(&settings, &console).await?;
    let github = client(&settings, &console).await?;
    let mirror =
        Mirror { github: github.clone(), stores: stores.clone(), console: console.clone(), cancel: shutdown.clone() };

    let mut failed = 0;
    for repository in &repositories {
        if shutdown.is_cancelled() {
            failed += 1;
            continue;
        }
        match mirror.repository(repository, options.clone()).await {
            Ok(report) => {
                print(report.to_string().as_bytes())?;
                if !report.is_complete() {
                    failed += 1;
                    let stages = report.incomplete_stages();
                    console.error(&format!(
                        "error: {repository}: {stages} of {} stages are not complete",
                        report.stages.len()
                    ));
                }
            }
            Err(error) => {
                failed += 1;
                tracing::error!(%repository, %error, "repository failed");
                console.error(&format!("error: {repository}: {error}"));
                // What ends one repository's run this way would end every other's too.
                if matches!(error, MirrorError::Store(_) | MirrorError::WriterStopped) {
                    break;
                }
            }
        }
    }
    github.leave().await;
    stores.close().await;
    if failed == 0 {
        return Ok(Outcome::Complete);
    }
    console.error(&format!("{failed} of {} repositories are not complete", repositories.len()));
    Ok(Outcome::Incomplete)
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
