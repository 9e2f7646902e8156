//! Tokens that are disabled for the rest of the run, and what can't be known without them.

use super::super::error::UNAUTHORIZED;
use super::super::event::ClientEvent;
use super::token::{Credential, Token};
use super::{MAX_UNUSED_TOKENS, Permit, TokenPool};

impl TokenPool {
    /// Handles a 401: an installation's token is dropped for a new one, any other token is disabled, and so is an installation
    /// after several useless tokens. Returns how many those were, unless the token is disabled.
    pub(crate) fn record_unauthorized(&self, permit: &Permit) -> Option<u32> {
        let unused_tokens =
            self.state().tokens.get_mut(permit.token)?.record_unauthorized(permit.authorization.as_ref());
        let unused_tokens = unused_tokens.filter(|count| *count < MAX_UNUSED_TOKENS);
        if unused_tokens.is_none() {
            self.disable_unauthorized(permit.token);
        }
        unused_tokens
    }

    /// Disables a token that GitHub answered 401.
    pub(crate) fn disable_unauthorized(&self, token: usize) {
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

    /// Disables a token for another reason than a 401, and reports it if other tokens are left; otherwise an error follows that
    /// says so.
    pub(crate) fn disable(&self, token: usize, why: String) {
        let mut state = self.state();
        let Some(disabled) = state.tokens.get_mut(token) else { return };
        let (hint, was_disabled) = (disabled.hint.clone(), disabled.disabled_reason.is_some());
        disabled.disabled_reason.get_or_insert_with(|| why.clone());
        let report = !was_disabled && state.tokens.iter().any(Token::can_serve_reads);
        drop(state);
        self.changed.notify_waiters();
        if report {
            self.emit(ClientEvent::TokenDisabled { hint, why });
        }
    }

    /// Returns hint and reason of each disabled token, or of this one alone.
    pub(crate) fn disabled(&self, only: Option<usize>) -> Vec<(String, String)> {
        let state = self.state();
        let selected = state.tokens.iter().enumerate().filter(|(place, _)| only.is_none_or(|only| only == *place));
        selected.filter_map(|(_, token)| Some((token.hint.clone(), token.disabled_reason.clone()?))).collect()
    }

    /// Returns hint and reason of each disabled token that might see an account's private repositories.
    pub(crate) fn disabled_for(&self, login: &str) -> Vec<(String, String)> {
        let state = self.state();
        let relevant = state.tokens.iter().filter(|token| !token.is_installed_elsewhere(login));
        relevant.filter_map(|token| Some((token.hint.clone(), token.disabled_reason.clone()?))).collect()
    }

    /// Returns whether some of an account's private repositories may be hidden from all tokens: a token that might see them is
    /// disabled or restricted to selected repositories, or there is none.
    pub(crate) fn has_partial_view_of(&self, login: &str) -> bool {
        let state = self.state();
        let relevant = || state.tokens.iter().filter(|token| !token.is_installed_elsewhere(login));
        let is_restricted = |token: &Token| token.installation().is_some_and(|installed| installed.selected);
        !relevant().any(Token::can_serve_reads)
            || relevant().any(|token| token.disabled_reason.is_some() || is_restricted(token))
    }

    /// Returns whether the token of this ETag scope is usable, or the App is installed on the account.
    pub(crate) fn can_still_read(&self, etag_scope: &str, login: &str) -> bool {
        let state = self.state();
        let is_installed =
            |token: &Token| token.installation().is_some_and(|on| on.account.eq_ignore_ascii_case(login));
        state
            .tokens
            .iter()
            .any(|token| token.can_serve_reads() && (token.etag_scope() == Some(etag_scope) || is_installed(token)))
    }

    /// Returns whether a configured token is disabled.
    pub(crate) fn has_disabled_token(&self) -> bool {
        let is_static = |token: &&Token| matches!(token.credential, Credential::Static(_));
        self.state().tokens.iter().filter(is_static).any(|token| token.disabled_reason.is_some())
    }
}
