//! Runs a command's work on several named things one after another, each under its lease.

use std::fmt;

use super::output::counted;
use super::{App, CommandOutcome};
use crate::leased::{Exclusive, run_when_free};
use crate::mirror::{Mirror, MirrorError};
use crate::store::relational::leases::process_name;

/// Runs `work` on each item until shutdown. `work` prints its result, and returns whether that is complete.
///
/// An item's failure is reported, and the next one follows; only a failed store ends them all.
///
/// # Errors
/// The first error that `work` returns outside of its result.
pub(super) async fn run_each<T: fmt::Display>(
    app: &App,
    items: &[T],
    (singular, plural): (&str, &str),
    work: impl AsyncFn(&T) -> anyhow::Result<Result<bool, MirrorError>>,
) -> anyhow::Result<CommandOutcome> {
    let mut complete = 0;
    for item in items {
        if app.shutdown.is_cancelled() {
            break;
        }
        match work(item).await? {
            Ok(is_complete) => complete += usize::from(is_complete),
            Err(error) => {
                tracing::error!(%item, %error, "failed");
                app.console.error(&format!("error: {item}: {error}"));
                if matches!(error, MirrorError::Store(_) | MirrorError::WriterStopped) {
                    break;
                }
            }
        }
    }
    if complete == items.len() {
        return Ok(CommandOutcome::Complete);
    }
    let total = counted(items.len() as u64, singular, plural);
    app.console.error(&format!("{} of {total} incomplete", items.len() - complete));
    Ok(CommandOutcome::Incomplete)
}

/// Runs `work` under a lease, after waiting for its present holder.
///
/// # Errors
/// A store that can't be used.
pub(super) async fn run_waiting_for_lease<T>(
    app: &App,
    mirror: &Mirror,
    (subject, lease): (&str, &str),
    work: impl AsyncFn(Mirror) -> Result<T, MirrorError>,
) -> anyhow::Result<Result<T, MirrorError>> {
    Ok(match run_when_free(mirror, (subject, lease), &process_name(), &app.shutdown, work).await? {
        Exclusive::Finished(result) => result,
        Exclusive::Canceled(Some(done)) => Ok(done),
        Exclusive::Canceled(None) => Err(MirrorError::Canceled),
        Exclusive::HeldBy(holder) => Err(MirrorError::Busy(holder)),
    })
}
