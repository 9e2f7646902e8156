//! Read tokens from settings and from the tokens file, each with its reserve.

use std::path::Path;

use super::error::ConfigError;
use crate::secret::Secret;

/// A read token and its reserve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadToken {
    /// The token.
    pub secret: Secret,
    /// Requests per hour to leave unused on it.
    pub reserve: u32,
}

/// A line of the tokens file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileToken {
    secret: Secret,
    reserve: Option<u32>,
}

/// The expected form of a list of tokens, for error messages.
pub(super) const EXPECTED_LIST: &str = "tokens of visible ASCII characters, with commas between";
/// The expected form of a line of the tokens file, for error messages.
const EXPECTED_LINE: &str = "expected one token per line, optionally followed by the requests per hour to leave unused";

/// Trims the byte order mark and the line end from a single token that may come from a file.
pub(super) fn trimmed(text: &str) -> &str {
    text.trim_start_matches('\u{feff}').trim_end_matches(['\r', '\n'])
}

/// Returns the problem of an invalid token, in words that don't show it.
pub fn problem(token: &str) -> Option<&'static str> {
    if token.is_empty() {
        Some("an empty token")
    } else if token.chars().all(|c| c.is_ascii_graphic()) {
        None
    } else {
        Some("a token with a space, a control character or a character outside ASCII")
    }
}

/// Splits a comma-separated list of tokens.
pub(super) fn split(text: &str) -> Result<Vec<String>, String> {
    // The value may come from a file, with a byte order mark and a line end.
    let tokens = text.trim_start_matches('\u{feff}').split(',');
    let tokens = tokens.map(|token| token.trim_matches([' ', '\t', '\r', '\n'])).filter(|token| !token.is_empty());
    let tokens: Vec<&str> = tokens.collect();
    if tokens.is_empty() {
        return Err("no token".to_owned());
    }
    for (index, token) in tokens.iter().enumerate() {
        if let Some(problem) = problem(token) {
            return Err(format!("{problem} as entry {}", index + 1));
        }
    }
    Ok(tokens.into_iter().map(str::to_owned).collect())
}

/// Reads a tokens file.
///
/// # Errors
/// An unreadable file, or one without a token or with an invalid line; no error shows a token.
pub(super) fn read_file(path: &Path, named_by: &str) -> Result<Vec<FileToken>, ConfigError> {
    let bytes = std::fs::read(path).map_err(|reason| ConfigError::Unreadable {
        what: format!("the tokens file (github.tokens_file, {named_by})"),
        path: path.to_owned(),
        reason,
        expected: EXPECTED_LINE.to_owned(),
    })?;
    let mut tokens = Vec::new();
    let lines = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
    for (index, line) in lines.split(|byte| *byte == b'\n').enumerate() {
        let malformed = |problem: String| ConfigError::Malformed { path: path.to_owned(), line: index + 1, problem };
        let line = String::from_utf8_lossy(line);
        let mut fields = line.split_ascii_whitespace().take_while(|field| !field.starts_with('#'));
        let Some(token) = fields.next() else { continue };
        if let Some(problem) = problem(token) {
            return Err(malformed(format!("found {problem}; {EXPECTED_LINE}")));
        }
        // An error must not show the field: it may be a second token.
        let reserve = fields
            .next()
            .map(str::parse)
            .transpose()
            .map_err(|_| malformed(format!("the second field is not a whole number; {EXPECTED_LINE}")))?;
        if fields.next().is_some() {
            return Err(malformed(format!("found a third field; {EXPECTED_LINE}")));
        }
        tokens.push(FileToken { secret: Secret::new(token), reserve });
    }
    if tokens.is_empty() {
        return Err(ConfigError::Empty {
            path: path.to_owned(),
            problem: format!("the tokens file (github.tokens_file, {named_by}) holds no token; {EXPECTED_LINE}"),
        });
    }
    Ok(tokens)
}

/// Merges the tokens of both sources in their order, without repetitions; a reserve in the file overrides the common one.
pub(super) fn merge(listed: &[Secret], from_file: &[FileToken], reserve: u32) -> Vec<ReadToken> {
    let mut tokens: Vec<ReadToken> = Vec::new();
    let listed = listed.iter().map(|secret| (secret, None));
    for (secret, own_reserve) in listed.chain(from_file.iter().map(|token| (&token.secret, token.reserve))) {
        match tokens.iter_mut().find(|known| known.secret == *secret) {
            Some(known) => known.reserve = own_reserve.unwrap_or(known.reserve),
            None => tokens.push(ReadToken { secret: secret.clone(), reserve: own_reserve.unwrap_or(reserve) }),
        }
    }
    tokens
}
