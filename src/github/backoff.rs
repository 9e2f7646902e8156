//! Waits before requests are sent again: the backoff after a failure, and a token's pause after a rate limit.

use std::time::Duration;

use super::classify::Backoff;
use super::limits::ClientLimits;
use crate::rate_limit::WaitReason;

impl ClientLimits {
    /// Returns the pause after `failed` failed attempts: exponential, its second half random, so that requests that failed together
    /// don't return together. A failing server's `Retry-After` is respected up to its maximum.
    pub(super) fn backoff(&self, failed: u32, retry_after: Option<Duration>) -> Duration {
        let backoff = doubled(self.initial_backoff, failed.saturating_sub(1), self.max_backoff);
        backoff
            .mul_f64(0.5 + 0.5 * rand::random::<f64>())
            .max(retry_after.unwrap_or_default().min(self.max_retry_after))
    }

    /// Returns the pause of a token after a rate-limit response, and its reason. `index` counts secondary limits in a row,
    /// from 0.
    pub(super) fn rate_limit_pause(&self, backoff: &Backoff, index: u32) -> (Duration, WaitReason) {
        let (wait, reason) = match *backoff {
            Backoff::RetryAfter(wait) => (wait, WaitReason::RetryAfter),
            Backoff::UntilReset(wait) => (wait, WaitReason::RateLimit),
            Backoff::Secondary => (self.secondary_pause(index), WaitReason::SecondaryLimit),
        };
        (wait.max(self.min_pause), reason)
    }

    /// Returns the pause after a secondary limit; `index` counts those in a row, from 0.
    fn secondary_pause(&self, index: u32) -> Duration {
        doubled(self.initial_secondary_pause, index, self.max_secondary_pause)
    }
}

fn doubled(start: Duration, times: u32, cap: Duration) -> Duration {
    2u32.checked_pow(times).and_then(|factor| start.checked_mul(factor)).map_or(cap, |d| d.min(cap))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_to_its_maximum_and_respects_retry_after() {
        let limits = ClientLimits::default();
        for failed in 1..100 {
            assert!(limits.backoff(failed, None) <= limits.max_backoff);
            let retry_after = Duration::from_secs(7);
            assert!(limits.backoff(failed, Some(retry_after)) >= retry_after);
        }
        assert!(limits.backoff(1, None) <= limits.initial_backoff);
        assert!(limits.backoff(1, Some(Duration::MAX)) <= limits.max_retry_after);
    }

    #[test]
    fn all_attempts_together_outlast_a_short_outage() {
        let limits = ClientLimits::default();
        let span: Duration = (1..limits.max_attempts).map(|failed| limits.backoff(failed, None)).sum();
        assert!((Duration::from_secs(30)..Duration::from_secs(65)).contains(&span), "{span:?}");
    }

    #[test]
    fn secondary_limit_pauses_a_minute_then_longer() {
        let limits = ClientLimits::default();
        assert_eq!([0, 1, 2, 90].map(|strike| limits.secondary_pause(strike).as_secs()), [60, 120, 240, 3600]);
    }
}
