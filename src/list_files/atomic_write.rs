//! Atomic replacement of a user's file: write beside, fsync, rename. A crash leaves the old file or the new one, and processes
//! that replace it one after the other lose none of each other's changes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::ListError;

/// Checks that a file can be replaced, before work is done for it.
///
/// # Errors
/// It can't.
pub(super) fn check(path: &Path) -> Result<(), ListError> {
    let unwritable = |reason| ListError::Unwritable { path: path.to_owned(), reason };
    if fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
        return Err(unwritable(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file")));
    }
    if fs::metadata(path).is_ok_and(|meta| meta.permissions().readonly()) {
        return Err(unwritable(io::Error::new(io::ErrorKind::PermissionDenied, "it is read-only")));
    }
    beside(&target(path)).map(drop).map_err(unwritable)
}

/// A lock that keeps other msght processes from replacing a file until it is dropped. On a file system without directory locks
/// it locks nothing, and changes between reading and replacing may be lost.
pub(super) struct Lock {
    _directory: Option<File>,
}

/// Locks a file's directory, which leaves no lock file beside users' files.
pub(super) fn lock(path: &Path) -> Lock {
    let directory = File::open(directory(&target(path))).ok();
    Lock { _directory: directory.filter(|directory| directory.lock().is_ok()) }
}

/// Replaces a file's content and keeps its permissions. Follows a symbolic link and replaces its target.
///
/// # Errors
/// It can't be written; the old content is unchanged.
pub(super) fn replace(path: &Path, content: &str) -> Result<(), ListError> {
    let target = target(path);
    let written = || -> io::Result<()> {
        // Readable by this user only, and removed by itself if anything fails.
        let mut new = beside(&target)?;
        if let Ok(meta) = fs::metadata(&target) {
            new.as_file().set_permissions(meta.permissions())?;
        }
        new.write_all(content.as_bytes())?;
        new.as_file().sync_all()?;
        new.persist(&target)?;
        // The rename is durable only with its directory.
        File::open(directory(&target))?.sync_all()
    };
    written().map_err(|reason| ListError::Unwritable { path: path.to_owned(), reason })
}

fn target(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Creates a temporary file beside another one.
fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(path.file_name().unwrap_or_default());
    prefix.push(".");
    tempfile::Builder::new().prefix(&prefix).suffix(".new").tempfile_in(directory(path))
}
