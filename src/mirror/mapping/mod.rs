//! Pure functions from GitHub's JSON to documents and rows.

pub(super) mod account;
pub(super) mod commit;
pub(super) mod feed;
pub(super) mod issue;
pub(super) mod item;
pub(super) mod marks;
pub(super) mod profile;
pub(super) mod project_user;
pub(super) mod pull;
pub(super) mod release;
pub(super) mod repository;

use chrono::{DateTime, Utc};

use self::item::JsonItem;
use super::error::MirrorError;
use super::resource::Repository;
use crate::store::documents::Document;
use crate::store::relational::RowBatch;

/// Documents and rows of an item or page.
#[derive(Default)]
pub(super) struct MappedPage {
    /// Documents.
    pub documents: Vec<Document>,
    /// Rows.
    pub rows: RowBatch,
    /// Newest `updated_at` among the items.
    pub newest: Option<DateTime<Utc>>,
    /// Oldest `created_at` among the items.
    pub oldest: Option<DateTime<Utc>>,
    /// Fingerprint of each item of a list, in the page's order; `UNIDENTIFIED` for one without a document of the list.
    pub keys: Vec<i64>,
    /// Number of items that could not be mapped. Each is recorded as incomplete, and the page has to be fetched again.
    pub unusable: usize,
}

/// The mapping of one item to documents and rows.
pub(super) type ItemMapper<S = Repository> =
    dyn Fn(&S, &JsonItem<'_>, &mut MappedPage) -> Result<(), MirrorError> + Send + Sync;
