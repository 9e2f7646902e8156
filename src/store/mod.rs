//! The stores: raw documents and relational tables, each on a backend chosen by its URL's scheme.
//!
//! Documents are written first, then rows together with the sync state about them (see [`relational`]), so that a
//! process killed anywhere has never recorded work that is not there.
//!
//! | file | contents |
//! |---|---|
//! | `documents/` | raw JSON: SQLite or MongoDB |
//! | `relational/` | GHTorrent's tables, the sync state and leases: SQLite, or MySQL and MariaDB |
//! | `rate_limits/` | what processes with the same tokens share |
//! | `error.rs` | the error of every backend: operation, cause, hint |
//! | `inspect.rs` | what exists, and what the first command would create |
//! | `sqlite.rs`, `mysql.rs` | opening, timeouts and errors of the two kinds of databases |

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

/// Both stores of one installation.
#[derive(Clone)]
pub struct Stores {
    /// Raw JSON, one collection per GitHub entity.
    pub documents: documents::Documents,
    /// GHTorrent's tables and the sync state.
    pub relational: relational::Relational,
    /// The sync state referred to another document store and was reset: everything is read from the beginning.
    pub documents_changed: bool,
}

/// Rejects two embedded stores in the same file.
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
    /// Opens both stores, creating and upgrading them as needed. `retry_policy` applies to later outages; a server that
    /// can't be reached now is an error at once.
    ///
    /// # Errors
    /// A store can't be created, reached, read or written, is of another kind, or was written by a newer msght.
    pub async fn open(
        documents: &BackendUrl,
        relational: &BackendUrl,
        retry_policy: &RetryPolicy,
    ) -> Result<Self, BackendError> {
        ensure_distinct_files(documents, relational)?;
        // Two processes starting together on new files would race through the schema; the lock serializes them.
        let _lock = match relational.sqlite_path() {
            Some(path) => Some(sqlite::lock_for_setup(path).await?),
            None => None,
        };
        let documents = documents::Documents::open(documents, retry_policy).await?;
        let relational = relational::Relational::open(relational, retry_policy).await?;
        // The order matters: other processes may be writing, and the tables never refer to documents that are not
        // stored yet.
        let paired = relational.paired_documents().await.map_err(BackendError::before_start)?;
        let identity = documents.identity().await.map_err(BackendError::before_start)?;
        let documents_changed =
            relational.pair_documents(paired.as_ref(), &identity).await.map_err(BackendError::before_start)?;
        Ok(Self { documents, relational, documents_changed })
    }

    /// Closes both stores and checkpoints the write-ahead logs.
    pub async fn close(self) {
        self.documents.close().await;
        self.relational.close().await;
    }
}
