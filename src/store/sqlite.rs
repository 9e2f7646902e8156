//! SQLite files: opening, locking during setup, classification of errors.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

use sqlx::{ConnectOptions as _, Connection as _};

use super::BackendError;
use crate::{open_files, private_files};

/// Maximum wait for another process's transaction. Transactions are short (one batch): a minute is far beyond a healthy
/// one and short enough to notice a hung process.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_mins(1);

/// A page layout and cache of a file.
pub(crate) struct Pragmas {
    /// Bytes per database page, for new files. Larger pages suit rows of several kilobytes.
    pub page_size: u32,
    /// Page cache per connection, in KiB.
    pub cache_kib: u32,
    /// Maximum number of connections: one writes, the others read.
    pub connections: u32,
}

/// Opens or creates an SQLite file in WAL mode.
///
/// `synchronous=FULL` makes a commit survive a power failure: otherwise the sync state of one file could outlive the
/// data of the other, and data would be missing silently.
pub(crate) async fn open(what: &str, path: &Path, pragmas: &Pragmas) -> Result<SqlitePool, BackendError> {
    open_with(what, path, pragmas, SqliteSynchronous::Full, BUSY_TIMEOUT).await
}

/// Opens a file with another durability or lock timeout.
pub(super) async fn open_with(
    what: &str,
    path: &Path,
    pragmas: &Pragmas,
    synchronous: SqliteSynchronous,
    busy_timeout: Duration,
) -> Result<SqlitePool, BackendError> {
    create_parent_dir(what, path)?;
    // SQLite gives its side files the mode of the database. It reports failures better itself.
    drop(private_files::open(OpenOptions::new().create(true).append(true), path));
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .page_size(pragmas.page_size)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .busy_timeout(busy_timeout)
        .foreign_keys(true)
        .statement_cache_capacity(256)
        .pragma("cache_size", format!("-{}", pragmas.cache_kib))
        .pragma("temp_store", "MEMORY")
        .pragma("wal_autocheckpoint", "2000")
        .pragma("journal_size_limit", "67108864");
    let failed = |error: sqlx::Error| BackendError::from_sqlite(describe_opening(what, path), &error).before_start();
    // A single connection creates the file and switches it to WAL: two at once would lock each other out without
    // waiting.
    options.connect().await.map_err(failed)?.close().await.map_err(failed)?;
    SqlitePoolOptions::new()
        .max_connections(pragmas.connections)
        .acquire_timeout(2 * busy_timeout)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_with(options)
        .await
        .map_err(failed)
}

/// Returns whether SQLite rejects a value or a row: too big, violating a constraint or trigger, or of another type
/// (<https://sqlite.org/rescode.html>).
pub(super) fn is_rejected_value(error: &sqlx::Error) -> bool {
    const TOO_BIG: i32 = 18;
    const CONSTRAINT: i32 = 19;
    const MISMATCH: i32 = 20;
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    let code = code.and_then(|code| code.parse::<i32>().ok());
    code.is_some_and(|code| matches!(code & 0xff, TOO_BIG | CONSTRAINT | MISMATCH))
}

/// Describes the opening of a file, for errors.
pub(crate) fn describe_opening(what: &str, path: &Path) -> String {
    format!("opening the {what} {}", path.display())
}

/// Creates the directory of a file.
pub(crate) fn create_parent_dir(what: &str, path: &Path) -> Result<(), BackendError> {
    let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else { return Ok(()) };
    private_files::create_dir_all(parent).map_err(|error| BackendError {
        operation: describe_opening(what, path),
        cause: format!("its directory {} can't be created: {error}", parent.display()),
        hint: directory_hint(parent),
        before_start: true,
    })
}

/// Returns advice for a directory that can't be created or written to.
pub(super) fn directory_hint(directory: &Path) -> &'static str {
    let is_blocked = directory.ancestors().any(Path::is_file);
    match is_blocked {
        _ if open_files::is_limit_reached() => open_files::HINT,
        true => "a file stands where a directory is needed: move it away, or set `data_dir` to another place",
        false => "make the directory writable for this user, or set `data_dir` to another place",
    }
}

/// Takes an advisory lock on a file beside the store, held during schema setup and released on drop.
pub(crate) async fn lock_for_setup(store: &Path) -> Result<File, BackendError> {
    create_parent_dir("relational store", store)?;
    let mut name = store.as_os_str().to_owned();
    name.push(".setup-lock");
    let path = PathBuf::from(name);
    let failed = |error: &std::io::Error| BackendError {
        operation: format!("locking {}", path.display()),
        cause: error.to_string(),
        hint: directory_hint(path.parent().unwrap_or(&path)),
        before_start: true,
    };
    let file = private_files::open(OpenOptions::new().create(true).truncate(false).write(true), &path)
        .map_err(|e| failed(&e))?;
    let deadline = tokio::time::Instant::now() + BUSY_TIMEOUT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(TryLockError::WouldBlock) => {
                return Err(failed(&std::io::Error::other(
                    "another msght process has held the setup lock for a minute",
                )));
            }
            Err(TryLockError::Error(error)) => return Err(failed(&error)),
        }
    }
}
