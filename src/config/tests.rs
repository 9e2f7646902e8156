//! Tests of the settings as users meet them: from texts to values or errors.

use std::ffi::OsString;

use std::path::Path;

use super::*;
use crate::telemetry::Level;

const DOCUMENTED: &str = include_str!("../../config/msght.toml");

fn sources(directory: &Path, environment: &[(&str, &str)]) -> Sources {
    Sources {
        environment: environment.iter().map(|(name, text)| (OsString::from(name), OsString::from(text))).collect(),
        directory: Some(directory.to_owned()),
        ..Sources::default()
    }
}

/// Loads settings from a configuration file and an environment.
fn load(file: &str, environment: &[(&str, &str)]) -> Result<Settings, String> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("msght.toml"), file).unwrap();
    Settings::load(&sources(directory.path(), environment)).map_err(|error| error.to_string())
}

fn defaults() -> Settings {
    let directory = tempfile::tempdir().unwrap();
    Settings::load(&sources(directory.path(), &[])).unwrap()
}

fn values(settings: &Settings) -> Vec<(&'static str, serde_json::Value)> {
    settings.entries().into_iter().map(|entry| (entry.key, entry.value)).collect()
}

fn exposed(settings: &Settings) -> Vec<(String, u32)> {
    settings.tokens().iter().map(|token| (token.secret.expose().to_owned(), token.reserve)).collect()
}

#[test]
fn defaults_apply_without_any_source() {
    let settings = defaults();
    assert_eq!(settings.documents.url.to_string(), "sqlite:msght-data/documents.db");
    assert_eq!(settings.dump.target.to_string(), "file:msght-data/dumps");
    assert_eq!(settings.github.api_url.as_str(), "https://api.github.com/");
    assert_eq!(settings.logging.file, Path::new("msght-data/logfile.txt"));
    assert_eq!((settings.concurrency(), settings.github.reserve), (16, 50));
    assert_eq!(settings.tokens(), []);
    assert!(settings.entries().iter().all(|entry| entry.origin == Origin::Default && entry.value != "?"));
    assert_eq!(settings.sql.url.sqlite_path(), Some(Path::new("msght-data/github.db")));
}

#[test]
fn documented_file_has_every_key_with_its_default() {
    let as_shipped = load(DOCUMENTED, &[]).unwrap();
    assert_eq!(values(&as_shipped), values(&defaults()));

    // With every key in force, those with a default still show it.
    let directory = tempfile::tempdir().unwrap();
    let (tokens, pem) = (directory.path().join("tokens.txt"), directory.path().join("app.pem"));
    std::fs::write(&tokens, "ghp_third\n").unwrap();
    std::fs::write(&pem, include_str!("../../tests/fake-github/src/app_key.pem")).unwrap();
    let uncommented: String = DOCUMENTED
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if KEYS.iter().any(|key| rest.starts_with(&format!("{} = ", last_part(key)))) => rest,
            _ => line,
        })
        .map(|line| format!("{line}\n"))
        .collect::<String>()
        .replace("\"tokens.txt\"", &format!("{:?}", tokens.display().to_string()))
        .replace("\"app.pem\"", &format!("{:?}", pem.display().to_string()))
        .replace("\"msght/0.1.0\"", &format!("\"msght/{}\"", env!("CARGO_PKG_VERSION")));
    let settings = load(&uncommented, &[]).unwrap();
    let without_default = ["github.tokens", "github.tokens_file", "github.hook_token", "github.app_id"]
        .into_iter()
        .chain([
            "github.app_private_key_file",
            "webhooks.public_url",
            "webhooks.secret",
            "webhooks.admin_token",
            "telemetry.connection_string",
        ])
        .chain(["github.public_url", "dump.azure_account", "dump.azure_access_key", "dump.azure_endpoint"]);
    let without_default: Vec<&str> = without_default.collect();
    for ((key, value), (_, default)) in values(&settings).into_iter().zip(values(&defaults())) {
        assert!(matches!(settings.origin(key), Origin::File(_)), "{key} is in the documented file");
        if without_default.contains(&key) {
            assert_eq!(default, serde_json::Value::Null, "{key}");
            assert_ne!(value, default, "{key}");
        } else {
            assert_eq!(value, default, "{key}");
        }
    }
}

fn last_part(key: &Key) -> &'static str {
    key.path.rsplit('.').next().unwrap_or(key.path)
}

#[test]
fn flags_override_environment_which_overrides_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("msght.toml");
    std::fs::write(&file, "data_dir = 'f'\n[logging]\nlevel = 'error'\nkeep_days = 3\n[github]\nreserve = 7\n")
        .unwrap();
    let mut sources = sources(
        directory.path(),
        &[("MSGHT_DATA_DIR", "e"), ("MSGHT_LOGGING__LEVEL", "warn"), ("MSGHT_LOGGING__KEEP_DAYS", "4")],
    );
    sources.log_level = Some(Level::Debug);
    let settings = Settings::load(&sources).unwrap();
    assert_eq!(settings.logging.level, Level::Debug);
    assert_eq!(settings.origin("logging.level"), &Origin::Flag("--log-level".to_owned()));
    assert_eq!(settings.logging.keep_days, 4);
    assert_eq!(settings.origin("logging.keep_days"), &Origin::Environment("MSGHT_LOGGING__KEEP_DAYS".to_owned()));
    assert_eq!(settings.github.reserve, 7);
    assert_eq!(settings.origin("github.reserve"), &Origin::File(file));
    assert_eq!(settings.sql.url.to_string(), "sqlite:e/github.db");
}

#[test]
fn configured_store_ignores_data_dir() {
    let settings = load("data_dir = 'd'\n[sql]\nurl = 'sqlite:x.db'", &[]).unwrap();
    assert_eq!(settings.sql.url.sqlite_path(), Some(Path::new("x.db")));
    assert_eq!(settings.documents.url.sqlite_path(), Some(Path::new("d/documents.db")));
}

#[test]
fn passwords_of_servers_are_redacted() {
    for (name, url) in [
        ("MSGHT_DOCUMENTS__URL", "mongodb://u:s3cret@h"),
        ("MSGHT_SQL__URL", "mysql://u:s3cret@h/d"),
        ("MSGHT_QUEUE__URL", "amqps://u:s3cret@h"),
    ] {
        let settings = load("", &[(name, url)]).unwrap();
        assert!(!format!("{settings:?}{:?}", settings.entries()).contains("s3cret"));
    }
}

#[test]
fn environment_tokens_add_up_and_replace_those_of_the_file() {
    let file = "[github]\ntokens = 'ghp_file1, ghp_file2'";
    assert_eq!(exposed(&load(file, &[]).unwrap()), [("ghp_file1".to_owned(), 50), ("ghp_file2".to_owned(), 50)]);
    let environment = [("GHT_READ_TOKEN", "a"), ("MSGHT_TOKENS", "b, c,a"), ("GITHUB_TOKEN", "never")];
    let settings = load(file, &environment).unwrap();
    assert_eq!(exposed(&settings).iter().map(|(token, _)| token.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(settings.origin("github.tokens").to_string(), "environment GHT_READ_TOKEN, MSGHT_TOKENS");
    assert_eq!(settings.hook_token().unwrap().expose(), "a");
    assert_eq!(settings.concurrency(), 48);
}

#[test]
fn ambient_token_is_used_only_without_other_tokens() {
    let only = [("GITHUB_TOKEN", "gho_x"), ("GHT_READ_TOKEN", "")];
    assert_eq!(exposed(&load("", &only).unwrap()), [("gho_x".to_owned(), 50)]);
    assert_eq!(exposed(&load("[github]\ntokens = ['a']", &only).unwrap()), [("a".to_owned(), 50)]);
    // An unused one is not checked either.
    assert!(load("[github]\ntokens = ['a']", &[("GITHUB_TOKEN", "b c")]).is_ok());
}

#[test]
fn tokens_file_adds_tokens_with_own_reserves() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens");
    std::fs::write(&path, "# ours\n\nb 100\r\n  a\t7 # lent\nc\n").unwrap();
    let environment = [("MSGHT_GITHUB__TOKENS_FILE", path.to_str().unwrap()), ("GHT_READ_TOKEN", "a")];
    let settings = load("", &environment).unwrap();
    assert_eq!(exposed(&settings), [("a".to_owned(), 7), ("b".to_owned(), 100), ("c".to_owned(), 50)]);
}

#[test]
fn byte_order_mark_and_line_end_are_trimmed_from_tokens() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens");
    std::fs::write(&path, "\u{feff}b 100\r\nc\r\n").unwrap();
    let environment = [
        ("MSGHT_GITHUB__TOKENS_FILE", path.to_str().unwrap()),
        ("GHT_READ_TOKEN", "\u{feff}a, d\r\n"),
        ("MSGHT_GITHUB__HOOK_TOKEN", "\u{feff}h\r\n"),
    ];
    let settings = load("", &environment).unwrap();
    let tokens = [("a", 50), ("d", 50), ("b", 100), ("c", 50)].map(|(token, reserve)| (token.to_owned(), reserve));
    assert_eq!(exposed(&settings), tokens);
    assert_eq!(settings.hook_token().unwrap().expose(), "h");
}

#[test]
fn invalid_tokens_file_is_reported_by_line_without_tokens() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens");
    for (text, wanted) in [
        ("", "holds no token"),
        ("# none\n", "holds no token"),
        ("ghp_s3cret many\n", "line 1: the second field is not a whole number"),
        ("a\nghp_s3cret -1\n", "line 2"),
        ("a\n\nghp_s3cret 1 2\n", "line 3: found a third field"),
        ("ghp_s3cret\u{1}\n", "line 1: found a token with"),
        ("ghp_s3cret\u{a0}5\n", "line 1: found a token with"),
        ("ghp_s3cret 99999999999\n", "line 1"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = load("", &[("MSGHT_GITHUB__TOKENS_FILE", path.to_str().unwrap())]).unwrap_err();
        assert!(error.contains(wanted) && error.contains(path.to_str().unwrap()), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
    std::fs::remove_file(&path).unwrap();
    let error = load("", &[("MSGHT_GITHUB__TOKENS_FILE", path.to_str().unwrap())]).unwrap_err();
    assert!(error.contains("can't read the tokens file") && error.contains("tokens"), "{error}");
}

#[test]
fn unknown_keys_and_variables_are_reported_by_name() {
    for (file, wanted) in [
        ("colour = 1", "unknown key colour"),
        ("[github]\nap_url = 'x'", "did you mean github.api_url?"),
        ("[gitlab]\nx = 1", "unknown key gitlab"),
        ("[github.tokens.deep]\nx = 1", "github.tokens: found a section"),
        ("github = 1", "github: found a number, expected a section"),
    ] {
        let error = load(file, &[]).unwrap_err();
        assert!(error.contains(wanted) && error.contains("msght.toml"), "{file}: {error}");
    }
    for name in ["MSGHT_GITHUB__AP_URL", "MSGHT_COLOUR", "MSGHT_github__api_url", "MSGHT_", "MSGHT_GITHUB_API_URL"] {
        let error = load("", &[(name, "s3cret")]).unwrap_err();
        assert!(error.contains(name) && error.contains("unknown variable") && !error.contains("s3cret"), "{error}");
    }
    assert!(load("", &[("MSGHT_GITHUB_API_URL", "x")]).unwrap_err().contains("did you mean MSGHT_GITHUB__API_URL?"));
    assert!(load("", &[("MSGHT_TEST_ANYTHING", "x"), ("MSGHTX", "x"), ("PATH", "x")]).is_ok());
}

#[test]
fn invalid_value_is_reported_with_origin_and_expectation() {
    for (file, found, expected) in [
        ("[github]\nconcurrency = 0", "found 0", "from 1 to 90"),
        ("[github]\nconcurrency = 91", "found 91", "from 1 to 90"),
        ("[github]\nconcurrency = -1", "found -1", "a whole number"),
        ("[github]\nconcurrency = 1.5", "found 1.5", "a whole number"),
        ("[github]\nconcurrency = 'many'", "found \"many\"", "a whole number"),
        ("[github]\napi_url = 'ftp://h/'", "found \"ftp://h/\"", "http:// or https://"),
        ("[github]\napi_url = 'h'", "found a text that is not a URL", "http:// or https://"),
        ("[github]\napi_url = 'https://h/?a=b'", "a query", "https://HOST/api/v3/"),
        ("[github]\nuser_agent = \"a\\nb\"", "found \"a\\nb\"", "HTTP header"),
        ("[github]\napp_id = 5", "an App without its key", "app_private_key_file"),
        ("[github]\ntokens = 5", "found a number", "an array of strings"),
        ("[queue]\nprefetch = 0", "found 0", "from 1 to 65535"),
        ("[queue]\nexchange = ''", "found \"\"", "1 to 255"),
        ("[sql]\nurl = 'postgres://u:s3cret@h/d'", "the scheme postgres:", "mysql://"),
        ("[sql]\nurl = 'github.db'", "without a scheme", "sqlite:PATH"),
        ("[dump]\ntarget = 'sqlite:x'", "the scheme sqlite:", "file:PATH"),
        ("[webhooks]\nlisten = 'localhost'", "found \"localhost\"", "127.0.0.1:4567"),
        ("[webhooks]\nadmin_listen = '0.0.0.0:1'", "without a token", "webhooks.admin_token"),
        ("[webhooks]\nignore = 'Check Run'", "found \"Check Run\"", "check_run"),
        ("[webhooks]\nignore = [1]", "not a string as entry 1", "an array of strings"),
        ("[webhooks]\nadmin_hosts = ['a/b']", "found \"a/b\"", "names of hosts"),
        ("[webhooks]\nsecret = ''", "an empty text", "a secret"),
        ("[webhooks]\nkeep_days = 0", "found 0", "from 1"),
        ("[webhooks]\npublic_url = 'x'", "found a text that is not a URL", "http"),
        ("[logging]\nlevel = 'loud'", "found \"loud\"", "error, warn, info, debug or trace"),
        ("[logging]\nkeep_days = 0", "found 0", "from 1"),
        ("data_dir = ''", "found \"\"", "not empty"),
        ("data_dir = true", "found true", "a string"),
    ] {
        let error = load(file, &[]).unwrap_err();
        assert!(error.contains(found) && error.contains(expected) && error.contains("msght.toml"), "{file}: {error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
    let error = load("", &[("MSGHT_QUEUE__PREFETCH", "many")]).unwrap_err();
    assert_eq!(error, "environment MSGHT_QUEUE__PREFETCH: queue.prefetch: found \"many\", expected a whole number");
}

#[test]
fn errors_show_no_secrets() {
    for file in [
        "[github]\ntokens = 's3cret s3cret'",
        "[github]\ntokens = ['ok', 's3cret\u{7f}']",
        "[github]\ntokens = [\"s3cret\", 5]",
        "[github]\ntokens = 's3cret",
        "[github]\nhook_token = 's3cr\u{e9}t s3cret'",
        "[github]\nhook_token = ['s3cret']",
        "[github]\napi_url = 'https://u:s3cret@h/'",
        "[webhooks]\nsecret = \"s3cret\\u0001\"",
        "[webhooks]\nsecret = 's3cret' 's3cret'",
        "[webhooks]\nsecret = ['s3cret', \"s3cret\\u0001\"]",
        "[webhooks]\nsecret = ['s3cret', 5]",
        "[webhooks]\nadmin_token = 's3cret s3cret'",
        "[queue]\nurl = ['amqp://u:s3cret@h']",
    ] {
        let error = load(file, &[]).unwrap_err();
        assert!(!error.contains("s3cret"), "{file}: {error}");
    }
    for name in ["GHT_READ_TOKEN", "MSGHT_TOKENS", "GITHUB_TOKEN", "GHT_WEBHOOK_TOKEN", "GHT_WEBHOOK_SECRET"] {
        let error = load("", &[(name, "s3cret s3cret\u{1}")]).unwrap_err();
        assert!(error.contains(name) && !error.contains("s3cret"), "{error}");
    }
}

#[test]
fn own_variables_override_those_of_the_first_msght() {
    let old = [("GHT_WEBHOOK_URL", "https://old/"), ("GHT_WEBHOOK_SECRET", "old"), ("GHT_WEBHOOK_TOKEN", "old")];
    let settings = load("", &old).unwrap();
    assert_eq!(settings.webhooks.public_url.as_ref().unwrap().as_str(), "https://old/");
    assert_eq!(settings.webhooks.secrets[0].expose(), "old");
    assert_eq!(settings.hook_token().unwrap().expose(), "old");
    let settings = load("", &[old[0], ("MSGHT_WEBHOOKS__PUBLIC_URL", "https://new/")]).unwrap();
    assert_eq!(settings.webhooks.public_url.unwrap().as_str(), "https://new/");
}

#[test]
fn webhooks_take_several_secrets_and_lists() {
    let secrets = |settings: &Settings| -> Vec<String> {
        settings.webhooks.secrets.iter().map(|secret| secret.expose().to_owned()).collect()
    };
    let settings =
        load("[webhooks]\nsecret = ['new, one', 'old']\nignore = []\nadmin_hosts = 'a.example, b'", &[]).unwrap();
    assert_eq!(secrets(&settings), ["new, one", "old"]);
    assert_eq!(settings.webhooks.ignore, [""; 0]);
    assert_eq!(settings.webhooks.admin_hosts, ["a.example", "b"]);
    let settings =
        load("", &[("MSGHT_WEBHOOKS__SECRET", "new\nold"), ("MSGHT_WEBHOOKS__IGNORE", "status, push")]).unwrap();
    assert_eq!(secrets(&settings), ["new", "old"]);
    assert_eq!(settings.webhooks.ignore, ["status", "push"]);
}

#[test]
fn api_root_ends_in_a_slash() {
    let settings = load("[github]\napi_url = 'https://ghe.example.com/api/v3'", &[]).unwrap();
    assert_eq!(settings.github.api_url.as_str(), "https://ghe.example.com/api/v3/");
}

#[test]
fn named_file_must_exist_but_default_file_need_not() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("none.toml");
    let error = load("", &[("MSGHT_CONFIG", missing.to_str().unwrap())]).unwrap_err();
    assert!(error.contains("none.toml") && error.contains("MSGHT_CONFIG"), "{error}");
    let mut flag = sources(directory.path(), &[]);
    assert!(Settings::load(&flag).is_ok());
    flag.config = Some(missing);
    assert!(Settings::load(&flag).unwrap_err().to_string().contains("--config"));
}

#[test]
fn malformed_toml_is_reported_by_line() {
    let error = load("[github]\nreserve = 5\ntokens = [\n", &[]).unwrap_err();
    assert!(error.contains("msght.toml, line 3") || error.contains("msght.toml, line 4"), "{error}");
}

#[test]
fn key_file_without_key_is_reported_without_content() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("app.pem");
    let settings = format!("[github]\napp_id = 5\napp_private_key_file = {:?}", file.display().to_string());
    let public = include_str!("../../tests/fake-github/src/app_public.pem");
    for (content, found) in [
        ("", "no RSA private key"),
        ("-----BEGIN RSA PRIVATE KEY-----\nc2VjcmV0\n-----END RSA PRIVATE KEY-----\n", "no RSA private key"),
        (public, "a public key where the private one is needed"),
    ] {
        std::fs::write(&file, content).unwrap();
        let error = load(&settings, &[]).unwrap_err().to_string();
        assert!(error.contains(found) && error.contains("app.pem") && !error.contains("c2VjcmV0"), "{error}");
    }
    std::fs::remove_file(&file).unwrap();
    assert!(load(&settings, &[]).unwrap_err().to_string().contains("can't read the App's private key"));
}
