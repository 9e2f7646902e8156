//! Counters and notes of a stage.

use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};

use super::lists::PartSize;
use super::writer::Counts;
use crate::github::RequestCounter;

/// What a stage counts and notes while it works.
#[derive(Default)]
pub struct StageStats {
    /// Requests.
    pub meter: RequestCounter,
    /// Documents.
    pub counts: Arc<Counts>,
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
