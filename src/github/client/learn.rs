//! What every answer tells beside what was asked for.

use std::sync::atomic::Ordering;

use chrono::Utc;
use tokio::time::Instant;

use super::super::budget::RateHeaders;
use super::super::classify::{Limit, Pause, Response};
use super::super::request::Meter;
use super::super::tokens::Lease;
use super::super::url::ApiUrl;
use super::Shared;
use crate::rate_limit::WaitReason;

impl Shared {
    /// Takes in what every answer tells: the budget, the token's end, the count. Returns whether the request counts.
    pub async fn absorb(
        &self,
        lease: &Lease,
        (method, url): (&str, &ApiUrl),
        response: &Response,
        started: Instant,
        meter: &Meter,
    ) -> bool {
        let (status, now) = (response.status.as_u16(), Instant::now());
        let rate = RateHeaders::read(&response.headers);
        tracing::debug!(
            method,
            path = %url,
            status,
            ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            token = %lease.hint,
            remaining = rate.remaining,
            "request"
        );
        // What is left can be asked for nothing (GitHub docs: rate limit status).
        let free = (status == 304 && lease.authorization.is_some()) || url.to_string() == "/rate_limit";
        for meter in [meter, &self.total] {
            (if free { &meter.free } else { &meter.counted }).fetch_add(1, Ordering::Relaxed);
        }
        // A 401 carries the limits of the address it came from, not the token's.
        if status != 401 {
            // A limit's or a broken server's answer may come from a machine in front of the API.
            let regular = status < 500 && !matches!(status, 403 | 429);
            let server_now = response.date().unwrap_or_else(Utc::now);
            self.pool.learn(lease, &rate, regular, server_now, now);
            if let Some(sharing) = &self.sharing
                && let Some(news) = self.pool.news(lease.token, &rate, (free, regular), server_now, now)
            {
                sharing.report(lease, news).await;
            }
        }
        self.pool.describe(lease.token, response.scopes(), response.token_expiry());
        !free
    }

    /// Puts the token in its pause, here and in the other processes.
    pub async fn pause(&self, lease: &Lease, limit: &Limit) -> WaitReason {
        let now = Instant::now();
        let (wait, reason, strikes) = match limit.pause {
            Pause::Asked(wait) => (wait, WaitReason::RetryAfter, 0),
            Pause::Reset(wait) => (wait, WaitReason::RateLimit, 0),
            Pause::Secondary => match self.pool.strike(lease.token, now) {
                Some(strike) => (self.tuning.secondary(strike), WaitReason::SecondaryLimit, strike + 1),
                None => return WaitReason::SecondaryLimit,
            },
        };
        let wait = wait.max(self.tuning.least_pause);
        self.pool.pause(lease.token, now + wait, reason);
        if let Some(sharing) = &self.sharing {
            sharing.pause(lease, wait, reason, strikes).await;
        }
        reason
    }
}
