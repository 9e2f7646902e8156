//! Converts the merged values to checked settings; defines the defaults.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::error::ConfigError;
use super::keys::KEYS;
use super::origin::{Origin, Origins};
use super::sources::Layers;
use super::{
    DURATION_EXPECTED, DocumentSettings, DumpSettings, EventSettings, GithubSettings, MirrorSettings, QueueSettings,
    Settings, SqlSettings, StoreSettings, TelemetrySettings, WebhookSettings, app_key, parse_duration, tokens,
};
use crate::azure::Account;
use crate::backend_url::{BackendKind, BackendUrl, redacted};
use crate::mirror::{EventPublishing, ForkCommits};
use crate::secret::Secret;
use crate::telemetry::{ConnectionString, Level, LogConfig};

const DATA_DIR: &str = "msght-data";
const API_URL: &str = "https://api.github.com/";
const USER_AGENT: &str = concat!("msght/", env!("CARGO_PKG_VERSION"));
const RESERVE: u32 = 50;
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 4567);
const ADMIN_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 4568);
/// With all events, these kinds are nearly all deliveries, and nothing that is mirrored changes with them.
const IGNORE: [&str; 7] =
    ["check_run", "check_suite", "workflow_run", "workflow_job", "status", "deployment", "deployment_status"];
const WEBHOOK_KEEP_DAYS: u32 = 30;
const EXCHANGE: &str = "github";
const PREFETCH: u16 = 16;
/// With waits that grow fourfold, five attempts take three quarters of an hour.
const ATTEMPTS: u32 = 5;
/// The upper bound of `queue.attempts`.
const MAX_ATTEMPTS: u64 = 1000;
const RETRY_AFTER: Duration = Duration::from_secs(30);
const LEVEL: Level = Level::Info;
const KEEP_DAYS: u32 = 14;
/// A database is usually back within this time after a restart or a failover.
const STORE_TIMEOUT: Duration = Duration::from_mins(5);
/// GitHub allows 100 concurrent requests to one account and app; 90 leaves room for others.
pub(super) const MAX_CONCURRENCY: usize = 90;
/// The default of concurrent requests per token.
pub(super) const CONCURRENCY_PER_TOKEN: usize = 16;
/// The maximum length of an AMQP exchange name, in bytes.
const MAX_EXCHANGE_LEN: usize = 255;
/// The maximum length of an App's id, in characters; a client id has 20.
const MAX_APP_ID_LEN: usize = 64;
/// The upper bound of `logging.keep_days` and `webhooks.keep_days`: more than ten years is a typing error.
const MAX_KEEP_DAYS: u64 = 3650;

/// Checks the merged values, and fills in the defaults.
pub(super) fn check(layers: &Layers) -> Result<Settings, ConfigError> {
    let values = Values(layers);
    let data_dir = values.path("data_dir")?.unwrap_or_else(|| PathBuf::from(DATA_DIR));
    let origins = KEYS.iter().map(|key| (key.path, layers.origin(key.path)));
    Ok(Settings {
        documents: DocumentSettings {
            url: values
                .store("documents.url", &[BackendKind::Sqlite, BackendKind::Mongodb], "sqlite:PATH or mongodb://...")?
                .unwrap_or_else(|| BackendUrl::sqlite(data_dir.join("documents.db"))),
        },
        sql: SqlSettings {
            url: values
                .store("sql.url", &[BackendKind::Sqlite, BackendKind::Mysql], "sqlite:PATH or mysql://...")?
                .unwrap_or_else(|| BackendUrl::sqlite(data_dir.join("github.db"))),
        },
        queue: values.queue(&data_dir)?,
        stores: StoreSettings { timeout: values.duration("stores.timeout")?.unwrap_or(STORE_TIMEOUT) },
        dump: values.dump(&data_dir)?,
        github: values.github()?,
        mirror: MirrorSettings { fork_commits: values.fork_commits()?.unwrap_or_default() },
        events: EventSettings { publish: values.events_publish()?.unwrap_or_default() },
        webhooks: values.webhooks()?,
        telemetry: TelemetrySettings {
            connection: values.connection()?,
            via_queue: values.0.flag("telemetry.via_queue").unwrap_or_default(),
        },
        logging: LogConfig {
            file: values.path("logging.file")?.unwrap_or_else(|| data_dir.join("logfile.txt")),
            level: values.level()?.unwrap_or(LEVEL),
            keep_days: values.number("logging.keep_days", 1..=MAX_KEEP_DAYS)?.unwrap_or(KEEP_DAYS),
        },
        data_dir,
        origins: Origins(origins.filter(|(_, origin)| *origin != Origin::Default).collect()),
    })
}

/// Returns whether a text starts like a token of GitHub's.
fn looks_like_a_token(text: &str) -> bool {
    let kind = text.strip_prefix("gh").and_then(|rest| rest.split_once('_'));
    text.starts_with("github_pat_") || kind.is_some_and(|(kind, _)| kind.len() == 1)
}

/// Checked access to the merged values.
struct Values<'a>(&'a Layers);

impl Values<'_> {
    /// Creates the error for an invalid value.
    fn invalid(&self, key: &str, found: impl Into<String>, expected: impl Into<String>) -> ConfigError {
        ConfigError::Value {
            origin: self.0.origin(key),
            key: key.to_owned(),
            found: found.into(),
            expected: expected.into(),
        }
    }

    fn queue(&self, data_dir: &Path) -> Result<QueueSettings, ConfigError> {
        let backends = [BackendKind::Sqlite, BackendKind::Amqp];
        Ok(QueueSettings {
            url: self
                .store("queue.url", &backends, "sqlite:PATH, amqp://... or amqps://...")?
                .unwrap_or_else(|| BackendUrl::sqlite(data_dir.join("queue.db"))),
            exchange: self.exchange()?.unwrap_or_else(|| EXCHANGE.to_owned()),
            prefetch: self.number("queue.prefetch", 1..=u64::from(u16::MAX))?.unwrap_or(PREFETCH),
            attempts: self.number("queue.attempts", 1..=MAX_ATTEMPTS)?.unwrap_or(ATTEMPTS),
            retry_after: self.duration("queue.retry_after")?.unwrap_or(RETRY_AFTER),
        })
    }

    fn dump(&self, data_dir: &Path) -> Result<DumpSettings, ConfigError> {
        let backends = [BackendKind::File, BackendKind::Azure];
        let target = self.store("dump.target", &backends, "file:PATH or az://CONTAINER/PREFIX")?;
        let is_azure = target.as_ref().is_some_and(|target| target.kind() == BackendKind::Azure);
        Ok(DumpSettings {
            target: target.unwrap_or_else(|| BackendUrl::file(data_dir.join("dumps"))),
            // Azure's variables may be meant for other programs: errors in them matter for an az: target only.
            azure: match self.azure() {
                Err(error) if is_azure => return Err(error),
                account => account.unwrap_or_default(),
            },
        })
    }

    fn github(&self) -> Result<GithubSettings, ConfigError> {
        let origin = |key: &str| self.0.origin(key).to_string();
        let tokens_file = self.path("github.tokens_file")?;
        let file_tokens = match &tokens_file {
            Some(path) => tokens::read_file(path, &origin("github.tokens_file"))?,
            None => Vec::new(),
        };
        let (app_id, app_private_key_file) = self.app()?;
        let app_private_key = match &app_private_key_file {
            Some(path) => Some(app_key::read_file(path, &origin("github.app_private_key_file"))?),
            None => None,
        };
        let default_api_url =
            || Url::parse(API_URL).map_err(|error| self.invalid("github.api_url", error.to_string(), "a URL"));
        Ok(GithubSettings {
            api_url: self.api_root("github.api_url")?.map_or_else(default_api_url, Ok)?,
            public_url: self.api_root("github.public_url")?,
            tokens: self.0.list("github.tokens").into_iter().map(Secret::new).collect(),
            tokens_file,
            hook_token: self.token("github.hook_token")?,
            app_id,
            app_private_key_file,
            app_private_key,
            concurrency: self.number("github.concurrency", 1..=MAX_CONCURRENCY as u64)?,
            reserve: self.number("github.reserve", 0..=u64::from(u32::MAX))?.unwrap_or(RESERVE),
            user_agent: self.user_agent()?.unwrap_or_else(|| USER_AGENT.to_owned()),
            file_tokens,
        })
    }

    fn path(&self, key: &str) -> Result<Option<PathBuf>, ConfigError> {
        match self.0.text(key) {
            Some(text) if text.is_empty() || text.contains('\0') => {
                Err(self.invalid(key, format!("{text:?}"), "a path that is not empty"))
            }
            // The error must not show the text: it may be a secret.
            Some(text) if text.contains('\n') || looks_like_a_token(&text) => {
                Err(self.invalid(key, "a key or a token itself", "the path of a file that holds it"))
            }
            text => Ok(text.map(PathBuf::from)),
        }
    }

    fn number<T: TryFrom<u64>>(&self, key: &str, range: RangeInclusive<u64>) -> Result<Option<T>, ConfigError> {
        let Some(number) = self.0.number(key) else { return Ok(None) };
        match T::try_from(number) {
            Ok(converted) if range.contains(&number) => Ok(Some(converted)),
            _ => {
                let expected = format!("a whole number from {} to {}", range.start(), range.end());
                Err(self.invalid(key, number.to_string(), expected))
            }
        }
    }

    fn duration(&self, key: &str) -> Result<Option<Duration>, ConfigError> {
        let parse = |text: String| {
            parse_duration(&text).ok_or_else(|| self.invalid(key, format!("{text:?}"), DURATION_EXPECTED))
        };
        self.0.text(key).map(parse).transpose()
    }

    fn store(&self, key: &str, allowed: &[BackendKind], expected: &str) -> Result<Option<BackendUrl>, ConfigError> {
        self.0
            .text(key)
            .map(|text| BackendUrl::parse(&text, allowed).map_err(|found| self.invalid(key, found, expected)))
            .transpose()
    }

    fn token(&self, key: &str) -> Result<Option<Secret>, ConfigError> {
        match self.0.text(key) {
            None => Ok(None),
            Some(text) => match tokens::problem(tokens::trimmed(&text)) {
                Some(problem) => Err(self.invalid(key, problem, "a token of visible ASCII characters")),
                None => Ok(Some(Secret::new(tokens::trimmed(&text)))),
            },
        }
    }

    fn app(&self) -> Result<(Option<String>, Option<PathBuf>), ConfigError> {
        const ID: &str = "github.app_id";
        const KEY_FILE: &str = "github.app_private_key_file";
        let id = self.0.text(ID);
        if let Some(text) = &id
            && (text.is_empty()
                || text.len() > MAX_APP_ID_LEN
                || !text.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-'))
        {
            let shown = if text.len() > MAX_APP_ID_LEN { "a long text".to_owned() } else { format!("{text:?}") };
            return Err(self.invalid(ID, shown, "the App's id or its client id"));
        }
        let file = self.path(KEY_FILE)?;
        match (&id, &file) {
            (Some(_), None) => Err(self.invalid(ID, "an App without its key", format!("{KEY_FILE} beside it"))),
            (None, Some(_)) => Err(self.invalid(KEY_FILE, "a key without its App", format!("{ID} beside it"))),
            _ => Ok((id, file)),
        }
    }

    /// Returns an HTTP URL without credentials.
    fn web_url(&self, key: &str) -> Result<Option<Url>, ConfigError> {
        const EXPECTED: &str = "an http:// or https:// URL without a user or password in it";
        let Some(text) = self.0.text(key) else { return Ok(None) };
        let shown = || {
            if text.contains("://") { format!("{:?}", redacted(&text)) } else { "a text that is not a URL".to_owned() }
        };
        let url = Url::parse(&text).map_err(|_| self.invalid(key, shown(), EXPECTED))?;
        if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
            return Err(self.invalid(key, shown(), EXPECTED));
        }
        Ok(Some(url))
    }

    /// Returns an API's root URL; its path ends in a slash.
    fn api_root(&self, key: &str) -> Result<Option<Url>, ConfigError> {
        let Some(mut url) = self.web_url(key)? else { return Ok(None) };
        if url.query().is_some() || url.fragment().is_some() {
            return Err(self.invalid(
                key,
                "a URL with a query or a fragment",
                "the API's root, as https://HOST/api/v3/",
            ));
        }
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        Ok(Some(url))
    }

    /// Returns the Azure account; `None` unless both its name and its key are set.
    fn azure(&self) -> Result<Option<Account>, ConfigError> {
        const NAME: &str = "dump.azure_account";
        const KEY: &str = "dump.azure_access_key";
        const ENDPOINT: &str = "dump.azure_endpoint";
        let endpoint = self.web_url(ENDPOINT)?;
        if endpoint.as_ref().is_some_and(|url| url.query().is_some() || url.fragment().is_some()) {
            return Err(self.invalid(ENDPOINT, "a URL with a query or a fragment", "the address alone"));
        }
        let (Some(name), Some(key)) = (self.0.text(NAME), self.0.text(KEY)) else { return Ok(None) };
        // The errors show neither: they are easily confused.
        let Some(default) = Account::default_endpoint(&name) else {
            return Err(self.invalid(NAME, "an invalid account name", "3 to 24 lower-case letters and digits"));
        };
        let key = Secret::new(key);
        if !Account::is_key(&key) {
            return Err(self.invalid(KEY, "an invalid account key", "one of the account's keys, in base64"));
        }
        Ok(Some(Account { name, key, endpoint: endpoint.unwrap_or(default) }))
    }

    fn connection(&self) -> Result<Option<ConnectionString>, ConfigError> {
        const KEY: &str = "telemetry.connection_string";
        let Some(text) = self.0.text(KEY) else { return Ok(None) };
        let expected = "InstrumentationKey=...;IngestionEndpoint=https://..., or the key alone";
        text.parse().map(Some).map_err(|found: &str| self.invalid(KEY, found, expected))
    }

    fn user_agent(&self) -> Result<Option<String>, ConfigError> {
        const KEY: &str = "github.user_agent";
        match self.0.text(KEY) {
            Some(text) if text.trim().is_empty() || !text.chars().all(|c| c == ' ' || c.is_ascii_graphic()) => {
                Err(self.invalid(KEY, format!("{text:?}"), "visible ASCII characters, which an HTTP header can carry"))
            }
            text => Ok(text),
        }
    }

    fn exchange(&self) -> Result<Option<String>, ConfigError> {
        const KEY: &str = "queue.exchange";
        match self.0.text(KEY) {
            Some(text) if text.is_empty() || text.len() > MAX_EXCHANGE_LEN || text.chars().any(char::is_control) => {
                Err(self.invalid(KEY, format!("{text:?}"), "a name of 1 to 255 bytes without control characters"))
            }
            text => Ok(text),
        }
    }

    fn webhooks(&self) -> Result<WebhookSettings, ConfigError> {
        const ADMIN: &str = "webhooks.admin_listen";
        const IGNORED: &str = "webhooks.ignore";
        let admin_listen = self.socket_address(ADMIN)?.unwrap_or(ADMIN_LISTEN);
        let admin_token = self.token("webhooks.admin_token")?;
        if !admin_listen.ip().is_loopback() && admin_token.is_none() {
            let found = format!("{admin_listen}, which other machines reach, without a token");
            return Err(self.invalid(ADMIN, found, "webhooks.admin_token beside it, or a loopback address"));
        }
        let is_event = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let ignore = if self.0.has(IGNORED) {
            self.words(IGNORED, is_event, "names of events, as check_run")?
        } else {
            IGNORE.map(str::to_owned).to_vec()
        };
        let is_host = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        Ok(WebhookSettings {
            listen: self.socket_address("webhooks.listen")?.unwrap_or(LISTEN),
            public_url: self.web_url("webhooks.public_url")?,
            secrets: self.webhook_secrets()?,
            admin_listen,
            admin_token,
            admin_hosts: self.words("webhooks.admin_hosts", is_host, "names of hosts, as msght.example.com")?,
            ignore,
            keep_days: self.number("webhooks.keep_days", 1..=MAX_KEEP_DAYS)?.unwrap_or(WEBHOOK_KEEP_DAYS),
        })
    }

    fn socket_address(&self, key: &str) -> Result<Option<SocketAddr>, ConfigError> {
        const EXPECTED: &str = "an address and a port, as 127.0.0.1:4567 or [::]:4567";
        let parse = |text: String| text.parse().map_err(|_| self.invalid(key, format!("{text:?}"), EXPECTED));
        self.0.text(key).map(parse).transpose()
    }

    fn words(&self, key: &str, allowed: impl Fn(char) -> bool, expected: &str) -> Result<Vec<String>, ConfigError> {
        let words = self.0.list(key);
        match words.iter().find(|word| word.is_empty() || !word.chars().all(&allowed)) {
            Some(word) => Err(self.invalid(key, format!("{word:?}"), expected)),
            None => Ok(words),
        }
    }

    fn webhook_secrets(&self) -> Result<Vec<Secret>, ConfigError> {
        const KEY: &str = "webhooks.secret";
        let secrets = self.0.list(KEY);
        for text in &secrets {
            if text.is_empty() {
                return Err(self.invalid(KEY, "an empty text", "a secret, or the key left out"));
            }
            if text.chars().any(char::is_control) {
                return Err(self.invalid(KEY, "a text with control characters", "a secret without them"));
            }
        }
        Ok(secrets.into_iter().map(Secret::new).collect())
    }

    fn fork_commits(&self) -> Result<Option<ForkCommits>, ConfigError> {
        const KEY: &str = "mirror.fork_commits";
        let parse = |text: String| {
            ForkCommits::ALL
                .into_iter()
                .find(|choice| choice.name() == text)
                .ok_or_else(|| self.invalid(KEY, format!("{text:?}"), "fork_point, all or none"))
        };
        self.0.text(KEY).map(parse).transpose()
    }

    fn events_publish(&self) -> Result<Option<EventPublishing>, ConfigError> {
        const KEY: &str = "events.publish";
        let parse = |text: String| {
            EventPublishing::ALL
                .into_iter()
                .find(|choice| choice.name() == text)
                .ok_or_else(|| self.invalid(KEY, format!("{text:?}"), "live, all or none"))
        };
        self.0.text(KEY).map(parse).transpose()
    }

    fn level(&self) -> Result<Option<Level>, ConfigError> {
        const KEY: &str = "logging.level";
        self.0
            .text(KEY)
            .map(|text| {
                <Level as clap::ValueEnum>::from_str(&text, true)
                    .map_err(|_| self.invalid(KEY, format!("{text:?}"), "error, warn, info, debug or trace"))
            })
            .transpose()
    }
}
