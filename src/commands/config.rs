//! `msght config`: prints the effective settings and their origins; with `--check`, checks their stores.

use serde_json::{Map, Value, json};

use super::CommandOutcome;
use super::check::{backends_as_json, backends_as_table};
use super::output::{plain_table, pretty_json, print};
use crate::check::{BackendCheck, check_stores};
use crate::cli::{ConfigArgs, UsageError};
use crate::config::{SettingEntry, Settings};

/// Prints the settings with secrets hidden, or checks their stores.
///
/// # Errors
/// Standard output that can't be written; with `--check` also a [`UsageError`] that names the unusable stores.
pub(super) async fn run(settings: &Settings, args: &ConfigArgs) -> anyhow::Result<CommandOutcome> {
    if args.check {
        return check(settings, args).await;
    }
    let entries = settings.entries();
    print(&if args.json { as_json(&entries)? } else { as_table(&entries) })
}

fn as_json(entries: &[SettingEntry]) -> anyhow::Result<String> {
    let value = |entry: &SettingEntry| {
        let SettingEntry { value, origin, .. } = entry;
        json!({"value": value, "source": origin.kind(), "name": origin.name()})
    };
    pretty_json(&entries.iter().map(|entry| (entry.key.to_owned(), value(entry))).collect::<Map<_, _>>())
}

fn as_table(entries: &[SettingEntry]) -> String {
    let row = |entry: &SettingEntry| [entry.key.to_owned(), cell(&entry.value), entry.origin.to_string()];
    plain_table(["key", "value", "from"], entries.iter().map(row).collect())
}

/// Formats a value on one line.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// Checks the stores and the queue, and prints their status; nothing is created.
async fn check(settings: &Settings, args: &ConfigArgs) -> anyhow::Result<CommandOutcome> {
    let backends = check_stores(settings).await;
    print(&if args.json { pretty_json(&backends_as_json(&backends))? } else { backends_as_table(&backends) })?;
    let unusable = backends.iter().filter(|backend| backend.is_unusable());
    let unusable: Vec<&str> = unusable.map(|BackendCheck { name, .. }| *name).collect();
    if unusable.is_empty() {
        return Ok(CommandOutcome::Complete);
    }
    Err(UsageError::new(format!("unusable with these settings: {}", unusable.join(", "))).into())
}
