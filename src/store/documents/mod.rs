//! Raw JSON: every document as GitHub sent it, plus the mirror's tags.
//!
//! A document's key is natural (data model, §3), every write is an upsert on it, and a document that is read again
//! unchanged is not written again: `_msght.fetched_at` says when the stored state was first read.

mod collection;
mod inspect;
mod merge;
mod mongodb;
mod sqlite;

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use xxhash_rust::xxh3::xxh3_64;

pub use collection::{Collection, Column, ColumnKind};
pub use inspect::inspect;

use super::BackendError;
use crate::backend_url::{self, BackendUrl};
use crate::retry::RetryPolicy;

/// Advice for a URL that names no document store.
const SUPPORTED_URLS: &str = "set `documents.url` to a sqlite: or mongodb: URL";

/// How much of an entity a document holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Representation {
    /// As a list gives it.
    Summary,
    /// As the request for the one item gives it (a commit with its files, a pull request with its merger).
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

/// A document on its way into the store.
#[derive(Debug, Clone)]
pub struct Document {
    /// The collection it goes to.
    pub collection: Collection,
    /// Its natural key, in the order of [`Collection::key`].
    pub key: Vec<KeyValue>,
    /// GitHub's JSON object with the tags, without `_msght`.
    pub json: String,
    /// Whether it came from a list or from a request of its own.
    pub representation: Representation,
    /// When this state was read.
    pub fetched_at: DateTime<Utc>,
    /// The repository that it was read from, where several have the same.
    pub source: Option<Arc<SourceRepository>>,
}

/// The member of `_msght` that tells which repository a document was read from.
const REPOSITORY_ID: &str = "repository_id";

/// A repository that a document was read from. Its number survives a rename; of documents that don't tell it, the names do
/// that it has or had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRepository {
    /// GitHub's number of it.
    pub repository: i64,
    /// Its present name, `OWNER/NAME`, and its former ones.
    pub names: Vec<String>,
}

impl Document {
    /// The document's `_id`: its key's values joined by `/`.
    pub fn id(&self) -> String {
        let parts: Vec<String> = self.key.iter().map(KeyValue::to_string).collect();
        parts.join("/")
    }

    /// Says that it is not stored, and why.
    fn rejected(&self, reason: &str) -> String {
        format!("the document {} of {} is not stored: {reason}", self.id(), self.collection.name())
    }

    /// A fingerprint of the payload, by which an unchanged document is recognised.
    fn hash(&self) -> i64 {
        xxh3_64(self.json.as_bytes()).cast_signed()
    }
}

/// What a write did to a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteOutcome {
    /// It was not there before.
    Inserted,
    /// Its stored state was another one.
    Updated,
    /// The stored state was the same; nothing was written.
    Unchanged,
    /// The store takes other documents, and not this one.
    Rejected,
}

/// What tells a document store from every other one, and from its own earlier states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreIdentity {
    /// Made by chance with the store itself.
    pub id: String,
    /// How many changes it has had.
    pub generation: i64,
}

/// What a batch did.
#[derive(Debug, Clone)]
pub struct BatchResult {
    /// One entry a document, in the batch's order.
    pub written: Vec<WriteOutcome>,
    /// Documents that the store doesn't take, by their place in the batch: their collection, key and the store's reason.
    pub rejected: Vec<(usize, String)>,
    /// Documents that are stored without a part, by their place in the batch: which part, and why.
    pub reduced: Vec<(usize, String)>,
    /// The store's generation since then, where it changed.
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

/// Calls the same method of whichever backend it is.
macro_rules! dispatch {
    ($store:expr, $backend:ident => $call:expr) => {
        match $store {
            Backend::Sqlite($backend) => $call.await,
            Backend::Mongodb($backend) => $call.await,
        }
    };
}

impl Documents {
    /// Opens the store that the URL names, creating what it lacks. `retry_policy` is for a server that goes away later; one
    /// that can't be reached now is an error within seconds.
    ///
    /// # Errors
    /// A store that can't be created, reached or written, is of another kind, has several documents of one key, or comes
    /// from a newer msght.
    pub async fn open(url: &BackendUrl, retry_policy: &RetryPolicy) -> Result<Self, BackendError> {
        let backend = match (url.kind(), url.sqlite_path()) {
            (_, Some(path)) => Backend::Sqlite(sqlite::SqliteDocuments::open(path).await?),
            (backend_url::BackendKind::Mongodb, None) => {
                Backend::Mongodb(mongodb::MongoDocuments::open(url, &retry_policy.for_backend()).await?)
            }
            _ => return Err(BackendError::unsupported_scheme("document store", url, SUPPORTED_URLS)),
        };
        Ok(Self { backend })
    }

    /// What tells this store from every other one, and from its own earlier states.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn identity(&self) -> Result<StoreIdentity, BackendError> {
        dispatch!(&self.backend, store => store.identity())
    }

    /// Stores a batch. A document that comes twice in it is judged by its first. One that the store doesn't take keeps no
    /// other from being stored.
    ///
    /// # Errors
    /// The store could not be written. Of the embedded store's nothing is; on a server a part may be, and storing the
    /// batch again completes it.
    pub async fn upsert(&self, documents: Vec<Document>) -> Result<BatchResult, BackendError> {
        dispatch!(&self.backend, store => store.upsert(documents))
    }

    /// One document's JSON by its [`Document::id`], with `_msght`; `None` when there is none.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn get(&self, collection: Collection, id: &str) -> Result<Option<String>, BackendError> {
        dispatch!(&self.backend, store => store.get(collection, id))
    }

    /// The ids of the documents whose keys begin with these values (a repository's owner and name) and that are not marked
    /// deleted, in order, at most `limit` after `after`.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn ids_after(
        &self,
        collection: Collection,
        key: &[&str],
        after: &str,
        limit: u32,
    ) -> Result<Vec<String>, BackendError> {
        dispatch!(&self.backend, store => store.ids_after(collection, key, after, limit))
    }

    /// Marks documents as gone from GitHub: `_msght.deleted_at`. Nothing is erased. Returns how many were marked now.
    ///
    /// # Errors
    /// The marks could not be stored; setting them again completes them.
    pub async fn mark_deleted(
        &self,
        collection: Collection,
        ids: &[String],
        at: DateTime<Utc>,
    ) -> Result<u64, BackendError> {
        dispatch!(&self.backend, store => store.mark_deleted(collection, ids, at))
    }

    /// Moves a repository's documents to its new name. They replace what stands there.
    ///
    /// # Errors
    /// The change could not be stored. Of the embedded store's nothing is; on a server a part may be, and renaming again
    /// completes it.
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

/// Keeps the newest document of each natural key and removes the others, which GHTorrent has collected: by when its state
/// was read, else by its `updated_at`, else the one inserted last. Documents that lack a part of their key are left alone.
/// Returns how many were removed from each collection that had any; an embedded store never has.
///
/// # Errors
/// A server that can't be reached, read or written. Beginning again goes on with what is left.
pub async fn repair_duplicates(
    url: &BackendUrl,
    retry_policy: &RetryPolicy,
) -> Result<Vec<(Collection, u64)>, BackendError> {
    match url.kind() {
        backend_url::BackendKind::Mongodb => mongodb::repair_duplicates(url, retry_policy).await,
        _ => Ok(Vec::new()),
    }
}

/// Documents of one key in a collection.
#[derive(Debug, Clone)]
pub struct Duplicates {
    /// Where they are.
    pub collection: Collection,
    /// How many [`repair_duplicates`] would remove.
    pub documents: u64,
    /// How many stand in the way that it leaves alone, for they lack a part of their key.
    pub incomplete: u64,
    /// The first few keys.
    pub examples: Vec<String>,
}

/// Looks for what [`repair_duplicates`] would remove; nothing is changed.
///
/// # Errors
/// A server that can't be reached or read.
pub async fn find_duplicates(url: &BackendUrl, retry_policy: &RetryPolicy) -> Result<Vec<Duplicates>, BackendError> {
    match url.kind() {
        backend_url::BackendKind::Mongodb => mongodb::find_duplicates(url, retry_policy).await,
        _ => Ok(Vec::new()),
    }
}

/// Adds members at the end of a JSON object's text; what stands there already keeps its bytes.
pub fn append_members(object: &str, members: &[(&str, serde_json::Value)]) -> String {
    let mut text = object.to_owned();
    for (key, value) in members {
        text = merge::append_member(&text, key, &value.to_string());
    }
    text
}

/// The one way a date stands in a document: RFC 3339 in UTC, as GitHub writes its own.
fn timestamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
