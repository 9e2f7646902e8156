//! What of the pool is shared with other processes: what it tells them, and what it takes from them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::super::budget::{RateLimitHeaders, Remaining};
use super::TokenPool;
use super::token::Token;
use crate::rate_limit::{ALL_TOKENS, ConcurrencyClaim, UsageReport};

/// A server without limits has no budget and no pace to be counted; only its pauses are shared. A grant is good for as
/// long as it takes a pause to get around anyway, so that hundreds of requests a second need not ask one by one.
const GRANT_WITHOUT_LIMITS: Duration = Duration::from_millis(50);

impl TokenPool {
    /// What to tell the other processes of an answer. `free`: it cost nothing; `regular` as for [`TokenPool::record_response`].
    pub fn usage_report(
        &self,
        token: usize,
        rate: &RateLimitHeaders,
        (free, regular): (bool, bool),
        server_now: DateTime<Utc>,
        now: Instant,
    ) -> Option<UsageReport> {
        let mut state = self.state();
        let token = state.tokens.get_mut(token)?;
        if free {
            token.usage.refund();
        }
        if let Some(window) = rate.window(server_now) {
            return token.usage.window(window, token.reserve, token.in_flight <= 1, now);
        }
        let absent = regular && rate.limit.is_none() && rate.remaining.is_none();
        let said = rate.states_no_limit();
        (said || absent).then(|| token.usage.no_limit(said)).flatten()
    }

    /// A granted request was never sent, or never reached GitHub.
    pub fn refund(&self, token: usize) {
        if let Some(token) = self.state().tokens.get_mut(token) {
            token.usage.refund();
        }
    }

    /// What this process does with its tokens: each, then all together. `vouched`: the allocations that it was given before
    /// still hold; otherwise only what is in flight is its own.
    pub fn concurrency_claims(&self, vouched: bool) -> Vec<ConcurrencyClaim> {
        let state = self.state();
        let (total, per_token) = self.bounds(&state);
        let holding = |allocation: usize, in_flight: usize| if vouched { allocation.max(in_flight) } else { in_flight };
        let each = state.tokens.iter().map(|token| ConcurrencyClaim {
            token: token.fingerprint.clone(),
            current: holding(token.allocation.min(per_token), token.in_flight),
            max: per_token,
        });
        let all = ConcurrencyClaim {
            token: ALL_TOKENS.to_owned(),
            current: holding(state.allocation.min(total), state.in_flight),
            max: total,
        };
        each.chain([all]).collect()
    }

    /// Takes the allocations for [`TokenPool::concurrency_claims`], in its order.
    pub fn set_allocations(&self, allocations: &[usize]) {
        let Some((all, each)) = allocations.split_last() else { return };
        let mut state = self.state();
        state.allocation = *all;
        for (token, allocation) in state.tokens.iter_mut().zip(each) {
            token.allocation = *allocation;
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Other processes hold all that may go with a token until then.
    pub fn throttle_until(&self, token: usize, until: Instant) {
        if let Some(token) = self.state().tokens.get_mut(token) {
            token.throttled_until = Some(until);
        }
    }

    /// Another process met so many secondary limits in a row.
    pub fn record_secondary_limit_hits(&self, token: usize, strikes: u32) {
        if let Some(token) = self.state().tokens.get_mut(token) {
            token.secondary_limit_hits = token.secondary_limit_hits.max(strikes);
        }
    }

    /// The ledger has granted a request with this token that it was asked for at that time.
    pub fn record_grant(&self, token: usize, asked: Instant) {
        if let Some(token) = self.state().tokens.get_mut(token) {
            token.last_grant = Some(asked);
        }
    }
}

impl Token {
    /// Whether an earlier grant covers a request that goes now.
    pub(super) fn has_recent_grant(&self, now: Instant) -> bool {
        let recent = |asked: Instant| now.saturating_duration_since(asked) < GRANT_WITHOUT_LIMITS;
        matches!(self.budget.remaining(now), Remaining::Unlimited) && self.last_grant.is_some_and(recent)
    }
}
