//! MariaDB for tests: a server of the test process's own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, Connection as _};
use tempfile::TempDir;

use super::block_on_thread::block_on_thread;
use super::{free_port, program, scratch, spawn};

const INSTALL: &str = "sudo apt-get install mariadb-server";
/// A start takes a fraction of a second; one that recovers from a kill on a busy machine, a few.
const STARTED_WITHIN: Duration = Duration::from_secs(60);
/// A free port may be taken by another process before the server has it.
const ATTEMPTS: usize = 3;

/// A running MariaDB server. Its `root` has no password and may do everything, from this machine alone.
pub struct MariaDb {
    directory: TempDir,
    port: u16,
    arguments: Vec<String>,
    child: Mutex<Child>,
}

impl MariaDb {
    /// The one that all tests of this process share, started by the first that asks.
    pub fn shared() -> &'static MariaDb {
        static SHARED: OnceLock<MariaDb> = OnceLock::new();
        SHARED.get_or_init(MariaDb::start)
    }

    /// A server of the caller's own, which ends when it is dropped.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// A server with more arguments, for example `--max-connections=5`; they win over the usual ones.
    pub fn start_with(arguments: &[&str]) -> Self {
        let directory = scratch::directory("mariadb");
        install(directory.path());
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut failure = String::new();
        for _ in 0..ATTEMPTS {
            let port = free_port();
            match launch(directory.path(), port, &arguments) {
                Ok(child) => return Self { directory, port, arguments, child: Mutex::new(child) },
                Err(said) => failure = said,
            }
        }
        panic!("MariaDB does not start:\n{failure}");
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where root finds a database.
    pub fn url(&self, database: &str) -> String {
        format!("mysql://root@127.0.0.1:{}/{database}", self.port)
    }

    /// A fresh, empty database; its name.
    pub fn create_database(&self) -> String {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        self.execute(&format!("CREATE DATABASE {name}"));
        name
    }

    /// Runs statements as root, separated by `;`.
    ///
    /// # Panics
    /// When one fails.
    pub fn execute(&self, sql: &str) {
        self.try_execute(sql).expect(sql);
    }

    /// Runs statements as root, separated by `;`.
    ///
    /// # Errors
    /// What the server said, or that it can't be reached.
    pub fn try_execute(&self, sql: &str) -> Result<(), sqlx::Error> {
        let options = root_options().host("127.0.0.1").port(self.port);
        block_on_thread(async move {
            let mut connection = MySqlConnection::connect_with(&options).await?;
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
            connection.close().await
        })
    }

    /// Ends the server at once, as a crash would (SIGKILL).
    pub fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        child.kill().expect("the server is killed");
        child.wait().expect("the server has ended");
    }

    /// Starts the server that was killed again: the same port, the same data.
    pub fn restart(&self) {
        let mut child = self.child.lock().unwrap();
        *child = launch(self.directory.path(), self.port, &self.arguments)
            .unwrap_or_else(|said| panic!("MariaDB does not start again:\n{said}"));
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        if let Ok(child) = self.child.get_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn root_options() -> MySqlConnectOptions {
    MySqlConnectOptions::new().username("root").ssl_mode(sqlx::mysql::MySqlSslMode::Disabled)
}

fn binary(name: &str) -> PathBuf {
    program(name, &["/usr/sbin", "/usr/local/sbin"].map(Path::new), INSTALL)
}

/// The server refuses to run as root unless it is told to.
fn as_this_user(command: &mut Command) {
    // SAFETY: it reads a number of this process.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if unsafe { libc::geteuid() } == 0 {
        command.arg("--user=root");
    }
}

/// A server that starts deletes the temporary tables that lie in its directory for them: in a common one, those of others
/// that run.
fn temporary(directory: &Path) -> String {
    format!("--tmpdir={}", directory.join("tmp").display())
}

/// Makes the system tables.
fn install(directory: &Path) {
    std::fs::create_dir(directory.join("tmp")).expect("a directory for temporary tables");
    let mut command = Command::new(binary("mariadb-install-db"));
    command
        .arg("--no-defaults")
        .arg(format!("--datadir={}", directory.join("data").display()))
        .arg(temporary(directory));
    // Several servers that are made at once would use up what the kernel has of native asynchronous I/O.
    command.args(["--auth-root-authentication-method=normal", "--skip-test-db", "--innodb-use-native-aio=0"]);
    as_this_user(&mut command);
    let output = command.stdin(Stdio::null()).output().expect("mariadb-install-db starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
}

/// Starts the server and waits until it answers; the end of its log if it ends before.
fn launch(directory: &Path, port: u16, arguments: &[String]) -> Result<Child, String> {
    let file = |name: &str| directory.join(name).display().to_string();
    let mut command = Command::new(binary("mariadbd"));
    command.arg("--no-defaults").arg(format!("--port={port}")).arg("--bind-address=127.0.0.1");
    command.arg(format!("--datadir={}", file("data"))).arg(format!("--socket={}", file("socket")));
    command.arg(format!("--pid-file={}", file("pid"))).arg(format!("--log-error={}", file("log")));
    command.arg(temporary(directory));
    command.args(["--skip-networking=0", "--skip-name-resolve", "--character-set-server=utf8mb4"]);
    // Many small databases at once; no replica to feed.
    command.args(["--max-connections=500", "--skip-log-bin", "--performance-schema=OFF"]);
    command.args(["--innodb-buffer-pool-size=96M", "--innodb-log-file-size=32M", "--innodb-use-native-aio=0"]);
    // A killed server keeps what it has handed to the operating system, a power cut would not: no test cuts the power.
    command.args(["--innodb-flush-log-at-trx-commit=2", "--innodb-flush-method=nosync", "--sync-frm=0"]);
    command.args(arguments);
    as_this_user(&mut command);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = spawn(command);
    let options = root_options().socket(file("socket"));
    let deadline = Instant::now() + STARTED_WITHIN;
    loop {
        // Its own socket, not the port: another server may hold that.
        let options = options.clone();
        let answers = block_on_thread(async move {
            let connecting = MySqlConnection::connect_with(&options);
            let connection = tokio::time::timeout(Duration::from_secs(5), connecting).await.ok()?.ok()?;
            connection.close().await.ok()
        });
        let ended = child.try_wait().expect("the server can be waited for").is_some();
        if answers.is_some() && !ended {
            return Ok(child);
        }
        if ended || Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            let log = std::fs::read_to_string(file("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            return Err(lines[lines.len().saturating_sub(20)..].join("\n"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
