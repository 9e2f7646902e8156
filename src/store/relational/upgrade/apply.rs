//! Performs the upgrade step by step. Each step is derived from the current state, so that the next run resumes an
//! interrupted one: drop foreign keys, fix blocking rows, change columns, add keys and foreign keys.

use tokio_util::sync::CancellationToken;

use super::blockers::{self, Finding, Fix};
use super::database::Database;
use super::diff::{self, ROW};
use super::introspect::{self, ExistingSchema};
use super::target::{self, Key, Table};
use crate::store::BackendError;

/// Temporary table of this connection with the rows to remove.
const SURPLUS: &str = "msght_surplus";

/// A running upgrade.
pub(super) struct UpgradeRun<'a> {
    pub database: &'a Database,
    /// Fix duplicates and orphans, too.
    pub repair: bool,
    /// Receives a line per step.
    pub report: &'a (dyn Fn(&str) + Send + Sync),
    pub stop: &'a CancellationToken,
}

/// The outcome of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StepResult {
    Continue,
    Stopped,
}

impl UpgradeRun<'_> {
    /// Brings the existing tables into their target form. `dirty`: there are blocking rows.
    pub(super) async fn run(&self, dirty: bool) -> Result<StepResult, BackendError> {
        if self.drop_references(dirty).await? == StepResult::Stopped
            || (dirty && self.clean().await? == StepResult::Stopped)
            || self.change_columns().await? == StepResult::Stopped
            || (dirty && self.repair_all(true).await? == StepResult::Stopped)
        {
            return Ok(StepResult::Stopped);
        }
        self.reserve_rows().await?;
        self.add_keys().await
    }

    fn stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    async fn existing(&self) -> Result<ExistingSchema, BackendError> {
        ExistingSchema::read(self.database).await
    }

    /// Drops foreign keys that block changes to the columns at their ends; all of them if rows will be removed.
    async fn drop_references(&self, all: bool) -> Result<StepResult, BackendError> {
        let existing = self.existing().await?;
        for table in target::tables() {
            let Some(there) = existing.tables.get(&table.name) else { continue };
            let mut names = diff::table_diff(table, &existing, self.database.is_mariadb()).drop_references;
            if all {
                names = there.references.iter().map(|reference| reference.name.clone()).collect();
                names.dedup();
            }
            if names.is_empty() {
                continue;
            }
            if self.stopped() {
                return Ok(StepResult::Stopped);
            }
            let clauses: Vec<String> = names.iter().map(|name| format!("DROP FOREIGN KEY `{name}`")).collect();
            self.alter(&table.name, &clauses, "dropping foreign keys, to be recreated").await?;
        }
        Ok(StepResult::Continue)
    }

    /// Fixes blocking rows as far as the current columns allow.
    async fn clean(&self) -> Result<StepResult, BackendError> {
        // Rows without a key or with dangling references first: the rest is worth comparing.
        if self.repair_all(false).await? == StepResult::Stopped {
            return Ok(StepResult::Stopped);
        }
        if !self.repair {
            return Ok(StepResult::Continue);
        }
        // Referenced tables first: merging two rows may give others the same key.
        let mut existing = self.existing().await?;
        for table in target::tables() {
            for key in table.unique_keys() {
                if self.stopped() {
                    return Ok(StepResult::Stopped);
                }
                let Some(there) = existing.tables.get(&table.name) else { continue };
                if !blockers::is_unique_already(table, there, key)
                    && self.keep_newest(table, &existing, there, key).await?
                {
                    // Keys may have been dropped.
                    existing = self.existing().await?;
                }
            }
        }
        Ok(StepResult::Continue)
    }

    /// Fixes values and references: those that become NULL, which requires changed columns, or the others.
    async fn repair_all(&self, to_null: bool) -> Result<StepResult, BackendError> {
        let existing = self.existing().await?;
        for table in target::tables() {
            let Some(there) = existing.tables.get(&table.name) else { continue };
            for finding in blockers::values(table, there).iter().chain(&blockers::orphans(table, &existing)) {
                if finding.becomes_null() != to_null {
                    continue;
                }
                if self.stopped() {
                    return Ok(StepResult::Stopped);
                }
                self.repair_rows(table, there, finding).await?;
            }
        }
        Ok(StepResult::Continue)
    }

    async fn repair_rows(
        &self,
        table: &Table,
        there: &introspect::Table,
        finding: &Finding,
    ) -> Result<(), BackendError> {
        let may = match finding.fix {
            Fix::Automatic(_) => true,
            Fix::WithRepair(_) => self.repair,
            Fix::Manual(_) => false,
        };
        if !may {
            return Ok(());
        }
        let sql = match &finding.set {
            Some(value) => {
                let keeping = keep_auto_dates(there, &finding.column);
                format!(
                    "UPDATE `{}` t SET t.`{}` = {value}{keeping} WHERE {}",
                    table.name, finding.column, finding.condition
                )
            }
            None => format!("DELETE t FROM `{}` t WHERE {}", table.name, finding.condition),
        };
        let rows = self.database.execute(&sql).await?;
        if rows > 0 {
            let what = finding.what.as_str();
            (self.report)(&format!("{}: {rows} rows whose {what} set right", table.name));
        }
        Ok(())
    }

    /// Keeps the newest row of each key: that with the highest id, else the last created. Returns whether there were
    /// duplicates.
    async fn keep_newest(
        &self,
        table: &Table,
        existing: &ExistingSchema,
        there: &introspect::Table,
        key: &Key,
    ) -> Result<bool, BackendError> {
        let Some(expressions) = blockers::key_expressions(table, there, key, self.database.is_mariadb()) else {
            return Ok(false);
        };
        let (name, has_key, partition) = (&table.name, blockers::has_key(&expressions), expressions.join(", "));
        let groups = format!("SELECT 1 FROM `{name}` WHERE {has_key} GROUP BY {partition} HAVING count(*) > 1 LIMIT 1");
        if self.database.rows(&groups).await?.is_empty() {
            return Ok(false);
        }
        let id = if table.has_id() { "id" } else { ROW };
        if id == ROW && !there.columns.contains_key(ROW) {
            let clause = format!("ADD COLUMN {ROW} BIGINT NOT NULL AUTO_INCREMENT, ADD UNIQUE KEY {ROW} ({ROW})");
            self.alter(name, &[clause], "numbering rows").await?;
        }
        let dated = id == ROW && there.columns.contains_key("created_at");
        let newest_first = if dated { format!("created_at DESC, {ROW} DESC") } else { format!("{id} DESC") };
        self.database.execute(&format!("DROP TEMPORARY TABLE IF EXISTS {SURPLUS}")).await?;
        self.database
            .execute(&format!(
                "CREATE TEMPORARY TABLE {SURPLUS} (old BIGINT NOT NULL PRIMARY KEY, kept BIGINT NOT NULL) ENGINE = InnoDB \
                 SELECT old, kept FROM (SELECT {id} AS old, first_value({id}) OVER (PARTITION BY {partition} \
                 ORDER BY {newest_first}) AS kept FROM `{name}` WHERE {has_key}) numbered WHERE old <> kept"
            ))
            .await?;
        if table.has_id() {
            self.repoint(table, existing).await?;
        }
        let removed = format!("DELETE t FROM `{name}` t JOIN {SURPLUS} s ON s.old = t.`{id}`");
        let rows = self.database.execute(&removed).await?;
        self.database.execute(&format!("DROP TEMPORARY TABLE IF EXISTS {SURPLUS}")).await?;
        (self.report)(&format!(
            "{name}: {rows} rows removed, of which a newer one has the same {}",
            key.columns.join(", ")
        ));
        Ok(true)
    }

    /// Redirects references from removed rows to the kept ones.
    async fn repoint(&self, table: &Table, existing: &ExistingSchema) -> Result<(), BackendError> {
        for other in target::tables() {
            let Some(there) = existing.tables.get(&other.name) else { continue };
            for reference in other.references.iter().filter(|reference| reference.table == table.name) {
                let (name, column) = (&other.name, &reference.column);
                if !there.columns.contains_key(column) {
                    continue;
                }
                let unique: Vec<(&String, &introspect::Index)> =
                    there.indexes.iter().filter(|(_, index)| index.unique && index.columns.contains(column)).collect();
                // Two rows may end up with the same key. Those with ids are merged later, after their key is dropped;
                // of the others the second is a duplicate of the first.
                if other.has_id() {
                    let drops: Vec<String> = unique.iter().map(|(index, _)| format!("DROP INDEX `{index}`")).collect();
                    if !drops.is_empty() {
                        self.alter(name, &drops, "dropping a key, to be recreated").await?;
                    }
                }
                let ignore = if other.has_id() || unique.is_empty() { "" } else { "IGNORE " };
                let keeping = keep_auto_dates(there, column);
                self.database
                    .execute(&format!(
                        "UPDATE {ignore}`{name}` t JOIN {SURPLUS} s ON s.old = t.`{column}` SET t.`{column}` = s.kept{keeping}"
                    ))
                    .await?;
                if !ignore.is_empty() {
                    let left = format!("DELETE t FROM `{name}` t JOIN {SURPLUS} s ON s.old = t.`{column}`");
                    self.database.execute(&left).await?;
                }
            }
        }
        Ok(())
    }

    async fn change_columns(&self) -> Result<StepResult, BackendError> {
        let existing = self.existing().await?;
        for table in target::tables() {
            let changes = diff::table_diff(table, &existing, self.database.is_mariadb());
            let clauses = changes.of_columns();
            if clauses.is_empty() {
                continue;
            }
            if self.stopped() {
                return Ok(StepResult::Stopped);
            }
            self.alter(&table.name, &clauses, "changing columns").await?;
        }
        Ok(StepResult::Continue)
    }

    async fn add_keys(&self) -> Result<StepResult, BackendError> {
        // All keys precede the first foreign key, which needs that of the table it refers to.
        for step in [diff::TableDiff::of_keys, references] {
            let existing = self.existing().await?;
            for table in target::tables() {
                let clauses = step(&diff::table_diff(table, &existing, self.database.is_mariadb()));
                if clauses.is_empty() {
                    continue;
                }
                if self.stopped() {
                    return Ok(StepResult::Stopped);
                }
                self.alter(&table.name, &clauses, "adding keys").await?;
            }
        }
        Ok(StepResult::Continue)
    }

    async fn reserve_rows(&self) -> Result<(), BackendError> {
        let existing = self.existing().await?;
        if ["users", "projects"].iter().all(|table| existing.tables.contains_key(*table)) {
            for statement in target::reserved_rows() {
                self.database.execute(statement).await?;
            }
        }
        Ok(())
    }

    async fn alter(&self, table: &str, clauses: &[String], doing: &str) -> Result<(), BackendError> {
        (self.report)(&format!("{table}: {doing}"));
        self.database.execute(&format!("ALTER TABLE `{table}` {}", clauses.join(", "))).await.map(drop)
    }
}

/// Returns the foreign keys to add to a table. Those to tables yet to be created come with them.
fn references(changes: &diff::TableDiff) -> Vec<String> {
    changes.add_references.iter().map(|(_, clause)| clause.clone()).collect()
}

/// Returns assignments that preserve dates which the server would otherwise set to now on every update.
fn keep_auto_dates(there: &introspect::Table, but: &str) -> String {
    let kept = there.columns.iter().filter(|(name, column)| column.extra.contains("on update") && *name != but);
    kept.map(|(name, _)| format!(", t.`{name}` = t.`{name}`")).collect()
}
