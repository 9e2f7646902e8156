//! Pure functions from GitHub's JSON to documents and rows.

pub mod account;
pub mod commit;
pub mod feed;
pub mod issue;
pub mod item;
pub mod profile;
pub mod pull;
pub mod repository;

use chrono::{DateTime, Utc};

use self::item::Item;
use super::error::MirrorError;
use super::resource::Repository;
use crate::store::documents::Document;
use crate::store::relational::RowBatch;

/// What an item or page of GitHub's becomes in the stores.
#[derive(Default)]
pub struct MappedPage {
    /// Its documents.
    pub documents: Vec<Document>,
    /// Its rows.
    pub rows: RowBatch,
    /// The newest `updated_at` among the items.
    pub newest: Option<DateTime<Utc>>,
    /// The oldest `created_at` among the items.
    pub oldest: Option<DateTime<Utc>>,
    /// A fingerprint an item of a list, in the page's order; `UNIDENTIFIED` for one without a document of the list's own.
    pub keys: Vec<i64>,
    /// Items of a list that could not be used. Each is recorded as incomplete, and the page has to be fetched again.
    pub unusable: usize,
}

/// How one item of a list becomes documents and rows.
pub type ItemMapper<S = Repository> = dyn Fn(&S, &Item<'_>, &mut MappedPage) -> Result<(), MirrorError> + Send + Sync;
