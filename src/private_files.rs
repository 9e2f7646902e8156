//! Files that only this user can read: mirrored data may be private, and tokens always are.
//!
//! The process's umask protects every file it creates, including those of libraries (SQLite's `-wal` and `-shm`). The mode is
//! set explicitly, too, for users of this library who set no umask.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

#[cfg(unix)]
const FILE_MODE: u32 = 0o600;
#[cfg(unix)]
const DIRECTORY_MODE: u32 = 0o700;
/// Permission bits of everyone but the owner.
#[cfg(unix)]
const OTHERS: u32 = 0o077;

/// Sets the process's umask so that only its user can read what it creates. Call it before there is a second thread: the umask
/// applies to the whole process.
pub fn restrict_umask() {
    #[cfg(unix)]
    // SAFETY: umask only replaces a number of the process; it touches no memory and can't fail.
    unsafe {
        libc::umask(0o077);
    }
}

/// Opens a file; one that is created is readable by this user only.
///
/// # Errors
/// The file can't be opened.
pub fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, FILE_MODE);
    options.open(path)
}

/// Creates a directory and its missing parents, accessible by this user only.
///
/// # Errors
/// One can't be created.
pub fn create_dir_all(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, DIRECTORY_MODE);
    builder.recursive(true).create(path)
}

/// Returns whether users other than the owner can read a file.
#[cfg(unix)]
pub fn is_readable_by_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & OTHERS & 0o444 != 0)
}

/// Elsewhere permissions are not part of a mode.
#[cfg(not(unix))]
pub fn is_readable_by_others(_path: &Path) -> bool {
    false
}

/// Removes the permissions of others from files that earlier versions created: each of `files`, and those beside it whose name
/// begins with its own (`-wal`, `.2026-01-31.gz`). A directory with no other files is restricted, too. Returns the changed
/// paths.
pub fn restrict_to_owner(files: &[PathBuf]) -> Vec<PathBuf> {
    let mut changed = Vec::new();
    let mut directories: Vec<&Path> = files.iter().filter_map(|file| file.parent()).collect();
    directories.sort_unstable();
    directories.dedup();
    // Inner directories first: the rest of the outer one is then known.
    for directory in directories.into_iter().rev() {
        let Ok(entries) = fs::read_dir(directory) else { continue };
        let (mut own, mut strange) = (Vec::new(), false);
        for entry in entries.flatten() {
            let path = entry.path();
            if is_own(&path, files) { own.push(path) } else { strange = true }
        }
        if !own.is_empty() && !strange && !directory.as_os_str().is_empty() {
            own.push(directory.to_owned());
        }
        changed.extend(own.into_iter().filter(|path| restrict_path(path)));
    }
    changed
}

/// Returns whether a path is one of the files, stands beside one under its name, or leads to one.
fn is_own(path: &Path, files: &[PathBuf]) -> bool {
    files.iter().any(|file| {
        let beside = file.parent() == path.parent()
            && path.file_name().zip(file.file_name()).is_some_and(|(name, own)| {
                name.as_encoded_bytes()
                    .strip_prefix(own.as_encoded_bytes())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"-") || rest.starts_with(b"."))
            });
        beside || file.parent().is_some_and(|parent| parent.starts_with(path))
    })
}

/// Removes the permissions of others. Files of other users can't be changed and stay as they are.
#[cfg(unix)]
fn restrict_path(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let Ok(meta) = fs::symlink_metadata(path) else { return false };
    let mode = meta.permissions().mode() & 0o7777;
    if meta.is_symlink() || mode & OTHERS == 0 {
        return false;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode & !OTHERS)).is_ok()
}

#[cfg(not(unix))]
fn restrict_path(_path: &Path) -> bool {
    false
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn widen(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn only_own_files_and_directories_are_restricted() {
        let directory = tempfile::tempdir().unwrap();
        let (data, shared) = (directory.path().join("data"), directory.path().join("shared"));
        let files = [data.join("github.db"), data.join("logs/logfile.txt"), shared.join("queue.db")];
        for path in &files {
            create_dir_all(path.parent().unwrap()).unwrap();
        }
        let strange = shared.join("queue.dbx");
        let more = [data.join("github.db-wal"), data.join("logs/logfile.txt.2026-01-31.gz"), strange.clone()];
        for path in files.iter().chain(&more) {
            assert!(!path.exists());
            open(OpenOptions::new().create(true).append(true), path).unwrap();
            assert_eq!(mode(path), 0o600);
            widen(path, 0o664);
        }
        for path in [&data, &data.join("logs"), &shared] {
            assert_eq!(mode(path), 0o700);
            widen(path, 0o755);
        }
        assert!(is_readable_by_others(&files[0]));
        assert_eq!(restrict_to_owner(&files).len(), 7);
        assert!(!is_readable_by_others(&files[0]));
        for path in [&data, &data.join("logs")] {
            assert_eq!(mode(path), 0o700);
        }
        assert_eq!((mode(&more[0]), mode(&more[1]), mode(&files[2])), (0o600, 0o600, 0o600));
        assert_eq!((mode(&shared), mode(&strange)), (0o755, 0o664), "what is not msght's stays");
        assert!(restrict_to_owner(&files).is_empty());
    }
}
