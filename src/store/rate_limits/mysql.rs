//! Shared rate limits in two tables of a MySQL or MariaDB server, for processes on any machine.

use std::time::Duration;

use sqlx::mysql::{MySqlArguments, MySqlConnectOptions, MySqlConnection};
use sqlx::{Arguments as _, AssertSqlSafe, ConnectOptions as _, Row as _};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::sql::{Param, Statement, tables};
use crate::backend_url::BackendUrl;
use crate::store::BackendError;
use crate::store::mysql::{self, error_number};

/// Timeout of a connection attempt or a statement, which takes a millisecond.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// A single connection, opened on demand and dropped after any failure. A process's reservations are sequential, so a
/// second one would not help.
pub(super) struct MysqlBackend {
    options: MySqlConnectOptions,
    connection: Mutex<Option<MySqlConnection>>,
}

impl MysqlBackend {
    pub(super) async fn open(url: &BackendUrl) -> Result<Self, BackendError> {
        let operation = format!("opening the shared rate limits in {url}");
        let failed = |error: &sqlx::Error| mysql::backend_error(&operation, error).before_start();
        let options = mysql::connect_options(url)?;
        let backend = Self { options, connection: Mutex::new(None) };
        for index in 0..tables("").len() {
            backend.create(index).await.map_err(|error| failed(&error))?;
        }
        Ok(backend)
    }

    /// Creates a table in memory, without waits for a disk, if the server has that engine.
    async fn create(&self, table: usize) -> Result<(), sqlx::Error> {
        const COLLATION: &str = "CHARACTER SET ascii COLLATE ascii_bin";
        let mut last = Ok(());
        for engine in ["MEMORY", "InnoDB"] {
            let Some(sql) = tables(&format!(" ENGINE={engine} {COLLATION}")).into_iter().nth(table) else { break };
            let done = self.run(async |connection| sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await).await;
            match done {
                Ok(_) => return Ok(()),
                // Unknown engine, disabled engine (MySQL: server error reference).
                Err(error) if matches!(error_number(&error), Some(1286 | 3161)) => last = Err(error),
                Err(error) => return Err(error),
            }
        }
        last
    }

    /// Runs an operation on the connection with a timeout. A connection that failed or was interrupted is closed.
    async fn run<T>(
        &self,
        work: impl AsyncFnOnce(&mut MySqlConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let mut slot = self.connection.lock().await;
        // The connection taken out is closed on cancellation or timeout.
        let connection = slot.take();
        let attempt = async {
            let mut connection = match connection {
                Some(connection) => connection,
                None => self.options.connect().await?,
            };
            let result = work(&mut connection).await;
            Ok::<_, sqlx::Error>((result, connection))
        };
        let silent = |_| sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer within 10 s"));
        let (result, connection) = timeout(ATTEMPT_TIMEOUT, attempt).await.map_err(silent)??;
        if result.as_ref().err().is_none_or(|error| error.as_database_error().is_some() && !is_over(error)) {
            *slot = Some(connection);
        }
        result
    }

    pub(super) async fn close(&self) {
        if let Some(connection) = self.connection.lock().await.take() {
            // Errors of an unavailable server don't matter here.
            let _ = timeout(ATTEMPT_TIMEOUT, sqlx::Connection::close(connection)).await;
        }
    }

    pub(super) async fn execute(&self, statement: &Statement, params: &[Param<'_>]) -> Result<u64, sqlx::Error> {
        let arguments = bind(statement, params)?;
        let sql = AssertSqlSafe(statement.sql.as_str());
        self.run(async |connection| sqlx::query_with(sql, arguments).execute(connection).await)
            .await
            .map(|done| done.rows_affected())
    }

    pub(super) async fn fetch(
        &self,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> Result<Option<Vec<Option<i64>>>, sqlx::Error> {
        let arguments = bind(statement, params)?;
        let sql = AssertSqlSafe(statement.sql.as_str());
        let row =
            self.run(async |connection| sqlx::query_with(sql, arguments).fetch_optional(connection).await).await?;
        row.map(|row| (0..row.len()).map(|index| row.try_get(index)).collect()).transpose()
    }
}

/// Returns whether the server has ended the connection or is about to (MySQL: server and client error references; 1927
/// is MariaDB's).
fn is_over(error: &sqlx::Error) -> bool {
    matches!(error_number(error), Some(1053 | 1077 | 1079 | 1152..=1161 | 1184 | 1927 | 2006 | 2013 | 4031))
}

fn bind(statement: &Statement, params: &[Param<'_>]) -> Result<MySqlArguments, sqlx::Error> {
    let mut arguments = MySqlArguments::default();
    for param in statement.arrange(params) {
        match param {
            Param::Text(text) => arguments.add(text.to_owned()),
            Param::Number(number) => arguments.add(number),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}
