//! The client's interface.

mod acquire;
mod circuit_breaker;
mod execute;
mod inner;
mod installations;
mod record;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::error::{ApiError, ClientError};
use super::limits::ClientLimits;
use super::page::{Fetched, is_public_repository};
use super::request::{Request, RequestCounter};
use super::settings::ClientSettings;
use super::token_info::{PoolBudget, TokenRef, TokenState};
use super::tokens::Purpose;
use super::url::ApiUrl;
use crate::names::RepoName;
use crate::telemetry::CustomEvent;
use crate::validator::Validator;

use execute::{CallError, PreparedRequest};
use inner::Inner;

/// A client of GitHub's REST API; clones share everything.
#[derive(Clone)]
pub struct GitHub {
    inner: Arc<Inner>,
}

impl GitHub {
    /// Creates a client; sends nothing yet.
    pub fn new(settings: ClientSettings) -> Result<Self, ClientError> {
        Self::with_limits(settings, ClientLimits::default())
    }

    pub(super) fn with_limits(settings: ClientSettings, limits: ClientLimits) -> Result<Self, ClientError> {
        Ok(Self { inner: Arc::new(Inner::new(settings, limits)?) })
    }

    /// Sends a request and returns the page. Waits and retries are over when it fails; dropping the future cancels the request.
    pub async fn send(&self, request: &Request, counter: &RequestCounter) -> Result<Fetched, ApiError> {
        let purpose = request.token.as_ref().map_or(Purpose::Read, |token| Purpose::OnlyWith(token.index));
        match self.inner.execute(&PreparedRequest::new(request, purpose), counter).await {
            Ok((fetched, _)) => Ok(fetched),
            Err(CallError::NoToken) => Err(self.inner.no_token_error(&request.url, purpose)),
            Err(CallError::Api { error, .. }) => Err(error),
        }
    }

    /// Fetches a repository with token after token until one can read it, and records which can.
    ///
    /// # Errors
    /// [`ApiError::NoAccess`] when no token can read it ([`ApiError::SsoRequired`] if a sign-on would help); else as
    /// [`GitHub::send`].
    pub async fn repository(
        &self,
        repo: &RepoName,
        validator: Option<&Validator>,
        counter: &RequestCounter,
    ) -> Result<Fetched, ApiError> {
        let request = Request::get(ApiUrl::repo(repo, &[])).repo(repo.clone()).validator(validator.cloned());
        let (mut tried, mut statuses, mut sso) = (Vec::new(), Vec::new(), None);
        loop {
            let call = PreparedRequest::new(&request, Purpose::Discover { tried: &tried });
            let (error, token) = match self.inner.execute(&call, counter).await {
                Ok((fetched, token)) => {
                    let public = match &fetched {
                        Fetched::Page(page) => is_public_repository(&page.body),
                        Fetched::NotModified => None,
                    };
                    self.inner.pool.record_access(repo, token, true, public);
                    return Ok(fetched);
                }
                Err(CallError::NoToken) if statuses.is_empty() => {
                    return Err(self.inner.no_token_error(&request.url, Purpose::Read));
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
            CustomEvent::KeyDoesNotHaveAccess { hint: &hint, organization: repo.owner(), repository: repo.name() }
                .emit();
            tried.push(token);
            statuses.push((hint, status));
            if matches!(error, ApiError::SsoRequired { .. }) {
                sso = Some(error);
            }
        }
    }

    /// Records that the repository asked for as `asked` is called `name`: the same tokens can read it.
    pub fn record_rename(&self, asked: &RepoName, name: &RepoName, public: Option<bool>) {
        self.inner.pool.record_rename(asked, name, public);
    }

    /// Records that a token can read a repository, seen in a list for example, and whether everybody can.
    pub fn record_access(&self, token: &TokenRef, repo: &RepoName, public: bool) {
        self.inner.pool.record_access(repo, token.index, true, Some(public));
    }

    /// Returns the usable tokens, or a reference for anonymous requests if none is configured.
    pub fn tokens(&self) -> Vec<TokenRef> {
        self.inner.pool.usable()
    }

    /// Returns the tokens that may see an account's private data: all but the App's installations on other accounts.
    pub fn tokens_for(&self, login: &str) -> Vec<TokenRef> {
        let (mut tokens, elsewhere) = self.by_account(login);
        if tokens.is_empty() {
            // All of these see the same public data.
            tokens.extend(elsewhere.into_iter().next());
        }
        tokens
    }

    /// Returns the App's installations on other accounts.
    pub fn tokens_elsewhere(&self, login: &str) -> Vec<TokenRef> {
        self.by_account(login).1
    }

    fn by_account(&self, login: &str) -> (Vec<TokenRef>, Vec<TokenRef>) {
        self.tokens().into_iter().partition(|token| !token.is_installed_elsewhere(login))
    }

    /// Returns hint and reason of each disabled token that might see an account's private repositories.
    pub fn disabled_for(&self, login: &str) -> Vec<(String, String)> {
        self.inner.pool.disabled_for(login)
    }

    /// Returns a token's state, from the responses so far.
    pub fn token_state(&self, token: &TokenRef) -> TokenState {
        self.inner.pool.token_state(token.index, Instant::now())
    }

    /// Returns whether a configured token is disabled: a 404 may then only mean that this one could read.
    pub fn has_disabled_token(&self) -> bool {
        self.inner.pool.has_disabled_token()
    }

    /// Returns whether some of an account's private repositories may be hidden from all tokens, so that a 404 proves nothing.
    pub fn has_partial_view_of(&self, login: &str) -> bool {
        self.inner.pool.has_partial_view_of(login)
    }

    /// Returns whether the token that a validator is valid for is usable, or the App is installed on the account.
    pub fn can_still_read(&self, etag_scope: &str, login: &str) -> bool {
        self.inner.pool.can_still_read(etag_scope, login)
    }

    /// Returns whether only App installations can read the repository. Their ETags do not survive token renewal, so unchanged
    /// lists are fetched again.
    pub fn is_app_only(&self, repo: &RepoName) -> bool {
        self.inner.pool.is_app_only(repo)
    }

    /// Returns the number of requests so far that counted on a rate limit.
    pub fn counted(&self) -> u64 {
        self.inner.total.counted()
    }

    /// Returns the budget of all tokens together, for estimates.
    pub fn budget(&self) -> PoolBudget {
        self.inner.pool.budget(Instant::now())
    }

    /// Bounds all further requests: to `requests` that count, and to `time`. Beyond that they fail with
    /// [`ApiError::LimitReached`] and the first of `messages` for the requests, the second for the time.
    pub fn set_run_quota(&self, requests: Option<u64>, time: Option<Duration>, messages: [String; 2]) {
        self.inner.quota.set(requests, time, messages);
    }

    /// Returns the message of the bound that kept a request from being sent, if one did.
    pub fn run_quota_reached(&self) -> Option<String> {
        self.inner.quota.reached()
    }

    /// Returns whether GitHub counts as down: several requests in a row got no usable answer in spite of retries.
    pub fn is_down(&self) -> bool {
        self.inner.breaker.is_open()
    }

    /// Deregisters this process, so that others get its share of the tokens at once rather than after some seconds. No request
    /// may follow.
    pub async fn close(&self) {
        if let Some(coordinator) = &self.inner.coordinator {
            coordinator.close().await;
        }
    }
}
