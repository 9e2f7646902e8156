//! Converts JSON to BSON and back, without loss.
//!
//! Integers are stored as 64-bit, `_msght`'s dates as dates, everything else as in JSON and in its order. Member names
//! that MongoDB can't store or query are escaped: a leading `$` as `%24`, a dot as `%2E`, NUL as `%00`, an empty name
//! as `%`, a top-level `_id` as `%5Fid`; a `%` that would be mistaken for one of these as `%25`. Anything nested deeper
//! than MongoDB allows is stored as its JSON text.

use chrono::{DateTime as UtcDate, Utc};
use mongodb::bson::{DateTime, Decimal128, RawArrayBuf, RawBson, RawBsonRef, RawDocument, RawDocumentBuf};
use serde_json::{Map, Number, Value};

use super::error::MongoError;
use super::layout::{META, append};
use crate::json::MAX_DEPTH;
use crate::store::documents::merge::WITHOUT;
use crate::store::documents::{REPOSITORY_ID, timestamp};

/// The dates in `_msght` that readers of documents see; the rest is bookkeeping.
const DATES: [&str; 3] = ["fetched_at", "detailed_at", "deleted_at"];

/// The escapes and what they stand for.
const ESCAPES: [(&str, &str); 5] = [("%24", "$"), ("%2E", "."), ("%00", "\0"), ("%25", "%"), ("%5F", "_")];

/// Converts a document's members to BSON.
pub(super) fn to_bson(object: &Map<String, Value>) -> Result<RawDocumentBuf, MongoError> {
    let mut document = RawDocumentBuf::new();
    for (key, value) in object {
        let key = if key == "_id" { "%5Fid".to_owned() } else { escape_name(key) };
        append(&mut document, &key, value_to_bson(value, 1)?)?;
    }
    Ok(document)
}

fn value_to_bson(value: &Value, depth: usize) -> Result<RawBson, MongoError> {
    Ok(match value {
        Value::Array(_) | Value::Object(_) if depth >= MAX_DEPTH => RawBson::String(value.to_string()),
        Value::Null => RawBson::Null,
        Value::Bool(flag) => RawBson::Boolean(*flag),
        Value::String(text) => RawBson::String(text.clone()),
        Value::Number(number) => number_to_bson(number),
        Value::Array(values) => {
            let mut array = RawArrayBuf::new();
            for value in values {
                array.push(value_to_bson(value, depth + 1)?);
            }
            RawBson::Array(array)
        }
        Value::Object(members) => {
            let mut document = RawDocumentBuf::new();
            for (key, value) in members {
                append(&mut document, &escape_name(key), value_to_bson(value, depth + 1)?)?;
            }
            RawBson::Document(document)
        }
    })
}

fn number_to_bson(number: &Number) -> RawBson {
    match (number.as_i64(), number.is_u64()) {
        (Some(integer), _) => RawBson::Int64(integer),
        // Only a decimal keeps all digits of an integer beyond 63 bits.
        (None, true) => match number.to_string().parse::<Decimal128>() {
            Ok(decimal) => RawBson::Decimal128(decimal),
            Err(_) => RawBson::Double(number.as_f64().unwrap_or(f64::NAN)),
        },
        (None, false) => RawBson::Double(number.as_f64().unwrap_or(f64::NAN)),
    }
}

/// Parses a date of `_msght`.
pub(super) fn date(text: &str) -> Option<DateTime> {
    UtcDate::parse_from_rfc3339(text).ok().map(|date| DateTime::from_millis(date.timestamp_millis()))
}

/// Converts a stored document back to its JSON, with `_msght` as in the embedded store.
pub(super) fn to_json(document: &RawDocument) -> Result<Value, MongoError> {
    let mut object = Map::new();
    for member in document {
        let (key, value) = member.map_err(MongoError::from_bson)?;
        let value = match (key.as_str(), value) {
            ("_id", _) => continue,
            (META, RawBsonRef::Document(meta)) => visible_meta(meta)?,
            (_, value) => value_to_json(value)?,
        };
        object.insert(unescape_name(key.as_str()), value);
    }
    Ok(Value::Object(object))
}

fn visible_meta(meta: &RawDocument) -> Result<Value, MongoError> {
    let mut shown = Map::new();
    for member in DATES.into_iter().chain([WITHOUT, REPOSITORY_ID]) {
        if let Some(value) = meta.get(member).map_err(MongoError::from_bson)? {
            shown.insert(member.to_owned(), value_to_json(value)?);
        }
    }
    Ok(Value::Object(shown))
}

fn value_to_json(value: RawBsonRef<'_>) -> Result<Value, MongoError> {
    Ok(match value {
        RawBsonRef::Null | RawBsonRef::Undefined => Value::Null,
        RawBsonRef::Boolean(flag) => Value::Bool(flag),
        RawBsonRef::String(text) | RawBsonRef::Symbol(text) => Value::from(text),
        RawBsonRef::Int32(number) => Value::from(number),
        RawBsonRef::Int64(number) => Value::from(number),
        RawBsonRef::Double(number) => Value::from(number),
        RawBsonRef::Decimal128(decimal) => {
            let text = decimal.to_string();
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        }
        // Documents written by other tools hold more types than JSON.
        RawBsonRef::DateTime(date) => match UtcDate::<Utc>::from_timestamp_millis(date.timestamp_millis()) {
            Some(date) => Value::from(timestamp(date)),
            None => Value::from(date.timestamp_millis()),
        },
        RawBsonRef::ObjectId(id) => Value::from(id.to_hex()),
        RawBsonRef::Array(values) => {
            let mut array = Vec::new();
            for value in values {
                array.push(value_to_json(value.map_err(MongoError::from_bson)?)?);
            }
            Value::Array(array)
        }
        RawBsonRef::Document(document) => {
            let mut object = Map::new();
            for member in document {
                let (key, value) = member.map_err(MongoError::from_bson)?;
                object.insert(unescape_name(key.as_str()), value_to_json(value)?);
            }
            Value::Object(object)
        }
        other => Value::from(format!("{other:?}")),
    })
}

fn escape_name(key: &str) -> String {
    if key.is_empty() {
        return "%".to_owned();
    }
    if !key.starts_with('$') && !key.contains(['.', '\0', '%']) {
        return key.to_owned();
    }
    let mut name = String::with_capacity(key.len() + 8);
    for (position, character) in key.char_indices() {
        match character {
            '$' if position == 0 => name.push_str("%24"),
            '.' => name.push_str("%2E"),
            '\0' => name.push_str("%00"),
            '%' if key == "%" || ESCAPES.iter().any(|(escape, _)| key[position..].starts_with(escape)) => {
                name.push_str("%25");
            }
            other => name.push(other),
        }
    }
    name
}

fn unescape_name(name: &str) -> String {
    if name == "%" {
        return String::new();
    }
    let mut key = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(position) = rest.find('%') {
        key.push_str(&rest[..position]);
        rest = &rest[position..];
        let (skip, plain) = match ESCAPES.iter().find(|(escape, _)| rest.starts_with(escape)) {
            Some((escape, plain)) => (escape.len(), *plain),
            None => (1, "%"),
        };
        key.push_str(plain);
        rest = &rest[skip..];
    }
    key + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn numbers_keep_type_and_digits() {
        let value = json!({"a": 1, "b": 1.0, "c": i64::MIN, "d": u64::MAX, "e": -0.5, "f": 3_000_000_000_i64});
        let bson = to_bson(value.as_object().unwrap()).unwrap();
        assert_eq!(bson.get_i64("a").unwrap(), 1);
        assert_eq!(bson.get_f64("b").unwrap(), 1.0);
        assert_eq!(to_json(&bson).unwrap(), value);
    }

    #[test]
    fn escaped_names_round_trip() {
        for (key, name) in [
            ("$ref", "%24ref"),
            ("a.b", "a%2Eb"),
            ("a$", "a$"),
            ("", "%"),
            ("%", "%25"),
            ("100%", "100%"),
            ("%24", "%2524"),
            ("%2525", "%252525"),
            ("\0", "%00"),
            ("_id", "_id"),
        ] {
            assert_eq!(escape_name(key), name);
            assert_eq!(unescape_name(name), key);
        }
        let value = json!({"_id": 1, "x": {"_id": 2, "$a.b": [{"": null}]}});
        assert_eq!(to_json(&to_bson(value.as_object().unwrap()).unwrap()).unwrap(), value);
    }

    proptest! {
        #[test]
        fn any_name_round_trips(key in "[%$._\\x00a2450EF]{0,8}") {
            prop_assert_eq!(unescape_name(&escape_name(&key)), key);
        }
    }
}
