//! `msght update-repo`: brings the rows and documents of the given repositories themselves up to date.

use tokio_util::sync::CancellationToken;

use super::{Outcome, each, in_turn, open_mirror, print};
use crate::cli::UpdateRepoArgs;
use crate::config::Settings;
use crate::mirror::{Mirror, repository_lease};
use crate::names::RepoName;
use crate::store::relational::leases::process_name;
use crate::telemetry::Console;
use crate::workers::alone_in_turn;

/// Asks for the repositories that the arguments name, and prints a line each.
///
/// # Errors
/// What kept it from starting; what fails with a repository is counted and shown.
pub async fn run(
    settings: Settings,
    args: UpdateRepoArgs,
    console: Console,
    shutdown: CancellationToken,
) -> anyhow::Result<Outcome> {
    let repositories = args.repositories()?;
    let mirror = open_mirror(&settings, &console, &shutdown).await?;
    let process = process_name();
    let outcome = each(&repositories, "repositories", &console, &shutdown, async |name: &RepoName| {
        let work = async |mirror: Mirror| mirror.update(name).await;
        let (what, lease) = (name.to_string(), repository_lease(name));
        match in_turn(alone_in_turn(&mirror, (&what, &lease), &process, &shutdown, work).await?) {
            Ok((present, update)) => {
                print(format!("{present}: {update}\n").as_bytes())?;
                Ok(Ok(true))
            }
            Err(error) => Ok(Err(error)),
        }
    })
    .await;
    mirror.close().await;
    outcome
}
