//! Bad input: a clear message, the right exit code, nothing half-written.

use std::io::Write;

use crate::support::fake_github::{FakeGitHub, Options, World, names};
use crate::support::program::{Place, Ran};

fn said(ran: &Ran, code: i32, texts: &[&str]) {
    assert_eq!(ran.code, Some(code), "{}\n{}", ran.out, ran.err);
    for text in texts {
        assert!(ran.err.contains(text), "{text:?} is not in\n{}", ran.err);
    }
}

async fn quiet_world() -> FakeGitHub {
    FakeGitHub::start(World::edge_cases(1), Options::unlimited()).await
}

#[tokio::test]
async fn an_unknown_repository_and_a_bad_token_are_said() {
    let fake = quiet_world().await;
    said(
        &Place::new(fake.url()).run(&["retrieve-repo", "contoso/nothing"]).await,
        1,
        &["no token can read contoso/nothing", "404"],
    );
    let ran = Place::new(fake.url()).tokens("ghp_wrongwrongwrong").run(&["retrieve-repo", names::QUIET]).await;
    said(&ran, 1, &["401", "ghp_…"]);
    assert!(!ran.err.contains("wrongwrong"), "{}", ran.err);
}

#[tokio::test]
async fn an_api_host_that_is_down_is_said_within_seconds() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let started = std::time::Instant::now();
    let ran = Place::new(&format!("http://127.0.0.1:{port}/")).run(&["retrieve-repo", names::QUIET]).await;
    said(&ran, 1, &[&format!("127.0.0.1:{port}"), "refused"]);
    assert!(started.elapsed().as_secs() < 20);
}

/// A server that answers anything with the same bytes.
fn answering(bytes: &'static [u8]) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 2048];
            let _ = std::io::Read::read(&mut stream, &mut request);
            let _ = stream.write_all(bytes);
        }
    });
    address.to_string()
}

#[tokio::test]
async fn a_server_that_is_not_github_is_said_to_be_none() {
    let host = answering(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 20\r\nConnection: close\r\n\r\n<html>A page.</html>");
    let ran = Place::new(&format!("http://{host}/")).run(&["retrieve-repo", names::QUIET]).await;
    said(&ran, 1, &["api_url"]);
}

#[tokio::test]
async fn broken_tls_is_said_to_be_tls() {
    let host = answering(b"this is no TLS record");
    let ran = Place::new(&format!("https://{host}/")).run(&["retrieve-repo", names::QUIET]).await;
    said(&ran, 1, &["TLS"]);
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
        said(&place.run(&["retrieve-repo", names::QUIET]).await, 2, &[file, "not a SQLite database"]);
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
        said(&place.run(&["retrieve-repo", names::QUIET]).await, 2, &[file, "newer msght"]);
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_data_directory_that_cannot_be_written_is_said() {
    let fake = quiet_world().await;
    // A file in the place of the directory, and a directory under one that can't be made even by root.
    let place = Place::new(fake.url());
    std::fs::write(place.data_dir(), "a file").unwrap();
    said(&place.run(&["retrieve-repo", names::QUIET]).await, 2, &["msght-data"]);
    let place = Place::new(fake.url()).with("MSGHT_DATA_DIR", "/proc/msght-data");
    said(&place.run(&["retrieve-repo", names::QUIET]).await, 2, &["/proc/msght-data"]);
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
    let found = crate::support::stores::StoresOnDisk::of(&data);
    let dump = (found.documents().await, found.tables().await);
    std::process::Command::new("umount").arg(&tiny).status().unwrap();
    assert!(ran.code == Some(1) || ran.code == Some(2), "{}", ran.err);
    assert!(ran.err.contains("disk is full") || ran.err.contains("disk I/O error"), "{}", ran.err);
    assert_eq!(again.code, Some(0), "{}", again.err);
    let fresh = Place::new(fake.url());
    fresh.mirror(&[names::WEB]).await;
    assert_eq!(crate::support::stores::difference(&fresh.dump().await, &dump), None);
}

#[tokio::test]
async fn two_stores_in_one_file_are_refused_before_it_is_made() {
    let fake = quiet_world().await;
    let place =
        Place::new(fake.url()).with("MSGHT_DOCUMENTS__URL", "sqlite:one.db").with("MSGHT_SQL__URL", "sqlite:one.db");
    said(&place.run(&["retrieve-repo", names::QUIET]).await, 2, &["name the same file"]);
    assert!(!place.path().join("one.db").exists());
}
