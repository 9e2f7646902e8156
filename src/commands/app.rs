//! The context that commands share: settings, console and stop signal, and the clients that are built from them.

use std::sync::Arc;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::cli::{Cli, Command, GetReposArgs, StartArgs, TokenArgs};
use crate::config::Settings;
use crate::github::{AppConfig, ClientEvent, ClientSettings, GitHub, RequestCounter, TokenConfig};
use crate::http;
use crate::mirror::{Mirror, MirrorError};
use crate::private_files;
use crate::queue::Queue;
use crate::rate_limit::RateLimitStore;
use crate::retry::RetryPolicy;
use crate::store::{self, BackendError, Stores};
use crate::telemetry::{self, Console};

/// The context of a command (not a GitHub App, which is in `github`). Stores, queue, GitHub client and mirror are opened
/// on demand.
#[derive(Clone)]
pub(super) struct App {
    /// The checked settings.
    pub settings: Settings,
    /// The user's terminal.
    pub console: Console,
    /// Canceled by the first signal: running work is then finished or left resumable.
    pub shutdown: CancellationToken,
}

impl App {
    /// Loads the settings, starts the log, and makes our files private.
    ///
    /// # Errors
    /// A [`ConfigError`](crate::config::ConfigError) or a [`UsageError`](crate::cli::UsageError); nothing was touched.
    pub(super) fn start(cli: &Cli, console: Console, shutdown: CancellationToken) -> anyhow::Result<Self> {
        let settings = Settings::load(&cli.global.sources())?;
        // The log is a file, too: the lists are compared with it before it is opened.
        if let Command::Start(StartArgs { lists, .. }) | Command::GetRepos(GetReposArgs { lists, .. }) = &cli.command {
            lists.check_files(&settings)?;
        }
        telemetry::start(&settings.logging, cli.global.verbose, &console);
        let app = Self { settings, console, shutdown };
        // A check changes nothing, and has these warnings among its remarks.
        if !matches!(cli.command, Command::Check(_)) {
            app.protect_files();
        }
        Ok(app)
    }

    /// Removes other users' permissions from files of earlier versions, and warns of secrets that others can read.
    fn protect_files(&self) {
        if let Some(first) = private_files::restrict_to_owner(&self.settings.own_files()).first() {
            self.console.line(&format!(
                "{} and the files beside it were readable by other users of this machine: now only by this user",
                first.display()
            ));
        }
        for warning in self.settings.exposed_secrets() {
            self.console.error(&format!("warning: {warning}"));
        }
    }

    /// Returns this app with the tokens that were given as arguments.
    pub(super) fn with_tokens(mut self, tokens: &TokenArgs) -> Self {
        if tokens.apply(&mut self.settings) {
            self.console.line(
                "tokens given as arguments are visible in the process list: better set GHT_READ_TOKEN and \
                 GHT_WEBHOOK_TOKEN",
            );
        }
        self
    }

    /// Returns this app with a stop signal of its own, which follows the user's.
    pub(super) fn child(&self) -> Self {
        Self { shutdown: self.shutdown.child_token(), ..self.clone() }
    }

    /// Returns the retry policy for stores and brokers: it ends at shutdown, and reports outages to the console.
    pub(super) fn retry_policy(&self) -> RetryPolicy {
        let console = self.console.clone();
        let policy = RetryPolicy::new(self.settings.stores.timeout, move |line| console.line(line));
        policy.canceled_by(self.shutdown.clone())
    }

    /// Opens both stores.
    ///
    /// # Errors
    /// A store that can't be used.
    pub(super) async fn stores(&self) -> Result<Stores, BackendError> {
        let Settings { documents, sql, .. } = &self.settings;
        let stores = Stores::open(&documents.url, &sql.url, &self.retry_policy()).await?;
        if stores.documents_changed {
            self.console.line(
                "the document store is another one than before, or an older state of it: everything is fetched again",
            );
        }
        Ok(stores)
    }

    /// Opens the queue.
    ///
    /// # Errors
    /// A queue that can't be used.
    pub(super) async fn queue(&self) -> Result<Queue, BackendError> {
        let queue = &self.settings.queue;
        Queue::open(&queue.url, &queue.exchange, &self.retry_policy()).await
    }

    /// Builds the GitHub client, which shares its tokens' limits with other processes and reports to the console.
    ///
    /// # Errors
    /// A setting or a store that can't be used, or an App that has no usable installation.
    pub(super) async fn github(&self) -> anyhow::Result<GitHub> {
        for warning in http::proxy_warnings() {
            self.console.error(&format!("warning: {warning}"));
            tracing::warn!("{warning}");
        }
        let rate_limit_store = store::rate_limits::open(&self.settings.sql.url, &self.retry_policy()).await?;
        let console = self.console.clone();
        let notify = move |notice: ClientEvent| {
            tracing::warn!(%notice, "GitHub");
            console.line(&notice.to_string());
        };
        let github = build_client(self.client_settings(Some(rate_limit_store), notify))?;
        github.find_installations(&RequestCounter::default()).await?;
        Ok(github)
    }

    /// Opens the stores, and builds the GitHub client and the mirror between them.
    ///
    /// # Errors
    /// A store or a setting that can't be used, or [`MirrorError::Canceled`].
    pub(super) async fn mirror(&self) -> anyhow::Result<Mirror> {
        if let Some(warning) = self.client_settings(None, |_| {}).plain_text_warning() {
            self.console.error(&format!("warning: {warning}"));
            tracing::warn!("{warning}");
        }
        let stores = self.stores().await?;
        let github = tokio::select! {
            github = self.github() => github?,
            () = self.shutdown.cancelled() => return Err(MirrorError::Canceled.into()),
        };
        Ok(Mirror {
            github,
            stores,
            console: self.console.clone(),
            cancel: self.shutdown.clone(),
            publishing: self.settings.events.publish,
            lease_owner: None,
        })
    }

    /// Returns the client settings that correspond to the settings.
    pub(super) fn client_settings(
        &self,
        rate_limit_store: Option<Arc<dyn RateLimitStore>>,
        notify: impl Fn(ClientEvent) + Send + Sync + 'static,
    ) -> ClientSettings {
        let settings = &self.settings;
        let tokens = settings.tokens().into_iter();
        let reserve = settings.github.reserve;
        ClientSettings {
            api_url: settings.github.api_url.clone(),
            public_url: settings.github.public_url.clone(),
            tokens: tokens.map(|token| TokenConfig { secret: token.secret, reserve: token.reserve }).collect(),
            app: settings.app().map(|(id, key)| AppConfig { id: id.to_owned(), key: key.clone(), reserve }),
            concurrency: settings.github.concurrency,
            user_agent: settings.github.user_agent.clone(),
            rate_limit_store,
            notify: Arc::new(notify),
        }
    }
}

/// Builds a GitHub client.
///
/// # Errors
/// A setting that can't be used.
pub(super) fn build_client(settings: ClientSettings) -> anyhow::Result<GitHub> {
    GitHub::new(settings).context("can't build the GitHub client")
}
