//! The webhooks of organisations, managed with a token of their own or with the App.

use super::super::client;
use crate::cli::ListArgs;
use crate::config::Settings;
use crate::github::hooks::{HookState, WantedHook};
use crate::github::{GitHub, Meter};
use crate::mirror::{Mirror, OrganizationReport};
use crate::telemetry::Console;

/// Who manages hooks, and what they are to be like.
pub(super) struct Hooks {
    wanted: Option<WantedHook>,
    /// With the hook token, where there is one.
    with_token: Option<GitHub>,
    /// With the App, unless the hook token was set for just this.
    with_app: Option<GitHub>,
}

impl Hooks {
    /// None where no address is set, or none are wanted.
    ///
    /// # Errors
    /// A setting or a store that can't be used.
    pub async fn new(
        settings: &Settings,
        mirror: &Mirror,
        args: &ListArgs,
        console: &Console,
        dry_run: bool,
    ) -> anyhow::Result<Self> {
        let Some(url) = settings.webhooks.public_url.clone().filter(|_| !args.no_hooks && !dry_run) else {
            if args.repair_hooks {
                console.line("webhooks.public_url is not set: there are no webhooks to repair");
            }
            return Ok(Self { wanted: None, with_token: None, with_app: None });
        };
        let wanted = Some(WantedHook { url, secret: settings.webhooks.secret.clone(), repair: args.repair_hooks });
        let with_token = match settings.hook_token() {
            Some(token) => {
                let mut settings = settings.clone();
                settings.set_read_token(token);
                Some(client(&settings, console, &mirror.cancel).await?)
            }
            None => None,
        };
        let with_app = settings.github.hook_token.is_none().then(|| mirror.github.clone());
        Ok(Self { wanted, with_token, with_app })
    }

    /// An organisation's hook; a problem with it is one of the organisation's.
    pub async fn of(&self, found: &mut OrganizationReport) -> Option<HookState> {
        let wanted = self.wanted.as_ref().filter(|_| found.listed && !found.person)?;
        let meter = Meter::default();
        let installed = |github: &GitHub| github.tokens().into_iter().find(|t| t.is_installed_on(&found.login));
        // Without any token to ask with, the refusal says what is missing.
        let app = self.with_app.as_ref().map(|github| (github, installed(github)));
        let app = app.filter(|(_, only)| only.is_some() || self.with_token.is_none());
        let token = self.with_token.as_ref().map(|github| (github, None));
        let mut state = None;
        for (github, only) in token.into_iter().chain(app) {
            let tried = github.organization_hook(&found.login, wanted, only.as_ref(), &meter).await;
            let known = !matches!(tried, HookState::Unknown(_));
            if known || state.is_none() {
                state = Some(tried);
            }
            if known {
                break;
            }
        }
        found.requests += meter.counted();
        found.free += meter.free();
        let state = state?;
        match &state {
            HookState::Repaired(wrong) => found.notes.push(format!("webhook repaired: {wrong}")),
            state => {
                let advice =
                    if matches!(state, HookState::Wrong(_)) { " (--repair-hooks puts that right)" } else { "" };
                found.problems.extend(state.problem().map(|problem| format!("webhook: {problem}{advice}")));
            }
        }
        Some(state)
    }

    /// Leaves the hook token to other processes.
    pub async fn leave(&self) {
        if let Some(github) = &self.with_token {
            github.close().await;
        }
    }
}
