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
use crate::store::relational::Rows;

/// What an item or page of GitHub's becomes in the stores.
#[derive(Default)]
pub struct Mapped {
    /// Its documents.
    pub documents: Vec<Document>,
    /// Its rows.
    pub rows: Rows,
    /// The newest `updated_at` among the items.
    pub newest: Option<DateTime<Utc>>,
    /// The oldest `created_at` among the items.
    pub oldest: Option<DateTime<Utc>>,
}

/// How one item of a list becomes documents and rows.
pub type Map<S = Repository> = dyn Fn(&S, &Item<'_>, &mut Mapped) -> Result<(), MirrorError> + Send + Sync;
