//! `msght data-retrieval`: reads again what deliveries and events name.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

use super::output::print;
use super::{App, CommandOutcome};
use crate::cli::DataRetrievalArgs;
use crate::mirror::Mirror;
use crate::mirror::events::{FeedStats, run_publisher};
use crate::queue::Queue;
use crate::store::relational::leases::process_name;
use crate::workers::{
    EventsConfig, RefreshConfig, RefreshStats, WorkerStats, process_event, run_events, run_refreshes,
};

/// Works what is wished for and the queues of events until it is stopped, or nothing is left with `--drain`; or one event.
///
/// # Errors
/// A store, the queue or a setting that can't be used.
pub(super) async fn run(mut app: App, args: &DataRetrievalArgs) -> anyhow::Result<CommandOutcome> {
    app.console = app.console.without_progress();
    if let Some(event) = &args.event {
        return one_event(&app, event).await;
    }
    let queue = app.queue().await?;
    let mirror = app.mirror().await?;
    let failed_before = mirror.stores.relational.refresh_counts().await?.failed;
    let worked = work(&app, &mirror, &queue, args).await;
    let failed = mirror.stores.relational.refresh_counts().await;
    queue.close().await;
    mirror.close().await;
    let (RefreshStats { done, retried, requests, free }, events) = worked?;
    let given_up = failed?.failed.saturating_sub(failed_before);
    app.console.line(&format!(
        "{done} refreshed, {retried} attempts in vain, {given_up} given up; {requests} requests, {free} free"
    ));
    let WorkerStats { done, failed, dead } = events;
    app.console.line(&format!("{done} events processed, {failed} failed attempts, {dead} given up"));
    Ok(if given_up == 0 && dead == 0 { CommandOutcome::Complete } else { CommandOutcome::Incomplete })
}

/// Runs the workers of refreshes and events, and the publisher, side by side.
async fn work(
    app: &App,
    mirror: &Mirror,
    queue: &Queue,
    args: &DataRetrievalArgs,
) -> anyhow::Result<(RefreshStats, WorkerStats)> {
    let drain = args.work.drain;
    // Ends the others when one fails, and the publisher when all is drained.
    let stop = app.shutdown.child_token();
    let are_events_done = AtomicBool::new(false);
    let (prefetch, attempts) = (app.settings.queue.prefetch, app.settings.queue.attempts);
    let events = async {
        let config = EventsConfig { types: args.types.clone(), prefetch, drain, attempts };
        let done = run_events(mirror, queue, &config, &app.console, &stop).await;
        are_events_done.store(true, Ordering::Relaxed);
        ended(done, &stop)
    };
    let refreshes = async {
        let config = RefreshConfig { jobs: args.work.jobs, drain, fork_commits: app.settings.mirror.fork_commits };
        let mut total = RefreshStats::default();
        loop {
            // What is left after the last event's own wishes came in.
            let is_last = are_events_done.load(Ordering::Relaxed);
            let run = run_refreshes(mirror.clone(), queue.clone(), config.clone(), process_name(), &stop).await;
            total.add(ended(run, &stop)?);
            if !drain || is_last || stop.is_cancelled() {
                stop.cancel();
                return anyhow::Ok(total);
            }
        }
    };
    let publisher = async {
        let done = run_publisher(mirror, queue, &Arc::new(FeedStats::default()), &stop).await;
        ended(done.map_err(anyhow::Error::from), &stop)
    };
    let (refreshes, events, published) = tokio::join!(refreshes, events, publisher);
    published?;
    Ok((refreshes?, events?))
}

/// Stops the other workers if one has failed.
fn ended<T>(result: anyhow::Result<T>, stop: &CancellationToken) -> anyhow::Result<T> {
    if result.is_err() {
        stop.cancel();
    }
    result
}

/// Processes one event, and prints what was done.
async fn one_event(app: &App, id: &str) -> anyhow::Result<CommandOutcome> {
    let mirror = app.mirror().await?;
    let fork_commits = app.settings.mirror.fork_commits;
    let processed = process_event(&mirror, id, fork_commits, &process_name(), &app.shutdown).await;
    mirror.close().await;
    let report = processed?;
    let kind = report.kind.as_deref().unwrap_or("event");
    let mut text = format!("{kind} {id}: {} requests, {} free\n", report.requests, report.free);
    report.lines.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
    print(&text)?;
    Ok(CommandOutcome::Complete)
}
