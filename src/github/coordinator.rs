//! This process's side of the shared store: reservations, reports and its allocation of requests in flight.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::tokens::{Permit, TokenPool};
use crate::rate_limit::{
    LIVENESS_TTL, REQUEST_INTERVAL, RateLimitStore, RateLimitStoreError, Reservation, UsageReport, WaitReason,
};

/// Interval between heartbeats of a process at work. Allocations follow the number of processes within two or three of them.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// Time for which an allocation is used: less than [`LIVENESS_TTL`], for the reply took time too.
const ALLOCATION_TTL: Duration = Duration::from_secs(LIVENESS_TTL.as_secs() - 2);

/// The shared store, and this process's name in it.
pub(super) struct Coordinator {
    store: Arc<dyn RateLimitStore>,
    process: String,
    /// Lock held while the next allocation is requested.
    allocating: tokio::sync::Mutex<()>,
    /// Time at which the present allocation was requested.
    allocated_at: Mutex<Option<Instant>>,
}

impl Coordinator {
    pub(super) fn new(store: Arc<dyn RateLimitStore>) -> Self {
        // The process id is for people who inspect the table; the rest makes it unique over all machines.
        let process = format!("{}-{:016x}", std::process::id(), rand::random::<u64>());
        Self { store, process, allocating: tokio::sync::Mutex::default(), allocated_at: Mutex::default() }
    }

    fn is_allocation_younger(&self, than: Duration) -> bool {
        self.allocated_at.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|at| at.elapsed() < than)
    }

    /// Renews the pool's allocation of requests in flight if it is due. An idle process doesn't call this, and loses its share.
    pub(super) async fn refresh_allocation(&self, pool: &TokenPool) -> Result<(), RateLimitStoreError> {
        if self.is_allocation_younger(HEARTBEAT_INTERVAL) {
            return Ok(());
        }
        let _asking = match self.allocating.try_lock() {
            Ok(asking) => asking,
            // Another request does it; the allocation is valid meanwhile.
            Err(_) if self.is_allocation_younger(ALLOCATION_TTL) => return Ok(()),
            Err(_) => self.allocating.lock().await,
        };
        if self.is_allocation_younger(HEARTBEAT_INTERVAL) {
            return Ok(());
        }
        let now = Instant::now();
        let claims = pool.concurrency_claims(self.is_allocation_younger(ALLOCATION_TTL));
        let allocations = self.store.allocate(&self.process, &claims).await?;
        pool.set_allocations(&allocations);
        *self.allocated_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        Ok(())
    }

    /// Reserves what the pool found available. If other processes hold it, the pool throttles or pauses the token; returns `None`.
    pub(super) async fn reserve(
        &self,
        pool: &TokenPool,
        permit: Permit,
    ) -> Result<Option<Permit>, RateLimitStoreError> {
        if permit.needs_no_reservation {
            return Ok(Some(permit));
        }
        let started = Instant::now();
        let reservation = self.store.reserve(&permit.fingerprint, permit.reserve).await;
        let now = Instant::now();
        match reservation {
            Ok(Reservation::Granted) => {
                pool.record_grant(permit.token, started);
                return Ok(Some(permit));
            }
            // Randomized, so that processes don't retry all at once.
            Ok(Reservation::Busy(wait)) => {
                pool.throttle_until(permit.token, now + wait + REQUEST_INTERVAL.mul_f64(rand::random()));
            }
            Ok(Reservation::Blocked { wait, reason, secondary_limit_hits }) => {
                pool.record_secondary_limit_hits(permit.token, secondary_limit_hits);
                pool.pause(permit.token, now + wait, reason);
            }
            Err(error) => {
                permit.release_unsent();
                return Err(error);
            }
        }
        permit.release_unsent();
        Ok(None)
    }

    /// Reports usage. A failure is only logged: the response is valid anyway, and the next reservation will fail.
    pub(super) async fn report(&self, permit: &Permit, report: UsageReport) {
        if let Err(error) = self.store.report(&permit.fingerprint, report).await {
            tracing::warn!(%error, token = %permit.hint, "a token's usage was not reported to the shared store");
        }
    }

    /// Reports a pause; a failure is only logged, as in [`Coordinator::report`].
    pub(super) async fn pause(&self, permit: &Permit, wait: Duration, reason: WaitReason, secondary_limit_hits: u32) {
        if let Err(error) = self.store.pause(&permit.fingerprint, wait, reason, secondary_limit_hits).await {
            tracing::warn!(%error, token = %permit.hint, "a token's pause was not reported to the shared store");
        }
    }

    /// Deregisters this process and closes the store.
    pub(super) async fn close(&self) {
        self.deregister().await;
        self.store.close().await;
    }

    async fn deregister(&self) {
        if let Err(error) = self.store.deregister(&self.process).await {
            tracing::debug!(%error, "this process was not deregistered; its share expires by itself");
        }
    }
}
