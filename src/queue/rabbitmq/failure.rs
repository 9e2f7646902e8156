//! What can go wrong with a broker: whether it passes, and what the user is told.

use std::fmt;
use std::time::Duration;

use lapin::ErrorKind;
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};

use crate::queue::delivery::NO_QUEUE_ADVICE;
use crate::retry::Retryability;
use crate::store::BackendError;

#[derive(Debug)]
pub(super) enum Failure {
    /// What the client library or the broker says.
    Broker(lapin::Error),
    /// No answer in time.
    Silent { waiting_for: &'static str, waited: Duration },
    /// The broker has refused to keep a message.
    Nacked,
    /// No queue is bound to the routing key.
    Unroutable,
}

impl From<lapin::Error> for Failure {
    fn from(error: lapin::Error) -> Self {
        Failure::Broker(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Broker(error) => match error.kind() {
                ErrorKind::ProtocolError(error) => f.write_str(error.get_message().as_str()),
                ErrorKind::IOError(error) => error.fmt(f),
                _ => error.fmt(f),
            },
            Failure::Silent { waiting_for, waited } => write!(f, "no {waiting_for} within {} s", waited.as_secs()),
            Failure::Nacked => f.write_str("the broker refused to keep a message"),
            Failure::Unroutable => f.write_str("no queue is bound to the routing key"),
        }
    }
}

impl Failure {
    /// Whether the broker says that something is not there.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self.protocol_kind(), Some((AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND), _))) && !self.is_outage()
    }

    fn protocol_kind(&self) -> Option<(AMQPErrorKind, &str)> {
        let Failure::Broker(error) = self else { return None };
        match error.kind() {
            ErrorKind::ProtocolError(error) => Some((error.kind().clone(), error.get_message().as_str())),
            _ => None,
        }
    }

    fn is_outage(&self) -> bool {
        match self {
            Failure::Silent { .. } | Failure::Nacked => true,
            Failure::Unroutable => false,
            Failure::Broker(_) => match self.protocol_kind() {
                // What the broker refuses for good. A durable queue whose node is down is reported as not found, too.
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

    /// Whether waiting helps.
    pub(super) fn retryability(&self) -> Retryability {
        if self.is_outage() { Retryability::Unavailable } else { Retryability::Permanent }
    }

    /// In the user's terms.
    pub(super) fn explain(&self, tried: String) -> BackendError {
        let advice = match self.protocol_kind() {
            Some((AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED), _)) => {
                "it was made with other properties: delete or rename it, or set `queue.exchange` or the virtual host of \
                 `queue.url` to another"
            }
            Some((AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED), text)) if text.contains("ogin") => LOGIN_ADVICE,
            Some((AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED), _)) => {
                "give the user the right, for example: rabbitmqctl set_permissions -p VHOST USER '.*' '.*' '.*'"
            }
            Some((AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND), _)) => NO_QUEUE_ADVICE,
            Some((AMQPErrorKind::Soft(AMQPSoftError::RESOURCELOCKED), _)) => {
                "another connection has it for itself alone: end that program"
            }
            Some((AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED), _)) => {
                "make the virtual host (rabbitmqctl add_vhost VHOST) and give the user rights in it (rabbitmqctl \
                 set_permissions -p VHOST USER '.*' '.*' '.*'), or correct the path of `queue.url`; the host named / is \
                 written %2F"
            }
            _ => match self {
                Failure::Silent { .. } | Failure::Nacked => {
                    "check that the broker is healthy: one that is short of memory or disk takes no messages"
                }
                Failure::Unroutable => "bind a queue to it, or start the command that consumes it once",
                Failure::Broker(_) => "check that the broker runs, and that `queue.url` names its host and port",
            },
        };
        BackendError { operation: tried, cause: self.to_string(), hint: advice, before_start: false }
    }
}

const LOGIN_ADVICE: &str = "check user and password in `queue.url`; what is not a letter or a digit is written \
                            percent-encoded there, for example %40 for @";
