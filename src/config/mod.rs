//! Typed settings, read once at the start: flags, environment, configuration file, defaults, in this order of strength.

mod app_key;
mod duration;
mod error;
mod exposure;
mod keys;
mod logging;
mod origin;
mod show;
mod sources;
mod tokens;
mod values;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

pub use crate::backend_url::{BackendKind, BackendUrl};
pub use duration::{DURATION_EXPECTED, duration_text, parse_duration};
pub use error::ConfigError;
pub use keys::{KEYS, Key};
pub use logging::Level;
pub use origin::Origin;
pub use show::Entry;
pub use sources::Sources;
pub use tokens::{ReadToken, problem as token_problem};

use crate::azure::Account;
use crate::mirror::ForkCommits;
use crate::secret::Secret;
use crate::telemetry::Connection;

/// Every setting of msght, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Where the embedded stores keep their files.
    pub data_dir: PathBuf,
    /// The raw JSON.
    pub documents: DocumentSettings,
    /// The relational tables.
    pub sql: SqlSettings,
    /// Work queues and event routing.
    pub queue: QueueSettings,
    /// What holds for all stores and the queue.
    pub stores: StoreSettings,
    /// Dumps.
    pub dump: DumpSettings,
    /// GitHub's API.
    pub github: GithubSettings,
    /// What is mirrored.
    pub mirror: MirrorSettings,
    /// The webhook server.
    pub webhooks: WebhookSettings,
    /// Where telemetry is sent, beside the log.
    pub telemetry: TelemetrySettings,
    /// The log file.
    pub logging: LoggingSettings,
    /// Where each key's value came from.
    origins: origin::Origins,
}

/// `documents.*`
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentSettings {
    /// The store of the raw JSON.
    pub url: BackendUrl,
}

/// `sql.*`
#[derive(Debug, Clone, PartialEq)]
pub struct SqlSettings {
    /// The relational store.
    pub url: BackendUrl,
}

/// `queue.*`
#[derive(Debug, Clone, PartialEq)]
pub struct QueueSettings {
    /// The broker.
    pub url: BackendUrl,
    /// The topic exchange that events are published to.
    pub exchange: String,
    /// Unacknowledged messages that a consumer holds at most.
    pub prefetch: u16,
    /// How often a message is tried before it goes to the dead letters.
    pub attempts: u32,
    /// The wait after a message's first failure; each further one is four times as long.
    pub retry_after: Duration,
}

/// `stores.*`
#[derive(Debug, Clone, PartialEq)]
pub struct StoreSettings {
    /// How long a server that doesn't answer is waited for.
    pub timeout: Duration,
}

/// `dump.*`
#[derive(Debug, Clone, PartialEq)]
pub struct DumpSettings {
    /// Where dumps are put.
    pub target: BackendUrl,
    /// The Azure account that an `az:` target is in.
    pub azure: Option<Account>,
}

/// `github.*`
#[derive(Debug, Clone, PartialEq)]
pub struct GithubSettings {
    /// The API's root; its path always ends in `/`, so that paths can be joined to it.
    pub api_url: Url,
    /// The API's root as the server writes it into its answers, where that is another address.
    pub public_url: Option<Url>,
    /// Read tokens of the file or the environment, in their order; [`Settings::tokens`] has all of them.
    pub tokens: Vec<Secret>,
    /// A file of further read tokens.
    pub tokens_file: Option<PathBuf>,
    /// The token that manages hooks, if one is set; [`Settings::hook_token`] has the effective one.
    pub hook_token: Option<Secret>,
    /// The GitHub App's id or client id.
    pub app_id: Option<String>,
    /// The GitHub App's private key, a PEM file. Set whenever `app_id` is.
    pub app_private_key_file: Option<PathBuf>,
    /// What that file held when it was read.
    app_private_key: Option<Secret>,
    /// Requests in flight, 1 to 90; unset: 16 a token, 90 at most.
    pub concurrency: Option<usize>,
    /// Requests an hour to leave unused on each token.
    pub reserve: u32,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// What the tokens file held when it was read.
    file_tokens: Vec<tokens::FileToken>,
}

/// `mirror.*`
#[derive(Debug, Clone, PartialEq)]
pub struct MirrorSettings {
    /// Which commits of a fork are its own.
    pub fork_commits: ForkCommits,
}

/// `webhooks.*`
#[derive(Debug, Clone, PartialEq)]
pub struct WebhookSettings {
    /// Where the server listens.
    pub listen: SocketAddr,
    /// The address at which GitHub reaches the server.
    pub public_url: Option<Url>,
    /// The secret that deliveries are signed with.
    pub secret: Option<Secret>,
}

/// `telemetry.*`
#[derive(Debug, Clone, PartialEq)]
pub struct TelemetrySettings {
    /// A resource of Application Insights.
    pub connection: Option<Connection>,
}

/// `logging.*`
#[derive(Debug, Clone, PartialEq)]
pub struct LoggingSettings {
    /// The log file.
    pub file: PathBuf,
    /// The least severe lines that it holds.
    pub level: Level,
    /// Days that rotated log files are kept.
    pub keep_days: u32,
}

impl Settings {
    /// Reads and checks the settings of all sources.
    ///
    /// # Errors
    /// The first unknown key, bad value or unreadable file, by source, key, what was found and what was expected.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let settings = values::settings(&sources.read()?)?;
        settings.ensure_distinct_files()?;
        Ok(settings)
    }

    /// The key of the setting that a file is used by, if it is.
    pub fn setting_for_file(&self, file: &Path) -> Option<&'static str> {
        let same = |other: &Path| std::path::absolute(other).ok() == std::path::absolute(file).ok();
        self.files().into_iter().find(|(_, used)| same(used)).map(|(key, _)| key)
    }

    /// The files that msght makes beside those of users: stores, the queue, the token ledger and the log.
    pub fn own_files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = self.files().into_iter().map(|(_, file)| file).collect();
        files.extend(self.sql.url.sqlite_path().map(crate::store::rate_limits::path_beside));
        files
    }

    /// The files that msght writes to.
    fn files(&self) -> Vec<(&'static str, PathBuf)> {
        let stores =
            [("documents.url", &self.documents.url), ("sql.url", &self.sql.url), ("queue.url", &self.queue.url)];
        let stores = stores.into_iter().filter_map(|(key, url)| Some((key, url.sqlite_path()?.to_owned())));
        stores.chain([("logging.file", self.logging.file.clone())]).collect()
    }

    /// That the two stores share no file is said by who opens them.
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

    /// Every read token once: those of `github.tokens` (or the environment), then those of the tokens file.
    /// A token that is in both has the file's reserve.
    pub fn tokens(&self) -> Vec<ReadToken> {
        tokens::all(&self.github.tokens, &self.github.file_tokens, self.github.reserve)
    }

    /// Puts one token in the place of all read tokens and the App.
    pub fn set_read_token(&mut self, token: Secret) {
        self.github.tokens = vec![token];
        self.github.file_tokens.clear();
        self.github.app_private_key = None;
    }

    /// The token that manages hooks: `github.hook_token`, else the first read token.
    pub fn hook_token(&self) -> Option<Secret> {
        self.github.hook_token.clone().or_else(|| self.tokens().into_iter().next().map(|token| token.secret))
    }

    /// The GitHub App's id and its private key in PEM form, where there is an App.
    pub fn app(&self) -> Option<(&str, &Secret)> {
        self.github.app_id.as_deref().zip(self.github.app_private_key.as_ref())
    }

    /// Requests in flight at most: `github.concurrency`, else 16 a token and 90 in all.
    pub fn concurrency(&self) -> usize {
        self.github.concurrency.unwrap_or_else(|| {
            (self.tokens().len().max(1) * values::CONCURRENCY_PER_TOKEN).min(values::MAX_CONCURRENCY)
        })
    }

    /// Where a key's value came from.
    pub fn origin(&self, key: &str) -> &Origin {
        self.origins.of(key)
    }
}

#[cfg(test)]
mod tests;
