//! One request from question to answer.

use std::sync::atomic::Ordering;

use http::HeaderValue;
use tokio::time::Instant;

use super::super::base::base_url_in;
use super::super::classify::{RateLimitResponse, Response, ResponseClass, TransientFailure};
use super::super::error::ApiError;
use super::super::event::ClientEvent;
use super::super::links::Links;
use super::super::request::{Accept, Fetched, Page, RequestCounter, Validator};
use super::super::tokens::{Permit, Purpose, TokenRequest};
use super::super::transport::TransportError;
use super::super::url::{ApiUrl, UrlProblem};
use super::Inner;
use crate::names::RepoName;
use crate::rate_limit::WaitReason;

/// Redirects to follow for one request: a rename is one, a rename of a renamed organisation two.
pub(super) const MAX_REDIRECTS: u32 = 5;
/// A request that fails so often is worth a line to the user; a hiccup is in the log alone.
const REPORT_RETRIES_FROM: u32 = 3;
/// So many 401s to one request are enough, however many tokens it went out with.
const MAX_UNAUTHORIZED: u32 = 20;
/// What a change counts on the secondary limit, where a question counts 1 (GitHub docs: secondary rate limits).
const MUTATION_POINTS: u32 = 5;

/// One question, whichever way it is asked.
pub(super) struct Call<'a> {
    pub url: &'a ApiUrl,
    pub accept: Accept,
    pub validator: Option<&'a Validator>,
    pub repo: Option<&'a RepoName>,
    pub purpose: Purpose<'a>,
    pub divisible: bool,
    /// Whether a link to another server makes the client find out what this one's public address is.
    pub finds_public_url: bool,
    /// Another request waits for it, and holds a part of what the run may still ask for.
    pub is_nested: bool,
    /// What it changes; `None` for a question.
    pub sent: Option<&'a Sent>,
}

/// A change.
pub(super) struct Sent {
    pub method: http::Method,
    pub body: Vec<u8>,
    /// It is not sent again where it is not known whether it was done.
    pub once: bool,
}

/// Why a call has no answer.
pub(super) enum CallError {
    /// No token is left for it.
    NoToken,
    /// With the token that got the last word, if one did.
    Api { error: ApiError, token: Option<usize> },
}

/// What a call has been through.
#[derive(Default)]
struct RetryState {
    failed: u32,
    secondary: u32,
    primary: u32,
    redirects: u32,
    unauthorized: u32,
    /// A redirect is followed with the token that got it.
    pinned: Option<usize>,
}

fn page(response: Response, links: Links, tags: String, moved: bool) -> Page {
    let validator = response
        .etag()
        // A tag belongs to the address that gave it.
        .filter(|_| response.status.as_u16() == 200 && !moved)
        .map(|etag| Validator { etag: etag.to_owned(), token: tags });
    let date = response.date();
    Page { validator, links, date, redirected: moved, body: response.body }
}

fn foreign(url: &ApiUrl, role: &'static str, problem: UrlProblem, token: usize) -> CallError {
    CallError::Api { error: ApiError::ForeignUrl { path: url.to_string(), role, problem }, token: Some(token) }
}

impl<'a> Call<'a> {
    /// A plain question.
    pub fn new(url: &'a ApiUrl, purpose: Purpose<'a>) -> Self {
        Self {
            url,
            accept: Accept::Json,
            validator: None,
            repo: None,
            purpose,
            divisible: false,
            finds_public_url: true,
            is_nested: false,
            sent: None,
        }
    }
}

impl Call<'_> {
    fn method(&self) -> &str {
        self.sent.map_or("GET", |sent| sent.method.as_str())
    }
}

impl Inner {
    /// Asks until there is an answer: waits, redirects, other tokens, further attempts.
    pub async fn execute(&self, call: &Call<'_>, counter: &RequestCounter) -> Result<(Fetched, usize), CallError> {
        let mut url = call.url.clone();
        let mut state = RetryState::default();
        loop {
            let want = TokenRequest {
                repo: call.repo,
                prefer: call.validator.map(|validator| validator.token.as_str()),
                purpose: state.pinned.map_or(call.purpose, Purpose::Probe),
                endpoint: call.url.last_segment(),
                points: if call.sent.is_some() { MUTATION_POINTS } else { 1 },
            };
            let unsent = |error| CallError::Api { error, token: None };
            let part = match call.is_nested {
                true => self.quota.try_acquire(),
                false => self.quota.acquire().await,
            };
            let part = part.map_err(unsent)?;
            let acquired = tokio::select! {
                acquired = self.acquire_token(&want, &url, counter) => acquired,
                error = self.quota.deadline_passed() => Err(error),
            };
            let Some(permit) = acquired.map_err(unsent)? else {
                if state.pinned.take().is_none() {
                    return Err(CallError::NoToken);
                }
                // The token was refused between two hops: start again with another.
                url = call.url.clone();
                continue;
            };
            let stop = |error| CallError::Api { error, token: Some(permit.token) };
            // A tag tells nothing to another token than the one that it was given to.
            let validator = call.validator.filter(|validator| validator.token == permit.etag_scope);
            let etag = validator.and_then(|validator| HeaderValue::from_str(&validator.etag).ok());
            let first_contact = !self.had_contact.load(Ordering::Relaxed);
            let started = Instant::now();
            let sent = call.sent.map(|sent| (sent.method.clone(), sent.body.clone()));
            let exchanged =
                self.transport.send(&self.base.api_url, &url, call.accept, etag.as_ref(), sent, &permit).await;
            let response = match exchanged {
                Ok(response) => response,
                Err(TransportError::Api(error)) => return Err(stop(error)),
                Err(TransportError::Transient(failure)) => {
                    if failure.connect.is_some() {
                        self.pool.refund(permit.token);
                    }
                    drop(permit);
                    self.retry_or_fail(call, &url, failure, first_contact, &mut state).await?;
                    continue;
                }
            };
            let counts = self.record_response(&permit, (call.method(), &url), &response, started, counter).await;
            if let Some(part) = part.filter(|_| counts) {
                part.spend();
            }
            let class = response.classify(&url.to_string(), &permit.hint, etag.is_some());
            if !matches!(class, ResponseClass::Transient(_)) {
                // A web page is no word of GitHub's API, even where it tells of a limit.
                if first_contact && !response.is_web_page() {
                    self.had_contact.store(true, Ordering::Relaxed);
                }
                self.outage.record_answer();
            }
            match class {
                ResponseClass::NotModified => return Ok((Fetched::NotModified, permit.token)),
                ResponseClass::Page => {
                    self.base.record(&url, &response.body);
                    let (token, tags, moved) = (permit.token, permit.etag_scope.clone(), state.redirects > 0);
                    // What is asked for beside must not wait for what this request holds.
                    drop(permit);
                    let mut links = Links::read(&response.headers, &self.base, &url);
                    if links.is_err() && self.find_public_url(call, counter).await {
                        links = Links::read(&response.headers, &self.base, &url);
                    }
                    let links = links.map_err(|problem| foreign(&url, "Link", problem, token))?;
                    let page = page(response, links, tags, moved);
                    return Ok((Fetched::Page(Box::new(page)), token));
                }
                ResponseClass::Error(ApiError::Forbidden { message, .. })
                    if self.pool.means_suspended(permit.token, &message) =>
                {
                    self.pool.disable(permit.token, message);
                    state.pinned = None;
                    url = call.url.clone();
                }
                // What one token may not, another one of the repository's readers may.
                ResponseClass::Error(ref error @ (ApiError::Forbidden { .. } | ApiError::SsoRequired { .. }))
                    if matches!(call.purpose, Purpose::Read) && self.pool.record_denial(&want, permit.token, error) =>
                {
                    state.pinned = None;
                    url = call.url.clone();
                }
                ResponseClass::Error(error) => return Err(stop(error)),
                ResponseClass::Unauthorized(_) if permit.authorization.is_none() => {
                    return Err(stop(ApiError::NeedsToken { path: url.to_string() }));
                }
                ResponseClass::Unauthorized(message) => {
                    state.unauthorized += 1;
                    self.handle_unauthorized(&permit, &response, message, state.unauthorized).await.map_err(stop)?;
                }
                ResponseClass::Redirect(_) if call.sent.is_some() => {
                    let last = format!("{} to a change", response.status);
                    return Err(stop(ApiError::Unavailable {
                        path: url.to_string(),
                        attempts: 1,
                        last,
                        timed_out: false,
                    }));
                }
                ResponseClass::Redirect(location) => {
                    state.redirects += 1;
                    if state.redirects > MAX_REDIRECTS {
                        return Err(stop(ApiError::TooManyRedirects {
                            path: call.url.to_string(),
                            redirects: MAX_REDIRECTS,
                        }));
                    }
                    let token = permit.token;
                    drop(permit);
                    let mut target = self.base.parse(&url, &location);
                    if target.is_err() && self.find_public_url(call, counter).await {
                        target = self.base.parse(&url, &location);
                    }
                    url = target.map_err(|problem| foreign(&url, "redirect", problem, token))?;
                    state.pinned = Some(token);
                }
                ResponseClass::RateLimited(limit) => {
                    let only = matches!(call.purpose, Purpose::Pinned(_));
                    self.handle_rate_limit(&permit, &url, limit, only, &mut state).await.map_err(stop)?;
                }
                ResponseClass::Transient(failure) => {
                    drop(permit);
                    self.retry_or_fail(call, &url, failure, first_contact, &mut state).await?;
                }
            }
        }
    }

    /// What an App is told that GitHub does not know is an error of its own.
    pub fn app_refused(&self, error: ApiError) -> ApiError {
        let (Some((app, place)), true) = (self.pool.app(), error.is_access_denied()) else { return error };
        let message = match error {
            ApiError::Forbidden { message, .. } => message,
            _ => "there is no such App (404)".to_owned(),
        };
        self.pool.disable(place, message.clone());
        ApiError::AppRefused { app: app.id().to_owned(), message }
    }

    /// A 401. The App may have a clock that is wrong, an installation needs another token; any other token is out.
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
            // Of several requests at once only one finds the clock wrong: each is signed once more.
            if times == 1 {
                let wrong = response.date().is_some_and(|server_now| app.sync_clock(server_now));
                tracing::warn!(%message, wrong, "GitHub refused the App; it signs once more, by GitHub's clock");
                return Ok(());
            }
            self.pool.disable(permit.token, message.clone());
            return Err(ApiError::AppRefused { app: app.id().to_owned(), message });
        }
        if times > MAX_UNAUTHORIZED {
            self.pool.disable_unauthorized(permit.token);
        } else if let Some(refused) = self.pool.record_unauthorized(permit) {
            tracing::info!(token = %permit.hint, %message, "an installation's token was refused, and is replaced");
            if refused > 0 {
                tokio::time::sleep(self.limits.backoff(refused + 2, None)).await;
            }
        }
        Ok(())
    }

    /// A limit's answer: the token pauses, the request goes on when a token may, unless limits keep coming.
    async fn handle_rate_limit(
        &self,
        permit: &Permit,
        url: &ApiUrl,
        limit: RateLimitResponse,
        only: bool,
        state: &mut RetryState,
    ) -> Result<(), ApiError> {
        tracing::warn!(path = %url, token = %permit.hint, pause = ?limit.backoff, message = %limit.message, "rate limit");
        let tokens = match only {
            true => 1,
            false => u32::try_from(self.pool.usable().len()).unwrap_or(u32::MAX).max(1),
        };
        let over = match self.pause(permit, &limit).await {
            WaitReason::RateLimit => {
                state.primary += 1;
                state.primary >= self.limits.max_primary_limits.saturating_mul(tokens)
            }
            WaitReason::RetryAfter | WaitReason::SecondaryLimit | WaitReason::NoToken => {
                state.secondary += 1;
                state.secondary >= self.limits.max_secondary_limits.saturating_mul(tokens)
            }
        };
        let tries = state.primary + state.secondary;
        if over {
            Err(ApiError::LimitExhausted { path: url.to_string(), tries, message: limit.message })
        } else {
            Ok(())
        }
    }

    /// Counts a failure; waits before the next attempt, or gives up.
    async fn retry_or_fail(
        &self,
        call: &Call<'_>,
        url: &ApiUrl,
        failure: TransientFailure,
        first_contact: bool,
        state: &mut RetryState,
    ) -> Result<(), CallError> {
        state.failed += 1;
        let attempts = state.failed;
        let hopeless = first_contact && (failure.connect.is_some() || failure.not_github);
        let most = if call.sent.is_some_and(|sent| sent.once) || self.outage.is_open() {
            1
        } else if hopeless {
            self.limits.max_first_contact_attempts
        } else if call.divisible && failure.timed_out {
            self.limits.max_timeout_attempts
        } else {
            self.limits.max_attempts
        };
        if attempts < most {
            tracing::warn!(path = %url, attempt = attempts, why = %failure.why, "request failed, trying again");
            if attempts >= REPORT_RETRIES_FROM {
                let why = failure.why.clone();
                self.pool.emit(ClientEvent::Retrying { what: url.to_string(), attempt: attempts, why });
            }
            tokio::time::sleep(self.limits.backoff(attempts, failure.retry_after)).await;
            return Ok(());
        }
        let (path, api_url) = (url.to_string(), self.base.api_url.to_string());
        // What may succeed in smaller parts tells nothing of GitHub.
        if !(call.divisible && failure.timed_out) {
            self.outage.record_exhausted(&path);
        }
        let error = match failure.connect {
            Some(problem) if first_contact => ApiError::Connect { api_url, problem, attempts, chain: failure.why },
            None if hopeless => ApiError::NotGitHub { api_url, path, found: failure.why },
            _ => {
                // Smaller parts are of no use while GitHub is down.
                let timed_out = failure.timed_out && !self.outage.is_open();
                ApiError::Unavailable { path, attempts, last: failure.why, timed_out }
            }
        };
        Err(CallError::Api { error, token: None })
    }

    /// Asks where the API is by its own word, unless that is known: its root names its addresses, a repository its own. Returns
    /// whether the call may read its links anew.
    async fn find_public_url(&self, call: &Call<'_>, counter: &RequestCounter) -> bool {
        if !call.finds_public_url || !self.base.is_undetermined() {
            return false;
        }
        let ask = || async {
            let own = call.repo.map(|repo| (ApiUrl::repo(repo, &[]), call.repo));
            for (url, repo) in [Some((ApiUrl::path(&[]), None)), own].into_iter().flatten() {
                let asked = Call { repo, finds_public_url: false, is_nested: true, ..Call::new(&url, Purpose::Read) };
                match Box::pin(self.execute(&asked, counter)).await {
                    Ok((Fetched::Page(page), _)) => {
                        if let Some(found) = base_url_in(&url, &page.body) {
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

    /// Why there is nobody to ask with.
    pub fn unauthorized(&self, url: &ApiUrl, purpose: Purpose<'_>) -> ApiError {
        let path = url.to_string();
        let only = match purpose {
            Purpose::Pinned(token) | Purpose::Probe(token) => Some(token),
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
