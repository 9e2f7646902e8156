//! Where things stand in a MongoDB document: the paths of its natural key, and msght's own fields under `_msght`.

use std::time::Duration;

use mongodb::bson::{RawBsonRef, RawDocument, RawDocumentBuf};

use super::error::MongoError;
use crate::store::documents::Collection;
use crate::store::documents::merge::StoredMeta;

/// How long the indexes of a collection may take to be built. Only an existing database of GHTorrent's has anything to
/// build; its largest collections have hundreds of millions of documents.
pub(super) const BUILD_TIMEOUT: Duration = Duration::from_secs(6 * 3600);
/// msght's own part of a document.
pub(super) const META: &str = "_msght";
/// When the stored state was read (a date, indexed).
pub(super) const FETCHED_AT: &str = "_msght.fetched_at";
/// When the document was found gone from GitHub (a date).
pub(super) const DELETED_AT: &str = "_msght.deleted_at";
/// [`Document::id`](crate::store::documents::Document::id) of a document whose key has several columns (indexed).
pub(super) const KEY: &str = "_msght.key";
/// Counts the document's writes: a writer replaces the very state that it has decided on, or nothing.
pub(super) const REVISION: &str = "_msght.rev";

/// The paths of a collection's natural key, in the order of its unique index (data model, §3).
pub(super) fn key_paths(collection: Collection) -> Vec<&'static str> {
    match collection {
        Collection::Repos => vec!["name", "owner.login"],
        Collection::CommitComments => vec!["commit_id", "id"],
        _ => {
            let mut paths: Vec<_> = collection.key().iter().map(|column| column.name).collect();
            if collection.is_repository_scoped() {
                // GHTorrent's indexes have the repository first.
                paths.swap(0, 1);
            }
            paths
        }
    }
}

/// Index keys over these paths, each ascending.
pub(super) fn ascending(paths: &[&str]) -> mongodb::bson::Document {
    paths.iter().map(|path| ((*path).to_owned(), 1.into())).collect()
}

/// The field that holds a document's `id()`: a key of one column is the id itself.
pub(super) fn id_path(collection: Collection) -> &'static str {
    match collection.key() {
        [column] => column.name,
        _ => KEY,
    }
}

/// What stands at a path of keys.
pub(super) fn at<'a>(document: &'a RawDocument, path: &str) -> Option<RawBsonRef<'a>> {
    let (parents, field) = path.rsplit_once('.').map_or((None, path), |(parents, field)| (Some(parents), field));
    let mut document = document;
    for parent in parents.into_iter().flat_map(|parents| parents.split('.')) {
        document = document.get(parent).ok()??.as_document()?;
    }
    document.get(field).ok()?
}

/// An integer, however it is stored: servers and other tools choose its type by its size.
pub(super) fn integer(value: RawBsonRef<'_>) -> Option<i64> {
    match value {
        RawBsonRef::Int32(number) => Some(number.into()),
        RawBsonRef::Int64(number) => Some(number),
        // Beyond 2^53 a double is no exact integer any more.
        RawBsonRef::Double(number) if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 =>
        {
            #[expect(clippy::cast_possible_truncation, reason = "checked above")]
            Some(number as i64)
        }
        _ => None,
    }
}

/// A document's natural key as a text to compare and to show: `repo/owner/number`, a missing part as `(none)`.
pub(super) fn natural_key(collection: Collection, document: &RawDocument) -> String {
    let part = |path: &&str| match at(document, path) {
        Some(RawBsonRef::String(text)) => text.to_owned(),
        None | Some(RawBsonRef::Null) => MISSING.to_owned(),
        Some(other) => integer(other).map_or_else(|| format!("{other:?}"), |number| number.to_string()),
    };
    key_paths(collection).iter().map(part).collect::<Vec<_>>().join("/")
}

/// A part of a key that a document lacks.
pub(super) const MISSING: &str = "(none)";

/// The condition that a document has the same natural key as this one.
pub(super) fn same_key(collection: Collection, document: &RawDocument) -> Result<RawDocumentBuf, MongoError> {
    let mut condition = RawDocumentBuf::new();
    for path in key_paths(collection) {
        append(&mut condition, path, at(document, path).unwrap_or(RawBsonRef::Null))?;
    }
    Ok(condition)
}

/// Appends a member whose key is only known at run time.
pub(super) fn append(
    document: &mut RawDocumentBuf,
    key: &str,
    value: impl mongodb::bson::raw::BindRawBsonRef,
) -> Result<(), MongoError> {
    let key: &mongodb::bson::raw::CStr = key.try_into().map_err(MongoError::from_bson)?;
    document.append(key, value);
    Ok(())
}

/// What is known of a stored document without its payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bookkeeping {
    /// The revision; `None` for a document of GHTorrent's that msght has not written yet.
    pub revision: Option<i64>,
    /// The fingerprints; `None` likewise.
    pub meta: Option<StoredMeta>,
    /// Whether it is stored without a part, for want of room.
    pub is_reduced: bool,
}

/// Reads a document's bookkeeping.
pub(super) fn read_bookkeeping(document: &RawDocument) -> Bookkeeping {
    let number = |path: &str| at(document, path).and_then(integer);
    let meta = number("_msght.hash").map(|hash| StoredMeta {
        hash,
        summary_hash: number("_msght.summary_hash"),
        detailed: at(document, "_msght.full").and_then(RawBsonRef::as_bool).unwrap_or(false),
        deleted: at(document, DELETED_AT).is_some_and(|value| value != RawBsonRef::Null),
    });
    let is_reduced = at(document, "_msght.without").is_some();
    Bookkeeping { revision: number(REVISION), meta, is_reduced }
}

/// The projection with which [`state`] and [`natural_key`] can be read.
///
/// Whole top-level members: some servers give back a projected path under another shape.
pub(super) fn bookkeeping_projection(collection: Collection) -> mongodb::bson::Document {
    let mut fields = mongodb::bson::doc! { META: 1 };
    for path in key_paths(collection) {
        fields.insert(path.split('.').next().unwrap_or(path), 1);
    }
    fields
}
