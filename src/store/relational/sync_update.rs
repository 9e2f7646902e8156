//! Steps of the sync state, recorded in the transaction that stores the rows they speak of.

use chrono::{DateTime, Utc};

use super::missing_items::{ItemKind, MissingItem};
use super::sync_state::PageState;

/// A step of the sync state, recorded in the transaction that stores the rows it speaks of.
#[derive(Debug, Clone)]
pub enum SyncUpdate {
    /// A page of a list is stored.
    Page {
        /// The list.
        list: i64,
        /// The page.
        page: PageState,
    },
    /// Pages after this one are no longer part of the list.
    PagesEnd {
        /// The list.
        list: i64,
        /// The last page.
        last: u32,
    },
    /// Pages of a list are still as they are known.
    PagesChecked {
        /// The list.
        list: i64,
        /// Their numbers.
        pages: Vec<u32>,
    },
    /// The list has been read so far.
    Watermark {
        /// The list.
        list: i64,
        /// Up to here.
        watermark: String,
    },
    /// The list has been read from beginning to end.
    Completed {
        /// The list.
        list: i64,
        /// The new watermark, where the list has one.
        watermark: Option<String>,
    },
    /// A commit's full form is stored.
    CommitDetailed {
        /// Its SHA.
        sha: String,
        /// What GitHub did not give of it.
        short: Option<String>,
    },
    /// The document store had so many changes when these rows' documents were stored.
    Documents {
        /// Its generation.
        generation: i64,
    },
    /// A pull request's full form and reviews are stored.
    PullDetailed {
        /// The base repository's project.
        project: i64,
        /// Its number.
        number: i64,
        /// For this `updated_at`.
        of: String,
    },
    /// GitHub was asked for an item and says that it doesn't have it.
    ItemMissing(MissingItem),
    /// An item that was missing is there.
    ItemFound {
        /// The project.
        project: i64,
        /// What it is.
        kind: ItemKind,
        /// Its SHA or number.
        item: String,
    },
    /// An issue that something refers to was asked for and GitHub has it no more.
    IssueGone {
        /// The project.
        project: i64,
        /// Its number.
        number: i64,
    },
    /// An account's profile is as it was.
    ProfileUnchanged {
        /// The account's row.
        user: i64,
        /// When it was asked.
        at: DateTime<Utc>,
    },
    /// An account's profile was asked for and GitHub has none.
    ProfileMissing {
        /// The account's row.
        user: i64,
        /// When it was asked.
        at: DateTime<Utc>,
        /// Whether that is certain, so that the account is marked as gone.
        certain: bool,
    },
}
