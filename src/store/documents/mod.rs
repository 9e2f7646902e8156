//! Raw JSON: every document as GitHub sent it, plus the mirror's tags.
//!
//! A document's key is natural (data model, §3), every write is an upsert on it, and a document that is read again
//! unchanged is not written again: `_msght.fetched_at` says when the stored state was first read.

mod collection;
mod merge;
mod sqlite;

use chrono::{DateTime, SecondsFormat, Utc};
use xxhash_rust::xxh3::xxh3_64;

pub use collection::{Collection, Column, ColumnKind};

use super::StoreError;
use crate::patience::Patience;
use crate::store_url::StoreUrl;

/// How much of an entity a document holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// As a list gives it.
    Summary,
    /// As the request for the one item gives it (a commit with its files, a pull request with its merger).
    Full,
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
    pub shape: Shape,
    /// When this state was read.
    pub fetched_at: DateTime<Utc>,
}

impl Document {
    /// The document's `_id`: its key's values joined by `/`.
    pub fn id(&self) -> String {
        let parts: Vec<String> = self.key.iter().map(KeyValue::to_string).collect();
        parts.join("/")
    }

    /// A fingerprint of the payload, by which an unchanged document is recognised.
    fn hash(&self) -> i64 {
        xxh3_64(self.json.as_bytes()).cast_signed()
    }
}

/// What a write did to a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It was not there before.
    New,
    /// Its stored state was another one.
    Changed,
    /// The stored state was the same; nothing was written.
    Unchanged,
}

/// What tells a document store from every other one, and from its own earlier states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Made by chance with the store itself.
    pub id: String,
    /// How many changes it has had.
    pub generation: i64,
}

/// What a batch did.
#[derive(Debug, Clone)]
pub struct Stored {
    /// One entry a document, in the batch's order.
    pub written: Vec<Written>,
    /// The store's generation since then, where it changed.
    pub generation: Option<i64>,
}

/// The document store.
#[derive(Clone)]
pub struct Documents {
    backend: sqlite::SqliteDocuments,
}

impl Documents {
    /// Opens the store that the URL names.
    ///
    /// # Errors
    /// A store that can't be created, reached or written, is of another kind, or comes from a newer msght.
    pub async fn open(url: &StoreUrl, _patience: &Patience) -> Result<Self, StoreError> {
        match url.sqlite_path() {
            Some(path) => Ok(Self { backend: sqlite::SqliteDocuments::open(path).await? }),
            None => Err(StoreError {
                tried: format!("opening the document store {url}"),
                problem: "its kind is not served".to_owned(),
                advice: "set `documents.url` to a sqlite: or mongodb: URL",
                at_open: true,
            }),
        }
    }

    /// What tells this store from every other one, and from its own earlier states.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn identity(&self) -> Result<Identity, StoreError> {
        self.backend.identity().await
    }

    /// Stores a batch in one transaction.
    ///
    /// # Errors
    /// The batch could not be committed; nothing of it is stored.
    pub async fn upsert(&self, documents: Vec<Document>) -> Result<Stored, StoreError> {
        self.backend.upsert(documents).await
    }

    /// One document's JSON by its `_id`, with `_msght`; `None` when there is none.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn get(&self, collection: Collection, id: &str) -> Result<Option<String>, StoreError> {
        self.backend.get(collection, id).await
    }

    /// The ids of a repository's documents that are not marked deleted, in order, at most `limit` after `after`.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn ids_after(
        &self,
        collection: Collection,
        owner: &str,
        repo: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<String>, StoreError> {
        self.backend.ids_after(collection, owner, repo, after, limit).await
    }

    /// Marks documents as gone from GitHub: `_msght.deleted_at`. Nothing is erased. Returns how many were marked now.
    ///
    /// # Errors
    /// The batch could not be committed.
    pub async fn mark_deleted(
        &self,
        collection: Collection,
        ids: &[String],
        at: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        self.backend.mark_deleted(collection, ids, at).await
    }

    /// Moves a repository's documents to its new name.
    ///
    /// # Errors
    /// The change could not be committed; nothing of it is done.
    pub async fn rename_repository(&self, from: (&str, &str), to: (&str, &str)) -> Result<(), StoreError> {
        self.backend.rename_repository(from, to).await
    }

    /// Closes the store.
    pub async fn close(self) {
        self.backend.close().await;
    }
}

/// Adds members at the end of a JSON object's text; what stands there already keeps its bytes.
pub fn with_members(object: &str, members: &[(&str, serde_json::Value)]) -> String {
    let mut text = object.to_owned();
    for (key, value) in members {
        text = merge::splice(&text, key, &value.to_string());
    }
    text
}

/// The one way a date stands in a document: RFC 3339 in UTC, as GitHub writes its own.
fn timestamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
