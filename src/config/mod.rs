//! Typed settings, loaded once at the start.
//!
//! Flags take precedence over the environment, that over the configuration file, and that over the defaults.
//! [`Sources`] merges them into one set of values, [`Settings::load`] checks each value and keeps its [`Origin`].
//!
//! | file | contents |
//! |---|---|
//! | `keys.rs` | the name and type of every key |
//! | `sources.rs`, `origin.rs` | the layers, and where each value came from |
//! | `values.rs` | defaults and checks |
//! | `duration.rs`, `tokens.rs`, `app_key.rs` | values with a form of their own |
//! | `display.rs` | the settings as users may see them |
//! | `exposure.rs` | files with secrets that others can read |
//! | `error.rs` | errors in the settings |

mod app_key;
mod display;
mod duration;
mod error;
mod exposure;
mod keys;
mod origin;
mod sources;
mod tokens;
mod values;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

pub use crate::backend_url::{BackendKind, BackendUrl};
pub use display::SettingEntry;
pub use duration::{DURATION_EXPECTED, duration_text, parse_duration};
pub use error::ConfigError;
pub use keys::{KEYS, Key};
pub use origin::Origin;
pub use sources::{Sources, nearest};
pub use tokens::{ReadToken, problem as token_problem};

use crate::azure::Account;
use crate::mirror::{EventPublishing, ForkCommits};
use crate::secret::Secret;
use crate::telemetry::{ConnectionString, LogConfig};

/// All settings, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The directory of the embedded stores.
    pub data_dir: PathBuf,
    /// The document store.
    pub documents: DocumentSettings,
    /// The relational store.
    pub sql: SqlSettings,
    /// Work queues and event routing.
    pub queue: QueueSettings,
    /// Settings common to all stores and the queue.
    pub stores: StoreSettings,
    /// Dumps.
    pub dump: DumpSettings,
    /// GitHub's API.
    pub github: GithubSettings,
    /// The extent of the mirror.
    pub mirror: MirrorSettings,
    /// Events and their routing.
    pub events: EventSettings,
    /// The webhook server.
    pub webhooks: WebhookSettings,
    /// The destination of telemetry besides the log.
    pub telemetry: TelemetrySettings,
    /// The log file.
    pub logging: LogConfig,
    /// The origin of each key's value.
    origins: origin::Origins,
}

/// `documents.*`
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentSettings {
    /// The document store's URL.
    pub url: BackendUrl,
}

/// `sql.*`
#[derive(Debug, Clone, PartialEq)]
pub struct SqlSettings {
    /// The relational store's URL.
    pub url: BackendUrl,
}

/// `queue.*`
#[derive(Debug, Clone, PartialEq)]
pub struct QueueSettings {
    /// The queue's URL.
    pub url: BackendUrl,
    /// The topic exchange that events are published to.
    pub exchange: String,
    /// Maximum number of unacknowledged messages per consumer.
    pub prefetch: u16,
    /// Maximum number of attempts before a message becomes a dead letter.
    pub attempts: u32,
    /// The delay after a message's first failure; it grows fourfold with each further one.
    pub retry_after: Duration,
}

/// `stores.*`
#[derive(Debug, Clone, PartialEq)]
pub struct StoreSettings {
    /// Time to wait for a server that doesn't respond.
    pub timeout: Duration,
}

/// `dump.*`
#[derive(Debug, Clone, PartialEq)]
pub struct DumpSettings {
    /// The destination of dumps.
    pub target: BackendUrl,
    /// The Azure account of an `az:` target.
    pub azure: Option<Account>,
}

/// `github.*`
#[derive(Debug, Clone, PartialEq)]
pub struct GithubSettings {
    /// The API's root URL; its path always ends in `/`, so that paths can be joined to it.
    pub api_url: Url,
    /// The API's root URL as the server writes it into responses, where that is another address.
    pub public_url: Option<Url>,
    /// Read tokens of the file or the environment, in their order; [`Settings::tokens`] returns all of them.
    pub tokens: Vec<Secret>,
    /// A file of further read tokens.
    pub tokens_file: Option<PathBuf>,
    /// The token for webhooks, if one is set; [`Settings::hook_token`] returns the effective one.
    pub hook_token: Option<Secret>,
    /// The GitHub App's id or client id.
    pub app_id: Option<String>,
    /// The GitHub App's private key, a PEM file. Set whenever `app_id` is.
    pub app_private_key_file: Option<PathBuf>,
    /// The content of that file.
    app_private_key: Option<Secret>,
    /// Maximum number of concurrent requests, 1 to 90; `None` for 16 per token and at most 90.
    pub concurrency: Option<usize>,
    /// Requests per hour to leave unused on each token.
    pub reserve: u32,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// The content of the tokens file.
    file_tokens: Vec<tokens::FileToken>,
}

/// `mirror.*`
#[derive(Debug, Clone, PartialEq)]
pub struct MirrorSettings {
    /// The rule for the commits that count as a fork's own.
    pub fork_commits: ForkCommits,
}

/// `events.*`
#[derive(Debug, Clone, PartialEq)]
pub struct EventSettings {
    /// The rule for which stored events are published to the exchange.
    pub publish: EventPublishing,
}

/// `webhooks.*`
#[derive(Debug, Clone, PartialEq)]
pub struct WebhookSettings {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The URL at which GitHub reaches the server.
    pub public_url: Option<Url>,
    /// The secrets that may sign deliveries; the first one is given to new webhooks.
    pub secrets: Vec<Secret>,
    /// The address on which status, metrics and readiness are served.
    pub admin_listen: SocketAddr,
    /// The token that requests to that address need; set whenever it is not a loopback address.
    pub admin_token: Option<Secret>,
    /// The names under which that address may be called, beside loopback names and addresses.
    pub admin_hosts: Vec<String>,
    /// Events whose deliveries are answered and counted, but not kept.
    pub ignore: Vec<String>,
    /// Days for which the bodies of finished deliveries are kept.
    pub keep_days: u32,
}

/// `telemetry.*`
#[derive(Debug, Clone, PartialEq)]
pub struct TelemetrySettings {
    /// A resource of Application Insights.
    pub connection: Option<ConnectionString>,
    /// Events of the webhook server go over the queue to `msght webhook-listener`.
    pub via_queue: bool,
}

impl Settings {
    /// Reads and checks the settings of all sources.
    ///
    /// # Errors
    /// The first unknown key, invalid value or unreadable file.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let settings = values::check(&sources.read()?)?;
        settings.ensure_distinct_files()?;
        Ok(settings)
    }

    /// Returns the key of the setting that uses a file, if one does.
    pub fn setting_for_file(&self, file: &Path) -> Option<&'static str> {
        let same = |other: &Path| std::path::absolute(other).ok() == std::path::absolute(file).ok();
        self.files().into_iter().find(|(_, used)| same(used)).map(|(key, _)| key)
    }

    /// Returns the files that msght creates: stores, the queue, the shared rate limits and the log.
    pub fn own_files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = self.files().into_iter().map(|(_, file)| file).collect();
        files.extend(self.sql.url.sqlite_path().map(crate::store::rate_limits::path_beside));
        files
    }

    /// Returns the files that settings name, each with its key.
    fn files(&self) -> Vec<(&'static str, PathBuf)> {
        let stores =
            [("documents.url", &self.documents.url), ("sql.url", &self.sql.url), ("queue.url", &self.queue.url)];
        let stores = stores.into_iter().filter_map(|(key, url)| Some((key, url.sqlite_path()?.to_owned())));
        stores.chain([("logging.file", self.logging.file.clone())]).collect()
    }

    /// Checks that queue and log share no file with others; the stores check each other when they are opened.
    fn ensure_distinct_files(&self) -> Result<(), ConfigError> {
        for (key, file) in self.files().into_iter().skip_while(|(key, _)| *key != "queue.url" && *key != "logging.file")
        {
            if let Some(other) = self.setting_for_file(&file).filter(|other| *other != key) {
                return Err(ConfigError::Value {
                    origin: self.origin(key).clone(),
                    key: key.to_owned(),
                    found: format!("the file of {other}"),
                    expected: "a file of its own".to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Returns the read tokens: those of `github.tokens` (or the environment), then those of the tokens file.
    /// A token in both has the file's reserve.
    pub fn tokens(&self) -> Vec<ReadToken> {
        tokens::merge(&self.github.tokens, &self.github.file_tokens, self.github.reserve)
    }

    /// Replaces all read tokens and the App by one token.
    pub fn set_read_token(&mut self, token: Secret) {
        self.github.tokens = vec![token];
        self.github.file_tokens.clear();
        self.github.app_private_key = None;
    }

    /// Returns the token that manages webhooks: `github.hook_token`, else the first read token.
    pub fn hook_token(&self) -> Option<Secret> {
        self.github.hook_token.clone().or_else(|| self.tokens().into_iter().next().map(|token| token.secret))
    }

    /// Returns the GitHub App's id and its private key in PEM form, if there is an App.
    pub fn app(&self) -> Option<(&str, &Secret)> {
        self.github.app_id.as_deref().zip(self.github.app_private_key.as_ref())
    }

    /// Returns the maximum number of concurrent requests: `github.concurrency`, else 16 per token and at most 90.
    pub fn concurrency(&self) -> usize {
        self.github.concurrency.unwrap_or_else(|| {
            (self.tokens().len().max(1) * values::CONCURRENCY_PER_TOKEN).min(values::MAX_CONCURRENCY)
        })
    }

    /// Returns the origin of a key's value.
    pub fn origin(&self, key: &str) -> &Origin {
        self.origins.of(key)
    }
}

#[cfg(test)]
mod tests;
