//! The private key of a GitHub App.

use std::path::Path;

use super::error::ConfigError;
use crate::github::app::private_key_problem;
use crate::secret::Secret;

/// The expected content, for error messages.
const EXPECTED: &str =
    "expected the App's private key as GitHub gives it, a PEM file (-----BEGIN RSA PRIVATE KEY-----)";

/// Reads a private key from a PEM file.
///
/// # Errors
/// An unreadable file, or one without a key that can sign; no error shows its content.
pub(super) fn read_file(path: &Path, named_by: &str) -> Result<Secret, ConfigError> {
    let what = || format!("the App's private key (github.app_private_key_file, {named_by})");
    let text = std::fs::read_to_string(path).map_err(|reason| ConfigError::Unreadable {
        what: what(),
        path: path.to_owned(),
        reason,
        expected: EXPECTED.to_owned(),
    })?;
    let key = Secret::new(text);
    match private_key_problem(&key) {
        None => Ok(key),
        Some(problem) => Err(ConfigError::Empty {
            path: path.to_owned(),
            problem: format!("{} holds {problem}; {EXPECTED}", what()),
        }),
    }
}
