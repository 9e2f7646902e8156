//! What all parts of the relational store on MySQL or MariaDB share: how a server is reached and its errors are read.

use std::str::FromStr;
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlDatabaseError, MySqlPool, MySqlPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};

use super::BackendError;
use crate::backend_url::BackendUrl;
use crate::retry::Retryability;

/// A server that is there answers within this time, even a busy one; one that isn't is said to be away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection of the pool is had within this time, or the server counts as away: soon enough to tell the user.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// No statement here runs longer on a healthy server: the longest read a repository's whole history. Less than the
/// patience that stores are given by default, so that a connection that went dead unnoticed is made anew in time.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(120);
/// Prepared statements a connection keeps: most upserts in most sizes, and the look-ups. With three connections, 27
/// processes stay within a server's default of 16,382 (max_prepared_stmt_count).
const MAX_CACHED_STATEMENTS: usize = 200;
/// The oldest servers whose SQL and limits are known to fit (JSON-free, utf8mb4 keys of 3072 bytes, DDL used here).
const MIN_MARIADB: (u32, u32) = (10, 6);
const MIN_MYSQL: (u32, u32) = (8, 0);

/// What each session is set to. READ COMMITTED: a row that another process has just stored must be seen by the look-up
/// that follows a colliding upsert; it also takes fewer locks. Strict: nothing is cut or changed silently.
const SESSION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
     SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', SESSION innodb_lock_wait_timeout = 20";

/// Which product answers, and its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    /// As users know it, with its version.
    pub name: String,
}

/// Connects to the database that a URL names.
///
/// # Errors
/// A server that can't be reached, doesn't let this user in, has no such database, or is too old.
pub(super) async fn connect(url: &BackendUrl, connections: u32) -> Result<(MySqlPool, Server), BackendError> {
    let operation = format!("opening the relational store {url}");
    let connect_options = connect_options(url)?;
    let server = {
        let mut connection = tokio::time::timeout(CONNECT_TIMEOUT, connect_options.connect())
            .await
            .unwrap_or_else(|_| Err(timed_out("no answer")))
            .map_err(|error| backend_error(&operation, &error).before_start())?;
        let server = server(&mut connection).await.map_err(|error| backend_error(&operation, &error).before_start())?;
        // The pool makes connections of its own.
        let _ = connection.close().await;
        server
    };
    if let Some(cause) = version_problem(&server.name) {
        let hint = "use MariaDB 10.6, MySQL 8.0 or a newer one";
        return Err(BackendError { operation: operation, cause: cause, hint: hint, before_start: true });
    }
    let pool = MySqlPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .after_connect(|connection, _| Box::pin(async move { connection.execute(SESSION).await.map(drop) }))
        .connect_lazy_with(connect_options);
    Ok((pool, server))
}

/// How the server of a URL is connected to.
///
/// # Errors
/// A URL that can't be understood, or that names no database.
pub(super) fn connect_options(url: &BackendUrl) -> Result<MySqlConnectOptions, BackendError> {
    let unusable = |cause: &str, hint| BackendError {
        operation: format!("opening the relational store {url}"),
        cause: cause.to_owned(),
        hint: hint,
        before_start: true,
    };
    if url.has_unescaped_user_part() {
        return Err(unusable(
            "user or password holds a / ? # or @ as it is",
            "write them percent-encoded in `sql.url`: / as %2F, ? as %3F, # as %23, @ as %40, % as %25",
        ));
    }
    // The parser's own error may show what it stumbled on, which may be a part of the password.
    let connect_options = MySqlConnectOptions::from_str(url.expose()).map_err(|_| {
        unusable(
            "the URL can't be understood",
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

/// Why a server's version won't do, if it won't.
fn version_problem(name: &str) -> Option<String> {
    let (product, version) = name.split_once(' ')?;
    let minimum = if product == "MariaDB" { MIN_MARIADB } else { MIN_MYSQL };
    let mut numbers = version.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let found = (numbers.next()?, numbers.next().unwrap_or(0));
    (found < minimum).then(|| format!("the server is {name}, which is too old"))
}

/// Bounds a statement.
pub(super) async fn with_timeout<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    tokio::time::timeout(STATEMENT_TIMEOUT, work).await.unwrap_or_else(|_| Err(timed_out("no answer to a statement")))
}

fn timed_out(what: &str) -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, what.to_owned()))
}

/// The server's own number of an error (<https://mariadb.com/kb/en/mariadb-error-codes/>).
pub(super) fn error_number(error: &sqlx::Error) -> Option<u16> {
    Some(error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>()?.number())
}

/// Errors about a value or a row: NULL where none may be, a key that is taken, out of range or too long, of another form,
/// without what it refers to, refused by a trigger or a check, beyond the size of a row, page or packet.
pub(super) const REJECTED_VALUE_ERRORS: [u16; 15] =
    [1048, 1062, 1118, 1153, 1264, 1265, 1292, 1366, 1406, 1411, 1452, 1644, 1690, 3819, 4025];

/// Whether an error passes when the same is tried again.
pub(super) fn retryability(error: &sqlx::Error) -> Retryability {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::Protocol(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::WorkerCrashed => Retryability::Unavailable,
        _ => match error_number(error) {
            // A lock wait that took too long, a deadlock, a row that changed while it was read (MariaDB 11).
            Some(1205 | 1213 | 1020) => Retryability::Conflict,
            // Too many connections, shutting down, killed, read-only after a fail-over, gone away.
            Some(1040 | 1053 | 1077 | 1079 | 1158..=1161 | 1203 | 1226 | 1290 | 1317 | 1836 | 1927 | 2006 | 2013) => {
                Retryability::Unavailable
            }
            _ => Retryability::Permanent,
        },
    }
}

/// Explains an error in the user's terms.
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
            "the server's disk is full: free some space there and run the command again, it goes on where it stopped"
        }
        (_, Some(1290 | 1836)) => "the server takes no writes: point `sql.url` at the primary",
        (_, Some(1461)) => "raise max_prepared_stmt_count on the server, or run fewer workers",
        (_, Some(1040 | 1203 | 1226)) => {
            "the server allows no more connections: raise max_connections, or run fewer workers"
        }
        (sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Tls(_), _) => {
            "check that the server runs and that host and port in `sql.url` are right; nothing that was stored is lost"
        }
        _ => "see the log and the server's own log for more; nothing that was stored is lost",
    };
    BackendError { operation: operation.to_owned(), cause: text, hint: hint, before_start: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend_url::BackendKind;

    fn url(text: &str) -> BackendUrl {
        BackendUrl::parse(text, &[BackendKind::Mysql]).unwrap()
    }

    #[test]
    fn old_servers_are_told_from_new_ones() {
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
    fn a_url_that_does_not_parse_shows_nothing_of_the_password() {
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
