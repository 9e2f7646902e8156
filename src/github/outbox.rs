//! What of a token's answers is worth telling the other processes, and when.

use std::time::Duration;

use tokio::time::Instant;

use crate::rate_limit::{RateWindow, UsageReport};

/// News of no consequence wait for so long: the ledger counts requests by itself, and needs answers only to notice what
/// other programs spend and what was granted and cost nothing.
const PATIENCE: Duration = Duration::from_millis(250);
/// From so many requests above the reserve on, each answer is told at once: as many as GitHub lets be in flight.
const CLOSE_TO_THE_END: u64 = 100;
/// Two servers of GitHub may give the same hour's end one second apart.
const SAME_HOUR_SECS: u64 = 1;

/// What is not yet told of one token.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    told: Told,
    /// Granted requests that cost nothing.
    unspent: u32,
}

#[derive(Debug, Default)]
enum Told {
    #[default]
    Nothing,
    NoLimit,
    Hour {
        limit: u64,
        reset: i64,
        at: Instant,
    },
}

impl Outbox {
    /// A granted request that costs nothing.
    pub fn unspent(&mut self) {
        self.unspent = self.unspent.saturating_add(1);
    }

    /// What to tell now that an answer told of the token's hour. `last`: no other request of this process is in flight on
    /// the token, so that what is left untold might stay so.
    pub fn hour(&mut self, hour: RateWindow, reserve: u64, last: bool, now: Instant) -> Option<UsageReport> {
        let due = match self.told {
            Told::Hour { limit, reset, at } => {
                limit != hour.limit
                    || reset.abs_diff(hour.reset) > SAME_HOUR_SECS
                    || hour.remaining <= reserve.saturating_add(CLOSE_TO_THE_END)
                    || now.saturating_duration_since(at) >= PATIENCE
                    || (last && self.unspent > 0)
            }
            Told::Nothing | Told::NoLimit => true,
        };
        due.then(|| {
            self.told = Told::Hour { limit: hour.limit, reset: hour.reset, at: now };
            UsageReport::Window { window: hour, refunded: std::mem::take(&mut self.unspent) }
        })
    }

    /// What to tell now that an answer told of no limits, or (`said` is false) of none.
    pub fn no_limit(&mut self, said: bool) -> Option<UsageReport> {
        let due = match self.told {
            Told::Nothing => true,
            Told::NoLimit => false,
            Told::Hour { .. } => said,
        };
        due.then(|| {
            self.told = Told::NoLimit;
            self.unspent = 0;
            UsageReport::NoLimit { stated: said }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(remaining: u64, reset: i64) -> RateWindow {
        RateWindow { limit: 5000, remaining, reset, wait: Duration::from_secs(60) }
    }

    #[test]
    fn news_of_consequence_are_told_at_once_and_others_now_and_then() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        assert!(outbox.hour(hour(4000, 100), 0, false, now).is_some(), "the first");
        outbox.unspent();
        assert_eq!(outbox.hour(hour(3999, 101), 0, false, now), None);
        assert!(outbox.hour(hour(100, 100), 0, false, now).is_some(), "the end is near");
        assert!(outbox.hour(hour(600, 100), 500, false, now).is_some(), "the reserve is near");
        assert!(outbox.hour(hour(4999, 3700), 0, false, now).is_some(), "another hour");
        assert_eq!(outbox.hour(hour(4998, 3700), 0, true, now), None);
        assert!(outbox.hour(hour(4998, 3700), 0, false, now + PATIENCE).is_some(), "a while ago");
    }

    #[test]
    fn what_cost_nothing_is_given_back_once_and_by_the_last_at_the_latest() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        outbox.unspent();
        assert!(matches!(outbox.hour(hour(4000, 100), 0, false, now), Some(UsageReport::Window { refunded: 1, .. })));
        outbox.unspent();
        outbox.unspent();
        assert_eq!(outbox.hour(hour(4000, 100), 0, false, now), None);
        assert!(matches!(outbox.hour(hour(4000, 100), 0, true, now), Some(UsageReport::Window { refunded: 2, .. })));
        assert_eq!(outbox.hour(hour(4000, 100), 0, true, now), None);
    }

    #[test]
    fn that_there_are_no_limits_is_told_once() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.no_limit(false), Some(UsageReport::NoLimit { stated: false }));
        assert_eq!(outbox.no_limit(false), None);
        assert!(outbox.hour(hour(1, 1), 0, false, Instant::now()).is_some());
        assert_eq!(outbox.no_limit(false), None, "silence tells nothing once a limit is known");
        assert_eq!(outbox.no_limit(true), Some(UsageReport::NoLimit { stated: true }));
    }
}
