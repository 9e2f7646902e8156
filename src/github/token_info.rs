//! Views of the tokens for callers: references, states, installations and the pool's budget.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::rate_limit::WaitReason;
use crate::secret::Secret;

/// A reference to one of a client's tokens, for requests whose answer depends on who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRef {
    /// Its index in the pool.
    pub(super) index: usize,
    /// 8 hex digits that identify the token without revealing it, the same from day to day; empty for anonymous.
    pub fingerprint: String,
    /// Its first characters, for users.
    pub hint: String,
    /// The account on which the App is installed, for an App's token.
    pub installed_on: Option<String>,
}

impl TokenRef {
    /// Returns whether it is the App's on this account.
    pub fn is_installed_on(&self, login: &str) -> bool {
        self.installed_on.as_ref().is_some_and(|account| account.eq_ignore_ascii_case(login))
    }

    /// Returns whether it refers to this token.
    pub fn matches(&self, secret: &Secret) -> bool {
        self.installed_on.is_none() && self.fingerprint == secret.fingerprint()
    }

    /// Returns whether it is the App's on another account, which sees only public data of this one.
    pub fn is_installed_elsewhere(&self, login: &str) -> bool {
        self.installed_on.is_some() && !self.is_installed_on(login)
    }
}

/// The state of a token, from GitHub's responses so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenState {
    /// The reason for which the token is disabled for the rest of the run, if it is.
    pub disabled_reason: Option<String>,
    /// A classic token's scopes, separated by commas; other kinds have none.
    pub scopes: Option<String>,
    /// The token's expiry.
    pub expires: Option<DateTime<Utc>>,
    /// Requests left in the window, and the window's limit; both `u64::MAX` on a server without limits.
    pub budget: Option<(u64, u64)>,
    /// The window's end, on this machine's clock.
    pub resets_at: Option<DateTime<Utc>>,
    /// The pause's end, on this machine's clock, and its reason.
    pub paused: Option<(DateTime<Utc>, WaitReason)>,
}

/// An installation of the App on an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// GitHub's id of the installation.
    pub id: i64,
    /// The account's login.
    pub account: String,
    /// The account is an organization.
    pub organization: bool,
    /// The App can see only selected repositories of the account.
    pub selected: bool,
    /// The account's owner has suspended it: it has no access at all.
    pub suspended: bool,
    /// Its permissions by name and level, such as `issues` and `read`.
    pub permissions: Vec<(String, String)>,
    /// Its token; `None` while it is suspended.
    pub token: Option<TokenRef>,
}

/// The budget of all tokens together.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolBudget {
    /// Usable tokens; 0 when anonymous.
    pub tokens: usize,
    /// Requests left above the reserves, over the tokens of known budget.
    pub remaining: u64,
    /// Requests that a window allows above the reserves, over the tokens of known budget.
    pub hourly: u64,
    /// Length of a window: an hour, unless the server has shown another.
    pub window: Duration,
    /// The end of the first of the known windows, on this machine's clock.
    pub next_reset: Option<DateTime<Utc>>,
    /// A token without a limit is among them (GHES).
    pub unlimited: bool,
    /// Requests a second that the secondary limit allows, over all tokens.
    pub per_second: f64,
}

impl PoolBudget {
    /// Estimates how long so many counted requests take: at the rate of the secondary limit, and no faster than the windows allow.
    /// Budgets that are still unknown don't slow it down.
    pub fn time_for(&self, requests: u64) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let paced = Duration::try_from_secs_f64(requests as f64 / self.per_second.max(0.1)).unwrap_or(Duration::MAX);
        let later = requests.saturating_sub(self.remaining);
        if self.unlimited || self.hourly == 0 || later == 0 {
            return paced;
        }
        let first = self.next_reset.and_then(|at| (at - Utc::now()).to_std().ok()).unwrap_or_default();
        let windows = u32::try_from(later.div_ceil(self.hourly) - 1).unwrap_or(u32::MAX);
        paced.max(first.saturating_add(self.window.saturating_mul(windows)))
    }
}
