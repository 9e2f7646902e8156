//! Raw JSON: every document as GitHub sent it, plus msght's tags.
//!
//! Keys are natural (`docs/data-model.md`, "Collections"), every write is an upsert, and an unchanged document is not
//! written again: `_msght.fetched_at` tells when the stored state was first read.
//!
//! | file | contents |
//! |---|---|
//! | `collection.rs` | the collections and their natural keys |
//! | `merge.rs` | what a stored document becomes when its key is read again |
//! | `deliveries.rs` | the inbox of webhook deliveries |
//! | `sqlite.rs`, `sqlite/` | the embedded store: one file, a table for each collection |
//! | `mongodb/` | the store on a MongoDB server |
//! | `inspect.rs` | what exists, without creating anything |

mod collection;
pub mod deliveries;
mod inspect;
mod merge;
mod mongodb;
mod sqlite;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use xxhash_rust::xxh3::xxh3_64;

pub use collection::{Collection, Column, ColumnKind};
pub use inspect::inspect;

use super::BackendError;
use super::sqlite::BUSY_TIMEOUT;
use crate::backend_url::{self, BackendUrl};
use crate::retry::RetryPolicy;

/// Maximum wait for another process's transaction before a delivery is rejected: GitHub itself waits for 10 s.
const INBOX_BUSY_TIMEOUT: Duration = Duration::from_secs(4);

/// The representation of an entity, in GitHub's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Representation {
    /// As an item of a list.
    Summary,
    /// As the response to a request for the single item (a commit with its files, a pull request with its merger).
    Detailed,
}

/// A value of a natural key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyValue {
    /// A login, name, SHA ...
    Text(String),
    /// A number or id; GitHub's have outgrown 32 bits.
    Integer(i64),
}

impl From<&str> for KeyValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for KeyValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for KeyValue {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl std::fmt::Display for KeyValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Integer(number) => write!(f, "{number}"),
        }
    }
}

/// A document to be stored.
#[derive(Debug, Clone)]
pub struct Document {
    /// Its collection.
    pub collection: Collection,
    /// Its natural key, in the order of [`Collection::key`].
    pub key: Vec<KeyValue>,
    /// GitHub's JSON object with the tags, without `_msght`.
    pub json: String,
    /// Its representation.
    pub representation: Representation,
    /// Time at which this state was read.
    pub fetched_at: DateTime<Utc>,
    /// The repository that it was read from, where several may have the same document.
    pub source: Option<Arc<SourceRepository>>,
}

/// Member of `_msght` with the repository that a document was read from.
const REPOSITORY_ID: &str = "repository_id";

/// A repository as the source of a document. Its id survives renames; documents without it are recognized by the
/// repository's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRepository {
    /// GitHub's id.
    pub repository: i64,
    /// Current name, `OWNER/NAME`, and former ones.
    pub names: Vec<String>,
}

impl Document {
    /// Returns the document's `_id`: its key's values joined by `/`.
    pub fn id(&self) -> String {
        let parts: Vec<String> = self.key.iter().map(KeyValue::to_string).collect();
        parts.join("/")
    }

    /// Describes why the document is not stored.
    fn rejected(&self, reason: &str) -> String {
        format!("the document {} of {} is not stored: {reason}", self.id(), self.collection.name())
    }

    /// Returns a fingerprint of the payload, which identifies unchanged documents.
    fn hash(&self) -> i64 {
        xxh3_64(self.json.as_bytes()).cast_signed()
    }
}

/// The outcome of writing a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteOutcome {
    /// The document is new.
    Inserted,
    /// The stored state was replaced.
    Updated,
    /// The stored state was the same; nothing was written.
    Unchanged,
    /// The store rejects this document.
    Rejected,
}

/// The identity of a document store, which distinguishes it from others and from its own earlier states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreIdentity {
    /// Random id, created with the store.
    pub id: String,
    /// Number of changes so far.
    pub generation: i64,
}

/// The outcome of a batch.
#[derive(Debug, Clone)]
pub struct BatchResult {
    /// One entry per document, in the batch's order.
    pub written: Vec<WriteOutcome>,
    /// Rejected documents by their index in the batch: collection, key and the store's reason.
    pub rejected: Vec<(usize, String)>,
    /// Documents stored without a part by their index in the batch: the part, and the reason.
    pub reduced: Vec<(usize, String)>,
    /// The store's generation after the batch, if it changed.
    pub generation: Option<i64>,
}

/// The document store.
#[derive(Clone)]
pub struct Documents {
    backend: Backend,
}

#[derive(Clone)]
enum Backend {
    Sqlite(sqlite::SqliteDocuments),
    Mongodb(mongodb::MongoDocuments),
}

/// Calls the same method of either backend.
macro_rules! dispatch {
    ($store:expr, $backend:ident => $call:expr) => {
        match $store {
            Backend::Sqlite($backend) => $call.await,
            Backend::Mongodb($backend) => $call.await,
        }
    };
}

/// Number of ids that an [`IdPages`] reads at a time.
pub const IDS_PER_PAGE: u32 = 1000;

/// A cursor over the ids of a collection's documents, in order.
pub struct IdPages<'a> {
    documents: &'a Documents,
    collection: Collection,
    key: &'a [&'a str],
    /// The last id that was read.
    after: String,
    is_last: bool,
}

impl IdPages<'_> {
    /// Reads the next ids; `None` behind the last ones.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn next(&mut self) -> Result<Option<Vec<String>>, BackendError> {
        if self.is_last {
            return Ok(None);
        }
        let ids = self.documents.ids_after(self.collection, self.key, &self.after, IDS_PER_PAGE).await?;
        self.is_last = ids.len() < IDS_PER_PAGE as usize;
        let Some(last) = ids.last() else { return Ok(None) };
        self.after.clone_from(last);
        Ok(Some(ids))
    }
}

impl Documents {
    /// Opens the store that the URL names, creating what is missing. `retry_policy` applies to later outages; a server
    /// that can't be reached now is an error within seconds.
    ///
    /// # Errors
    /// The store can't be created, reached or written, is of another kind, has several documents of one key, or was
    /// written by a newer msght.
    pub async fn open(url: &BackendUrl, retry_policy: &RetryPolicy) -> Result<Self, BackendError> {
        Self::open_with(url, retry_policy, BUSY_TIMEOUT).await
    }

    /// Opens the store for the receipt of deliveries: whoever is told at once that it can't be written delivers again.
    ///
    /// # Errors
    /// As [`open`](Self::open) has them.
    pub async fn open_inbox(url: &BackendUrl) -> Result<Self, BackendError> {
        Self::open_with(url, &RetryPolicy::new(Duration::ZERO, |_| {}), INBOX_BUSY_TIMEOUT).await
    }

    async fn open_with(
        url: &BackendUrl,
        retry_policy: &RetryPolicy,
        busy_timeout: Duration,
    ) -> Result<Self, BackendError> {
        let backend = match (url.kind(), url.sqlite_path()) {
            (_, Some(path)) => Backend::Sqlite(sqlite::SqliteDocuments::open(path, busy_timeout).await?),
            (backend_url::BackendKind::Mongodb, None) => {
                Backend::Mongodb(mongodb::MongoDocuments::open(url, &retry_policy.for_backend()).await?)
            }
            _ => return Err(BackendError::no_document_store(url)),
        };
        Ok(Self { backend })
    }

    /// Returns the store's identity.
    pub async fn identity(&self) -> Result<StoreIdentity, BackendError> {
        dispatch!(&self.backend, store => store.identity())
    }

    /// Stores a batch. A repeated key is compared with its first occurrence. A rejected document does not affect the
    /// others.
    ///
    /// # Errors
    /// The store could not be written. An embedded store has none of the batch then; a server may have a part, and
    /// storing the batch again completes it.
    pub async fn upsert(&self, documents: Vec<Document>) -> Result<BatchResult, BackendError> {
        dispatch!(&self.backend, store => store.upsert(documents))
    }

    /// Returns one document's JSON by its [`Document::id`], with `_msght`.
    pub async fn get(&self, collection: Collection, id: &str) -> Result<Option<String>, BackendError> {
        dispatch!(&self.backend, store => store.get(collection, id))
    }

    /// Returns the ids of documents whose keys begin with these values (a repository's owner and name) and that are not
    /// marked as deleted, in order, at most `limit` after `after`.
    pub async fn ids_after(
        &self,
        collection: Collection,
        key: &[&str],
        after: &str,
        limit: u32,
    ) -> Result<Vec<String>, BackendError> {
        dispatch!(&self.backend, store => store.ids_after(collection, key, after, limit))
    }

    /// Returns a cursor over the ids that [`Documents::ids_after`] gives, [`IDS_PER_PAGE`] at a time.
    pub fn id_pages<'a>(&'a self, collection: Collection, key: &'a [&'a str]) -> IdPages<'a> {
        IdPages { documents: self, collection, key, after: String::new(), is_last: false }
    }

    /// Returns the ids that [`Documents::ids_after`] would, of those of these collections that have fewer than `limit`; the
    /// others are missing from the map. The embedded store answers with one statement; a server returns an empty map.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn ids_of_small(
        &self,
        collections: &[Collection],
        key: &[&str],
        limit: u32,
    ) -> Result<HashMap<Collection, Vec<String>>, BackendError> {
        match &self.backend {
            Backend::Sqlite(backend) => backend.ids_of_small(collections, key, limit).await,
            Backend::Mongodb(_) => Ok(HashMap::new()),
        }
    }

    /// Marks documents as deleted on GitHub (`_msght.deleted_at`); nothing is erased. Returns the number marked now.
    ///
    /// # Errors
    /// The marks could not be stored; marking again completes them.
    pub async fn tombstone(
        &self,
        collection: Collection,
        ids: &[String],
        at: DateTime<Utc>,
    ) -> Result<u64, BackendError> {
        dispatch!(&self.backend, store => store.tombstone(collection, ids, at))
    }

    /// Moves a repository's documents to its new name, replacing any there.
    ///
    /// # Errors
    /// The change could not be stored. An embedded store has none of it then; a server may have a part, and renaming
    /// again completes it.
    pub async fn rename_repository(&self, from: (&str, &str), to: (&str, &str)) -> Result<(), BackendError> {
        if from == to {
            return Ok(());
        }
        dispatch!(&self.backend, store => store.rename_repository(from, to))
    }

    /// Closes the store.
    pub async fn close(self) {
        dispatch!(self.backend, store => store.close());
    }
}

/// Keeps the newest of GHTorrent's documents of each natural key and removes the others. The newest is the last read,
/// else that with the latest `updated_at`, else the one inserted last. Documents without a complete key are left alone.
/// Returns the number removed per collection; embedded stores never have any.
///
/// # Errors
/// The server can't be reached, read or written. Starting again resumes.
pub async fn repair_duplicates(
    url: &BackendUrl,
    retry_policy: &RetryPolicy,
) -> Result<Vec<(Collection, u64)>, BackendError> {
    match url.kind() {
        backend_url::BackendKind::Mongodb => mongodb::repair_duplicates(url, retry_policy).await,
        _ => Ok(Vec::new()),
    }
}

/// Duplicate documents in a collection.
#[derive(Debug, Clone)]
pub struct Duplicates {
    /// The collection.
    pub collection: Collection,
    /// Number of documents that [`repair_duplicates`] would remove.
    pub documents: u64,
    /// Number of documents without a complete key, which block the unique index and are left alone.
    pub incomplete: u64,
    /// The first few keys.
    pub examples: Vec<String>,
}

/// Finds the duplicates that [`repair_duplicates`] would remove, without changing anything.
///
/// # Errors
/// The server can't be reached or read.
pub async fn find_duplicates(url: &BackendUrl, retry_policy: &RetryPolicy) -> Result<Vec<Duplicates>, BackendError> {
    match url.kind() {
        backend_url::BackendKind::Mongodb => mongodb::find_duplicates(url, retry_policy).await,
        _ => Ok(Vec::new()),
    }
}

/// Appends members to a JSON object's text; the existing text keeps its bytes.
pub fn append_members(object: &str, members: &[(&str, serde_json::Value)]) -> String {
    let mut text = object.to_owned();
    for (key, value) in members {
        text = merge::append_member(&text, key, &value.to_string());
    }
    text
}

/// Formats a date as in documents: RFC 3339 in UTC, like GitHub's own.
fn timestamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
