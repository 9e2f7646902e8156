//! Mirroring what a message names, one worker at a time each.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Verdict;
use crate::github::ApiError;
use crate::mirror::{Mirror, MirrorError, Report};
use crate::store::BackendError;

/// What another worker is at is looked at again after this long.
const BUSY_FOR: Duration = Duration::from_secs(10);

/// While GitHub can't be reached or does not answer, a message comes back after this long.
const OUTAGE_WAIT: Duration = Duration::from_secs(60);

/// How long a command waits for its turn: longer than a lease that nobody renews.
const TURN_TIMEOUT: Duration = Duration::from_secs(70);
/// How often it asks.
const TURN_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How work under a lease ended.
pub(crate) enum Ended<T> {
    /// Another process is at it, and who that is.
    Busy(String),
    /// It was stopped, with what it came to if it could be brought to a point.
    Stopped(Option<T>),
    /// It came to its end.
    With(Result<T, MirrorError>),
}

/// Mirrors under a lease; the work is handed a [`Mirror`] that is cancelled with `stop` and with the lease.
///
/// # Errors
/// A store that can't be used.
pub(crate) async fn alone<T, F>(
    mirror: &Mirror,
    lease: &str,
    process: &str,
    stop: &CancellationToken,
    work: impl FnOnce(Mirror) -> F,
) -> Result<Ended<T>, BackendError>
where
    F: Future<Output = Result<T, MirrorError>>,
{
    let held = match mirror.stores.relational.try_lease(lease, process).await? {
        Ok(held) => held,
        Err(holder) => return Ok(Ended::Busy(holder.to_string())),
    };
    tracing::info!(lease, "retrieving");
    let cancel = stop.child_token();
    let retrieval = work(Mirror { cancel: cancel.clone(), lease_owner: Some(process.into()), ..mirror.clone() });
    tokio::pin!(retrieval);
    let result = tokio::select! {
        result = &mut retrieval => result,
        () = held.lost_token().cancelled() => {
            // Work in hand is still brought to a point from which the new holder goes on.
            cancel.cancel();
            retrieval.await
        }
    };
    let lost = held.lost_token().is_cancelled();
    if let Err(error) = held.release().await {
        // It ends by itself; how the work ended says more.
        tracing::warn!(lease, %error, "the lease could not be given up");
    }
    Ok(match result {
        _ if lost => Ended::Busy("its lease was lost".to_owned()),
        Ok(done) if cancel.is_cancelled() => Ended::Stopped(Some(done)),
        Err(MirrorError::Cancelled | MirrorError::LimitReached(_)) => Ended::Stopped(None),
        Err(MirrorError::Busy(who)) => Ended::Busy(who),
        result => Ended::With(result),
    })
}

/// The same for a command that the user waits for: what another process is at is waited for, as long as a dead one could hold
/// its lease, and then given up.
///
/// # Errors
/// A store that can't be used.
pub(crate) async fn alone_in_turn<T>(
    mirror: &Mirror,
    (what, lease): (&str, &str),
    process: &str,
    stop: &CancellationToken,
    work: impl AsyncFn(Mirror) -> Result<T, MirrorError>,
) -> Result<Ended<T>, BackendError> {
    let deadline = Instant::now() + TURN_TIMEOUT;
    let mut told = false;
    loop {
        let holder = match alone(mirror, lease, process, stop, |mirror| work(mirror)).await? {
            Ended::Busy(holder) if Instant::now() < deadline && !stop.is_cancelled() => holder,
            ended => return Ok(ended),
        };
        if !std::mem::replace(&mut told, true) {
            mirror.console.line(&format!("{what}: {holder}; waiting up to {} s for it", TURN_TIMEOUT.as_secs()));
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(Ended::Stopped(None)),
            () = tokio::time::sleep(TURN_POLL_INTERVAL) => {}
        }
    }
}

/// Mirrors under a lease what a message names.
///
/// # Errors
/// What would end every other message's work too.
pub(super) async fn leased<F>(
    mirror: &Mirror,
    lease: &str,
    process: &str,
    stop: &CancellationToken,
    work: impl FnOnce(Mirror) -> F,
) -> anyhow::Result<Verdict>
where
    F: Future<Output = Result<Report, MirrorError>>,
{
    let result = match alone(mirror, lease, process, stop, work).await? {
        Ended::Busy(who) => return Ok(Verdict::NotNow(who, BUSY_FOR)),
        Ended::Stopped(_) => return Ok(Verdict::Stopped),
        Ended::With(result) => result,
    };
    match result {
        Ok(report) if report.is_complete() => Ok(Verdict::Done(report.summary())),
        Ok(report) if report.is_cut_off_by_an_outage() => {
            mirror.console.error(&format!("error: {lease}: {}", report.summary()));
            Ok(Verdict::NotNow(report.summary(), OUTAGE_WAIT))
        }
        Ok(report) => Ok(Verdict::Failed(report.summary())),
        // That it was marked is all there is to do.
        Err(MirrorError::Gone(_)) => Ok(Verdict::Done("gone, marked deleted".to_owned())),
        Err(MirrorError::Api(error @ (ApiError::Connect { .. } | ApiError::Unavailable { .. }))) => {
            mirror.console.error(&format!("error: {lease}: {error}"));
            Ok(Verdict::NotNow(error.to_string(), OUTAGE_WAIT))
        }
        // No token is left: nothing else could be retrieved either.
        Err(error @ (MirrorError::Store(_) | MirrorError::Api(ApiError::Unauthorized { .. }))) => Err(error.into()),
        Err(error) => Ok(Verdict::Failed(error.to_string())),
    }
}
