//! Tokens that are out for this run, and what can't be known without them.

use super::super::notice::Notice;
use super::token::{Credential, Token};
use super::{Lease, Pool, REFUSED, REFUSED_MOST};

impl Pool {
    /// What follows from a 401: an installation gets a new token, unless several in a row were of no use; else the token is
    /// taken out for this run.
    pub fn refused(&self, lease: &Lease) -> Option<u32> {
        let again = self.state().tokens.get_mut(lease.token)?.refused(lease.authorization.as_ref());
        let again = again.filter(|refused| *refused < REFUSED_MOST);
        if again.is_none() {
            self.reject(lease.token);
        }
        again
    }

    /// Takes a token out for this run (401).
    pub fn reject(&self, token: usize) {
        let mut state = self.state();
        let Some(token) = state.tokens.get_mut(token) else { return };
        let hint = token.out.is_none().then(|| token.hint.clone());
        token.out.get_or_insert_with(|| REFUSED.to_owned());
        drop(state);
        self.changed.notify_waiters();
        if let Some(hint) = hint {
            self.tell(Notice::TokenRejected { hint });
        }
    }

    /// Takes a token out for this run for another reason than a 401. Where nothing is left to go on with, the error that follows
    /// says so.
    pub fn lose(&self, token: usize, why: String) {
        let mut state = self.state();
        let Some(lost) = state.tokens.get_mut(token) else { return };
        let (hint, told) = (lost.hint.clone(), lost.out.is_some());
        lost.out.get_or_insert_with(|| why.clone());
        let tell = !told && state.tokens.iter().any(Token::reads);
        drop(state);
        self.changed.notify_waiters();
        if tell {
            self.tell(Notice::TokenLost { hint, why });
        }
    }

    /// The tokens that are out, and why; only this one, if it is given.
    pub fn out(&self, only: Option<usize>) -> Vec<(String, String)> {
        let state = self.state();
        let asked = state.tokens.iter().enumerate().filter(|(place, _)| only.is_none_or(|only| only == *place));
        asked.filter_map(|(_, token)| Some((token.hint.clone(), token.out.clone()?))).collect()
    }

    /// The tokens that are out and might be shown an account's private repositories, and why.
    pub fn out_for(&self, login: &str) -> Vec<(String, String)> {
        let state = self.state();
        let near = state.tokens.iter().filter(|token| !token.is_foreign_to(login));
        near.filter_map(|token| Some((token.hint.clone(), token.out.clone()?))).collect()
    }

    /// Whether an account's private repositories may be hidden from all tokens: one that might be shown them is out, or there
    /// is none such, or it is shown some only.
    pub fn is_blind_to(&self, login: &str) -> bool {
        let state = self.state();
        let near = || state.tokens.iter().filter(|token| !token.is_foreign_to(login));
        let selected = |token: &Token| token.installed().is_some_and(|installed| installed.selected);
        !near().any(Token::reads) || near().any(|token| token.out.is_some() || selected(token))
    }

    /// Whether a token is at hand that was given tags under this name, or else the App is installed on the account.
    pub fn has_reader(&self, tags: &str, login: &str) -> bool {
        let state = self.state();
        let near = |token: &Token| token.installed().is_some_and(|on| on.account.eq_ignore_ascii_case(login));
        state.tokens.iter().any(|token| token.reads() && (token.tags() == Some(tags) || near(token)))
    }

    /// Whether a token that the user has given is out.
    pub fn has_rejected(&self) -> bool {
        let given = |token: &&Token| matches!(token.credential, Credential::Given(_));
        self.state().tokens.iter().filter(given).any(|token| token.out.is_some())
    }
}
