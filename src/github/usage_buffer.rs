//! The decision when a token's usage is reported to the shared store.

use std::time::Duration;

use tokio::time::Instant;

use crate::rate_limit::{RateWindow, UsageReport};

/// Minimum interval between routine reports. The store counts reservations itself; reports only add refunds of 304s and other
/// programs' usage.
const REPORT_INTERVAL: Duration = Duration::from_millis(250);
/// Requests left above the reserve from which on each response is reported at once: as many as may be in flight.
const NEAR_EXHAUSTION: u64 = 100;
/// GitHub's servers may report the same window's end one second apart.
const RESET_TOLERANCE_SECS: u64 = 1;

/// The usage of one token that is not reported yet.
#[derive(Debug, Default)]
pub(super) struct UsageBuffer {
    last: LastReport,
    /// Reserved requests that turned out free.
    refunded: u32,
}

#[derive(Debug, Default)]
enum LastReport {
    #[default]
    Never,
    NoLimit,
    Window {
        limit: u64,
        reset: i64,
        at: Instant,
    },
}

impl UsageBuffer {
    /// Counts a reserved request that turned out free.
    pub(super) fn refund(&mut self) {
        self.refunded = self.refunded.saturating_add(1);
    }

    /// Returns the report that a response's window makes due, if any. `is_last`: no other request of this process is in flight
    /// with the token, so that refunds might otherwise never be reported.
    pub(super) fn record_window(
        &mut self,
        window: RateWindow,
        reserve: u64,
        is_last: bool,
        now: Instant,
    ) -> Option<UsageReport> {
        let due = match self.last {
            LastReport::Window { limit, reset, at } => {
                limit != window.limit
                    || reset.abs_diff(window.reset) > RESET_TOLERANCE_SECS
                    || window.remaining <= reserve.saturating_add(NEAR_EXHAUSTION)
                    || now.saturating_duration_since(at) >= REPORT_INTERVAL
                    || (is_last && self.refunded > 0)
            }
            LastReport::Never | LastReport::NoLimit => true,
        };
        due.then(|| {
            self.last = LastReport::Window { limit: window.limit, reset: window.reset, at: now };
            UsageReport::Window { window, refunded: std::mem::take(&mut self.refunded) }
        })
    }

    /// Returns the report that a response without a limit makes due, if any. `stated`: the server stated that there is none,
    /// rather than sending no headers.
    pub(super) fn record_no_limit(&mut self, stated: bool) -> Option<UsageReport> {
        let due = match self.last {
            LastReport::Never => true,
            LastReport::NoLimit => false,
            LastReport::Window { .. } => stated,
        };
        due.then(|| {
            self.last = LastReport::NoLimit;
            self.refunded = 0;
            UsageReport::NoLimit { stated }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(remaining: u64, reset: i64) -> RateWindow {
        RateWindow { limit: 5000, remaining, reset, wait: Duration::from_secs(60) }
    }

    #[test]
    fn urgent_usage_is_reported_at_once_and_routine_usage_at_intervals() {
        let (mut buffer, now) = (UsageBuffer::default(), Instant::now());
        assert!(buffer.record_window(window(4000, 100), 0, false, now).is_some(), "the first");
        buffer.refund();
        assert_eq!(buffer.record_window(window(3999, 101), 0, false, now), None);
        assert!(buffer.record_window(window(100, 100), 0, false, now).is_some(), "the end is near");
        assert!(buffer.record_window(window(600, 100), 500, false, now).is_some(), "the reserve is near");
        assert!(buffer.record_window(window(4999, 3700), 0, false, now).is_some(), "another hour");
        assert_eq!(buffer.record_window(window(4998, 3700), 0, true, now), None);
        assert!(buffer.record_window(window(4998, 3700), 0, false, now + REPORT_INTERVAL).is_some(), "a while ago");
    }

    #[test]
    fn refunds_are_reported_once_and_with_the_last_response_at_the_latest() {
        let (mut buffer, now) = (UsageBuffer::default(), Instant::now());
        buffer.refund();
        assert!(matches!(
            buffer.record_window(window(4000, 100), 0, false, now),
            Some(UsageReport::Window { refunded: 1, .. })
        ));
        buffer.refund();
        buffer.refund();
        assert_eq!(buffer.record_window(window(4000, 100), 0, false, now), None);
        assert!(matches!(
            buffer.record_window(window(4000, 100), 0, true, now),
            Some(UsageReport::Window { refunded: 2, .. })
        ));
        assert_eq!(buffer.record_window(window(4000, 100), 0, true, now), None);
    }

    #[test]
    fn missing_limit_is_reported_once() {
        let mut buffer = UsageBuffer::default();
        assert_eq!(buffer.record_no_limit(false), Some(UsageReport::NoLimit { stated: false }));
        assert_eq!(buffer.record_no_limit(false), None);
        assert!(buffer.record_window(window(1, 1), 0, false, Instant::now()).is_some());
        assert_eq!(buffer.record_no_limit(false), None, "missing headers mean nothing once a limit is known");
        assert_eq!(buffer.record_no_limit(true), Some(UsageReport::NoLimit { stated: true }));
    }
}
