//! `msght retrieve-repos`: works the queue of repositories to retrieve.

use super::run_worker::run_mirror_worker;
use super::{App, CommandOutcome};
use crate::cli::{RetrieveReposArgs, stages_of};
use crate::mirror::Options;
use crate::queue::Route;
use crate::workers::RepositoryHandler;

/// Works the queue until it is stopped, or empty with `--drain`.
///
/// # Errors
/// A store, the queue or a setting that can't be used.
pub(super) async fn run(app: App, args: &RetrieveReposArgs) -> anyhow::Result<CommandOutcome> {
    let fork_commits = app.settings.mirror.fork_commits;
    let options = Options { fork_commits, ..Options::of(stages_of(args.detail)) };
    run_mirror_worker(app, Route::Projects, &args.work, |mirror, process| RepositoryHandler {
        mirror,
        options,
        process,
    })
    .await
}
