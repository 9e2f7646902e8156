//! The App among the tokens, and the tokens of its installations.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::app::App;
use super::super::token_info::Installation;
use super::TokenPool;
use super::token::Token;
use crate::names::RepoName;
use crate::secret::Secret;

impl TokenPool {
    /// Returns whether a 403's message to an installation's token means that the account's owner suspended the App.
    pub(crate) fn means_suspended(&self, token: usize, message: &str) -> bool {
        let is_installation = self.state().tokens.get(token).is_some_and(|token| token.installation().is_some());
        is_installation && message.to_ascii_lowercase().contains("installation has been suspended")
    }

    /// Returns whether the App is known to read a repository, and no long-lived token is.
    pub(crate) fn is_app_only(&self, repo: &RepoName) -> bool {
        let state = self.state();
        let has_reader = |is_long_lived: bool| {
            let tokens = state
                .tokens
                .iter()
                .enumerate()
                .filter(|(_, token)| token.can_serve_reads() && token.is_long_lived() == is_long_lived);
            tokens.map(|(token, _)| state.can_read(repo, token)).any(|can_read| can_read == Some(true))
        };
        has_reader(false) && !has_reader(true)
    }

    /// Returns the App and its index among the tokens.
    pub(crate) fn app(&self) -> Option<(&App, usize)> {
        self.app.as_ref().map(|(app, place)| (app, *place))
    }

    /// Adds an installation of the App unless it is known, and returns its index among the tokens.
    pub(crate) fn add_installation(&self, installation: &Installation, reserve: u64) -> usize {
        let mut state = self.state();
        let known = |token: &Token| token.installation().is_some_and(|known| known.id == installation.id);
        if let Some(place) = state.tokens.iter().position(known) {
            return place;
        }
        let Installation { id, account, selected, .. } = installation;
        state.tokens.push(Token::for_installation(*id, account, *selected, reserve));
        let place = state.tokens.len() - 1;
        drop(state);
        self.changed.notify_waiters();
        place
    }

    /// Returns the id and the refresh lock of an installation that needs a new token.
    pub(crate) fn refresh_lock_if_due(&self, token: usize, now: Instant) -> Option<(i64, Arc<tokio::sync::Mutex<()>>)> {
        let state = self.state();
        let installed = state.tokens.get(token)?.installation().filter(|installed| installed.needs_refresh(now))?;
        Some((installed.id, Arc::clone(&installed.refreshing)))
    }

    /// Sets an installation's new token. Returns whether it can be sent.
    pub(crate) fn set_issued_token(&self, token: usize, secret: &Secret, lifetime: Duration, now: Instant) -> bool {
        let is_usable =
            self.state().tokens.get_mut(token).is_some_and(|token| token.set_issued_token(secret, lifetime, now));
        self.changed.notify_waiters();
        is_usable
    }
}
