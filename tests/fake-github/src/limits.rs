//! Tokens and GitHub's rate limits, primary and secondary.
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
    /// Whether stargazers and collaborators are refused: 403, for want of a permission.
    pub no_stars: bool,
    /// Full names of repositories that answer this token 403 for want of single sign-on, even where public.
    pub refused: Vec<String>,
    /// A classic token's scopes. GitHub: other kinds have none, and no header that would tell.
    pub scopes: Option<String>,
    /// Its end, as the header says it.
    pub expires: Option<String>,
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
            no_stars: false,
            refused: vec![],
            scopes: None,
            expires: None,
        }
    }

    /// GitHub: a fine-grained token without write access may list neither stargazers nor collaborators.
    pub fn without_stars(mut self) -> TokenSpec {
        self.no_stars = true;
        self
    }

    /// GitHub: a token that its owner's organization has not authorized is refused there, also what all may read.
    pub fn refused(mut self, repositories: &[&str]) -> TokenSpec {
        self.refused = repositories.iter().map(|r| r.to_string()).collect();
        self
    }

    /// A classic token.
    pub fn scopes(mut self, scopes: &str) -> TokenSpec {
        self.scopes = Some(scopes.into());
        self
    }

    /// That ends at `2025-02-04 16:42:10 UTC`, for example.
    pub fn expires(mut self, at: &str) -> TokenSpec {
        self.expires = Some(at.into());
        self
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
    /// Some servers without limits say so in numbers: a limit of 0, of which 0 remain.
    pub zero: bool,
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
    /// Seconds that a secondary limit lasts which has no `Retry-After`. GitHub: a minute at least.
    pub hidden_pause: u64,
    /// The status of a rate limit: 403, or 429. GitHub uses both.
    pub status: u16,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            on: true,
            zero: false,
            anonymous: 60,
            hour: 3_600,
            secondary: true,
            concurrent: 100,
            points_per_minute: 900,
            retry_after: Some(60),
            hidden_pause: 60,
            status: 403,
        }
    }
}

impl Limits {
    /// No limit at all, and no headers.
    pub fn off() -> Limits {
        Limits { on: false, ..Limits::default() }
    }

    /// No limit at all, and headers that read as if all were spent.
    pub fn zero() -> Limits {
        Limits { zero: true, ..Limits::default() }
    }

    /// Whether anything is refused on account of them.
    fn hold(&self) -> bool {
        self.on && !self.zero
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
    pause: Option<Pause>,
    /// When the token was told that its primary budget is spent.
    told: Option<Instant>,
    /// How often the budget has been filled or emptied: what was taken from an earlier one is not given back.
    budget: u64,
}

/// A secondary limit that a token has run into.
struct Pause {
    until: Instant,
    /// Whether answers name no `Retry-After`.
    hidden: bool,
    /// When the token was told of it.
    told: Option<Instant>,
}

/// Requests that were on their way already when the limit was reached are no violation.
const GRACE: Duration = Duration::from_millis(100);

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// What the limits say to a request.
pub enum Verdict {
    /// With what was taken off the primary budget for it.
    Go(Option<Reserved>),
    Primary,
    /// With the seconds to wait, where the answer names them.
    Secondary(Option<u64>),
}

/// One request's part of a primary budget, by the number of that budget.
#[derive(Clone, Copy)]
pub struct Reserved(u64);

#[derive(Default)]
pub struct Ledger {
    pub accounts: HashMap<String, Account>,
    pub violations: Vec<Violation>,
}

impl Ledger {
    pub fn account(&mut self, token: &str, spec: Option<&TokenSpec>, limits: &Limits) -> &mut Account {
        self.accounts.entry(token.into()).or_insert_with(|| Account {
            limit: if limits.zero { 0 } else { spec.map_or(limits.anonymous, |s| s.limit) },
            remaining: if limits.zero { 0 } else { spec.map_or(limits.anonymous, |s| s.remaining) },
            reset: now() + spec.map_or(limits.hour, |s| s.reset_in),
            in_flight: 0,
            max_in_flight: 0,
            max_points: 0,
            window: VecDeque::new(),
            pause: None,
            told: None,
            budget: 0,
        })
    }

    /// Counts a request in. `free` requests don't draw on the primary limit; others do at once, so that requests
    /// which are under way together can't all be answered from what is left for one.
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
            account.budget += 1;
        }
        let late = |told: Option<Instant>| told.is_some_and(|t| at > t + GRACE);
        let mut why = None;
        let verdict = if !limits.hold() {
            account.reserve(free)
        } else if let Some(pause) = account.pause.as_ref().filter(|p| at < p.until) {
            if late(pause.told) {
                why = Some(if pause.hidden {
                    "inside a pause without Retry-After"
                } else {
                    "inside a Retry-After pause"
                });
            }
            Verdict::Secondary((!pause.hidden).then(|| (pause.until - at).as_secs() + 1))
        } else if limits.secondary
            && (account.in_flight > limits.concurrent || account.window.len() > limits.points_per_minute)
        {
            account.pause = Some(Pause::of(limits.retry_after, limits));
            Verdict::Secondary(limits.retry_after)
        } else if account.remaining == 0 && !free {
            if late(account.told) {
                why = Some("after the primary limit was reached");
            }
            Verdict::Primary
        } else {
            account.reserve(free)
        };
        if let Some(why) = why {
            let (token, path) = (token.to_string(), path.to_string());
            self.violations.push(Violation { token, path, at: SystemTime::now(), why });
        }
        verdict
    }

    /// Pauses a token, as an injected secondary limit does; without seconds for the hidden time.
    pub fn pause(&mut self, token: &str, retry_after: Option<u64>, limits: &Limits) {
        if let Some(a) = self.accounts.get_mut(token) {
            a.pause = Some(Pause::of(retry_after, limits));
        }
    }

    /// Draws the primary budget of a token down to nothing.
    pub fn exhaust(&mut self, token: &str) {
        if let Some(a) = self.accounts.get_mut(token) {
            a.remaining = 0;
            a.budget += 1;
        }
    }

    /// Takes back what a request reserved that draws on nothing in the end.
    pub fn give_back(&mut self, token: &str, reserved: Reserved) {
        if let Some(a) = self.accounts.get_mut(token).filter(|a| a.budget == reserved.0) {
            a.remaining = (a.remaining + 1).min(a.limit);
            a.told = None;
        }
    }

    /// Notes what an answer that is sent now tells about the limits, its headers included.
    pub fn tell(&mut self, token: &str) {
        let now = Instant::now();
        if let Some(a) = self.accounts.get_mut(token) {
            // GitHub says `remaining: 0` with the last answer that it gives: asking on after that is a violation.
            if a.remaining == 0 {
                a.told.get_or_insert(now);
            }
        }
    }

    /// Notes that an answer which is sent now tells of a secondary limit.
    pub fn tell_of_pause(&mut self, token: &str) {
        if let Some(pause) = self.accounts.get_mut(token).and_then(|a| a.pause.as_mut()) {
            pause.told.get_or_insert_with(Instant::now);
        }
    }

    pub fn leave(&mut self, token: &str) {
        if let Some(a) = self.accounts.get_mut(token) {
            a.in_flight -= 1;
        }
    }
}

impl Account {
    fn reserve(&mut self, free: bool) -> Verdict {
        if free || self.remaining == 0 {
            return Verdict::Go(None);
        }
        self.remaining -= 1;
        Verdict::Go(Some(Reserved(self.budget)))
    }
}

impl Pause {
    fn of(retry_after: Option<u64>, limits: &Limits) -> Pause {
        let seconds = retry_after.unwrap_or(limits.hidden_pause);
        Pause { until: Instant::now() + Duration::from_secs(seconds), hidden: retry_after.is_none(), told: None }
    }
}
