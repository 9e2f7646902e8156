//! MySQL and MariaDB servers: connecting, timeouts, classification of errors.

use std::str::FromStr;
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlDatabaseError, MySqlPool, MySqlPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};

use super::BackendError;
use crate::backend_url::BackendUrl;
use crate::open_files;
use crate::retry::Retryability;

/// Timeout of a connection attempt: even a busy server answers within it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of taking a connection from the pool, after which the server counts as unavailable: soon enough to tell the
/// user.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// Timeout of a statement: the longest read a repository's whole history. Less than the default retry timeout of
/// stores, so that a dead connection is replaced in time.
const STATEMENT_TIMEOUT: Duration = Duration::from_mins(2);
/// Maximum prepared statements per connection: most upserts in most sizes, and the lookups. With three connections, 27
/// processes stay within a server's default of 16,382 (max_prepared_stmt_count).
const MAX_CACHED_STATEMENTS: usize = 200;
/// Oldest supported servers: their SQL and limits are known to fit (JSON-free, utf8mb4 keys of 3072 bytes, DDL used
/// here).
const MIN_MARIADB: (u32, u32) = (10, 6);
const MIN_MYSQL: (u32, u32) = (8, 0);

/// Session settings. READ COMMITTED: a row that another process has just stored must be visible to the lookup after a
/// conflicting upsert; it also takes fewer locks. Strict mode: nothing is truncated or changed silently.
const SESSION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
     SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', SESSION innodb_lock_wait_timeout = 20";

/// A server's product and version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    /// Display name, with its version.
    pub name: String,
}

/// Connects to the database that a URL names.
///
/// # Errors
/// The server can't be reached, rejects the user, has no such database, or is too old.
pub(super) async fn connect(url: &BackendUrl, connections: u32) -> Result<(MySqlPool, Server), BackendError> {
    let operation = format!("opening the relational store {url}");
    let connect_options = connect_options(url)?;
    let server = {
        let mut connection = tokio::time::timeout(CONNECT_TIMEOUT, connect_options.connect())
            .await
            .unwrap_or_else(|_| Err(timed_out("no answer")))
            .map_err(|error| backend_error(&operation, &error).before_start())?;
        let server = server(&mut connection).await.map_err(|error| backend_error(&operation, &error).before_start())?;
        // The pool opens connections of its own.
        let _ = connection.close().await;
        server
    };
    if let Some(cause) = version_problem(&server.name) {
        let hint = "use MariaDB 10.6, MySQL 8.0 or a newer one";
        return Err(BackendError { operation, cause, hint, before_start: true });
    }
    let pool = MySqlPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .after_connect(|connection, _| Box::pin(async move { connection.execute(SESSION).await.map(drop) }))
        .connect_lazy_with(connect_options);
    Ok((pool, server))
}

/// Parses a URL into connection options.
///
/// # Errors
/// The URL can't be parsed or names no database.
pub(super) fn connect_options(url: &BackendUrl) -> Result<MySqlConnectOptions, BackendError> {
    let unusable = |cause: &str, hint| BackendError {
        operation: format!("opening the relational store {url}"),
        cause: cause.to_owned(),
        hint,
        before_start: true,
    };
    if url.has_unescaped_user_part() {
        return Err(unusable(
            "user or password holds a / ? # or @ as it is",
            "write them percent-encoded in `sql.url`: / as %2F, ? as %3F, # as %23, @ as %40, % as %25",
        ));
    }
    // The parser's error may quote a part of the password.
    let connect_options = MySqlConnectOptions::from_str(url.expose()).map_err(|_| {
        unusable(
            "the URL can't be parsed",
            "write mysql://USER:PASSWORD@HOST/DATABASE; characters such as / ? # % @ in the password are written as %2F %3F %23 %25 %40",
        )
    })?;
    if connect_options.get_database().is_none_or(str::is_empty) {
        return Err(unusable("the URL names no database", "write mysql://USER:PASSWORD@HOST/DATABASE"));
    }
    Ok(connect_options.statement_cache_capacity(MAX_CACHED_STATEMENTS).disable_statement_logging())
}

async fn server(connection: &mut MySqlConnection) -> Result<Server, sqlx::Error> {
    let (version,): (String,) =
        with_timeout(sqlx::query_as("SELECT CAST(VERSION() AS CHAR)").fetch_one(&mut *connection)).await?;
    let name = if version.contains("MariaDB") {
        format!("MariaDB {}", version.split('-').next().unwrap_or(&version))
    } else {
        format!("MySQL {version}")
    };
    Ok(Server { name })
}

/// Returns the problem with a server's version, if any.
fn version_problem(name: &str) -> Option<String> {
    let (product, version) = name.split_once(' ')?;
    let minimum = if product == "MariaDB" { MIN_MARIADB } else { MIN_MYSQL };
    let mut numbers = version.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let found = (numbers.next()?, numbers.next().unwrap_or(0));
    (found < minimum).then(|| format!("the server is {name}, which is too old"))
}

/// Runs a statement with [`STATEMENT_TIMEOUT`].
pub(super) async fn with_timeout<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    tokio::time::timeout(STATEMENT_TIMEOUT, work).await.unwrap_or_else(|_| Err(timed_out("no answer to a statement")))
}

fn timed_out(what: &str) -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, what.to_owned()))
}

/// Returns the server's error number (<https://mariadb.com/kb/en/mariadb-error-codes/>).
pub(super) fn error_number(error: &sqlx::Error) -> Option<u16> {
    Some(error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>()?.number())
}

/// Error numbers about a value or a row: NULL in a required column, duplicate key, out of range or too long,
/// ill-formed, dangling reference, rejected by a trigger or check, beyond the size of a row, page or packet.
pub(super) const REJECTED_VALUE_ERRORS: [u16; 15] =
    [1048, 1062, 1118, 1153, 1264, 1265, 1292, 1366, 1406, 1411, 1452, 1644, 1690, 3819, 4025];

/// Returns whether an operation may succeed when it is retried.
pub(super) fn retryability(error: &sqlx::Error) -> Retryability {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::Protocol(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::WorkerCrashed => Retryability::Unavailable,
        _ => match error_number(error) {
            // Lock wait timeout, deadlock, row changed since it was read (MariaDB 11).
            Some(1205 | 1213 | 1020) => Retryability::Conflict,
            // Too many connections, shutdown, killed, read-only after a failover, connection lost.
            Some(1040 | 1053 | 1077 | 1079 | 1158..=1161 | 1203 | 1226 | 1290 | 1317 | 1836 | 1927 | 2006 | 2013) => {
                Retryability::Unavailable
            }
            _ => Retryability::Permanent,
        },
    }
}

/// Hint for a server that can't be reached.
const UNREACHABLE: &str =
    "check that the server runs and that host and port in `sql.url` are right; nothing that was stored is lost";

/// Wraps an error, with advice by its number.
pub(super) fn backend_error(operation: &str, error: &sqlx::Error) -> BackendError {
    let text = match error.as_database_error() {
        Some(database) => database.message().to_owned(),
        None => error.to_string(),
    };
    let hint = match (error, error_number(error)) {
        (_, Some(1044 | 1045 | 1698)) => {
            "check the user and password in `sql.url` (characters such as @ : / ? # % are written percent-encoded there, for \
             example %40 for @), and that the user may use the database"
        }
        (_, Some(1049)) => {
            "create the database first: CREATE DATABASE <name> CHARACTER SET utf8mb4; or correct its name in `sql.url`"
        }
        (_, Some(1142 | 1143 | 1227 | 1370 | 1410)) => {
            "grant the user what it lacks: GRANT ALL ON <database>.* TO <user>"
        }
        (_, Some(1021 | 1114 | 1041 | 28)) => {
            "the server's disk is full: free some space there and run the command again: it resumes where it stopped"
        }
        (_, Some(1290 | 1836)) => "the server is read-only: point `sql.url` at the primary",
        (_, Some(1461)) => "raise max_prepared_stmt_count on the server, or run fewer workers",
        (_, Some(1040 | 1203 | 1226)) => {
            "the server allows no more connections: raise max_connections, or run fewer workers"
        }
        _ if open_files::is_limit(error) => open_files::HINT,
        (sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Tls(_), _) => UNREACHABLE,
        _ => "see the log and the server's own log for more; nothing that was stored is lost",
    };
    BackendError { operation: operation.to_owned(), cause: text, hint, before_start: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend_url::BackendKind;

    fn url(text: &str) -> BackendUrl {
        BackendUrl::parse(text, &[BackendKind::Mysql]).unwrap()
    }

    #[test]
    fn old_servers_are_rejected() {
        for (name, old) in [
            ("MariaDB 10.5.23", true),
            ("MariaDB 10.6.0", false),
            ("MariaDB 11.4.2", false),
            ("MySQL 5.7.44-log", true),
            ("MySQL 8.0.39", false),
            ("MySQL 9.1.0", false),
        ] {
            assert_eq!(version_problem(name).is_some(), old, "{name}");
        }
    }

    #[test]
    fn unparsable_url_hides_password() {
        for text in ["mysql://u:s3cret@h:99999999/d", "mysql://u:s3cret@h", "mysql://u:s3cret@h/"] {
            let error = connect_options(&url(text)).unwrap_err().to_string();
            assert!(!error.contains("s3"), "{error}");
            assert!(error.contains("mysql://USER:PASSWORD@HOST/DATABASE"), "{error}");
        }
        for text in ["mysql://u:s3#cr/et@h:3306/d", "mysql://u:s3@cret@h/d", "mysql://u:s3?cret@h/d"] {
            let error = connect_options(&url(text)).unwrap_err().to_string();
            assert!(!error.contains("s3") && error.contains("percent-encoded"), "{error}");
        }
        assert!(connect_options(&url("mysql://u:s3%23cr%2Fet@h/d")).is_ok());
    }
}
