//! The lists that users keep: `orgs.txt` with organizations, and `projects.txt` with repositories.

mod atomic_write;
mod orgs;
mod projects;

use std::io;
use std::path::{Path, PathBuf};

pub use orgs::Orgs;
pub use projects::Projects;

/// A problem with a list file, which was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The file does not exist.
    #[error("{} is not there: {advice}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// Advice for the user.
        advice: &'static str,
    },
    /// The file can't be read.
    #[error("can't read {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        reason: io::Error,
    },
    /// The file can't be replaced.
    #[error("can't write {}: {reason}; it needs a directory that can be written to", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        reason: io::Error,
    },
    /// A line is malformed.
    #[error("{}, line {line}: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line number, from 1.
        line: usize,
        /// The problem.
        problem: String,
    },
    /// The file names no organization.
    #[error("{} names no organization: write one login a line", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// A line of a list file.
struct Line<'a> {
    /// The line number, from 1.
    number: usize,
    /// The line as written.
    text: &'a str,
    /// The line without blanks and comment; may be empty.
    word: &'a str,
}

/// Splits a file's text into lines, without a byte order mark and CRLF.
fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    text.trim_start_matches('\u{feff}').lines().enumerate().map(|(index, text)| {
        let word = text.split_once('#').map_or(text, |(word, _)| word).trim();
        Line { number: index + 1, text, word }
    })
}

/// Reads a file's text; `None` if it does not exist.
fn read(path: &Path) -> Result<Option<String>, ListError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(reason) => return Err(ListError::Unreadable { path: path.to_owned(), reason }),
    };
    String::from_utf8(bytes).map(Some).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        ListError::Malformed {
            path: path.to_owned(),
            line: before.iter().filter(|byte| **byte == b'\n').count() + 1,
            problem: "it is not UTF-8".to_owned(),
        }
    })
}
