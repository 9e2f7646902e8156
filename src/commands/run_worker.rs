//! Runs a queue's workers, and reports how many messages were completed.

use std::sync::Arc;

use super::{App, CommandOutcome};
use crate::cli::WorkArgs;
use crate::config::QueueSettings;
use crate::mirror::Mirror;
use crate::queue::Route;
use crate::store::relational::leases::process_name;
use crate::workers::{self, Backoff, Handler, WorkerConfig, WorkerStats};

/// Runs workers that mirror what messages name, by a handler that is built from the mirror and this process's name.
///
/// # Errors
/// A store, a queue or a setting that can't be used.
pub(super) async fn run_mirror_worker<H: Handler>(
    mut app: App,
    route: Route,
    work: &WorkArgs,
    handler: impl FnOnce(Mirror, String) -> H,
) -> anyhow::Result<CommandOutcome> {
    let queue = app.queue().await?;
    app.console = app.console.without_progress();
    let mirror = app.mirror().await?;
    let QueueSettings { attempts, retry_after, .. } = app.settings.queue;
    let backoff = Backoff::Growing(retry_after);
    let policy = WorkerConfig { route, jobs: work.jobs, drain: work.drain, attempts, backoff };
    let handler = Arc::new(handler(mirror.clone(), process_name()));
    let stats = workers::run(&queue, &policy, handler, &app.console, &app.shutdown).await;
    queue.close().await;
    mirror.close().await;
    let WorkerStats { done, failed, dead } = stats?;
    app.console.line(&format!("{done} done, {failed} failed attempts, {dead} given up"));
    Ok(if dead == 0 { CommandOutcome::Complete } else { CommandOutcome::Incomplete })
}
