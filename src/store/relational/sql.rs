//! The SQL that both databases of the relational store understand: values, upserts, dates.

use std::fmt::Write as _;

use chrono::{DateTime, Datelike, Utc};

/// A column value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// SQL's NULL.
    Null,
    /// An integer or a boolean.
    Integer(i64),
    /// A text or a date.
    Text(String),
}

impl Value {
    /// Returns the integer, if it is one.
    pub(super) fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// Returns the text, if it is one.
    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the owned text, if it is one.
    pub(super) fn into_text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Integer(i64::from(flag))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<DateTime<Utc>> for Value {
    /// Maps a date that no DATETIME column can hold to NULL: git commits may claim any year, and the document keeps it.
    fn from(at: DateTime<Utc>) -> Self {
        if (1000..=9999).contains(&at.year()) { Self::Text(date(at)) } else { Self::Null }
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Formats a date as stored: UTC, in seconds.
pub fn date(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// An SQL dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    /// MySQL and MariaDB.
    Mysql,
}

/// A bulk upsert into one table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Upsert {
    /// The table.
    pub table: &'static str,
    /// The columns of each row, in order.
    pub columns: &'static [&'static str],
    /// Columns of the unique key on which a row may conflict; empty means any of the table's keys. MySQL always checks
    /// all of them.
    pub key: &'static [&'static str],
    /// Columns of an existing row to update; empty leaves it as it is.
    pub update: &'static [(&'static str, OnConflict)],
}

/// The rule for a column of an existing row when an upsert brings another value.
#[derive(Debug, Clone, Copy)]
pub(super) enum OnConflict {
    /// Take the new value.
    Overwrite,
    /// Take the new value unless it is NULL.
    OverwriteIfPresent,
    /// Take the new value only if the existing one is NULL.
    KeepExisting,
    /// Take the bytewise lesser of the two.
    Min,
}

impl Upsert {
    /// Renders the statement for a number of rows.
    pub(super) fn statement(&self, dialect: Dialect, rows: usize) -> String {
        let columns: Vec<String> = self.columns.iter().map(|column| format!("`{column}`")).collect();
        let placeholders = format!("({})", placeholders(self.columns.len()));
        let mut sql = format!(
            "INSERT INTO {} ({}) VALUES {} ",
            self.table,
            columns.join(", "),
            vec![placeholders; rows].join(",")
        );
        match dialect {
            Dialect::Sqlite => self.on_conflict(&mut sql),
            Dialect::Mysql => self.on_duplicate_key(&mut sql),
        }
        sql
    }

    /// Appends SQLite's conflict clause. Unchanged rows are not written.
    fn on_conflict(&self, sql: &mut String) {
        sql.push_str("ON CONFLICT ");
        if !self.key.is_empty() {
            let _ = write!(sql, "({}) ", self.key.join(", "));
        }
        if self.update.is_empty() {
            sql.push_str("DO NOTHING");
            return;
        }
        let table = self.table;
        let values = self.values(
            |there, comes| format!("min({there}, {comes})"),
            |column| format!("{table}.`{column}`"),
            |column| format!("excluded.`{column}`"),
        );
        let set: Vec<String> = values.iter().map(|(column, value)| format!("`{column}` = {value}")).collect();
        let differs: Vec<String> =
            values.iter().map(|(column, value)| format!("{table}.`{column}` IS NOT {value}")).collect();
        let _ = write!(sql, "DO UPDATE SET {} WHERE {}", set.join(", "), differs.join(" OR "));
    }

    /// Appends MySQL's conflict clause. `INSERT IGNORE` would hide other errors, so an existing row is set to its own
    /// value; the server itself does not write unchanged rows.
    fn on_duplicate_key(&self, sql: &mut String) {
        let table = self.table;
        let there = |column: &str| format!("{table}.`{column}`");
        let set: Vec<String> = if self.update.is_empty() {
            self.columns.first().map(|column| format!("`{column}` = {}", there(column))).into_iter().collect()
        } else {
            let values = self.values(
                |there, comes| format!("least({there} COLLATE utf8mb4_bin, {comes})"),
                there,
                |column| format!("VALUES(`{column}`)"),
            );
            values.into_iter().map(|(column, value)| format!("`{column}` = {value}")).collect()
        };
        let _ = write!(sql, "ON DUPLICATE KEY UPDATE {}", set.join(", "));
    }

    /// Returns each updated column with the expression of its new value.
    fn values(
        &self,
        least: impl Fn(&str, &str) -> String,
        there: impl Fn(&str) -> String,
        comes: impl Fn(&str) -> String,
    ) -> Vec<(&'static str, String)> {
        let value = |column: &str, rule: &OnConflict| {
            let (there, comes) = (there(column), comes(column));
            match rule {
                OnConflict::Overwrite => comes,
                OnConflict::OverwriteIfPresent => format!("coalesce({comes}, {there})"),
                OnConflict::KeepExisting => format!("coalesce({there}, {comes})"),
                OnConflict::Min => format!("coalesce({}, {there}, {comes})", least(&there, &comes)),
            }
        };
        self.update.iter().map(|(column, rule)| (*column, value(column, rule))).collect()
    }
}

/// Returns `?,?,?` for an IN list.
pub(super) fn placeholders(count: usize) -> String {
    vec!["?"; count].join(",")
}
