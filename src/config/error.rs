//! What can be wrong with the settings.

use std::io;
use std::path::PathBuf;

use super::Origin;

/// A setting that can't be used. No variant holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value of the wrong type or out of its range.
    #[error("{origin}: {key}: found {found}, expected {expected}")]
    Value {
        /// Where the value is.
        origin: Origin,
        /// The key's full name.
        key: String,
        /// What was found, secrets left out.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// A key or variable that msght doesn't know.
    #[error("{origin}: unknown {what}; {expected}")]
    Unknown {
        /// Where it is.
        origin: Origin,
        /// What was found.
        what: String,
        /// The nearest known one, or where to look.
        expected: String,
    },
    /// A file that can't be read.
    #[error("can't read {what} {path}: {reason}; {expected}", path = path.display())]
    Unreadable {
        /// What the file is for, and who named it.
        what: String,
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        reason: io::Error,
        /// What would be right.
        expected: String,
    },
    /// A file whose text is not in its format.
    #[error("{path}, line {line}: {problem}", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// A file that does not hold what it is to.
    #[error("{path}: {problem}", path = path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What is missing.
        problem: String,
    },
}
