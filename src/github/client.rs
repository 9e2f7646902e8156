//! One request from question to answer.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::Utc;
use http::HeaderValue;
use tokio::time::Instant;
use url::Url;

use super::budget::RateHeaders;
use super::classify::{Failure, Limit, Outcome, Pause, Response};
use super::error::{ApiError, ClientError};
use super::ledger::LedgerError;
use super::links::Links;
use super::notice::{Notice, WaitReason};
use super::request::{Accept, Budget, Change, ClientSettings, Fetched, Get, Meter, Page, TokenRef, Validator};
use super::retry::Tuning;
use super::sharing::Sharing;
use super::tokens::{Lease, Pool, Purpose, Try, Want};
use super::transport::{Transport, Trouble};
use super::url::ApiUrl;
use crate::names::RepoName;
use crate::telemetry::Event;

/// Redirects to follow for one request: a rename is one, a rename of a renamed organisation two.
const HOPS_MOST: u32 = 5;

/// The client; clones share everything.
#[derive(Clone)]
pub struct GitHub {
    shared: Arc<Shared>,
}

struct Shared {
    api_url: Url,
    transport: Transport,
    pool: Arc<Pool>,
    /// The other processes with the same tokens.
    sharing: Option<Sharing>,
    tuning: Tuning,
    /// All requests.
    total: Meter,
    /// Something that speaks like GitHub's API has answered.
    contacted: AtomicBool,
}

/// A request that fails so often is worth a line to the user; a hiccup is in the log alone.
const RETRIES_TOLD_FROM: u32 = 3;
/// A probe that brought no clear answer is not repeated for so long.
const PROBE_PAUSE: Duration = Duration::from_secs(30);
/// Nor one for which no request was free.
const PROBE_BUSY_PAUSE: Duration = Duration::from_secs(1);

/// One question, whichever way it is asked.
struct Call<'a> {
    url: &'a ApiUrl,
    accept: Accept,
    validator: Option<&'a Validator>,
    repo: Option<&'a RepoName>,
    purpose: Purpose<'a>,
    divisible: bool,
}

/// Why a call has no answer.
enum Stop {
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
    /// A redirect is followed with the token that got it.
    pinned: Option<usize>,
}

impl GitHub {
    /// Makes a client; sends nothing yet.
    ///
    /// # Errors
    /// A setting that can't work; see [`ClientError`].
    pub fn new(settings: ClientSettings) -> Result<Self, ClientError> {
        Self::with_tuning(settings, Tuning::default())
    }

    pub(super) fn with_tuning(settings: ClientSettings, tuning: Tuning) -> Result<Self, ClientError> {
        let api_url = checked(settings.api_url)?;
        let pool = Pool::new(&settings.tokens, settings.concurrency, settings.notify)?;
        let transport = Transport::new(&api_url, &settings.user_agent, pool.total(), &tuning)?;
        // Without a token it is the address that is limited, which says nothing to processes elsewhere.
        let sharing = settings.ledger.filter(|_| !settings.tokens.is_empty()).map(Sharing::new);
        let contacted = AtomicBool::new(false);
        let total = Meter::default();
        Ok(Self { shared: Arc::new(Shared { api_url, transport, pool, sharing, tuning, total, contacted }) })
    }

    /// GET `/repos/OWNER/NAME`, trying token after token, and remembers which tokens can read it.
    ///
    /// # Errors
    /// [`ApiError::NoAccess`] when no token can read it ([`ApiError::SsoRequired`] if a sign-on would help); else as
    /// [`GitHub::get`].
    pub async fn repository(
        &self,
        repo: &RepoName,
        validator: Option<&Validator>,
        meter: &Meter,
    ) -> Result<Fetched, ApiError> {
        let url = ApiUrl::repo(repo, &[]);
        let (mut tried, mut statuses, mut sso) = (Vec::new(), Vec::new(), None);
        loop {
            let purpose = Purpose::Discover { tried: &tried };
            let call = Call { url: &url, accept: Accept::Json, validator, repo: Some(repo), purpose, divisible: false };
            let (error, token) = match self.shared.run(&call, meter).await {
                Ok((fetched, token)) => {
                    self.shared.pool.remember(repo, token, true, public(&fetched));
                    return Ok(fetched);
                }
                Err(Stop::Nobody) if statuses.is_empty() => return Err(self.shared.unauthorized(&url)),
                Err(Stop::Nobody) => {
                    return Err(sso.unwrap_or_else(|| ApiError::NoAccess { repo: repo.clone(), tried: statuses }));
                }
                Err(Stop::Error { error, token: None }) => return Err(error),
                Err(Stop::Error { error, token: Some(token) }) => (error, token),
            };
            let (hint, status) = match &error {
                ApiError::NotFound { token, .. } => (token.clone(), 404),
                ApiError::Forbidden { token, .. } | ApiError::SsoRequired { token, .. } => (token.clone(), 403),
                _ => return Err(error),
            };
            self.shared.pool.remember(repo, token, false, None);
            Event::KeyDoesNotHaveAccess { hint: &hint, organization: repo.owner(), repository: repo.name() }.emit();
            tried.push(token);
            statuses.push((hint, status));
            if matches!(error, ApiError::SsoRequired { .. }) {
                sso = Some(error);
            }
        }
    }

    /// Tells what an answer says of a repository that was asked for as `asked`: that it is called `name`, so that the
    /// same tokens can read it, and whether everybody can.
    pub fn is_called(&self, asked: &RepoName, name: &RepoName, public: Option<bool>) {
        self.shared.pool.is_called(asked, name, public);
    }

    /// The tokens that GitHub has not refused in this run; one that stands for anonymous requests where there is none.
    pub fn tokens(&self) -> Vec<TokenRef> {
        self.shared.pool.live()
    }

    /// Tells that a token was shown a repository, in a list for example, and whether everybody can read it.
    pub fn can_read(&self, token: &TokenRef, repo: &RepoName, public: bool) {
        self.shared.pool.remember(repo, token.index, true, Some(public));
    }

    /// Requests of this client until now: those that count on a rate limit.
    pub fn counted(&self) -> u64 {
        self.shared.total.counted()
    }

    /// Whether GitHub has refused a token in this run (401): then a 404 may only mean that the one that could read is out.
    pub fn has_rejected(&self) -> bool {
        self.shared.pool.has_rejected()
    }

    /// Fetches one page. Dropping the future ends the request and gives its slot back.
    ///
    /// # Errors
    /// See [`ApiError`]; all waits and retries are over then.
    pub async fn get(&self, request: &Get, meter: &Meter) -> Result<Fetched, ApiError> {
        let call = Call {
            url: &request.url,
            accept: request.accept,
            validator: request.validator.as_ref(),
            repo: request.repo.as_ref(),
            purpose: request.only.as_ref().map_or(Purpose::Read, |token| Purpose::Only(token.index)),
            divisible: request.divisible,
        };
        match self.shared.run(&call, meter).await {
            Ok((fetched, _)) => Ok(fetched),
            Err(Stop::Nobody) => Err(self.shared.unauthorized(&request.url)),
            Err(Stop::Error { error, .. }) => Err(error),
        }
    }

    /// Asks GitHub to change something. Only what a limit kept from being done is sent again: of what brought no answer it is
    /// not known whether it was done.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn change(&self, change: &Change, meter: &Meter) -> Result<Page, ApiError> {
        let shared = &self.shared;
        let (url, want) = (&change.url, Want { repo: None, prefer: None, purpose: Purpose::Read, endpoint: "" });
        let mut trials = Trials::default();
        loop {
            let leased = shared.lease(&want, meter).await;
            let leased = leased.map_err(|problem| ApiError::Ledger { path: url.to_string(), problem })?;
            let lease = leased.ok_or_else(|| shared.unauthorized(url))?;
            let started = Instant::now();
            let (method, body) = (change.method.clone(), change.body.to_string().into_bytes());
            let failed = |failure: Failure| ApiError::Unavailable {
                path: url.to_string(),
                attempts: 1,
                last: failure.why,
                heavy: false,
            };
            let response = match shared.transport.change(&shared.api_url, url, method, body, &lease).await {
                Ok(response) => response,
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Failed(failure)) => return Err(failed(failure)),
            };
            shared.absorb(&lease, url, &response, started, meter).await;
            match response.outcome(&url.to_string(), &lease.hint, false) {
                Outcome::Page => return shared.page(url, response, &lease, false),
                Outcome::Final(error) => return Err(error),
                Outcome::Rejected if lease.authorization.is_none() => {
                    return Err(ApiError::NeedsToken { path: url.to_string() });
                }
                Outcome::Rejected => shared.pool.reject(lease.token),
                Outcome::Limited(limit) => shared.limited(&lease, url, limit, &mut trials).await?,
                Outcome::Failed(failure) => return Err(failed(failure)),
                Outcome::Redirect(_) | Outcome::Unchanged => {
                    return Err(failed(Failure::new(format!("{} to a change", response.status))));
                }
            }
        }
    }

    /// Leaves the tokens to the other processes at once; without it they notice after some seconds. Requests may follow.
    pub async fn leave(&self) {
        if let Some(sharing) = &self.shared.sharing {
            sharing.leave().await;
        }
    }

    /// What is left, for estimates.
    pub fn budget(&self) -> Budget {
        self.shared.pool.budget(Instant::now())
    }
}

impl Shared {
    /// Asks until there is an answer: waits, redirects, other tokens, further attempts.
    async fn run(&self, call: &Call<'_>, meter: &Meter) -> Result<(Fetched, usize), Stop> {
        let mut url = call.url.clone();
        let mut trials = Trials::default();
        loop {
            let want = Want {
                repo: call.repo,
                prefer: call.validator.map(|validator| validator.token.as_str()),
                purpose: trials.pinned.map_or(call.purpose, Purpose::Probe),
                endpoint: call.url.last_segment(),
            };
            let unshared = |problem| ApiError::Ledger { path: url.to_string(), problem };
            let leased = self.lease(&want, meter).await;
            let Some(lease) = leased.map_err(|e| Stop::Error { error: unshared(e), token: None })? else {
                if trials.pinned.take().is_none() {
                    return Err(Stop::Nobody);
                }
                // The token was refused between two hops: start again with another.
                url = call.url.clone();
                continue;
            };
            let stop = |error| Stop::Error { error, token: Some(lease.token) };
            // A tag tells nothing to another token than the one that it was given to.
            let validator = call.validator.filter(|validator| validator.token == lease.fingerprint);
            let etag = validator.and_then(|validator| HeaderValue::from_str(&validator.etag).ok());
            let first_contact = !self.contacted.load(Ordering::Relaxed);
            let started = Instant::now();
            let exchanged = self.transport.exchange(&self.api_url, &url, call.accept, etag.as_ref(), &lease).await;
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
            self.absorb(&lease, &url, &response, started, meter).await;
            let outcome = response.outcome(&url.to_string(), &lease.hint, etag.is_some());
            if !matches!(outcome, Outcome::Failed(_)) {
                self.contacted.store(true, Ordering::Relaxed);
            }
            match outcome {
                Outcome::Unchanged => return Ok((Fetched::Unchanged, lease.token)),
                Outcome::Page => {
                    let page = self.page(&url, response, &lease, trials.hops > 0).map_err(stop)?;
                    return Ok((Fetched::Page(Box::new(page)), lease.token));
                }
                // What one token may not, another one of the repository's readers may.
                Outcome::Final(ref error @ (ApiError::Forbidden { .. } | ApiError::SsoRequired { .. }))
                    if matches!(call.purpose, Purpose::Read) && self.pool.refuse(&want, lease.token, error) =>
                {
                    trials.pinned = None;
                    url = call.url.clone();
                }
                Outcome::Final(error) => return Err(stop(error)),
                Outcome::Rejected if lease.authorization.is_none() => {
                    return Err(stop(ApiError::NeedsToken { path: url.to_string() }));
                }
                Outcome::Rejected => self.pool.reject(lease.token),
                Outcome::Redirect(location) => {
                    trials.hops += 1;
                    if trials.hops > HOPS_MOST {
                        return Err(stop(ApiError::TooManyRedirects { path: call.url.to_string(), hops: HOPS_MOST }));
                    }
                    url = self.foreign_checked(&url, &location).map_err(stop)?;
                    trials.pinned = Some(lease.token);
                }
                Outcome::Limited(limit) => self.limited(&lease, &url, limit, &mut trials).await.map_err(stop)?,
                Outcome::Failed(failure) => {
                    drop(lease);
                    self.failed(call, &url, failure, first_contact, &mut trials).await?;
                }
            }
        }
    }

    /// Waits for a token; `None` when there is none for this.
    async fn lease(&self, want: &Want<'_>, meter: &Meter) -> Result<Option<Lease>, LedgerError> {
        let _turn = self.pool.turn(want).await;
        let mut waited = false;
        loop {
            if let Some(sharing) = &self.sharing {
                sharing.refresh(&self.pool).await?;
            }
            // Listening starts before looking, so that no change between the two is missed.
            let mut changed = pin!(self.pool.changed());
            changed.as_mut().enable();
            let now = Instant::now();
            match self.pool.try_lease(want, now) {
                Try::Lease(lease) => {
                    let Some(lease) = self.granted(lease).await? else { continue };
                    if waited {
                        self.pool.resumed();
                    }
                    return Ok(Some(lease));
                }
                Try::Nobody => return Ok(None),
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

    /// Asks the other processes for what this one has found free. If they have it, the pool knows until when.
    async fn granted(&self, lease: Lease) -> Result<Option<Lease>, LedgerError> {
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
            let want = Want { repo: None, prefer: None, purpose: Purpose::Probe(token), endpoint: "" };
            let Try::Lease(lease) = self.pool.try_lease(&want, Instant::now()) else {
                again = PROBE_BUSY_PAUSE;
                break;
            };
            // What goes wrong in asking the others is said by the request that this one is for.
            let Ok(Some(lease)) = self.granted(lease).await else {
                again = PROBE_BUSY_PAUSE;
                break;
            };
            let started = Instant::now();
            let Ok(response) = self.transport.exchange(&self.api_url, &url, Accept::Json, None, &lease).await else {
                break;
            };
            self.absorb(&lease, &url, &response, started, meter).await;
            match response.outcome(&url.to_string(), &lease.hint, false) {
                Outcome::Page => {
                    let public = private_flag(&response.body).map(|private| !private);
                    return self.pool.remember(repo, token, true, public);
                }
                Outcome::Redirect(location) => match self.foreign_checked(&url, &location) {
                    Ok(next) => url = next,
                    Err(_) => break,
                },
                Outcome::Limited(limit) => {
                    self.pause(&lease, &limit).await;
                    break;
                }
                Outcome::Rejected => return self.pool.reject(token),
                Outcome::Final(error) if error.is_refusal() => return self.pool.remember(repo, token, false, None),
                Outcome::Unchanged | Outcome::Failed(_) | Outcome::Final(_) => break,
            }
        }
        self.pool.probe_later(repo, token, Instant::now() + again);
    }

    /// Takes in what every answer tells: the budget, the token's end, the count.
    async fn absorb(&self, lease: &Lease, url: &ApiUrl, response: &Response, started: Instant, meter: &Meter) {
        let (status, now) = (response.status.as_u16(), Instant::now());
        let rate = RateHeaders::read(&response.headers);
        tracing::debug!(
            method = "GET",
            path = %url,
            status,
            ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            token = %lease.hint,
            remaining = rate.remaining,
            "request"
        );
        let free = status == 304 && lease.authorization.is_some();
        for meter in [meter, &self.total] {
            (if free { &meter.free } else { &meter.counted }).fetch_add(1, Ordering::Relaxed);
        }
        // A 401 carries the limits of the address it came from, not the token's.
        if status != 401 {
            // A limit's or a broken server's answer may come from a machine in front of the API.
            let regular = status < 500 && !matches!(status, 403 | 429);
            let server_now = response.date().unwrap_or_else(Utc::now);
            self.pool.learn(lease.token, &rate, regular, server_now, now);
            if let Some(sharing) = &self.sharing
                && let Some(news) = self.pool.news(lease.token, &rate, (free, regular), server_now, now)
            {
                sharing.report(lease, news).await;
            }
        }
        if let Some(at) = response.token_expiry() {
            self.pool.expires(lease.token, at);
        }
    }

    fn page(&self, url: &ApiUrl, response: Response, lease: &Lease, moved: bool) -> Result<Page, ApiError> {
        let links = Links::read(&response.headers, &self.api_url, url).map_err(|problem| ApiError::ForeignUrl {
            path: url.to_string(),
            role: "Link",
            problem,
        })?;
        let validator = response
            .etag()
            .filter(|_| response.status.as_u16() == 200)
            .map(|etag| Validator { etag: etag.to_owned(), token: lease.fingerprint.clone() });
        let date = response.date();
        Ok(Page { validator, links, date, moved, body: response.body })
    }

    fn foreign_checked(&self, url: &ApiUrl, location: &str) -> Result<ApiUrl, ApiError> {
        ApiUrl::parse(&self.api_url, url, location).map_err(|problem| ApiError::ForeignUrl {
            path: url.to_string(),
            role: "redirect",
            problem,
        })
    }

    /// Puts the token in its pause, here and in the other processes.
    async fn pause(&self, lease: &Lease, limit: &Limit) -> WaitReason {
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

    /// A limit's answer: the token pauses, the request goes on when a token may, unless limits keep coming.
    async fn limited(&self, lease: &Lease, url: &ApiUrl, limit: Limit, trials: &mut Trials) -> Result<(), ApiError> {
        tracing::warn!(path = %url, token = %lease.hint, pause = ?limit.pause, message = %limit.message, "rate limit");
        let tokens = u32::try_from(self.pool.hints().len()).unwrap_or(u32::MAX);
        let over = match self.pause(lease, &limit).await {
            WaitReason::RateLimit => {
                trials.primary += 1;
                trials.primary >= self.tuning.primary_tries.saturating_mul(tokens)
            }
            WaitReason::RetryAfter | WaitReason::SecondaryLimit => {
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
        let most = if hopeless {
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
        let (path, api_url) = (url.to_string(), self.api_url.to_string());
        let error = match failure.connect {
            Some(problem) if first_contact => ApiError::Connect { api_url, problem, attempts, chain: failure.why },
            None if hopeless => ApiError::NotGitHub { api_url, path, found: failure.why },
            _ => ApiError::Unavailable { path, attempts, last: failure.why, heavy: failure.heavy },
        };
        Err(Stop::Error { error, token: None })
    }

    fn unauthorized(&self, url: &ApiUrl) -> ApiError {
        ApiError::Unauthorized { path: url.to_string(), tokens: self.pool.hints() }
    }
}

/// An API address that is safe to send tokens to, with a trailing slash.
fn checked(mut url: Url) -> Result<Url, ClientError> {
    let fail = |problem| Err(ClientError::ApiUrl { problem });
    if !matches!(url.scheme(), "http" | "https") {
        return fail("is neither http nor https");
    }
    if url.host_str().is_none_or(str::is_empty) {
        return fail("names no host");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return fail("holds a user name or password, which would be shown in logs; set tokens under github.tokens");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return fail("holds a query or a fragment");
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

/// Whether everybody may read the repository, when the answer says.
fn public(fetched: &Fetched) -> Option<bool> {
    match fetched {
        Fetched::Page(page) => private_flag(&page.body).map(|private| !private),
        Fetched::Unchanged => None,
    }
}

fn private_flag(body: &[u8]) -> Option<bool> {
    #[derive(serde::Deserialize)]
    struct Repository {
        private: Option<bool>,
    }
    serde_json::from_slice::<Repository>(body).ok()?.private
}
