//! One token: its credential, its budget and whether it is available.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use http::HeaderValue;
use tokio::time::Instant;

use super::super::budget::{Budget, Remaining};
use super::super::error::ClientError;
use super::super::settings::TokenConfig;
use super::super::throttle::Gcra;
use super::super::usage_buffer::UsageBuffer;
use crate::rate_limit::{MAX_IN_FLIGHT, WaitReason};
use crate::secret::Secret;

/// Time before an installation token's expiry at which it is replaced, so that it does not expire under a request.
const REFRESH_MARGIN: Duration = Duration::from_mins(5);
/// Maximum size of a token in bytes; servers reject headers not much longer.
const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// Minimum lifetime assumed of an installation token: a wrong clock at the other end must not cause a refresh per request.
const MIN_LIFETIME: Duration = Duration::from_mins(1);

/// A token, or the App or an installation that issues tokens.
pub(super) struct Token {
    pub credential: Credential,
    pub hint: String,
    /// Identifies it in the shared store and in lists: 8 hex digits; empty for anonymous.
    pub fingerprint: String,
    pub reserve: u64,
    pub budget: Budget,
    pub throttle: Gcra,
    pub in_flight: usize,
    /// This process's share of the requests in flight with it.
    pub allocation: usize,
    pub paused: Option<(Instant, WaitReason)>,
    /// Until when other processes hold all that may be sent.
    pub throttled_until: Option<Instant>,
    /// Time of the last reservation granted by the shared store.
    pub last_grant: Option<Instant>,
    pub usage: UsageBuffer,
    /// Secondary limits hit in a row.
    pub secondary_limit_hits: u32,
    /// The reason for which it is disabled for the rest of the run, if it is.
    pub disabled_reason: Option<String>,
    pub expiry_reported: bool,
    /// Scopes of a classic token, from GitHub's responses.
    pub scopes: Option<String>,
    pub expires: Option<DateTime<Utc>>,
}

/// The credential that requests are sent with.
pub(super) enum Credential {
    /// None.
    Anonymous,
    /// A configured token.
    Static(HeaderValue),
    /// The App itself, which signs each of its requests.
    App,
    /// A token of an installation of the App, replaced before it expires.
    Installation(InstallationToken),
}

/// The token of an installation of the App.
pub(super) struct InstallationToken {
    /// GitHub's id of the installation.
    pub id: i64,
    /// The account's login.
    pub account: String,
    /// It can see only selected repositories of the account.
    pub selected: bool,
    current: Option<IssuedToken>,
    /// Tokens in a row that were rejected without ever having been accepted.
    unused_tokens: u32,
    /// Lock held during a refresh.
    pub refreshing: Arc<tokio::sync::Mutex<()>>,
}

/// A token that GitHub issued for an installation.
struct IssuedToken {
    authorization: HeaderValue,
    /// Fingerprint of the token's text, which its ETags are bound to.
    etag_scope: String,
    refresh_at: Instant,
    served: bool,
}

/// The availability of a token.
pub(super) enum Availability {
    /// It has this many requests left, apart from those in flight.
    Ready { left: u64 },
    /// Not until a request in flight ends.
    Saturated,
    /// Not for some milliseconds.
    Throttled(Instant),
    /// Not for seconds up to an hour.
    BlockedUntil(Instant, WaitReason),
}

/// Returns the `Authorization` header of a token, if it can be sent at all.
fn bearer(secret: &Secret) -> Option<HeaderValue> {
    let text = secret.expose();
    let mut value = HeaderValue::from_str(&format!("Bearer {text}"))
        .ok()
        .filter(|_| (1..=MAX_TOKEN_BYTES).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()))?;
    value.set_sensitive(true);
    Some(value)
}

impl InstallationToken {
    /// Returns whether it needs a new token before it can be used.
    pub(super) fn needs_refresh(&self, now: Instant) -> bool {
        self.current.as_ref().is_none_or(|current| current.refresh_at <= now)
    }
}

impl Token {
    /// Creates a configured token.
    pub(super) fn from_config(setting: &TokenConfig) -> Result<Self, ClientError> {
        let hint = setting.secret.hint();
        let authorization = bearer(&setting.secret).ok_or_else(|| ClientError::Token { hint: hint.clone() })?;
        let fingerprint = setting.secret.fingerprint();
        Ok(Self {
            credential: Credential::Static(authorization),
            hint,
            fingerprint,
            reserve: setting.reserve.into(),
            ..Self::anonymous()
        })
    }

    /// Creates the App's own entry.
    pub(super) fn app(id: &str) -> Self {
        Self {
            credential: Credential::App,
            hint: format!("App {id}"),
            fingerprint: Secret::new(format!("app {id}")).fingerprint(),
            ..Self::anonymous()
        }
    }

    /// Creates an installation's entry. The budget is the installation's, whichever token it has at the moment.
    pub(super) fn for_installation(id: i64, account: &str, selected: bool, reserve: u64) -> Self {
        let (account, refreshing) = (account.to_owned(), Arc::default());
        let installed = InstallationToken { id, account, selected, current: None, unused_tokens: 0, refreshing };
        let hint = format!("App on {}", installed.account);
        Self {
            credential: Credential::Installation(installed),
            hint,
            fingerprint: Secret::new(format!("installation {id}")).fingerprint(),
            reserve,
            ..Self::anonymous()
        }
    }

    /// Creates an entry for requests without a token.
    pub(super) fn anonymous() -> Self {
        Self {
            credential: Credential::Anonymous,
            hint: "anonymous".to_owned(),
            fingerprint: String::new(),
            reserve: 0,
            budget: Budget::Unknown,
            throttle: Gcra::default(),
            in_flight: 0,
            allocation: MAX_IN_FLIGHT,
            paused: None,
            throttled_until: None,
            last_grant: None,
            usage: UsageBuffer::default(),
            secondary_limit_hits: 0,
            disabled_reason: None,
            expiry_reported: false,
            scopes: None,
            expires: None,
        }
    }

    /// Returns whether it can be used for reading: it is not disabled, and not the App itself.
    pub(super) fn can_serve_reads(&self) -> bool {
        self.disabled_reason.is_none() && !matches!(self.credential, Credential::App)
    }

    /// Returns whether it stays the same from day to day, and its ETags stay valid with it.
    pub(super) fn is_long_lived(&self) -> bool {
        !matches!(self.credential, Credential::Installation(_))
    }

    pub(super) fn installation(&self) -> Option<&InstallationToken> {
        match &self.credential {
            Credential::Installation(installed) => Some(installed),
            Credential::Anonymous | Credential::Static(_) | Credential::App => None,
        }
    }

    fn installation_mut(&mut self) -> Option<&mut InstallationToken> {
        match &mut self.credential {
            Credential::Installation(installed) => Some(installed),
            Credential::Anonymous | Credential::Static(_) | Credential::App => None,
        }
    }

    /// Returns whether it is an installation's on another account, which sees only public data of this one.
    pub(super) fn is_installed_elsewhere(&self, account: &str) -> bool {
        self.installation().is_some_and(|installed| !installed.account.eq_ignore_ascii_case(account))
    }

    /// Returns the scope of its ETags: the fingerprint of the token's text, empty for anonymous. `None` while an installation has
    /// no token.
    pub(super) fn etag_scope(&self) -> Option<&str> {
        match &self.credential {
            Credential::Installation(installed) => Some(&installed.current.as_ref()?.etag_scope),
            Credential::Anonymous | Credential::Static(_) | Credential::App => Some(&self.fingerprint),
        }
    }

    /// Returns the `Authorization` header; `None` for the App, which signs each request.
    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        match &self.credential {
            Credential::Anonymous | Credential::App => None,
            Credential::Static(authorization) => Some(authorization.clone()),
            Credential::Installation(installed) => Some(installed.current.as_ref()?.authorization.clone()),
        }
    }

    /// Sets the installation's new token. Returns whether it can be sent.
    pub(super) fn set_issued_token(&mut self, secret: &Secret, lifetime: Duration, now: Instant) -> bool {
        let Some(installed) = self.installation_mut() else { return false };
        let Some(authorization) = bearer(secret) else { return false };
        let lifetime = lifetime.max(MIN_LIFETIME);
        let refresh_at = now + lifetime.saturating_sub(REFRESH_MARGIN).max(lifetime / 2);
        let etag_scope = secret.fingerprint();
        installed.current = Some(IssuedToken { authorization, etag_scope, refresh_at, served: false });
        true
    }

    /// Records that GitHub accepted an installation's token.
    pub(super) fn record_served(&mut self, sent: Option<&HeaderValue>) {
        let Some(installed) = self.installation_mut() else { return };
        if let Some(current) = &mut installed.current
            && sent == Some(&current.authorization)
        {
            current.served = true;
            installed.unused_tokens = 0;
        }
    }

    /// Drops an installation's token that GitHub answered 401. Returns how many in a row were never accepted; `None` for tokens
    /// that can't be replaced.
    pub(super) fn record_unauthorized(&mut self, sent: Option<&HeaderValue>) -> Option<u32> {
        let installed = self.installation_mut()?;
        if let Some(current) = installed.current.take_if(|current| sent == Some(&current.authorization))
            && !current.served
        {
            installed.unused_tokens += 1;
        }
        Some(installed.unused_tokens)
    }

    /// Returns whether a request may be sent with it now.
    pub(super) fn availability(&self, now: Instant, per_token: usize) -> Availability {
        if let Some((until, reason)) = self.paused
            && until > now
        {
            return Availability::BlockedUntil(until, reason);
        }
        if let Some(until) = self.throttled_until
            && until > now
        {
            return Availability::Throttled(until);
        }
        let in_flight = self.in_flight as u64;
        match self.budget.remaining(now) {
            // One response tells the budget; more requests could run into a spent one.
            Remaining::Unknown if in_flight > 0 => Availability::Saturated,
            // Ranks above any known budget, so that all budgets get known early.
            Remaining::Unknown => Availability::Ready { left: u64::MAX },
            _ if self.in_flight >= per_token.min(self.allocation) => Availability::Saturated,
            Remaining::Unlimited => Availability::Ready { left: u64::MAX },
            Remaining::Requests { remaining, limit, reset_at } => {
                // A reserve of the whole limit would mean waiting forever.
                let free = remaining.saturating_sub(self.reserve.min(limit.saturating_sub(1)));
                let next = self.throttle.next_allowed(now);
                if free == 0 {
                    Availability::BlockedUntil(reset_at, WaitReason::RateLimit)
                } else if free <= in_flight {
                    Availability::Saturated
                } else if next > now {
                    Availability::Throttled(next)
                } else {
                    Availability::Ready { left: free - in_flight }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installation_token_is_replaced_before_expiry() {
        let (start, hour) = (Instant::now(), Duration::from_secs(3600));
        let mut token = Token::for_installation(7, "contoso", false, 50);
        let due =
            |token: &Token, after: u64| token.installation().unwrap().needs_refresh(start + Duration::from_secs(after));
        assert!(due(&token, 0), "there is none at first");
        let called = token.fingerprint.clone();
        assert!(token.set_issued_token(&Secret::new("ghs_first.with.dots"), hour, start));
        let first = token.etag_scope().map(str::to_owned);
        assert!(!due(&token, 3299) && due(&token, 3300));
        assert!(token.set_issued_token(&Secret::new("ghs_second.with.dots"), hour, start + hour));
        assert_eq!(token.fingerprint, called);
        assert_ne!(token.etag_scope().map(str::to_owned), first, "GitHub's tags belong to the text");
        // A clock at the other end that is wrong makes no endless loop.
        assert!(token.set_issued_token(&Secret::new("ghs_third"), Duration::ZERO, start) && !due(&token, 29));
        assert!(!token.set_issued_token(&Secret::new("with a space"), hour, start));
    }

    #[test]
    fn rejected_tokens_are_replaced_and_unused_ones_counted() {
        let now = Instant::now();
        let mut token = Token::for_installation(7, "contoso", false, 0);
        let next = |token: &mut Token, text: &str| {
            token.set_issued_token(&Secret::new(text), Duration::from_secs(3600), now);
            token.authorization()
        };
        let first = next(&mut token, "ghs_1");
        token.record_served(first.as_ref());
        assert_eq!(token.record_unauthorized(first.as_ref()), Some(0), "it had served: it has ended");
        let second = next(&mut token, "ghs_2");
        assert_eq!(
            token.record_unauthorized(first.as_ref()),
            Some(0),
            "an answer to the one before says nothing of this one"
        );
        assert_eq!(token.record_unauthorized(second.as_ref()), Some(1));
        assert_eq!(token.record_unauthorized(second.as_ref()), Some(1), "the same answer to another request");
        let third = next(&mut token, "ghs_3");
        assert_eq!(token.record_unauthorized(third.as_ref()), Some(2));
        let fourth = next(&mut token, "ghs_4");
        token.record_served(fourth.as_ref());
        assert_eq!(token.record_unauthorized(fourth.as_ref()), Some(0));
        assert_eq!(Token::anonymous().record_unauthorized(None), None);
    }
}
