//! Errors in the settings.

use std::io;
use std::path::PathBuf;

use super::Origin;

/// An invalid setting. No variant holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value of the wrong type, or out of range.
    #[error("{origin}: {key}: found {found}, expected {expected}")]
    Value {
        /// The source of the value.
        origin: Origin,
        /// The key's full name.
        key: String,
        /// The value, unless it may be a secret.
        found: String,
        /// The expected form.
        expected: String,
    },
    /// An unknown key or variable.
    #[error("{origin}: unknown {what}; {expected}")]
    Unknown {
        /// Its source.
        origin: Origin,
        /// The unknown name.
        what: String,
        /// The nearest known name, or a hint where to find it.
        expected: String,
    },
    /// A file that can't be read.
    #[error("can't read {what} {path}: {reason}; {expected}", path = path.display())]
    Unreadable {
        /// The file's purpose, and the setting that names it.
        what: String,
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        reason: io::Error,
        /// The expected form.
        expected: String,
    },
    /// A file whose text is not in its format.
    #[error("{path}, line {line}: {problem}", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The problem: the found text, and the expected form.
        problem: String,
    },
    /// A file without the expected content.
    #[error("{path}: {problem}", path = path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// The missing content.
        problem: String,
    },
}
