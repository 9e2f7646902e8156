//! What can go wrong while a repository is mirrored.

use crate::github::ApiError;
use crate::store::BackendError;

/// Why a stage, or the whole run, did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// GitHub did not give what was asked for.
    #[error(transparent)]
    Api(ApiError),
    /// GitHub has it no more; it was known before and is marked so.
    #[error(transparent)]
    Gone(ApiError),
    /// An answer came that can't be understood.
    #[error("GitHub's answer can't be used: {0}; nothing of it was stored, the next run asks again")]
    Answer(String),
    /// An answer says something else than another one that is held.
    #[error("GitHub contradicts itself: {0}; the next run asks again")]
    Contradiction(String),
    /// A store can't be written or read: nothing more can be done in this run.
    #[error(transparent)]
    Store(#[from] BackendError),
    /// The writer has stopped; its own error says why.
    #[error("the stores can't take more data")]
    WriterStopped,
    /// Another worker is at it.
    #[error("{0}")]
    Busy(String),
    /// The run's own bounds are reached: no further request is sent.
    #[error("{0}; run the command again, it goes on where it stopped")]
    LimitReached(String),
    /// The user asked to stop.
    #[error("stopped on request; run the command again, it goes on where it stopped")]
    Cancelled,
}

impl From<ApiError> for MirrorError {
    fn from(error: ApiError) -> Self {
        match error {
            // It is no answer of GitHub's: nothing follows from it for what was asked for.
            ApiError::LimitReached { why } => Self::LimitReached(why),
            error => Self::Api(error),
        }
    }
}

impl MirrorError {
    pub(super) fn unexpected(expected: &str, error: &serde_json::Error) -> Self {
        Self::Answer(format!("it is not {expected}: {error}"))
    }

    /// Whether it ends the run, and not only its stage.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Store(_) | Self::WriterStopped | Self::LimitReached(_) | Self::Cancelled)
    }

    /// Returns whether it ends work on all items, and not only on the one that met it.
    pub(super) fn concerns_all_items(&self) -> bool {
        match self {
            Self::Api(error) => error.concerns_all_requests(),
            error => error.is_fatal() || matches!(error, Self::Gone(_) | Self::Busy(_)),
        }
    }

    /// Returns whether it concerns all items of one kind: a permission is missing that each of them needs.
    pub(super) fn concerns_all_of_a_kind(&self) -> bool {
        self.concerns_all_items()
            || matches!(self, Self::Api(ApiError::Forbidden { accepted_permissions: Some(_), .. }))
    }
}
