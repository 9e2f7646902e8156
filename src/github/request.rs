//! What callers ask with and what they get.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use url::Url;

use super::event::ClientEvent;
use super::links::Links;
use super::tokens::fingerprint;
use super::transport::is_loopback;
use super::url::ApiUrl;
use crate::names::RepoName;
use crate::rate_limit::{RateLimitStore, WaitReason};
use crate::secret::Secret;

/// One token and what to leave of it.
#[derive(Debug, Clone)]
pub struct TokenConfig {
    /// The token.
    pub secret: Secret,
    /// Requests an hour to leave unused.
    pub reserve: u32,
}

/// A GitHub App: one more set of tokens, one for each account that it is installed on.
#[derive(Debug, Clone)]
pub struct AppConfig {
    /// Its id or its client id.
    pub id: String,
    /// Its private key, the text of a PEM file.
    pub key: Secret,
    /// Requests an hour to leave unused on each of its installations.
    pub reserve: u32,
}

/// What a client is made from.
#[derive(Clone)]
pub struct ClientSettings {
    /// `https://api.github.com/`, or `https://HOST/api/v3/` on GHES.
    pub api_url: Url,
    /// The API's address as the server writes it into its answers, where that is another one; `None`: the answers tell.
    pub public_url: Option<Url>,
    /// Read tokens; none, and no App, means anonymous.
    pub tokens: Vec<TokenConfig>,
    /// A GitHub App.
    pub app: Option<AppConfig>,
    /// Requests in flight over all tokens; `None`: 16 a token, 90 at most in all.
    pub concurrency: Option<usize>,
    /// GitHub refuses requests without one.
    pub user_agent: String,
    /// Where other processes with the same tokens are met; `None`: there are none.
    pub rate_limit_store: Option<Arc<dyn RateLimitStore>>,
    /// Called with what the user should know, from the requests' tasks: it must not block.
    pub notify: Arc<dyn Fn(ClientEvent) + Send + Sync>,
}

/// A GET request.
#[derive(Debug, Clone)]
pub struct Get {
    /// What to fetch.
    pub url: ApiUrl,
    /// The repository it belongs to, if any: tokens that can read that one serve it.
    pub repo: Option<RepoName>,
    /// The representation.
    pub accept: Accept,
    /// What is known already; makes the request conditional.
    pub validator: Option<Validator>,
    /// The caller can ask for less at a time: a server that can't make it is not asked for the same for long.
    pub divisible: bool,
    /// The one token that may serve it; `None`: any that can.
    pub only: Option<TokenRef>,
}

/// A request that changes something.
#[derive(Debug, Clone)]
pub struct Change {
    /// POST or PATCH.
    pub method: http::Method,
    /// What is changed.
    pub url: ApiUrl,
    /// How.
    pub body: serde_json::Value,
    /// The one token that may serve it; `None`: any.
    pub only: Option<TokenRef>,
}

/// One of a client's tokens, for questions whose answer depends on who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRef {
    /// Its place in the pool.
    pub(super) index: usize,
    /// What it is called where it must not be named: 8 hex digits, the same from day to day; empty for anonymous.
    pub fingerprint: String,
    /// What users are shown of it.
    pub hint: String,
    /// The account that its App is installed on, if it is an App's.
    pub installed_on: Option<String>,
}

impl TokenRef {
    /// Whether it is the App's on this account.
    pub fn is_installed_on(&self, login: &str) -> bool {
        self.installed_on.as_ref().is_some_and(|account| account.eq_ignore_ascii_case(login))
    }

    /// Whether it stands for this token.
    pub fn is(&self, secret: &Secret) -> bool {
        self.installed_on.is_none() && self.fingerprint == fingerprint(secret.expose())
    }

    /// Whether it is the App's on another account, which is shown only what everybody is.
    pub fn is_installed_elsewhere(&self, login: &str) -> bool {
        self.installed_on.is_some() && !self.is_installed_on(login)
    }
}

/// What GitHub has said of a token until now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenState {
    /// Why it is not used any more in this run.
    pub disabled_reason: Option<String>,
    /// A classic token's scopes, with commas; other kinds have none.
    pub scopes: Option<String>,
    /// When it ends, if it does.
    pub expires: Option<DateTime<Utc>>,
    /// Requests that are left of its hour, and the hour's limit; both `u64::MAX` on a server without limits.
    pub budget: Option<(u64, u64)>,
    /// When the hour ends, on this machine's clock.
    pub resets_at: Option<DateTime<Utc>>,
    /// Until when it pauses, on this machine's clock, and why.
    pub paused: Option<(DateTime<Utc>, WaitReason)>,
}

/// A GitHub App on an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// GitHub's number of the installation.
    pub number: i64,
    /// The account's login.
    pub account: String,
    /// Whether the account is an organisation.
    pub organization: bool,
    /// Whether only some of the account's repositories are shown to the App.
    pub selected: bool,
    /// Whether the account's owner has it suspended: it can do nothing.
    pub suspended: bool,
    /// What it may do, `issues` and `read` for example.
    pub permissions: Vec<(String, String)>,
    /// Its token; none while it is suspended.
    pub token: Option<TokenRef>,
}

/// The representation asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Accept {
    /// `application/vnd.github+json`.
    #[default]
    Json,
    /// `application/vnd.github.star+json`: stars with their time.
    StarJson,
}

/// What makes a later request conditional. ETags differ by token, so it names the token it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validator {
    /// As the 200 carried it, `W/` included.
    pub etag: String,
    /// 8 hex digits of the SHA-256 of the token's very text; empty for anonymous. An App's tokens are others each hour.
    pub token: String,
}

/// An answer.
#[derive(Debug, Clone)]
pub enum Fetched {
    /// A complete page.
    Page(Box<Page>),
    /// 304: what the validator stands for is still so.
    NotModified,
}

/// A complete page.
#[derive(Debug, Clone)]
pub struct Page {
    /// Complete, valid JSON; empty where GitHub has nothing to send (204).
    pub body: Bytes,
    /// For the next conditional request.
    pub validator: Option<Validator>,
    /// The pages around it.
    pub links: Links,
    /// The server's clock when it answered.
    pub date: Option<DateTime<Utc>>,
    /// Answered after a redirect: what was asked for has another address now.
    pub redirected: bool,
}

/// Counts requests; one for each stage of the work.
#[derive(Debug, Default)]
pub struct RequestCounter {
    /// Answers that cost budget.
    pub(super) counted: AtomicU64,
    /// Answers that cost none (304 with a token).
    pub(super) not_modified: AtomicU64,
}

impl RequestCounter {
    /// Answers that cost budget.
    pub fn counted(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }

    /// Answers that cost none (304 with a token).
    pub fn not_modified(&self) -> u64 {
        self.not_modified.load(Ordering::Relaxed)
    }
}

impl ClientSettings {
    /// Says so where tokens go over the network unencrypted.
    pub fn plain_text_warning(&self) -> Option<String> {
        let has_tokens = !self.tokens.is_empty() || self.app.is_some();
        let is_plain = self.api_url.scheme() == "http" && !is_loopback(&self.api_url);
        (has_tokens && is_plain).then(|| {
            format!(
                "github.api_url is http://{}: tokens are sent unencrypted, and whoever is on the way can read them; use https://",
                self.api_url.host_str().unwrap_or_default()
            )
        })
    }
}

impl PoolBudget {
    /// How long so many requests take that count: at the pace of the secondary limit, and no faster than the hourly budgets
    /// are filled again. Budgets that no answer has told of yet don't hold it up.
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

/// What all tokens together may still do.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolBudget {
    /// Tokens in use (rejected ones not counted); 0 when anonymous.
    pub tokens: usize,
    /// Requests left above the reserves, over the tokens whose budget is known.
    pub remaining: u64,
    /// Requests a window above the reserves, over the tokens whose budget is known.
    pub hourly: u64,
    /// How long such a window is: an hour, unless a server has shown another.
    pub window: Duration,
    /// When the first of the known budgets is filled again, on this machine's clock.
    pub next_reset: Option<DateTime<Utc>>,
    /// Some token has no limit (GHES).
    pub unlimited: bool,
    /// Requests a second that GitHub's secondary limit lets pass, over all tokens.
    pub per_second: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_over_plain_http_are_warned_of() {
        let settings = |api_url: &str, token: bool| ClientSettings {
            api_url: api_url.parse().unwrap(),
            public_url: None,
            tokens: token.then(|| TokenConfig { secret: Secret::new("t"), reserve: 0 }).into_iter().collect(),
            app: None,
            concurrency: None,
            user_agent: String::new(),
            rate_limit_store: None,
            notify: Arc::new(|_| {}),
        };
        let warning = settings("http://ghe.example.com/api/v3/", true).plain_text_warning().unwrap();
        assert!(warning.contains("http://ghe.example.com") && warning.contains("unencrypted"), "{warning}");
        for (api_url, token) in
            [("https://ghe.example.com/", true), ("http://127.0.0.1:8080/", true), ("http://ghe.example.com/", false)]
        {
            assert_eq!(settings(api_url, token).plain_text_warning(), None, "{api_url}");
        }
    }
}
