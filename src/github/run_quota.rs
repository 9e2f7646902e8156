//! The bounds that users set for a run: a number of requests, and a deadline.

use std::future::pending;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::error::ApiError;

/// The bounds of a run; nothing is sent beyond them. A request acquires a permit before it is sent, and releases it if it turns
/// out not to count on a rate limit.
#[derive(Debug, Default)]
pub(super) struct RunQuota {
    limits: OnceLock<Bounds>,
    /// The message of the bound that was reached first.
    reached: OnceLock<String>,
}

#[derive(Debug)]
struct Bounds {
    /// Requests left; closed with the last one.
    requests: Option<Semaphore>,
    /// Requests spent.
    spent: AtomicUsize,
    /// Requests allowed at first.
    total: usize,
    deadline: Option<Instant>,
    /// Messages for when the requests are used up, and for the deadline.
    messages: [String; 2],
}

/// A request's part of the quota; released if it is dropped unspent.
#[derive(Debug)]
pub(super) struct QuotaPermit<'a> {
    limits: &'a Bounds,
    permit: SemaphorePermit<'a>,
}

impl QuotaPermit<'_> {
    /// Spends it: the request counted on a rate limit.
    pub(super) fn spend(self) {
        self.permit.forget();
        let spent = self.limits.spent.fetch_add(1, Ordering::Relaxed) + 1;
        if spent >= self.limits.total
            && let Some(requests) = &self.limits.requests
        {
            requests.close();
        }
    }
}

impl RunQuota {
    /// Sets the bounds for all further requests, once: how many may count, and for how long any may be sent.
    pub(super) fn set(&self, requests: Option<u64>, time: Option<Duration>, messages: [String; 2]) {
        let total = requests.map(|number| usize::try_from(number).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS));
        let semaphore = total.map(Semaphore::new);
        if let (Some(0), Some(requests)) = (total, &semaphore) {
            requests.close();
        }
        let deadline = time.and_then(|time| Instant::now().checked_add(time));
        let limits = Bounds {
            requests: semaphore,
            spent: AtomicUsize::new(0),
            total: total.unwrap_or(usize::MAX),
            deadline,
            messages,
        };
        // Bounds that were set before stay.
        let _ = self.limits.set(limits);
    }

    /// Returns the message of the bound that kept a request from being sent, if one did.
    pub(super) fn reached(&self) -> Option<String> {
        self.reached.get().cloned()
    }

    /// Acquires one request's permit; `None` without a bound. While all are held by other requests, waits until it is known
    /// whether those count. Fails with [`ApiError::LimitReached`].
    pub(super) async fn acquire(&self) -> Result<Option<QuotaPermit<'_>>, ApiError> {
        let Some(limits) = self.limits.get() else { return Ok(None) };
        self.check_deadline(limits)?;
        let Some(requests) = &limits.requests else { return Ok(None) };
        tokio::select! {
            permit = requests.acquire() => match permit {
                Ok(permit) => Ok(Some(QuotaPermit { limits, permit })),
                Err(_) => Err(self.reject(&limits.messages[0])),
            },
            error = self.deadline_passed() => Err(error),
        }
    }

    /// Acquires a permit without waiting, for a request that another one waits for while it holds its own.
    pub(super) fn try_acquire(&self) -> Result<Option<QuotaPermit<'_>>, ApiError> {
        let Some(limits) = self.limits.get() else { return Ok(None) };
        self.check_deadline(limits)?;
        let Some(requests) = &limits.requests else { return Ok(None) };
        match requests.try_acquire() {
            Ok(permit) => Ok(Some(QuotaPermit { limits, permit })),
            Err(_) => Err(self.reject(&limits.messages[0])),
        }
    }

    /// Resolves at the deadline with the error for it; never if there is none.
    pub(super) async fn deadline_passed(&self) -> ApiError {
        match self.limits.get().and_then(|limits| Some((limits, limits.deadline?))) {
            Some((limits, deadline)) => {
                tokio::time::sleep_until(deadline).await;
                self.reject(&limits.messages[1])
            }
            None => pending().await,
        }
    }

    fn check_deadline(&self, limits: &Bounds) -> Result<(), ApiError> {
        match limits.deadline.filter(|deadline| Instant::now() >= *deadline) {
            Some(_) => Err(self.reject(&limits.messages[1])),
            None => Ok(()),
        }
    }

    fn reject(&self, why: &str) -> ApiError {
        ApiError::LimitReached { why: self.reached.get_or_init(|| why.to_owned()).clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(requests: Option<u64>, time: Option<Duration>) -> RunQuota {
        let quota = RunQuota::default();
        quota.set(requests, time, ["used up".to_owned(), "late".to_owned()]);
        quota
    }

    fn why<T>(result: Result<T, ApiError>) -> Option<String> {
        match result {
            Err(ApiError::LimitReached { why }) => Some(why),
            _ => None,
        }
    }

    #[tokio::test]
    async fn spent_requests_never_exceed_quota() {
        let quota = quota(Some(2), None);
        let first = quota.acquire().await.unwrap().unwrap();
        let free = quota.acquire().await.unwrap().unwrap();
        assert_eq!(why(quota.try_acquire()).as_deref(), Some("used up"));
        // What turns out to be free is another request's.
        let (_, third) = tokio::join!(async { drop(free) }, quota.acquire());
        third.unwrap().unwrap().spend();
        first.spend();
        assert_eq!(why(quota.acquire().await).as_deref(), Some("used up"));
        assert_eq!(quota.reached().as_deref(), Some("used up"));
    }

    #[tokio::test(start_paused = true)]
    async fn deadline_stops_requests() {
        let quota = quota(None, Some(Duration::from_secs(60)));
        assert!(quota.acquire().await.unwrap().is_none());
        assert!(matches!(quota.deadline_passed().await, ApiError::LimitReached { .. }));
        assert_eq!(why(quota.acquire().await).as_deref(), Some("late"));
    }

    #[tokio::test]
    async fn no_quota_allows_everything() {
        assert!(RunQuota::default().acquire().await.unwrap().is_none());
        assert_eq!(why(quota(Some(0), None).acquire().await).as_deref(), Some("used up"));
    }
}
