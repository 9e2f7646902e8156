//! The acquisition of a token for a request: waiting, probing, refreshing installations, reserving among processes.

use std::pin::pin;
use std::time::Duration;

use chrono::Utc;
use http::Method;
use serde_json::json;
use tokio::time::Instant;

use super::super::app;
use super::super::classify::ResponseClass;
use super::super::error::ApiError;
use super::super::page::{Fetched, is_public_repository};
use super::super::request::{Request, RequestCounter};
use super::super::tokens::{Acquire, Permit, Purpose, TokenRequest};
use super::super::url::ApiUrl;
use super::execute::{CallError, MAX_REDIRECTS, PreparedRequest};
use super::inner::Inner;
use crate::names::RepoName;
use crate::rate_limit::{RateLimitStoreError, WaitReason};

/// Pause of an installation that got no token.
const REFRESH_PAUSE: Duration = Duration::from_mins(1);
/// Delay until a probe without a clear answer is repeated.
const PROBE_DELAY: Duration = Duration::from_secs(30);
/// Delay until a probe is repeated for which no request was free.
const BUSY_PROBE_DELAY: Duration = Duration::from_secs(1);

impl Inner {
    /// Waits for a permit to send a request; `None` when no token is left for it.
    pub(super) async fn acquire_token(
        &self,
        wanted: &TokenRequest<'_>,
        url: &ApiUrl,
        counter: &RequestCounter,
    ) -> Result<Option<Permit>, ApiError> {
        let uncoordinated = |problem| ApiError::RateLimitStore { path: url.to_string(), problem };
        let _turn = self.pool.wait_turn(wanted).await;
        let mut waited = false;
        loop {
            if let Some(coordinator) = &self.coordinator {
                coordinator.refresh_allocation(&self.pool).await.map_err(uncoordinated)?;
            }
            // Subscribe before checking, so that no change between the two is missed.
            let mut changed = pin!(self.pool.changed());
            changed.as_mut().enable();
            let now = Instant::now();
            match self.pool.try_acquire(wanted, now) {
                Acquire::Granted(permit) => {
                    let Some(permit) = self.reserve(*permit).await.map_err(uncoordinated)? else { continue };
                    if waited {
                        self.pool.announce_resumed();
                    }
                    return Ok(Some(permit));
                }
                Acquire::NoToken => return Ok(None),
                Acquire::RefreshFirst(token) => {
                    if let Err(error) = self.refresh_installation(token, counter).await {
                        // Another token may serve meanwhile, and requests that follow need not fail the same way.
                        self.pool.pause(token, Instant::now() + REFRESH_PAUSE, WaitReason::NoToken);
                        if !self.pool.has_other(wanted, token) {
                            return Err(error);
                        }
                        tracing::warn!(%error, "an installation got no token");
                    }
                }
                Acquire::ProbeFirst(token) => {
                    let Some(repo) = wanted.repo() else { return Ok(None) };
                    self.probe(repo, token, counter).await;
                }
                // The token that got a redirect is blocked for long: start again with another.
                Acquire::Wait { announce: Some(_), .. } if matches!(wanted.purpose, Purpose::OnlyIfSoon(_)) => {
                    return Ok(None);
                }
                Acquire::Wait { wake, announce } => {
                    if let Some((until, reason)) = announce {
                        waited = true;
                        self.pool.announce_wait(until, reason, now);
                    }
                    match wake {
                        Some(at) => tokio::select! {
                            () = changed => {}
                            () = tokio::time::sleep_until(at) => {}
                        },
                        None => changed.await,
                    }
                }
            }
        }
    }

    /// Gets a new token for an installation that needs one. If GitHub refuses, the installation is disabled.
    async fn refresh_installation(&self, token: usize, counter: &RequestCounter) -> Result<(), ApiError> {
        let (Some((_, app)), Some((id, refreshing))) =
            (self.pool.app(), self.pool.refresh_lock_if_due(token, Instant::now()))
        else {
            return Ok(());
        };
        let _refreshing = refreshing.lock().await;
        if self.pool.refresh_lock_if_due(token, Instant::now()).is_none() {
            return Ok(());
        }
        let url = ApiUrl::path(&["app", "installations", &id.to_string(), "access_tokens"]);
        // One token more does no harm.
        let request = Request::mutation(Method::POST, url, &json!({})).idempotent();
        // The App's own request needs no refresh, so the recursion ends.
        let call = PreparedRequest::nested(&request, Purpose::OnlyWith(app));
        match Box::pin(self.execute(&call, counter)).await {
            Ok((Fetched::Page(page), _)) => {
                let issued = app::parse_token(&page.body, page.date.unwrap_or_else(Utc::now));
                let is_usable = match issued {
                    Ok((secret, lifetime)) => self.pool.set_issued_token(token, &secret, lifetime, Instant::now()),
                    Err(_) => false,
                };
                if !is_usable {
                    self.pool.disable(token, "GitHub issued a token that can't be sent".to_owned());
                }
                tracing::debug!(installation = id, is_usable, "new token");
            }
            Ok((Fetched::NotModified, _)) | Err(CallError::NoToken) => {
                self.pool.disable(token, "GitHub rejected the App itself".to_owned());
            }
            Err(CallError::Api { error, .. })
                if error.is_access_denied() || matches!(error, ApiError::AppRejected { .. }) =>
            {
                self.pool.disable(token, error.to_string().replacen("GET ", "POST ", 1));
            }
            Err(CallError::Api {
                error:
                    error @ (ApiError::Connect { .. } | ApiError::RateLimitStore { .. } | ApiError::LimitReached { .. }),
                ..
            }) => {
                return Err(error);
            }
            // It is not the caller's request that failed.
            Err(CallError::Api { error, .. }) => {
                return Err(ApiError::NoToken { why: error.to_string().replacen("GET ", "POST ", 1) });
            }
        }
        Ok(())
    }

    /// Reserves a request among the processes. If they hold all that is left, the pool knows until when.
    async fn reserve(&self, permit: Permit) -> Result<Option<Permit>, RateLimitStoreError> {
        match &self.coordinator {
            Some(coordinator) => coordinator.reserve(&self.pool, permit).await,
            None => Ok(Some(permit)),
        }
    }

    /// Probes once whether a token can read a repository whose known readers have nothing left. Without a clear answer that stays
    /// open, and the known readers are waited for.
    async fn probe(&self, repo: &RepoName, token: usize, counter: &RequestCounter) {
        let request = Request::get(ApiUrl::repo(repo, &[]));
        let mut url = request.url.clone();
        let mut delay = PROBE_DELAY;
        for _ in 0..=MAX_REDIRECTS {
            let wanted = TokenRequest { request: &request, purpose: Purpose::OnlyIfSoon(token) };
            let permit = match self.pool.try_acquire(&wanted, Instant::now()) {
                Acquire::Granted(permit) => permit,
                Acquire::RefreshFirst(token) => match self.refresh_installation(token, counter).await {
                    Ok(()) => continue,
                    Err(_) => break,
                },
                Acquire::ProbeFirst(_) | Acquire::Wait { .. } | Acquire::NoToken => {
                    delay = BUSY_PROBE_DELAY;
                    break;
                }
            };
            // A failing store is reported by the request that the probe is for.
            let Ok(Some(permit)) = self.reserve(*permit).await else {
                delay = BUSY_PROBE_DELAY;
                break;
            };
            let Ok(quota) = self.quota.try_acquire() else { break };
            let started = Instant::now();
            let Ok(response) = self.transport.send(&self.base.api_url, &url, &request, None, &permit).await else {
                break;
            };
            if self.record_response(&permit, ("GET", &url), &response, started, counter).await
                && let Some(quota) = quota
            {
                quota.spend();
            }
            match response.classify(&url.to_string(), &permit.hint, false) {
                ResponseClass::Page => {
                    return self.pool.record_access(repo, token, true, is_public_repository(&response.body));
                }
                ResponseClass::Redirect(location) => match self.base.parse(&url, &location) {
                    Ok(next) => url = next,
                    Err(_) => break,
                },
                ResponseClass::RateLimited(limit) => {
                    self.pause(&permit, &limit).await;
                    break;
                }
                ResponseClass::Unauthorized(_) => {
                    self.pool.record_unauthorized(&permit);
                    return;
                }
                ResponseClass::Error(error) if error.is_access_denied() => {
                    return self.pool.record_access(repo, token, false, None);
                }
                ResponseClass::NotModified | ResponseClass::Transient(_) | ResponseClass::Error(_) => break,
            }
        }
        self.pool.probe_later(repo, token, Instant::now() + delay);
    }
}
