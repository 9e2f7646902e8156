//! Dispatches to the two databases behind the relational store.
//!
//! Both share one SQL: numbered parameters `?1` are expanded for MySQL, identifiers reserved by either stand in
//! backticks, and [`Upsert`] renders the two dialects.

use super::mysql::{MysqlBackend, MysqlTx};
use super::sql::{Upsert, Value};
use super::sqlite::{SqliteBackend, SqliteTx};
use crate::backend_url::{BackendKind, BackendUrl};
use crate::retry::RetryPolicy;
use crate::store::{BackendError, mysql, sqlite};

#[derive(Clone)]
pub(super) enum Backend {
    Sqlite(SqliteBackend),
    Mysql(MysqlBackend),
}

/// A write transaction.
pub(super) enum Tx {
    Sqlite(SqliteTx),
    Mysql(MysqlTx),
}

/// Evaluates the same expression for either backend.
macro_rules! dispatch {
    ($kind:ident, $value:expr, $inner:ident => $work:expr) => {
        match $value {
            $kind::Sqlite($inner) => $work,
            $kind::Mysql($inner) => $work,
        }
    };
}

impl Backend {
    /// Opens the database and migrates its tables.
    pub(super) async fn open(url: &BackendUrl, retry_policy: &RetryPolicy) -> Result<Self, BackendError> {
        match (url.kind(), url.sqlite_path()) {
            (BackendKind::Mysql, _) => Ok(Self::Mysql(MysqlBackend::open(url, retry_policy).await?)),
            (_, Some(path)) => Ok(Self::Sqlite(SqliteBackend::open(path).await?)),
            (_, None) => Err(BackendError::no_relational_store(url)),
        }
    }

    pub(super) async fn close(self) {
        dispatch!(Self, self, backend => backend.close().await);
    }

    pub(super) fn backend_error(&self, doing: &str, error: &sqlx::Error) -> BackendError {
        dispatch!(Self, self, backend => backend.backend_error(doing, error))
    }

    /// Returns the database product, for display.
    pub(super) fn description(&self) -> String {
        dispatch!(Self, self, backend => backend.description())
    }

    /// Returns the SQL expression for the database's clock, which processes on all machines share.
    pub(super) fn now_expression(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "unixepoch()",
            Self::Mysql(_) => "unix_timestamp()",
        }
    }

    pub(super) async fn begin(&self) -> Result<Tx, sqlx::Error> {
        match self {
            Self::Sqlite(backend) => Ok(Tx::Sqlite(backend.begin().await?)),
            Self::Mysql(backend) => Ok(Tx::Mysql(backend.begin().await?)),
        }
    }

    pub(super) async fn fetch(&self, sql: &str, params: Vec<Value>) -> Result<Vec<Vec<Value>>, sqlx::Error> {
        dispatch!(Self, self, backend => backend.fetch(sql, params).await)
    }

    /// Retries an idempotent operation while its failure is temporary. SQLite is not retried: it waits for its own
    /// lock.
    pub(super) async fn with_retry<T, F>(&self, attempt: impl FnMut() -> F) -> Result<T, sqlx::Error>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        match self {
            Self::Sqlite(_) => {
                let mut attempt = attempt;
                attempt().await
            }
            Self::Mysql(backend) => backend.retry_policy().retry(backend.url(), mysql::retryability, attempt).await,
        }
    }
}

impl Tx {
    pub(super) async fn execute(&mut self, sql: &str, params: Vec<Value>) -> Result<u64, sqlx::Error> {
        dispatch!(Self, self, tx => tx.execute(sql, params).await)
    }

    pub(super) async fn fetch(&mut self, sql: &str, params: Vec<Value>) -> Result<Vec<Vec<Value>>, sqlx::Error> {
        dispatch!(Self, self, tx => tx.fetch(sql, params).await)
    }

    /// Upserts rows in statements of a few fixed sizes and returns the number of rows inserted or changed.
    pub(super) async fn upsert(&mut self, upsert: &Upsert, rows: Vec<Vec<Value>>) -> Result<u64, sqlx::Error> {
        let (dialect, sizes) = match self {
            Self::Sqlite(_) => (super::sql::Dialect::Sqlite, super::sqlite::ROWS_PER_STATEMENT),
            Self::Mysql(_) => (super::sql::Dialect::Mysql, super::mysql::ROWS_PER_STATEMENT),
        };
        let mut rows = rows.into_iter();
        let mut affected = 0;
        while rows.len() > 0 {
            let size = sizes.iter().copied().find(|size| *size <= rows.len()).unwrap_or(1);
            let params: Vec<Value> = rows.by_ref().take(size).flatten().collect();
            affected += self.execute(&upsert.statement(dialect, size), params).await?;
        }
        Ok(affected)
    }

    /// Returns the number of keys per lookup statement. A shorter list is padded with its last key, so that one
    /// statement serves all sizes.
    pub(super) fn keys_per_lookup(&self) -> usize {
        match self {
            Self::Sqlite(_) => super::sqlite::KEYS_PER_LOOKUP,
            Self::Mysql(_) => super::mysql::KEYS_PER_LOOKUP,
        }
    }

    /// Returns the suffix that makes a query wait for uncommitted writes of others and lock what it reads until this
    /// transaction ends. SQLite needs none: it has one writer at a time.
    pub(super) fn locking_clause(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "",
            Self::Mysql(_) => " FOR UPDATE",
        }
    }

    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        dispatch!(Self, self, tx => tx.commit().await)
    }
}

/// Returns whether looking everything up again may cure an error: another process has removed a row that this one
/// remembered, or taken a name that was free a moment ago.
pub(super) fn is_stale_id(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.is_foreign_key_violation() || error.is_unique_violation())
}

/// Returns whether the database rejects a value of this batch and would accept other rows. Includes the errors of
/// [`is_stale_id`] that persist after a fresh lookup.
pub(super) fn is_rejected_row(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Encode(_) => true,
        sqlx::Error::Database(_) => match mysql::error_number(error) {
            Some(number) => mysql::REJECTED_VALUE_ERRORS.contains(&number),
            None => sqlite::is_rejected_value(error),
        },
        _ => false,
    }
}
