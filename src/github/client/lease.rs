//! How a request gets its token.

use std::pin::pin;
use std::time::Duration;

use chrono::Utc;
use tokio::time::Instant;

use super::super::app;
use super::super::classify::Outcome;
use super::super::error::ApiError;
use super::super::request::{Accept, Fetched, Meter};
use super::super::tokens::{Lease, Purpose, Try, Want};
use super::super::url::ApiUrl;
use super::run::{Call, HOPS_MOST, Sent, Stop};
use super::{Shared, private_flag};
use crate::names::RepoName;
use crate::rate_limit::{RateLimitStoreError, WaitReason};

/// An installation that got no token is left alone for so long.
const RENEWAL_PAUSE: Duration = Duration::from_secs(60);
/// A probe that brought no clear answer is not repeated for so long.
const PROBE_PAUSE: Duration = Duration::from_secs(30);
/// Nor one for which no request was free.
const PROBE_BUSY_PAUSE: Duration = Duration::from_secs(1);

impl Shared {
    /// Waits for a token; `None` when there is none for this.
    pub async fn lease(&self, want: &Want<'_>, url: &ApiUrl, meter: &Meter) -> Result<Option<Lease>, ApiError> {
        let unshared = |problem| ApiError::RateLimitStore { path: url.to_string(), problem };
        let _turn = self.pool.turn(want).await;
        let mut waited = false;
        loop {
            if let Some(sharing) = &self.sharing {
                sharing.refresh(&self.pool).await.map_err(unshared)?;
            }
            // Listening starts before looking, so that no change between the two is missed.
            let mut changed = pin!(self.pool.changed());
            changed.as_mut().enable();
            let now = Instant::now();
            match self.pool.try_lease(want, now) {
                Try::Lease(lease) => {
                    let Some(lease) = self.granted(*lease).await.map_err(unshared)? else { continue };
                    if waited {
                        self.pool.resumed();
                    }
                    return Ok(Some(lease));
                }
                Try::Nobody => return Ok(None),
                Try::Renew(token) => {
                    if let Err(error) = self.renew(token, meter).await {
                        // Another one may serve meanwhile; and whoever comes next need not find out anew.
                        self.pool.pause(token, Instant::now() + RENEWAL_PAUSE, WaitReason::NoToken);
                        if !self.pool.has_other(want, token) {
                            return Err(error);
                        }
                        tracing::warn!(%error, "an installation got no token");
                    }
                }
                Try::Probe(token) => {
                    let Some(repo) = want.repo else { return Ok(None) };
                    self.probe(repo, token, meter).await;
                }
                // The token that got a redirect is out for long: another one starts anew.
                Try::Blocked { told: Some(_), .. } if matches!(want.purpose, Purpose::Probe(_)) => return Ok(None),
                Try::Blocked { wake, told } => {
                    if let Some((until, reason)) = told {
                        waited = true;
                        self.pool.announce(until, reason, now);
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
    async fn renew(&self, token: usize, meter: &Meter) -> Result<(), ApiError> {
        let (Some((_, app)), Some((number, renewing))) = (self.pool.app(), self.pool.renewal(token, Instant::now()))
        else {
            return Ok(());
        };
        let _renewing = renewing.lock().await;
        if self.pool.renewal(token, Instant::now()).is_none() {
            return Ok(());
        }
        let url = ApiUrl::path(&["app", "installations", &number.to_string(), "access_tokens"]);
        // One token more does no harm.
        let sent = Sent { method: http::Method::POST, body: b"{}".to_vec(), once: false };
        let call = Call { sent: Some(&sent), is_nested: true, ..Call::new(&url, Purpose::Only(app)) };
        // A request of the App's itself needs no renewal, so that this ends.
        match Box::pin(self.run(&call, meter)).await {
            Ok((Fetched::Page(page), _)) => {
                let issued = app::token(&page.body, page.date.unwrap_or_else(Utc::now));
                let taken = match issued {
                    Ok((secret, lifetime)) => self.pool.renew(token, &secret, lifetime, Instant::now()),
                    Err(_) => false,
                };
                if !taken {
                    self.pool.lose(token, "what it was given is no token that can be sent".to_owned());
                }
                tracing::debug!(installation = number, taken, "new token");
            }
            Ok((Fetched::Unchanged, _)) | Err(Stop::Nobody) => {
                self.pool.lose(token, "GitHub refused the App itself".to_owned());
            }
            Err(Stop::Error { error, .. }) if error.is_refusal() || matches!(error, ApiError::AppRefused { .. }) => {
                self.pool.lose(token, error.to_string().replacen("GET ", "POST ", 1));
            }
            Err(Stop::Error {
                error:
                    error @ (ApiError::Connect { .. } | ApiError::RateLimitStore { .. } | ApiError::LimitReached { .. }),
                ..
            }) => {
                return Err(error);
            }
            // It is not what the caller asked for that failed.
            Err(Stop::Error { error, .. }) => {
                return Err(ApiError::NoToken { why: error.to_string().replacen("GET ", "POST ", 1) });
            }
        }
        Ok(())
    }

    /// Asks the other processes for what this one has found free. If they have it, the pool knows until when.
    async fn granted(&self, lease: Lease) -> Result<Option<Lease>, RateLimitStoreError> {
        match &self.sharing {
            Some(sharing) => sharing.grant(&self.pool, lease).await,
            None => Ok(Some(lease)),
        }
    }

    /// Asks once whether a token can read a repository whose known readers have nothing left. Without a clear answer that
    /// stays open, and the known readers are waited for meanwhile.
    async fn probe(&self, repo: &RepoName, token: usize, meter: &Meter) {
        let mut url = ApiUrl::repo(repo, &[]);
        let mut again = PROBE_PAUSE;
        for _ in 0..=HOPS_MOST {
            let want = Want { repo: None, prefer: None, purpose: Purpose::Probe(token), endpoint: "", points: 1 };
            let lease = match self.pool.try_lease(&want, Instant::now()) {
                Try::Lease(lease) => lease,
                Try::Renew(token) => match self.renew(token, meter).await {
                    Ok(()) => continue,
                    Err(_) => break,
                },
                Try::Probe(_) | Try::Blocked { .. } | Try::Nobody => {
                    again = PROBE_BUSY_PAUSE;
                    break;
                }
            };
            // What goes wrong in asking the others is said by the request that this one is for.
            let Ok(Some(lease)) = self.granted(*lease).await else {
                again = PROBE_BUSY_PAUSE;
                break;
            };
            let Ok(part) = self.allowance.try_take() else { break };
            let started = Instant::now();
            let Ok(response) =
                self.transport.exchange(&self.base.api_url, &url, Accept::Json, None, None, &lease).await
            else {
                break;
            };
            if self.absorb(&lease, ("GET", &url), &response, started, meter).await
                && let Some(part) = part
            {
                part.spend();
            }
            match response.outcome(&url.to_string(), &lease.hint, false) {
                Outcome::Page => {
                    let public = private_flag(&response.body).map(|private| !private);
                    return self.pool.remember(repo, token, true, public);
                }
                Outcome::Redirect(location) => match self.base.parse(&url, &location) {
                    Ok(next) => url = next,
                    Err(_) => break,
                },
                Outcome::Limited(limit) => {
                    self.pause(&lease, &limit).await;
                    break;
                }
                Outcome::Rejected(_) => {
                    self.pool.refused(&lease);
                    return;
                }
                Outcome::Final(error) if error.is_refusal() => return self.pool.remember(repo, token, false, None),
                Outcome::Unchanged | Outcome::Failed(_) | Outcome::Final(_) => break,
            }
        }
        self.pool.probe_later(repo, token, Instant::now() + again);
    }
}
