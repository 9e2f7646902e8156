//! What can go wrong with a server: whether it passes, and what it means for the user.

use std::fmt;
use std::time::Duration;

use mongodb::error::{Error, ErrorKind, WriteFailure};

use crate::backend_url::BackendUrl;
use crate::retry::Retryability;
use crate::store::BackendError;

/// Why an attempt on the server has failed.
#[derive(Debug)]
pub(super) enum MongoError {
    /// The driver's own or the server's error for the whole command.
    Driver(Box<Error>),
    /// No answer within this time.
    TimedOut(Duration),
    /// The server's error for a statement of a command, or for its write concern.
    Rejected { code: i32, message: String },
    /// Other writers were faster, again and again.
    Contended(String),
    /// A matter that no attempt changes, already explained.
    Final(Box<BackendError>),
}

// The server's error codes that are told apart here
// (<https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml>).
const UNAUTHORIZED: i32 = 13;
const AUTHENTICATION_FAILED: i32 = 18;
const DUPLICATE_KEY: i32 = 11000;
const OUT_OF_DISK_SPACE: i32 = 14031;
/// Lock time-outs, busy locks, write conflicts, index builds under way.
const CONFLICT_CODES: [i32; 6] = [24, 46, 112, 117, 12586, 12587];
/// Unreachable or unknown members, time-outs, lost cursors, write concerns that timed out, servers that step down, shut
/// down, recover or are not primary, interrupted operations, sessions to be authenticated anew.
const UNAVAILABLE_CODES: [i32; 21] =
    [6, 7, 43, 50, 64, 89, 91, 133, 134, 189, 202, 262, 384, 391, 9001, 10058, 10107, 11600, 11601, 11602, 13435];
/// Bad values, what can't be parsed, another type, nested too deep, names that aren't taken, a validator's refusal, and
/// what is too large: as a document, as a key, after an update.
const REJECTED_DOCUMENT_CODES: [i32; 13] = [2, 9, 14, 15, 22, 52, 56, 57, 121, 10334, 17280, 17419, 17420];
/// A member that recovers.
const NOT_PRIMARY_OR_SECONDARY: i32 = 13436;

/// A statement of a write command that failed.
#[derive(Debug)]
pub(super) struct StatementError {
    /// Its place in the command.
    pub index: usize,
    pub code: i32,
    pub message: String,
}

impl StatementError {
    /// Whether it would have made a second document of a unique key.
    pub(super) fn is_duplicate(&self) -> bool {
        self.code == DUPLICATE_KEY
    }

    /// Returns whether it is about the document of the statement: the server would take another one.
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

    /// Returns whether it is about a document among those that were sent: the server would take others.
    pub(super) fn is_document_rejected(&self) -> bool {
        let code = match self {
            Self::Driver(error) => code_of(error),
            Self::Rejected { code, .. } => Some(*code),
            Self::TimedOut(_) | Self::Contended(_) | Self::Final(_) => None,
        };
        code.is_some_and(|code| REJECTED_DOCUMENT_CODES.contains(&code))
    }

    /// Whether it passes.
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

    /// The failure in the user's terms. `operation` says what was being done, on which server.
    pub(super) fn into_backend_error(self, operation: String, url: &BackendUrl) -> BackendError {
        if let Self::Final(error) = self {
            return *error;
        }
        let hint = self.hint();
        let cause = match &self {
            // The driver takes a part of the password for something else then, and would show it.
            Self::Driver(error)
                if matches!(&*error.kind, ErrorKind::InvalidArgument { .. }) && url.has_unescaped_user_part() =>
            {
                "the URL can't be understood: user or password seems to hold a / ? # or @ as it is".to_owned()
            }
            Self::Rejected { code, .. } if *code == OUT_OF_DISK_SPACE => format!("the server's disk is full ({self})"),
            _ => self.to_string(),
        };
        BackendError { operation: operation, cause: redacted(&cause, url), hint: hint, before_start: false }
    }

    fn hint(&self) -> &'static str {
        const GENERAL: &str = "see the log for more; nothing that was stored is lost";
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
                "free some space on the server and run the command again, it goes on where it stopped"
            }
            (Some(ErrorKind::ServerSelection { message, .. }), _) if is_too_old(message) => {
                "msght needs MongoDB 4.4 or newer"
            }
            (Some(ErrorKind::InvalidArgument { .. } | ErrorKind::DnsResolve { .. }), _) => {
                "correct `documents.url`; special characters in its user name and password are written as %XX"
            }
            (Some(ErrorKind::InvalidTlsConfig { .. }), _) => "correct the TLS settings in `documents.url`",
            _ if self.retryability() == Retryability::Unavailable => {
                "check that the server runs and that `documents.url` has the right host, port and TLS setting; nothing \
                 that was stored is lost, the command goes on where it stopped"
            }
            _ => GENERAL,
        }
    }
}

impl fmt::Display for MongoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Driver(error) => match &*error.kind {
                ErrorKind::ServerSelection { message, .. } => f.write_str(&cause_of_selection(message)),
                ErrorKind::Authentication { message, .. } => match error.source() {
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
            Self::Contended(message) => write!(f, "other writers were faster, again and again ({message})"),
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

trait SourceRepository {
    fn source(&self) -> Option<&Error>;
}

impl SourceRepository for Error {
    fn source(&self) -> Option<&Error> {
        std::error::Error::source(self).and_then(|source| source.downcast_ref::<Error>())
    }
}

fn code_of(error: &Error) -> Option<i32> {
    match &*error.kind {
        ErrorKind::Command(command) => Some(command.code),
        ErrorKind::Write(WriteFailure::WriteError(error)) => Some(error.code),
        ErrorKind::Write(WriteFailure::WriteConcernError(error)) => Some(error.code),
        _ => error.source().and_then(code_of),
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

/// The driver tells of a selection that failed by printing all that it knows of every server; the user needs the cause.
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

/// Whatever a server or the driver says, the URL's password is not in it.
fn redacted(text: &str, url: &BackendUrl) -> String {
    let user = url.expose().split_once("://").and_then(|(_, rest)| rest.rsplit_once('@')).map(|(user, _)| user);
    let Some((_, password)) = user.and_then(|user| user.split_once(':')).filter(|(_, password)| !password.is_empty())
    else {
        return text.to_owned();
    };
    let decoded = percent_encoding::percent_decode_str(password).decode_utf8_lossy();
    text.replace(password, "***").replace(decoded.as_ref(), "***")
}
