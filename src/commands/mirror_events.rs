//! `msght mirror-events`: pulls the events feeds of organizations that can't have a webhook.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::output::counted;
use super::{App, CommandOutcome};
use crate::cli::MirrorEventsArgs;
use crate::list_files::Orgs;
use crate::mirror::Mirror;
use crate::mirror::events::{FeedStats, run_feeds};
use crate::store::BackendError;
use crate::store::relational::feeds::FeedTarget;

/// Time between checks whether all feeds that were due have been pulled.
const ONCE_POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Minimum time between two rounds of requests for the feeds.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// Pulls the feeds at intervals until it is stopped, or once with `--once`.
///
/// # Errors
/// A file, store, queue or setting that can't be used.
pub(super) async fn run(app: App, args: &MirrorEventsArgs) -> anyhow::Result<CommandOutcome> {
    let orgs = Orgs::read(&args.orgs, false)?;
    let queue = app.queue().await?;
    let mirror = app.mirror().await?;
    let stats = Arc::new(FeedStats::default());
    // Ends the pulling when the feeds were pulled once.
    let stop = app.shutdown.child_token();
    let targets: Vec<FeedTarget> = orgs.logins.iter().map(FeedTarget::organization).collect();
    let pulled =
        async { tokio::try_join!(run_feeds(&mirror, &queue, &stats, &stop), request(&mirror, targets, args, &stop)) };
    let pulled = pulled.await;
    queue.close().await;
    mirror.close().await;
    pulled?;
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let failed = count(&stats.failed_pulls);
    app.console.line(&format!(
        "{}, {failed} failed, {} new, {} published",
        counted(count(&stats.pulls), "feed pulled", "feeds pulled"),
        counted(count(&stats.events), "event", "events"),
        count(&stats.published),
    ));
    Ok(if failed == 0 { CommandOutcome::Complete } else { CommandOutcome::Incomplete })
}

/// Asks for the feeds at intervals. With `--once` it asks once, and stops the pulling when none is due any more.
async fn request(
    mirror: &Mirror,
    targets: Vec<FeedTarget>,
    args: &MirrorEventsArgs,
    stop: &CancellationToken,
) -> Result<(), BackendError> {
    let relational = &mirror.stores.relational;
    loop {
        relational.request_feeds(targets.clone()).await?;
        if args.once {
            while !stop.is_cancelled() && relational.has_due_feeds().await? {
                tokio::time::sleep(ONCE_POLL_INTERVAL).await;
            }
            stop.cancel();
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(args.interval.max(MIN_INTERVAL)) => {}
        }
    }
}
