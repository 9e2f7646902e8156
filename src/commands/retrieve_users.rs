//! `msght retrieve-users`: works the queue of accounts to retrieve.

use super::run_worker::run_mirror_worker;
use super::{App, CommandOutcome};
use crate::cli::RetrieveUsersArgs;
use crate::queue::Route;
use crate::workers::UserHandler;

/// Works the queue until it is stopped, or empty with `--drain`.
///
/// # Errors
/// A store, the queue or a setting that can't be used.
pub(super) async fn run(app: App, args: &RetrieveUsersArgs) -> anyhow::Result<CommandOutcome> {
    run_mirror_worker(app, Route::Users, &args.work, |mirror, process| UserHandler { mirror, process }).await
}
