//! Where the mirror's data stay: raw documents and relational tables.
//!
//! Both stores have one interface each and a backend a URL scheme picks. The order of writing is the
//! promise of this room: documents first, then rows together with the sync state that speaks of them
//! (see [`relational`]), so that a process killed anywhere has never recorded work that is not there.

pub mod documents;
pub mod error;
pub mod relational;
mod sqlite;

pub use error::StoreError;

use std::path::Path;

/// Both stores of one installation, opened.
#[derive(Clone)]
pub struct Stores {
    /// Raw JSON, one collection a GitHub entity.
    pub documents: documents::Documents,
    /// GHTorrent's tables and the sync state.
    pub relational: relational::Relational,
    /// Whether the documents are another store's than those that the sync state spoke of: everything is read anew then.
    pub documents_replaced: bool,
}

impl Stores {
    /// Opens the embedded stores, creating and upgrading them as needed.
    ///
    /// # Errors
    /// A store that can't be created, read or written, that is not SQLite, or that a newer msght wrote.
    pub async fn open_embedded(documents: &Path, relational: &Path) -> Result<Self, StoreError> {
        if documents == relational {
            return Err(StoreError {
                tried: format!("opening the stores in {}", documents.display()),
                problem: "`documents.url` and `sql.url` name the same file".to_owned(),
                advice: "give each store a file of its own",
                at_open: true,
            });
        }
        // Two processes that start together on fresh files would race through the schema; the lock lets one go first.
        let _lock = sqlite::lock_for_setup(relational).await?;
        let documents = documents::Documents::open_sqlite(documents).await?;
        let relational = relational::Relational::open_sqlite(relational).await?;
        let documents_replaced = relational.pair_with(&documents.identity().await?).await?;
        Ok(Self { documents, relational, documents_replaced })
    }

    /// Closes both stores: what the write-ahead logs hold is folded into the files.
    pub async fn close(self) {
        self.documents.close().await;
        self.relational.close().await;
    }
}
