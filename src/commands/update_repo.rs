//! `msght update-repo`: refreshes the given repositories' own rows and documents.

use super::output::print;
use super::run_each::{run_each, run_waiting_for_lease};
use super::{App, CommandOutcome};
use crate::cli::UpdateRepoArgs;
use crate::mirror::repository_lease_name;
use crate::names::RepoName;

/// Refreshes the repositories one after another, and prints a line for each.
///
/// # Errors
/// The reason why it could not start; failures with a repository are counted and shown.
pub(super) async fn run(app: App, args: &UpdateRepoArgs) -> anyhow::Result<CommandOutcome> {
    let repositories = args.repositories()?;
    let mirror = app.mirror().await?;
    let outcome = run_each(&app, &repositories, ("repository", "repositories"), async |name: &RepoName| {
        let (subject, lease) = (name.to_string(), repository_lease_name(name));
        let updated = run_waiting_for_lease(&app, &mirror, (&subject, &lease), async |mirror| {
            mirror.update_repository(name).await
        });
        match updated.await? {
            Ok((current_name, update)) => {
                print(&format!("{current_name}: {update}\n"))?;
                Ok(Ok(true))
            }
            Err(error) => Ok(Err(error)),
        }
    })
    .await;
    mirror.close().await;
    outcome
}
