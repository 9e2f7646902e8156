//! Replacing a file so that a crash leaves the old one or the new one (data model, §1: write beside, fsync, rename).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::FileError;

/// Makes sure that a file can be replaced, before work is done for it.
///
/// # Errors
/// It can't.
pub(super) fn check(path: &Path) -> Result<(), FileError> {
    let unwritable = |reason| FileError::Unwritable { path: path.to_owned(), reason };
    if fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
        return Err(unwritable(io::Error::new(io::ErrorKind::InvalidInput, "it is no file")));
    }
    if fs::metadata(path).is_ok_and(|meta| meta.permissions().readonly()) {
        return Err(unwritable(io::Error::new(io::ErrorKind::PermissionDenied, "it is read-only")));
    }
    let beside = beside(&target(path));
    open(&beside).and_then(|_| fs::remove_file(&beside)).map_err(unwritable)
}

/// Replaces a file's content; its permissions stay. A symbolic link stays one, and what it leads to is replaced.
///
/// # Errors
/// It can't be written; the old one is as it was.
pub(super) fn replace(path: &Path, content: &str) -> Result<(), FileError> {
    let target = target(path);
    let beside = beside(&target);
    let written = || -> io::Result<()> {
        let mut file = open(&beside)?;
        if let Ok(meta) = fs::metadata(&target) {
            file.set_permissions(meta.permissions())?;
        }
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, &target)?;
        // The name itself is safe only with its directory.
        File::open(directory(&target))?.sync_all()
    };
    written().map_err(|reason| {
        let _ = fs::remove_file(&beside);
        FileError::Unwritable { path: path.to_owned(), reason }
    })
}

fn target(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A name beside the file, of this process alone.
fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.new", std::process::id()));
    directory(path).join(name)
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).open(path)
}
