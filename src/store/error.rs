//! The error of every backend: operation, cause and hint for the user.

use std::fmt;

use crate::backend_url::BackendUrl;
use crate::open_files;

/// A backend that can't be opened, read or written.
#[derive(Debug)]
pub struct BackendError {
    /// The operation and the file or server it was on.
    pub operation: String,
    /// The backend's report.
    pub cause: String,
    /// Advice for the user.
    pub hint: &'static str,
    /// The backend was found unusable before any work began.
    pub before_start: bool,
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.operation, self.cause, self.hint)
    }
}

impl std::error::Error for BackendError {}

impl BackendError {
    /// Wraps an SQLite error, with advice by its result code.
    pub(crate) fn from_sqlite(operation: impl Into<String>, error: &sqlx::Error) -> Self {
        let (cause, hint) = cause_and_hint(error);
        Self { operation: operation.into(), cause, hint, before_start: false }
    }

    /// Returns the error for a URL that names no document store.
    pub(super) fn no_document_store(url: &BackendUrl) -> Self {
        Self::unsupported_scheme("document store", url, "set `documents.url` to a sqlite: or mongodb: URL")
    }

    /// Returns the error for a URL that names no relational store.
    pub(super) fn no_relational_store(url: &BackendUrl) -> Self {
        Self::unsupported_scheme("relational store", url, "set `sql.url` to a sqlite: or mysql: URL")
    }

    fn unsupported_scheme(store: &str, url: &BackendUrl, hint: &'static str) -> Self {
        Self {
            operation: format!("opening the {store} {url}"),
            cause: format!("{}: is not supported as a {store}", url.scheme()),
            hint,
            before_start: true,
        }
    }

    /// Marks the error as one that occurred before any work began.
    pub(crate) fn before_start(mut self) -> Self {
        self.before_start = true;
        self
    }
}

/// Returns cause and hint of an error by SQLite's primary result code (<https://sqlite.org/rescode.html>).
fn cause_and_hint(error: &sqlx::Error) -> (String, &'static str) {
    const GENERAL: &str = "see the log for more; nothing that was stored is lost";
    if open_files::is_limit(error) {
        return (error.to_string(), open_files::HINT);
    }
    if let sqlx::Error::Database(database) = error {
        let extended: i32 = database.code().and_then(|code| code.parse().ok()).unwrap_or(0);
        let text = database.message().to_owned();
        return match extended & 0xff {
            5 | 6 => (text, "another process has locked the file for a minute: stop it or try again"),
            8 => (text, "make the file and its directory writable for this user"),
            10 => (text, "the disk or file system reported an error: check its space and health"),
            11 => (
                text,
                "the file is damaged: restore it from a backup or move it away, msght fetches again what is missing",
            ),
            13 => (
                "the disk is full".to_owned(),
                "free some space and run the command again: it resumes where it stopped",
            ),
            14 if open_files::is_limit_reached() => ("too many open files".to_owned(), open_files::HINT),
            14 => (text, "check that the directory exists and that this user may read and write in it"),
            26 => (
                "the file is not a SQLite database".to_owned(),
                "move the file away or point the setting at another one",
            ),
            _ => (text, GENERAL),
        };
    }
    (error.to_string(), GENERAL)
}
