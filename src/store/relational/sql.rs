//! The little SQL that both databases of the relational store are spoken to in.

use std::fmt::Write as _;

use chrono::{DateTime, Datelike, Utc};

/// A value of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// SQL's NULL.
    Null,
    /// An integer or a boolean.
    Integer(i64),
    /// A text or a date.
    Text(String),
}

impl Value {
    /// The integer, if it is one.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The text itself, if it is one.
    pub fn into_text(self) -> Option<String> {
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
    /// A date that no DATETIME column can hold (a git commit may claim any) is unknown; the document keeps it.
    fn from(at: DateTime<Utc>) -> Self {
        if (1000..=9999).contains(&at.year()) { Self::Text(date(at)) } else { Self::Null }
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A date as the tables hold it: UTC, to the second.
pub fn date(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// The two dialects.
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
    /// The columns of the unique key that a row may collide on; none means any of the table's keys. MySQL can't tell them
    /// apart: there it is always any.
    pub key: &'static [&'static str],
    /// What a row that is there takes from the one that comes; none means nothing.
    pub update: &'static [(&'static str, OnConflict)],
}

/// How a column of a row that is there takes the value that comes.
#[derive(Debug, Clone, Copy)]
pub(super) enum OnConflict {
    /// The new value.
    Overwrite,
    /// The new value unless it is NULL.
    OverwriteIfPresent,
    /// The new value only where there is none yet.
    KeepExisting,
    /// The lesser of the two, by their bytes.
    Min,
}

impl Upsert {
    /// The statement for so many rows.
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

    /// A row that would not change is not written.
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

    /// `INSERT IGNORE` would hide other errors, so that a row that is there is set to what it is. The server itself leaves
    /// alone what would not change.
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

    /// The value of each updated column, from those that are there and those that come.
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

/// `?,?,?` for an IN list.
pub(super) fn placeholders(count: usize) -> String {
    vec!["?"; count].join(",")
}
