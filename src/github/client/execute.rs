//! The way of one request from first attempt to answer: redirects, retries, token after token.

use std::sync::atomic::Ordering;

use http::HeaderValue;
use tokio::time::Instant;

use super::super::base::base_url_in;
use super::super::classify::{RateLimitResponse, Response, ResponseClass, TransientFailure};
use super::super::error::ApiError;
use super::super::event::ClientEvent;
use super::super::links::Links;
use super::super::page::{Fetched, Page};
use super::super::request::{Request, RequestCounter};
use super::super::tokens::{Permit, Purpose, TokenRequest};
use super::super::transport::TransportError;
use super::super::url::{ApiUrl, UrlProblem};
use super::inner::Inner;
use crate::rate_limit::WaitReason;
use crate::validator::Validator;

/// Maximum redirects of one request: a renamed repository takes one, one in a renamed organization two.
pub(super) const MAX_REDIRECTS: u32 = 5;
/// Failed attempts from which on retries are reported to the user; earlier ones are only logged.
const REPORT_RETRIES_FROM: u32 = 3;
/// Maximum 401s to one request, over all tokens it is sent with.
const MAX_UNAUTHORIZED: u32 = 20;

/// A request, and how the client handles it.
pub(super) struct PreparedRequest<'a> {
    pub request: &'a Request,
    pub purpose: Purpose<'a>,
    /// Another request waits for this one and holds some of the run's quota, which this one must not wait for.
    pub is_nested: bool,
    /// A link to another server makes the client look up the API's public address.
    pub discovers_public_url: bool,
}

impl<'a> PreparedRequest<'a> {
    pub(super) fn new(request: &'a Request, purpose: Purpose<'a>) -> Self {
        Self { request, purpose, is_nested: false, discovers_public_url: true }
    }

    /// Prepares a request that another one waits for.
    pub(super) fn nested(request: &'a Request, purpose: Purpose<'a>) -> Self {
        Self { is_nested: true, ..Self::new(request, purpose) }
    }

    fn is_mutation(&self) -> bool {
        self.request.mutation.is_some()
    }
}

/// The reason why a request has no answer.
pub(super) enum CallError {
    /// No token is left for it.
    NoToken,
    /// The error, and the token of the last response if there was one.
    Api { error: ApiError, token: Option<usize> },
}

/// The retry state of one request: failed attempts, limit responses, redirects and 401s so far.
#[derive(Default)]
struct RetryState {
    failed: u32,
    secondary: u32,
    primary: u32,
    redirects: u32,
    unauthorized: u32,
    /// The token that got a redirect and follows it.
    redirected_with: Option<usize>,
}

impl Inner {
    /// Sends the request until it succeeds or fails for good, following redirects, switching tokens and backing off. Returns the
    /// answer and the token that got it.
    pub(super) async fn execute(
        &self,
        call: &PreparedRequest<'_>,
        counter: &RequestCounter,
    ) -> Result<(Fetched, usize), CallError> {
        let request = call.request;
        let mut url = request.url.clone();
        let mut state = RetryState::default();
        loop {
            let wanted =
                TokenRequest { request, purpose: state.redirected_with.map_or(call.purpose, Purpose::OnlyIfSoon) };
            let unsent = |error| CallError::Api { error, token: None };
            let quota = if call.is_nested { self.quota.try_acquire() } else { self.quota.acquire().await };
            let quota = quota.map_err(unsent)?;
            let acquired = tokio::select! {
                acquired = self.acquire_token(&wanted, &url, counter) => acquired,
                error = self.quota.deadline_passed() => Err(error),
            };
            let Some(permit) = acquired.map_err(unsent)? else {
                if state.redirected_with.take().is_none() {
                    return Err(CallError::NoToken);
                }
                // The token was disabled between two redirects: start again with another.
                url = request.url.clone();
                continue;
            };
            let fail = |error| CallError::Api { error, token: Some(permit.token) };
            // An ETag is valid only for the token that it was issued to.
            let validator = request.validator.as_ref().filter(|validator| validator.scope == permit.etag_scope);
            let etag = validator.and_then(|validator| HeaderValue::from_str(&validator.etag).ok());
            let first_contact = !self.had_contact.load(Ordering::Relaxed);
            let started = Instant::now();
            let sent = self.transport.send(&self.base.api_url, &url, request, etag.as_ref(), &permit).await;
            let response = match sent {
                Ok(response) => response,
                Err(TransportError::Api(error)) => return Err(fail(error)),
                Err(TransportError::Transient(failure)) => {
                    if failure.connect.is_some() {
                        self.pool.refund(permit.token);
                    }
                    drop(permit);
                    self.retry_or_fail(call, &url, failure, first_contact, &mut state).await?;
                    continue;
                }
            };
            let counts = self.record_response(&permit, (request.method(), &url), &response, started, counter).await;
            if let Some(quota) = quota.filter(|_| counts) {
                quota.spend();
            }
            // To a change, "accepted" is the answer.
            let accepted = call.is_mutation() && response.status == http::StatusCode::ACCEPTED;
            let class = if accepted {
                ResponseClass::Page
            } else {
                response.classify(&url.to_string(), &permit.hint, etag.is_some())
            };
            if !matches!(class, ResponseClass::Transient(_)) {
                // A web page doesn't come from GitHub's API, even if it reports a limit.
                if first_contact && !response.is_web_page() {
                    self.had_contact.store(true, Ordering::Relaxed);
                }
                self.breaker.record_answer();
            }
            match class {
                ResponseClass::NotModified => return Ok((Fetched::NotModified, permit.token)),
                ResponseClass::Page => {
                    let token = permit.token;
                    let page = self.page(call, &url, response, permit, state.redirects > 0, counter).await?;
                    return Ok((Fetched::Page(Box::new(page)), token));
                }
                ResponseClass::Error(ApiError::Forbidden { message, .. })
                    if self.pool.means_suspended(permit.token, &message) =>
                {
                    self.pool.disable(permit.token, message);
                    state.redirected_with = None;
                    url = request.url.clone();
                }
                // Another of the repository's readers may be allowed what this token is not.
                ResponseClass::Error(ref error @ (ApiError::Forbidden { .. } | ApiError::SsoRequired { .. }))
                    if matches!(call.purpose, Purpose::Read)
                        && self.pool.record_denial(&wanted, permit.token, error) =>
                {
                    state.redirected_with = None;
                    url = request.url.clone();
                }
                ResponseClass::Error(error) => return Err(fail(error)),
                ResponseClass::Unauthorized(_) if permit.authorization.is_none() => {
                    return Err(fail(ApiError::NeedsToken { path: url.to_string() }));
                }
                ResponseClass::Unauthorized(message) => {
                    state.unauthorized += 1;
                    self.handle_unauthorized(&permit, &response, message, state.unauthorized).await.map_err(fail)?;
                }
                ResponseClass::Redirect(_) if call.is_mutation() => {
                    let (path, last) = (url.to_string(), format!("{} in reply to a change", response.status));
                    return Err(fail(ApiError::Unavailable { path, attempts: 1, last, timed_out: false }));
                }
                ResponseClass::Redirect(location) => {
                    state.redirects += 1;
                    if state.redirects > MAX_REDIRECTS {
                        let (path, redirects) = (request.url.to_string(), MAX_REDIRECTS);
                        return Err(fail(ApiError::TooManyRedirects { path, redirects }));
                    }
                    state.redirected_with = Some(permit.token);
                    url = self.redirect_target(call, &url, &location, permit, counter).await?;
                }
                ResponseClass::RateLimited(limit) => {
                    let single_token = matches!(call.purpose, Purpose::OnlyWith(_));
                    self.handle_rate_limit(&permit, &url, limit, single_token, &mut state).await.map_err(fail)?;
                }
                ResponseClass::Transient(failure) => {
                    drop(permit);
                    self.retry_or_fail(call, &url, failure, first_contact, &mut state).await?;
                }
            }
        }
    }

    /// Makes a page of a complete response. Its links may need the API's public address first.
    async fn page(
        &self,
        call: &PreparedRequest<'_>,
        url: &ApiUrl,
        response: Response,
        permit: Permit,
        redirected: bool,
        counter: &RequestCounter,
    ) -> Result<Page, CallError> {
        self.base.record(url, &response.body);
        let (token, scope) = (permit.token, permit.etag_scope.clone());
        // Nested requests must not wait for what this one holds.
        drop(permit);
        let mut links = Links::read(&response.headers, &self.base, url);
        if links.is_err() && self.discover_public_url(call, counter).await {
            links = Links::read(&response.headers, &self.base, url);
        }
        let links = links.map_err(|problem| foreign_url_error(url, "Link", problem, token))?;
        let validator = response
            .etag()
            // An ETag belongs to the address that issued it.
            .filter(|_| response.status.as_u16() == 200 && !redirected)
            .map(|etag| Validator { etag: etag.to_owned(), scope });
        let (date, poll_interval) = (response.date(), response.poll_interval());
        Ok(Page { validator, links, date, poll_interval, redirected, body: response.body })
    }

    /// Resolves a redirect, which may need the API's public address first.
    async fn redirect_target(
        &self,
        call: &PreparedRequest<'_>,
        url: &ApiUrl,
        location: &str,
        permit: Permit,
        counter: &RequestCounter,
    ) -> Result<ApiUrl, CallError> {
        let token = permit.token;
        drop(permit);
        let mut target = self.base.parse(url, location);
        if target.is_err() && self.discover_public_url(call, counter).await {
            target = self.base.parse(url, location);
        }
        target.map_err(|problem| foreign_url_error(url, "redirect", problem, token))
    }

    /// Handles a 401: synchronizes the App's clock, lets an installation get another token, or disables the token.
    async fn handle_unauthorized(
        &self,
        permit: &Permit,
        response: &Response,
        message: String,
        times: u32,
    ) -> Result<(), ApiError> {
        if let Some((app, place)) = self.pool.app()
            && place == permit.token
        {
            // Of several concurrent requests only one finds the clock wrong: each is signed once more.
            if times == 1 {
                let wrong = response.date().is_some_and(|server_now| app.sync_clock(server_now));
                tracing::warn!(%message, wrong, "GitHub rejected the App's signature; signing once more by GitHub's clock");
                return Ok(());
            }
            self.pool.disable(permit.token, message.clone());
            return Err(ApiError::AppRejected { app: app.id().to_owned(), message });
        }
        if times > MAX_UNAUTHORIZED {
            self.pool.disable_unauthorized(permit.token);
        } else if let Some(unused_tokens) = self.pool.record_unauthorized(permit) {
            tracing::info!(token = %permit.hint, %message, "an installation's token was rejected and is replaced");
            if unused_tokens > 0 {
                tokio::time::sleep(self.limits.backoff(unused_tokens + 2, None)).await;
            }
        }
        Ok(())
    }

    /// Pauses the token. The request continues with the next usable one, unless limits keep coming.
    async fn handle_rate_limit(
        &self,
        permit: &Permit,
        url: &ApiUrl,
        limit: RateLimitResponse,
        single_token: bool,
        state: &mut RetryState,
    ) -> Result<(), ApiError> {
        tracing::warn!(path = %url, token = %permit.hint, backoff = ?limit.backoff, message = %limit.message, "rate limit");
        let tokens = if single_token { 1 } else { u32::try_from(self.pool.usable().len()).unwrap_or(u32::MAX).max(1) };
        let is_exhausted = match self.pause(permit, &limit).await {
            WaitReason::RateLimit => {
                state.primary += 1;
                state.primary >= self.limits.max_primary_limits.saturating_mul(tokens)
            }
            WaitReason::RetryAfter | WaitReason::SecondaryLimit | WaitReason::NoToken => {
                state.secondary += 1;
                state.secondary >= self.limits.max_secondary_limits.saturating_mul(tokens)
            }
        };
        if is_exhausted {
            Err(ApiError::LimitExhausted {
                path: url.to_string(),
                tries: state.primary + state.secondary,
                message: limit.message,
            })
        } else {
            Ok(())
        }
    }

    /// Counts a failed attempt and backs off before the next one, or fails after the last.
    async fn retry_or_fail(
        &self,
        call: &PreparedRequest<'_>,
        url: &ApiUrl,
        failure: TransientFailure,
        first_contact: bool,
        state: &mut RetryState,
    ) -> Result<(), CallError> {
        state.failed += 1;
        let attempts = state.failed;
        let hopeless = first_contact && (failure.connect.is_some() || failure.not_github);
        let can_split = call.request.can_split && failure.timed_out;
        let only_once = call.request.mutation.as_ref().is_some_and(|mutation| !mutation.is_idempotent);
        let max_attempts = if only_once || self.breaker.is_open() {
            1
        } else if hopeless {
            self.limits.max_first_contact_attempts
        } else if can_split {
            self.limits.max_timeout_attempts
        } else {
            self.limits.max_attempts
        };
        if attempts < max_attempts {
            tracing::warn!(path = %url, attempt = attempts, why = %failure.why, "request failed, retrying");
            if attempts >= REPORT_RETRIES_FROM {
                let why = failure.why.clone();
                self.pool.emit(ClientEvent::Retrying { what: url.to_string(), attempt: attempts, why });
            }
            tokio::time::sleep(self.limits.backoff(attempts, failure.retry_after)).await;
            return Ok(());
        }
        let (path, api_url) = (url.to_string(), self.base.api_url.to_string());
        // A page that may succeed in smaller parts is no sign of an outage.
        if !can_split {
            self.breaker.record_exhausted(&path);
        }
        let error = match failure.connect {
            Some(problem) if first_contact => ApiError::Connect { api_url, problem, attempts, chain: failure.why },
            None if hopeless => ApiError::NotGitHub { api_url, path, found: failure.why },
            _ => {
                // Smaller parts don't help while GitHub is down.
                let timed_out = failure.timed_out && !self.breaker.is_open();
                ApiError::Unavailable { path, attempts, last: failure.why, timed_out }
            }
        };
        Err(CallError::Api { error, token: None })
    }

    /// Looks up the API's public address unless it is known: the API's root shows it, or else the repository's JSON. Returns
    /// whether links may be readable now.
    async fn discover_public_url(&self, call: &PreparedRequest<'_>, counter: &RequestCounter) -> bool {
        if !call.discovers_public_url || !self.base.is_undetermined() {
            return false;
        }
        let ask = || async {
            let repo = call.request.repo.as_ref();
            let own = repo.map(|repo| Request::get(ApiUrl::repo(repo, &[])).repo(repo.clone()));
            for request in [Some(Request::get(ApiUrl::path(&[]))), own].into_iter().flatten() {
                let nested =
                    PreparedRequest { discovers_public_url: false, ..PreparedRequest::nested(&request, Purpose::Read) };
                match Box::pin(self.execute(&nested, counter)).await {
                    Ok((Fetched::Page(page), _)) => {
                        if let Some(found) = base_url_in(&request.url, &page.body) {
                            return Ok(Some(found));
                        }
                    }
                    Ok((Fetched::NotModified, _)) => {}
                    Err(CallError::Api { error, .. }) if error.is_access_denied() => {}
                    Err(_) => return Err(()),
                }
            }
            Ok(None)
        };
        self.base.discover(ask).await;
        true
    }

    /// Returns the error that no token is left for a request.
    pub(super) fn no_token_error(&self, url: &ApiUrl, purpose: Purpose<'_>) -> ApiError {
        let path = url.to_string();
        let only = match purpose {
            Purpose::OnlyWith(token) | Purpose::OnlyIfSoon(token) => Some(token),
            Purpose::Read | Purpose::Discover { .. } => None,
        };
        let tokens = self.pool.disabled(only);
        if self.pool.usable().is_empty() {
            ApiError::Unauthorized { path, tokens }
        } else {
            ApiError::TokensDisabled { path, tokens }
        }
    }
}

fn foreign_url_error(url: &ApiUrl, role: &'static str, problem: UrlProblem, token: usize) -> CallError {
    CallError::Api { error: ApiError::ForeignUrl { path: url.to_string(), role, problem }, token: Some(token) }
}
