//! Where the mirror's data stay: raw documents and relational tables.
//!
//! Both stores have one interface each and a backend a URL scheme picks. The order of writing is the
//! promise of this room: documents first, then rows together with the sync state that speaks of them
//! (see [`relational`]), so that a process killed anywhere has never recorded work that is not there.

pub mod documents;
pub mod error;
pub mod inspect;
mod mysql;
pub mod rate_limits;
pub mod relational;
pub(crate) mod sqlite;

pub use error::BackendError;

use crate::backend_url::BackendUrl;
use crate::retry::RetryPolicy;

/// Both stores of one installation, opened.
#[derive(Clone)]
pub struct Stores {
    /// Raw JSON, one collection a GitHub entity.
    pub documents: documents::Documents,
    /// GHTorrent's tables and the sync state.
    pub relational: relational::Relational,
    /// Whether the documents are another store's than those that the sync state spoke of: everything is read anew then.
    pub documents_changed: bool,
}

/// Makes sure that two embedded stores have a file each.
///
/// # Errors
/// Both URLs name the same file.
pub fn ensure_distinct_files(documents: &BackendUrl, relational: &BackendUrl) -> Result<(), BackendError> {
    if documents.sqlite_path().is_some() && documents.sqlite_path() == relational.sqlite_path() {
        return Err(BackendError {
            operation: format!("opening the stores in {documents}"),
            cause: "`documents.url` and `sql.url` name the same file".to_owned(),
            hint: "give each store a file of its own",
            before_start: true,
        });
    }
    Ok(())
}

impl Stores {
    /// Opens both stores, creating and upgrading them as needed. `retry_policy` is for servers that go away later; one that
    /// can't be reached now is an error at once.
    ///
    /// # Errors
    /// A store that can't be created, reached, read or written, that is of another kind, or that a newer msght wrote.
    pub async fn open(
        documents: &BackendUrl,
        relational: &BackendUrl,
        retry_policy: &RetryPolicy,
    ) -> Result<Self, BackendError> {
        ensure_distinct_files(documents, relational)?;
        // Two processes that start together on fresh files would race through the schema; the lock lets one go first.
        let _lock = match relational.sqlite_path() {
            Some(path) => Some(sqlite::lock_for_setup(path).await?),
            None => None,
        };
        let documents = documents::Documents::open(documents, retry_policy).await?;
        let relational = relational::Relational::open(relational, retry_policy).await?;
        // In this order: other processes may be writing, and what the tables speak of is never ahead of the documents.
        let spoken_of = relational.paired_documents().await.map_err(BackendError::before_start)?;
        let identity = documents.identity().await.map_err(BackendError::before_start)?;
        let documents_changed =
            relational.pair_documents(spoken_of.as_ref(), &identity).await.map_err(BackendError::before_start)?;
        Ok(Self { documents, relational, documents_changed })
    }

    /// Closes both stores: what the write-ahead logs hold is folded into the files.
    pub async fn close(self) {
        self.documents.close().await;
        self.relational.close().await;
    }
}
