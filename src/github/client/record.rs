//! Recording of what every response tells apart from its body.

use chrono::Utc;
use tokio::time::Instant;

use super::super::budget::RateLimitHeaders;
use super::super::classify::{Backoff, RateLimitResponse, Response};
use super::super::request::RequestCounter;
use super::super::tokens::Permit;
use super::super::url::ApiUrl;
use super::inner::Inner;
use crate::rate_limit::WaitReason;

impl Inner {
    /// Records a response's rate limit, its token's expiry and scopes, and its cost. Returns whether it counts.
    pub(super) async fn record_response(
        &self,
        permit: &Permit,
        (method, url): (&str, &ApiUrl),
        response: &Response,
        started: Instant,
        counter: &RequestCounter,
    ) -> bool {
        let (status, now) = (response.status.as_u16(), Instant::now());
        let rate = RateLimitHeaders::read(&response.headers);
        tracing::debug!(
            method,
            path = %url,
            status,
            ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            token = %permit.hint,
            remaining = rate.remaining,
            "request"
        );
        // `/rate_limit` is free (GitHub docs: rate limit status).
        let is_free = (status == 304 && permit.authorization.is_some()) || url.to_string() == "/rate_limit";
        counter.record(is_free);
        self.total.record(is_free);
        // A 401 carries the limits of the address it came from, not the token's.
        if status != 401 {
            // A limit's or a broken server's answer may come from a machine in front of the API.
            let regular = status < 500 && !matches!(status, 403 | 429);
            let server_now = response.date().unwrap_or_else(Utc::now);
            self.pool.record_response(permit, &rate, regular, server_now, now);
            if let Some(coordinator) = &self.coordinator
                && let Some(report) = self.pool.usage_report(permit.token, &rate, (is_free, regular), server_now, now)
            {
                coordinator.report(permit, report).await;
            }
        }
        self.pool.record_details(permit.token, response.scopes(), response.token_expiry());
        !is_free
    }

    /// Pauses the token of a rate-limit response, here and in the other processes.
    pub(super) async fn pause(&self, permit: &Permit, limit: &RateLimitResponse) -> WaitReason {
        let now = Instant::now();
        let secondary_limit_hits = match limit.backoff {
            Backoff::RetryAfter(_) | Backoff::UntilReset(_) => 0,
            Backoff::Secondary => match self.pool.record_secondary_limit(permit.token, now) {
                Some(former_hits) => former_hits + 1,
                None => return WaitReason::SecondaryLimit,
            },
        };
        let (wait, reason) = self.limits.rate_limit_pause(&limit.backoff, secondary_limit_hits.saturating_sub(1));
        self.pool.pause(permit.token, now + wait, reason);
        if let Some(coordinator) = &self.coordinator {
            coordinator.pause(permit, wait, reason, secondary_limit_hits).await;
        }
        reason
    }
}
