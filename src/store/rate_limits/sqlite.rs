//! Shared rate limits in an SQLite file of their own, for processes on one machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqlitePool, SqliteSynchronous};
use sqlx::{Arguments as _, AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};

use super::sql::{Param, Statement, tables};
use crate::retry::{RetryPolicy, Retryability};
use crate::store::BackendError;
use crate::store::sqlite::{self, Pragmas};

/// Maximum wait for another process's statement, which takes well under a millisecond; then it counts as an outage.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(super) struct SqliteBackend {
    pool: SqlitePool,
}

/// Returns the file beside the relational store, which batches lock for long: `github-tokens.db` for `github.db`.
pub(crate) fn path_beside(relational: &Path) -> PathBuf {
    let mut name = relational.file_stem().unwrap_or_default().to_owned();
    name.push("-tokens");
    if let Some(extension) = relational.extension() {
        name.push(".");
        name.push(extension);
    }
    relational.with_file_name(name)
}

impl SqliteBackend {
    pub(super) async fn open(relational: &Path, retry_policy: &RetryPolicy) -> Result<Self, BackendError> {
        let path = path_beside(relational);
        let _lock = sqlite::lock_for_setup(relational).await?;
        if let Some(damage) = find_damage(&path).await {
            let aside = quarantine(&path).map_err(|error| BackendError {
                operation: sqlite::describe_opening("shared rate limits", &path),
                cause: format!("it is damaged ({damage}) and can't be renamed: {error}"),
                hint: "delete it while no msght runs: its content is short-lived and nothing is lost",
                before_start: true,
            })?;
            retry_policy.notify(&format!(
                "the shared rate limits {} are damaged ({damage}) and were renamed to {}; a new file is created, and no data are lost",
                path.display(),
                aside.display()
            ));
        }
        let pragmas = Pragmas { page_size: 4096, cache_kib: 512, connections: 1 };
        // `NORMAL`: no commit waits for the disk. A power failure may lose the last moments, which are worthless by
        // then.
        let durability = SqliteSynchronous::Normal;
        let pool = sqlite::open_with("shared rate limits", &path, &pragmas, durability, BUSY_TIMEOUT).await?;
        for table in tables("") {
            let failed = |e: sqlx::Error| {
                BackendError::from_sqlite(sqlite::describe_opening("shared rate limits", &path), &e).before_start()
            };
            sqlx::query(AssertSqlSafe(table)).execute(&pool).await.map_err(failed)?;
        }
        Ok(Self { pool })
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    pub(super) async fn execute(&self, statement: &Statement, params: &[Param<'_>]) -> Result<u64, sqlx::Error> {
        let sql = AssertSqlSafe(statement.sql.as_str());
        Ok(sqlx::query_with(sql, bind(statement, params)?).execute(&self.pool).await?.rows_affected())
    }

    pub(super) async fn fetch(
        &self,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> Result<Option<Vec<Option<i64>>>, sqlx::Error> {
        let sql = AssertSqlSafe(statement.sql.as_str());
        let row = sqlx::query_with(sql, bind(statement, params)?).fetch_optional(&self.pool).await?;
        row.map(|row| (0..row.len()).map(|index| row.try_get(index)).collect()).transpose()
    }

    /// Classifies errors: busy (5) and locked (6) are temporary (<https://sqlite.org/rescode.html>).
    pub(super) fn retryability(error: &sqlx::Error) -> Retryability {
        let code = error.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok());
        match code.map(|code| code & 0xff) {
            Some(5 | 6) => Retryability::Unavailable,
            _ => Retryability::Permanent,
        }
    }
}

/// Returns the damage of an existing file that is no sound database, if any (<https://sqlite.org/rescode.html>:
/// corrupt, not a database). Other errors are reported when it is opened.
async fn find_damage(path: &Path) -> Option<String> {
    const CORRUPT: i32 = 11;
    const NOT_A_DATABASE: i32 = 26;
    if !path.is_file() {
        return None;
    }
    let check = async {
        let options = SqliteConnectOptions::new().filename(path).busy_timeout(BUSY_TIMEOUT);
        let mut connection = options.connect().await?;
        let found: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok::<_, sqlx::Error>(found)
    };
    match check.await {
        Ok(found) => (found != "ok").then_some(found),
        Err(error) => {
            let code = error.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok());
            matches!(code.map(|code| code & 0xff), Some(CORRUPT | NOT_A_DATABASE)).then(|| error.to_string())
        }
    }
}

/// Renames a damaged file and removes its side files.
fn quarantine(path: &Path) -> std::io::Result<PathBuf> {
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let aside = beside(".damaged");
    std::fs::rename(path, &aside)?;
    for suffix in ["-wal", "-shm"] {
        match std::fs::remove_file(beside(suffix)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(aside)
}

fn bind(statement: &Statement, params: &[Param<'_>]) -> Result<SqliteArguments, sqlx::Error> {
    let mut arguments = SqliteArguments::default();
    for param in statement.arrange(params) {
        match param {
            Param::Text(text) => arguments.add(text.to_owned()),
            Param::Number(number) => arguments.add(number),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_lies_beside_relational_store() {
        for (relational, ledger) in [("d/github.db", "d/github-tokens.db"), ("rows", "rows-tokens")] {
            assert_eq!(path_beside(Path::new(relational)), Path::new(ledger));
        }
    }
}
