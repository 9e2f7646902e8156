//! Errors of a MongoDB server: whether a retry may help, and advice for the user.

use std::fmt;
use std::time::Duration;

use mongodb::error::{Error, ErrorKind, WriteFailure};

use crate::backend_url::BackendUrl;
use crate::open_files;
use crate::retry::Retryability;
use crate::store::BackendError;

/// A failed attempt on the server.
#[derive(Debug)]
pub(super) enum MongoError {
    /// The driver's error, or the server's for the whole command.
    Driver(Box<Error>),
    /// No reply within this time.
    TimedOut(Duration),
    /// The server's error for a statement of a command, or for its write concern.
    Rejected { code: i32, message: String },
    /// Lost too often against other writers.
    Contended(String),
    /// A permanent error that is already worded.
    Final(Box<BackendError>),
}

// Error codes of the server that are distinguished here
// (<https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml>).
const UNAUTHORIZED: i32 = 13;
const AUTHENTICATION_FAILED: i32 = 18;
const DUPLICATE_KEY: i32 = 11000;
const OUT_OF_DISK_SPACE: i32 = 14031;
/// Lock timeouts, busy locks, write conflicts, index builds in progress.
const CONFLICT_CODES: [i32; 6] = [24, 46, 112, 117, 12586, 12587];
/// Unreachable or unknown members, timeouts, lost cursors, unmet write concerns, servers that step down, shut down,
/// recover or are not primary, interrupted operations, sessions to reauthenticate.
const UNAVAILABLE_CODES: [i32; 21] =
    [6, 7, 43, 50, 64, 89, 91, 133, 134, 189, 202, 262, 384, 391, 9001, 10058, 10107, 11600, 11601, 11602, 13435];
/// Bad values, parse errors, wrong types, excessive nesting, invalid names, failed validation, and documents or keys
/// that are too large.
const REJECTED_DOCUMENT_CODES: [i32; 13] = [2, 9, 14, 15, 22, 52, 56, 57, 121, 10334, 17280, 17419, 17420];
/// A recovering member.
const NOT_PRIMARY_OR_SECONDARY: i32 = 13436;

/// A failed statement of a write command.
#[derive(Debug)]
pub(super) struct StatementError {
    /// Its index in the command.
    pub index: usize,
    pub code: i32,
    pub message: String,
}

impl StatementError {
    /// Returns whether a unique key would have had a second document.
    pub(super) fn is_duplicate(&self) -> bool {
        self.code == DUPLICATE_KEY
    }

    /// Returns whether the server rejects the statement's document and would accept another.
    pub(super) fn is_document_rejected(&self) -> bool {
        REJECTED_DOCUMENT_CODES.contains(&self.code)
    }
}

impl From<StatementError> for MongoError {
    fn from(error: StatementError) -> Self {
        Self::Rejected { code: error.code, message: error.message }
    }
}

impl MongoError {
    pub(super) fn from_bson(error: mongodb::bson::error::Error) -> Self {
        Self::Driver(Box::new(error.into()))
    }

    /// Returns whether the server rejects one of the documents sent and would accept others.
    pub(super) fn is_document_rejected(&self) -> bool {
        let code = match self {
            Self::Driver(error) => code_of(error),
            Self::Rejected { code, .. } => Some(*code),
            Self::TimedOut(_) | Self::Contended(_) | Self::Final(_) => None,
        };
        code.is_some_and(|code| REJECTED_DOCUMENT_CODES.contains(&code))
    }

    /// Returns whether a retry may help.
    pub(super) fn retryability(&self) -> Retryability {
        match self {
            Self::Driver(error) => match &*error.kind {
                ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. } | ErrorKind::DnsResolve { .. } => {
                    Retryability::Unavailable
                }
                ErrorKind::ServerSelection { message, .. } if !is_too_old(message) => Retryability::Unavailable,
                _ => code_of(error).map_or(Retryability::Permanent, retryability_of_code),
            },
            Self::TimedOut(_) => Retryability::Unavailable,
            Self::Rejected { code, .. } => retryability_of_code(*code),
            Self::Contended(_) => Retryability::Conflict,
            Self::Final(_) => Retryability::Permanent,
        }
    }

    /// Converts into the user's terms. `operation` names it and the server.
    pub(super) fn into_backend_error(self, operation: String, url: &BackendUrl) -> BackendError {
        if let Self::Final(error) = self {
            return *error;
        }
        let hint = self.hint();
        let cause = match &self {
            // The driver mistakes a part of the password for something else then, and would show it.
            Self::Driver(error)
                if matches!(&*error.kind, ErrorKind::InvalidArgument { .. }) && url.has_unescaped_user_part() =>
            {
                "the URL can't be parsed: user or password seems to hold a / ? # or @ as it is".to_owned()
            }
            Self::Rejected { code, .. } if *code == OUT_OF_DISK_SPACE => format!("the server's disk is full ({self})"),
            _ => self.to_string(),
        };
        BackendError { operation, cause: redacted(&cause, url), hint, before_start: false }
    }

    fn hint(&self) -> &'static str {
        const GENERAL: &str = "see the log for more; nothing that was stored is lost";
        const UNAVAILABLE: &str = "check that the server runs and that `documents.url` has the right host, port and TLS setting; nothing that was \
             stored is lost, and the command resumes where it stopped";
        let (kind, code) = match self {
            Self::Driver(error) => (Some(&*error.kind), code_of(error)),
            Self::Rejected { code, .. } => (None, Some(*code)),
            Self::TimedOut(_) => (None, None),
            Self::Contended(_) => {
                return "other processes write the same documents, or the collection has a unique index that is not \
                        msght's: drop that index, or try again later";
            }
            Self::Final(_) => return GENERAL,
        };
        match (kind, code) {
            (Some(ErrorKind::Authentication { .. }), _) | (_, Some(AUTHENTICATION_FAILED)) => {
                "correct the user's name, password and authSource in `documents.url`"
            }
            (_, Some(UNAUTHORIZED)) => "grant the user of `documents.url` the role readWrite on its database",
            (_, Some(OUT_OF_DISK_SPACE)) => {
                "free some space on the server and run the command again: it resumes where it stopped"
            }
            (Some(ErrorKind::ServerSelection { message, .. }), _) if is_too_old(message) => {
                "msght needs MongoDB 4.4 or newer"
            }
            (Some(ErrorKind::InvalidArgument { .. } | ErrorKind::DnsResolve { .. }), _) => {
                "correct `documents.url`; special characters in its user name and password are written as %XX"
            }
            (Some(ErrorKind::Io(error)), _) if open_files::is_limit(error.as_ref()) => open_files::HINT,
            (Some(ErrorKind::InvalidTlsConfig { .. }), _) => "correct the TLS settings in `documents.url`",
            _ if self.retryability() == Retryability::Unavailable => UNAVAILABLE,
            _ => GENERAL,
        }
    }
}

impl fmt::Display for MongoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Driver(error) => match &*error.kind {
                ErrorKind::ServerSelection { message, .. } => f.write_str(&cause_of_selection(message)),
                ErrorKind::Authentication { message, .. } => match driver_source(error) {
                    Some(source) => write!(f, "{message} ({})", source.kind),
                    None => f.write_str(message),
                },
                ErrorKind::Command(command) => {
                    write!(f, "{} ({} {})", command.message, command.code_name, command.code)
                }
                ErrorKind::Io(error) => write!(f, "{error}"),
                kind => write!(f, "{kind}"),
            },
            Self::TimedOut(limit) => write!(f, "no answer within {} s", limit.as_secs()),
            Self::Rejected { code, message } => write!(f, "{message} (error {code})"),
            Self::Contended(message) => write!(f, "lost against other writers repeatedly ({message})"),
            Self::Final(error) => write!(f, "{}", error.cause),
        }
    }
}

impl From<Error> for MongoError {
    fn from(error: Error) -> Self {
        Self::Driver(Box::new(error))
    }
}

impl From<BackendError> for MongoError {
    fn from(error: BackendError) -> Self {
        Self::Final(Box::new(error))
    }
}

/// Returns the driver's error that caused this one.
fn driver_source(error: &Error) -> Option<&Error> {
    std::error::Error::source(error).and_then(|source| source.downcast_ref::<Error>())
}

fn code_of(error: &Error) -> Option<i32> {
    match &*error.kind {
        ErrorKind::Command(command) => Some(command.code),
        ErrorKind::Write(WriteFailure::WriteError(error)) => Some(error.code),
        ErrorKind::Write(WriteFailure::WriteConcernError(error)) => Some(error.code),
        _ => driver_source(error).and_then(code_of),
    }
}

fn retryability_of_code(code: i32) -> Retryability {
    if CONFLICT_CODES.contains(&code) {
        Retryability::Conflict
    } else if UNAVAILABLE_CODES.contains(&code) || code == NOT_PRIMARY_OR_SECONDARY {
        Retryability::Unavailable
    } else {
        Retryability::Permanent
    }
}

fn is_too_old(selection: &str) -> bool {
    selection.contains("reports wire version")
}

/// Extracts the cause from a failed server selection: the driver prints everything it knows of every server.
fn cause_of_selection(message: &str) -> String {
    if is_too_old(message) {
        return message.to_owned();
    }
    let cause = message.split_once("Error: Kind: ").map(|(_, cause)| cause);
    match cause.and_then(|cause| cause.split_once(", labels:")) {
        Some((cause, _)) => cause.trim_start_matches("I/O error: ").to_owned(),
        None => message.to_owned(),
    }
}

/// Removes the URL's password from a message of the server or driver.
fn redacted(text: &str, url: &BackendUrl) -> String {
    let user = url.expose().split_once("://").and_then(|(_, rest)| rest.rsplit_once('@')).map(|(user, _)| user);
    let Some((_, password)) = user.and_then(|user| user.split_once(':')).filter(|(_, password)| !password.is_empty())
    else {
        return text.to_owned();
    };
    let decoded = percent_encoding::percent_decode_str(password).decode_utf8_lossy();
    text.replace(password, "***").replace(decoded.as_ref(), "***")
}
