//! `msght retrieve-repos`: works the queue of repositories to retrieve.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{Outcome, client, open_queue, open_stores, work_queue};
use crate::cli::{RetrieveReposArgs, stages_of};
use crate::config::Settings;
use crate::mirror::{Mirror, Options};
use crate::queue::Route;
use crate::store::relational::leases::process_name;
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
    let queue = open_queue(&settings, &console).await?;
    let stores = open_stores(&settings, &console).await?;
    let github = client(&settings, &console).await?;
    let console = console.without_progress();
    let mirror =
        Mirror { github: github.clone(), stores: stores.clone(), console: console.clone(), cancel: shutdown.clone() };
    let options = Options { fork_commits: settings.mirror.fork_commits, ..Options::of(stages_of(args.detail)) };
    let handler = Repositories { mirror, options, process: process_name() };
    let policy = super::policy(&settings, Route::Projects, args.jobs, args.drain);
    let outcome = work_queue(&queue, &policy, Arc::new(handler), &console, &shutdown).await;
    github.leave().await;
    queue.close().await;
    stores.close().await;
    outcome
}
