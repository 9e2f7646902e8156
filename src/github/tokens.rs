//! The pool of tokens: permits to send one request each, and the queues of requests that wait for them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use http::HeaderValue;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, OwnedMutexGuard};
use tokio::time::Instant;

use super::access::AccessCache;
use super::app::App;
use super::budget::{RateLimitHeaders, Remaining};
use super::error::{ApiError, ClientError};
use super::event::ClientEvent;
use super::request::Request;
use super::settings::TokenConfig;
use super::throttle;
use super::token_info::{PoolBudget, TokenRef, TokenState};
use crate::names::RepoName;
use crate::rate_limit::{MAX_IN_FLIGHT, WaitReason};

use token::{Credential, Token};

mod app;
mod coordination;
mod disabled;
mod select;
mod token;

/// Requests in flight per token, unless the user sets more: enough to hide latency at the rate that GitHub allows.
const MAX_IN_FLIGHT_PER_TOKEN: usize = 16;
/// Number of queues from which on idle ones are dropped.
const MAX_IDLE_QUEUES: usize = 64;
/// Remaining lifetime from which on a token's expiry is reported.
const EXPIRY_WARNING: TimeDelta = TimeDelta::days(7);
/// Tokens in a row that an installation may get without any being accepted. A new one may not be known to all of GitHub's
/// servers yet.
const MAX_UNUSED_TOKENS: u32 = 3;

type Notifier = Arc<dyn Fn(ClientEvent) + Send + Sync>;

/// The tokens of a client, and the App that adds its installations. Without any, it holds one anonymous "token".
pub(super) struct TokenPool {
    state: Mutex<State>,
    /// Notified whenever a waiting request might be sent.
    changed: Notify,
    /// One queue for each set of tokens that requests wait for. Only the first in a queue tries for a token: this keeps the
    /// order, wakes one waiter per queue, and no request delays those that need other tokens.
    queues: Mutex<HashMap<Vec<usize>, Arc<tokio::sync::Mutex<()>>>>,
    notify: Notifier,
    /// Maximum requests in flight over all tokens, if the user has set it.
    concurrency: Option<usize>,
    /// The App, and its index among the tokens.
    app: Option<(App, usize)>,
}

struct State {
    tokens: Vec<Token>,
    in_flight: usize,
    /// This process's share of the requests in flight over all tokens.
    allocation: usize,
    access: AccessCache,
    /// The end of the announced wait, until it is over.
    announced: Option<Instant>,
}

/// A request that waits for a token.
#[derive(Debug, Clone, Copy)]
pub(super) struct TokenRequest<'a> {
    pub request: &'a Request,
    pub purpose: Purpose<'a>,
}

impl<'a> TokenRequest<'a> {
    pub(super) fn repo(&self) -> Option<&'a RepoName> {
        self.request.repo.as_ref()
    }

    /// Returns the kind of data of the repository that is asked for, such as `stargazers`.
    fn endpoint(&self) -> &'a str {
        self.request.url.last_segment()
    }

    /// Returns the scope of the ETag at hand: the token that it belongs to is preferred.
    fn etag_scope(&self) -> Option<&'a str> {
        self.request.validator.as_ref().map(|validator| validator.scope.as_str())
    }
}

/// The rule by which a request's token is chosen.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose<'a> {
    /// A token known to read the repository, or any if none is known.
    Read,
    /// One that might read the repository, apart from those that were tried already.
    Discover { tried: &'a [usize] },
    /// This token, unless it is blocked for long: to probe whether it can read the repository, or to follow a redirect.
    OnlyIfSoon(usize),
    /// This token, however long the wait.
    OnlyWith(usize),
}

/// The result of one attempt to acquire a token.
pub(super) enum Acquire {
    Granted(Box<Permit>),
    /// The known readers have nothing left; this token may be another reader.
    ProbeFirst(usize),
    /// This installation needs a new token first.
    RefreshFirst(usize),
    /// Try again on a change, or at the given time.
    Wait {
        wake: Option<Instant>,
        /// End and reason of a wait that is long enough to be reported.
        announce: Option<(Instant, WaitReason)>,
    },
    /// No token is left for the request.
    NoToken,
}

/// A permit to send one request with a token; it is released when dropped.
pub(super) struct Permit {
    pool: Arc<TokenPool>,
    pub token: usize,
    pub authorization: Option<HeaderValue>,
    pub hint: String,
    pub fingerprint: String,
    /// The scope of the ETags that the token gets.
    pub etag_scope: String,
    /// Requests an hour to leave unused.
    pub reserve: u64,
    /// No reservation in the shared store is needed.
    pub needs_no_reservation: bool,
}

impl Permit {
    /// Releases it without the request having been sent.
    pub(super) fn release_unsent(self) {
        if let Some(token) = self.pool.state().tokens.get_mut(self.token) {
            token.throttle.refund();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.pool.state();
        state.in_flight = state.in_flight.saturating_sub(1);
        if let Some(token) = state.tokens.get_mut(self.token) {
            token.in_flight = token.in_flight.saturating_sub(1);
        }
        drop(state);
        self.pool.changed.notify_waiters();
    }
}

impl TokenPool {
    pub(super) fn new(
        settings: &[TokenConfig],
        app: Option<App>,
        concurrency: Option<usize>,
        notify: Notifier,
    ) -> Result<Arc<Self>, ClientError> {
        let mut tokens: Vec<Token> = Vec::new();
        for setting in settings {
            let token = Token::from_config(setting)?;
            // The same token twice has one budget.
            if tokens.iter().all(|known| known.authorization() != token.authorization()) {
                tokens.push(token);
            }
        }
        let app = app.map(|app| {
            tokens.push(Token::app(app.id()));
            (app, tokens.len() - 1)
        });
        if tokens.is_empty() {
            tokens.push(Token::anonymous());
            notify(ClientEvent::Anonymous);
        }
        let state =
            State { tokens, in_flight: 0, allocation: MAX_IN_FLIGHT, access: AccessCache::new(), announced: None };
        Ok(Arc::new(Self {
            state: Mutex::new(state),
            changed: Notify::new(),
            queues: Mutex::default(),
            notify,
            concurrency,
            app,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock; if one did, the counters are still usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the maximum requests in flight: in all, and per token.
    fn bounds(&self, state: &State) -> (usize, usize) {
        let count = state.tokens.iter().filter(|token| !matches!(token.credential, Credential::App)).count().max(1);
        let total = self.concurrency.unwrap_or(MAX_IN_FLIGHT_PER_TOKEN * count).clamp(1, MAX_IN_FLIGHT);
        (total, MAX_IN_FLIGHT_PER_TOKEN.max(total.div_ceil(count)))
    }

    /// Resolves when something changes after this call.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Queues up with the requests that wait for the same tokens.
    pub(super) async fn wait_turn(&self, wanted: &TokenRequest<'_>) -> OwnedMutexGuard<()> {
        let key = self.state().wait_queue(wanted, Instant::now());
        let wait_queue = {
            let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
            if queues.len() >= MAX_IDLE_QUEUES {
                queues.retain(|_, wait_queue| Arc::strong_count(wait_queue) > 1);
            }
            Arc::clone(queues.entry(key).or_default())
        };
        wait_queue.lock_owned().await
    }

    /// Tries once to get a permit, without waiting.
    pub(super) fn try_acquire(self: &Arc<Self>, wanted: &TokenRequest<'_>, now: Instant) -> Acquire {
        let mut state = self.state();
        let (total, per_token) = self.bounds(&state);
        let found = state.select(wanted, now, per_token);
        let token = match found {
            Ok(token) if state.needs_refresh(token, now) => return Acquire::RefreshFirst(token),
            Ok(_) if state.in_flight >= total.min(state.allocation) => {
                return Acquire::Wait { wake: None, announce: None };
            }
            Ok(token) => token,
            Err(blocked) => return blocked,
        };
        state.in_flight += 1;
        // `select` gives indexes into `tokens`.
        let Some(chosen) = state.tokens.get_mut(token) else { return Acquire::NoToken };
        chosen.in_flight += 1;
        (0..wanted.request.points()).for_each(|_| chosen.throttle.record(now));
        let signed = || self.app.as_ref().filter(|(_, place)| *place == token).map(|(app, _)| app.authorization());
        Acquire::Granted(Box::new(Permit {
            pool: Arc::clone(self),
            token,
            authorization: chosen.authorization().or_else(signed),
            hint: chosen.hint.clone(),
            etag_scope: chosen.etag_scope().unwrap_or_default().to_owned(),
            fingerprint: chosen.fingerprint.clone(),
            reserve: chosen.reserve,
            needs_no_reservation: chosen.has_recent_grant(now),
        }))
    }

    /// Reports that requests wait, once per wait.
    pub(super) fn announce_wait(&self, until: Instant, reason: WaitReason, now: Instant) {
        let mut state = self.state();
        if state.announced.is_some_and(|announced| announced > now && until <= announced + Duration::from_secs(1)) {
            return;
        }
        state.announced = Some(until);
        drop(state);
        self.emit(ClientEvent::Waiting { until: utc(until, now), reason });
    }

    /// Reports that the announced wait is over, once.
    pub(super) fn announce_resumed(&self) {
        if self.state().announced.take().is_some() {
            self.emit(ClientEvent::Resumed);
        }
    }

    /// Emits an event for the user.
    pub(super) fn emit(&self, event: ClientEvent) {
        (self.notify)(event);
    }

    /// Records a response's rate limit. `regular` responses come from the API itself, so that missing headers mean that there is
    /// no limit.
    pub(super) fn record_response(
        &self,
        permit: &Permit,
        rate: &RateLimitHeaders,
        regular: bool,
        server_now: DateTime<Utc>,
        now: Instant,
    ) {
        let mut state = self.state();
        let Some(token) = state.tokens.get_mut(permit.token) else { return };
        token.record_served(permit.authorization.as_ref());
        token.budget.record(rate, server_now, now);
        if regular {
            if rate.limit.is_none() && rate.remaining.is_none() {
                token.budget.record_absent();
            }
            if token.paused.is_none_or(|(until, _)| until <= now) {
                token.secondary_limit_hits = 0;
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Pauses a token; a pause that ends later stays.
    pub(super) fn pause(&self, token: usize, until: Instant, reason: WaitReason) {
        if let Some(token) = self.state().tokens.get_mut(token)
            && token.paused.is_none_or(|(known, _)| known < until)
        {
            token.paused = Some((until, reason));
        }
        self.changed.notify_waiters();
    }

    /// Counts a secondary limit and returns its index in the series, from 0. Requests that were in flight together count once:
    /// `None` for all but the first.
    pub(super) fn record_secondary_limit(&self, token: usize, now: Instant) -> Option<u32> {
        let mut state = self.state();
        let token = state.tokens.get_mut(token)?;
        if token.paused.is_some_and(|(until, reason)| until > now && reason == WaitReason::SecondaryLimit) {
            return None;
        }
        token.secondary_limit_hits += 1;
        Some(token.secondary_limit_hits - 1)
    }

    /// Records a token's scopes and expiry, and reports the expiry once when it is near.
    pub(super) fn record_details(&self, token: usize, scopes: Option<&str>, expires: Option<DateTime<Utc>>) {
        let mut state = self.state();
        let Some(token) = state.tokens.get_mut(token) else { return };
        if let Some(scopes) = scopes {
            token.scopes = Some(scopes.to_owned());
        }
        let Some(at) = expires.filter(|_| token.is_long_lived()) else { return };
        token.expires = Some(at);
        if token.expiry_reported || at - Utc::now() > EXPIRY_WARNING {
            return;
        }
        token.expiry_reported = true;
        let hint = token.hint.clone();
        drop(state);
        self.emit(ClientEvent::TokenExpiring { hint, at });
    }

    /// Records whether a token can read a repository, and whether everybody can if that is known.
    pub(super) fn record_access(&self, repo: &RepoName, token: usize, can: bool, public: Option<bool>) {
        self.state().access.record_access(repo, token, can, public);
        self.changed.notify_waiters();
    }

    /// Applies what is known of a repository's readers to its present name too.
    pub(super) fn record_rename(&self, asked: &RepoName, name: &RepoName, public: Option<bool>) {
        self.state().access.record_rename(asked, name, public);
        self.changed.notify_waiters();
    }

    /// Records that a token was denied an endpoint of a repository, or without single sign-on the repository. Returns whether
    /// another reader is left to try.
    pub(super) fn record_denial(&self, wanted: &TokenRequest<'_>, token: usize, error: &ApiError) -> bool {
        let Some(repo) = wanted.repo() else { return false };
        let mut state = self.state();
        if matches!(error, ApiError::SsoRequired { .. }) {
            state.access.record_access(repo, token, false, None);
        } else {
            state.access.record_denial(repo, token, wanted.endpoint());
        }
        let wanted = TokenRequest { purpose: Purpose::Read, ..*wanted };
        let is_allowed =
            |i: &usize| state.can_read(repo, *i) == Some(true) && !state.access.is_denied(repo, *i, wanted.endpoint());
        state.candidates(&wanted).iter().any(is_allowed)
    }

    /// Postpones the next probe of whether a token can read a repository.
    pub(super) fn probe_later(&self, repo: &RepoName, token: usize, at: Instant) {
        self.state().access.probe_later(repo, token, at);
    }

    /// Returns whether a token other than this one could serve a request.
    pub(super) fn has_other(&self, wanted: &TokenRequest<'_>, token: usize) -> bool {
        self.state().candidates(wanted).iter().any(|candidate| *candidate != token)
    }

    /// Returns references to the tokens that are not disabled.
    pub(super) fn usable(&self) -> Vec<TokenRef> {
        let state = self.state();
        let usable = state.tokens.iter().enumerate().filter(|(_, token)| token.can_serve_reads());
        usable
            .map(|(index, token)| TokenRef {
                index,
                fingerprint: token.fingerprint.clone(),
                hint: token.hint.clone(),
                installed_on: token.installation().map(|installed| installed.account.clone()),
            })
            .collect()
    }

    /// Returns what is known of a token.
    pub(super) fn token_state(&self, token: usize, now: Instant) -> TokenState {
        let state = self.state();
        let Some(token) = state.tokens.get(token) else { return TokenState::default() };
        let (budget, resets_at) = match token.budget.remaining(now) {
            Remaining::Unknown => (None, None),
            Remaining::Unlimited => (Some((u64::MAX, u64::MAX)), None),
            Remaining::Requests { remaining, limit, reset_at } => (Some((remaining, limit)), Some(utc(reset_at, now))),
        };
        let (scopes, expires) = (token.scopes.clone(), token.expires);
        let paused = token.paused.filter(|(until, _)| *until > now).map(|(until, why)| (utc(until, now), why));
        TokenState { disabled_reason: token.disabled_reason.clone(), scopes, expires, budget, resets_at, paused }
    }

    /// Sums up the budgets of the usable tokens.
    pub(super) fn budget(&self, now: Instant) -> PoolBudget {
        let state = self.state();
        let mut total = PoolBudget {
            tokens: 0,
            remaining: 0,
            hourly: 0,
            window: Duration::ZERO,
            next_reset: None,
            unlimited: false,
            per_second: 0.0,
        };
        for token in state.tokens.iter().filter(|token| token.can_serve_reads()) {
            total.tokens += usize::from(!matches!(token.credential, Credential::Anonymous));
            total.per_second += throttle::PER_SECOND;
            match token.budget.remaining(now) {
                Remaining::Unknown => {}
                Remaining::Unlimited => total.unlimited = true,
                Remaining::Requests { remaining, limit, reset_at } => {
                    let reserve = token.reserve.min(limit.saturating_sub(1));
                    let free = remaining.saturating_sub(reserve).saturating_sub(token.in_flight as u64);
                    total.remaining = total.remaining.saturating_add(free);
                    total.window = total.window.max(token.budget.window_length());
                    total.hourly = total.hourly.saturating_add(limit - reserve);
                    let reset = utc(reset_at, now);
                    total.next_reset = Some(total.next_reset.map_or(reset, |known| known.min(reset)));
                }
            }
        }
        total
    }
}

impl State {
    /// Returns whether a token is an installation's that has to be refreshed first.
    fn needs_refresh(&self, token: usize, now: Instant) -> bool {
        self.tokens.get(token).and_then(Token::installation).is_some_and(|installed| installed.needs_refresh(now))
    }
}

/// Converts an instant to this machine's calendar time.
fn utc(at: Instant, now: Instant) -> DateTime<Utc> {
    let wait = TimeDelta::from_std(at.saturating_duration_since(now)).unwrap_or(TimeDelta::zero());
    Utc::now().checked_add_signed(wait).unwrap_or(DateTime::<Utc>::MAX_UTC)
}
