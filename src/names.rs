//! Names of repositories and accounts, parsed once at the edge.

use std::fmt;
use std::str::FromStr;

/// A repository's full name, `owner/name`, in the spelling it was given.
///
/// Both parts contain only characters that GitHub allows, so a value of this type can't escape from a URL path or inject
/// control characters into a log.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepoName {
    owner: String,
    name: String,
}

/// The error for a text that is not a repository name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not a repository name: {problem}; expected OWNER/NAME, for example octocat/Hello-World")]
pub struct RepoNameError {
    given: String,
    problem: &'static str,
}

/// Upper bound on an owner's characters. GitHub's limit is 39, and enterprise-managed accounts add a suffix.
const MAX_OWNER_CHARS: usize = 100;
/// GitHub rejects repository names over 100 characters.
const MAX_NAME_CHARS: usize = 100;

impl RepoName {
    /// Builds a name from its two parts, as in `msght retrieve-repo ORG NAME`.
    ///
    /// # Errors
    /// A part that is empty, too long, `.` or `..`, or that holds a character outside GitHub's alphabet.
    pub fn new(owner: &str, name: &str) -> Result<Self, RepoNameError> {
        let fail = |problem| RepoNameError { given: format!("{owner}/{name}"), problem };
        if owner.is_empty() {
            return Err(fail("the owner is empty"));
        }
        if name.is_empty() {
            return Err(fail("the name is empty"));
        }
        if owner.len() > MAX_OWNER_CHARS {
            return Err(fail("the owner is longer than 100 characters"));
        }
        if name.len() > MAX_NAME_CHARS {
            return Err(fail("the name is longer than 100 characters"));
        }
        if !owner.chars().all(is_login_char) {
            return Err(fail("an owner has only letters, digits, '-' and '_'"));
        }
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')) {
            return Err(fail("a name has only letters, digits, '-', '_' and '.'"));
        }
        if name == "." || name == ".." {
            return Err(fail("'.' and '..' are not names"));
        }
        Ok(Self { owner: owner.to_owned(), name: name.to_owned() })
    }

    /// Parses a line of a list or a message: `OWNER NAME` or `OWNER/NAME`, surrounded by any blanks.
    ///
    /// # Errors
    /// A text that names no repository.
    pub fn parse_line(text: &str) -> Result<Self, RepoNameError> {
        match text.trim().split_once(char::is_whitespace) {
            Some((owner, name)) => Self::new(owner, name.trim_start()),
            None => text.trim().parse(),
        }
    }

    /// Returns the login of the repository's owner.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Returns the repository's name without its owner.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the full name in lower case: GitHub ignores case.
    pub fn folded(&self) -> String {
        format!("{}/{}", self.owner, self.name).to_ascii_lowercase()
    }

    /// Returns whether both name the same repository: GitHub ignores case.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.owner.eq_ignore_ascii_case(&other.owner) && self.name.eq_ignore_ascii_case(&other.name)
    }
}

fn is_login_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

/// Returns whether a text can be an account's login; those of apps end in `[bot]`.
pub fn is_login(text: &str) -> bool {
    let name = text.strip_suffix("[bot]").unwrap_or(text);
    !name.is_empty() && name.len() <= MAX_OWNER_CHARS && name.chars().all(is_login_char)
}

impl fmt::Display for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

impl FromStr for RepoName {
    type Err = RepoNameError;

    /// Parses `owner/name`, with no surrounding space.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |problem| RepoNameError { given: text.to_owned(), problem };
        let mut parts = text.split('/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(owner), Some(name), None) => Self::new(owner, name),
            (_, None, _) => Err(fail("there is no '/'")),
            _ => Err(fail("there is more than one '/'")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn malformed_names_are_rejected_with_the_expected_form() {
        for bad in ["", "a", "a/", "/b", "a/b/c", "../x", "a/..", "a/.", "a b/c", "a/b\n", "a/\u{0}", "é/x", "a/b c"] {
            let error = bad.parse::<RepoName>().expect_err(bad).to_string();
            assert!(error.contains("expected OWNER/NAME"), "{error}");
            assert!(!error.contains('\n') && !error.contains('\u{0}'), "control characters are escaped: {error:?}");
        }
    }

    proptest! {
        #[test]
        fn names_round_trip(text in "\\PC*") {
            if let Ok(name) = text.parse::<RepoName>() {
                prop_assert_eq!(name.to_string(), text);
            }
        }

        #[test]
        fn valid_names_parse(owner in "[a-zA-Z0-9][a-zA-Z0-9-]{0,38}", name in "[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,80}") {
            let parsed: RepoName = format!("{owner}/{name}").parse().unwrap();
            prop_assert_eq!(parsed.owner(), owner);
            prop_assert_eq!(parsed.name(), name);
        }
    }
}
