//! The tokens: who waits for what, and leases, which are given back when they are dropped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use http::HeaderValue;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, OwnedMutexGuard};
use tokio::time::Instant;

use super::access::Readers;
use super::app::App;
use super::budget::{Left, RateHeaders};
use super::error::{ApiError, ClientError};
use super::notice::Notice;
use super::pace;
use super::request::{Budget as Total, TokenRef, TokenSetting, TokenState};
use crate::names::RepoName;
use crate::rate_limit::{MAX_IN_FLIGHT, WaitReason};

pub(super) use token::fingerprint;
use token::{Credential, Token};

mod app;
mod choose;
mod out;
mod shared;
mod token;

/// Requests in flight a token: enough to hide the network's latency at GitHub's pace.
const PER_TOKEN: usize = 16;
/// Lanes are forgotten beyond this number when nobody waits in them.
const LANES_KEPT: usize = 64;
/// A token that ends within this time is worth a line.
const EXPIRY_WARNING: TimeDelta = TimeDelta::days(7);

/// So many tokens in a row that an installation was given and GitHub then refused mean that it will not be let in: one that is
/// just made may not be known everywhere yet.
const REFUSED_MOST: u32 = 3;

/// What is said of a token that GitHub has answered 401.
pub(super) const REFUSED: &str = "refused (401): expired, revoked or mistyped";

type Notifier = Arc<dyn Fn(Notice) + Send + Sync>;

/// All tokens of a client, and the App that makes further ones. Without any, one anonymous "token".
pub(super) struct Pool {
    state: Mutex<State>,
    /// Told whenever a request that had to wait might go now.
    changed: Notify,
    /// One queue for each set of tokens that requests wait for. Only a queue's first looks for a token: the order is
    /// kept, a change wakes one waiter a queue, and a request that needs one token does not hold up those that need another.
    lanes: Mutex<HashMap<Vec<usize>, Arc<tokio::sync::Mutex<()>>>>,
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
    share: usize,
    readers: Readers,
    /// The end of the wait that was announced and is not over.
    announced: Option<Instant>,
}

/// What a request needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Want<'a> {
    pub repo: Option<&'a RepoName>,
    /// The fingerprint of the token whose ETag is at hand.
    pub prefer: Option<&'a str>,
    /// What is asked for of the repository, `stargazers`.
    pub endpoint: &'a str,
    pub purpose: Purpose<'a>,
    /// What it counts on the secondary limit.
    pub points: u32,
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
    Only(usize),
}

/// What came of looking for a token.
pub(super) enum Try {
    Lease(Box<Lease>),
    /// The known readers have nothing left; this token might be one.
    Probe(usize),
    /// This installation needs a token before it can serve.
    Renew(usize),
    /// Look again at `wake` or on a change. `told`: it is a wait the user should know of.
    Blocked {
        wake: Option<Instant>,
        told: Option<(Instant, WaitReason)>,
    },
    /// No token is left for this.
    Nobody,
}

/// A token's permission to send one request.
pub(super) struct Lease {
    pool: Arc<Pool>,
    pub token: usize,
    pub authorization: Option<HeaderValue>,
    pub hint: String,
    pub fingerprint: String,
    /// Who the tags are told apart by that it is given.
    pub tags: String,
    /// Requests an hour to leave unused.
    pub reserve: u64,
    /// The ledger has granted this already.
    pub granted: bool,
}

impl Lease {
    /// Gives it back without having sent the request.
    pub fn unused(self) {
        if let Some(token) = self.pool.state().tokens.get_mut(self.token) {
            token.pace.give_back();
        }
    }
}

impl Drop for Lease {
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

impl Pool {
    pub fn new(
        settings: &[TokenSetting],
        app: Option<App>,
        concurrency: Option<usize>,
        notify: Notifier,
    ) -> Result<Arc<Self>, ClientError> {
        let mut tokens: Vec<Token> = Vec::new();
        for setting in settings {
            let token = Token::given(setting)?;
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
            notify(Notice::Anonymous);
        }
        let state = State { tokens, in_flight: 0, share: MAX_IN_FLIGHT, readers: Readers::new(), announced: None };
        Ok(Arc::new(Self {
            state: Mutex::new(state),
            changed: Notify::new(),
            lanes: Mutex::default(),
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
        let total = self.concurrency.unwrap_or(PER_TOKEN * count).clamp(1, MAX_IN_FLIGHT);
        (total, PER_TOKEN.max(total.div_ceil(count)))
    }

    /// Resolves when something changes after this call.
    pub fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Queues up with the requests that wait for the same tokens.
    pub async fn turn(&self, want: &Want<'_>) -> OwnedMutexGuard<()> {
        let key = self.state().lane(want, Instant::now());
        let lane = {
            let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            if lanes.len() >= LANES_KEPT {
                lanes.retain(|_, lane| Arc::strong_count(lane) > 1);
            }
            Arc::clone(lanes.entry(key).or_default())
        };
        lane.lock_owned().await
    }

    /// Looks for a token once. The caller waits when it is blocked, and says so if the wait is a long one.
    pub fn try_lease(self: &Arc<Self>, want: &Want<'_>, now: Instant) -> Try {
        let mut state = self.state();
        let (total, per_token) = self.bounds(&state);
        let found = state.choose(want, now, per_token);
        let token = match found {
            Ok(token) if state.is_due(token, now) => return Try::Renew(token),
            Ok(_) if state.in_flight >= total.min(state.share) => return Try::Blocked { wake: None, told: None },
            Ok(token) => token,
            Err(blocked) => return blocked,
        };
        state.in_flight += 1;
        // `choose` gives indexes into `tokens`.
        let Some(chosen) = state.tokens.get_mut(token) else { return Try::Nobody };
        chosen.in_flight += 1;
        (0..want.points).for_each(|_| chosen.pace.take(now));
        let signed = || self.app.as_ref().filter(|(_, place)| *place == token).map(|(app, _)| app.sign());
        Try::Lease(Box::new(Lease {
            pool: Arc::clone(self),
            token,
            authorization: chosen.authorization().or_else(signed),
            hint: chosen.hint.clone(),
            tags: chosen.tags().unwrap_or_default().to_owned(),
            fingerprint: chosen.fingerprint.clone(),
            reserve: chosen.reserve,
            granted: chosen.is_granted(now),
        }))
    }

    /// Says that a request waits until `until`, once for each wait.
    pub fn announce(&self, until: Instant, reason: WaitReason, now: Instant) {
        let mut state = self.state();
        if state.announced.is_some_and(|told| told > now && until <= told + Duration::from_secs(1)) {
            return;
        }
        state.announced = Some(until);
        drop(state);
        self.tell(Notice::Waiting { until: utc(until, now), reason });
    }

    /// Says that the announced wait is over, once.
    pub fn resumed(&self) {
        if self.state().announced.take().is_some() {
            self.tell(Notice::Resumed);
        }
    }

    pub fn tell(&self, notice: Notice) {
        (self.notify)(notice);
    }

    /// Learns from an answer's headers. `regular`: an answer of the API itself, whose missing limit headers mean something.
    pub fn learn(&self, lease: &Lease, rate: &RateHeaders, regular: bool, server_now: DateTime<Utc>, now: Instant) {
        let mut state = self.state();
        let Some(token) = state.tokens.get_mut(lease.token) else { return };
        token.served(lease.authorization.as_ref());
        token.budget.learn(rate, server_now, now);
        if regular {
            if rate.limit.is_none() && rate.remaining.is_none() {
                token.budget.learn_absent();
            }
            if token.paused.is_none_or(|(until, _)| until <= now) {
                token.strikes = 0;
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
    pub fn strike(&self, token: usize, now: Instant) -> Option<u32> {
        let mut state = self.state();
        let token = state.tokens.get_mut(token)?;
        if token.paused.is_some_and(|(until, reason)| until > now && reason == WaitReason::SecondaryLimit) {
            return None;
        }
        token.strikes += 1;
        Some(token.strikes - 1)
    }

    /// Learns from what GitHub says of a token itself: its scopes, and its end, which is told once where it is near.
    pub fn describe(&self, token: usize, scopes: Option<&str>, expires: Option<DateTime<Utc>>) {
        let mut state = self.state();
        let Some(token) = state.tokens.get_mut(token) else { return };
        if let Some(scopes) = scopes {
            token.scopes = Some(scopes.to_owned());
        }
        let Some(at) = expires.filter(|_| token.lasts()) else { return };
        token.expires = Some(at);
        if token.expiry_told || at - Utc::now() > EXPIRY_WARNING {
            return;
        }
        token.expiry_told = true;
        let hint = token.hint.clone();
        drop(state);
        self.tell(Notice::TokenExpiring { hint, at });
    }

    /// Remembers whether a token can read a repository, and whether everybody can.
    pub fn remember(&self, repo: &RepoName, token: usize, can: bool, public: Option<bool>) {
        self.state().readers.remember(repo, token, can, public);
        self.changed.notify_waiters();
    }

    /// What is known of the readers of a repository holds under its present name too.
    pub fn is_called(&self, asked: &RepoName, name: &RepoName, public: Option<bool>) {
        self.state().readers.is_called(asked, name, public);
        self.changed.notify_waiters();
    }

    /// Remembers that a token may not read something of a repository, or without a sign-on nothing of it. Returns whether
    /// another token is left that may.
    pub fn refuse(&self, want: &Want<'_>, token: usize, error: &ApiError) -> bool {
        let Some(repo) = want.repo else { return false };
        let mut state = self.state();
        if matches!(error, ApiError::SsoRequired { .. }) {
            state.readers.remember(repo, token, false, None);
        } else {
            state.readers.refuse(repo, token, want.endpoint);
        }
        let want = Want { purpose: Purpose::Read, ..*want };
        let may =
            |i: &usize| state.verdict(repo, *i) == Some(true) && !state.readers.is_refused(repo, *i, want.endpoint);
        state.candidates(&want).iter().any(may)
    }

    /// Leaves it open whether a token can read a repository, until then.
    pub fn probe_later(&self, repo: &RepoName, token: usize, at: Instant) {
        self.state().readers.probe_later(repo, token, at);
    }

    /// Whether another token than this may serve a request too.
    pub fn has_other(&self, want: &Want<'_>, token: usize) -> bool {
        self.state().candidates(want).iter().any(|candidate| *candidate != token)
    }

    /// The tokens that GitHub has not refused.
    pub fn live(&self) -> Vec<TokenRef> {
        let state = self.state();
        let live = state.tokens.iter().enumerate().filter(|(_, token)| token.reads());
        live.map(|(index, token)| TokenRef {
            index,
            fingerprint: token.fingerprint.clone(),
            hint: token.hint.clone(),
            installed_on: token.installed().map(|installed| installed.account.clone()),
        })
        .collect()
    }

    /// What is known of a token.
    pub fn known(&self, token: usize, now: Instant) -> TokenState {
        let state = self.state();
        let Some(token) = state.tokens.get(token) else { return TokenState::default() };
        let (budget, resets_at) = match token.budget.left(now) {
            Left::Unknown => (None, None),
            Left::Unlimited => (Some((u64::MAX, u64::MAX)), None),
            Left::Requests { remaining, limit, reset_at } => (Some((remaining, limit)), Some(utc(reset_at, now))),
        };
        let (scopes, expires) = (token.scopes.clone(), token.expires);
        let paused = token.paused.filter(|(until, _)| *until > now).map(|(until, why)| (utc(until, now), why));
        TokenState { out: token.out.clone(), scopes, expires, budget, resets_at, paused }
    }

    pub fn budget(&self, now: Instant) -> Total {
        let state = self.state();
        let mut total = Total {
            tokens: 0,
            remaining: 0,
            hourly: 0,
            window: Duration::ZERO,
            next_reset: None,
            unlimited: false,
            per_second: 0.0,
        };
        for token in state.tokens.iter().filter(|token| token.reads()) {
            total.tokens += usize::from(!matches!(token.credential, Credential::Nobody));
            total.per_second += pace::PER_SECOND;
            match token.budget.left(now) {
                Left::Unknown => {}
                Left::Unlimited => total.unlimited = true,
                Left::Requests { remaining, limit, reset_at } => {
                    let reserve = token.reserve.min(limit.saturating_sub(1));
                    let free = remaining.saturating_sub(reserve).saturating_sub(token.in_flight as u64);
                    total.remaining = total.remaining.saturating_add(free);
                    total.window = total.window.max(token.budget.window());
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
    fn is_due(&self, token: usize, now: Instant) -> bool {
        self.tokens.get(token).and_then(Token::installed).is_some_and(|installed| installed.is_due(now))
    }
}

/// A moment on this machine's calendar.
fn utc(at: Instant, now: Instant) -> DateTime<Utc> {
    let wait = TimeDelta::from_std(at.saturating_duration_since(now)).unwrap_or(TimeDelta::zero());
    Utc::now().checked_add_signed(wait).unwrap_or(DateTime::<Utc>::MAX_UTC)
}
