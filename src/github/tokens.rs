//! The tokens: who waits for what, and leases, which are given back when they are dropped.

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

/// Requests in flight a token: enough to hide the network's latency at GitHub's pace.
const MAX_IN_FLIGHT_PER_TOKEN: usize = 16;
/// Lanes are forgotten beyond this number when nobody waits in them.
const MAX_IDLE_QUEUES: usize = 64;
/// A token that ends within this time is worth a line.
const EXPIRY_WARNING: TimeDelta = TimeDelta::days(7);

/// So many tokens in a row that an installation was given and GitHub then refused mean that it will not be let in: one that is
/// just made may not be known everywhere yet.
const MAX_UNUSED_TOKENS: u32 = 3;

type Notifier = Arc<dyn Fn(ClientEvent) + Send + Sync>;

/// All tokens of a client, and the App that makes further ones. Without any, one anonymous "token".
pub(super) struct TokenPool {
    state: Mutex<State>,
    /// Told whenever a request that had to wait might go now.
    changed: Notify,
    /// One queue for each set of tokens that requests wait for. Only a queue's first looks for a token: the order is
    /// kept, a change wakes one waiter a queue, and a request that needs one token does not hold up those that need another.
    queues: Mutex<HashMap<Vec<usize>, Arc<tokio::sync::Mutex<()>>>>,
    notify: Notifier,
    /// Requests in flight over all tokens, where the user has set it.
    concurrency: Option<usize>,
    /// The App, and its place among the tokens.
    app: Option<(App, usize)>,
}

struct State {
    tokens: Vec<Token>,
    in_flight: usize,
    /// The most of them in all, as divided among the processes.
    allocation: usize,
    access: AccessCache,
    /// The end of the wait that was announced and is not over.
    announced: Option<Instant>,
}

/// A request that waits for a token.
#[derive(Debug, Clone, Copy)]
pub(super) struct TokenRequest<'a> {
    pub request: &'a Request,
    pub purpose: Purpose<'a>,
}

impl<'a> TokenRequest<'a> {
    pub fn repo(&self) -> Option<&'a RepoName> {
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

#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose<'a> {
    /// With a token known to read the repository, or any if none is known.
    Read,
    /// To find a token that can read the repository; these were tried already.
    Discover { tried: &'a [usize] },
    /// To find out whether this token can.
    Probe(usize),
    /// With this token, however long it is waited for.
    Pinned(usize),
}

/// What came of looking for a token.
pub(super) enum Acquire {
    Granted(Box<Permit>),
    /// The known readers have nothing left; this token might be one.
    ProbeFirst(usize),
    /// This installation needs a token before it can serve.
    RefreshFirst(usize),
    /// Look again at `wake` or on a change. `announce`: it is a wait the user should know of.
    Wait {
        wake: Option<Instant>,
        announce: Option<(Instant, WaitReason)>,
    },
    /// No token is left for this.
    NoToken,
}

/// A token's permission to send one request.
pub(super) struct Permit {
    pool: Arc<TokenPool>,
    pub token: usize,
    pub authorization: Option<HeaderValue>,
    pub hint: String,
    pub fingerprint: String,
    /// Who the tags are told apart by that it is given.
    pub etag_scope: String,
    /// Requests an hour to leave unused.
    pub reserve: u64,
    /// The ledger has granted this already.
    pub granted: bool,
}

impl Permit {
    /// Gives it back without having sent the request.
    pub fn cancel(self) {
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
    pub fn new(
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

    /// Requests in flight at most: in all, and a token.
    fn bounds(&self, state: &State) -> (usize, usize) {
        let count = state.tokens.iter().filter(|token| !matches!(token.credential, Credential::App)).count().max(1);
        let total = self.concurrency.unwrap_or(MAX_IN_FLIGHT_PER_TOKEN * count).clamp(1, MAX_IN_FLIGHT);
        (total, MAX_IN_FLIGHT_PER_TOKEN.max(total.div_ceil(count)))
    }

    /// Resolves when something changes after this call.
    pub fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Queues up with the requests that wait for the same tokens.
    pub async fn wait_turn(&self, wanted: &TokenRequest<'_>) -> OwnedMutexGuard<()> {
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

    /// Looks for a token once. The caller waits when it is blocked, and says so if the wait is a long one.
    pub fn try_acquire(self: &Arc<Self>, wanted: &TokenRequest<'_>, now: Instant) -> Acquire {
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
            granted: chosen.has_recent_grant(now),
        }))
    }

    /// Says that a request waits until `until`, once for each wait.
    pub fn announce_wait(&self, until: Instant, reason: WaitReason, now: Instant) {
        let mut state = self.state();
        if state.announced.is_some_and(|told| told > now && until <= told + Duration::from_secs(1)) {
            return;
        }
        state.announced = Some(until);
        drop(state);
        self.emit(ClientEvent::Waiting { until: utc(until, now), reason });
    }

    /// Says that the announced wait is over, once.
    pub fn announce_resumed(&self) {
        if self.state().announced.take().is_some() {
            self.emit(ClientEvent::Resumed);
        }
    }

    pub fn emit(&self, notice: ClientEvent) {
        (self.notify)(notice);
    }

    /// Learns from an answer's headers. `regular`: an answer of the API itself, whose missing limit headers mean something.
    pub fn record_response(
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

    /// Leaves a token alone until then.
    pub fn pause(&self, token: usize, until: Instant, reason: WaitReason) {
        if let Some(token) = self.state().tokens.get_mut(token)
            && token.paused.is_none_or(|(known, _)| known < until)
        {
            token.paused = Some((until, reason));
        }
        self.changed.notify_waiters();
    }

    /// Counts a secondary limit; gives its place in the row of them. Requests that were in flight together get the same
    /// place: together they are one offence.
    pub fn record_secondary_limit(&self, token: usize, now: Instant) -> Option<u32> {
        let mut state = self.state();
        let token = state.tokens.get_mut(token)?;
        if token.paused.is_some_and(|(until, reason)| until > now && reason == WaitReason::SecondaryLimit) {
            return None;
        }
        token.secondary_limit_hits += 1;
        Some(token.secondary_limit_hits - 1)
    }

    /// Learns from what GitHub says of a token itself: its scopes, and its end, which is told once where it is near.
    pub fn record_details(&self, token: usize, scopes: Option<&str>, expires: Option<DateTime<Utc>>) {
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

    /// Remembers whether a token can read a repository, and whether everybody can.
    pub fn record_access(&self, repo: &RepoName, token: usize, can: bool, public: Option<bool>) {
        self.state().access.record_access(repo, token, can, public);
        self.changed.notify_waiters();
    }

    /// What is known of the readers of a repository holds under its present name too.
    pub fn record_rename(&self, asked: &RepoName, name: &RepoName, public: Option<bool>) {
        self.state().access.record_rename(asked, name, public);
        self.changed.notify_waiters();
    }

    /// Remembers that a token may not read something of a repository, or without a sign-on nothing of it. Returns whether
    /// another token is left that may.
    pub fn record_denial(&self, wanted: &TokenRequest<'_>, token: usize, error: &ApiError) -> bool {
        let Some(repo) = wanted.repo() else { return false };
        let mut state = self.state();
        if matches!(error, ApiError::SsoRequired { .. }) {
            state.access.record_access(repo, token, false, None);
        } else {
            state.access.record_denial(repo, token, wanted.endpoint());
        }
        let wanted = TokenRequest { purpose: Purpose::Read, ..*wanted };
        let may =
            |i: &usize| state.can_read(repo, *i) == Some(true) && !state.access.is_denied(repo, *i, wanted.endpoint());
        state.candidates(&wanted).iter().any(may)
    }

    /// Leaves it open whether a token can read a repository, until then.
    pub fn probe_later(&self, repo: &RepoName, token: usize, at: Instant) {
        self.state().access.probe_later(repo, token, at);
    }

    /// Whether another token than this may serve a request too.
    pub fn has_other(&self, wanted: &TokenRequest<'_>, token: usize) -> bool {
        self.state().candidates(wanted).iter().any(|candidate| *candidate != token)
    }

    /// The tokens that GitHub has not refused.
    pub fn usable(&self) -> Vec<TokenRef> {
        let state = self.state();
        let live = state.tokens.iter().enumerate().filter(|(_, token)| token.can_serve_reads());
        live.map(|(index, token)| TokenRef {
            index,
            fingerprint: token.fingerprint.clone(),
            hint: token.hint.clone(),
            installed_on: token.installation().map(|installed| installed.account.clone()),
        })
        .collect()
    }

    /// What is known of a token.
    pub fn token_state(&self, token: usize, now: Instant) -> TokenState {
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

    pub fn budget(&self, now: Instant) -> PoolBudget {
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
    /// Whether a token is an installation's that has to be got first.
    fn needs_refresh(&self, token: usize, now: Instant) -> bool {
        self.tokens.get(token).and_then(Token::installation).is_some_and(|installed| installed.needs_refresh(now))
    }
}

/// A moment on this machine's calendar.
fn utc(at: Instant, now: Instant) -> DateTime<Utc> {
    let wait = TimeDelta::from_std(at.saturating_duration_since(now)).unwrap_or(TimeDelta::zero());
    Utc::now().checked_add_signed(wait).unwrap_or(DateTime::<Utc>::MAX_UTC)
}
