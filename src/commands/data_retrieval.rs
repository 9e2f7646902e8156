//! `msght data-retrieval`: reads again what deliveries and events name.

use super::{App, CommandOutcome};
use crate::cli::DataRetrievalArgs;
use crate::store::relational::leases::process_name;
use crate::workers::{RefreshConfig, RefreshStats, run_refreshes};

/// Works what is wished for until it is stopped, or nothing is left with `--drain`.
///
/// # Errors
/// A store, the queue or a setting that can't be used.
pub(super) async fn run(mut app: App, args: &DataRetrievalArgs) -> anyhow::Result<CommandOutcome> {
    let queue = app.queue().await?;
    app.console = app.console.without_progress();
    let mirror = app.mirror().await?;
    let config =
        RefreshConfig { jobs: args.work.jobs, drain: args.work.drain, fork_commits: app.settings.mirror.fork_commits };
    let failed_before = mirror.stores.relational.refresh_counts().await?.failed;
    let stats = run_refreshes(mirror.clone(), queue.clone(), config, process_name(), &app.shutdown).await;
    let failed = mirror.stores.relational.refresh_counts().await;
    queue.close().await;
    mirror.close().await;
    let RefreshStats { done, retried, requests, free } = stats?;
    let given_up = failed?.failed.saturating_sub(failed_before);
    app.console.line(&format!(
        "{done} refreshed, {retried} attempts in vain, {given_up} given up; {requests} requests, {free} free"
    ));
    Ok(if given_up == 0 { CommandOutcome::Complete } else { CommandOutcome::Incomplete })
}
