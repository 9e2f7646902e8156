//! The state that all clones of a client share.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use url::Url;

use super::super::app::App;
use super::super::base::ApiBase;
use super::super::coordinator::Coordinator;
use super::super::error::ClientError;
use super::super::limits::ClientLimits;
use super::super::request::RequestCounter;
use super::super::run_quota::RunQuota;
use super::super::settings::ClientSettings;
use super::super::token_info::Installation;
use super::super::tokens::TokenPool;
use super::super::transport::Transport;
use super::circuit_breaker::CircuitBreaker;

/// The state of a client.
pub(super) struct Inner {
    pub base: ApiBase,
    pub transport: Transport,
    pub pool: Arc<TokenPool>,
    /// Requests an hour to leave unused on each of the App's installations.
    pub app_reserve: u64,
    /// The App's installations, once they were listed.
    pub installations: OnceLock<Vec<Installation>>,
    /// Coordination with other processes; `None` without tokens.
    pub coordinator: Option<Coordinator>,
    pub limits: ClientLimits,
    pub quota: RunQuota,
    /// Counts all requests of this client.
    pub total: RequestCounter,
    /// Something that speaks like GitHub's API has answered.
    pub had_contact: AtomicBool,
    pub breaker: CircuitBreaker,
}

impl Inner {
    pub(super) fn new(settings: ClientSettings, limits: ClientLimits) -> Result<Self, ClientError> {
        let api_url = checked(settings.api_url)?;
        let app = settings.app.as_ref().map(App::new).transpose()?;
        // Anonymous requests are limited by address, which processes elsewhere don't share.
        let has_tokens = !settings.tokens.is_empty() || app.is_some();
        let pool = TokenPool::new(&settings.tokens, app, settings.concurrency, settings.notify)?;
        Ok(Self {
            transport: Transport::new(&api_url, &settings.user_agent, &limits)?,
            base: ApiBase::new(api_url, settings.public_url),
            pool,
            app_reserve: settings.app.map_or(0, |app| app.reserve.into()),
            installations: OnceLock::new(),
            coordinator: settings.rate_limit_store.filter(|_| has_tokens).map(Coordinator::new),
            limits,
            quota: RunQuota::default(),
            total: RequestCounter::default(),
            had_contact: AtomicBool::new(false),
            breaker: CircuitBreaker::default(),
        })
    }
}

/// Checks that tokens can safely be sent to an API address, and gives it a trailing slash.
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
