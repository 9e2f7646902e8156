//! Applies a [`RowBatch`]: resolves references to row ids and upserts rows in bulk, in the order of the foreign keys.
//!
//! A row may refer to one that has not been read yet (a comment before its issue, a commit before its parent). A stub
//! with only the natural key is inserted then and filled later, so that the order in which lists are read doesn't
//! matter.

mod account_identity;
mod account_relations;
mod commits;
mod deleted_items;
mod events;
mod issues;
mod organizations;
mod people;
mod profiles;
mod project_metadata;
mod project_users;
mod projects;
mod pulls;
mod sync_updates;

use std::collections::HashMap;

pub(super) use commits::STUBS as COMMIT_STUBS;

use super::backend::Tx;
use super::batch::RowBatch;
use super::id_caches::IdCaches;
use super::rows::{Account, Person};
use super::sql::{Value, placeholders};

/// Maximum characters of a `varchar(255)` column.
pub(super) const MAX_TEXT: usize = 255;
/// Maximum characters of a comment's body (`docs/data-model.md`, "commit_comments").
pub(super) const MAX_BODY: usize = 256;
/// Maximum characters of `issue_events.action_specific` (`docs/data-model.md`, "issue_events").
pub(super) const MAX_ACTION_SPECIFIC: usize = 64;

/// The writer of one batch, in one transaction.
pub(super) struct BatchWriter<'a> {
    pub tx: &'a mut Tx,
    pub ids: &'a mut IdCaches,
    /// Row ids of the people in this batch, by their keys.
    people: HashMap<String, i64>,
}

/// Applies a batch. The caller commits, or drops the caches on failure.
pub(super) async fn apply(tx: &mut Tx, ids: &mut IdCaches, rows: &RowBatch) -> Result<(), sqlx::Error> {
    let mut batch = BatchWriter { tx, ids, people: HashMap::new() };
    batch.people(rows).await?;
    batch.projects(&rows.projects).await?;
    batch.commits(rows).await?;
    batch.pulls(rows).await?;
    batch.issues(rows).await?;
    batch.project_metadata(rows).await?;
    batch.project_users(rows).await?;
    batch.account_relations(rows).await?;
    batch.organizations(rows).await?;
    batch.tombstone_items(rows).await?;
    batch.events(&rows.events).await?;
    batch.sync_updates(&rows.sync_updates).await
}

impl BatchWriter<'_> {
    /// Queries by a list of keys: `{}` in `sql` stands for the placeholders, which follow the fixed parameters.
    async fn lookup(&mut self, sql: &str, fixed: &[Value], keys: &[Value]) -> Result<Vec<Vec<Value>>, sqlx::Error> {
        let most = self.tx.keys_per_lookup();
        let sql = sql.replace("{}", &placeholders(most));
        let mut found = Vec::with_capacity(keys.len());
        for chunk in keys.chunks(most) {
            let mut params = fixed.to_vec();
            params.extend((0..most).map(|position| chunk[position.min(chunk.len() - 1)].clone()));
            found.extend(self.tx.fetch(&sql, params).await?);
        }
        Ok(found)
    }

    /// Returns the row id of a person of this batch.
    fn person(&self, person: &Person) -> Value {
        self.people.get(&people::key_of(person)).copied().map_or(Value::Null, Value::Integer)
    }

    /// Returns the row id of an account of this batch.
    fn account(&self, account: &Account) -> Option<i64> {
        self.people.get(&account_identity::account_key(account)).copied()
    }

    fn optional_person(&self, person: Option<&Person>) -> Value {
        person.map_or(Value::Null, |person| self.person(person))
    }
}

/// Returns the id in the first column of a row.
fn id_of(row: &[Value]) -> i64 {
    row.first().and_then(Value::as_i64).unwrap_or(0)
}

/// Truncates a text at a character boundary to what a column holds. Drops NUL characters, which no database client
/// shows right; the document keeps them.
pub(super) fn truncate(text: &str, characters: usize) -> String {
    text.chars().filter(|c| *c != '\0').take(characters).collect()
}

pub(super) fn truncate_option(text: Option<&String>, characters: usize) -> Value {
    text.map(|text| truncate(text, characters)).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn truncated_text_fits_and_is_a_prefix(text in any::<String>(), length in 0_usize..300) {
            let truncate = truncate(&text, length);
            prop_assert!(truncate.chars().count() <= length);
            prop_assert!(!truncate.contains('\0'));
            let whole: String = text.chars().filter(|c| *c != '\0').collect();
            prop_assert!(whole.starts_with(&truncate));
            prop_assert_eq!(truncate.chars().count(), whole.chars().count().min(length));
        }
    }
}
