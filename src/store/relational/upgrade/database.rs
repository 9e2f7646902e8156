//! The single connection over which a database is assessed and upgraded.

use std::time::Duration;

use sqlx::AssertSqlSafe;
use sqlx::mysql::MySql;
use sqlx::pool::PoolConnection;
use tokio::sync::Mutex;

use crate::backend_url::BackendUrl;
use crate::store::relational::mysql::decode;
use crate::store::relational::sql::Value;
use crate::store::{BackendError, mysql};

/// Timeout of a statement: GHTorrent's largest tables have billions of rows, and an ALTER copies them.
const STATEMENT_TIMEOUT: Duration = Duration::from_hours(168);
/// Maximum seconds to wait for a table that another program uses.
const TABLE_LOCK_TIMEOUT: u32 = 60;
/// Maximum seconds to wait for the lock of a killed upgrade: its server notices within moments.
const LOCK_TIMEOUT: u32 = 10;
/// Name of the server-wide lock that one upgrade holds at a time.
const LOCK: &str = "msght migrate";

/// A dedicated connection, which owns temporary tables and the lock.
pub(super) struct Database {
    connection: Mutex<PoolConnection<MySql>>,
    /// Product and version of the server.
    pub server: String,
    /// The URL without its password.
    pub shown: String,
}

impl Database {
    /// Connects without changing anything.
    pub(super) async fn open(url: &BackendUrl) -> Result<Self, BackendError> {
        let (pool, server) = mysql::connect(url, 1).await?;
        let failed = |error: sqlx::Error| {
            mysql::backend_error(&format!("opening the relational store {url}"), &error).before_start()
        };
        let connection = mysql::with_timeout(pool.acquire()).await.map_err(failed)?;
        let database = Self { connection: Mutex::new(connection), server: server.name, shown: url.to_string() };
        database.execute(&format!("SET SESSION lock_wait_timeout = {TABLE_LOCK_TIMEOUT}")).await?;
        Ok(database)
    }

    pub(super) fn is_mariadb(&self) -> bool {
        self.server.starts_with("MariaDB")
    }

    /// Returns a query's rows.
    pub(super) async fn rows(&self, sql: &str) -> Result<Vec<Vec<Value>>, BackendError> {
        let mut connection = self.connection.lock().await;
        // Prepared, so that values come in their own types.
        let query = sqlx::query(AssertSqlSafe(sql.to_owned())).persistent(false);
        let rows = bounded(query.fetch_all(&mut **connection)).await.map_err(|error| self.failed(&error))?;
        rows.iter().map(decode).collect::<Result<_, _>>().map_err(|error| self.failed(&error))
    }

    /// Returns a query's single number, 0 if there is none.
    pub(super) async fn count(&self, sql: &str) -> Result<i64, BackendError> {
        Ok(self.rows(sql).await?.first().and_then(|row| row[0].as_i64()).unwrap_or(0))
    }

    /// Runs one statement and returns the number of changed rows.
    pub(super) async fn execute(&self, sql: &str) -> Result<u64, BackendError> {
        tracing::debug!(sql, "upgrading");
        let mut connection = self.connection.lock().await;
        // Not every statement can be prepared.
        let statement = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        let done = bounded(statement.execute(&mut **connection)).await.map_err(|error| {
            tracing::error!(sql, %error, "a statement of the upgrade has failed");
            self.failed(&error)
        })?;
        Ok(done.rows_affected())
    }

    /// Takes the upgrade lock and returns whether it was free. The lock ends with the connection.
    pub(super) async fn lock(&self) -> Result<bool, BackendError> {
        // Locks are server-wide, and their names short.
        let name = format!("concat('{LOCK} ', left(md5(DATABASE()), 16))");
        Ok(self.count(&format!("SELECT CAST(GET_LOCK({name}, {LOCK_TIMEOUT}) AS SIGNED)")).await? == 1)
    }

    pub(super) fn failed(&self, error: &sqlx::Error) -> BackendError {
        mysql::backend_error(&format!("upgrading {}", self.shown), error)
    }
}

async fn bounded<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    let timed_out = || sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer to a statement"));
    tokio::time::timeout(STATEMENT_TIMEOUT, work).await.unwrap_or_else(|_| Err(timed_out()))
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(super) fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

pub(super) fn flag(value: &Value) -> bool {
    number(value) != 0
}
