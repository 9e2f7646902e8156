//! The difference between existing and target tables.
//!
//! It is computed from the current state, so that an interrupted upgrade resumes anywhere.

use super::introspect::{self, ExistingSchema};
use super::target::{self, Column, Key, Kind, PRIMARY, Table};

/// Temporary column that numbers the rows of a table without ids while duplicates are removed.
pub(super) const ROW: &str = "msght_row";

/// Collations for case-insensitive and exact comparison.
const LOOSE: &str = "utf8mb4_general_ci";
const EXACT_ON_MARIADB: &str = "utf8mb4_nopad_bin";
const EXACT_ON_MYSQL: &str = "utf8mb4_0900_bin";

/// Changes to one table, as clauses of `ALTER TABLE`.
#[derive(Debug, Default)]
pub(super) struct TableDiff {
    /// Table options (engine, row format, character set): summary and clause.
    pub options: Vec<(String, String)>,
    /// Columns to add and to change: name and clause.
    pub add: Vec<(String, String)>,
    pub modify: Vec<(String, String)>,
    /// Primary key of an auto-increment column, which must be added together with it.
    pub id_key: Option<String>,
    /// Conflicting indexes to drop, and indexes to add: name and clause.
    pub drop_keys: Vec<String>,
    pub add_keys: Vec<(String, String)>,
    /// Foreign keys to drop, and to add: name and clause.
    pub drop_references: Vec<String>,
    pub add_references: Vec<(String, String)>,
}

impl TableDiff {
    /// Returns the clauses that change columns.
    pub(super) fn of_columns(&self) -> Vec<String> {
        let clauses = self.options.iter().chain(&self.add).chain(&self.modify).map(|(_, clause)| clause.clone());
        clauses.chain(self.id_key.clone()).collect()
    }

    /// Returns the clauses that change indexes.
    pub(super) fn of_keys(&self) -> Vec<String> {
        let dropped = self.drop_keys.iter().cloned();
        dropped.chain(self.add_keys.iter().map(|(_, clause)| clause.clone())).collect()
    }

    /// Returns a summary for users.
    pub(super) fn summary(&self) -> String {
        let names =
            |list: &[(String, String)]| list.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
        let mut parts: Vec<String> = self.options.iter().map(|(short, _)| short.clone()).collect();
        for (what, list) in [("add", &self.add), ("change", &self.modify), ("key", &self.add_keys)] {
            if !list.is_empty() {
                parts.push(format!("{what} {}", names(list)));
            }
        }
        parts.extend(self.id_key.as_ref().map(|_| "primary key id".to_owned()));
        if !self.add_references.is_empty() {
            parts.push(format!("{} foreign keys", self.add_references.len()));
        }
        parts.join("; ")
    }
}

/// Returns the collation of a text column.
pub(super) fn collation(exact: bool, mariadb: bool) -> &'static str {
    match (exact, mariadb) {
        (false, _) => LOOSE,
        (true, true) => EXACT_ON_MARIADB,
        (true, false) => EXACT_ON_MYSQL,
    }
}

/// Computes the changes to an existing table.
pub(super) fn table_diff(table: &Table, existing: &ExistingSchema, mariadb: bool) -> TableDiff {
    let Some(there) = existing.tables.get(&table.name) else { return TableDiff::default() };
    let mut changes = TableDiff::default();
    if there.engine != "InnoDB" {
        changes.options.push(("InnoDB".to_owned(), "ENGINE = InnoDB".to_owned()));
    }
    if there.row_format != "Dynamic" {
        // Older formats hold only the first 767 bytes of a key.
        changes.options.push(("long keys".to_owned(), "ROW_FORMAT = DYNAMIC".to_owned()));
    }
    if there.collation != LOOSE {
        let clause = format!("DEFAULT CHARACTER SET utf8mb4 COLLATE {LOOSE}");
        changes.options.push(("utf8mb4".to_owned(), clause));
    }
    for column in &table.columns {
        let name = &column.name;
        match there.columns.get(name) {
            None => {
                changes.add.push((name.clone(), format!("ADD COLUMN {}", definition(table, column, None, mariadb))));
            }
            Some(found) if matches_target(table, column, found, mariadb) => {}
            Some(found) => {
                let clause = format!("MODIFY COLUMN {}", definition(table, column, Some(found), mariadb));
                changes.modify.push((name.clone(), clause));
            }
        }
    }
    keys(table, there, &mut changes);
    references(table, there, existing, mariadb, &mut changes);
    changes
}

fn keys(table: &Table, there: &introspect::Table, changes: &mut TableDiff) {
    for key in &table.keys {
        let counts_up = key.columns.iter().any(|name| table.column(name).is_some_and(|column| column.auto_increment));
        let satisfied = if key.name == PRIMARY {
            there.indexes.get(PRIMARY).is_some_and(|index| index.is_of(&key.columns))
        } else if key.unique {
            there.is_unique(&key.columns)
        } else {
            there.is_indexed(&key.columns)
        };
        if satisfied {
            continue;
        }
        let in_the_way = there.indexes.contains_key(&key.name);
        let clause = format!("ADD {}", key_definition(key));
        if key.name == PRIMARY && counts_up {
            let drop = if in_the_way { "DROP PRIMARY KEY, " } else { "" };
            changes.id_key = Some(format!("{drop}{clause}"));
            continue;
        }
        if in_the_way {
            changes.drop_keys.push(if key.name == PRIMARY {
                "DROP PRIMARY KEY".to_owned()
            } else {
                format!("DROP INDEX `{}`", key.name)
            });
        }
        changes.add_keys.push((key.name.clone(), clause));
    }
    if there.columns.contains_key(ROW) {
        changes.drop_keys.push(format!("DROP COLUMN {ROW}"));
    }
}

/// Computes the changes to foreign keys: one blocks changes to the columns at both its ends.
fn references(
    table: &Table,
    there: &introspect::Table,
    existing: &ExistingSchema,
    mariadb: bool,
    changes: &mut TableDiff,
) {
    let changing = |name: &str| {
        target::tables()
            .iter()
            .find(|table| table.name == name)
            .is_some_and(|table| existing.tables.get(name).is_some_and(|there| columns_change(table, there, mariadb)))
    };
    let changing_here = columns_change(table, there, mariadb);
    for reference in &table.references {
        let stays = there.references.iter().any(|found| {
            found.name == reference.name
                && found.column == reference.column
                && found.table == reference.table
                && found.key == reference.key
        });
        if !stays || changing_here || changing(&reference.table) {
            changes.add_references.push((
                reference.name.clone(),
                format!(
                    "ADD CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {} ({})",
                    reference.name, reference.column, reference.table, reference.key
                ),
            ));
        }
    }
    for found in &there.references {
        let wanted = table.references.iter().any(|reference| reference.name == found.name);
        let added = changes.add_references.iter().any(|(name, _)| *name == found.name);
        if (!wanted || added) && !changes.drop_references.contains(&found.name) {
            changes.drop_references.push(found.name.clone());
        }
    }
}

fn columns_change(table: &Table, there: &introspect::Table, mariadb: bool) -> bool {
    there.engine != "InnoDB"
        || table.columns.iter().any(|column| {
            there.columns.get(&column.name).is_none_or(|found| !matches_target(table, column, found, mariadb))
        })
}

/// Returns whether a column needs no change. A wider text will do, except in a key.
fn matches_target(table: &Table, column: &Column, found: &introspect::Column, mariadb: bool) -> bool {
    let default = |text: &str| text.trim_matches('\'').to_owned();
    let same_default = column
        .default
        .as_deref()
        .is_none_or(|wanted| found.default.as_deref().is_some_and(|found| default(found) == default(wanted)));
    let same_type = match &column.kind {
        Kind::Integer => found.data_type == "bigint" && !found.column_type.contains("unsigned"),
        Kind::Flag => found.data_type == "tinyint",
        Kind::Date => found.data_type == "datetime",
        Kind::Decimal(text) => found.column_type == text.to_lowercase(),
        Kind::Text { characters, exact, .. } => {
            let fits = matches!(found.data_type.as_str(), "varchar" | "char")
                || (found.is_text() && !in_a_key(table, &column.name));
            fits && found.characters.is_some_and(|there| there >= *characters)
                && found.collation.as_deref() == Some(collation(*exact, mariadb))
        }
    };
    same_type
        && same_default
        && found.nullable == column.nullable
        && found.extra.contains("auto_increment") == column.auto_increment
        && found.extra.contains("generated") == column.generated.is_some()
}

fn in_a_key(table: &Table, column: &str) -> bool {
    table.keys.iter().any(|key| key.columns.iter().any(|name| name == column))
}

/// Renders a column's definition. A wider text keeps its width where possible.
fn definition(table: &Table, column: &Column, found: Option<&introspect::Column>, mariadb: bool) -> String {
    let mut sql = format!("`{}` ", column.name);
    match &column.kind {
        Kind::Integer => sql.push_str("BIGINT"),
        Kind::Flag => sql.push_str("BOOLEAN"),
        Kind::Date => sql.push_str("DATETIME"),
        Kind::Decimal(text) => sql.push_str(text),
        Kind::Text { characters, fixed, exact } => {
            let wider = found.filter(|found| found.is_text() && found.characters.is_some_and(|n| n > *characters));
            match wider {
                Some(found) if found.data_type.ends_with("text") && !in_a_key(table, &column.name) => {
                    sql.push_str(&found.data_type);
                }
                Some(found) if matches!(found.data_type.as_str(), "varchar" | "char") => {
                    sql.push_str(&found.column_type);
                }
                _ => sql.push_str(&format!("{}({characters})", if *fixed { "CHAR" } else { "VARCHAR" })),
            }
            sql.push_str(&format!(" CHARACTER SET utf8mb4 COLLATE {}", collation(*exact, mariadb)));
        }
    }
    if let Some(expression) = &column.generated {
        sql.push_str(&format!(" GENERATED ALWAYS AS ({expression}) VIRTUAL /*!80023 INVISIBLE*/ /*M! INVISIBLE*/"));
        return sql;
    }
    sql.push_str(if column.nullable { " NULL" } else { " NOT NULL" });
    if let Some(default) = &column.default {
        sql.push_str(&format!(" DEFAULT {default}"));
    }
    if column.auto_increment {
        sql.push_str(" AUTO_INCREMENT");
    }
    sql
}

fn key_definition(key: &Key) -> String {
    let columns = key.columns.iter().map(|column| format!("`{column}`")).collect::<Vec<_>>().join(", ");
    match (key.name.as_str(), key.unique) {
        (PRIMARY, _) => format!("PRIMARY KEY ({columns})"),
        (name, true) => format!("UNIQUE KEY `{name}` ({columns})"),
        (name, false) => format!("KEY `{name}` ({columns})"),
    }
}

/// Returns the maximum length of a text column that shrinks.
pub(super) fn text_limit(table: &Table, column: &Column, found: &introspect::Column) -> Option<u64> {
    let Kind::Text { characters, .. } = column.kind else { return None };
    let shrinks = found.is_text() && found.data_type.ends_with("text") && in_a_key(table, &column.name);
    shrinks.then_some(characters)
}
