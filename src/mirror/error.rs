//! Errors of mirroring.

use crate::github::ApiError;
use crate::store::BackendError;

/// An error that ended a stage or the whole run.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// GitHub did not answer a request as wanted.
    #[error(transparent)]
    Api(ApiError),
    /// Deleted on GitHub; it was known before and is marked as deleted.
    #[error(transparent)]
    Gone(ApiError),
    /// GitHub's answer can't be understood.
    #[error("GitHub's answer can't be used: {0}; nothing of it is stored, the next run tries again")]
    Answer(String),
    /// Two answers of GitHub contradict each other.
    #[error("GitHub contradicts itself: {0}; the next run tries again")]
    Contradiction(String),
    /// A store can't be read or written: the run ends.
    #[error(transparent)]
    Store(#[from] BackendError),
    /// The writer has stopped; its own error tells why.
    #[error("the stores can't take more data")]
    WriterStopped,
    /// Another process holds the lease.
    #[error("{0}")]
    Busy(String),
    /// A limit of the run is reached: no further request is sent.
    #[error("{0}; run the command again to resume")]
    LimitReached(String),
    /// The user asked to stop.
    #[error("stopped on request; run the command again to resume")]
    Canceled,
}

impl From<ApiError> for MirrorError {
    fn from(error: ApiError) -> Self {
        match error {
            // A run limit proves nothing about the resource.
            ApiError::LimitReached { why } => Self::LimitReached(why),
            error => Self::Api(error),
        }
    }
}

impl MirrorError {
    pub(super) fn unexpected(expected: &str, error: &serde_json::Error) -> Self {
        Self::Answer(format!("it is not {expected}: {error}"))
    }

    /// Returns whether it ends the run, and not only its stage.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Store(_) | Self::WriterStopped | Self::LimitReached(_) | Self::Canceled)
    }

    /// Returns whether it affects all items, and not only the one that met it.
    pub(super) fn concerns_all_items(&self) -> bool {
        match self {
            Self::Api(error) => error.concerns_all_requests(),
            error => error.is_fatal() || matches!(error, Self::Gone(_) | Self::Busy(_)),
        }
    }

    /// Returns whether it affects all items of one kind: a permission is missing that each of them needs.
    pub(super) fn concerns_all_of_a_kind(&self) -> bool {
        self.concerns_all_items()
            || matches!(self, Self::Api(ApiError::Forbidden { accepted_permissions: Some(_), .. }))
    }
}
