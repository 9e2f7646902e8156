//! The relational store on SQLite.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::sqlite::{SqliteArguments, SqlitePool, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, Column as _, Row as _, Sqlite, TypeInfo as _, ValueRef as _};

use super::migrations::SQLITE as MIGRATIONS;
use super::sql::Value;
use crate::store::BackendError;
use crate::store::sqlite::{self, Pragmas};

/// Statement sizes in rows: few distinct ones keep the statement cache small, and columns × rows stay far below
/// SQLite's 32,766 parameters.
pub(super) const ROWS_PER_STATEMENT: &[usize] = &[64, 8, 1];
/// Keys per lookup statement.
pub(super) const KEYS_PER_LOOKUP: usize = 64;

#[derive(Clone)]
pub(super) struct SqliteBackend {
    pool: SqlitePool,
    path: Arc<PathBuf>,
}

/// A write transaction.
pub(super) struct SqliteTx {
    inner: sqlx::Transaction<'static, Sqlite>,
}

impl SqliteBackend {
    pub(super) async fn open(path: &Path) -> Result<Self, BackendError> {
        let pragmas = Pragmas { page_size: 4096, cache_kib: 6 * 1024, connections: 3 };
        let pool = sqlite::open("relational store", path, &pragmas).await?;
        MIGRATIONS.run(&pool).await.map_err(|error| migration_error(path, &error))?;
        Ok(Self { pool, path: Arc::new(path.to_owned()) })
    }

    pub(super) async fn close(self) {
        self.pool.close().await;
    }

    pub(super) fn description(&self) -> String {
        "SQLite".to_owned()
    }

    pub(super) fn backend_error(&self, doing: &str, error: &sqlx::Error) -> BackendError {
        BackendError::from_sqlite(format!("{doing} {}", self.path.display()), error)
    }

    pub(super) async fn begin(&self) -> Result<SqliteTx, sqlx::Error> {
        Ok(SqliteTx { inner: self.pool.begin_with("BEGIN IMMEDIATE").await? })
    }

    pub(super) async fn fetch(&self, sql: &str, params: Vec<Value>) -> Result<Vec<Vec<Value>>, sqlx::Error> {
        let rows = sqlx::query_with(AssertSqlSafe(sql), bind(params)?).fetch_all(&self.pool).await?;
        rows.iter().map(decode).collect()
    }
}

impl SqliteTx {
    pub(super) async fn execute(&mut self, sql: &str, params: Vec<Value>) -> Result<u64, sqlx::Error> {
        let done = sqlx::query_with(AssertSqlSafe(sql), bind(params)?).execute(&mut *self.inner).await?;
        Ok(done.rows_affected())
    }

    pub(super) async fn fetch(&mut self, sql: &str, params: Vec<Value>) -> Result<Vec<Vec<Value>>, sqlx::Error> {
        let rows = sqlx::query_with(AssertSqlSafe(sql), bind(params)?).fetch_all(&mut *self.inner).await?;
        rows.iter().map(decode).collect()
    }

    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        self.inner.commit().await
    }
}

fn bind(params: Vec<Value>) -> Result<SqliteArguments, sqlx::Error> {
    let mut arguments = SqliteArguments::default();
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

fn decode(row: &SqliteRow) -> Result<Vec<Value>, sqlx::Error> {
    row.columns()
        .iter()
        .map(|column| {
            let raw = row.try_get_raw(column.ordinal())?;
            if raw.is_null() {
                return Ok(Value::Null);
            }
            match raw.type_info().name() {
                "INTEGER" | "BOOLEAN" => row.try_get_unchecked(column.ordinal()).map(Value::Integer),
                _ => row.try_get_unchecked(column.ordinal()).map(Value::Text),
            }
        })
        .collect()
}

fn migration_error(path: &Path, error: &sqlx::migrate::MigrateError) -> BackendError {
    let operation = sqlite::describe_opening("relational store", path);
    match error {
        sqlx::migrate::MigrateError::VersionMissing(version) => BackendError {
            operation,
            cause: format!(
                "it was written by a newer msght (it has migration {version}, which this version does not know)"
            ),
            hint: "use that version of msght, or point `sql.url` at another file",
            before_start: true,
        },
        sqlx::migrate::MigrateError::Execute(error) | sqlx::migrate::MigrateError::ExecuteMigration(error, _) => {
            BackendError::from_sqlite(operation, error).before_start()
        }
        other => BackendError {
            operation,
            cause: format!("its tables can't be set up: {other}"),
            hint: "the file may belong to another program: move it away, or point `sql.url` at another file",
            before_start: true,
        },
    }
}
