//! One error for both stores: which store, what happened, what to do.

use std::fmt;

use crate::backend_url::BackendUrl;

/// A store that can't be opened, read or written.
#[derive(Debug)]
pub struct StoreError {
    /// What was being done, on which file or server.
    pub tried: String,
    /// What came back.
    pub problem: String,
    /// What the user can do about it.
    pub advice: &'static str,
    /// Whether the store was found unusable before any work began.
    pub at_open: bool,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.tried, self.problem, self.advice)
    }
}

impl std::error::Error for StoreError {}

impl StoreError {
    /// Explains a database error in the user's terms.
    pub(crate) fn explain(tried: impl Into<String>, error: &sqlx::Error) -> Self {
        let (problem, advice) = problem_and_advice(error);
        Self { tried: tried.into(), problem, advice, at_open: false }
    }

    /// A URL whose scheme names no backend of this store; `advice` says which ones do.
    pub(super) fn unsupported_scheme(store: &str, url: &BackendUrl, advice: &'static str) -> Self {
        Self {
            tried: format!("opening the {store} {url}"),
            problem: format!("{}: is not supported as a {store}", url.scheme()),
            advice,
            at_open: true,
        }
    }

    pub(crate) fn at_open(mut self) -> Self {
        self.at_open = true;
        self
    }
}

/// SQLite's primary result codes that have a remedy of their own (<https://sqlite.org/rescode.html>).
fn problem_and_advice(error: &sqlx::Error) -> (String, &'static str) {
    const GENERAL: &str = "see the log for more; nothing that was stored is lost";
    if let sqlx::Error::Database(database) = error {
        let extended: i32 = database.code().and_then(|code| code.parse().ok()).unwrap_or(0);
        let text = database.message().to_owned();
        return match extended & 0xff {
            5 | 6 => (text, "another process has kept the file locked for a minute: end it or try again"),
            8 => (text, "make the file and its directory writable for this user"),
            10 => (text, "the disk or file system reported an error: check its space and health"),
            11 => {
                (text, "the file is damaged: restore it from a backup or move it away, msght reads anew what it lacks")
            }
            13 => (
                "the disk is full".to_owned(),
                "free some space and run the command again, it goes on where it stopped",
            ),
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
