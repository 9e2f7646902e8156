//! A message's job under a lease, and what its end means for the message.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::JobOutcome;
use crate::github::ApiError;
use crate::leased::{BUSY_RETRY_DELAY, Exclusive, run_if_free};
use crate::mirror::{Mirror, MirrorError, Report};

/// Delay of a message while GitHub can't be reached or does not answer.
const OUTAGE_RETRY_DELAY: Duration = Duration::from_mins(1);

/// Runs the job of a message under a lease.
///
/// # Errors
/// An error that would end every other job, too.
pub(super) async fn run_leased_job<F>(
    mirror: &Mirror,
    lease: &str,
    process: &str,
    stop: &CancellationToken,
    work: impl FnOnce(Mirror) -> F,
) -> anyhow::Result<JobOutcome>
where
    F: Future<Output = Result<Report, MirrorError>>,
{
    let result = match run_if_free(mirror, lease, process, stop, work).await? {
        Exclusive::HeldBy(who) => return Ok(JobOutcome::Defer(who, BUSY_RETRY_DELAY)),
        Exclusive::Canceled(_) => return Ok(JobOutcome::Interrupted),
        Exclusive::Finished(result) => result,
    };
    match result {
        Ok(report) if report.is_complete() => Ok(JobOutcome::Completed(report.summary())),
        Ok(report) if report.is_cut_off_by_an_outage() => {
            mirror.console.error(&format!("error: {lease}: {}", report.summary()));
            Ok(JobOutcome::Defer(report.summary(), OUTAGE_RETRY_DELAY))
        }
        Ok(report) => Ok(JobOutcome::Retry(report.summary())),
        // Gone and marked: nothing is left to retry.
        Err(MirrorError::Gone(_)) => Ok(JobOutcome::Completed("gone, marked deleted".to_owned())),
        Err(MirrorError::Api(error @ (ApiError::Connect { .. } | ApiError::Unavailable { .. }))) => {
            mirror.console.error(&format!("error: {lease}: {error}"));
            Ok(JobOutcome::Defer(error.to_string(), OUTAGE_RETRY_DELAY))
        }
        // No token is usable: nothing else could be retrieved either.
        Err(error @ (MirrorError::Store(_) | MirrorError::Api(ApiError::Unauthorized { .. }))) => Err(error.into()),
        Err(error) => Ok(JobOutcome::Retry(error.to_string())),
    }
}
