//! Work under a lease: at most one process at a time works on each repository and account.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::mirror::{Mirror, MirrorError};
use crate::store::BackendError;

/// Delay before work is tried again whose lease another process holds.
pub(crate) const BUSY_RETRY_DELAY: Duration = Duration::from_secs(10);

/// Time that a command waits for a lease: longer than the lease of a dead holder lasts.
const LEASE_WAIT_TIMEOUT: Duration = Duration::from_secs(70);
/// Time between its attempts to acquire the lease.
const LEASE_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The end of work under a lease.
pub(crate) enum Exclusive<T> {
    /// Another process holds the lease, by its description.
    HeldBy(String),
    /// The work was canceled, with its result so far if it reached a consistent point.
    Canceled(Option<T>),
    /// The work ended by itself.
    Finished(Result<T, MirrorError>),
}

/// Runs `work` under a lease, unless another process holds it. It receives a [`Mirror`] that is canceled with `stop` and with the lease.
///
/// # Errors
/// A store that can't be used.
pub(crate) async fn run_if_free<T, F>(
    mirror: &Mirror,
    lease: &str,
    process: &str,
    stop: &CancellationToken,
    work: impl FnOnce(Mirror) -> F,
) -> Result<Exclusive<T>, BackendError>
where
    F: Future<Output = Result<T, MirrorError>>,
{
    let held = match mirror.stores.relational.try_lease(lease, process).await? {
        Ok(held) => held,
        Err(holder) => return Ok(Exclusive::HeldBy(holder.to_string())),
    };
    tracing::info!(lease, "retrieving");
    let cancel = stop.child_token();
    let retrieval = work(Mirror { cancel: cancel.clone(), lease_owner: Some(process.into()), ..mirror.clone() });
    tokio::pin!(retrieval);
    let result = tokio::select! {
        result = &mut retrieval => result,
        () = held.lost_token().cancelled() => {
            // Work in progress is still brought to a point from which the new holder resumes.
            cancel.cancel();
            retrieval.await
        }
    };
    let lost = held.lost_token().is_cancelled();
    if let Err(error) = held.release().await {
        // It expires by itself, and the work's own end says more.
        tracing::warn!(lease, %error, "the lease could not be released");
    }
    Ok(match result {
        _ if lost => Exclusive::HeldBy("its lease was lost".to_owned()),
        Ok(done) if cancel.is_cancelled() => Exclusive::Canceled(Some(done)),
        Err(MirrorError::Canceled | MirrorError::LimitReached(_)) => Exclusive::Canceled(None),
        Err(MirrorError::Busy(who)) => Exclusive::HeldBy(who),
        result => Exclusive::Finished(result),
    })
}

/// Runs `work` as [`run_if_free`] does, for a command that the user waits for: waits for a lease that another process
/// holds, for as long as a dead one could hold it.
///
/// # Errors
/// A store that can't be used.
pub(crate) async fn run_when_free<T>(
    mirror: &Mirror,
    (what, lease): (&str, &str),
    process: &str,
    stop: &CancellationToken,
    work: impl AsyncFn(Mirror) -> Result<T, MirrorError>,
) -> Result<Exclusive<T>, BackendError> {
    let deadline = Instant::now() + LEASE_WAIT_TIMEOUT;
    let mut reported = false;
    loop {
        let holder = match run_if_free(mirror, lease, process, stop, |mirror| work(mirror)).await? {
            Exclusive::HeldBy(holder) if Instant::now() < deadline && !stop.is_cancelled() => holder,
            ended => return Ok(ended),
        };
        if !std::mem::replace(&mut reported, true) {
            mirror.console.line(&format!("{what}: {holder}; waiting up to {} s for it", LEASE_WAIT_TIMEOUT.as_secs()));
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(Exclusive::Canceled(None)),
            () = tokio::time::sleep(LEASE_POLL_INTERVAL) => {}
        }
    }
}
