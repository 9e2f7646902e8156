//! Directories for servers' data, which go even where the process that made them could not tidy up.

use std::path::Path;

use tempfile::TempDir;

/// A fresh directory below the system's own for temporary files, gone when it is dropped.
///
/// A server that all tests of a process share is never dropped: its directory carries the process's id, and the next
/// process that asks for one of the same kind removes those whose process is gone.
pub fn directory(kind: &str) -> TempDir {
    let prefix = format!("msght-test-{kind}-");
    remove_abandoned(&prefix);
    tempfile::Builder::new()
        .prefix(&format!("{prefix}{}-", std::process::id()))
        .tempdir()
        .expect("a temporary directory")
}

fn remove_abandoned(prefix: &str) {
    // Only here is it known whose process is gone.
    if !Path::new("/proc/self").exists() {
        return;
    }
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let rest = name.to_str().and_then(|name| name.strip_prefix(prefix));
        let process = rest.and_then(|rest| rest.split('-').next()).and_then(|id| id.parse::<u32>().ok());
        if process.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists()) {
            // Another process may be removing it at this moment, or it belongs to another user.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
