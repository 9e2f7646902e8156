//! Tokens and GitHub's rate limits, primary and secondary.
use super::world::World;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Which private repositories a token may read.
#[derive(Clone, Debug)]
pub enum Visible {
    All,
    /// By full name, as they are called now.
    Only(Vec<String>),
    /// Public ones only.
    None,
}

/// A token and what it may do.
#[derive(Clone, Debug)]
pub struct TokenSpec {
    pub token: String,
    pub login: String,
    pub private: Visible,
    /// Requests an hour.
    pub limit: u32,
    /// What is left of this hour.
    pub remaining: u32,
    /// Seconds from the start until the hour ends.
    pub reset_in: u64,
}

impl TokenSpec {
    /// A token that reads everything, 5,000 times an hour.
    pub fn new(token: &str) -> TokenSpec {
        TokenSpec {
            token: token.into(),
            login: "contoso-reader".into(),
            private: Visible::All,
            limit: 5_000,
            remaining: 5_000,
            reset_in: 3_600,
        }
    }

    pub fn private(mut self, private: Visible) -> TokenSpec {
        self.private = private;
        self
    }

    /// Leaves so many requests, for so many seconds.
    pub fn budget(mut self, limit: u32, remaining: u32, reset_in: u64) -> TokenSpec {
        (self.limit, self.remaining, self.reset_in) = (limit, remaining, reset_in);
        self
    }
}

/// The numbers behind the limits; all can be lowered for a test.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Off as on a GitHub Enterprise Server: no limits, and no headers about them.
    pub on: bool,
    /// GitHub: 60 an hour without a token.
    pub anonymous: u32,
    /// Length of the primary limit's hour, in seconds.
    pub hour: u64,
    /// Whether the secondary limits are watched.
    pub secondary: bool,
    /// GitHub: 100 at once.
    pub concurrent: usize,
    /// GitHub: 900 points a minute; a GET is one point.
    pub points_per_minute: usize,
    /// Seconds in `Retry-After` of a secondary limit; `None` leaves the header out.
    pub retry_after: Option<u64>,
    /// The status of a rate limit: 403, or 429. GitHub uses both.
    pub status: u16,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            on: true,
            anonymous: 60,
            hour: 3_600,
            secondary: true,
            concurrent: 100,
            points_per_minute: 900,
            retry_after: Some(60),
            status: 403,
        }
    }
}

impl Limits {
    /// No limit at all, and no headers.
    pub fn off() -> Limits {
        Limits { on: false, ..Limits::default() }
    }
}

/// A request that should not have come.
#[derive(Clone, Debug)]
pub struct Violation {
    pub token: String,
    pub path: String,
    pub at: SystemTime,
    pub why: &'static str,
}

/// What one token has spent.
pub struct Account {
    pub limit: u32,
    pub remaining: u32,
    pub reset: u64,
    pub in_flight: usize,
    pub max_in_flight: usize,
    pub max_points: usize,
    window: VecDeque<Instant>,
    paused_at: Option<Instant>,
    paused_until: Option<Instant>,
    /// When the token was told that its primary budget is spent.
    told: Option<Instant>,
}

/// Requests that were on their way already when the limit was reached are no violation.
const GRACE: Duration = Duration::from_millis(100);

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// What the limits say to a request.
pub enum Verdict {
    Go,
    Primary,
    /// With the seconds to wait, where the answer names them.
    Secondary(Option<u64>),
}

#[derive(Default)]
pub struct Ledger {
    pub accounts: HashMap<String, Account>,
    pub violations: Vec<Violation>,
}

impl Ledger {
    pub fn account(&mut self, token: &str, spec: Option<&TokenSpec>, limits: &Limits) -> &mut Account {
        self.accounts.entry(token.into()).or_insert_with(|| Account {
            limit: spec.map_or(limits.anonymous, |s| s.limit),
            remaining: spec.map_or(limits.anonymous, |s| s.remaining),
            reset: now() + spec.map_or(limits.hour, |s| s.reset_in),
            in_flight: 0,
            max_in_flight: 0,
            max_points: 0,
            window: VecDeque::new(),
            paused_at: None,
            paused_until: None,
            told: None,
        })
    }

    /// Counts a request in. `free` requests don't draw on the primary limit.
    pub fn arrive(
        &mut self,
        token: &str,
        spec: Option<&TokenSpec>,
        limits: &Limits,
        path: &str,
        free: bool,
    ) -> Verdict {
        let at = Instant::now();
        let account = self.account(token, spec, limits);
        account.in_flight += 1;
        account.max_in_flight = account.max_in_flight.max(account.in_flight);
        account.window.push_back(at);
        while account.window.front().is_some_and(|t| at - *t > Duration::from_secs(60)) {
            account.window.pop_front();
        }
        account.max_points = account.max_points.max(account.window.len());
        if now() >= account.reset {
            account.remaining = account.limit;
            account.reset = now() + limits.hour;
            account.told = None;
        }
        if !limits.on {
            return Verdict::Go;
        }
        let mut why = None;
        let verdict = if let Some(until) = account.paused_until.filter(|t| at < *t) {
            if account.paused_at.is_some_and(|t| at > t + GRACE) {
                why = Some("inside a Retry-After pause");
            }
            Verdict::Secondary(Some((until - at).as_secs() + 1))
        } else if limits.secondary
            && (account.in_flight > limits.concurrent || account.window.len() > limits.points_per_minute)
        {
            account.paused_at = Some(at);
            account.paused_until = limits.retry_after.map(|s| at + Duration::from_secs(s));
            Verdict::Secondary(limits.retry_after)
        } else if account.remaining == 0 && !free {
            if account.told.is_some_and(|t| at > t + GRACE) {
                why = Some("after the primary limit was reached");
            }
            account.told.get_or_insert(at);
            Verdict::Primary
        } else {
            Verdict::Go
        };
        if let Some(why) = why {
            let (token, path) = (token.to_string(), path.to_string());
            self.violations.push(Violation { token, path, at: SystemTime::now(), why });
        }
        verdict
    }

    /// Pauses a token, as an injected secondary limit does.
    pub fn pause(&mut self, token: &str, seconds: u64) {
        if let Some(a) = self.accounts.get_mut(token) {
            a.paused_at = Some(Instant::now());
            a.paused_until = Some(Instant::now() + Duration::from_secs(seconds));
        }
    }

    /// Draws the primary budget of a token down to nothing.
    pub fn exhaust(&mut self, token: &str) {
        if let Some(a) = self.accounts.get_mut(token) {
            a.remaining = 0;
            a.told.get_or_insert(Instant::now());
        }
    }

    /// Takes one request off the budget.
    pub fn spend(&mut self, token: &str) {
        if let Some(a) = self.accounts.get_mut(token) {
            a.remaining = a.remaining.saturating_sub(1);
            // GitHub says `remaining: 0` with the last answer that it gives: asking on after that is a violation.
            if a.remaining == 0 {
                a.told.get_or_insert(Instant::now());
            }
        }
    }

    pub fn leave(&mut self, token: &str) {
        if let Some(a) = self.accounts.get_mut(token) {
            a.in_flight -= 1;
        }
    }
}
