//! `msght config`: the effective settings and where each came from.

use comfy_table::{Table, presets};
use serde_json::{Map, Value, json};

use super::{Outcome, print};
use crate::cli::ConfigArgs;
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
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["key", "value", "from"]);
    for entry in entries {
        table.add_row([entry.key.to_owned(), cell(&entry.value), cell(&Value::String(entry.origin.to_string()))]);
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim().to_owned()).collect();
    format!("{}\n", lines.join("\n"))
}

/// A value on one line, with its control characters escaped.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => {
            text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
        }
        Value::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}
