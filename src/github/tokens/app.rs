//! The App among the tokens: where it is installed, and the tokens that it gets there.

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
    /// Whether GitHub's words to an installation's token mean that its account's owner has let the App out.
    pub fn means_suspended(&self, token: usize, message: &str) -> bool {
        let installed = self.state().tokens.get(token).is_some_and(|token| token.installation().is_some());
        installed && message.to_ascii_lowercase().contains("installation has been suspended")
    }

    /// Whether a repository is known to be read by the App, and by no token that is_long_lived.
    pub fn is_app_only(&self, repo: &RepoName) -> bool {
        let state = self.state();
        let reads = |is_long_lived: bool| {
            let tokens = state
                .tokens
                .iter()
                .enumerate()
                .filter(|(_, token)| token.can_serve_reads() && token.is_long_lived() == is_long_lived);
            tokens.map(|(token, _)| state.can_read(repo, token)).any(|verdict| verdict == Some(true))
        };
        reads(false) && !reads(true)
    }

    /// The App, and its place among the tokens.
    pub fn app(&self) -> Option<(&App, usize)> {
        self.app.as_ref().map(|(app, place)| (app, *place))
    }

    /// Takes in an installation of the App. Returns its place among the tokens.
    pub fn add_installation(&self, installation: &Installation, reserve: u64) -> usize {
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

    /// An installation that needs a token: its number, and what is held by who gets it.
    pub fn due_refresh(&self, token: usize, now: Instant) -> Option<(i64, Arc<tokio::sync::Mutex<()>>)> {
        let state = self.state();
        let installed = state.tokens.get(token)?.installation().filter(|installed| installed.needs_refresh(now))?;
        Some((installed.id, Arc::clone(&installed.refreshing)))
    }

    /// Takes a new token of an installation. Returns whether it is one.
    pub fn refresh(&self, token: usize, secret: &Secret, lifetime: Duration, now: Instant) -> bool {
        let taken = self.state().tokens.get_mut(token).is_some_and(|token| token.refresh(secret, lifetime, now));
        self.changed.notify_waiters();
        taken
    }
}
