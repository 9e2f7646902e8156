//! This process's side of the ledger: when it is asked and told.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::tokens::{Lease, Pool};
use crate::rate_limit::{
    LIVENESS_TTL, REQUEST_INTERVAL, RateLimitStore, RateLimitStoreError, Reservation, UsageReport, WaitReason,
};

/// How often a process at work says so: a share follows the number of processes within two or three of these.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// A share is void some time before the ledger gives it to others: its way back took time too.
const SHARE_VALID: Duration = Duration::from_secs(LIVENESS_TTL.as_secs() - 2);

/// The ledger, and what this process is called in it.
pub(super) struct Sharing {
    ledger: Arc<dyn RateLimitStore>,
    process: String,
    /// Held by who asks for the next share.
    asking: tokio::sync::Mutex<()>,
    /// When the present share was asked for.
    asked: Mutex<Option<Instant>>,
}

impl Sharing {
    pub fn new(ledger: Arc<dyn RateLimitStore>) -> Self {
        // The number is for people who look into the table; the rest makes it one of a kind on all machines.
        let process = format!("{}-{:016x}", std::process::id(), rand::random::<u64>());
        Self { ledger, process, asking: tokio::sync::Mutex::default(), asked: Mutex::default() }
    }

    fn is_younger(&self, than: Duration) -> bool {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|at| at.elapsed() < than)
    }

    /// Sees to it that the pool's share of the requests in flight is one that the ledger vouches for. A process that has
    /// nothing to ask GitHub for does not come here, and holds no share.
    pub async fn refresh(&self, pool: &Pool) -> Result<(), RateLimitStoreError> {
        if self.is_younger(HEARTBEAT_INTERVAL) {
            return Ok(());
        }
        let _asking = match self.asking.try_lock() {
            Ok(asking) => asking,
            // Another request sees to it; the share is good meanwhile.
            Err(_) if self.is_younger(SHARE_VALID) => return Ok(()),
            Err(_) => self.asking.lock().await,
        };
        if self.is_younger(HEARTBEAT_INTERVAL) {
            return Ok(());
        }
        let now = Instant::now();
        let uses = pool.uses(self.is_younger(SHARE_VALID));
        let shares = self.ledger.allocate(&self.process, &uses).await?;
        pool.set_shares(&shares);
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        Ok(())
    }

    /// Asks for what the pool has found free. If other processes have it, the pool knows until when.
    pub async fn grant(&self, pool: &Pool, lease: Lease) -> Result<Option<Lease>, RateLimitStoreError> {
        if lease.granted {
            return Ok(Some(lease));
        }
        let asked = Instant::now();
        let grant = self.ledger.reserve(&lease.fingerprint, lease.reserve).await;
        let now = Instant::now();
        match grant {
            Ok(Reservation::Granted) => {
                pool.granted(lease.token, asked);
                return Ok(Some(lease));
            }
            // Each process at another time, so that they don't ask all at once.
            Ok(Reservation::Busy(wait)) => {
                pool.hold(lease.token, now + wait + REQUEST_INTERVAL.mul_f64(rand::random()))
            }
            Ok(Reservation::Blocked { wait, reason, secondary_limit_hits: strikes }) => {
                pool.strikes(lease.token, strikes);
                pool.pause(lease.token, now + wait, reason);
            }
            Err(error) => {
                lease.unused();
                return Err(error);
            }
        }
        lease.unused();
        Ok(None)
    }

    /// Tells what an answer brought. The answer is good in any case: a ledger that can't be told is noticed by the next
    /// request, which has to ask it.
    pub async fn report(&self, lease: &Lease, news: UsageReport) {
        if let Err(error) = self.ledger.report(&lease.fingerprint, news).await {
            tracing::warn!(%error, token = %lease.hint, "what is left of a token was not shared");
        }
    }

    /// Tells of a pause, as [`Sharing::report`] does of what is left.
    pub async fn pause(&self, lease: &Lease, wait: Duration, reason: WaitReason, strikes: u32) {
        if let Err(error) = self.ledger.pause(&lease.fingerprint, wait, reason, strikes).await {
            tracing::warn!(%error, token = %lease.hint, "a token's pause was not shared");
        }
    }

    /// Leaves for good, so that nothing of the ledger stays open.
    pub async fn close(&self) {
        self.leave().await;
        self.ledger.close().await;
    }

    async fn leave(&self) {
        if let Err(error) = self.ledger.deregister(&self.process).await {
            tracing::debug!(%error, "the end was not told; it is noticed in a while");
        }
    }
}
