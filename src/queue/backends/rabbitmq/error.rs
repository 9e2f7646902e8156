//! Errors of a broker: whether a retry helps, and how they read to the user.

use std::fmt;
use std::time::Duration;

use lapin::ErrorKind;
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};

use crate::open_files;
use crate::queue::error::NO_QUEUE_ADVICE;
use crate::retry::Retryability;
use crate::store::BackendError;

/// A failed request to the broker.
#[derive(Debug)]
pub(super) enum BrokerError {
    /// An error of the broker or the client library.
    Broker(lapin::Error),
    /// No reply within the limit.
    TimedOut { waiting_for: &'static str, waited: Duration },
    /// The broker rejected a message.
    Nacked,
    /// No queue is bound to the routing key.
    Unroutable,
}

impl From<lapin::Error> for BrokerError {
    fn from(error: lapin::Error) -> Self {
        BrokerError::Broker(error)
    }
}

impl fmt::Display for BrokerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BrokerError::Broker(error) => match error.kind() {
                ErrorKind::ProtocolError(error) => f.write_str(error.get_message().as_str()),
                ErrorKind::IOError(error) => error.fmt(f),
                _ => error.fmt(f),
            },
            BrokerError::TimedOut { waiting_for, waited } => {
                write!(f, "no {waiting_for} within {} s", waited.as_secs())
            }
            BrokerError::Nacked => f.write_str("the broker rejected a message"),
            BrokerError::Unroutable => f.write_str("no queue is bound to the routing key"),
        }
    }
}

impl BrokerError {
    /// Returns whether the broker reports that something does not exist.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self.protocol_error(), Some((AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND), _))) && !self.is_outage()
    }

    fn is_open_files_limit(&self) -> bool {
        let BrokerError::Broker(error) = self else { return false };
        matches!(error.kind(), ErrorKind::IOError(error) if open_files::is_limit(error.as_ref()))
    }

    /// Returns the kind and the text of an error that the broker reported.
    fn protocol_error(&self) -> Option<(AMQPErrorKind, &str)> {
        let BrokerError::Broker(error) = self else { return None };
        match error.kind() {
            ErrorKind::ProtocolError(error) => Some((error.kind().clone(), error.get_message().as_str())),
            _ => None,
        }
    }

    fn is_outage(&self) -> bool {
        match self {
            BrokerError::TimedOut { .. } | BrokerError::Nacked => true,
            BrokerError::Unroutable => false,
            BrokerError::Broker(_) => match self.protocol_error() {
                // A durable queue whose node is down is reported as not found, too.
                Some((AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND), text)) => text.contains("down or inaccessible"),
                Some((AMQPErrorKind::Soft(_), _)) => false,
                Some((AMQPErrorKind::Hard(hard), _)) => {
                    matches!(
                        hard,
                        AMQPHardError::CONNECTIONFORCED | AMQPHardError::RESOURCEERROR | AMQPHardError::INTERNALERROR
                    )
                }
                None => true,
            },
        }
    }

    /// Returns whether a retry helps.
    pub(super) fn retryability(&self) -> Retryability {
        if self.is_outage() { Retryability::Unavailable } else { Retryability::Permanent }
    }

    /// Converts the error to the user's terms. `tried` is the operation and its place.
    pub(super) fn explain(&self, tried: String) -> BackendError {
        let advice = match self.protocol_error() {
            Some((AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED), _)) => {
                "it was created with other properties: delete or rename it, or set `queue.exchange` or the virtual host of \
                 `queue.url` to another"
            }
            Some((AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED), text)) if text.contains("ogin") => LOGIN_ADVICE,
            Some((AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED), _)) => {
                "grant the user the permission, for example: rabbitmqctl set_permissions -p VHOST USER '.*' '.*' '.*'"
            }
            Some((AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND), _)) => NO_QUEUE_ADVICE,
            Some((AMQPErrorKind::Soft(AMQPSoftError::RESOURCELOCKED), _)) => {
                "another connection holds it exclusively: end that program"
            }
            Some((AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED), _)) => {
                "create the virtual host (rabbitmqctl add_vhost VHOST) and grant the user permissions in it (rabbitmqctl \
                 set_permissions -p VHOST USER '.*' '.*' '.*'), or correct the path of `queue.url`; the host named / is \
                 written %2F"
            }
            _ => match self {
                _ if self.is_open_files_limit() => open_files::HINT,
                BrokerError::TimedOut { .. } | BrokerError::Nacked => {
                    "check that the broker is healthy: one that is short of memory or disk accepts no messages"
                }
                BrokerError::Unroutable => "bind a queue to it, or start the command that consumes it once",
                BrokerError::Broker(_) => "check that the broker runs, and that `queue.url` names its host and port",
            },
        };
        BackendError { operation: tried, cause: self.to_string(), hint: advice, before_start: false }
    }
}

const LOGIN_ADVICE: &str = "check user and password in `queue.url`; percent-encode whatever is not a letter or a digit \
                            there, for example %40 for @";
