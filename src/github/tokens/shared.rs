//! What of the pool is shared with other processes: what it tells them, and what it takes from them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::super::budget::{Left, RateHeaders};
use super::Pool;
use super::token::Token;
use crate::rate_limit::{ALL_TOKENS, ConcurrencyClaim, UsageReport};

/// A server without limits has no budget and no pace to be counted; only its pauses are shared. A grant is good for as
/// long as it takes a pause to get around anyway, so that hundreds of requests a second need not ask one by one.
const GRANT_WITHOUT_LIMITS: Duration = Duration::from_millis(50);

impl Pool {
    /// What to tell the other processes of an answer. `free`: it cost nothing; `regular` as for [`Pool::learn`].
    pub fn news(
        &self,
        token: usize,
        rate: &RateHeaders,
        (free, regular): (bool, bool),
        server_now: DateTime<Utc>,
        now: Instant,
    ) -> Option<UsageReport> {
        let mut state = self.state();
        let token = state.tokens.get_mut(token)?;
        if free {
            token.outbox.unspent();
        }
        if let Some(hour) = rate.hour(server_now) {
            return token.outbox.hour(hour, token.reserve, token.in_flight <= 1, now);
        }
        let absent = regular && rate.limit.is_none() && rate.remaining.is_none();
        let said = rate.says_no_limit();
        (said || absent).then(|| token.outbox.no_limit(said)).flatten()
    }

    /// A granted request was never sent, or never reached GitHub.
    pub fn unspent(&self, token: usize) {
        if let Some(token) = self.state().tokens.get_mut(token) {
            token.outbox.unspent();
        }
    }

    /// What this process does with its tokens: each, then all together. `vouched`: the shares that it was given before
    /// still hold; otherwise only what is in flight is its own.
    pub fn uses(&self, vouched: bool) -> Vec<ConcurrencyClaim> {
        let state = self.state();
        let (total, per_token) = self.bounds(&state);
        let holding = |share: usize, in_flight: usize| if vouched { share.max(in_flight) } else { in_flight };
        let each = state.tokens.iter().map(|token| ConcurrencyClaim {
            token: token.fingerprint.clone(),
            current: holding(token.share.min(per_token), token.in_flight),
            max: per_token,
        });
        let all = ConcurrencyClaim {
            token: ALL_TOKENS.to_owned(),
            current: holding(state.share.min(total), state.in_flight),
            max: total,
        };
        each.chain([all]).collect()
    }

    /// Takes the shares for [`Pool::uses`], in its order.
    pub fn set_shares(&self, shares: &[usize]) {
        let Some((all, each)) = shares.split_last() else { return };
        let mut state = self.state();
        state.share = *all;
        for (token, share) in state.tokens.iter_mut().zip(each) {
            token.share = *share;
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Other processes hold all that may go with a token until then.
    pub fn hold(&self, token: usize, until: Instant) {
        if let Some(token) = self.state().tokens.get_mut(token) {
            token.held = Some(until);
        }
    }

    /// Another process met so many secondary limits in a row.
    pub fn strikes(&self, token: usize, strikes: u32) {
        if let Some(token) = self.state().tokens.get_mut(token) {
            token.strikes = token.strikes.max(strikes);
        }
    }

    /// The ledger has granted a request with this token that it was asked for at that time.
    pub fn granted(&self, token: usize, asked: Instant) {
        if let Some(token) = self.state().tokens.get_mut(token) {
            token.granted = Some(asked);
        }
    }
}

impl Token {
    /// Whether an earlier grant covers a request that goes now.
    pub(super) fn is_granted(&self, now: Instant) -> bool {
        let recent = |asked: Instant| now.saturating_duration_since(asked) < GRANT_WITHOUT_LIMITS;
        matches!(self.budget.left(now), Left::Unlimited) && self.granted.is_some_and(recent)
    }
}
