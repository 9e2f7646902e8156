//! Statistics and notes of a stage.

use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};

use super::lists::PartSize;
use crate::github::RequestCounter;

/// Statistics and notes of a stage.
#[derive(Default)]
pub struct StageStats {
    /// Requests.
    pub counter: RequestCounter,
    /// Documents.
    pub counts: Arc<WriteCounts>,
    /// Size of the last list page in KiB: the estimate for the next one.
    pub page_kib: AtomicU32,
    /// Number of items that the server delivers per request.
    pub part_size: Mutex<PartSize>,
    /// Incomplete items and the reasons: each makes the stage incomplete.
    pub incomplete: Mutex<Vec<String>>,
    /// Data that the tokens are not permitted to read.
    pub not_permitted: Mutex<Vec<String>>,
    /// Features that the repository has disabled.
    pub disabled: Mutex<Vec<String>>,
    /// Gaps that no later request can close: reported, but no failures.
    pub final_gaps: Mutex<Vec<String>>,
}

/// Counters of the documents of a stage.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "the fields are counters that say what they count")]
pub struct WriteCounts {
    pub new: AtomicU64,
    pub changed: AtomicU64,
    pub unchanged: AtomicU64,
    pub deleted: AtomicU64,
    /// Items that a store has rejected, each with its key and the store's reason.
    rejected: Mutex<Vec<String>>,
}

impl WriteCounts {
    /// Returns the items that a store has rejected; all others are stored.
    pub fn rejected(&self) -> Vec<String> {
        self.rejected.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns whether a store has rejected any item.
    pub fn has_rejected(&self) -> bool {
        !self.rejected.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    pub(super) fn add_rejected(&self, what: String) {
        tracing::warn!(%what, "not stored");
        self.rejected.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }
}
