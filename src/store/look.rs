//! What is there, without making anything: for the user who wants to know before the first command does.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};

use super::{StoreError, sqlite};

/// How long another process's transaction is waited for: to look is not worth a longer wait.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What a store's URL leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Such as `SQLite 3.50.4` or `MariaDB 10.11.6`.
    pub product: String,
    /// The file, or the server's URL without its password.
    pub place: String,
    /// What is there, and what the first command will make.
    pub state: String,
}

impl Found {
    /// What is not there yet, and the first command makes.
    pub(crate) fn yet_to_be_made(product: String, place: String) -> Self {
        Self { product, place, state: "not there yet: the first command makes it".to_owned() }
    }
}

/// An SQLite file that is there and can be written.
pub(crate) struct File {
    connection: SqliteConnection,
    path: PathBuf,
    what: &'static str,
}

/// Opens a file without making it; `None` where it is not there and could be made.
pub(crate) async fn file(what: &'static str, path: &Path) -> Result<Option<File>, StoreError> {
    if !path.exists() {
        can_be_made(what, path)?;
        return Ok(None);
    }
    let failed = |error: sqlx::Error| StoreError::explain(sqlite::tried(what, path), &error).at_open();
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(false).busy_timeout(BUSY_TIMEOUT);
    let connection = options.disable_statement_logging().connect().await.map_err(failed)?;
    let mut file = File { connection, path: path.to_owned(), what };
    // Whether it is a database at all, and may be written, shows only with the first use.
    for statement in ["BEGIN IMMEDIATE", "SELECT count(*) FROM sqlite_master", "ROLLBACK"] {
        sqlx::query(statement).execute(&mut file.connection).await.map_err(failed)?;
    }
    Ok(Some(file))
}

impl File {
    /// A query's numbers.
    pub async fn numbers(&mut self, sql: &'static str) -> Result<Vec<i64>, StoreError> {
        let found = sqlx::query_scalar(sql).fetch_all(&mut self.connection).await;
        found.map_err(|error| StoreError::explain(sqlite::tried(self.what, &self.path), &error).at_open())
    }

    /// A query's one number; 0 where there is none.
    pub async fn number(&mut self, sql: &'static str) -> Result<i64, StoreError> {
        Ok(self.numbers(sql).await?.first().copied().unwrap_or(0))
    }

    /// For a file whose layout has a version in `PRAGMA user_version`, of which this build knows one.
    pub async fn with_layout(mut self, layout: i64) -> Result<Found, StoreError> {
        let version = self.number("PRAGMA user_version").await?;
        if version > layout {
            return Err(self.newer(format!("layout {version}, this one knows {layout}")));
        }
        let state = if version == layout {
            format!("layout {layout}, writable")
        } else {
            "no tables yet: the first command makes them".to_owned()
        };
        Ok(self.found(state).await)
    }

    /// The error that a newer msght has written it.
    pub fn newer(&self, what: String) -> StoreError {
        StoreError {
            tried: sqlite::tried(self.what, &self.path),
            problem: format!("a newer msght wrote it ({what})"),
            advice: "use that version of msght, or point the setting at another file",
            at_open: true,
        }
    }

    pub async fn found(mut self, state: String) -> Found {
        let version: Result<String, _> =
            sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut self.connection).await;
        let product = version.map_or_else(|_| product(), |version| format!("{} {version}", product()));
        let found = Found { product, place: self.path.display().to_string(), state };
        // It was only read; what closing it could still do is no matter.
        let _ = self.connection.close().await;
        found
    }
}

/// What is known of a file that a command will write, or of its directory: whether that can be made or written.
///
/// # Errors
/// It can't.
pub fn directory_for(what: &str, product: &str, path: &Path) -> Result<Found, StoreError> {
    can_be_made(what, path)?;
    let directory = path.parent().unwrap_or(path);
    let there = if product == "file" { path } else { directory };
    let state = if there.exists() { "writable" } else { "not there yet: the first command makes it" };
    if product == "file" && path.exists() {
        let opened = std::fs::OpenOptions::new().append(true).open(path);
        opened.map_err(|reason| StoreError {
            tried: format!("{what} {}", path.display()),
            problem: reason.to_string(),
            advice: "make the file writable for this user, or set another one",
            at_open: true,
        })?;
    }
    Ok(Found { product: product.to_owned(), place: there.display().to_string(), state: state.to_owned() })
}

/// What all embedded stores run on.
pub(crate) fn product() -> String {
    "SQLite".to_owned()
}

/// Whether the nearest directory that is there could hold the file, or the directories down to it.
fn can_be_made(what: &str, path: &Path) -> Result<(), StoreError> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let Some(nearest) = absolute.ancestors().skip(1).find(|ancestor| ancestor.exists()) else { return Ok(()) };
    let problem = if !nearest.is_dir() {
        format!("{} is no directory", nearest.display())
    } else if !is_writable(nearest) {
        format!("nothing can be made in {}", nearest.display())
    } else {
        return Ok(());
    };
    Err(StoreError {
        tried: sqlite::tried(what, path),
        problem,
        advice: "make the directory writable for this user, or set `data_dir` to another place",
        at_open: true,
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
