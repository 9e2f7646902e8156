//! Decides what a stored document becomes when its key is read again.

use serde_json::{Map, Value};

use super::{Collection, Document, REPOSITORY_ID, Representation, SourceRepository, timestamp};
use crate::json;

/// Member of `_msght` with the parts that a document is stored without because it is too large for the store.
pub(super) const WITHOUT: &str = "without";

/// The bookkeeping of a stored document, without its JSON.
#[derive(Debug, Clone, Copy)]
pub(super) struct StoredMeta {
    /// Fingerprint of the payload that was last written.
    pub hash: i64,
    /// Fingerprint of the last list item, for a document in its detailed representation.
    pub summary_hash: Option<i64>,
    /// The detailed representation is stored.
    pub detailed: bool,
    /// Marked as deleted on GitHub.
    pub deleted: bool,
}

/// A document as it is stored.
#[derive(Debug)]
pub(super) struct Row {
    pub json: String,
    pub hash: i64,
    pub summary_hash: Option<i64>,
    pub detailed: bool,
}

/// Returns whether the stored state equals the incoming one, judged by fingerprints alone.
pub(super) fn is_unchanged(stored: &StoredMeta, incoming: &Document, hash: i64) -> bool {
    if stored.deleted {
        return false;
    }
    if stored.detailed
        && incoming.representation == Representation::Summary
        && incoming.collection.has_two_representations()
    {
        return stored.summary_hash == Some(hash);
    }
    let same_representation = stored.detailed == (incoming.representation == Representation::Detailed)
        || !incoming.collection.has_two_representations();
    same_representation && stored.hash == hash
}

/// Returns whether [`replace`] needs the stored document itself.
pub(super) fn needs_stored(collection: Collection) -> bool {
    matches!(collection, Collection::Commits | Collection::PullRequestCommits) || collection.has_two_representations()
}

/// Returns the row of a document that is not stored yet.
pub(super) fn new_row(incoming: &Document, hash: i64) -> Row {
    Row {
        json: with_meta(&incoming.json, incoming, &[]),
        hash,
        summary_hash: None,
        detailed: incoming.representation == Representation::Detailed,
    }
}

/// Returns the row that replaces a stored document with another fingerprint, or `None` if the stored one stays.
///
/// - A commit is one document for all repositories that have it: the first repository's stays.
/// - A commit of several pull requests keeps the lowest number, whatever the order of reading.
/// - A list item updates a detailed document but removes nothing from it; `_msght.detailed_at` then tells the age of
///   the fields that only the detailed representation has.
pub(super) fn replacement_row(stored: &StoredMeta, stored_json: &str, incoming: &Document, hash: i64) -> Option<Row> {
    let old: Map<String, Value> = json::parse(stored_json).unwrap_or_default();
    let new: Map<String, Value> = json::parse(&incoming.json).unwrap_or_default();
    match incoming.collection {
        // Another repository's response for the same SHA may add details, nothing else.
        Collection::Commits
            if !stored.deleted
                && !is_of_same_repository(&old, &new, incoming.source.as_deref())
                && (stored.detailed || incoming.representation == Representation::Summary) =>
        {
            return None;
        }
        Collection::PullRequestCommits if !stored.deleted => {
            let number = |map: &Map<String, Value>| map.get("pull_request_id").and_then(Value::as_i64);
            if number(&old) < number(&new) {
                return None;
            }
        }
        _ => {}
    }
    if incoming.collection.has_two_representations()
        && stored.detailed
        && incoming.representation == Representation::Summary
    {
        return Some(overlay(old, new, incoming, hash));
    }
    let summary_hash = match (incoming.representation, stored.detailed) {
        (Representation::Detailed, false) if incoming.collection.has_two_representations() => Some(stored.hash),
        (Representation::Detailed, true) => stored.summary_hash,
        _ => None,
    };
    Some(Row {
        json: with_meta(&incoming.json, incoming, &[]),
        hash,
        summary_hash,
        detailed: incoming.representation == Representation::Detailed,
    })
}

/// Returns whether a stored commit was read from the same repository as now, under any of its names.
fn is_of_same_repository(
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    source: Option<&SourceRepository>,
) -> bool {
    let stored = old.get("_msght").and_then(|meta| meta.get(REPOSITORY_ID)).and_then(Value::as_i64);
    match (stored, source) {
        (Some(stored), Some(source)) => stored == source.repository,
        _ if old.get("url") == new.get("url") => true,
        (None, Some(source)) => {
            let url = old.get("url").and_then(Value::as_str).unwrap_or_default().to_lowercase();
            let had = |name: &String| url.contains(&format!("/repos/{}/commits/", name.to_lowercase()));
            source.names.iter().any(had)
        }
        (_, None) => false,
    }
}

fn overlay(mut old: Map<String, Value>, new: Map<String, Value>, incoming: &Document, summary_hash: i64) -> Row {
    let meta = old.remove("_msght");
    let of_meta = |field: &str| meta.as_ref().and_then(|meta| meta.get(field)).and_then(Value::as_str);
    let detailed_at = of_meta("detailed_at").or_else(|| of_meta("fetched_at")).map(Value::from);
    let without = meta.as_ref().and_then(|meta| meta.get(WITHOUT)).cloned();
    for (key, value) in new {
        old.insert(key, value);
    }
    let json = Value::Object(old).to_string();
    Row {
        json: with_meta(&json, incoming, &[("detailed_at", detailed_at), (WITHOUT, without)]),
        // Neither response had this mixture: any detailed one that follows is a change.
        hash: 0,
        summary_hash: Some(summary_hash),
        detailed: true,
    }
}

/// Appends `_msght` to a JSON object's text, so that GitHub's own bytes are kept.
fn with_meta(json: &str, incoming: &Document, more: &[(&str, Option<Value>)]) -> String {
    let mut meta = Map::new();
    meta.insert("fetched_at".to_owned(), Value::from(timestamp(incoming.fetched_at)));
    for (key, value) in more {
        if let Some(value) = value {
            meta.insert((*key).to_owned(), value.clone());
        }
    }
    if let Some(source) = &incoming.source {
        meta.insert(REPOSITORY_ID.to_owned(), Value::from(source.repository));
    }
    append_member(json, "_msght", &Value::Object(meta).to_string())
}

/// Appends a member to a JSON object's text.
pub(super) fn append_member(object: &str, key: &str, value: &str) -> String {
    let body = object.trim_end().strip_suffix('}').unwrap_or(object).trim_end();
    let comma = if body.ends_with('{') { "" } else { "," };
    format!("{body}{comma}\"{key}\":{value}}}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use chrono::DateTime;

    fn document(collection: Collection, representation: Representation, json: &str) -> Document {
        Document {
            collection,
            key: vec!["k".into()],
            json: json.to_owned(),
            representation,
            fetched_at: DateTime::from_timestamp(1_700_000_000, 0).unwrap(),
            source: None,
        }
    }

    fn stored(row: &Row) -> StoredMeta {
        StoredMeta { hash: row.hash, summary_hash: row.summary_hash, detailed: row.detailed, deleted: false }
    }

    #[test]
    fn github_bytes_are_kept() {
        let odd = "{ \"b\" : 1.50, \"a\":\"\\u0000é\" } ";
        let row = new_row(&document(Collection::Issues, Representation::Summary, odd), 1);
        assert_eq!(
            row.json,
            "{ \"b\" : 1.50, \"a\":\"\\u0000é\",\"_msght\":{\"fetched_at\":\"2023-11-14T22:13:20Z\"}}"
        );
        assert_eq!(append_member("{}", "x", "1"), "{\"x\":1}");
    }

    #[test]
    fn list_item_updates_detailed_pull_request_without_loss() {
        let detailed = document(
            Collection::PullRequests,
            Representation::Detailed,
            r#"{"number":1,"title":"a","merged_by":{"login":"x"}}"#,
        );
        let row = new_row(&detailed, 10);
        let list = document(Collection::PullRequests, Representation::Summary, r#"{"number":1,"title":"b"}"#);
        assert!(!is_unchanged(&stored(&row), &list, 11));
        let merged = replacement_row(&stored(&row), &row.json, &list, 11).unwrap();
        let value: Value = serde_json::from_str(&merged.json).unwrap();
        assert_eq!(value["title"], "b");
        assert_eq!(value["merged_by"]["login"], "x");
        assert_eq!(value["_msght"]["detailed_at"], "2023-11-14T22:13:20Z");
        assert!(is_unchanged(&stored(&merged), &list, 11), "the same list answer again changes nothing");
    }

    #[test]
    fn commit_keeps_lowest_pull_request_number() {
        let at = |number: i64| {
            document(
                Collection::PullRequestCommits,
                Representation::Summary,
                &format!(r#"{{"sha":"s","pull_request_id":{number}}}"#),
            )
        };
        let (low, high) = (at(3), at(7));
        let row = new_row(&low, 1);
        assert!(replacement_row(&stored(&row), &row.json, &high, 2).is_none());
        let row = new_row(&high, 2);
        assert!(replacement_row(&stored(&row), &row.json, &low, 1).unwrap().json.contains("\"pull_request_id\":3"));
    }

    #[test]
    fn renamed_repository_updates_its_commits_and_fork_does_not() {
        let commit = |url: &str, source: Option<(i64, &[&str])>, more: &str| Document {
            source: source.map(|(repository, names)| {
                Arc::new(SourceRepository { repository, names: names.iter().map(|name| (*name).to_owned()).collect() })
            }),
            ..document(
                Collection::Commits,
                Representation::Detailed,
                &format!(r#"{{"url":"https://x/repos/{url}/commits/s"{more}}}"#),
            )
        };
        let own = commit("o/old", Some((7, &["o/old"])), "");
        let row = new_row(&own, 1);
        let renamed = commit("o/new", Some((7, &["o/new", "o/old"])), "");
        let fork = commit("f/old", Some((8, &["f/old"])), "");
        assert!(replacement_row(&stored(&row), &row.json, &renamed, 2).is_some());
        assert!(replacement_row(&stored(&row), &row.json, &fork, 3).is_none());
        // One that was stored before documents told their repository is known by the names that this has had.
        let older = new_row(&Document { source: None, ..own }, 1);
        assert!(replacement_row(&stored(&older), &older.json, &renamed, 2).is_some());
        assert!(replacement_row(&stored(&older), &older.json, &fork, 3).is_none());
        assert!(replacement_row(&stored(&older), &older.json, &commit("O/OLD", None, ",\"n\":1"), 4).is_none());
    }

    #[test]
    fn restored_document_is_written_again() {
        let doc = document(Collection::RepoLabels, Representation::Summary, r#"{"name":"bug"}"#);
        let mut stored = stored(&new_row(&doc, 5));
        assert!(is_unchanged(&stored, &doc, 5));
        stored.deleted = true;
        assert!(!is_unchanged(&stored, &doc, 5));
    }
}
