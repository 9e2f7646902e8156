//! `msght retrieve-users`: works the queue of accounts to retrieve.

use tokio_util::sync::CancellationToken;

use super::{Outcome, work_mirror_queue};
use crate::cli::RetrieveUsersArgs;
use crate::config::Settings;
use crate::queue::Route;
use crate::telemetry::Console;
use crate::workers::Users;

/// Works the queue until it is stopped, or empty with `--drain`.
///
/// # Errors
/// A store, the queue or a setting that can't be used.
pub async fn run(
    settings: Settings,
    args: RetrieveUsersArgs,
    console: Console,
    shutdown: CancellationToken,
) -> anyhow::Result<Outcome> {
    work_mirror_queue(&settings, Route::Users, &args.work, &console, &shutdown, |mirror, process| Users {
        mirror,
        process,
    })
    .await
}
