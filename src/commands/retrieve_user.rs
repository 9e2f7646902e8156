//! `msght retrieve-user`: mirrors the given accounts with who follows them, whom they follow, and memberships.

use tokio_util::sync::CancellationToken;

use super::{Outcome, each, open_mirror, print};
use crate::cli::RetrieveUserArgs;
use crate::config::Settings;
use crate::mirror::MirrorError;
use crate::telemetry::Console;

/// Mirrors the accounts that the arguments name, and prints a line each.
///
/// # Errors
/// What kept it from starting; what fails with an account is counted and shown.
pub async fn run(
    settings: Settings,
    args: RetrieveUserArgs,
    console: Console,
    shutdown: CancellationToken,
) -> anyhow::Result<Outcome> {
    let mirror = open_mirror(&settings, &console, &shutdown).await?;
    let outcome = each(&args.logins(), "accounts", &console, &shutdown, async |login: &String| {
        match mirror.user(login, args.full).await {
            Ok(report) => {
                print(format!("{}: {}\n", report.subject, report.summary()).as_bytes())?;
                Ok(Ok(report.is_complete()))
            }
            Err(MirrorError::Gone(_)) => {
                print(format!("{login}: gone, marked deleted\n").as_bytes())?;
                Ok(Ok(true))
            }
            Err(error) => Ok(Err(error)),
        }
    })
    .await;
    mirror.close().await;
    outcome
}
