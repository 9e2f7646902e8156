//! The built program, run as a process over a data directory of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::backends::{Backends, FreshStores, selected};
use super::servers::rabbitmq::RabbitServer;
use super::stores::{Documents, StoredData, Tables};

/// Directory, stores and API address of the program under test.
pub struct Sandbox {
    directory: TempDir,
    stores: FreshStores,
    api_url: String,
    tokens: String,
    environment: Vec<(String, String)>,
}

/// Exit code and output of a run.
#[derive(Debug)]
pub struct RunOutput {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// No run of a test takes longer; one that does hangs.
const PATIENCE: Duration = Duration::from_secs(240);

impl Sandbox {
    /// A fresh directory and empty stores of the test program's family, with the token that the fake GitHub knows by
    /// default.
    pub fn new(api_url: &str) -> Self {
        Self::over(api_url, selected(), selected())
    }

    /// The same with each store on what it is asked for.
    pub fn over(api_url: &str, documents: Backends, relational: Backends) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        Self {
            stores: FreshStores::new(&data_dir(&directory), documents, relational),
            directory,
            api_url: api_url.to_owned(),
            tokens: "fake-token".to_owned(),
            environment: Vec::new(),
        }
    }

    /// The same over stores that are there.
    pub fn at(api_url: &str, stores: StoredData) -> Self {
        Self {
            directory: TempDir::new().expect("a temporary directory"),
            stores: FreshStores::of(stores),
            api_url: api_url.to_owned(),
            tokens: "fake-token".to_owned(),
            environment: Vec::new(),
        }
    }

    /// A work queue of the family's: the default file, or a virtual host of RabbitMQ's.
    pub fn with_queue(self) -> Self {
        match selected() {
            Backends::Embedded => self,
            Backends::Servers => self.with("MSGHT_QUEUE__URL", &RabbitServer::shared().vhost_url()),
        }
    }

    /// Other tokens, comma-separated; none for anonymous.
    pub fn tokens(mut self, tokens: &str) -> Self {
        self.tokens = tokens.to_owned();
        self
    }

    /// One more variable of the environment.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A variable of the environment that was set by [`Sandbox::with`].
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.iter().rev().find(|(set, _)| set == name).map(|(_, value)| value.as_str())
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn data_dir(&self) -> PathBuf {
        data_dir(&self.directory)
    }

    /// The program with these arguments, not yet started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(executable());
        command.args(args).current_dir(self.path()).env_clear().stdin(Stdio::null());
        command.env("MSGHT_GITHUB__API_URL", &self.api_url).env("RUST_BACKTRACE", "1");
        if !self.tokens.is_empty() {
            command.env("MSGHT_TOKENS", &self.tokens);
        }
        command.envs(self.stores.environment());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    pub fn spawn(&self, args: &[&str]) -> Child {
        self.command(args).spawn().expect("the program starts")
    }

    pub async fn run(&self, args: &[&str]) -> RunOutput {
        finish(self.spawn(args)).await
    }

    /// Mirrors a repository and expects that all went well.
    pub async fn mirror(&self, args: &[&str]) -> RunOutput {
        let mut all = vec!["retrieve-repo"];
        all.extend(args);
        let output = self.run(&all).await;
        assert_eq!(output.code, Some(0), "{args:?}\n{}\n{}", output.out, output.err);
        output
    }

    pub fn stores(&self) -> &StoredData {
        self.stores.data()
    }

    /// Everything in the stores, comparable.
    pub async fn dump(&self) -> (Documents, Tables) {
        self.stores().dump().await
    }
}

/// The program's default below the directory that it runs in.
fn data_dir(directory: &TempDir) -> PathBuf {
    directory.path().join("msght-data")
}

/// The built program: Cargo names it to tests and benchmarks; where one is started by hand, it stands beside them.
fn executable() -> PathBuf {
    std::env::var_os("CARGO_BIN_EXE_msght").map_or_else(
        || {
            let own = std::env::current_exe().expect("the test's own path");
            own.ancestors().nth(2).expect("a directory").join(format!("msght{}", std::env::consts::EXE_SUFFIX))
        },
        PathBuf::from,
    )
}

/// Waits for a run's end.
pub async fn finish(child: Child) -> RunOutput {
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("the program ends").unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program writes UTF-8");
    let output = RunOutput { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) };
    assert!(!output.err.contains("panicked"), "{}", output.err);
    output
}

impl RunOutput {
    /// Asserts the exit code, and that standard error contains all of these texts.
    pub fn assert_output(&self, code: i32, texts: &[&str]) {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        for text in texts {
            assert!(self.err.contains(text), "{text:?} is not in\n{}", self.err);
        }
    }

    /// A stage's line of the closing table: result and the numbers behind it.
    pub fn stage(&self, stage: &str) -> Vec<String> {
        let line = self.out.lines().find(|line| line.split_whitespace().next() == Some(stage));
        let line = line.unwrap_or_else(|| panic!("no line for {stage} in\n{}\n{}", self.out, self.err));
        line.split_whitespace().skip(1).map(str::to_owned).collect()
    }
}
