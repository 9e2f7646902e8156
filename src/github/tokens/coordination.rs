//! The pool's part in coordination with other processes: its reports and claims, and the allocations that it gets.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::super::budget::{RateLimitHeaders, Remaining};
use super::TokenPool;
use super::token::Token;
use crate::rate_limit::{ALL_TOKENS, ConcurrencyClaim, UsageReport};

/// Validity of a reservation on a server without limits, where only pauses are shared: about as long as a pause takes to reach
/// other processes anyway. It spares hundreds of reservations a second.
const UNLIMITED_GRANT_TTL: Duration = Duration::from_millis(50);

impl TokenPool {
    /// Returns what to report of a response, if anything is due. `free` responses cost nothing; `regular` as for
    /// [`TokenPool::record_response`].
    pub(crate) fn usage_report(
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
            return token.usage.record_window(window, token.reserve, token.in_flight <= 1, now);
        }
        let absent = regular && rate.limit.is_none() && rate.remaining.is_none();
        let stated = rate.states_no_limit();
        (stated || absent).then(|| token.usage.record_no_limit(stated)).flatten()
    }

    /// Records that a reserved request was not sent, or never reached GitHub.
    pub(crate) fn refund(&self, token: usize) {
        if let Some(token) = self.state().tokens.get_mut(token) {
            token.usage.refund();
        }
    }

    /// Returns this process's claims: one per token, then one for all together. While its allocations are `valid`, it may still
    /// use them; otherwise it holds only what is in flight.
    pub(crate) fn concurrency_claims(&self, valid: bool) -> Vec<ConcurrencyClaim> {
        let state = self.state();
        let (total, per_token) = self.bounds(&state);
        let current = |allocation: usize, in_flight: usize| if valid { allocation.max(in_flight) } else { in_flight };
        let each = state.tokens.iter().map(|token| ConcurrencyClaim {
            token: token.fingerprint.clone(),
            current: current(token.allocation.min(per_token), token.in_flight),
            max: per_token,
        });
        let all = ConcurrencyClaim {
            token: ALL_TOKENS.to_owned(),
            current: current(state.allocation.min(total), state.in_flight),
            max: total,
        };
        each.chain([all]).collect()
    }

    /// Sets the allocations for [`TokenPool::concurrency_claims`], in the same order.
    pub(crate) fn set_allocations(&self, allocations: &[usize]) {
        let Some((all, each)) = allocations.split_last() else { return };
        let mut state = self.state();
        state.allocation = *all;
        for (token, allocation) in state.tokens.iter_mut().zip(each) {
            token.allocation = *allocation;
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Throttles a token of which other processes hold all that may be sent.
    pub(crate) fn throttle_until(&self, token: usize, until: Instant) {
        if let Some(token) = self.state().tokens.get_mut(token) {
            token.throttled_until = Some(until);
        }
    }

    /// Records how many secondary limits in a row another process hit.
    pub(crate) fn record_secondary_limit_hits(&self, token: usize, hits: u32) {
        if let Some(token) = self.state().tokens.get_mut(token) {
            token.secondary_limit_hits = token.secondary_limit_hits.max(hits);
        }
    }

    /// Records the time of a reservation that was granted.
    pub(crate) fn record_grant(&self, token: usize, at: Instant) {
        if let Some(token) = self.state().tokens.get_mut(token) {
            token.last_grant = Some(at);
        }
    }
}

impl Token {
    /// Returns whether an earlier reservation covers a request that is sent now.
    pub(super) fn has_recent_grant(&self, now: Instant) -> bool {
        let recent = |at: Instant| now.saturating_duration_since(at) < UNLIMITED_GRANT_TTL;
        matches!(self.budget.remaining(now), Remaining::Unlimited) && self.last_grant.is_some_and(recent)
    }
}
