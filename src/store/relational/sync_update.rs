//! Updates of the sync state, recorded in the transaction that stores the rows they are about.

use chrono::{DateTime, Utc};

use super::missing_items::{ItemKind, MissingItem};
use super::sync_state::PageState;

/// An update of the sync state.
#[derive(Debug, Clone)]
pub enum SyncUpdate {
    /// A page of a list is stored.
    Page {
        /// The list.
        list: i64,
        /// The page.
        page: PageState,
    },
    /// The list ends at this page; later ones are dropped.
    PagesEnd {
        /// The list.
        list: i64,
        /// The last page.
        last: u32,
    },
    /// Pages of a list were requested and are stored as they are now: others are due first.
    PagesChecked {
        /// The list.
        list: i64,
        /// The pages' numbers.
        pages: Vec<u32>,
    },
    /// The list has been read up to a watermark.
    Watermark {
        /// The list.
        list: i64,
        /// The watermark.
        watermark: String,
    },
    /// The list has been read from beginning to end.
    Completed {
        /// The list.
        list: i64,
        /// The new watermark, where the list has one.
        watermark: Option<String>,
    },
    /// A commit's detailed form is stored.
    CommitDetailed {
        /// Its SHA.
        sha: String,
        /// The part that GitHub truncated, if any.
        short: Option<String>,
    },
    /// The document store's generation after these rows' documents were stored.
    Documents {
        /// The generation.
        generation: i64,
    },
    /// A pull request's detailed form and reviews are stored.
    PullDetailed {
        /// The base repository's project.
        project: i64,
        /// Its number.
        number: i64,
        /// The `updated_at` that they are for.
        of: String,
    },
    /// GitHub has answered that it doesn't have an item.
    ItemMissing(MissingItem),
    /// A missing item has been found.
    ItemFound {
        /// The project.
        project: i64,
        /// The kind.
        kind: ItemKind,
        /// Its SHA or number.
        item: String,
    },
    /// GitHub no longer has an issue that something refers to.
    IssueGone {
        /// The project.
        project: i64,
        /// Its number.
        number: i64,
    },
    /// An account's profile is unchanged.
    ProfileUnchanged {
        /// The account's row id.
        user: i64,
        /// Time of the request.
        at: DateTime<Utc>,
    },
    /// GitHub has no profile of an account.
    ProfileMissing {
        /// The account's row id.
        user: i64,
        /// Time of the request.
        at: DateTime<Utc>,
        /// Certain, so that the account is marked as deleted.
        certain: bool,
    },
}
