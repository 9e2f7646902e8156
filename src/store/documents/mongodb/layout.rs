//! Layout of a MongoDB document: the paths of its natural key, and msght's own fields under `_msght`.

use std::time::Duration;

use mongodb::bson::{RawBsonRef, RawDocument, RawDocumentBuf};

use super::error::MongoError;
use crate::store::documents::Collection;
use crate::store::documents::merge::StoredMeta;

/// Timeout of building a collection's indexes. Only a database of GHTorrent's has anything to build; its largest
/// collections have hundreds of millions of documents.
pub(super) const BUILD_TIMEOUT: Duration = Duration::from_hours(6);
/// msght's own part of a document.
pub(super) const META: &str = "_msght";
/// Time at which the stored state was read (a date, indexed).
pub(super) const FETCHED_AT: &str = "_msght.fetched_at";
/// Time at which the document was found deleted on GitHub (a date).
pub(super) const DELETED_AT: &str = "_msght.deleted_at";
/// [`Document::id`](crate::store::documents::Document::id) of a document whose key has several columns (indexed).
pub(super) const KEY: &str = "_msght.key";
/// The document's revision: a writer replaces exactly the revision that it decided on, or nothing.
pub(super) const REVISION: &str = "_msght.rev";

/// Returns the paths of a collection's natural key, in the order of its unique index (`docs/data-model.md`,
/// "Collections").
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

/// Returns index keys over these paths, each ascending.
pub(super) fn ascending(paths: &[&str]) -> mongodb::bson::Document {
    paths.iter().map(|path| ((*path).to_owned(), 1.into())).collect()
}

/// Returns the field with a document's `id()`: a key of one column is the id itself.
pub(super) fn id_path(collection: Collection) -> &'static str {
    match collection.key() {
        [column] => column.name,
        _ => KEY,
    }
}

/// Returns the value at a path of keys.
pub(super) fn value_at<'a>(document: &'a RawDocument, path: &str) -> Option<RawBsonRef<'a>> {
    let (parents, field) = path.rsplit_once('.').map_or((None, path), |(parents, field)| (Some(parents), field));
    let mut document = document;
    for parent in parents.into_iter().flat_map(|parents| parents.split('.')) {
        document = document.get(parent).ok()??.as_document()?;
    }
    document.get(field).ok()?
}

/// Returns an integer of any type: servers and other tools choose it by size.
pub(super) fn integer(value: RawBsonRef<'_>) -> Option<i64> {
    match value {
        RawBsonRef::Int32(number) => Some(number.into()),
        RawBsonRef::Int64(number) => Some(number),
        // Beyond 2^53 a double is not exact.
        RawBsonRef::Double(number) if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 =>
        {
            #[expect(clippy::cast_possible_truncation, reason = "checked above")]
            Some(number as i64)
        }
        _ => None,
    }
}

/// Returns a document's natural key as text, such as `repo/owner/number`, with `(none)` for missing parts.
pub(super) fn natural_key(collection: Collection, document: &RawDocument) -> String {
    let part = |path: &&str| match value_at(document, path) {
        Some(RawBsonRef::String(text)) => text.to_owned(),
        None | Some(RawBsonRef::Null) => MISSING.to_owned(),
        Some(other) => integer(other).map_or_else(|| format!("{other:?}"), |number| number.to_string()),
    };
    key_paths(collection).iter().map(part).collect::<Vec<_>>().join("/")
}

/// Text for a missing part of a key.
pub(super) const MISSING: &str = "(none)";

/// Returns the condition for documents with the same natural key.
pub(super) fn same_key(collection: Collection, document: &RawDocument) -> Result<RawDocumentBuf, MongoError> {
    let mut condition = RawDocumentBuf::new();
    for path in key_paths(collection) {
        append(&mut condition, path, value_at(document, path).unwrap_or(RawBsonRef::Null))?;
    }
    Ok(condition)
}

/// Appends a member whose key is known only at run time.
pub(super) fn append(
    document: &mut RawDocumentBuf,
    key: &str,
    value: impl mongodb::bson::raw::BindRawBsonRef,
) -> Result<(), MongoError> {
    let key: &mongodb::bson::raw::CStr = key.try_into().map_err(MongoError::from_bson)?;
    document.append(key, value);
    Ok(())
}

/// The bookkeeping of a stored document, without its payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bookkeeping {
    /// The revision; `None` for a document of GHTorrent's that msght has not written.
    pub revision: Option<i64>,
    /// The fingerprints; `None` likewise.
    pub meta: Option<StoredMeta>,
    /// Stored without a part that would not fit.
    pub is_reduced: bool,
}

/// Reads a document's bookkeeping.
pub(super) fn read_bookkeeping(document: &RawDocument) -> Bookkeeping {
    let number = |path: &str| value_at(document, path).and_then(integer);
    let meta = number("_msght.hash").map(|hash| StoredMeta {
        hash,
        summary_hash: number("_msght.summary_hash"),
        detailed: value_at(document, "_msght.full").and_then(RawBsonRef::as_bool).unwrap_or(false),
        deleted: value_at(document, DELETED_AT).is_some_and(|value| value != RawBsonRef::Null),
    });
    let is_reduced = value_at(document, "_msght.without").is_some();
    Bookkeeping { revision: number(REVISION), meta, is_reduced }
}

/// Returns the projection that [`read_bookkeeping`] and [`natural_key`] need.
///
/// It names whole top-level members: some servers return a projected path in another form.
pub(super) fn bookkeeping_projection(collection: Collection) -> mongodb::bson::Document {
    let mut fields = mongodb::bson::doc! { META: 1 };
    for path in key_paths(collection) {
        fields.insert(path.split('.').next().unwrap_or(path), 1);
    }
    fields
}
