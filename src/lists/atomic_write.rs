//! Replacing a user's file so that a crash leaves the old one or the new one (data model, §1: write beside, fsync, rename),
//! and so that two processes that do it one after the other lose nothing of each other's.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::ListError;

/// Makes sure that a file can be replaced, before work is done for it.
///
/// # Errors
/// It can't.
pub(super) fn check(path: &Path) -> Result<(), ListError> {
    let unwritable = |reason| ListError::Unwritable { path: path.to_owned(), reason };
    if fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
        return Err(unwritable(io::Error::new(io::ErrorKind::InvalidInput, "it is no file")));
    }
    if fs::metadata(path).is_ok_and(|meta| meta.permissions().readonly()) {
        return Err(unwritable(io::Error::new(io::ErrorKind::PermissionDenied, "it is read-only")));
    }
    beside(&target(path)).map(drop).map_err(unwritable)
}

/// Keeps other msght processes from replacing a file until it is dropped: what is read under it is what will be replaced.
/// A file system without directory locks takes none, and the time between reading and replacing is all that is at stake.
pub(super) struct Lock {
    _directory: Option<File>,
}

/// Locks a file's directory, so that no lock file is left beside users' files.
pub(super) fn lock(path: &Path) -> Lock {
    let directory = File::open(directory(&target(path))).ok();
    Lock { _directory: directory.filter(|directory| directory.lock().is_ok()) }
}

/// Replaces a file's content; its permissions stay. A symbolic link stays one, and what it leads to is replaced.
///
/// # Errors
/// It can't be written; the old one is as it was.
pub(super) fn replace(path: &Path, content: &str) -> Result<(), ListError> {
    let target = target(path);
    let written = || -> io::Result<()> {
        // Made for this user alone, and removed by itself if anything fails.
        let mut new = beside(&target)?;
        if let Ok(meta) = fs::metadata(&target) {
            new.as_file().set_permissions(meta.permissions())?;
        }
        new.write_all(content.as_bytes())?;
        new.as_file().sync_all()?;
        new.persist(&target)?;
        // The name itself is safe only with its directory.
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

/// A new file beside another one.
fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(path.file_name().unwrap_or_default());
    prefix.push(".");
    tempfile::Builder::new().prefix(&prefix).suffix(".new").tempfile_in(directory(path))
}
