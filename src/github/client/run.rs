//! One request from question to answer.

use std::sync::atomic::Ordering;

use http::HeaderValue;
use tokio::time::Instant;

use super::super::base::base_in;
use super::super::classify::{Failure, Limit, Outcome, Response};
use super::super::error::ApiError;
use super::super::links::Links;
use super::super::notice::Notice;
use super::super::request::{Accept, Fetched, Meter, Page, Validator};
use super::super::tokens::{Lease, Purpose, Want};
use super::super::transport::Trouble;
use super::super::url::{ApiUrl, UrlProblem};
use super::Shared;
use crate::names::RepoName;
use crate::rate_limit::WaitReason;

/// Redirects to follow for one request: a rename is one, a rename of a renamed organisation two.
pub(super) const HOPS_MOST: u32 = 5;
/// A request that fails so often is worth a line to the user; a hiccup is in the log alone.
const RETRIES_TOLD_FROM: u32 = 3;
/// So many 401s to one request are enough, however many tokens it went out with.
const REFUSALS_MOST: u32 = 20;
/// What a change counts on the secondary limit, where a question counts 1 (GitHub docs: secondary rate limits).
const POINTS_OF_A_CHANGE: u32 = 5;

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
pub(super) enum Stop {
    /// No token is left for it.
    Nobody,
    /// With the token that got the last word, if one did.
    Error { error: ApiError, token: Option<usize> },
}

/// What a call has been through.
#[derive(Default)]
struct Trials {
    failed: u32,
    secondary: u32,
    primary: u32,
    hops: u32,
    refused: u32,
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
    Page { validator, links, date, moved, body: response.body }
}

fn foreign(url: &ApiUrl, role: &'static str, problem: UrlProblem, token: usize) -> Stop {
    Stop::Error { error: ApiError::ForeignUrl { path: url.to_string(), role, problem }, token: Some(token) }
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

impl Shared {
    /// Asks until there is an answer: waits, redirects, other tokens, further attempts.
    pub async fn run(&self, call: &Call<'_>, meter: &Meter) -> Result<(Fetched, usize), Stop> {
        let mut url = call.url.clone();
        let mut trials = Trials::default();
        loop {
            let want = Want {
                repo: call.repo,
                prefer: call.validator.map(|validator| validator.token.as_str()),
                purpose: trials.pinned.map_or(call.purpose, Purpose::Probe),
                endpoint: call.url.last_segment(),
                points: if call.sent.is_some() { POINTS_OF_A_CHANGE } else { 1 },
            };
            let unsent = |error| Stop::Error { error, token: None };
            let part = match call.is_nested {
                true => self.allowance.try_take(),
                false => self.allowance.take().await,
            };
            let part = part.map_err(unsent)?;
            let leased = tokio::select! {
                leased = self.lease(&want, &url, meter) => leased,
                error = self.allowance.over() => Err(error),
            };
            let Some(lease) = leased.map_err(unsent)? else {
                if trials.pinned.take().is_none() {
                    return Err(Stop::Nobody);
                }
                // The token was refused between two hops: start again with another.
                url = call.url.clone();
                continue;
            };
            let stop = |error| Stop::Error { error, token: Some(lease.token) };
            // A tag tells nothing to another token than the one that it was given to.
            let validator = call.validator.filter(|validator| validator.token == lease.tags);
            let etag = validator.and_then(|validator| HeaderValue::from_str(&validator.etag).ok());
            let first_contact = !self.contacted.load(Ordering::Relaxed);
            let started = Instant::now();
            let sent = call.sent.map(|sent| (sent.method.clone(), sent.body.clone()));
            let exchanged =
                self.transport.exchange(&self.base.api_url, &url, call.accept, etag.as_ref(), sent, &lease).await;
            let response = match exchanged {
                Ok(response) => response,
                Err(Trouble::Final(error)) => return Err(stop(error)),
                Err(Trouble::Failed(failure)) => {
                    if failure.connect.is_some() {
                        self.pool.unspent(lease.token);
                    }
                    drop(lease);
                    self.failed(call, &url, failure, first_contact, &mut trials).await?;
                    continue;
                }
            };
            let counts = self.absorb(&lease, (call.method(), &url), &response, started, meter).await;
            if let Some(part) = part.filter(|_| counts) {
                part.spend();
            }
            let outcome = response.outcome(&url.to_string(), &lease.hint, etag.is_some());
            if !matches!(outcome, Outcome::Failed(_)) {
                // A web page is no word of GitHub's API, even where it tells of a limit.
                if first_contact && !response.is_foreign() {
                    self.contacted.store(true, Ordering::Relaxed);
                }
                self.outage.record_answer();
            }
            match outcome {
                Outcome::Unchanged => return Ok((Fetched::Unchanged, lease.token)),
                Outcome::Page => {
                    self.base.record(&url, &response.body);
                    let (token, tags, moved) = (lease.token, lease.tags.clone(), trials.hops > 0);
                    // What is asked for beside must not wait for what this request holds.
                    drop(lease);
                    let mut links = Links::read(&response.headers, &self.base, &url);
                    if links.is_err() && self.find_public_url(call, meter).await {
                        links = Links::read(&response.headers, &self.base, &url);
                    }
                    let links = links.map_err(|problem| foreign(&url, "Link", problem, token))?;
                    let page = page(response, links, tags, moved);
                    return Ok((Fetched::Page(Box::new(page)), token));
                }
                Outcome::Final(ApiError::Forbidden { message, .. })
                    if self.pool.is_suspended(lease.token, &message) =>
                {
                    self.pool.lose(lease.token, message);
                    trials.pinned = None;
                    url = call.url.clone();
                }
                // What one token may not, another one of the repository's readers may.
                Outcome::Final(ref error @ (ApiError::Forbidden { .. } | ApiError::SsoRequired { .. }))
                    if matches!(call.purpose, Purpose::Read) && self.pool.refuse(&want, lease.token, error) =>
                {
                    trials.pinned = None;
                    url = call.url.clone();
                }
                Outcome::Final(error) => return Err(stop(error)),
                Outcome::Rejected(_) if lease.authorization.is_none() => {
                    return Err(stop(ApiError::NeedsToken { path: url.to_string() }));
                }
                Outcome::Rejected(message) => {
                    trials.refused += 1;
                    self.rejected(&lease, &response, message, trials.refused).await.map_err(stop)?;
                }
                Outcome::Redirect(_) if call.sent.is_some() => {
                    let last = format!("{} to a change", response.status);
                    return Err(stop(ApiError::Unavailable { path: url.to_string(), attempts: 1, last, heavy: false }));
                }
                Outcome::Redirect(location) => {
                    trials.hops += 1;
                    if trials.hops > HOPS_MOST {
                        return Err(stop(ApiError::TooManyRedirects { path: call.url.to_string(), hops: HOPS_MOST }));
                    }
                    let token = lease.token;
                    drop(lease);
                    let mut target = self.base.parse(&url, &location);
                    if target.is_err() && self.find_public_url(call, meter).await {
                        target = self.base.parse(&url, &location);
                    }
                    url = target.map_err(|problem| foreign(&url, "redirect", problem, token))?;
                    trials.pinned = Some(token);
                }
                Outcome::Limited(limit) => {
                    let only = matches!(call.purpose, Purpose::Only(_));
                    self.limited(&lease, &url, limit, only, &mut trials).await.map_err(stop)?;
                }
                Outcome::Failed(failure) => {
                    drop(lease);
                    self.failed(call, &url, failure, first_contact, &mut trials).await?;
                }
            }
        }
    }

    /// What an App is told that GitHub does not know is an error of its own.
    pub fn app_refused(&self, error: ApiError) -> ApiError {
        let (Some((app, place)), true) = (self.pool.app(), error.is_refusal()) else { return error };
        let message = match error {
            ApiError::Forbidden { message, .. } => message,
            _ => "there is no such App (404)".to_owned(),
        };
        self.pool.lose(place, message.clone());
        ApiError::AppRefused { app: app.id().to_owned(), message }
    }

    /// A 401. The App may have a clock that is wrong, an installation needs another token; any other token is out.
    async fn rejected(&self, lease: &Lease, response: &Response, message: String, times: u32) -> Result<(), ApiError> {
        if let Some((app, place)) = self.pool.app()
            && place == lease.token
        {
            // Of several requests at once only one finds the clock wrong: each is signed once more.
            if times == 1 {
                let wrong = response.date().is_some_and(|server_now| app.set_clock(server_now));
                tracing::warn!(%message, wrong, "GitHub refused the App; it signs once more, by GitHub's clock");
                return Ok(());
            }
            self.pool.lose(lease.token, message.clone());
            return Err(ApiError::AppRefused { app: app.id().to_owned(), message });
        }
        if times > REFUSALS_MOST {
            self.pool.reject(lease.token);
        } else if let Some(refused) = self.pool.refused(lease) {
            tracing::info!(token = %lease.hint, %message, "an installation's token was refused, and is replaced");
            if refused > 0 {
                tokio::time::sleep(self.tuning.backoff(refused + 2, None)).await;
            }
        }
        Ok(())
    }

    /// A limit's answer: the token pauses, the request goes on when a token may, unless limits keep coming.
    async fn limited(
        &self,
        lease: &Lease,
        url: &ApiUrl,
        limit: Limit,
        only: bool,
        trials: &mut Trials,
    ) -> Result<(), ApiError> {
        tracing::warn!(path = %url, token = %lease.hint, pause = ?limit.pause, message = %limit.message, "rate limit");
        let tokens = match only {
            true => 1,
            false => u32::try_from(self.pool.live().len()).unwrap_or(u32::MAX).max(1),
        };
        let over = match self.pause(lease, &limit).await {
            WaitReason::RateLimit => {
                trials.primary += 1;
                trials.primary >= self.tuning.primary_tries.saturating_mul(tokens)
            }
            WaitReason::RetryAfter | WaitReason::SecondaryLimit | WaitReason::NoToken => {
                trials.secondary += 1;
                trials.secondary >= self.tuning.secondary_tries.saturating_mul(tokens)
            }
        };
        let tries = trials.primary + trials.secondary;
        if over {
            Err(ApiError::LimitExhausted { path: url.to_string(), tries, message: limit.message })
        } else {
            Ok(())
        }
    }

    /// Counts a failure; waits before the next attempt, or gives up.
    async fn failed(
        &self,
        call: &Call<'_>,
        url: &ApiUrl,
        failure: Failure,
        first_contact: bool,
        trials: &mut Trials,
    ) -> Result<(), Stop> {
        trials.failed += 1;
        let attempts = trials.failed;
        let hopeless = first_contact && (failure.connect.is_some() || failure.foreign);
        let most = if call.sent.is_some_and(|sent| sent.once) || self.outage.is_open() {
            1
        } else if hopeless {
            self.tuning.first_contact_attempts
        } else if call.divisible && failure.heavy {
            self.tuning.heavy_attempts
        } else {
            self.tuning.attempts
        };
        if attempts < most {
            tracing::warn!(path = %url, attempt = attempts, why = %failure.why, "request failed, trying again");
            if attempts >= RETRIES_TOLD_FROM {
                let why = failure.why.clone();
                self.pool.tell(Notice::Retrying { what: url.to_string(), attempt: attempts, why });
            }
            tokio::time::sleep(self.tuning.backoff(attempts, failure.after)).await;
            return Ok(());
        }
        let (path, api_url) = (url.to_string(), self.base.api_url.to_string());
        // What may succeed in smaller parts tells nothing of GitHub.
        if !(call.divisible && failure.heavy) {
            self.outage.record_exhausted(&path);
        }
        let error = match failure.connect {
            Some(problem) if first_contact => ApiError::Connect { api_url, problem, attempts, chain: failure.why },
            None if hopeless => ApiError::NotGitHub { api_url, path, found: failure.why },
            _ => {
                // Smaller parts are of no use while GitHub is down.
                let heavy = failure.heavy && !self.outage.is_open();
                ApiError::Unavailable { path, attempts, last: failure.why, heavy }
            }
        };
        Err(Stop::Error { error, token: None })
    }

    /// Asks where the API is by its own word, unless that is known: its root names its addresses, a repository its own. Returns
    /// whether the call may read its links anew.
    async fn find_public_url(&self, call: &Call<'_>, meter: &Meter) -> bool {
        if !call.finds_public_url || !self.base.is_open() {
            return false;
        }
        let ask = || async {
            let own = call.repo.map(|repo| (ApiUrl::repo(repo, &[]), call.repo));
            for (url, repo) in [Some((ApiUrl::path(&[]), None)), own].into_iter().flatten() {
                let asked = Call { repo, finds_public_url: false, is_nested: true, ..Call::new(&url, Purpose::Read) };
                match Box::pin(self.run(&asked, meter)).await {
                    Ok((Fetched::Page(page), _)) => {
                        if let Some(found) = base_in(&url, &page.body) {
                            return Ok(Some(found));
                        }
                    }
                    Ok((Fetched::Unchanged, _)) => {}
                    Err(Stop::Error { error, .. }) if error.is_refusal() => {}
                    Err(_) => return Err(()),
                }
            }
            Ok(None)
        };
        self.base.find(ask).await;
        true
    }

    /// Why there is nobody to ask with.
    pub fn unauthorized(&self, url: &ApiUrl, purpose: Purpose<'_>) -> ApiError {
        let path = url.to_string();
        let only = match purpose {
            Purpose::Only(token) | Purpose::Probe(token) => Some(token),
            Purpose::Read | Purpose::Discover { .. } => None,
        };
        let tokens = self.pool.out(only);
        if self.pool.live().is_empty() {
            ApiError::Unauthorized { path, tokens }
        } else {
            ApiError::TokenOut { path, tokens }
        }
    }
}
