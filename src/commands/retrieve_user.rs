//! `msght retrieve-user`: mirrors the given accounts with who follows them, whom they follow, and memberships.

use tokio_util::sync::CancellationToken;

use super::{Outcome, each, in_turn, open_mirror, print};
use crate::cli::RetrieveUserArgs;
use crate::config::Settings;
use crate::mirror::{Mirror, MirrorError, account_lease};
use crate::store::relational::leases::process_name;
use crate::telemetry::Console;
use crate::workers::alone_in_turn;

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
    let process = process_name();
    let outcome = each(&args.logins(), "accounts", &console, &shutdown, async |login: &String| {
        let work = async |mirror: Mirror| mirror.user(login, args.full).await;
        let lease = account_lease(login);
        match in_turn(alone_in_turn(&mirror, (login, &lease), &process, &shutdown, work).await?) {
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
