//! Counters and notes of a stage.

use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};

use super::lists::PartSize;
use crate::github::RequestCounter;

/// What a stage counts and notes while it works.
#[derive(Default)]
pub struct StageStats {
    /// Requests.
    pub meter: RequestCounter,
    /// Documents.
    pub counts: Arc<WriteCounts>,
    /// The size of the list page that came last, in KiB: what the next one is taken for.
    pub page_kib: AtomicU32,
    /// How many items of a list the server makes at a time.
    pub part_size: Mutex<PartSize>,
    /// What could not be had, and why: each makes the stage incomplete.
    pub shortfalls: Mutex<Vec<String>>,
    /// What GitHub doesn't permit these tokens to read.
    pub not_permitted: Mutex<Vec<String>>,
    /// What the repository has switched off.
    pub disabled: Mutex<Vec<String>>,
    /// What GitHub doesn't have or doesn't give to anybody, and never will: known, listed, and no failure.
    pub final_gaps: Mutex<Vec<String>>,
}

/// What a stage has stored so far.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "the fields are counters that say what they count")]
pub struct WriteCounts {
    pub new: AtomicU64,
    pub changed: AtomicU64,
    pub unchanged: AtomicU64,
    pub deleted: AtomicU64,
    /// What a store has rejected, each with its key and the store's reason.
    rejected: Mutex<Vec<String>>,
}

impl WriteCounts {
    /// Returns what a store has rejected so far: all other items are stored, and these are asked for again.
    pub fn rejected(&self) -> Vec<String> {
        self.rejected.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns whether a store has rejected anything.
    pub fn has_rejected(&self) -> bool {
        !self.rejected.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    pub(super) fn add_rejected(&self, what: String) {
        tracing::warn!(%what, "not stored");
        self.rejected.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }
}
