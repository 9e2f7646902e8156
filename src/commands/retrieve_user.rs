//! `msght retrieve-user`: mirrors the given accounts with followers, following and memberships.

use super::output::print;
use super::run_each::{run_each, run_waiting_for_lease};
use super::{App, CommandOutcome};
use crate::cli::RetrieveUserArgs;
use crate::mirror::{MirrorError, account_lease_name};

/// Mirrors the accounts one after another, and prints a line for each.
///
/// # Errors
/// The reason why it could not start; failures with an account are counted and shown.
pub(super) async fn run(app: App, args: &RetrieveUserArgs) -> anyhow::Result<CommandOutcome> {
    let mirror = app.mirror().await?;
    let outcome = run_each(&app, &args.logins(), ("account", "accounts"), async |login: &String| {
        let lease = account_lease_name(login);
        let retrieved = run_waiting_for_lease(&app, &mirror, (login, &lease), async |mirror| {
            mirror.sync_account(login, args.full).await
        });
        match retrieved.await? {
            Ok(report) => {
                print(&format!("{}: {}\n", report.resource, report.summary()))?;
                Ok(Ok(report.is_complete()))
            }
            Err(MirrorError::Gone(_)) => {
                print(&format!("{login}: gone, marked deleted\n"))?;
                Ok(Ok(true))
            }
            Err(error) => Ok(Err(error)),
        }
    })
    .await;
    mirror.close().await;
    outcome
}
