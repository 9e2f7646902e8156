//! The little SQL that both databases of the relational store are spoken to in.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};

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
    fn from(at: DateTime<Utc>) -> Self {
        Self::Text(date(at))
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

/// A bulk upsert into one table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Upsert {
    /// The table.
    pub table: &'static str,
    /// The columns of each row, in order.
    pub columns: &'static [&'static str],
    /// The columns of the unique key that a row may collide on; none means any of the table's keys.
    pub key: &'static [&'static str],
    /// What a row that is there takes from the one that comes; none means nothing.
    pub update: &'static [(&'static str, Rule)],
}

/// How a column of a row that is there takes the value that comes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rule {
    /// The new value.
    Replace,
    /// The new value unless it is NULL.
    ReplaceIfKnown,
    /// The new value only where there is none yet.
    Fill,
}

impl Upsert {
    /// The statement for so many rows, in SQLite's dialect. A row that would not change is not written.
    pub(super) fn sqlite(&self, rows: usize) -> String {
        let marks = format!("({})", marks(self.columns.len()));
        let mut sql = format!(
            "INSERT INTO {} ({}) VALUES {} ON CONFLICT ",
            self.table,
            self.columns.join(", "),
            vec![marks; rows].join(",")
        );
        if !self.key.is_empty() {
            let _ = write!(sql, "({}) ", self.key.join(", "));
        }
        if self.update.is_empty() {
            sql.push_str("DO NOTHING");
            return sql;
        }
        let table = self.table;
        let values: Vec<(&str, String)> = self
            .update
            .iter()
            .map(|(column, rule)| {
                let value = match rule {
                    Rule::Replace => format!("excluded.{column}"),
                    Rule::ReplaceIfKnown => format!("coalesce(excluded.{column}, {table}.{column})"),
                    Rule::Fill => format!("coalesce({table}.{column}, excluded.{column})"),
                };
                (*column, value)
            })
            .collect();
        let set: Vec<String> = values.iter().map(|(column, value)| format!("{column} = {value}")).collect();
        let differs: Vec<String> =
            values.iter().map(|(column, value)| format!("{table}.{column} IS NOT {value}")).collect();
        let _ = write!(sql, "DO UPDATE SET {} WHERE {}", set.join(", "), differs.join(" OR "));
        sql
    }
}

/// `?,?,?` for an IN list.
pub(super) fn marks(count: usize) -> String {
    vec!["?"; count].join(",")
}
