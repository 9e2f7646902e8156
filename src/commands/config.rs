//! `msght config`: the effective settings and where each came from; with `--check`, what they lead to.

use serde_json::{Map, Value, json};

use super::check::{part_as_json, parts_as_table};
use super::{Outcome, plain_table, print};
use crate::check::look_at_stores;
use crate::cli::{ConfigArgs, UsageError};
use crate::config::{Entry, Settings};

/// Prints the settings, secrets hidden.
///
/// # Errors
/// Standard output that can't be written.
pub fn run(settings: &Settings, args: &ConfigArgs) -> anyhow::Result<Outcome> {
    let entries = settings.entries();
    let text = if args.json { json_of(&entries)? } else { table_of(&entries) };
    print(text.as_bytes())
}

fn json_of(entries: &[Entry]) -> anyhow::Result<String> {
    let object: Map<String, Value> = entries
        .iter()
        .map(|entry| {
            let shown = json!({"value": entry.value, "source": entry.origin.kind(), "name": entry.origin.name()});
            (entry.key.to_owned(), shown)
        })
        .collect();
    Ok(format!("{}\n", serde_json::to_string_pretty(&object)?))
}

fn table_of(entries: &[Entry]) -> String {
    let row = |entry: &Entry| [entry.key.to_owned(), cell(&entry.value), entry.origin.to_string()];
    plain_table(["key", "value", "from"], entries.iter().map(row).collect())
}

/// A value on one line.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// Looks at the stores and the queue, each by itself, and says what is there; nothing is made.
///
/// # Errors
/// Standard output that can't be written, or a [`UsageError`] when any of them can't be used.
pub async fn check(settings: &Settings, args: &ConfigArgs) -> anyhow::Result<Outcome> {
    let parts = look_at_stores(settings).await;
    let text = if args.json {
        let object: Map<String, Value> = parts.iter().map(|part| (part.name.to_owned(), part_as_json(part))).collect();
        format!("{}\n", serde_json::to_string_pretty(&object)?)
    } else {
        parts_as_table(&parts)
    };
    print(text.as_bytes())?;
    let unusable: Vec<&str> = parts.iter().filter(|part| part.is_unusable()).map(|part| part.name).collect();
    if unusable.is_empty() {
        return Ok(Outcome::Complete);
    }
    Err(UsageError::new(format!("can't be used as set: {}", unusable.join(", "))).into())
}
