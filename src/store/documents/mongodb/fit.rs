//! Fits rows into MongoDB documents.

use mongodb::bson::raw::cstr;
use mongodb::bson::{RawArrayBuf, RawBsonRef, RawDocumentBuf};
use serde_json::{Map, Value};

use super::convert;
use super::error::MongoError;
use super::layout::{KEY, META, append, id_path};
use crate::json;
use crate::store::documents::Collection;
use crate::store::documents::merge::{Row, WITHOUT};

/// Maximum bytes of a MongoDB document: 16 MiB.
const MAX_DOCUMENT_BYTES: usize = 16 * 1024 * 1024;
/// The part that an oversized commit is stored without.
const PATCHES: &str = "files.patch";
/// Notice about such a commit.
pub(super) const WITHOUT_PATCHES: &str =
    "kept without the patches of its files: with them it has more than the 16 MiB that MongoDB stores";

/// The result of fitting a row.
pub(super) enum Fitted {
    /// It fits, possibly without its patches.
    Document { document: RawDocumentBuf, is_reduced: bool },
    /// It can't be stored, for this reason.
    Rejected(String),
}

/// Converts a row into a document that MongoDB can store. An oversized commit loses its patches, recorded in
/// `_msght.without`.
pub(super) fn fit(collection: Collection, id: &str, row: &Row, revision: i64) -> Result<Fitted, MongoError> {
    let mut object: Map<String, Value> = match json::parse(&row.json) {
        Ok(object) => object,
        Err(error) => return Ok(Fitted::Rejected(format!("it is not a JSON object: {error}"))),
    };
    let mut meta = object.remove(META).unwrap_or_default();
    let document = to_stored_bson(collection, id, row, &object, &meta, revision)?;
    let bytes = document.as_bytes().len();
    if bytes <= MAX_DOCUMENT_BYTES {
        return Ok(Fitted::Document { document, is_reduced: is_reduced(&meta) });
    }
    drop(document);
    if collection == Collection::Commits && remove_patches(&mut object) {
        if let Some(meta) = meta.as_object_mut() {
            meta.insert(WITHOUT.to_owned(), Value::from(vec![PATCHES]));
        }
        let document = to_stored_bson(collection, id, row, &object, &meta, revision)?;
        if document.as_bytes().len() <= MAX_DOCUMENT_BYTES {
            return Ok(Fitted::Document { document, is_reduced: true });
        }
    }
    Ok(Fitted::Rejected(format!("it has {bytes} bytes, and MongoDB stores {MAX_DOCUMENT_BYTES} at most")))
}

fn is_reduced(meta: &Value) -> bool {
    meta.get(WITHOUT).is_some()
}

/// Removes the patches of a commit's files. Returns whether there were any.
fn remove_patches(commit: &mut Map<String, Value>) -> bool {
    let files = commit.get_mut("files").and_then(Value::as_array_mut).into_iter().flatten();
    // Shifted, not swapped: the rest keeps GitHub's order.
    let removed = files.filter_map(|file| file.as_object_mut()?.shift_remove("patch"));
    removed.count() > 0
}

fn to_stored_bson(
    collection: Collection,
    id: &str,
    row: &Row,
    object: &Map<String, Value>,
    shown: &Value,
    revision: i64,
) -> Result<RawDocumentBuf, MongoError> {
    let mut document = convert::to_bson(object)?;
    let mut meta = RawDocumentBuf::new();
    for (name, value) in shown.as_object().into_iter().flatten() {
        if let Some(date) = value.as_str().and_then(convert::date) {
            append(&mut meta, name, date)?;
        } else if let Some(number) = value.as_i64() {
            append(&mut meta, name, number)?;
        }
    }
    if let Some(parts) = shown.get(WITHOUT).and_then(Value::as_array) {
        let mut array = RawArrayBuf::new();
        parts.iter().filter_map(Value::as_str).for_each(|part| array.push(RawBsonRef::String(part)));
        append(&mut meta, WITHOUT, array)?;
    }
    if id_path(collection) == KEY {
        meta.append(cstr!("key"), id);
    }
    meta.append(cstr!("rev"), revision);
    meta.append(cstr!("hash"), row.hash);
    if let Some(hash) = row.summary_hash {
        meta.append(cstr!("summary_hash"), hash);
    }
    meta.append(cstr!("full"), row.detailed);
    append(&mut document, META, meta)?;
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(json: String) -> Row {
        Row { json, hash: 1, summary_hash: None, detailed: true }
    }

    #[test]
    fn oversized_commit_is_stored_without_its_patches() {
        let patch = "x".repeat(MAX_DOCUMENT_BYTES / 2);
        let meta = r#""_msght":{"fetched_at":"2023-11-14T22:13:20Z"}"#;
        let file = format!(r#"{{"filename":"a","patch":"{patch}","sha":"1"}}"#);
        let large = row(format!(r#"{{"sha":"s","files":[{file},{file}],{meta}}}"#));
        let Ok(Fitted::Document { document, is_reduced: true }) = fit(Collection::Commits, "s", &large, 1) else {
            panic!("the commit is stored")
        };
        let value = convert::to_json(&document).unwrap();
        assert_eq!(value["files"][1], serde_json::json!({"filename": "a", "sha": "1"}));
        assert_eq!(value["_msght"]["without"], serde_json::json!(["files.patch"]));
        // What has no part that it can do without, or is too large even so, is not.
        for (collection, json) in [
            (Collection::Issues, large.json.clone()),
            (Collection::Commits, format!(r#"{{"sha":"s","a":"{patch}","b":"{patch}",{meta}}}"#)),
        ] {
            let fitted = fit(collection, "s", &row(json), 1).unwrap();
            assert!(matches!(fitted, Fitted::Rejected(reason) if reason.contains("16777216")));
        }
    }
}
