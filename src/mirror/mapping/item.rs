//! Items of GitHub's answers: the original bytes, and a lenient view into them.
//!
//! A missing, null, mistyped or new field is never an error; the row then gets NULL or the ghost.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use serde_json::value::RawValue;

use super::account::{account, as_person};
use crate::json;
use crate::mirror::error::MirrorError;
use crate::store::documents::{self, Collection, Document, KeyValue, Representation};
use crate::store::relational::rows::{Account, Person};

/// A JSON object of an answer.
pub(crate) struct JsonItem<'a> {
    raw: &'a str,
    value: Value,
    read_at: DateTime<Utc>,
}

/// Splits a list's page into the texts of its items, without copying. An empty answer (GitHub's 204) has none.
///
/// # Errors
/// The answer is not a JSON array.
pub(crate) fn parse_items(body: &[u8]) -> Result<Vec<&RawValue>, MirrorError> {
    if body.is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_slice(body).map_err(|error| MirrorError::unexpected("an array", &error))
}

/// Splits the array under a key of an answer, as in a comparison of commits.
///
/// # Errors
/// The answer is no object, or the key holds no array.
pub(crate) fn parse_items_under<'a>(body: &'a [u8], key: &str) -> Result<Vec<&'a RawValue>, MirrorError> {
    parse_items(parse_item_under(body, key)?.get().as_bytes())
}

/// Returns the object under a key of an answer.
///
/// # Errors
/// The answer is no object, or lacks the key.
pub(crate) fn parse_item_under<'a>(body: &'a [u8], key: &str) -> Result<&'a RawValue, MirrorError> {
    let object: HashMap<String, &RawValue> =
        serde_json::from_slice(body).map_err(|error| MirrorError::unexpected("an object", &error))?;
    object.get(key).copied().ok_or_else(|| MirrorError::Answer(format!("the answer has no `{key}`")))
}

/// Returns an answer that is one item, in the form of [`parse_items`].
///
/// # Errors
/// The answer is not JSON.
pub(crate) fn parse_item(body: &[u8]) -> Result<&RawValue, MirrorError> {
    serde_json::from_slice(body).map_err(|error| MirrorError::unexpected("an object", &error))
}

impl<'a> JsonItem<'a> {
    /// Parses an answer that is one object.
    ///
    /// # Errors
    /// The answer is not a JSON object that can be held.
    pub(crate) fn single(body: &'a [u8], read_at: DateTime<Utc>) -> Result<Self, MirrorError> {
        Self::new(parse_item(body)?, read_at)
    }

    /// Parses an item of a list.
    ///
    /// # Errors
    /// The item is not a JSON object that can be held.
    pub(crate) fn new(raw: &'a RawValue, read_at: DateTime<Utc>) -> Result<Self, MirrorError> {
        let value: Value = json::parse(raw.get()).map_err(|error| MirrorError::unexpected("an object", &error))?;
        if !value.is_object() {
            return Err(MirrorError::Answer("an item of the answer is not an object".to_owned()));
        }
        Ok(Self { raw: raw.get(), value, read_at })
    }

    /// Returns the time at which the answer was read.
    pub(crate) fn read_at(&self) -> DateTime<Utc> {
        self.read_at
    }

    /// Returns the whole value.
    pub(crate) fn value(&self) -> &Value {
        &self.value
    }

    /// Returns the value at a path of keys (`user.login`); null counts as absent.
    pub(crate) fn get_path(&self, path: &str) -> Option<&Value> {
        get_path(&self.value, path)
    }

    /// Returns the text at a path.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        self.get_path(path).and_then(Value::as_str).map(str::to_owned)
    }

    /// Returns the integer at a path.
    pub(crate) fn integer(&self, path: &str) -> Option<i64> {
        self.get_path(path).and_then(Value::as_i64)
    }

    /// Returns the date at a path.
    pub(crate) fn date(&self, path: &str) -> Option<DateTime<Utc>> {
        self.get_path(path).and_then(Value::as_str).and_then(parse_date)
    }

    /// Returns the person at a path, or the ghost.
    pub(crate) fn person(&self, path: &str) -> Person {
        account(self.get_path(path)).map_or(Person::Ghost, as_person)
    }

    /// Returns the account at a path.
    pub(crate) fn account(&self, path: &str) -> Option<Account> {
        account(self.get_path(path))
    }

    /// Returns an integer that a key needs and GitHub always sends.
    ///
    /// # Errors
    /// It is missing: the item can't be stored, and that must be said.
    pub(crate) fn require_integer(&self, path: &str) -> Result<i64, MirrorError> {
        self.integer(path).ok_or_else(|| self.lacks(path))
    }

    /// Returns a text that a key needs and GitHub always sends.
    ///
    /// # Errors
    /// It is missing: the item can't be stored, and that must be said.
    pub(crate) fn require_text(&self, path: &str) -> Result<String, MirrorError> {
        self.text(path).filter(|text| !text.is_empty()).ok_or_else(|| self.lacks(path))
    }

    fn lacks(&self, path: &str) -> MirrorError {
        let url = self.text("url").unwrap_or_else(|| "an item".to_owned());
        MirrorError::Answer(format!("{url} came without `{path}`, which its key needs"))
    }

    /// Builds the item's document: GitHub's bytes, with tags appended.
    pub(crate) fn document(&self, collection: Collection, key: Vec<KeyValue>, tags: &[(&str, Value)]) -> Document {
        self.shaped_document(collection, key, tags, Representation::Summary)
    }

    /// Builds the document of an answer to a request for the one item.
    pub(crate) fn full_document(&self, collection: Collection, key: Vec<KeyValue>, tags: &[(&str, Value)]) -> Document {
        self.shaped_document(collection, key, tags, Representation::Detailed)
    }

    fn shaped_document(
        &self,
        collection: Collection,
        key: Vec<KeyValue>,
        tags: &[(&str, Value)],
        representation: Representation,
    ) -> Document {
        let taken = tags.iter().any(|(tag, _)| self.value.get(tag).is_some());
        let json = if taken {
            // A tag that GitHub uses as a key itself replaces GitHub's (`docs/data-model.md`, "forks").
            let mut object = self.value.as_object().cloned().unwrap_or_default();
            for (tag, value) in tags {
                object.insert((*tag).to_owned(), value.clone());
            }
            Value::Object(object).to_string()
        } else {
            documents::append_members(self.raw, tags)
        };
        Document { collection, key, json, representation, fetched_at: self.read_at, source: None }
    }
}

/// Returns the value at a path of keys; null counts as absent.
pub(crate) fn get_path<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let found = path.split('.').try_fold(value, |value, key| value.get(key))?;
    (!found.is_null()).then_some(found)
}

/// Parses a date as GitHub writes it.
pub(crate) fn parse_date(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|date| date.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn item(text: &str) -> JsonItem<'_> {
        JsonItem::single(text.as_bytes(), DateTime::UNIX_EPOCH).unwrap()
    }

    #[test]
    fn a_field_that_is_missing_null_or_of_another_type_is_nothing() {
        let item = item(r#"{"a":null,"b":{"c":"x"},"n":"7"}"#);
        assert_eq!(item.text("a"), None);
        assert_eq!(item.text("a.b.c"), None);
        assert_eq!(item.text("b.c").as_deref(), Some("x"));
        assert_eq!(item.integer("n"), None);
        assert_eq!(item.person("user"), Person::Ghost);
    }

    #[test]
    fn tags_stand_behind_githubs_bytes_unless_github_uses_the_key() {
        let plain = item(r#"{"id": 1}"#).document(Collection::Issues, vec![], &[("owner", json!("o"))]);
        assert_eq!(plain.json, r#"{"id": 1,"owner":"o"}"#);
        let fork =
            item(r#"{"id": 1,"owner":{"login":"x"}}"#).document(Collection::Forks, vec![], &[("owner", json!("o"))]);
        assert_eq!(fork.json, r#"{"id":1,"owner":"o"}"#);
    }
}
