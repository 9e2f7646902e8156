//! A MongoDB-protocol server for tests.

use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{free_port, program, scratch, spawn};

/// A running server.
pub struct MongoServer {
    _directory: TempDir,
    port: u16,
    _child: Child,
}

impl MongoServer {
    /// The one that all tests of this process share.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<MongoServer> = OnceLock::new();
        SHARED.get_or_init(|| {
            let directory = scratch::directory("mongodb");
            let port = free_port();
            let venv = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.venv/bin");
            let mut command = Command::new(program("nx-27017", &[&venv], "tests/run"));
            command.arg("--data-dir").arg(directory.path()).args(["--host", "127.0.0.1", "-p", &port.to_string()]);
            command
                .arg("--log-file")
                .arg(directory.path().join("log"))
                .arg("--pid-file")
                .arg(directory.path().join("pid"));
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let child = spawn(command);
            let deadline = Instant::now() + Duration::from_secs(30);
            while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
                assert!(Instant::now() < deadline, "the server listens");
                std::thread::sleep(Duration::from_millis(50));
            }
            MongoServer { _directory: directory, port, _child: child }
        })
    }

    /// A database's URL.
    pub fn url(&self, database: &str) -> String {
        format!("mongodb://127.0.0.1:{}/{database}?directConnection=true", self.port)
    }
}
