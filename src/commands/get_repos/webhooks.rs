//! The webhooks of organizations, managed with a token of their own or with the App.

use crate::cli::ListArgs;
use crate::commands::App;
use crate::github::webhooks::{WebhookSpec, WebhookState};
use crate::github::{GitHub, RequestCounter};
use crate::mirror::{Mirror, OrganizationReport};

/// The webhook that each organization is to have, and the clients to manage it with.
pub(super) struct Webhooks {
    /// `None` where no webhooks are wanted.
    spec: Option<WebhookSpec>,
    /// A client with the hook token, where there is one.
    with_token: Option<GitHub>,
    /// A client with the App, unless the hook token was set for webhooks alone.
    with_app: Option<GitHub>,
}

impl Webhooks {
    /// Builds the clients. Without an address, with `--no-hooks` and in a dry run no webhook is inspected.
    ///
    /// # Errors
    /// A setting or a store that can't be used.
    pub(super) async fn new(app: &App, mirror: &Mirror, args: &ListArgs, dry_run: bool) -> anyhow::Result<Self> {
        let settings = &app.settings;
        let Some(url) = settings.webhooks.public_url.clone().filter(|_| !args.no_hooks && !dry_run) else {
            if args.repair_hooks {
                app.console.line("webhooks.public_url is not set: there are no webhooks to repair");
            }
            return Ok(Self { spec: None, with_token: None, with_app: None });
        };
        let spec =
            Some(WebhookSpec { url, secret: settings.webhooks.secrets.first().cloned(), repair: args.repair_hooks });
        let with_token = match settings.hook_token() {
            Some(token) => {
                let mut app = app.clone();
                app.settings.set_read_token(token);
                Some(app.github().await?)
            }
            None => None,
        };
        let with_app = settings.github.hook_token.is_none().then(|| mirror.github.clone());
        Ok(Self { spec, with_token, with_app })
    }

    /// Creates or repairs an organization's webhook, and returns its state; a failure is a problem of the organization.
    pub(super) async fn reconcile(&self, organization: &mut OrganizationReport) -> Option<WebhookState> {
        let spec = self.spec.as_ref().filter(|_| organization.listed && !organization.person)?;
        let counter = RequestCounter::default();
        let login = &organization.login;
        let installed = |github: &GitHub| github.tokens().into_iter().find(|token| token.is_installed_on(login));
        // With neither a token nor an installation, GitHub's rejection says what is missing.
        let app = self.with_app.as_ref().map(|github| (github, installed(github)));
        let app = app.filter(|(_, token)| token.is_some() || self.with_token.is_none());
        let token = self.with_token.as_ref().map(|github| (github, None));
        let mut state = None;
        for (github, token) in token.into_iter().chain(app) {
            let found = github.reconcile_webhook(login, spec, token.as_ref(), &counter).await;
            let is_known = !matches!(found, WebhookState::Unknown(_));
            if is_known || state.is_none() {
                state = Some(found);
            }
            if is_known {
                break;
            }
        }
        organization.requests += counter.counted();
        organization.free += counter.not_modified();
        let state = state?;
        match &state {
            WebhookState::Repaired(wrong) => organization.notes.push(format!("webhook repaired: {wrong}")),
            state => {
                let hint =
                    if matches!(state, WebhookState::Misconfigured(_)) { " (--repair-hooks repairs it)" } else { "" };
                organization.problems.extend(state.problem().map(|problem| format!("webhook: {problem}{hint}")));
            }
        }
        Some(state)
    }

    /// Releases the hook token's share of the rate limits to other processes.
    pub(super) async fn close(&self) {
        if let Some(github) = &self.with_token {
            github.close().await;
        }
    }
}
