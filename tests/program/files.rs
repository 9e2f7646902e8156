//! What is about the embedded stores alone: files that are no stores, or can't be written.

use crate::support::fake_github::{FakeGitHub, Options, World, names};
use crate::support::program::Place;
use crate::support::stores::{StoredData, difference};

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
        let place = Place::new(fake.url());
        std::fs::create_dir_all(place.data_dir()).unwrap();
        let path = place.data_dir().join(file);
        std::fs::write(&path, text.repeat(100)).unwrap();
        place.run(&["retrieve-repo", names::QUIET]).await.said(2, &[file, "not a SQLite database"]);
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
        let place = Place::new(fake.url());
        place.mirror(&[names::QUIET, "--only", "labels"]).await;
        let done = std::process::Command::new("sqlite3").arg(place.data_dir().join(file)).arg(sql).status().unwrap();
        assert!(done.success());
        place.run(&["retrieve-repo", names::QUIET]).await.said(2, &[file, "newer msght"]);
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_data_directory_that_cannot_be_written_is_said() {
    let fake = quiet_world().await;
    // A file in the place of the directory, and a directory under one that can't be made even by root.
    let place = Place::new(fake.url());
    std::fs::write(place.data_dir(), "a file").unwrap();
    place.run(&["retrieve-repo", names::QUIET]).await.said(2, &["msght-data"]);
    let place = Place::new(fake.url()).with("MSGHT_DATA_DIR", "/proc/msght-data");
    place.run(&["retrieve-repo", names::QUIET]).await.said(2, &["/proc/msght-data"]);
}

/// A file system of one megabyte, where this machine lets a test mount one.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_is_said_and_the_run_goes_on_when_there_is_space() {
    let fake = quiet_world().await;
    let place = Place::new(fake.url());
    // The stores' own limit on their size gives the same error as a full disk, without one.
    place.mirror(&[names::QUIET, "--only", "labels"]).await;
    let tiny = place.path().join("tiny");
    std::fs::create_dir(&tiny).unwrap();
    let mounted =
        std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=600k", "tmpfs"]).arg(&tiny).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        // Without the right to mount, a limit on file sizes stands in for the disk: writes beyond it fail alike.
        let args =
            format!("ulimit -f 300; trap '' XFSZ; exec {} retrieve-repo {}", env!("CARGO_BIN_EXE_msght"), names::WEB);
        let output = std::process::Command::new("bash")
            .args(["-c", &args])
            .current_dir(place.path())
            .env("MSGHT_GITHUB__API_URL", fake.url())
            .env("MSGHT_TOKENS", "fake-token")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
        place.mirror(&[names::WEB]).await;
        return;
    }
    let data = tiny.join("data");
    let full = Place::new(fake.url()).with("MSGHT_DATA_DIR", data.to_str().unwrap());
    let ran = full.run(&["retrieve-repo", names::WEB]).await;
    let grown = std::process::Command::new("mount").args(["-o", "remount,size=200m"]).arg(&tiny).status().unwrap();
    assert!(grown.success());
    let again = full.run(&["retrieve-repo", names::WEB]).await;
    let found = StoredData::embedded(&data);
    let dump = found.dump().await;
    std::process::Command::new("umount").arg(&tiny).status().unwrap();
    assert!(ran.code == Some(1) || ran.code == Some(2), "{}", ran.err);
    assert!(ran.err.contains("disk is full") || ran.err.contains("disk I/O error"), "{}", ran.err);
    assert_eq!(again.code, Some(0), "{}", again.err);
    let fresh = Place::new(fake.url());
    fresh.mirror(&[names::WEB]).await;
    assert_eq!(difference(&fresh.dump().await, &dump), None);
}

#[tokio::test]
async fn two_stores_in_one_file_are_refused_before_it_is_made() {
    let fake = quiet_world().await;
    let place =
        Place::new(fake.url()).with("MSGHT_DOCUMENTS__URL", "sqlite:one.db").with("MSGHT_SQL__URL", "sqlite:one.db");
    place.run(&["retrieve-repo", names::QUIET]).await.said(2, &["name the same file"]);
    assert!(!place.path().join("one.db").exists());
}
