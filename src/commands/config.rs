//! `msght config`: the effective settings and where each came from; with `--check`, what they lead to.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Outcome, plain_table, print};
use crate::cli::{ConfigArgs, UsageError};
use crate::config::{Entry, Settings, StoreUrl};
use crate::patience::Patience;
use crate::queue::{self, Route};
use crate::store::look::Found;
use crate::store::{self, StoreError, documents, relational};

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
    // Whoever asks wants to know how it is now.
    let patience = Patience::new(Duration::ZERO, |_| {});
    let Settings { documents, sql, queue, .. } = settings;
    let routes = [Route::Projects, Route::Users];
    let checked = [
        ("documents", &documents.url, documents::look(&documents.url, &patience).await),
        ("sql", &sql.url, look_at_tables(&documents.url, &sql.url, &patience).await),
        ("queue", &queue.url, queue::look(&queue.url, &queue.exchange, &routes, &patience).await),
    ];
    let unusable: Vec<&str> = checked.iter().filter(|(_, _, looked)| looked.is_err()).map(|(name, ..)| *name).collect();
    let text = if args.json {
        let object: Map<String, Value> =
            checked.iter().map(|(name, url, looked)| ((*name).to_owned(), looked_as_json(url, looked))).collect();
        format!("{}\n", serde_json::to_string_pretty(&object)?)
    } else {
        let row = |(name, url, looked): &(&str, &StoreUrl, Result<Found, StoreError>)| match looked {
            Ok(found) => [(*name).to_owned(), found.product.clone(), found.place.clone(), found.state.clone()],
            Err(error) => [(*name).to_owned(), "unusable".to_owned(), url.to_string(), problem(error)],
        };
        plain_table(["store", "product", "place", "found"], checked.iter().map(row).collect())
    };
    print(text.as_bytes())?;
    if unusable.is_empty() {
        return Ok(Outcome::Complete);
    }
    Err(UsageError::new(format!("can't be used as set: {}", unusable.join(", "))).into())
}

async fn look_at_tables(documents: &StoreUrl, sql: &StoreUrl, patience: &Patience) -> Result<Found, StoreError> {
    store::refuse_same_file(documents, sql)?;
    relational::look(sql, patience).await
}

fn problem(error: &StoreError) -> String {
    format!("{}; {}", error.problem, error.advice)
}

fn looked_as_json(url: &StoreUrl, looked: &Result<Found, StoreError>) -> Value {
    match looked {
        Ok(found) => {
            json!({"url": url.to_string(), "usable": true, "product": found.product, "place": found.place, "found": found.state})
        }
        Err(error) => {
            json!({"url": url.to_string(), "usable": false, "problem": error.problem, "advice": error.advice})
        }
    }
}
