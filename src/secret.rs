//! Secrets: texts that must not be shown.

use std::fmt;

use sha2::{Digest, Sha256};

/// A token, key or password. `Debug` and `Display` show at most its first 4 characters, so that no log, error or
/// panic can carry it; [`Secret::expose`] is the one way to the text, easy to find in a review.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text, for the one place that has to send it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns what may be shown of it: the first 4 characters and an ellipsis (`ghp_…`), or only the ellipsis if the secret is so
    /// short that 4 characters would reveal much of it.
    pub fn hint(&self) -> String {
        const VISIBLE: usize = 4;
        if self.0.chars().count() < 3 * VISIBLE {
            return "…".to_owned();
        }
        self.0.chars().take(VISIBLE).chain(['…']).collect()
    }

    /// Returns 8 hex digits that identify the secret without revealing it: the start of its SHA-256.
    pub fn fingerprint(&self) -> String {
        Sha256::digest(self.0.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hint())
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_first_characters_are_shown() {
        let secret = Secret::new("ghp_0123456789abcdef");
        for shown in [format!("{secret}"), format!("{secret:?}"), format!("{:#?}", Some(&secret))] {
            assert!(shown.contains("ghp_…") && !shown.contains("0123"), "{shown}");
        }
        assert_eq!(Secret::new("short").to_string(), "…");
    }
}
