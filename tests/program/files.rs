//! What is about the embedded stores alone: files that are no stores, or can't be written.

use fake_github::{FakeGitHub, Options, World, names};
use support::program::Sandbox;
use support::stores::{StoredData, difference};

async fn quiet_world() -> FakeGitHub {
    FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await
}

#[tokio::test]
async fn a_store_that_is_no_sqlite_file_is_left_alone() {
    let fake = quiet_world().await;
    for (file, text) in [
        ("documents.db", "not a database, but long enough to look like one"),
        ("github.db", "the same here, and it has to stay as it was"),
    ] {
        let sandbox = Sandbox::new(fake.url());
        std::fs::create_dir_all(sandbox.data_dir()).unwrap();
        let path = sandbox.data_dir().join(file);
        std::fs::write(&path, text.repeat(100)).unwrap();
        sandbox.run(&["retrieve-repo", names::QUIET]).await.assert_output(2, &[file, "not a SQLite database"]);
        assert_eq!(std::fs::read_to_string(path).unwrap(), text.repeat(100));
    }
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_not_touched() {
    let fake = quiet_world().await;
    for (file, sql) in [
        ("documents.db", "PRAGMA user_version = 99"),
        (
            "github.db",
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'later', 1, x'00', 1)",
        ),
    ] {
        let sandbox = Sandbox::new(fake.url());
        sandbox.mirror(&[names::QUIET, "--only", "labels"]).await;
        let done = std::process::Command::new("sqlite3").arg(sandbox.data_dir().join(file)).arg(sql).status().unwrap();
        assert!(done.success());
        sandbox.run(&["retrieve-repo", names::QUIET]).await.assert_output(2, &[file, "newer msght"]);
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn unwritable_data_directory_is_reported() {
    let fake = quiet_world().await;
    // A file in the place of the directory, and a directory under one that can't be made even by root.
    let sandbox = Sandbox::new(fake.url());
    std::fs::write(sandbox.data_dir(), "a file").unwrap();
    sandbox.run(&["retrieve-repo", names::QUIET]).await.assert_output(2, &["msght-data"]);
    let sandbox = Sandbox::new(fake.url()).with("MSGHT_DATA_DIR", "/proc/msght-data");
    sandbox.run(&["retrieve-repo", names::QUIET]).await.assert_output(2, &["/proc/msght-data"]);
}

/// A file system of one megabyte, where this machine lets a test mount one.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn full_disk_is_reported_and_run_resumes() {
    let fake = quiet_world().await;
    let sandbox = Sandbox::new(fake.url());
    // The stores' own limit on their size gives the same error as a full disk, without one.
    sandbox.mirror(&[names::QUIET, "--only", "labels"]).await;
    let tiny = sandbox.path().join("tiny");
    std::fs::create_dir(&tiny).unwrap();
    let mounted =
        std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=600k", "tmpfs"]).arg(&tiny).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        // Without the right to mount, a limit on file sizes stands in for the disk: writes beyond it fail alike.
        let args =
            format!("ulimit -f 300; trap '' XFSZ; exec {} retrieve-repo {}", env!("CARGO_BIN_EXE_msght"), names::WEB);
        let output = std::process::Command::new("bash")
            .args(["-c", &args])
            .current_dir(sandbox.path())
            .env("MSGHT_GITHUB__API_URL", fake.url())
            .env("MSGHT_TOKENS", "fake-token")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
        sandbox.mirror(&[names::WEB]).await;
        return;
    }
    let data = tiny.join("data");
    let full = Sandbox::new(fake.url()).with("MSGHT_DATA_DIR", data.to_str().unwrap());
    let output = full.run(&["retrieve-repo", names::WEB]).await;
    let grown = std::process::Command::new("mount").args(["-o", "remount,size=200m"]).arg(&tiny).status().unwrap();
    assert!(grown.success());
    let again = full.run(&["retrieve-repo", names::WEB]).await;
    let found = StoredData::embedded(&data);
    let dump = found.dump().await;
    std::process::Command::new("umount").arg(&tiny).status().unwrap();
    assert!(output.code == Some(1) || output.code == Some(2), "{}", output.err);
    assert!(output.err.contains("disk is full") || output.err.contains("disk I/O error"), "{}", output.err);
    assert_eq!(again.code, Some(0), "{}", again.err);
    let fresh = Sandbox::new(fake.url());
    fresh.mirror(&[names::WEB]).await;
    assert_eq!(difference(&fresh.dump().await, &dump), None);
}

#[tokio::test]
async fn two_stores_in_one_file_are_rejected() {
    let fake = quiet_world().await;
    let sandbox =
        Sandbox::new(fake.url()).with("MSGHT_DOCUMENTS__URL", "sqlite:one.db").with("MSGHT_SQL__URL", "sqlite:one.db");
    sandbox.run(&["retrieve-repo", names::QUIET]).await.assert_output(2, &["name the same file"]);
    assert!(!sandbox.path().join("one.db").exists());
}

#[cfg(unix)]
#[tokio::test]
async fn what_is_mirrored_is_readable_by_its_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};

    fn below(directory: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { [below(&path), vec![path]].concat() } else { vec![path] }).collect()
    }
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let widen = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    let fake = quiet_world().await;
    let tokens = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(tokens.path(), "fake-token\n").unwrap();
    let sandbox =
        Sandbox::new(fake.url()).tokens("").with("MSGHT_GITHUB__TOKENS_FILE", tokens.path().to_str().unwrap());
    std::fs::write(sandbox.path().join("orgs.txt"), "fabrikam\n").unwrap();
    let output = sandbox.run(&["get-repos"]).await;
    output.assert_output(0, &[]);
    assert!(!output.err.contains("other users"), "{}", output.err);
    sandbox.mirror(&[names::QUIET]).await;
    assert_eq!(mode(&sandbox.path().join("projects.txt")), 0o600);
    let data = sandbox.data_dir();
    let paths = [below(&data), vec![data.clone()]].concat();
    assert!(paths.len() > 5, "{paths:?}");
    for path in &paths {
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode(path), expected, "{}", path.display());
    }
    // What an earlier version has left open is closed, and said once.
    for path in &paths {
        widen(path, if path.is_dir() { 0o755 } else { 0o644 });
    }
    widen(tokens.path(), 0o640);
    let output = sandbox.mirror(&[names::QUIET]).await;
    assert_eq!(output.err.matches("readable by other users").count(), 1, "{}", output.err);
    for path in &paths {
        assert!(!path.exists() || mode(path) & 0o077 == 0, "{}", path.display());
    }
    let warned = format!("the tokens file, {}, can be read by other users", tokens.path().display());
    assert!(output.err.contains(&format!("warning: {warned}")), "{}", output.err);
    let checked = sandbox.run(&["check"]).await;
    assert!(checked.out.contains(&warned), "{}\n{}", checked.out, checked.err);
    assert_eq!(mode(tokens.path()), 0o640, "users' own files are left to them");
}
