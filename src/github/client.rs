//! What the client can be asked.

mod acquire;
mod execute;
mod outage;
mod record;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;
use url::Url;

use super::app::{self, App};
use super::base::ApiBase;
use super::coordinator::Coordinator;
use super::error::{ApiError, ClientError};
use super::limits::ClientLimits;
use super::request::{
    Change, ClientSettings, Fetched, Get, Installation, Page, PoolBudget, RequestCounter, TokenRef, TokenState,
    Validator,
};
use super::run_quota::RunQuota;
use super::tokens::{Purpose, TokenPool};
use super::transport::Transport;
use super::url::ApiUrl;
use super::visited::VisitedUrls;
use crate::names::RepoName;
use crate::telemetry::Event;

use execute::{Call, CallError, Sent};
use outage::Outage;

/// Installations a page, GitHub's most.
const INSTALLATIONS_PER_PAGE: &str = "100";
/// So long an App is waited for where there are other tokens to begin with.
const INSTALLATIONS_TIMEOUT: Duration = Duration::from_secs(60);

/// The client; clones share everything.
#[derive(Clone)]
pub struct GitHub {
    inner: Arc<Inner>,
}

struct Inner {
    base: ApiBase,
    transport: Transport,
    pool: Arc<TokenPool>,
    /// Requests an hour to leave unused on each of the App's installations.
    app_reserve: u64,
    /// Where the App is installed, once that was asked.
    installations: OnceLock<Vec<Installation>>,
    /// The other processes with the same tokens.
    coordinator: Option<Coordinator>,
    limits: ClientLimits,
    /// What the run may still ask for.
    quota: RunQuota,
    /// All requests.
    total: RequestCounter,
    /// Something that speaks like GitHub's API has answered.
    had_contact: AtomicBool,
    outage: Outage,
}

impl GitHub {
    /// Makes a client; sends nothing yet.
    ///
    /// # Errors
    /// A setting that can't work; see [`ClientError`].
    pub fn new(settings: ClientSettings) -> Result<Self, ClientError> {
        Self::with_limits(settings, ClientLimits::default())
    }

    pub(super) fn with_limits(settings: ClientSettings, limits: ClientLimits) -> Result<Self, ClientError> {
        let api_url = checked(settings.api_url)?;
        let app = settings.app.as_ref().map(App::new).transpose()?;
        // Without a token it is the address that is limited, which says nothing to processes elsewhere.
        let has_tokens = !settings.tokens.is_empty() || app.is_some();
        let pool = TokenPool::new(&settings.tokens, app, settings.concurrency, settings.notify)?;
        let transport = Transport::new(&api_url, &settings.user_agent, &limits)?;
        let coordinator = settings.rate_limit_store.filter(|_| has_tokens).map(Coordinator::new);
        let app_reserve = settings.app.map_or(0, |app| app.reserve.into());
        let (had_contact, outage) = (AtomicBool::new(false), Outage::default());
        let total = RequestCounter::default();
        let installations = OnceLock::new();
        let quota = RunQuota::default();
        let base = ApiBase::new(api_url, settings.public_url);
        let inner = Inner {
            base,
            transport,
            pool,
            app_reserve,
            installations,
            coordinator,
            limits,
            quota,
            total,
            had_contact,
            outage,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Finds the accounts that the App is installed on, so that their tokens serve requests; without an App there is nothing to
    /// do. Where there are other tokens, an App that can't be asked is told of, and they serve alone.
    ///
    /// # Errors
    /// [`ApiError::AppRefused`], [`ApiError::NotInstalled`] or [`ApiError::Unauthorized`] where there is nothing else to ask
    /// with; else as [`GitHub::get`].
    pub async fn find_installations(&self, counter: &RequestCounter) -> Result<(), ApiError> {
        let pool = &self.inner.pool;
        let Some((app, place)) = pool.app() else { return Ok(()) };
        let alone = pool.usable().is_empty();
        let asked = self.inner.list_installations(place, counter);
        let found = if alone {
            asked.await?
        } else {
            match tokio::time::timeout(INSTALLATIONS_TIMEOUT, asked).await {
                Ok(Ok(found)) => found,
                Ok(Err(error)) => {
                    pool.disable(place, error.to_string());
                    return Ok(());
                }
                Err(_) => {
                    pool.disable(place, format!("no answer within {} s", INSTALLATIONS_TIMEOUT.as_secs()));
                    return Ok(());
                }
            }
        };
        let placed = found.into_iter().map(|mut installation| {
            let place = pool.add_installation(&installation, self.inner.app_reserve);
            installation.token = pool.usable().into_iter().find(|token| token.index == place);
            installation
        });
        let mut placed: Vec<Installation> = placed.collect();
        for suspended in placed.iter_mut().filter(|installation| installation.suspended) {
            if let Some(token) = suspended.token.take() {
                pool.disable(token.index, "the installation is suspended".to_owned());
            }
        }
        let nowhere = placed.is_empty();
        // Who asks again knows already.
        let _ = self.inner.installations.set(placed);
        match pool.usable().is_empty() {
            true if nowhere => Err(ApiError::NotInstalled { app: app.id().to_owned() }),
            true => Err(self.inner.unauthorized(&ApiUrl::path(&["app", "installations"]), Purpose::Read)),
            false => Ok(()),
        }
    }

    /// Where the App is installed, as [`GitHub::find_installations`] found.
    pub fn installations(&self) -> &[Installation] {
        self.inner.installations.get().map_or(&[], Vec::as_slice)
    }

    /// Asks GitHub who the App is; `None` without one.
    ///
    /// # Errors
    /// As [`GitHub::get`].
    pub async fn app(&self, counter: &RequestCounter) -> Result<Option<Page>, ApiError> {
        let Some((_, place)) = self.inner.pool.app() else { return Ok(None) };
        let url = ApiUrl::path(&["app"]);
        match self.inner.execute(&Call::new(&url, Purpose::Pinned(place)), counter).await {
            Ok((Fetched::Page(page), _)) => Ok(Some(*page)),
            Ok((Fetched::NotModified, _)) => Ok(None),
            Err(CallError::NoToken) => Err(self.inner.unauthorized(&url, Purpose::Pinned(place))),
            Err(CallError::Api { error, .. }) => Err(self.inner.app_refused(error)),
        }
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
        counter: &RequestCounter,
    ) -> Result<Fetched, ApiError> {
        let url = ApiUrl::repo(repo, &[]);
        let (mut tried, mut statuses, mut sso) = (Vec::new(), Vec::new(), None);
        loop {
            let purpose = Purpose::Discover { tried: &tried };
            let call = Call { validator, repo: Some(repo), ..Call::new(&url, purpose) };
            let (error, token) = match self.inner.execute(&call, counter).await {
                Ok((fetched, token)) => {
                    self.inner.pool.record_access(repo, token, true, public(&fetched));
                    return Ok(fetched);
                }
                Err(CallError::NoToken) if statuses.is_empty() => {
                    return Err(self.inner.unauthorized(&url, Purpose::Read));
                }
                Err(CallError::NoToken) => {
                    return Err(sso.unwrap_or_else(|| ApiError::NoAccess { repo: repo.clone(), tried: statuses }));
                }
                Err(CallError::Api { error, token: None }) => return Err(error),
                Err(CallError::Api { error, token: Some(token) }) => (error, token),
            };
            let (hint, status) = match &error {
                ApiError::NotFound { token, .. } => (token.clone(), 404),
                ApiError::Forbidden { token, .. } | ApiError::SsoRequired { token, .. } => (token.clone(), 403),
                _ => return Err(error),
            };
            self.inner.pool.record_access(repo, token, false, None);
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
    pub fn record_rename(&self, asked: &RepoName, name: &RepoName, public: Option<bool>) {
        self.inner.pool.record_rename(asked, name, public);
    }

    /// The tokens that GitHub has not refused in this run; one that stands for anonymous requests where there is none.
    pub fn tokens(&self) -> Vec<TokenRef> {
        self.inner.pool.usable()
    }

    /// The tokens that an account's own things may be shown to: all but the App's installations on other accounts.
    pub fn tokens_for(&self, login: &str) -> Vec<TokenRef> {
        let (mut near, foreign) = self.by_account(login);
        if near.is_empty() {
            // What everybody is shown, any of them is.
            near.extend(foreign.into_iter().next());
        }
        near
    }

    /// The App's installations on other accounts.
    pub fn tokens_elsewhere(&self, login: &str) -> Vec<TokenRef> {
        self.by_account(login).1
    }

    fn by_account(&self, login: &str) -> (Vec<TokenRef>, Vec<TokenRef>) {
        self.tokens().into_iter().partition(|token| !token.is_installed_elsewhere(login))
    }

    /// The tokens that are out and might be shown an account's private repositories, and why each is out.
    pub fn disabled_for(&self, login: &str) -> Vec<(String, String)> {
        self.inner.pool.disabled_for(login)
    }

    /// What GitHub has said of a token until now.
    pub fn token_state(&self, token: &TokenRef) -> TokenState {
        self.inner.pool.token_state(token.index, Instant::now())
    }

    /// Tells that a token was shown a repository, in a list for example, and whether everybody can read it.
    pub fn record_access(&self, token: &TokenRef, repo: &RepoName, public: bool) {
        self.inner.pool.record_access(repo, token.index, true, Some(public));
    }

    /// Requests of this client until now: those that count on a rate limit.
    pub fn counted(&self) -> u64 {
        self.inner.total.counted()
    }

    /// Bounds all requests from now on: `requests` more that count, and `time`. What would go beyond them fails with
    /// [`ApiError::LimitReached`], which says the first of `words` for the requests, the second for the time.
    pub fn set_run_quota(&self, requests: Option<u64>, time: Option<Duration>, words: [String; 2]) {
        self.inner.quota.set(requests, time, words);
    }

    /// Why a request was not sent, once a bound of the run has kept one from it.
    pub fn run_quota_reached(&self) -> Option<String> {
        self.inner.quota.reached()
    }

    /// Whether GitHub has refused a token that the user has given (401): then a 404 may only mean that the one that could read
    /// is out.
    pub fn has_disabled_token(&self) -> bool {
        self.inner.pool.has_disabled_token()
    }

    /// Whether a token is missing that might be shown an account's private repositories, or is shown some only: then a 404
    /// proves nothing of those.
    pub fn has_partial_view_of(&self, login: &str) -> bool {
        self.inner.pool.has_partial_view_of(login)
    }

    /// Whether the token is at hand that was given a tag, as [`Validator::token`] names it, or else the App is installed on the
    /// account.
    pub fn can_still_read(&self, tags: &str, login: &str) -> bool {
        self.inner.pool.can_still_read(tags, login)
    }

    /// Whether a repository is known to be read by the App, and by no token that lasts: the tags that were given for it are void
    /// with each new token of the App's, so that what has not changed is read again.
    pub fn is_app_only(&self, repo: &RepoName) -> bool {
        self.inner.pool.is_app_only(repo)
    }

    /// Fetches one page. Dropping the future ends the request and gives its slot back.
    ///
    /// # Errors
    /// See [`ApiError`]; all waits and retries are over then.
    pub async fn get(&self, request: &Get, counter: &RequestCounter) -> Result<Fetched, ApiError> {
        let call = Call {
            accept: request.accept,
            validator: request.validator.as_ref(),
            repo: request.repo.as_ref(),
            divisible: request.divisible,
            ..Call::new(&request.url, purpose_of(request.only.as_ref()))
        };
        match self.inner.execute(&call, counter).await {
            Ok((fetched, _)) => Ok(fetched),
            Err(CallError::NoToken) => Err(self.inner.unauthorized(&request.url, call.purpose)),
            Err(CallError::Api { error, .. }) => Err(error),
        }
    }

    /// Asks GitHub to change something. Only what a limit kept from being done is sent again: of what brought no answer it is
    /// not known whether it was done.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn change(&self, change: &Change, counter: &RequestCounter) -> Result<Page, ApiError> {
        let sent = Sent { method: change.method.clone(), body: change.body.to_string().into_bytes(), once: true };
        let call = Call { sent: Some(&sent), ..Call::new(&change.url, purpose_of(change.only.as_ref())) };
        match self.inner.execute(&call, counter).await {
            Ok((Fetched::Page(page), _)) => Ok(*page),
            Ok((Fetched::NotModified, _)) | Err(CallError::NoToken) => {
                Err(self.inner.unauthorized(&change.url, call.purpose))
            }
            Err(CallError::Api { error, .. }) => Err(error),
        }
    }

    /// Leaves the tokens to the other processes at once; without it they notice after some seconds. No request may follow.
    pub async fn close(&self) {
        if let Some(coordinator) = &self.inner.coordinator {
            coordinator.close().await;
        }
    }

    /// Returns whether GitHub counts as down: several requests in a row got no usable answer, however often they were sent.
    pub fn is_down(&self) -> bool {
        self.inner.outage.is_open()
    }

    /// What is left, for estimates.
    pub fn budget(&self) -> PoolBudget {
        self.inner.pool.budget(Instant::now())
    }
}

impl Inner {
    async fn list_installations(&self, app: usize, counter: &RequestCounter) -> Result<Vec<Installation>, ApiError> {
        let mut found = Vec::new();
        let mut next = Some(ApiUrl::path(&["app", "installations"]).query("per_page", INSTALLATIONS_PER_PAGE));
        let mut visited = VisitedUrls::default();
        while let Some(url) = next.take() {
            visited.visit(&url)?;
            let purpose = Purpose::Pinned(app);
            let page = match self.execute(&Call::new(&url, purpose), counter).await {
                Ok((Fetched::Page(page), _)) => page,
                Ok((Fetched::NotModified, _)) | Err(CallError::NoToken) => return Err(self.unauthorized(&url, purpose)),
                Err(CallError::Api { error, .. }) => return Err(self.app_refused(error)),
            };
            let listed = app::parse_installations(&page.body);
            found.extend(listed.map_err(|error| not_understood(&url, &error))?);
            next = page.links.next;
        }
        Ok(found)
    }
}

fn purpose_of(only: Option<&TokenRef>) -> Purpose<'static> {
    only.map_or(Purpose::Read, |token| Purpose::Pinned(token.index))
}

/// An answer of the right form in which something is missing.
fn not_understood(url: &ApiUrl, error: &serde_json::Error) -> ApiError {
    // The error's own words may show what was found, a token for example.
    let last = format!("an answer of another form (line {}, column {})", error.line(), error.column());
    ApiError::Unavailable { path: url.to_string(), attempts: 1, last, timed_out: false }
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
        Fetched::NotModified => None,
    }
}

fn private_flag(body: &[u8]) -> Option<bool> {
    #[derive(serde::Deserialize)]
    struct Repository {
        private: Option<bool>,
    }
    serde_json::from_slice::<Repository>(body).ok()?.private
}
