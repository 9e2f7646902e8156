//! This process's side of the ledger: when it is asked and told.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::tokens::{Permit, TokenPool};
use crate::rate_limit::{
    LIVENESS_TTL, REQUEST_INTERVAL, RateLimitStore, RateLimitStoreError, Reservation, UsageReport, WaitReason,
};

/// How often a process at work says so: a share follows the number of processes within two or three of these.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// A share is void some time before the ledger gives it to others: its way back took time too.
const ALLOCATION_TTL: Duration = Duration::from_secs(LIVENESS_TTL.as_secs() - 2);

/// The ledger, and what this process is called in it.
pub(super) struct Coordinator {
    store: Arc<dyn RateLimitStore>,
    process: String,
    /// Held by who asks for the next share.
    allocating: tokio::sync::Mutex<()>,
    /// When the present share was asked for.
    allocated_at: Mutex<Option<Instant>>,
}

impl Coordinator {
    pub fn new(store: Arc<dyn RateLimitStore>) -> Self {
        // The number is for people who look into the table; the rest makes it one of a kind on all machines.
        let process = format!("{}-{:016x}", std::process::id(), rand::random::<u64>());
        Self { store, process, allocating: tokio::sync::Mutex::default(), allocated_at: Mutex::default() }
    }

    fn is_allocation_younger(&self, than: Duration) -> bool {
        self.allocated_at.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|at| at.elapsed() < than)
    }

    /// Sees to it that the pool's share of the requests in flight is one that the ledger vouches for. A process that has
    /// nothing to ask GitHub for does not come here, and holds no share.
    pub async fn refresh_allocation(&self, pool: &TokenPool) -> Result<(), RateLimitStoreError> {
        if self.is_allocation_younger(HEARTBEAT_INTERVAL) {
            return Ok(());
        }
        let _asking = match self.allocating.try_lock() {
            Ok(asking) => asking,
            // Another request sees to it; the share is good meanwhile.
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

    /// Asks for what the pool has found free. If other processes have it, the pool knows until when.
    pub async fn reserve(&self, pool: &TokenPool, permit: Permit) -> Result<Option<Permit>, RateLimitStoreError> {
        if permit.granted {
            return Ok(Some(permit));
        }
        let asked = Instant::now();
        let grant = self.store.reserve(&permit.fingerprint, permit.reserve).await;
        let now = Instant::now();
        match grant {
            Ok(Reservation::Granted) => {
                pool.record_grant(permit.token, asked);
                return Ok(Some(permit));
            }
            // Each process at another time, so that they don't ask all at once.
            Ok(Reservation::Busy(wait)) => {
                pool.throttle_until(permit.token, now + wait + REQUEST_INTERVAL.mul_f64(rand::random()))
            }
            Ok(Reservation::Blocked { wait, reason, secondary_limit_hits }) => {
                pool.record_secondary_limit_hits(permit.token, secondary_limit_hits);
                pool.pause(permit.token, now + wait, reason);
            }
            Err(error) => {
                permit.cancel();
                return Err(error);
            }
        }
        permit.cancel();
        Ok(None)
    }

    /// Tells what an answer brought. The answer is good in any case: a ledger that can't be told is noticed by the next
    /// request, which has to ask it.
    pub async fn report(&self, permit: &Permit, report: UsageReport) {
        if let Err(error) = self.store.report(&permit.fingerprint, report).await {
            tracing::warn!(%error, token = %permit.hint, "what is left of a token was not shared");
        }
    }

    /// Tells of a pause, as [`Coordinator::report`] does of what is left.
    pub async fn pause(&self, permit: &Permit, wait: Duration, reason: WaitReason, secondary_limit_hits: u32) {
        if let Err(error) = self.store.pause(&permit.fingerprint, wait, reason, secondary_limit_hits).await {
            tracing::warn!(%error, token = %permit.hint, "a token's pause was not shared");
        }
    }

    /// Leaves for good, so that nothing of the ledger stays open.
    pub async fn close(&self) {
        self.deregister().await;
        self.store.close().await;
    }

    async fn deregister(&self) {
        if let Err(error) = self.store.deregister(&self.process).await {
            tracing::debug!(%error, "the end was not told; it is noticed in a while");
        }
    }
}
