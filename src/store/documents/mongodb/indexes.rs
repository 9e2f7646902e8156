//! Creates missing indexes and replaces GHTorrent's by unique ones.

use futures::{StreamExt, TryStreamExt, stream};
use mongodb::IndexModel;
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::error::ErrorKind;
use mongodb::options::IndexOptions;

use super::connection::{COMMAND_TIMEOUT, Connection, with_timeout};
use super::error::MongoError;
use super::layout::{BUILD_TIMEOUT, FETCHED_AT, KEY, MISSING, ascending, id_path, key_paths};
use super::repair::KeyCursor;
use crate::store::BackendError;
use crate::store::documents::Collection;

/// Maximum number of collections checked at the same time: a command's start waits for a few round trips only.
const MAX_CONCURRENT_COLLECTIONS: usize = 4;
/// Maximum number of duplicate keys in an error.
const MAX_EXAMPLES: usize = 3;
/// Error code of a missing collection.
const NAMESPACE_NOT_FOUND: i32 = 26;

/// Creates the indexes that any collection lacks; changes nothing otherwise.
///
/// It checks for duplicates, drops GHTorrent's index and creates the unique one. It can be interrupted anywhere.
pub(super) async fn ensure(connection: &Connection) -> Result<(), MongoError> {
    let work = Collection::ALL.iter().map(|collection| ensure_collection(connection, *collection));
    stream::iter(work).buffered(MAX_CONCURRENT_COLLECTIONS).try_collect().await
}

async fn ensure_collection(connection: &Connection, collection: Collection) -> Result<(), MongoError> {
    let present = existing_indexes(connection, collection).await?;
    let has = |keys: &Document| present.iter().any(|index| same_keys(&index.keys, keys));
    let mut missing = Vec::new();

    let unique = ascending(&key_paths(collection));
    if !present.iter().any(|index| same_keys(&index.keys, &unique) && is_unique(index)) {
        reject_duplicates(connection, collection).await?;
        for index in present.iter().filter(|index| same_keys(&index.keys, &unique)) {
            drop_index(connection, collection, index).await?;
        }
        missing.push(index("msght_unique", unique, true));
    }
    let read = ascending(&[FETCHED_AT]);
    if !has(&read) {
        missing.push(index("msght_fetched_at", read, false));
    }
    let key = ascending(&[KEY]);
    if id_path(collection) == KEY && !has(&key) {
        missing.push(index("msght_key", key, false));
    }
    if missing.is_empty() {
        return Ok(());
    }
    let target = connection.database.collection::<RawDocumentBuf>(collection.name());
    let made = with_timeout(BUILD_TIMEOUT, target.create_indexes(missing)).await;
    made.map(drop).map_err(|failure| with_collection(failure, connection, collection))
}

/// Returns a collection's existing indexes.
async fn existing_indexes(connection: &Connection, collection: Collection) -> Result<Vec<IndexModel>, MongoError> {
    let target = connection.database.collection::<RawDocumentBuf>(collection.name());
    let list = async { target.list_indexes().await?.try_collect().await };
    match with_timeout(COMMAND_TIMEOUT, list).await {
        Err(MongoError::Driver(error)) if matches!(&*error.kind, ErrorKind::Command(command) if command.code == NAMESPACE_NOT_FOUND) => {
            Ok(Vec::new())
        }
        Err(failure) => Err(with_collection(failure, connection, collection)),
        listed => listed,
    }
}

async fn drop_index(connection: &Connection, collection: Collection, index: &IndexModel) -> Result<(), MongoError> {
    let Some(name) = index.options.as_ref().and_then(|options| options.name.as_deref()) else { return Ok(()) };
    tracing::info!(collection = collection.name(), index = name, "replacing an index by a unique one");
    let target = connection.database.collection::<RawDocumentBuf>(collection.name());
    with_timeout(COMMAND_TIMEOUT, target.drop_index(name))
        .await
        .map_err(|failure| with_collection(failure, connection, collection))
}

/// Rejects a collection with duplicates, on which a unique index can't be created.
async fn reject_duplicates(connection: &Connection, collection: Collection) -> Result<(), MongoError> {
    let mut keys = KeyCursor::read(connection, collection, doc! {}).await?;
    let mut last: Option<(String, u32)> = None;
    let mut found: Vec<(String, u32)> = Vec::new();
    loop {
        let next = keys.next().await?.map(|entry| entry.key);
        match (&mut last, next) {
            (Some((key, count)), Some(next)) if *key == next => *count += 1,
            (last, next) => {
                let ended = next.is_none();
                found.extend(last.take().filter(|(_, count)| *count > 1));
                *last = next.map(|key| (key, 1));
                if ended || found.len() == MAX_EXAMPLES {
                    break;
                }
            }
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    let incomplete = found.iter().any(|(key, _)| key.split('/').any(|part| part == MISSING));
    let examples: Vec<String> = found.iter().map(|(key, count)| format!("{key} ({count} documents)")).collect();
    Err(MongoError::from(BackendError {
        operation: format!("opening the document store {}", connection.url),
        cause: format!(
            "the collection {} has several documents of one key ({}): {}",
            collection.name(),
            key_paths(collection).join("/"),
            examples.join(", ")
        ),
        hint: if incomplete {
            "complete or remove the documents that lack a part of their key, then run `msght migrate --apply \
             --repair-duplicates`, which keeps the newest document of each key"
        } else {
            "run `msght migrate --apply --repair-duplicates`, which keeps the newest document of each key"
        },
        before_start: true,
    }))
}

/// Adds the collection to a server error.
fn with_collection(failure: MongoError, connection: &Connection, collection: Collection) -> MongoError {
    if failure.retryability() != crate::retry::Retryability::Permanent {
        return failure;
    }
    let operation =
        format!("opening the document store {}: making the indexes of {}", connection.url, collection.name());
    MongoError::from(failure.into_backend_error(operation, &connection.url).before_start())
}

fn index(name: &str, keys: Document, unique: bool) -> IndexModel {
    let options = IndexOptions::builder().name(name.to_owned()).unique(unique.then_some(true)).build();
    IndexModel::builder().keys(keys).options(options).build()
}

/// Returns whether two indexes have the same keys in the same order; servers return the direction as any kind of
/// number.
fn same_keys(present: &Document, wanted: &Document) -> bool {
    let ascends = |value: &mongodb::bson::Bson| {
        matches!(value, mongodb::bson::Bson::Int32(1) | mongodb::bson::Bson::Int64(1))
            || value.as_f64().is_some_and(|direction| direction > 0.0)
    };
    present.len() == wanted.len()
        && present.iter().zip(wanted).all(|((key, direction), (wanted, _))| key == wanted && ascends(direction))
}

/// Returns whether an index is unique without exceptions.
fn is_unique(index: &IndexModel) -> bool {
    index.options.as_ref().is_some_and(|options| {
        options.unique == Some(true)
            && options.partial_filter_expression.is_none()
            && options.sparse != Some(true)
            && options.collation.is_none()
    })
}
