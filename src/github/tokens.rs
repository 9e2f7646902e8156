//! The tokens: which one serves a request, who waits for what, and leases, which are given back when they are dropped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use http::HeaderValue;
use sha2::{Digest, Sha256};
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, OwnedMutexGuard};
use tokio::time::Instant;

use super::access::Readers;
use super::budget::{Budget, Left, RateHeaders};
use super::error::{ApiError, ClientError};
use super::ledger::IN_FLIGHT_MOST;
use super::notice::{Notice, WaitReason};
use super::outbox::Outbox;
use super::pace::{self, Pace};
use super::request::{Budget as Total, TokenRef, TokenSetting};
use crate::names::RepoName;

mod shared;

/// Requests in flight a token: enough to hide the network's latency at GitHub's pace.
const PER_TOKEN: usize = 16;
/// Lanes are forgotten beyond this number when nobody waits in them.
const LANES_KEPT: usize = 64;
/// A token that ends within this time is worth a line.
const EXPIRY_WARNING: TimeDelta = TimeDelta::days(7);

type Notifier = Arc<dyn Fn(Notice) + Send + Sync>;

/// All tokens of a client. Without any, one anonymous "token".
pub(super) struct Pool {
    state: Mutex<State>,
    /// Told whenever a request that had to wait might go now.
    changed: Notify,
    /// One queue for each set of tokens that requests wait for. Only a queue's first looks for a token: the order is
    /// kept, a change wakes one waiter a queue, and a request that needs one token does not hold up those that need another.
    lanes: Mutex<HashMap<Vec<usize>, Arc<tokio::sync::Mutex<()>>>>,
    notify: Notifier,
    total: usize,
    per_token: usize,
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

struct Token {
    authorization: Option<HeaderValue>,
    hint: String,
    fingerprint: String,
    reserve: u64,
    budget: Budget,
    pace: Pace,
    in_flight: usize,
    /// The most of them, as divided among the processes.
    share: usize,
    paused: Option<(Instant, WaitReason)>,
    /// Other processes hold all that may go at the moment.
    held: Option<Instant>,
    /// When the ledger was last asked for a request that it granted.
    granted: Option<Instant>,
    outbox: Outbox,
    /// Secondary limits in a row.
    strikes: u32,
    rejected: bool,
    expiry_told: bool,
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
    Lease(Lease),
    /// The known readers have nothing left; this token might be one.
    Probe(usize),
    /// Look again at `wake` or on a change. `told`: it is a wait the user should know of.
    Blocked {
        wake: Option<Instant>,
        told: Option<(Instant, WaitReason)>,
    },
    /// No token is left for this.
    Nobody,
}

enum Standing {
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

/// A token's permission to send one request.
pub(super) struct Lease {
    pool: Arc<Pool>,
    pub token: usize,
    pub authorization: Option<HeaderValue>,
    pub hint: String,
    pub fingerprint: String,
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
        concurrency: Option<usize>,
        notify: Notifier,
    ) -> Result<Arc<Self>, ClientError> {
        let mut tokens: Vec<Token> = Vec::new();
        for setting in settings {
            let token = Token::new(setting)?;
            // The same token twice has one budget.
            if tokens.iter().all(|known| known.authorization != token.authorization) {
                tokens.push(token);
            }
        }
        if tokens.is_empty() {
            tokens.push(Token::anonymous());
            notify(Notice::Anonymous);
        }
        let count = tokens.len();
        let total = concurrency.unwrap_or(PER_TOKEN * count).clamp(1, IN_FLIGHT_MOST);
        let state =
            State { tokens, in_flight: 0, share: IN_FLIGHT_MOST, readers: Readers::new(count), announced: None };
        Ok(Arc::new(Self {
            state: Mutex::new(state),
            changed: Notify::new(),
            lanes: Mutex::default(),
            notify,
            total,
            per_token: PER_TOKEN.max(total.div_ceil(count)),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock; if one did, the counters are still usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn total(&self) -> usize {
        self.total
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
        let found = state.choose(want, now, self.per_token);
        let token = match found {
            Ok(_) if state.in_flight >= self.total.min(state.share) => return Try::Blocked { wake: None, told: None },
            Ok(token) => token,
            Err(blocked) => return blocked,
        };
        state.in_flight += 1;
        // `choose` gives indexes into `tokens`.
        let Some(chosen) = state.tokens.get_mut(token) else { return Try::Nobody };
        chosen.in_flight += 1;
        chosen.pace.take(now);
        Try::Lease(Lease {
            pool: Arc::clone(self),
            token,
            authorization: chosen.authorization.clone(),
            hint: chosen.hint.clone(),
            fingerprint: chosen.fingerprint.clone(),
            reserve: chosen.reserve,
            granted: chosen.is_granted(now),
        })
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
    pub fn learn(&self, token: usize, rate: &RateHeaders, regular: bool, server_now: DateTime<Utc>, now: Instant) {
        let mut state = self.state();
        let Some(token) = state.tokens.get_mut(token) else { return };
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

    /// Takes a token out for this run (401).
    pub fn reject(&self, token: usize) {
        let mut state = self.state();
        let Some(token) = state.tokens.get_mut(token) else { return };
        let hint = (!std::mem::replace(&mut token.rejected, true)).then(|| token.hint.clone());
        drop(state);
        self.changed.notify_waiters();
        if let Some(hint) = hint {
            self.tell(Notice::TokenRejected { hint });
        }
    }

    /// Says once that a token ends soon.
    pub fn expires(&self, token: usize, at: DateTime<Utc>) {
        let mut state = self.state();
        let Some(token) = state.tokens.get_mut(token) else { return };
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
        let may = |i: &usize| {
            state.readers.verdict(repo, *i) == Some(true) && !state.readers.is_refused(repo, *i, want.endpoint)
        };
        state.candidates(&want).iter().any(may)
    }

    /// Leaves it open whether a token can read a repository, until then.
    pub fn probe_later(&self, repo: &RepoName, token: usize, at: Instant) {
        self.state().readers.probe_later(repo, token, at);
    }

    /// Whether any token was rejected.
    pub fn has_rejected(&self) -> bool {
        self.state().tokens.iter().any(|token| token.rejected)
    }

    /// The tokens that GitHub has not refused.
    pub fn live(&self) -> Vec<TokenRef> {
        let state = self.state();
        let live = state.tokens.iter().enumerate().filter(|(_, token)| !token.rejected);
        live.map(|(index, token)| TokenRef { index, fingerprint: token.fingerprint.clone(), hint: token.hint.clone() })
            .collect()
    }

    pub fn hints(&self) -> Vec<String> {
        self.state().tokens.iter().map(|token| token.hint.clone()).collect()
    }

    pub fn budget(&self, now: Instant) -> Total {
        let state = self.state();
        let mut total =
            Total { tokens: 0, remaining: 0, hourly: 0, next_reset: None, unlimited: false, per_second: 0.0 };
        for token in state.tokens.iter().filter(|token| !token.rejected) {
            total.tokens += usize::from(token.authorization.is_some());
            total.per_second += pace::PER_SECOND;
            match token.budget.left(now) {
                Left::Unknown => {}
                Left::Unlimited => total.unlimited = true,
                Left::Requests { remaining, limit, reset_at } => {
                    let reserve = token.reserve.min(limit.saturating_sub(1));
                    let free = remaining.saturating_sub(reserve).saturating_sub(token.in_flight as u64);
                    total.remaining = total.remaining.saturating_add(free);
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
    /// The tokens that may serve it at all.
    fn candidates(&self, want: &Want<'_>) -> Vec<usize> {
        let live = |&i: &usize| self.tokens.get(i).is_some_and(|token| !token.rejected);
        let all = (0..self.tokens.len()).filter(live);
        let verdict = |i: usize| self.readers.verdict(want.repo?, i);
        let refused = |i: &usize| want.repo.is_some_and(|repo| self.readers.is_refused(repo, *i, want.endpoint));
        let pick = |all: Vec<usize>, keep: &dyn Fn(Option<bool>) -> bool| -> Vec<usize> {
            all.into_iter().filter(|&i| keep(verdict(i))).collect()
        };
        let all: Vec<usize> = all.collect();
        let or = |first: Vec<usize>, second: Vec<usize>| if first.is_empty() { second } else { first };
        match want.purpose {
            Purpose::Probe(token) | Purpose::Only(token) => all.into_iter().filter(|&i| i == token).collect(),
            Purpose::Read => {
                let hopeful = or(pick(all.clone(), &|v| v != Some(false)), all.clone());
                let readers = or(pick(all, &|v| v == Some(true)), hopeful);
                let (refused, allowed): (Vec<usize>, Vec<usize>) = readers.into_iter().partition(refused);
                or(allowed, refused)
            }
            Purpose::Discover { tried } => {
                let rest: Vec<usize> = all.into_iter().filter(|i| !tried.contains(i)).collect();
                or(pick(rest.clone(), &|v| v != Some(false)), rest)
            }
        }
    }

    fn preferred(&self, want: &Want<'_>, candidates: &[usize], now: Instant) -> Option<usize> {
        let prefer = want.prefer?;
        let token =
            candidates.iter().copied().find(|&i| self.tokens.get(i).is_some_and(|t| t.fingerprint == prefer))?;
        // Its 304 is free: worth the milliseconds until it may go, not worth the hour.
        (!matches!(self.tokens.get(token)?.standing(now, usize::MAX), Standing::Until(..))).then_some(token)
    }

    /// The queue to wait in: the tokens waited for.
    fn lane(&self, want: &Want<'_>, now: Instant) -> Vec<usize> {
        let candidates = self.candidates(want);
        match self.preferred(want, &candidates, now) {
            Some(token) => vec![token],
            None => candidates,
        }
    }

    fn choose(&self, want: &Want<'_>, now: Instant, per_token: usize) -> Result<usize, Try> {
        let mut candidates = self.candidates(want);
        if candidates.is_empty() {
            return Err(Try::Nobody);
        }
        if let Some(token) = self.preferred(want, &candidates, now) {
            candidates = vec![token];
        }
        let (mut best, mut wake, mut long, mut short) = (None, None, None, false);
        let sooner = |known: Option<Instant>, at: Instant| Some(known.map_or(at, |known| known.min(at)));
        for &i in &candidates {
            let Some(token) = self.tokens.get(i) else { continue };
            match token.standing(now, per_token) {
                Standing::Ready { left } => {
                    let merit = (
                        want.repo.and_then(|repo| self.readers.verdict(repo, i)) == Some(true),
                        left,
                        std::cmp::Reverse((token.in_flight, i)),
                    );
                    if best.as_ref().is_none_or(|(known, _)| merit > *known) {
                        best = Some((merit, i));
                    }
                }
                Standing::Busy => short = true,
                Standing::Paced(at) => (short, wake) = (true, sooner(wake, at)),
                Standing::Until(at, reason) => {
                    wake = sooner(wake, at);
                    if long.is_none_or(|(known, _)| at < known) {
                        long = Some((at, reason));
                    }
                }
            }
        }
        match best {
            Some((_, token)) => Ok(token),
            None if short => Err(Try::Blocked { wake, told: None }),
            None => Err(match self.unproven(want, &candidates, now, per_token) {
                Unproven::Now(token) => Try::Probe(token),
                Unproven::Later(at) => Try::Blocked { wake: sooner(wake, at), told: long },
                Unproven::None => Try::Blocked { wake, told: long },
            }),
        }
    }

    /// A token with budget that nobody has tried on this repository.
    fn unproven(&self, want: &Want<'_>, known: &[usize], now: Instant, per_token: usize) -> Unproven {
        let (Purpose::Read, Some(repo)) = (want.purpose, want.repo) else { return Unproven::None };
        let mut later = None;
        for (i, token) in self.tokens.iter().enumerate() {
            let ready = matches!(token.standing(now, per_token), Standing::Ready { .. });
            if token.rejected || known.contains(&i) || self.readers.verdict(repo, i).is_some() || !ready {
                continue;
            }
            match self.readers.probe_after(repo, i) {
                Some(at) if at > now => later = Some(later.map_or(at, |known: Instant| known.min(at))),
                _ => return Unproven::Now(i),
            }
        }
        later.map_or(Unproven::None, Unproven::Later)
    }
}

/// A token of which it is not known whether it can read a repository.
enum Unproven {
    Now(usize),
    Later(Instant),
    None,
}

impl Token {
    fn new(setting: &TokenSetting) -> Result<Self, ClientError> {
        let secret = setting.secret.expose();
        let hint = setting.secret.hint();
        let mut authorization = HeaderValue::from_str(&format!("Bearer {secret}"))
            .ok()
            .filter(|_| !secret.is_empty() && secret.bytes().all(|b| b.is_ascii_graphic()))
            .ok_or_else(|| ClientError::Token { hint: hint.clone() })?;
        authorization.set_sensitive(true);
        let digest = Sha256::digest(secret.as_bytes());
        let fingerprint = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self {
            authorization: Some(authorization),
            hint,
            fingerprint,
            reserve: setting.reserve.into(),
            ..Self::anonymous()
        })
    }

    fn anonymous() -> Self {
        Self {
            authorization: None,
            hint: "anonymous".to_owned(),
            fingerprint: String::new(),
            reserve: 0,
            budget: Budget::Unknown,
            pace: Pace::default(),
            in_flight: 0,
            share: IN_FLIGHT_MOST,
            paused: None,
            held: None,
            granted: None,
            outbox: Outbox::default(),
            strikes: 0,
            rejected: false,
            expiry_told: false,
        }
    }

    fn standing(&self, now: Instant, per_token: usize) -> Standing {
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

/// A moment on this machine's calendar.
fn utc(at: Instant, now: Instant) -> DateTime<Utc> {
    let wait = TimeDelta::from_std(at.saturating_duration_since(now)).unwrap_or(TimeDelta::zero());
    Utc::now().checked_add_signed(wait).unwrap_or(DateTime::<Utc>::MAX_UTC)
}
