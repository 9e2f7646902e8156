//! Tokens that are out for this run, and what can't be known without them.

use super::super::error::UNAUTHORIZED;
use super::super::event::ClientEvent;
use super::token::{Credential, Token};
use super::{MAX_UNUSED_TOKENS, Permit, TokenPool};

impl TokenPool {
    /// What follows from a 401: an installation gets a new token, unless several in a row were of no use; else the token is
    /// taken out for this run.
    pub fn record_unauthorized(&self, permit: &Permit) -> Option<u32> {
        let again = self.state().tokens.get_mut(permit.token)?.record_unauthorized(permit.authorization.as_ref());
        let again = again.filter(|refused| *refused < MAX_UNUSED_TOKENS);
        if again.is_none() {
            self.disable_unauthorized(permit.token);
        }
        again
    }

    /// Takes a token out for this run (401).
    pub fn disable_unauthorized(&self, token: usize) {
        let mut state = self.state();
        let Some(token) = state.tokens.get_mut(token) else { return };
        let hint = token.disabled_reason.is_none().then(|| token.hint.clone());
        token.disabled_reason.get_or_insert_with(|| UNAUTHORIZED.to_owned());
        drop(state);
        self.changed.notify_waiters();
        if let Some(hint) = hint {
            self.emit(ClientEvent::TokenRejected { hint });
        }
    }

    /// Takes a token out for this run for another reason than a 401. Where nothing is left to go on with, the error that follows
    /// says so.
    pub fn disable(&self, token: usize, why: String) {
        let mut state = self.state();
        let Some(lost) = state.tokens.get_mut(token) else { return };
        let (hint, told) = (lost.hint.clone(), lost.disabled_reason.is_some());
        lost.disabled_reason.get_or_insert_with(|| why.clone());
        let tell = !told && state.tokens.iter().any(Token::can_serve_reads);
        drop(state);
        self.changed.notify_waiters();
        if tell {
            self.emit(ClientEvent::TokenDisabled { hint, why });
        }
    }

    /// The tokens that are out, and why; only this one, if it is given.
    pub fn disabled(&self, only: Option<usize>) -> Vec<(String, String)> {
        let state = self.state();
        let asked = state.tokens.iter().enumerate().filter(|(place, _)| only.is_none_or(|only| only == *place));
        asked.filter_map(|(_, token)| Some((token.hint.clone(), token.disabled_reason.clone()?))).collect()
    }

    /// The tokens that are out and might be shown an account's private repositories, and why.
    pub fn disabled_for(&self, login: &str) -> Vec<(String, String)> {
        let state = self.state();
        let near = state.tokens.iter().filter(|token| !token.is_installed_elsewhere(login));
        near.filter_map(|token| Some((token.hint.clone(), token.disabled_reason.clone()?))).collect()
    }

    /// Whether an account's private repositories may be hidden from all tokens: one that might be shown them is out, or there
    /// is none such, or it is shown some only.
    pub fn has_partial_view_of(&self, login: &str) -> bool {
        let state = self.state();
        let near = || state.tokens.iter().filter(|token| !token.is_installed_elsewhere(login));
        let selected = |token: &Token| token.installation().is_some_and(|installed| installed.selected);
        !near().any(Token::can_serve_reads) || near().any(|token| token.disabled_reason.is_some() || selected(token))
    }

    /// Whether a token is at hand that was given tags under this name, or else the App is installed on the account.
    pub fn can_still_read(&self, etag_scope: &str, login: &str) -> bool {
        let state = self.state();
        let near = |token: &Token| token.installation().is_some_and(|on| on.account.eq_ignore_ascii_case(login));
        state
            .tokens
            .iter()
            .any(|token| token.can_serve_reads() && (token.etag_scope() == Some(etag_scope) || near(token)))
    }

    /// Whether a token that the user has given is out.
    pub fn has_disabled_token(&self) -> bool {
        let given = |token: &&Token| matches!(token.credential, Credential::Static(_));
        self.state().tokens.iter().filter(given).any(|token| token.disabled_reason.is_some())
    }
}
