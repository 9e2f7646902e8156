//! How a request gets its token.

use std::pin::pin;
use std::time::Duration;

use chrono::Utc;
use tokio::time::Instant;

use super::super::app;
use super::super::classify::ResponseClass;
use super::super::error::ApiError;
use super::super::request::{Accept, Fetched, RequestCounter};
use super::super::tokens::{Acquire, Permit, Purpose, TokenRequest};
use super::super::url::ApiUrl;
use super::execute::{Call, CallError, MAX_REDIRECTS, Sent};
use super::{Inner, private_flag};
use crate::names::RepoName;
use crate::rate_limit::{RateLimitStoreError, WaitReason};

/// An installation that got no token is left alone for so long.
const REFRESH_PAUSE: Duration = Duration::from_secs(60);
/// A probe that brought no clear answer is not repeated for so long.
const PROBE_PAUSE: Duration = Duration::from_secs(30);
/// Nor one for which no request was free.
const PROBE_BUSY_PAUSE: Duration = Duration::from_secs(1);

impl Inner {
    /// Waits for a token; `None` when there is none for this.
    pub async fn acquire_token(
        &self,
        want: &TokenRequest<'_>,
        url: &ApiUrl,
        counter: &RequestCounter,
    ) -> Result<Option<Permit>, ApiError> {
        let unshared = |problem| ApiError::RateLimitStore { path: url.to_string(), problem };
        let _turn = self.pool.wait_turn(want).await;
        let mut waited = false;
        loop {
            if let Some(coordinator) = &self.coordinator {
                coordinator.refresh_allocation(&self.pool).await.map_err(unshared)?;
            }
            // Listening starts before looking, so that no change between the two is missed.
            let mut changed = pin!(self.pool.changed());
            changed.as_mut().enable();
            let now = Instant::now();
            match self.pool.try_acquire(want, now) {
                Acquire::Granted(permit) => {
                    let Some(permit) = self.reserve(*permit).await.map_err(unshared)? else { continue };
                    if waited {
                        self.pool.announce_resumed();
                    }
                    return Ok(Some(permit));
                }
                Acquire::NoToken => return Ok(None),
                Acquire::RefreshFirst(token) => {
                    if let Err(error) = self.refresh_installation(token, counter).await {
                        // Another one may serve meanwhile; and whoever comes next need not find out anew.
                        self.pool.pause(token, Instant::now() + REFRESH_PAUSE, WaitReason::NoToken);
                        if !self.pool.has_other(want, token) {
                            return Err(error);
                        }
                        tracing::warn!(%error, "an installation got no token");
                    }
                }
                Acquire::ProbeFirst(token) => {
                    let Some(repo) = want.repo else { return Ok(None) };
                    self.probe(repo, token, counter).await;
                }
                // The token that got a redirect is out for long: another one starts anew.
                Acquire::Wait { announce: Some(_), .. } if matches!(want.purpose, Purpose::Probe(_)) => {
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

    /// Gets a token for an installation that needs one. Where GitHub gives none, the installation is out for this run.
    async fn refresh_installation(&self, token: usize, counter: &RequestCounter) -> Result<(), ApiError> {
        let (Some((_, app)), Some((number, renewing))) =
            (self.pool.app(), self.pool.due_refresh(token, Instant::now()))
        else {
            return Ok(());
        };
        let _renewing = renewing.lock().await;
        if self.pool.due_refresh(token, Instant::now()).is_none() {
            return Ok(());
        }
        let url = ApiUrl::path(&["app", "installations", &number.to_string(), "access_tokens"]);
        // One token more does no harm.
        let sent = Sent { method: http::Method::POST, body: b"{}".to_vec(), once: false };
        let call = Call { sent: Some(&sent), is_nested: true, ..Call::new(&url, Purpose::Pinned(app)) };
        // A request of the App's itself needs no renewal, so that this ends.
        match Box::pin(self.execute(&call, counter)).await {
            Ok((Fetched::Page(page), _)) => {
                let issued = app::parse_token(&page.body, page.date.unwrap_or_else(Utc::now));
                let taken = match issued {
                    Ok((secret, lifetime)) => self.pool.refresh(token, &secret, lifetime, Instant::now()),
                    Err(_) => false,
                };
                if !taken {
                    self.pool.disable(token, "what it was given is no token that can be sent".to_owned());
                }
                tracing::debug!(installation = number, taken, "new token");
            }
            Ok((Fetched::NotModified, _)) | Err(CallError::NoToken) => {
                self.pool.disable(token, "GitHub refused the App itself".to_owned());
            }
            Err(CallError::Api { error, .. })
                if error.is_access_denied() || matches!(error, ApiError::AppRefused { .. }) =>
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
            // It is not what the caller asked for that failed.
            Err(CallError::Api { error, .. }) => {
                return Err(ApiError::NoToken { why: error.to_string().replacen("GET ", "POST ", 1) });
            }
        }
        Ok(())
    }

    /// Asks the other processes for what this one has found free. If they have it, the pool knows until when.
    async fn reserve(&self, permit: Permit) -> Result<Option<Permit>, RateLimitStoreError> {
        match &self.coordinator {
            Some(coordinator) => coordinator.reserve(&self.pool, permit).await,
            None => Ok(Some(permit)),
        }
    }

    /// Asks once whether a token can read a repository whose known readers have nothing left. Without a clear answer that
    /// stays open, and the known readers are waited for meanwhile.
    async fn probe(&self, repo: &RepoName, token: usize, counter: &RequestCounter) {
        let mut url = ApiUrl::repo(repo, &[]);
        let mut again = PROBE_PAUSE;
        for _ in 0..=MAX_REDIRECTS {
            let want =
                TokenRequest { repo: None, prefer: None, purpose: Purpose::Probe(token), endpoint: "", points: 1 };
            let permit = match self.pool.try_acquire(&want, Instant::now()) {
                Acquire::Granted(permit) => permit,
                Acquire::RefreshFirst(token) => match self.refresh_installation(token, counter).await {
                    Ok(()) => continue,
                    Err(_) => break,
                },
                Acquire::ProbeFirst(_) | Acquire::Wait { .. } | Acquire::NoToken => {
                    again = PROBE_BUSY_PAUSE;
                    break;
                }
            };
            // What goes wrong in asking the others is said by the request that this one is for.
            let Ok(Some(permit)) = self.reserve(*permit).await else {
                again = PROBE_BUSY_PAUSE;
                break;
            };
            let Ok(part) = self.quota.try_acquire() else { break };
            let started = Instant::now();
            let Ok(response) = self.transport.send(&self.base.api_url, &url, Accept::Json, None, None, &permit).await
            else {
                break;
            };
            if self.record_response(&permit, ("GET", &url), &response, started, counter).await
                && let Some(part) = part
            {
                part.spend();
            }
            match response.classify(&url.to_string(), &permit.hint, false) {
                ResponseClass::Page => {
                    let public = private_flag(&response.body).map(|private| !private);
                    return self.pool.record_access(repo, token, true, public);
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
        self.pool.probe_later(repo, token, Instant::now() + again);
    }
}
