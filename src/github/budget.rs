//! A token's rate-limit window, from the headers of every response (GitHub docs: rate limits for the REST API).

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::HeaderMap;
use tokio::time::Instant;

use crate::rate_limit::RateWindow;

/// GitHub's servers may report the same window's end one second apart.
const RESET_TOLERANCE_SECS: i64 = 1;
/// Length of GitHub's windows, assumed when a response names no end.
const WINDOW: Duration = Duration::from_hours(1);
/// Minimum length assumed of a window.
const MIN_WINDOW: Duration = Duration::from_secs(1);
/// Maximum wait taken from a response, so that adding it to a clock can't overflow.
pub(super) const MAX_WAIT: Duration = Duration::from_hours(366 * 24);

/// The rate-limit headers of one response.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct RateLimitHeaders {
    pub limit: Option<u64>,
    pub remaining: Option<u64>,
    /// Seconds since the epoch, on GitHub's clock.
    pub reset: Option<i64>,
    /// They are about another resource (search and the like), not this budget.
    pub other_resource: bool,
}

impl RateLimitHeaders {
    pub(super) fn read(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::trim);
        Self {
            limit: text("x-ratelimit-limit").and_then(|t| t.parse().ok()),
            remaining: text("x-ratelimit-remaining").and_then(|t| t.parse().ok()),
            reset: text("x-ratelimit-reset").and_then(|t| t.parse().ok()),
            other_resource: text("x-ratelimit-resource").is_some_and(|t| t != "core"),
        }
    }

    /// Returns whether the server enforces a limit. GHES without one sends no headers, or limit 0 and remaining 0, which is not
    /// "spent".
    pub(super) fn has_limit(&self) -> bool {
        self.limit.is_none_or(|limit| limit > 0) && (self.limit.is_some() || self.remaining.is_some())
    }

    /// Returns whether the server states that it has no limit: one of 0, of which 0 remain.
    pub(super) fn states_no_limit(&self) -> bool {
        self.limit == Some(0) && self.remaining.is_some() && !self.other_resource
    }

    /// Returns the window that the headers describe, if they describe one with a limit.
    pub(super) fn window(&self, server_now: DateTime<Utc>) -> Option<RateWindow> {
        let (Some(limit @ 1..), Some(remaining), false) = (self.limit, self.remaining, self.other_resource) else {
            return None;
        };
        let reset = self.reset.unwrap_or_else(|| {
            server_now.timestamp().saturating_add(i64::try_from(WINDOW.as_secs()).unwrap_or(i64::MAX))
        });
        Some(RateWindow { limit, remaining, reset, wait: self.until_reset(server_now) })
    }

    /// Returns the time until the window ends. Both times are GitHub's, so a wrong clock here does no harm.
    pub(super) fn until_reset(&self, server_now: DateTime<Utc>) -> Duration {
        let Some(reset) = self.reset else { return WINDOW };
        let seconds = reset.saturating_sub(server_now.timestamp());
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).min(2 * WINDOW)
    }
}

/// A token's budget.
#[derive(Debug, Clone, Default)]
pub(super) enum Budget {
    /// No response has shown it yet.
    #[default]
    Unknown,
    /// The server has no limits.
    Unlimited,
    Known(Window),
}

#[derive(Debug, Clone)]
pub(super) struct Window {
    pub limit: u64,
    remaining: u64,
    reset_epoch: i64,
    pub reset_at: Instant,
    /// Length of such windows, as far as it is known.
    length: Duration,
}

/// The rest of a budget, before reserve and requests in flight are subtracted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remaining {
    Unknown,
    Unlimited,
    Requests { remaining: u64, limit: u64, reset_at: Instant },
}

impl Budget {
    /// Records a response's headers. Responses may come out of order: within a window the remainder only goes down, a later window
    /// replaces an earlier one, and reports of an earlier window are ignored.
    pub(super) fn record(&mut self, rate: &RateLimitHeaders, server_now: DateTime<Utc>, now: Instant) {
        let Some(RateWindow { limit, remaining, reset: reset_epoch, wait }) = rate.window(server_now) else {
            if rate.states_no_limit() {
                *self = Self::Unlimited;
            }
            return;
        };
        // The first response of a window has all of it ahead.
        let length = if remaining.saturating_add(1) >= limit { wait.clamp(MIN_WINDOW, WINDOW) } else { WINDOW };
        let reported = Window { limit, remaining, reset_epoch, reset_at: now + wait, length };
        match self {
            Self::Known(known) if reset_epoch.saturating_sub(known.reset_epoch) > RESET_TOLERANCE_SECS => {
                // Ends are one window apart, or several.
                let apart = u64::try_from(reset_epoch.saturating_sub(known.reset_epoch)).unwrap_or(u64::MAX);
                let length = known.length.min(reported.length).min(Duration::from_secs(apart)).max(MIN_WINDOW);
                *known = Window { length, ..reported };
            }
            Self::Known(known) if known.reset_epoch.saturating_sub(reset_epoch) > RESET_TOLERANCE_SECS => {}
            Self::Known(known) => {
                known.remaining = known.remaining.min(remaining);
                known.limit = limit;
            }
            _ => *self = Self::Known(reported),
        }
    }

    /// Records a regular response without limit headers: a server that never sent any has no limit.
    pub(super) fn record_absent(&mut self) {
        if matches!(self, Self::Unknown) {
            *self = Self::Unlimited;
        }
    }

    /// Returns the length of a window, as far as it is known.
    pub(super) fn window_length(&self) -> Duration {
        match self {
            Self::Known(window) => window.length,
            Self::Unknown | Self::Unlimited => WINDOW,
        }
    }

    /// Returns what is left at `now`; after the window's end a full one is assumed.
    pub(super) fn remaining(&self, now: Instant) -> Remaining {
        match self {
            Self::Unknown => Remaining::Unknown,
            Self::Unlimited => Remaining::Unlimited,
            Self::Known(w) if now >= w.reset_at => {
                Remaining::Requests { remaining: w.limit, limit: w.limit, reset_at: now + WINDOW }
            }
            Self::Known(w) => Remaining::Requests { remaining: w.remaining, limit: w.limit, reset_at: w.reset_at },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: i64 = 1_700_000_000;

    fn rate(limit: u64, remaining: u64, reset: i64) -> RateLimitHeaders {
        RateLimitHeaders { limit: Some(limit), remaining: Some(remaining), reset: Some(reset), other_resource: false }
    }

    fn server() -> DateTime<Utc> {
        DateTime::from_timestamp(T0, 0).unwrap()
    }

    fn remaining(budget: &Budget, now: Instant) -> u64 {
        match budget.remaining(now) {
            Remaining::Requests { remaining, .. } => remaining,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn remainder_only_goes_down_within_a_window() {
        let (mut budget, now) = (Budget::default(), Instant::now());
        for (remaining_header, wobble) in [(4990, 0), (4980, 1), (4985, 0), (4981, 1)] {
            budget.record(&rate(5000, remaining_header, T0 + 600 + wobble), server(), now);
        }
        assert_eq!(remaining(&budget, now), 4980);
    }

    #[test]
    fn later_window_replaces_and_earlier_one_is_ignored() {
        let (mut budget, now) = (Budget::default(), Instant::now());
        budget.record(&rate(5000, 3, T0 + 10), server(), now);
        budget.record(&rate(5000, 4999, T0 + 3610), server(), now);
        budget.record(&rate(5000, 2, T0 + 10), server(), now);
        assert_eq!(remaining(&budget, now), 4999);
    }

    #[test]
    fn window_length_is_learned() {
        let (mut budget, now) = (Budget::default(), Instant::now());
        budget.record(&rate(5000, 3, T0 + 10), server(), now);
        assert_eq!(budget.window_length(), WINDOW);
        budget.record(&rate(5000, 4998, T0 + 70), server(), now);
        assert_eq!(budget.window_length(), Duration::from_secs(60));
        let mut fresh = Budget::default();
        fresh.record(&rate(5000, 4999, T0 + 300), server(), now);
        assert_eq!(fresh.window_length(), Duration::from_secs(300));
    }

    #[test]
    fn full_window_is_assumed_after_reset_on_githubs_clock() {
        let (mut budget, now) = (Budget::default(), Instant::now());
        budget.record(&rate(5000, 0, T0 + 10), server(), now);
        assert_eq!(remaining(&budget, now + Duration::from_secs(9)), 0);
        assert_eq!(remaining(&budget, now + Duration::from_secs(10)), 5000);
        // A late answer from the window that ended is no news.
        budget.record(&rate(5000, 0, T0 + 10), server(), now + Duration::from_secs(11));
        assert_eq!(remaining(&budget, now + Duration::from_secs(11)), 5000);
    }

    #[test]
    fn missing_headers_or_zero_limit_mean_no_limit() {
        let now = Instant::now();
        let mut budget = Budget::default();
        budget.record_absent();
        assert_eq!(budget.remaining(now), Remaining::Unlimited);
        let mut budget = Budget::default();
        budget.record(&rate(0, 0, 0), server(), now);
        assert_eq!(budget.remaining(now), Remaining::Unlimited);
        assert!(!rate(0, 0, 0).has_limit() && !RateLimitHeaders::default().has_limit() && rate(60, 0, 0).has_limit());
    }

    #[test]
    fn absurd_times_do_not_overflow() {
        let now = Instant::now();
        for reset in [i64::MIN, -1, 0, i64::MAX] {
            let mut budget = Budget::default();
            budget.record(&rate(u64::MAX, u64::MAX, reset), server(), now);
            budget.record(&rate(1, 0, -reset.saturating_add(1)), server(), now);
            let _ = budget.remaining(now);
        }
    }

    #[test]
    fn headers_of_other_resources_are_ignored() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("x-ratelimit-limit", "30"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-resource", "search")]
        {
            headers.insert(name, value.parse().unwrap());
        }
        let mut budget = Budget::default();
        budget.record(&RateLimitHeaders::read(&headers), server(), Instant::now());
        assert_eq!(budget.remaining(Instant::now()), Remaining::Unknown);
    }
}
