//! The rate at which one token may be used: fewer than 900 points in any minute (GitHub docs: secondary rate limits; a GET is 1
//! point).

use tokio::time::Instant;

use crate::rate_limit::{MAX_BURST, REQUEST_INTERVAL};

/// Requests a second that [`REQUEST_INTERVAL`] comes to.
pub(super) const PER_SECOND: f64 = 13.5;

/// The generic cell rate algorithm: its state is one instant.
#[derive(Debug, Clone, Default)]
pub(super) struct Gcra {
    /// Time at which the requests so far would be through, had they been sent at even intervals.
    due: Option<Instant>,
}

impl Gcra {
    /// Returns when the next request may be sent; `now` or earlier means at once.
    pub(super) fn next_allowed(&self, now: Instant) -> Instant {
        self.due.map_or(now, |due| due.checked_sub(REQUEST_INTERVAL * (MAX_BURST - 1)).unwrap_or(now))
    }

    /// Counts a request that is sent now.
    pub(super) fn record(&mut self, now: Instant) {
        self.due = Some(self.due.map_or(now, |due| due.max(now)) + REQUEST_INTERVAL);
    }

    /// Takes back a request that was not sent after all.
    pub(super) fn refund(&mut self) {
        self.due = self.due.and_then(|due| due.checked_sub(REQUEST_INTERVAL));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    proptest! {
        #[test]
        fn no_minute_holds_900_requests(gaps_ms in prop::collection::vec(0u64..30_000, 1..40)) {
            let (mut throttle, mut now, mut sent) = (Gcra::default(), Instant::now(), Vec::new());
            // After each gap, as many requests as the throttle lets through within the next 20 seconds.
            for gap in gaps_ms {
                now += Duration::from_millis(gap);
                let end = now + Duration::from_secs(20);
                loop {
                    let at = throttle.next_allowed(now).max(now);
                    if at > end { break; }
                    now = at;
                    throttle.record(now);
                    sent.push(now);
                }
            }
            let mut first = 0;
            for last in 0..sent.len() {
                while sent[last] - sent[first] > Duration::from_secs(60) { first += 1; }
                prop_assert!(last - first + 1 < 900, "{} in a minute", last - first + 1);
            }
        }
    }

    #[test]
    fn burst_is_sent_at_once_then_evenly() {
        let (mut throttle, now) = (Gcra::default(), Instant::now());
        for _ in 0..MAX_BURST {
            assert!(throttle.next_allowed(now) <= now);
            throttle.record(now);
        }
        assert!(throttle.next_allowed(now) > now && throttle.next_allowed(now) <= now + REQUEST_INTERVAL);
    }
}
