//! Read tokens: where they are listed and what each may leave unused.

use std::path::Path;

use super::error::ConfigError;
use crate::secret::Secret;

/// A read token and its own bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadToken {
    /// The token.
    pub secret: Secret,
    /// Requests an hour to leave unused on it.
    pub reserve: u32,
}

/// A line of the tokens file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileToken {
    secret: Secret,
    reserve: Option<u32>,
}

pub(super) const EXPECTED_LIST: &str = "tokens of visible ASCII characters, with commas between";
const EXPECTED_LINE: &str = "expected one token a line, then, if wanted, the requests an hour to leave unused";

/// A single token without the byte order mark and line end that come with values that are read from files.
pub(super) fn trimmed(text: &str) -> &str {
    text.trim_start_matches('\u{feff}').trim_end_matches(['\r', '\n'])
}

/// What is wrong with a token, in words that don't show it.
pub fn problem(token: &str) -> Option<&'static str> {
    if token.is_empty() {
        Some("an empty token")
    } else if token.chars().all(|c| c.is_ascii_graphic()) {
        None
    } else {
        Some("a token with a space, a control character or a character outside ASCII")
    }
}

/// The tokens of a list with commas.
pub(super) fn split(text: &str) -> Result<Vec<String>, String> {
    // A byte order mark and the end of a line come with values that are read from files.
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
/// A file that can't be read, holds no token or has a line that is not one; no error shows a token.
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
        // The field is not shown: it may be a second token.
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

/// All tokens once, in their order; a reserve in the file is stronger than the common one.
pub(super) fn all(listed: &[Secret], from_file: &[FileToken], reserve: u32) -> Vec<ReadToken> {
    let mut tokens: Vec<ReadToken> = Vec::new();
    let listed = listed.iter().map(|secret| (secret, None));
    for (secret, own) in listed.chain(from_file.iter().map(|token| (&token.secret, token.reserve))) {
        match tokens.iter_mut().find(|known| known.secret == *secret) {
            Some(known) => known.reserve = own.unwrap_or(known.reserve),
            None => tokens.push(ReadToken { secret: secret.clone(), reserve: own.unwrap_or(reserve) }),
        }
    }
    tokens
}
