//! From [`RowBatch`] to tables: references become row ids, rows become bulk upserts, in the order of the foreign keys.
//!
//! What a row refers to may not have been read yet (a comment comes before its issue, a commit before its parent).
//! Then a row with only the natural key is made, which the entity fills when it comes: the order in which lists are
//! read doesn't matter.

mod account_identity;
mod account_relations;
mod commits;
mod deleted_rows;
mod issues;
mod organizations;
mod people;
mod profiles;
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

/// Characters of a `varchar(255)` column.
pub(super) const MAX_TEXT: usize = 255;
/// Characters of a comment's body (data model, §4).
pub(super) const MAX_BODY: usize = 256;
/// Characters of `issue_events.action_specific` (data model, §4).
pub(super) const MAX_ACTION_SPECIFIC: usize = 64;

/// One batch on its way into one transaction.
pub(super) struct BatchWriter<'a> {
    pub tx: &'a mut Tx,
    pub ids: &'a mut IdCaches,
    /// Row ids of the people in this batch.
    people: HashMap<String, i64>,
}

/// Applies a batch. The caller commits, or drops the caches if anything failed.
pub(super) async fn apply(tx: &mut Tx, ids: &mut IdCaches, rows: &RowBatch) -> Result<(), sqlx::Error> {
    let mut batch = BatchWriter { tx, ids, people: HashMap::new() };
    batch.people(rows).await?;
    batch.projects(&rows.projects).await?;
    batch.commits(rows).await?;
    batch.pulls(rows).await?;
    batch.issues(rows).await?;
    batch.relations(rows).await?;
    batch.account_ties(rows).await?;
    batch.organizations(rows).await?;
    batch.gone(rows).await?;
    batch.sync_updates(&rows.sync_updates).await
}

impl BatchWriter<'_> {
    /// Looks up rows by a list of keys: `sql` with `{}` where the marks go, the fixed parameters first.
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

    /// The row id of a person of this batch.
    fn person(&self, person: &Person) -> Value {
        self.people.get(&people::key_of(person)).copied().map_or(Value::Null, Value::Integer)
    }

    /// The row id of an account of this batch.
    fn account(&self, account: &Account) -> Option<i64> {
        self.people.get(&account_identity::account_key(account)).copied()
    }

    fn optional_person(&self, person: Option<&Person>) -> Value {
        person.map_or(Value::Null, |person| self.person(person))
    }
}

/// The id that a look-up found in a row's first column.
fn id_of(row: &[Value]) -> i64 {
    row.first().and_then(Value::as_i64).unwrap_or(0)
}

/// Cuts a text at a character boundary to what a column holds. NUL characters, which no database client shows right,
/// are left out; the document keeps them.
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
        fn a_cut_text_fits_and_is_the_beginning_of_the_text(text in any::<String>(), length in 0_usize..300) {
            let truncate = truncate(&text, length);
            prop_assert!(truncate.chars().count() <= length);
            prop_assert!(!truncate.contains('\0'));
            let whole: String = text.chars().filter(|c| *c != '\0').collect();
            prop_assert!(whole.starts_with(&truncate));
            prop_assert_eq!(truncate.chars().count(), whole.chars().count().min(length));
        }
    }
}
