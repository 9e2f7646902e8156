//! The relational store on MySQL or MariaDB.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use chrono::NaiveDateTime;
use sqlx::migrate::MigrateError;
use sqlx::mysql::{MySqlArguments, MySqlConnection, MySqlPool, MySqlRow};
use sqlx::{Arguments, AssertSqlSafe, Column as _, MySql, Row as _, TypeInfo as _, ValueRef as _};

use super::migrations::{self, MYSQL as MIGRATIONS};
use super::sql::Value;
use crate::backend_url::BackendUrl;
use crate::retry::RetryPolicy;
use crate::store::BackendError;
use crate::store::inspect::BackendStatus;
use crate::store::mysql::{self, with_timeout};

/// Statement sizes in rows: large ones share a round trip, few distinct ones spare the server's prepared statements
/// (16,382 for all clients), and columns × rows stay below the protocol's 65,535 parameters.
pub(super) const ROWS_PER_STATEMENT: &[usize] = &[512, 128, 32, 8, 2, 1];
/// Keys per lookup statement: a round trip costs more than some repeated keys.
pub(super) const KEYS_PER_LOOKUP: usize = 256;
/// Maximum wait for another process that is setting up the tables.
const SETUP_LOCK_TIMEOUT: Duration = Duration::from_mins(2);
/// Statements that need the right to create tables when they are prepared. They are never executed.
const CREATE_PROBES: &[&str] =
    &["PREPARE msght_probe FROM 'CREATE TABLE msght_probe (id INT PRIMARY KEY)'; DEALLOCATE PREPARE msght_probe"];
const WRITE_PROBES: &[&str] = &[
    "INSERT INTO schema_info (version) SELECT version FROM schema_info WHERE 1 = 0",
    "UPDATE schema_info SET version = version WHERE 1 = 0",
    "DELETE FROM schema_info WHERE 1 = 0",
];
/// Maximum number of connections: one writes, the others read.
const MAX_CONNECTIONS: u32 = 3;

#[derive(Clone)]
pub(super) struct MysqlBackend {
    pool: MySqlPool,
    shared: Arc<Shared>,
}

struct Shared {
    /// The URL without its password.
    url: String,
    server: mysql::Server,
    retry_policy: RetryPolicy,
}

pub(super) struct MysqlTx {
    inner: sqlx::Transaction<'static, MySql>,
}

/// The treatment of existing tables that msght did not create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ForeignTables {
    /// Refuse to touch the database.
    Reject,
    /// Take them over: they already have the form of msght's own.
    Adopt,
}

impl MysqlBackend {
    pub(super) async fn open(url: &BackendUrl, retry_policy: &RetryPolicy) -> Result<Self, BackendError> {
        let backend = Self::connect(url, retry_policy).await?;
        backend.run_setup(ForeignTables::Reject).await?;
        Ok(backend)
    }

    /// Creates the tables that GHTorrent's, already upgraded, lack.
    pub(super) async fn finish_upgrade(url: &BackendUrl, retry_policy: &RetryPolicy) -> Result<(), BackendError> {
        let backend = Self::connect(url, retry_policy).await?;
        backend.run_setup(ForeignTables::Adopt).await?;
        backend.close().await;
        Ok(())
    }

    /// Returns the number of migrations not among those applied.
    pub(super) fn count_pending_migrations(done: &[i64]) -> usize {
        MIGRATIONS.iter().filter(|migration| !done.contains(&migration.version)).count()
    }

    /// Inspects a database without changing it.
    pub(super) async fn inspect(url: &BackendUrl, retry_policy: &RetryPolicy) -> Result<BackendStatus, BackendError> {
        let backend = Self::connect(url, retry_policy).await?;
        let found = backend.check_database().await;
        backend.close().await;
        found
    }

    async fn check_database(&self) -> Result<BackendStatus, BackendError> {
        self.reject_foreign_tables().await?;
        let done = if self.has_table("_sqlx_migrations").await? {
            self.read_at_open("SELECT version FROM _sqlx_migrations WHERE success", Vec::new()).await?
        } else {
            Vec::new()
        };
        let done: Vec<i64> = done.iter().filter_map(|row| row[0].as_i64()).collect();
        let state = migrations::summary(&MIGRATIONS, &done)
            .map_err(|version| self.migration_error(&MigrateError::VersionMissing(version)))?;
        // Statements without effect show whether they are allowed.
        let probes = if done.is_empty() { CREATE_PROBES } else { WRITE_PROBES };
        for probe in probes {
            with_timeout(sqlx::raw_sql(*probe).execute(&self.pool)).await.map_err(|error| self.before_start(&error))?;
        }
        Ok(BackendStatus { product: self.description(), place: self.shared.url.clone(), state })
    }

    async fn connect(url: &BackendUrl, retry_policy: &RetryPolicy) -> Result<Self, BackendError> {
        let (pool, server) = mysql::connect(url, MAX_CONNECTIONS).await?;
        let shared = Shared { url: url.to_string(), server, retry_policy: retry_policy.for_backend() };
        Ok(Self { pool, shared: Arc::new(shared) })
    }

    /// Creates or migrates the tables, one process at a time.
    async fn run_setup(&self, others: ForeignTables) -> Result<(), BackendError> {
        let failed = |error: sqlx::Error| self.before_start(&error);
        let mut locked = with_timeout(self.pool.acquire()).await.map_err(failed)?;
        let lock = "SELECT GET_LOCK(CONCAT('msght/', LEFT(SHA2(DATABASE(), 256), 32)), ?)";
        let seconds = i64::try_from(SETUP_LOCK_TIMEOUT.as_secs()).unwrap_or(i64::MAX);
        let taken: Option<i64> =
            with_timeout(sqlx::query_scalar(lock).bind(seconds).fetch_one(&mut *locked)).await.map_err(failed)?;
        if taken != Some(1) {
            return Err(BackendError {
                operation: format!("opening the relational store {}", self.shared.url),
                cause: format!("another msght process has been setting up its tables for {seconds} s"),
                hint: "wait for it, then run the command again",
                before_start: true,
            });
        }
        let done = self.migrate(&mut locked, others).await;
        // Closing the connection releases the lock, too.
        let _ = with_timeout(sqlx::query("SELECT RELEASE_ALL_LOCKS()").execute(&mut *locked)).await;
        done
    }

    async fn migrate(&self, connection: &mut MySqlConnection, others: ForeignTables) -> Result<(), BackendError> {
        if others == ForeignTables::Reject {
            self.reject_foreign_tables().await?;
        }
        // DDL commits implicitly, so that a process killed in the middle leaves a migration half applied. All
        // statements are idempotent: unfinished migrations simply run again.
        if self.has_table("_sqlx_migrations").await? {
            let unfinished = "DELETE FROM _sqlx_migrations WHERE success = FALSE";
            with_timeout(sqlx::query(unfinished).execute(&mut *connection))
                .await
                .map_err(|error| self.before_start(&error))?;
        }
        MIGRATIONS.run(connection).await.map_err(|error| self.migration_error(&error))
    }

    /// Rejects a database with tables of another program.
    async fn reject_foreign_tables(&self) -> Result<(), BackendError> {
        if self.has_table("_sqlx_migrations").await? || !self.has_table("users").await? {
            return Ok(());
        }
        let refused = |cause: String, hint| BackendError {
            operation: format!("opening the relational store {}", self.shared.url),
            cause,
            hint,
            before_start: true,
        };
        if self.has_table("schema_info").await? {
            let rows = self.read_at_open("SELECT version FROM schema_info", Vec::new()).await?;
            let version = rows.first().and_then(|row| row[0].as_i64()).unwrap_or(0);
            return Err(refused(
                format!("it is a GHTorrent database, schema version {version}"),
                "run `msght migrate` to see what upgrading it in place takes, or use another database",
            ));
        }
        Err(refused(
            "it holds tables of another program (a table `users`)".to_owned(),
            "set `sql.url` to a database of its own",
        ))
    }

    async fn has_table(&self, name: &str) -> Result<bool, BackendError> {
        let sql = "SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?";
        Ok(!self.read_at_open(sql, vec![name.into()]).await?.is_empty())
    }

    async fn read_at_open(&self, sql: &str, params: Vec<Value>) -> Result<Vec<Vec<Value>>, BackendError> {
        self.fetch(sql, params).await.map_err(|error| self.before_start(&error))
    }

    fn before_start(&self, error: &sqlx::Error) -> BackendError {
        self.backend_error("opening the relational store", error).before_start()
    }

    pub(super) async fn close(self) {
        self.pool.close().await;
    }

    pub(super) fn url(&self) -> &str {
        &self.shared.url
    }

    pub(super) fn retry_policy(&self) -> &RetryPolicy {
        &self.shared.retry_policy
    }

    pub(super) fn description(&self) -> String {
        self.shared.server.name.clone()
    }

    pub(super) fn backend_error(&self, doing: &str, error: &sqlx::Error) -> BackendError {
        mysql::backend_error(&format!("{doing} {}", self.shared.url), error)
    }

    fn migration_error(&self, error: &MigrateError) -> BackendError {
        let operation = format!("opening the relational store {}", self.shared.url);
        match error {
            MigrateError::VersionMissing(version) => BackendError {
                operation,
                cause: format!(
                    "it was written by a newer msght (it has migration {version}, which this version does not know)"
                ),
                hint: "use that version of msght, or set `sql.url` to another database",
                before_start: true,
            },
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                mysql::backend_error(&operation, error).before_start()
            }
            other => BackendError {
                operation,
                cause: format!("its tables can't be set up: {other}"),
                hint: "the database may belong to another program: set `sql.url` to another one",
                before_start: true,
            },
        }
    }

    pub(super) async fn begin(&self) -> Result<MysqlTx, sqlx::Error> {
        Ok(MysqlTx { inner: with_timeout(self.pool.begin()).await? })
    }

    pub(super) async fn fetch(&self, sql: &str, params: Vec<Value>) -> Result<Vec<Vec<Value>>, sqlx::Error> {
        let (sql, params) = expand_parameters(sql, params);
        let rows = with_timeout(sqlx::query_with(AssertSqlSafe(sql.into_owned()), bind(params)?).fetch_all(&self.pool))
            .await?;
        rows.iter().map(decode).collect()
    }
}

impl MysqlTx {
    pub(super) async fn execute(&mut self, sql: &str, params: Vec<Value>) -> Result<u64, sqlx::Error> {
        let (sql, params) = expand_parameters(sql, params);
        let query = sqlx::query_with(AssertSqlSafe(sql.into_owned()), bind(params)?);
        Ok(with_timeout(query.execute(&mut *self.inner)).await?.rows_affected())
    }

    pub(super) async fn fetch(&mut self, sql: &str, params: Vec<Value>) -> Result<Vec<Vec<Value>>, sqlx::Error> {
        let (sql, params) = expand_parameters(sql, params);
        let query = sqlx::query_with(AssertSqlSafe(sql.into_owned()), bind(params)?);
        let rows = with_timeout(query.fetch_all(&mut *self.inner)).await?;
        rows.iter().map(decode).collect()
    }

    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        with_timeout(self.inner.commit()).await
    }
}

/// Expands numbered parameters, which MySQL lacks: `?2` becomes `?` with the second value repeated at its place.
/// Statements must not contain question marks in literals.
fn expand_parameters(sql: &str, params: Vec<Value>) -> (Cow<'_, str>, Vec<Value>) {
    let is_number = |bytes: &[u8]| matches!(bytes, [b'?', b'0'..=b'9']);
    if !sql.as_bytes().windows(2).any(is_number) {
        return (Cow::Borrowed(sql), params);
    }
    let mut parts = sql.split('?');
    let mut text = parts.next().unwrap_or_default().to_owned();
    let mut values = Vec::with_capacity(params.len());
    for part in parts {
        let behind = part.trim_start_matches(|c: char| c.is_ascii_digit());
        let number = part[..part.len() - behind.len()].parse().unwrap_or(values.len() + 1);
        values.extend(params.get(number - 1).cloned());
        text.push('?');
        text.push_str(behind);
    }
    (Cow::Owned(text), values)
}

fn bind(params: Vec<Value>) -> Result<MySqlArguments, sqlx::Error> {
    let mut arguments = MySqlArguments::default();
    for value in params {
        match value {
            Value::Null => arguments.add(None::<i64>),
            Value::Integer(number) => arguments.add(number),
            Value::Text(text) => arguments.add(text),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

pub(super) fn decode(row: &MySqlRow) -> Result<Vec<Value>, sqlx::Error> {
    row.columns()
        .iter()
        .map(|column| {
            let raw = row.try_get_raw(column.ordinal())?;
            if raw.is_null() {
                return Ok(Value::Null);
            }
            match raw.type_info().name() {
                "BOOLEAN" | "TINYINT" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" | "INT UNSIGNED"
                | "BIGINT UNSIGNED" => row.try_get_unchecked(column.ordinal()).map(Value::Integer),
                "DATETIME" | "TIMESTAMP" => {
                    let at: NaiveDateTime = row.try_get_unchecked(column.ordinal())?;
                    Ok(Value::Text(at.format("%Y-%m-%d %H:%M:%S").to_string()))
                }
                _ => row.try_get_unchecked(column.ordinal()).map(Value::Text),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_parameters_are_expanded() {
        let text = |sql, count: i64| expand_parameters(sql, (1..=count).map(Value::Integer).collect());
        let numbers = |values: Vec<Value>| values.iter().map(|v| v.as_i64().unwrap()).collect::<Vec<_>>();
        let (sql, values) = text("a = ?1 AND b = ?2 AND c = ?1 LIMIT ?3", 3);
        assert_eq!((&*sql, numbers(values)), ("a = ? AND b = ? AND c = ? LIMIT ?", vec![1, 2, 1, 3]));
        let (sql, values) = text("a IN (?,?) AND b = ?", 3);
        assert_eq!((&*sql, numbers(values)), ("a IN (?,?) AND b = ?", vec![1, 2, 3]));
        let (sql, values) = text("a = 1", 0);
        assert_eq!((&*sql, values.len()), ("a = 1", 0));
    }
}
