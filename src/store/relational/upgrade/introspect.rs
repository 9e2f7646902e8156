//! Introspection of a database's tables, columns, indexes and foreign keys.

use std::collections::BTreeMap;

use super::database::{Database, flag, number, text};
use crate::store::BackendError;

/// A database's tables.
#[derive(Debug, Default)]
pub(super) struct ExistingSchema {
    pub tables: BTreeMap<String, Table>,
}

/// An existing table.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Such as `InnoDB`, `MyISAM`.
    pub engine: String,
    /// Such as `Dynamic`, `Compact`.
    pub row_format: String,
    pub collation: String,
    pub columns: BTreeMap<String, Column>,
    pub indexes: BTreeMap<String, Index>,
    pub references: Vec<Reference>,
}

/// An existing column.
#[derive(Debug, Clone)]
pub(super) struct Column {
    /// Such as `varchar`, in lower case.
    pub data_type: String,
    /// Such as `int(11) unsigned`, in lower case.
    pub column_type: String,
    pub characters: Option<u64>,
    pub collation: Option<String>,
    pub nullable: bool,
    pub default: Option<String>,
    /// Such as `auto_increment`, in lower case.
    pub extra: String,
}

#[derive(Debug, Default)]
pub(super) struct Index {
    pub unique: bool,
    pub columns: Vec<String>,
    /// Covers only prefixes of texts, or expressions.
    pub partial: bool,
}

/// A foreign key; one of several columns has an entry per column.
#[derive(Debug)]
pub(super) struct Reference {
    pub name: String,
    pub column: String,
    pub table: String,
    pub key: String,
}

impl Column {
    pub(super) fn is_text(&self) -> bool {
        self.collation.is_some()
    }

    pub(super) fn is_date(&self) -> bool {
        matches!(self.data_type.as_str(), "timestamp" | "datetime" | "date")
    }
}

impl Table {
    /// Returns whether a unique index covers exactly these columns.
    pub(super) fn is_unique(&self, columns: &[String]) -> bool {
        self.indexes.values().any(|index| index.unique && index.is_of(columns))
    }

    /// Returns whether an index starts with these columns.
    pub(super) fn is_indexed(&self, columns: &[String]) -> bool {
        self.indexes.values().any(|index| !index.partial && index.columns.starts_with(columns))
    }
}

impl Index {
    /// Returns whether the index covers exactly these columns, in any order.
    pub(super) fn is_of(&self, columns: &[String]) -> bool {
        !self.partial
            && self.columns.len() == columns.len()
            && self.columns.iter().all(|column| columns.contains(column))
    }
}

impl ExistingSchema {
    /// Reads the catalog.
    pub(super) async fn read(database: &Database) -> Result<Self, BackendError> {
        let mut existing = Self::default();
        let tables = "SELECT CAST(table_name AS CHAR), CAST(coalesce(engine, '') AS CHAR), \
                      CAST(coalesce(row_format, '') AS CHAR), CAST(coalesce(table_collation, '') AS CHAR) \
                      FROM information_schema.tables WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE'";
        for row in database.rows(tables).await? {
            let table = Table {
                engine: text(&row[1]),
                row_format: text(&row[2]),
                collation: text(&row[3]),
                ..Table::default()
            };
            existing.tables.insert(text(&row[0]), table);
        }
        existing.read_columns(database).await?;
        existing.read_indexes(database).await?;
        let references = "SELECT CAST(table_name AS CHAR), CAST(constraint_name AS CHAR), CAST(column_name AS CHAR), \
                          CAST(referenced_table_name AS CHAR), CAST(referenced_column_name AS CHAR) \
                          FROM information_schema.key_column_usage \
                          WHERE table_schema = DATABASE() AND referenced_table_name IS NOT NULL";
        for row in database.rows(references).await? {
            let reference =
                Reference { name: text(&row[1]), column: text(&row[2]), table: text(&row[3]), key: text(&row[4]) };
            if let Some(table) = existing.tables.get_mut(&text(&row[0])) {
                table.references.push(reference);
            }
        }
        Ok(existing)
    }

    async fn read_columns(&mut self, database: &Database) -> Result<(), BackendError> {
        let columns = "SELECT CAST(table_name AS CHAR), CAST(column_name AS CHAR), CAST(lower(data_type) AS CHAR), \
                       CAST(lower(column_type) AS CHAR), CAST(character_maximum_length AS SIGNED), \
                       CAST(collation_name AS CHAR), CAST(is_nullable = 'YES' AS SIGNED), \
                       CAST(column_default AS CHAR), CAST(lower(extra) AS CHAR) \
                       FROM information_schema.columns WHERE table_schema = DATABASE()";
        for row in database.rows(columns).await? {
            let column = Column {
                data_type: text(&row[2]),
                column_type: text(&row[3]),
                characters: row[4].as_i64().and_then(|length| u64::try_from(length).ok()),
                collation: row[5].as_str().map(str::to_owned),
                nullable: flag(&row[6]),
                default: row[7].as_str().map(str::to_owned),
                extra: text(&row[8]),
            };
            if let Some(table) = self.tables.get_mut(&text(&row[0])) {
                table.columns.insert(text(&row[1]), column);
            }
        }
        Ok(())
    }

    async fn read_indexes(&mut self, database: &Database) -> Result<(), BackendError> {
        // An index over an expression has no column there.
        let indexes = "SELECT CAST(table_name AS CHAR), CAST(index_name AS CHAR), CAST(non_unique = 0 AS SIGNED), \
                       CAST(column_name AS CHAR), CAST(sub_part IS NOT NULL OR column_name IS NULL AS SIGNED) \
                       FROM information_schema.statistics WHERE table_schema = DATABASE() \
                       ORDER BY table_name, index_name, seq_in_index";
        for row in database.rows(indexes).await? {
            let Some(table) = self.tables.get_mut(&text(&row[0])) else { continue };
            let index = table.indexes.entry(text(&row[1])).or_default();
            index.unique = number(&row[2]) != 0;
            index.columns.push(text(&row[3]));
            index.partial |= flag(&row[4]);
        }
        Ok(())
    }
}
