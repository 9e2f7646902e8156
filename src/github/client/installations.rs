//! The App and its installations.

use std::time::Duration;

use super::super::app;
use super::super::error::ApiError;
use super::super::page::{Fetched, Page};
use super::super::request::{Request, RequestCounter};
use super::super::token_info::Installation;
use super::super::tokens::Purpose;
use super::super::url::ApiUrl;
use super::super::visited::VisitedUrls;
use super::GitHub;
use super::execute::{CallError, PreparedRequest};
use super::inner::Inner;

/// Installations per page, GitHub's maximum.
const INSTALLATIONS_PER_PAGE: &str = "100";
/// Timeout of the App's list of installations where other tokens can serve without it.
const INSTALLATIONS_TIMEOUT: Duration = Duration::from_mins(1);

impl GitHub {
    /// Lists the App's installations and adds their tokens to the pool; does nothing without an App. If other tokens are
    /// configured, an App that fails is reported and they serve alone.
    ///
    /// # Errors
    /// [`ApiError::AppRejected`], [`ApiError::NotInstalled`] or [`ApiError::Unauthorized`] where no other token is configured;
    /// else as [`GitHub::send`].
    pub async fn find_installations(&self, counter: &RequestCounter) -> Result<(), ApiError> {
        let pool = &self.inner.pool;
        let Some((app, place)) = pool.app() else { return Ok(()) };
        let alone = pool.usable().is_empty();
        let list = self.inner.list_installations(place, counter);
        let found = if alone {
            list.await?
        } else {
            match tokio::time::timeout(INSTALLATIONS_TIMEOUT, list).await {
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
        // A second call finds the same.
        let _ = self.inner.installations.set(placed);
        match pool.usable().is_empty() {
            true if nowhere => Err(ApiError::NotInstalled { app: app.id().to_owned() }),
            true => Err(self.inner.no_token_error(&ApiUrl::path(&["app", "installations"]), Purpose::Read)),
            false => Ok(()),
        }
    }

    /// Returns the installations that [`GitHub::find_installations`] found.
    pub fn installations(&self) -> &[Installation] {
        self.inner.installations.get().map_or(&[], Vec::as_slice)
    }

    /// Fetches the App's own description; `None` without an App.
    pub async fn app(&self, counter: &RequestCounter) -> Result<Option<Page>, ApiError> {
        let Some((_, place)) = self.inner.pool.app() else { return Ok(None) };
        let (request, purpose) = (Request::get(ApiUrl::path(&["app"])), Purpose::OnlyWith(place));
        match self.inner.execute(&PreparedRequest::new(&request, purpose), counter).await {
            Ok((Fetched::Page(page), _)) => Ok(Some(*page)),
            Ok((Fetched::NotModified, _)) => Ok(None),
            Err(CallError::NoToken) => Err(self.inner.no_token_error(&request.url, purpose)),
            Err(CallError::Api { error, .. }) => Err(self.inner.app_error(error)),
        }
    }
}

impl Inner {
    async fn list_installations(&self, app: usize, counter: &RequestCounter) -> Result<Vec<Installation>, ApiError> {
        let mut found = Vec::new();
        let mut next = Some(ApiUrl::path(&["app", "installations"]).query("per_page", INSTALLATIONS_PER_PAGE));
        let mut visited = VisitedUrls::default();
        while let Some(url) = next.take() {
            visited.visit(&url)?;
            let (request, purpose) = (Request::get(url), Purpose::OnlyWith(app));
            let page = match self.execute(&PreparedRequest::new(&request, purpose), counter).await {
                Ok((Fetched::Page(page), _)) => page,
                Ok((Fetched::NotModified, _)) | Err(CallError::NoToken) => {
                    return Err(self.no_token_error(&request.url, purpose));
                }
                Err(CallError::Api { error, .. }) => return Err(self.app_error(error)),
            };
            let listed = app::parse_installations(&page.body);
            found.extend(listed.map_err(|error| unexpected_form(&request.url, &error))?);
            next = page.links.next;
        }
        Ok(found)
    }

    /// Turns a denial into the error that the App itself was rejected, and disables the App.
    fn app_error(&self, error: ApiError) -> ApiError {
        let (Some((app, place)), true) = (self.pool.app(), error.is_access_denied()) else { return error };
        let message = match error {
            ApiError::Forbidden { message, .. } => message,
            _ => "there is no such App (404)".to_owned(),
        };
        self.pool.disable(place, message.clone());
        ApiError::AppRejected { app: app.id().to_owned(), message }
    }
}

/// Returns an error for complete JSON in which something is missing.
fn unexpected_form(url: &ApiUrl, error: &serde_json::Error) -> ApiError {
    // The error's own words may show what was found, a token for example.
    let last = format!("an answer of another form (line {}, column {})", error.line(), error.column());
    ApiError::Unavailable { path: url.to_string(), attempts: 1, last, timed_out: false }
}
