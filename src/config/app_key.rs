//! The private key of a GitHub App.

use std::path::Path;

use super::error::ConfigError;
use crate::github::app::private_key_problem;
use crate::secret::Secret;

const EXPECTED: &str =
    "expected the App's private key as GitHub gives it, a PEM file (-----BEGIN RSA PRIVATE KEY-----)";

/// Reads a key file.
///
/// # Errors
/// A file that can't be read, or holds no key that can sign; no error shows anything of it.
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
