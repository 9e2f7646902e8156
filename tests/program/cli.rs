//! The built program as users call it: help, settings, errors, exit codes. Each call runs in a directory of its own.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A directory and a cleaned environment to run the program in.
struct Sandbox {
    directory: TempDir,
    environment: Vec<(String, String)>,
}

/// What a run left.
struct RunOutput {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Sandbox {
    fn new() -> Self {
        Self { directory: TempDir::new().unwrap(), environment: Vec::new() }
    }

    fn with(mut self, name: &str, text: &str) -> Self {
        self.environment.push((name.to_owned(), text.to_owned()));
        self
    }

    fn file(self, name: &str, text: &str) -> Self {
        std::fs::write(self.path().join(name), text).unwrap();
        self
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_msght"));
        command.args(args).current_dir(self.path()).env_clear().stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(name, text)| (name, text)));
        command
    }

    fn run(&self, args: &[&str]) -> RunOutput {
        let Output { status, stdout, stderr } = self.command(args).output().unwrap();
        RunOutput {
            code: status.code(),
            out: String::from_utf8(stdout).unwrap(),
            err: String::from_utf8(stderr).unwrap(),
        }
    }

    /// What is in the directory.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path()).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl RunOutput {
    /// Asserts a refusal: exit 2, nothing on standard output, these texts on standard error, nothing that panics.
    fn refused(&self, texts: &[&str]) {
        assert_eq!(self.code, Some(2), "{}", self.err);
        assert_eq!(self.out, "");
        for text in texts {
            assert!(self.err.contains(text), "{text:?} is not in {}", self.err);
        }
        assert!(!self.err.contains("panicked"), "{}", self.err);
    }
}

#[test]
fn help_lists_working_commands() {
    let sandbox = Sandbox::new();
    let help = sandbox.run(&["--help"]);
    assert_eq!((help.code, help.err.as_str()), (Some(0), ""));
    let listed: Vec<&str> = help
        .out
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        // Further lines of a description are indented more.
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let commands = [
        "start",
        "get-repos",
        "retrieve-repo",
        "retrieve-repos",
        "update-repo",
        "retrieve-user",
        "retrieve-users",
        "mirror-events",
        "data-retrieval",
        "webhooks",
        "load",
        "webhook-listener",
        "hooks",
        "migrate",
        "check",
        "config",
        "completions",
    ];
    assert_eq!(listed, [&commands[..], &["help"]].concat());
    for command in commands {
        let help = sandbox.run(&[command, "--help"]);
        assert_eq!(help.code, Some(0));
        assert!(help.out.contains("Example"), "{}", help.out);
    }
    let version = sandbox.run(&["--version"]);
    assert_eq!(version.out, format!("msght {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(sandbox.names(), [""; 0]);
}

#[test]
fn a_usage_error_is_exit_2_and_creates_nothing() {
    let sandbox = Sandbox::new();
    for args in [
        &[][..],
        &["no-such-command"],
        &["config", "--no-such-option"],
        &["config", "extra"],
        &["config", "-v", "-q"],
        &["completions", "no-such-shell"],
        &["retrieve-repo"],
        &["retrieve-repo", "a/b", "--only", "everything"],
        &["retrieve-repo", "a/b", "--only", "events", "--no-events"],
        &["retrieve-repo", "a/b", "--events-after", "x"],
        &["retrieve-repo", "a/b", "--events-after", "5", "--events-before", "5"],
        &["retrieve-repo", "a/b", "--exclude-events", "Push Event"],
        &["retrieve-repo", "a/b", "--detail", "some"],
        &["--log-level", "loud", "config"],
    ] {
        sandbox.run(args).refused(&[]);
    }
    assert_eq!(sandbox.names(), [""; 0]);
}

#[test]
fn malformed_repository_name_exits_2() {
    let sandbox = Sandbox::new();
    for (names, shown) in [
        (&["a"][..], "\"a\""),
        (&["a/b/c"], "\"a/b/c\""),
        (&["../x"], "\"../x\""),
        (&["a", ".."], "\"a/..\""),
        (&["a/b", "c"], "\"c\""),
        (&["a", "b", "c"], "\"a\""),
        (&["a/b\u{1b}[2J\n"], "\\u{1b}[2J\\n"),
        (&[""], "\"\""),
        (&["https://github.com/a/b"], "\"https://github.com/a/b\""),
    ] {
        let output = sandbox.run(&[&["retrieve-repo"], names].concat());
        output.refused(&["error: ", shown, "expected OWNER/NAME"]);
        assert!(!output.err.contains('\u{1b}'), "{:?}", output.err);
    }
    assert_eq!(sandbox.names(), [""; 0]);
}

#[test]
fn config_shows_each_value_with_its_origin() {
    let sandbox = Sandbox::new().file("msght.toml", "[queue]\nprefetch = 5\n").with("MSGHT_GITHUB__RESERVE", "9");
    let output = sandbox.run(&["config", "--data-dir", "d"]);
    assert_eq!((output.code, output.err.as_str()), (Some(0), ""));
    let from = |key: &str| -> Vec<String> {
        let line = output.out.lines().find(|line| line.split_whitespace().next() == Some(key)).unwrap();
        line.split_whitespace().skip(1).map(str::to_owned).collect()
    };
    assert_eq!(from("data_dir"), ["d", "flag", "--data-dir"]);
    assert_eq!(from("sql.url"), ["sqlite:d/github.db", "default"]);
    assert_eq!(from("queue.prefetch"), ["5", "msght.toml"]);
    assert_eq!(from("github.reserve"), ["9", "environment", "MSGHT_GITHUB__RESERVE"]);
    assert_eq!(from("webhooks.secret"), ["-", "default"]);

    let json: serde_json::Value = serde_json::from_str(&sandbox.run(&["config", "--json"]).out).unwrap();
    assert_eq!(json["queue.prefetch"], serde_json::json!({"value": 5, "source": "file", "name": "msght.toml"}));
    assert_eq!(json["webhooks.secret"], serde_json::json!({"value": null, "source": "default", "name": null}));
    assert_eq!(sandbox.names(), ["msght.toml"]);
}

#[test]
fn no_secret_is_ever_shown() {
    let sandbox = Sandbox::new()
        .file("msght.toml", "[github]\ntokens_file = 'tokens'\n[queue]\nurl = 'amqp://u:S3CRETqueue@h'\n")
        .file("tokens", "ghp_S3CRETfile 10\n")
        .with("GHT_READ_TOKEN", "ghp_S3CRETread")
        .with("GITHUB_TOKEN", "gho_S3CRETsurroundings")
        .with("GHT_WEBHOOK_TOKEN", "ghp_S3CREThook")
        .with("GHT_WEBHOOK_SECRET", "S3CRETwebhooksecret")
        .with("MSGHT_DOCUMENTS__URL", "mongodb://u:S3CRETdocuments@h1,h2/db?password=S3CRETquery");
    for args in [
        &["config"][..],
        &["config", "--json"],
        &["config", "-v", "--log-level", "trace"],
        &["retrieve-repo", "a/b", "-v", "--log-level", "trace"],
    ] {
        let output = sandbox.run(args);
        // The first 4 characters of "S3CRETwebhooksecret" may be shown, as a token's.
        assert!(!output.out.contains("S3CRE") && !output.err.contains("S3CRE"), "{}{}", output.out, output.err);
    }
    let output = sandbox.run(&["config"]);
    assert!(
        output.out.contains("ghp_…") && output.out.contains("mongodb://u:***@h1,h2/db?password=***"),
        "{}",
        output.out
    );
}

#[test]
fn a_bad_configuration_is_exit_2_with_its_place() {
    let long_token = "ghp_S3CRETS3CRETS3CRET";
    for (file, texts) in [
        ("colour = 1", vec!["msght.toml", "unknown key colour"]),
        ("[github]\nap_url = 'x'", vec!["msght.toml", "github.ap_url", "did you mean github.api_url?"]),
        ("[github]\nconcurrency = 0", vec!["msght.toml: github.concurrency: found 0, expected a whole number from 1"]),
        ("[github]\n\ntokens = '", vec!["msght.toml, line 3"]),
        ("[github]\ntokens_file = 'none'", vec!["can't read the tokens file", "msght.toml", "none"]),
        ("[github]\ntokens_file = 'empty'", vec!["empty", "holds no token"]),
        ("[github]\ntokens_file = 'twice'", vec!["twice, line 2: the second field is not a whole number"]),
    ] {
        let sandbox = Sandbox::new()
            .file("msght.toml", file)
            .file("empty", "# nothing\n")
            .file("twice", &format!("a\n{long_token} {long_token}\n"));
        for command in [&["config"][..], &["retrieve-repo", "a/b"]] {
            let output = sandbox.run(command);
            output.refused(&texts);
            assert_eq!(output.err.lines().count(), 1, "{}", output.err);
            assert!(!output.err.contains("S3CRET"), "{}", output.err);
        }
        assert_eq!(sandbox.names(), ["empty", "msght.toml", "twice"]);
    }
}

#[test]
fn invalid_environment_exits_2_with_variable_name() {
    for (name, text, expected) in [
        ("MSGHT_COLOUR", "red", "unknown variable"),
        ("MSGHT_GITHUB__AP_URL", "x", "did you mean MSGHT_GITHUB__API_URL?"),
        ("MSGHT_GITHUB__API_URL", "ftp://x/", "http"),
        ("MSGHT_QUEUE__PREFETCH", "-1", "a whole number"),
        ("MSGHT_TOKENS", "ghp_S3CRET ghp_S3CRET", "a token with a space"),
    ] {
        let sandbox = Sandbox::new().with(name, text);
        let output = sandbox.run(&["config"]);
        output.refused(&["error: environment ", name, expected]);
        assert!(!output.err.contains("S3CRET"), "{}", output.err);
    }
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_text_is_exit_2() {
    use std::os::unix::ffi::OsStrExt;
    let sandbox = Sandbox::new();
    let bytes = std::ffi::OsStr::from_bytes(b"\xff\xfe");
    let output = sandbox.command(&["config"]).env("MSGHT_DATA_DIR", bytes).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("MSGHT_DATA_DIR"));
}

#[test]
fn named_configuration_file_must_be_readable() {
    let sandbox = Sandbox::new();
    sandbox.run(&["--config", "none.toml", "config"]).refused(&["none.toml", "--config"]);
    sandbox.run(&["config", "--config", "."]).refused(&["--config"]);
    Sandbox::new().with("MSGHT_CONFIG", "none.toml").run(&["config"]).refused(&["none.toml", "MSGHT_CONFIG"]);
    let named = Sandbox::new().file("own.toml", "data_dir = 'own'").file("msght.toml", "data_dir = 'not this'");
    assert!(named.run(&["config", "--config", "own.toml"]).out.contains("sqlite:own/github.db"));
}

#[test]
fn wrong_url_scheme_is_rejected_early() {
    let sandbox = Sandbox::new().with("MSGHT_SQL__URL", "postgres://u:S3CRET@h/d");
    let output = sandbox.run(&["retrieve-repo", "a/b"]);
    output.refused(&["MSGHT_SQL__URL", "sql.url", "postgres:", "sqlite:", "mysql:"]);
    assert!(!output.err.contains("S3CRET"), "{}", output.err);
    assert_eq!(sandbox.names(), [""; 0]);
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.run(&["config"]).code, Some(0));
}

#[test]
fn completions_ignore_configuration() {
    let sandbox = Sandbox::new().file("msght.toml", "colour = 1");
    for (shell, text) in [("bash", "complete -F"), ("zsh", "#compdef msght"), ("fish", "complete -c msght")] {
        let output = sandbox.run(&["completions", shell]);
        assert_eq!((output.code, output.err.as_str()), (Some(0), ""));
        assert!(output.out.contains(text) && output.out.contains("retrieve-repo"), "{shell}");
    }
    assert_eq!(sandbox.names(), ["msght.toml"]);
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    let sandbox = Sandbox::new();
    for args in [&["config"][..], &["completions", "bash"], &["--help"]] {
        let mut child = sandbox.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
