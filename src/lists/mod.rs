//! The files that users keep: `orgs.txt`, which organisations, and `projects.txt`, which repositories (data model, §1).

mod atomic_write;
mod orgs;
mod projects;

use std::io;
use std::path::{Path, PathBuf};

pub use orgs::Orgs;
pub use projects::Projects;

/// What is wrong with a user's file. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// It is not there.
    #[error("{} is not there: {advice}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What to do.
        advice: &'static str,
    },
    /// It can't be read.
    #[error("can't read {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        reason: io::Error,
    },
    /// It can't be replaced.
    #[error("can't write {}: {reason}; it needs a directory that can be written to", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        reason: io::Error,
    },
    /// A line that names nothing.
    #[error("{}, line {line}: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// It names nothing at all.
    #[error("{} names no organisation: write one login a line", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// A line of such a file.
struct Line<'a> {
    /// Its number, from 1.
    number: usize,
    /// As it stands there.
    text: &'a str,
    /// Without blanks and comment; empty where it says nothing.
    word: &'a str,
}

/// The lines of a file's text: a byte order mark, CRLF and comments are no part of what they say.
fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    text.trim_start_matches('\u{feff}').lines().enumerate().map(|(index, text)| {
        let word = text.split_once('#').map_or(text, |(word, _)| word).trim();
        Line { number: index + 1, text, word }
    })
}

/// A file's text; `None` where it is not there.
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
