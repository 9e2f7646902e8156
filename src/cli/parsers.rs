//! Parsers of single arguments, each with an error that says what was expected.

use std::convert::Infallible;
use std::time::Duration;

use crate::config::{DURATION_EXPECTED, parse_duration};
use crate::names::is_login;
use crate::secret::Secret;

/// Parses a length of time such as `90s` or `10d`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| format!("expected {DURATION_EXPECTED}"))
}

/// Parses the login of a person, a bot or an organization.
pub(super) fn login(text: &str) -> Result<String, String> {
    if is_login(text) {
        Ok(text.to_owned())
    } else {
        Err("expected a login: letters, digits, '-' and '_', [bot] at the end of an app's".to_owned())
    }
}

/// Parses the name of an event type, also one that msght does not know: GitHub adds some.
pub(super) fn event_type(text: &str) -> Result<String, String> {
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        Ok(text.to_owned())
    } else {
        Err("expected an event type such as PushEvent".to_owned())
    }
}

/// Accepts any text as a token: clap would show a rejected one.
pub(super) fn token(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text))
}
