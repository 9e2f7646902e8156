//! One token: what it is sent as, what is left of it, and whether it may go now.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use http::HeaderValue;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::super::budget::{Budget, Left};
use super::super::error::ClientError;
use super::super::outbox::Outbox;
use super::super::pace::Pace;
use super::super::request::TokenSetting;
use crate::rate_limit::{MAX_IN_FLIGHT, WaitReason};
use crate::secret::Secret;

/// An installation's token is replaced so long before its end: no request that is under way meets that.
const RENEWED_BEFORE: Duration = Duration::from_secs(5 * 60);
/// Bytes of a token: no server takes headers that are longer by far.
const TOKEN_MAX: usize = 8 * 1024;
/// A lifetime that can't be, for want of a sound clock at the other end, is taken to be this.
const LIFETIME_LEAST: Duration = Duration::from_secs(60);

/// A token, or what makes one when it is needed.
pub(super) struct Token {
    pub credential: Credential,
    pub hint: String,
    /// What it is called in the ledger and in lists: 8 hex digits; empty for anonymous.
    pub fingerprint: String,
    pub reserve: u64,
    pub budget: Budget,
    pub pace: Pace,
    pub in_flight: usize,
    /// The most of them, as divided among the processes.
    pub share: usize,
    pub paused: Option<(Instant, WaitReason)>,
    /// Other processes hold all that may go at the moment.
    pub held: Option<Instant>,
    /// When the ledger was last asked for a request that it granted.
    pub granted: Option<Instant>,
    pub outbox: Outbox,
    /// Secondary limits in a row.
    pub strikes: u32,
    /// Why it is not used any more in this run.
    pub out: Option<String>,
    pub expiry_told: bool,
    /// What GitHub's answers said of it.
    pub scopes: Option<String>,
    pub expires: Option<DateTime<Utc>>,
}

/// What requests are sent with.
pub(super) enum Credential {
    /// Nothing.
    Nobody,
    /// A token that the user has given.
    Given(HeaderValue),
    /// The App itself, which signs each of its requests.
    App,
    /// A token that the App gets for an account that it is installed on, and again before it ends.
    Installation(Installed),
}

/// The App on one account.
pub(super) struct Installed {
    /// GitHub's number of the installation.
    pub number: i64,
    /// The account's login.
    pub account: String,
    /// Whether it is shown only some of the account's repositories.
    pub selected: bool,
    current: Option<Current>,
    /// Tokens in a row that GitHub refused before they had served once.
    refused: u32,
    /// Held by who gets the next one.
    pub renewing: Arc<tokio::sync::Mutex<()>>,
}

struct Current {
    authorization: HeaderValue,
    /// GitHub's tags belong to this very text.
    tags: String,
    renew_at: Instant,
    served: bool,
}

pub(super) enum Standing {
    Ready {
        left: u64,
    },
    /// Until a request ends.
    Busy,
    /// For some milliseconds.
    Paced(Instant),
    /// For long.
    Until(Instant, WaitReason),
}

/// 8 hex digits of a text's SHA-256.
pub fn fingerprint(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// What a token is sent as, if it can be sent at all.
fn bearer(secret: &Secret) -> Option<HeaderValue> {
    let text = secret.expose();
    let mut value = HeaderValue::from_str(&format!("Bearer {text}"))
        .ok()
        .filter(|_| (1..=TOKEN_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()))?;
    value.set_sensitive(true);
    Some(value)
}

impl Installed {
    /// Whether it needs a token before it can serve.
    pub fn is_due(&self, now: Instant) -> bool {
        self.current.as_ref().is_none_or(|current| current.renew_at <= now)
    }
}

impl Token {
    pub fn given(setting: &TokenSetting) -> Result<Self, ClientError> {
        let hint = setting.secret.hint();
        let authorization = bearer(&setting.secret).ok_or_else(|| ClientError::Token { hint: hint.clone() })?;
        let fingerprint = fingerprint(setting.secret.expose());
        Ok(Self {
            credential: Credential::Given(authorization),
            hint,
            fingerprint,
            reserve: setting.reserve.into(),
            ..Self::anonymous()
        })
    }

    /// The App with this id.
    pub fn app(id: &str) -> Self {
        Self {
            credential: Credential::App,
            hint: format!("App {id}"),
            fingerprint: fingerprint(&format!("app {id}")),
            ..Self::anonymous()
        }
    }

    /// The App on an account. What is left belongs to the installation, whatever token it has at the moment.
    pub fn installation(number: i64, account: &str, selected: bool, reserve: u64) -> Self {
        let (account, renewing) = (account.to_owned(), Arc::default());
        let installed = Installed { number, account, selected, current: None, refused: 0, renewing };
        let hint = format!("App on {}", installed.account);
        Self {
            credential: Credential::Installation(installed),
            hint,
            fingerprint: fingerprint(&format!("installation {number}")),
            reserve,
            ..Self::anonymous()
        }
    }

    pub fn anonymous() -> Self {
        Self {
            credential: Credential::Nobody,
            hint: "anonymous".to_owned(),
            fingerprint: String::new(),
            reserve: 0,
            budget: Budget::Unknown,
            pace: Pace::default(),
            in_flight: 0,
            share: MAX_IN_FLIGHT,
            paused: None,
            held: None,
            granted: None,
            outbox: Outbox::default(),
            strikes: 0,
            out: None,
            expiry_told: false,
            scopes: None,
            expires: None,
        }
    }

    /// Whether it is asked for data: the App itself is not.
    pub fn reads(&self) -> bool {
        self.out.is_none() && !matches!(self.credential, Credential::App)
    }

    /// Whether it stays the same from day to day, and with it the tags that it is given.
    pub fn lasts(&self) -> bool {
        !matches!(self.credential, Credential::Installation(_))
    }

    pub fn installed(&self) -> Option<&Installed> {
        match &self.credential {
            Credential::Installation(installed) => Some(installed),
            Credential::Nobody | Credential::Given(_) | Credential::App => None,
        }
    }

    fn installed_mut(&mut self) -> Option<&mut Installed> {
        match &mut self.credential {
            Credential::Installation(installed) => Some(installed),
            Credential::Nobody | Credential::Given(_) | Credential::App => None,
        }
    }

    /// Whether it belongs to an installation on another account: that is shown only what everybody is.
    pub fn is_foreign_to(&self, account: &str) -> bool {
        self.installed().is_some_and(|installed| !installed.account.eq_ignore_ascii_case(account))
    }

    /// Who GitHub's tags are told apart by: 8 hex digits of the text that is sent, empty for none. `None`: an installation
    /// that has no token at the moment.
    pub fn tags(&self) -> Option<&str> {
        match &self.credential {
            Credential::Installation(installed) => Some(&installed.current.as_ref()?.tags),
            Credential::Nobody | Credential::Given(_) | Credential::App => Some(&self.fingerprint),
        }
    }

    /// What its requests are sent with; the App signs by itself.
    pub fn authorization(&self) -> Option<HeaderValue> {
        match &self.credential {
            Credential::Nobody | Credential::App => None,
            Credential::Given(authorization) => Some(authorization.clone()),
            Credential::Installation(installed) => Some(installed.current.as_ref()?.authorization.clone()),
        }
    }

    /// Takes a new token of the installation. Returns whether it can be sent.
    pub fn renew(&mut self, secret: &Secret, lifetime: Duration, now: Instant) -> bool {
        let Some(installed) = self.installed_mut() else { return false };
        let Some(authorization) = bearer(secret) else { return false };
        let lifetime = lifetime.max(LIFETIME_LEAST);
        let renew_at = now + lifetime.saturating_sub(RENEWED_BEFORE).max(lifetime / 2);
        let tags = fingerprint(secret.expose());
        installed.current = Some(Current { authorization, tags, renew_at, served: false });
        true
    }

    /// Notes that GitHub took what was sent.
    pub fn served(&mut self, sent: Option<&HeaderValue>) {
        let Some(installed) = self.installed_mut() else { return };
        if let Some(current) = &mut installed.current
            && sent == Some(&current.authorization)
        {
            current.served = true;
            installed.refused = 0;
        }
    }

    /// Drops a token that GitHub refused (401). Returns how many new ones in a row that makes which never served; `None` where
    /// there can be no new one.
    pub fn refused(&mut self, sent: Option<&HeaderValue>) -> Option<u32> {
        let installed = self.installed_mut()?;
        if let Some(current) = installed.current.take_if(|current| sent == Some(&current.authorization))
            && !current.served
        {
            installed.refused += 1;
        }
        Some(installed.refused)
    }

    pub fn standing(&self, now: Instant, per_token: usize) -> Standing {
        if let Some((until, reason)) = self.paused
            && until > now
        {
            return Standing::Until(until, reason);
        }
        if let Some(until) = self.held
            && until > now
        {
            return Standing::Paced(until);
        }
        let in_flight = self.in_flight as u64;
        match self.budget.left(now) {
            // One request teaches; more could run into a spent budget.
            Left::Unknown if in_flight > 0 => Standing::Busy,
            // Promises at least as much as any known budget, so every token gets known early.
            Left::Unknown => Standing::Ready { left: u64::MAX },
            _ if self.in_flight >= per_token.min(self.share) => Standing::Busy,
            Left::Unlimited => Standing::Ready { left: u64::MAX },
            Left::Requests { remaining, limit, reset_at } => {
                // A reserve of the whole limit would mean waiting for ever.
                let free = remaining.saturating_sub(self.reserve.min(limit.saturating_sub(1)));
                let next = self.pace.next(now);
                if free == 0 {
                    Standing::Until(reset_at, WaitReason::RateLimit)
                } else if free <= in_flight {
                    Standing::Busy
                } else if next > now {
                    Standing::Paced(next)
                } else {
                    Standing::Ready { left: free - in_flight }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installations_token_is_replaced_before_it_ends_and_what_is_left_stays() {
        let (start, hour) = (Instant::now(), Duration::from_secs(3600));
        let mut token = Token::installation(7, "contoso", false, 50);
        let due = |token: &Token, after: u64| token.installed().unwrap().is_due(start + Duration::from_secs(after));
        assert!(due(&token, 0), "there is none at first");
        let called = token.fingerprint.clone();
        assert!(token.renew(&Secret::new("ghs_first.with.dots"), hour, start));
        let first = token.tags().map(str::to_owned);
        assert!(!due(&token, 3299) && due(&token, 3300));
        assert!(token.renew(&Secret::new("ghs_second.with.dots"), hour, start + hour));
        assert_eq!(token.fingerprint, called);
        assert_ne!(token.tags().map(str::to_owned), first, "GitHub's tags belong to the text");
        // A clock at the other end that is wrong makes no endless loop.
        assert!(token.renew(&Secret::new("ghs_third"), Duration::ZERO, start) && !due(&token, 29));
        assert!(!token.renew(&Secret::new("with a space"), hour, start));
    }

    #[test]
    fn a_refused_token_is_replaced_and_those_that_never_served_are_counted() {
        let now = Instant::now();
        let mut token = Token::installation(7, "contoso", false, 0);
        let next = |token: &mut Token, text: &str| {
            token.renew(&Secret::new(text), Duration::from_secs(3600), now);
            token.authorization()
        };
        let first = next(&mut token, "ghs_1");
        token.served(first.as_ref());
        assert_eq!(token.refused(first.as_ref()), Some(0), "it had served: it has ended");
        let second = next(&mut token, "ghs_2");
        assert_eq!(token.refused(first.as_ref()), Some(0), "an answer to the one before says nothing of this one");
        assert_eq!(token.refused(second.as_ref()), Some(1));
        assert_eq!(token.refused(second.as_ref()), Some(1), "the same answer to another request");
        let third = next(&mut token, "ghs_3");
        assert_eq!(token.refused(third.as_ref()), Some(2));
        let fourth = next(&mut token, "ghs_4");
        token.served(fourth.as_ref());
        assert_eq!(token.refused(fourth.as_ref()), Some(0));
        assert_eq!(Token::anonymous().refused(None), None);
    }
}
