//! Finds and removes duplicate documents, which GHTorrent collects.

use futures::StreamExt;
use mongodb::Cursor;
use mongodb::bson::{Bson, Document, RawArrayBuf, RawBsonRef, RawDocumentBuf, doc, oid::ObjectId, rawdoc};
use mongodb::options::{ReadPreference, SelectionCriteria};

use super::connection::{COMMAND_TIMEOUT, Connection, Statements, with_timeout};
use super::error::MongoError;
use super::layout::{
    BUILD_TIMEOUT, FETCHED_AT, MISSING, ascending, bookkeeping_projection, key_paths, natural_key, value_at,
};
use crate::backend_url::BackendUrl;
use crate::retry::RetryPolicy;
use crate::store::BackendError;
use crate::store::documents::{Collection, Duplicates};

/// Documents removed per command.
const REMOVALS_PER_COMMAND: usize = 500;
/// Maximum number of keys shown per collection.
const MAX_EXAMPLES: usize = 3;

/// A cursor over a collection's keys in order.
pub(super) struct KeyCursor {
    collection: Collection,
    cursor: Cursor<RawDocumentBuf>,
}

/// The part of a document that is read here.
pub(super) struct KeyEntry {
    /// Its natural key.
    pub key: String,
    id: Bson,
    recency: Recency,
}

/// The order of duplicates: time of reading, else GitHub's `updated_at`, else insertion.
type Recency = (Option<i64>, Option<String>, Option<ObjectId>);

impl KeyCursor {
    /// Opens the cursor. The server sorts by an index of these keys if it has one, else on disk.
    pub(super) async fn read(
        connection: &Connection,
        collection: Collection,
        more: Document,
    ) -> Result<Self, MongoError> {
        let mut fields = bookkeeping_projection(collection);
        fields.extend(more);
        let target = connection.database.collection::<RawDocumentBuf>(collection.name());
        let find = target
            .find(doc! {})
            .projection(fields)
            .sort(ascending(&key_paths(collection)))
            .allow_disk_use(true)
            .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        Ok(Self { collection, cursor: with_timeout(BUILD_TIMEOUT, find).await? })
    }

    /// Returns the next key in order.
    pub(super) async fn next(&mut self) -> Result<Option<KeyEntry>, MongoError> {
        let next = async { self.cursor.next().await.transpose() };
        let Some(document) = with_timeout(COMMAND_TIMEOUT, next).await? else { return Ok(None) };
        let text = |path| value_at(&document, path).and_then(RawBsonRef::as_str).map(str::to_owned);
        let recency = (
            value_at(&document, FETCHED_AT)
                .and_then(RawBsonRef::as_datetime)
                .map(mongodb::bson::DateTime::timestamp_millis),
            text("updated_at"),
            value_at(&document, "_id").and_then(RawBsonRef::as_object_id),
        );
        let id = value_at(&document, "_id").map_or(Ok(Bson::Null), Bson::try_from).map_err(MongoError::from_bson)?;
        Ok(Some(KeyEntry { key: natural_key(self.collection, &document), id, recency }))
    }
}

/// Counts the documents that [`repair_duplicates`] would remove, without changing anything.
pub(in crate::store::documents) async fn find_duplicates(
    url: &BackendUrl,
    retry_policy: &RetryPolicy,
) -> Result<Vec<Duplicates>, BackendError> {
    let connection = Connection::open(url, retry_policy).await?;
    let mut found = Vec::new();
    for collection in Collection::ALL {
        let duplicates =
            connection.retry("looking for duplicates in", || count_duplicates(&connection, *collection)).await?;
        found.extend((duplicates.documents > 0 || duplicates.incomplete > 0).then_some(duplicates));
    }
    connection.close().await;
    Ok(found)
}

async fn count_duplicates(connection: &Connection, collection: Collection) -> Result<Duplicates, MongoError> {
    let mut keys = KeyCursor::read(connection, collection, doc! {}).await?;
    let mut found = Duplicates { collection, documents: 0, incomplete: 0, examples: Vec::new() };
    let mut last: Option<(String, u64)> = None;
    loop {
        let next = keys.next().await?.map(|entry| entry.key);
        match (&mut last, next) {
            (Some((key, count)), Some(next)) if *key == next => *count += 1,
            (last, next) => {
                let ended = next.is_none();
                if let Some((key, count)) = last.take().filter(|(_, count)| *count > 1) {
                    let counted = if is_complete(&key) { &mut found.documents } else { &mut found.incomplete };
                    *counted += count - 1;
                    if found.examples.len() < MAX_EXAMPLES {
                        found.examples.push(format!("{key} ({count} documents)"));
                    }
                }
                if ended {
                    return Ok(found);
                }
                *last = next.map(|key| (key, 1));
            }
        }
    }
}

/// Returns whether a key has all parts. Incomplete keys may belong to different documents.
fn is_complete(key: &str) -> bool {
    !key.split('/').any(|part| part == MISSING)
}

/// Keeps the newest document of each key and removes the others, in every collection. Documents without a complete key
/// stay: they may be different ones. Returns the number removed per collection that had any.
pub(in crate::store::documents) async fn repair_duplicates(
    url: &BackendUrl,
    retry_policy: &RetryPolicy,
) -> Result<Vec<(Collection, u64)>, BackendError> {
    let connection = Connection::open(url, retry_policy).await?;
    let mut removed = Vec::new();
    for collection in Collection::ALL {
        let mut count = 0;
        // After an outage the collection is processed again; the count of removed documents stays.
        let counted = std::sync::atomic::AtomicU64::new(0);
        connection.retry("removing duplicates from", || repair(&connection, *collection, &counted)).await?;
        count += counted.into_inner();
        if count > 0 {
            removed.push((*collection, count));
        }
    }
    connection.close().await;
    Ok(removed)
}

async fn repair(
    connection: &Connection,
    collection: Collection,
    removed: &std::sync::atomic::AtomicU64,
) -> Result<(), MongoError> {
    let mut keys = KeyCursor::read(connection, collection, doc! { "updated_at": 1 }).await?;
    let mut newest: Option<KeyEntry> = None;
    let mut surplus: Vec<Bson> = Vec::new();
    loop {
        let next = keys.next().await?;
        let ended = next.is_none();
        newest = match (newest, next) {
            (Some(kept), Some(next)) if kept.key == next.key && is_complete(&kept.key) => {
                let (kept, older) = if next.recency > kept.recency { (next, kept) } else { (kept, next) };
                surplus.push(older.id);
                Some(kept)
            }
            (_, next) => next,
        };
        if surplus.len() == REMOVALS_PER_COMMAND || (ended && !surplus.is_empty()) {
            let mut statements = RawArrayBuf::new();
            let condition = doc! { "_id": { "$in": std::mem::take(&mut surplus) } };
            let condition = RawDocumentBuf::try_from(&condition).map_err(MongoError::from_bson)?;
            statements.push(rawdoc! { "q": condition, "limit": 0_i32 });
            let outcome = connection.write(Statements::Delete, collection.name(), statements).await?;
            let gone = u64::try_from(outcome.matched).unwrap_or(0);
            removed.fetch_add(gone, std::sync::atomic::Ordering::Relaxed);
            if let Some(error) = outcome.errors.into_iter().next() {
                return Err(error.into());
            }
        }
        if ended {
            return Ok(());
        }
    }
}
