//! Read-only inspection of a backend: what exists, and what the first command would create.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};

use super::{BackendError, sqlite};

/// Maximum wait for another process's transaction: an inspection is not worth a longer one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The status of the backend at a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendStatus {
    /// The product, such as `SQLite 3.50.4` or `MariaDB 10.11.6`.
    pub product: String,
    /// The file, or the server's URL without its password.
    pub place: String,
    /// Existing contents, and what the first command will create.
    pub state: String,
}

impl BackendStatus {
    /// Returns the status of a backend that the first command will create.
    pub(crate) fn not_created(product: String, place: String) -> Self {
        Self { product, place, state: "not created yet: the first command creates it".to_owned() }
    }
}

/// An existing, writable SQLite file.
pub(crate) struct ExistingFile {
    connection: SqliteConnection,
    path: PathBuf,
    what: &'static str,
}

/// Opens an existing file; `None` if it is missing and can be created.
pub(crate) async fn open_existing(what: &'static str, path: &Path) -> Result<Option<ExistingFile>, BackendError> {
    if !path.exists() {
        check_creatable(what, path)?;
        return Ok(None);
    }
    let failed =
        |error: sqlx::Error| BackendError::from_sqlite(sqlite::describe_opening(what, path), &error).before_start();
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(false).busy_timeout(BUSY_TIMEOUT);
    let connection = options.disable_statement_logging().connect().await.map_err(failed)?;
    let mut file = ExistingFile { connection, path: path.to_owned(), what };
    // Only the first use shows whether it is a database and writable.
    for statement in ["BEGIN IMMEDIATE", "SELECT count(*) FROM sqlite_master", "ROLLBACK"] {
        sqlx::query(statement).execute(&mut file.connection).await.map_err(failed)?;
    }
    Ok(Some(file))
}

impl ExistingFile {
    /// Returns a query's integers.
    pub(crate) async fn read_integers(&mut self, sql: &'static str) -> Result<Vec<i64>, BackendError> {
        let found = sqlx::query_scalar(sql).fetch_all(&mut self.connection).await;
        found.map_err(|error| {
            BackendError::from_sqlite(sqlite::describe_opening(self.what, &self.path), &error).before_start()
        })
    }

    /// Returns a query's single integer, 0 if there is none.
    pub(crate) async fn read_integer(&mut self, sql: &'static str) -> Result<i64, BackendError> {
        Ok(self.read_integers(sql).await?.first().copied().unwrap_or(0))
    }

    /// Returns the status of a file whose schema version is in `PRAGMA user_version`; this build knows one version.
    pub(crate) async fn version_status(mut self, layout: i64) -> Result<BackendStatus, BackendError> {
        let version = self.read_integer("PRAGMA user_version").await?;
        if version > layout {
            return Err(self.newer_version_error(format!("layout {version}, this version knows {layout}")));
        }
        let state = if version == layout {
            format!("layout {layout}, writable")
        } else {
            "no tables yet: the first command creates them".to_owned()
        };
        Ok(self.into_status(state).await)
    }

    /// Returns the error for a file that a newer msght wrote.
    pub(crate) fn newer_version_error(&self, what: String) -> BackendError {
        BackendError {
            operation: sqlite::describe_opening(self.what, &self.path),
            cause: format!("it was written by a newer msght ({what})"),
            hint: "use that version of msght, or point the setting at another file",
            before_start: true,
        }
    }

    pub(crate) async fn into_status(mut self, state: String) -> BackendStatus {
        let version: Result<String, _> =
            sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut self.connection).await;
        let product = version.map_or_else(|_| sqlite_product(), |version| format!("{} {version}", sqlite_product()));
        let found = BackendStatus { product, place: self.path.display().to_string(), state };
        // It was only read; errors on closing don't matter.
        let _ = self.connection.close().await;
        found
    }
}

/// Inspects a file that a command will write, or its directory.
///
/// # Errors
/// It can't be created or written.
pub fn inspect_path(what: &str, product: &str, path: &Path) -> Result<BackendStatus, BackendError> {
    check_creatable(what, path)?;
    let directory = path.parent().unwrap_or(path);
    let there = if product == "file" { path } else { directory };
    let state = if there.exists() { "writable" } else { "not created yet: the first command creates it" };
    if product == "file" && path.exists() {
        let opened = std::fs::OpenOptions::new().append(true).open(path);
        opened.map_err(|reason| BackendError {
            operation: format!("{what} {}", path.display()),
            cause: reason.to_string(),
            hint: "make the file writable for this user, or set another one",
            before_start: true,
        })?;
    }
    Ok(BackendStatus { product: product.to_owned(), place: there.display().to_string(), state: state.to_owned() })
}

/// Returns the product name of all embedded stores.
pub(crate) fn sqlite_product() -> String {
    "SQLite".to_owned()
}

/// Checks that the nearest existing directory can hold the file or the directories down to it.
fn check_creatable(what: &str, path: &Path) -> Result<(), BackendError> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let Some(nearest) = absolute.ancestors().skip(1).find(|ancestor| ancestor.exists()) else { return Ok(()) };
    let cause = if !nearest.is_dir() {
        format!("{} is not a directory", nearest.display())
    } else if !is_writable(nearest) {
        format!("{} is not writable", nearest.display())
    } else {
        return Ok(());
    };
    Err(BackendError {
        operation: sqlite::describe_opening(what, path),
        cause,
        hint: sqlite::directory_hint(nearest),
        before_start: true,
    })
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn is_writable(directory: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let Ok(path) = std::ffi::CString::new(directory.as_os_str().as_bytes()) else { return false };
    // SAFETY: the path is a string that ends with a NUL and outlives the call, which only reads it.
    unsafe { libc::access(path.as_ptr(), libc::W_OK | libc::X_OK) == 0 }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn is_writable(directory: &Path) -> bool {
    std::fs::metadata(directory).is_ok_and(|metadata| !metadata.permissions().readonly())
}
