//! `msght retrieve-repos`: works the queue of repositories to retrieve.

use tokio_util::sync::CancellationToken;

use super::{Outcome, work_mirror_queue};
use crate::cli::{RetrieveReposArgs, stages_of};
use crate::config::Settings;
use crate::mirror::Options;
use crate::queue::Route;
use crate::telemetry::Console;
use crate::workers::Repositories;

/// Works the queue until it is stopped, or empty with `--drain`.
///
/// # Errors
/// A store, the queue or a setting that can't be used.
pub async fn run(
    settings: Settings,
    args: RetrieveReposArgs,
    console: Console,
    shutdown: CancellationToken,
) -> anyhow::Result<Outcome> {
    let options = Options { fork_commits: settings.mirror.fork_commits, ..Options::of(stages_of(args.detail)) };
    work_mirror_queue(&settings, Route::Projects, &args.work, &console, &shutdown, |mirror, process| Repositories {
        mirror,
        options,
        process,
    })
    .await
}
