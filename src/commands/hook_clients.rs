//! The clients that see to organizations' webhooks: with a token of their own, or with the App.

use super::App;
use crate::github::GitHub;
use crate::webhooks::missed::HookClient;

/// The clients, of which each organization has its own.
pub(super) struct HookClients {
    /// A client with the hook token, where there is one.
    with_token: Option<GitHub>,
    /// A client with the App, unless the hook token was set for webhooks alone.
    with_app: Option<GitHub>,
}

impl HookClients {
    /// Builds the clients. `with_app` is a client with all tokens.
    ///
    /// # Errors
    /// A setting or a store that can't be used.
    pub(super) async fn new(app: &App, with_app: &GitHub) -> anyhow::Result<Self> {
        let settings = &app.settings;
        let with_token = match settings.hook_token() {
            Some(token) => {
                let mut app = app.clone();
                app.settings.set_read_token(token);
                Some(app.github().await?)
            }
            None => None,
        };
        let with_app = settings.github.hook_token.is_none().then(|| with_app.clone());
        Ok(Self { with_token, with_app })
    }

    /// Returns an organization's clients, in the order in which to try them.
    pub(super) fn of(&self, login: &str) -> Vec<HookClient> {
        let installed = |github: &GitHub| github.tokens().into_iter().find(|token| token.is_installed_on(login));
        // With neither a token nor an installation, GitHub's rejection says what is missing.
        let app = self.with_app.as_ref().map(|github| (github.clone(), installed(github)));
        let app = app.filter(|(_, token)| token.is_some() || self.with_token.is_none());
        let token = self.with_token.as_ref().map(|github| (github.clone(), None));
        token.into_iter().chain(app).collect()
    }

    /// Releases the hook token's share of the rate limits to other processes.
    pub(super) async fn close(&self) {
        if let Some(github) = &self.with_token {
            github.close().await;
        }
    }
}
