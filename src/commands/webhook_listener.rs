//! `msght webhook-listener`: reports the events that the webhook server has received.

use std::sync::Arc;

use super::{App, CommandOutcome};
use crate::cli::WebhookListenerArgs;
use crate::config::QueueSettings;
use crate::queue::Route;
use crate::workers::{self, Backoff, ReceivedEventHandler, WorkerConfig};

/// Messages that are reported at a time.
const JOBS: u16 = 16;

/// Consumes the queue `LogMessages` until it is stopped.
///
/// # Errors
/// A queue that can't be used.
pub(super) async fn run(mut app: App, args: &WebhookListenerArgs) -> anyhow::Result<CommandOutcome> {
    if !app.settings.telemetry.via_queue {
        app.console.line("telemetry.via_queue is false: the webhook server reports its events itself");
    }
    app.console = app.console.without_progress();
    let queue = app.queue().await?;
    let QueueSettings { attempts, retry_after, .. } = app.settings.queue;
    let backoff = Backoff::Growing(retry_after);
    let policy = WorkerConfig { route: Route::Log, jobs: JOBS, drain: args.drain, attempts, backoff };
    let stats = workers::run(&queue, &policy, Arc::new(ReceivedEventHandler), &app.console, &app.shutdown).await;
    queue.close().await;
    let stats = stats?;
    app.console.line(&format!("{} reported, {} given up", stats.done, stats.dead));
    Ok(if stats.dead == 0 { CommandOutcome::Complete } else { CommandOutcome::Incomplete })
}
