//! One thin file a subcommand: what it does with its options, and nothing that another command needs too.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use anyhow::Context;
use comfy_table::{Table, presets};
use tokio_util::sync::CancellationToken;

use crate::cli::{Cli, Command, GetReposArgs, StartArgs, WorkArgs};
use crate::config::{QueueSettings, Settings, Sources};
use crate::github::{AppSetting, ClientSettings, GitHub, Meter, Notice, TokenSetting};
use crate::mirror::{Mirror, MirrorError};
use crate::private_files;
use crate::queue::{Queue, Route};
use crate::rate_limit::RateLimitStore;
use crate::retry::RetryPolicy;
use crate::store::relational::leases::process_name;
use crate::store::{self, StoreError, Stores};
use crate::telemetry::{self, Console};
use crate::workers::{self, Ended, Handler, Policy, Worked};

pub mod check;
pub mod completions;
pub mod config;
pub mod get_repos;
pub mod load;
pub mod migrate;
pub mod retrieve_repo;
pub mod retrieve_repos;
pub mod retrieve_user;
pub mod retrieve_users;
pub mod start;
pub mod update_repo;

/// How a command that ran to its end went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All was done.
    Complete,
    /// Something failed; the command has said what, and how many.
    Incomplete,
}

/// Runs the command that was asked for.
///
/// `shutdown` is cancelled by the first signal: work in hand is then finished or left resumable.
///
/// # Errors
/// What kept the command from its work. A [`ConfigError`](crate::config::ConfigError) or a
/// [`UsageError`](crate::cli::UsageError) in the chain means that nothing was touched.
pub async fn run(cli: Cli, console: Console, shutdown: CancellationToken) -> anyhow::Result<Outcome> {
    cli.check()?;
    let settings = || Settings::load(&Sources::of_process(&cli.global));
    let logged = || {
        let settings = settings()?;
        // The log is a file, too.
        if let Command::Start(StartArgs { lists, .. }) | Command::GetRepos(GetReposArgs { lists, .. }) = &cli.command {
            lists.check_files(&settings)?;
        }
        telemetry::start(&settings.logging, cli.global.verbose, &console);
        // A check changes nothing, and has these warnings among its findings.
        if !matches!(cli.command, Command::Check(_)) {
            keep_private(&settings, &console);
        }
        Ok::<_, anyhow::Error>(settings)
    };
    match &cli.command {
        Command::Completions(args) => completions::run(args),
        Command::Check(args) => check::run(logged()?, args.clone(), console, shutdown).await,
        Command::Config(args) if args.check => config::check(&settings()?, args).await,
        Command::Config(args) => config::run(&settings()?, args),
        Command::Migrate(args) => migrate::run(logged()?, args, console, shutdown).await,
        Command::RetrieveRepo(args) => retrieve_repo::run(logged()?, args.clone(), console, shutdown).await,
        Command::RetrieveRepos(args) => retrieve_repos::run(logged()?, args.clone(), console, shutdown).await,
        Command::UpdateRepo(args) => update_repo::run(logged()?, args.clone(), console, shutdown).await,
        Command::RetrieveUser(args) => retrieve_user::run(logged()?, args.clone(), console, shutdown).await,
        Command::RetrieveUsers(args) => retrieve_users::run(logged()?, args.clone(), console, shutdown).await,
        Command::GetRepos(args) => get_repos::run(logged()?, args.clone(), console, shutdown).await,
        Command::Start(args) => start::run(logged()?, args.clone(), console, shutdown).await,
        Command::Load(args) => load::run(logged()?, args.clone(), console, shutdown).await,
    }
}

/// Takes the permissions of others from files that earlier versions have made, and warns of secrets that they can read.
fn keep_private(settings: &Settings, console: &Console) {
    if let Some(first) = private_files::tighten(&settings.own_files()).first() {
        console.line(&format!(
            "{} and what is beside it could be read by other users of this machine: now only by this one",
            first.display()
        ));
    }
    for warning in settings.exposed_secrets() {
        console.error(&format!("warning: {warning}"));
    }
}

/// Writes a result to standard output. A reader that went away (`msght config | head -1`) is no error.
fn print(bytes: &[u8]) -> anyhow::Result<Outcome> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("can't write to standard output"))
        }
        _ => Ok(Outcome::Complete),
    }
}

/// A table without lines, one row a line.
fn plain_table<const N: usize>(header: [&str; N], rows: Vec<[String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    for row in rows {
        table.add_row(row.map(|cell| one_line(&cell)));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim().to_owned()).collect();
    format!("{}\n", lines.join("\n"))
}

/// A text on one line, with its control characters escaped.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// The retry policy for servers that go away, until `shutdown`; it reports to the console.
fn retry_policy(settings: &Settings, console: &Console, shutdown: &CancellationToken) -> RetryPolicy {
    let console = console.clone();
    RetryPolicy::new(settings.stores.timeout, move |line| console.line(line)).cancelled_by(shutdown.clone())
}

/// Opens both stores.
///
/// # Errors
/// A store that can't be used.
async fn open_stores(
    settings: &Settings,
    console: &Console,
    shutdown: &CancellationToken,
) -> Result<Stores, StoreError> {
    let stores =
        Stores::open(&settings.documents.url, &settings.sql.url, &retry_policy(settings, console, shutdown)).await?;
    if stores.documents_replaced {
        console.line(
            "the document store is not the one that was written to before, or an older state of it: everything is read anew",
        );
    }
    Ok(stores)
}

/// Opens the queue.
///
/// # Errors
/// A queue that can't be used.
async fn open_queue(settings: &Settings, console: &Console, shutdown: &CancellationToken) -> Result<Queue, StoreError> {
    Queue::open(&settings.queue.url, &settings.queue.exchange, &retry_policy(settings, console, shutdown)).await
}

/// How the settings want a queue worked.
fn policy(settings: &Settings, route: Route, jobs: u16, drain: bool) -> Policy {
    let QueueSettings { attempts, retry_after, .. } = &settings.queue;
    Policy { route, jobs, drain, attempts: *attempts, retry_after: *retry_after }
}

/// Opens the stores and the way to GitHub.
///
/// # Errors
/// A store or a setting that can't be used.
async fn open_mirror(settings: &Settings, console: &Console, shutdown: &CancellationToken) -> anyhow::Result<Mirror> {
    if let Some(warning) = client_settings(settings, None, |_| {}).plain_text_warning() {
        console.error(&format!("warning: {warning}"));
        tracing::warn!("{warning}");
    }
    let stores = open_stores(settings, console, shutdown).await?;
    let github = tokio::select! {
        github = client(settings, console, shutdown) => github?,
        () = shutdown.cancelled() => return Err(MirrorError::Cancelled.into()),
    };
    Ok(Mirror { github, stores, console: console.clone(), cancel: shutdown.clone(), lease_owner: None })
}

/// Converts the end of work under a lease for [`each`]: what another process is at is an error of its own.
fn in_turn<T>(ended: Ended<T>) -> Result<T, MirrorError> {
    match ended {
        Ended::With(result) => result,
        Ended::Stopped(Some(done)) => Ok(done),
        Ended::Stopped(None) => Err(MirrorError::Cancelled),
        Ended::Busy(holder) => Err(MirrorError::Busy(holder)),
    }
}

/// Works on things one by one, until the user asks to stop. `work` prints its result and returns whether all of it was
/// done, or why not. What ends one thing's work for want of a store would end every other's too.
async fn each<T: fmt::Display>(
    things: &[T],
    called: &str,
    console: &Console,
    shutdown: &CancellationToken,
    work: impl AsyncFn(&T) -> anyhow::Result<Result<bool, MirrorError>>,
) -> anyhow::Result<Outcome> {
    let mut done = 0;
    for thing in things {
        if shutdown.is_cancelled() {
            break;
        }
        match work(thing).await? {
            Ok(complete) => done += usize::from(complete),
            Err(error) => {
                tracing::error!(%thing, %error, "failed");
                console.error(&format!("error: {thing}: {error}"));
                if matches!(error, MirrorError::Store(_) | MirrorError::WriterStopped) {
                    break;
                }
            }
        }
    }
    if done == things.len() {
        return Ok(Outcome::Complete);
    }
    console.error(&format!("{} of {} {called} are not complete", things.len() - done, things.len()));
    Ok(Outcome::Incomplete)
}

/// Works a queue of things to mirror, with the handler that is made from the way to GitHub and this process's name.
async fn work_mirror_queue<H: Handler>(
    settings: &Settings,
    route: Route,
    work: &WorkArgs,
    console: &Console,
    shutdown: &CancellationToken,
    handler: impl FnOnce(Mirror, String) -> H,
) -> anyhow::Result<Outcome> {
    let queue = open_queue(settings, console, shutdown).await?;
    let console = console.without_progress();
    let mirror = open_mirror(settings, &console, shutdown).await?;
    let opened = mirror.clone();
    let policy = policy(settings, route, work.jobs, work.drain);
    let handler = Arc::new(handler(mirror, process_name()));
    let outcome = work_queue(&queue, &policy, handler, &console, shutdown).await;
    queue.close().await;
    opened.close().await;
    outcome
}

/// Works a queue, and says what was done.
async fn work_queue<H: Handler>(
    queue: &Queue,
    policy: &Policy,
    handler: Arc<H>,
    console: &Console,
    shutdown: &CancellationToken,
) -> anyhow::Result<Outcome> {
    let worked = workers::run(queue, policy, handler, console, shutdown).await?;
    let Worked { done, failed, dead } = worked;
    console.line(&format!("{done} done, {failed} failed attempts, {dead} given up"));
    Ok(if dead == 0 { Outcome::Complete } else { Outcome::Incomplete })
}

/// The client that the settings describe; what it has to say goes to the console.
async fn client(settings: &Settings, console: &Console, shutdown: &CancellationToken) -> anyhow::Result<GitHub> {
    // Other processes may use the same tokens, now or in a while.
    let rate_limit_store = store::ledger::open(&settings.sql.url, &retry_policy(settings, console, shutdown)).await?;
    let console = console.clone();
    let notify = move |notice: Notice| {
        tracing::warn!(%notice, "GitHub");
        console.line(&notice.to_string());
    };
    let github = new_client(client_settings(settings, Some(rate_limit_store), notify))?;
    github.find_installations(&Meter::default()).await?;
    Ok(github)
}

fn new_client(settings: ClientSettings) -> anyhow::Result<GitHub> {
    GitHub::new(settings).context("can't set up the GitHub client")
}

/// What the settings say of GitHub.
fn client_settings(
    settings: &Settings,
    rate_limit_store: Option<Arc<dyn RateLimitStore>>,
    notify: impl Fn(Notice) + Send + Sync + 'static,
) -> ClientSettings {
    let tokens = settings.tokens().into_iter();
    let reserve = settings.github.reserve;
    ClientSettings {
        api_url: settings.github.api_url.clone(),
        public_url: settings.github.public_url.clone(),
        tokens: tokens.map(|token| TokenSetting { secret: token.secret, reserve: token.reserve }).collect(),
        app: settings.app().map(|(id, key)| AppSetting { id: id.to_owned(), key: key.clone(), reserve }),
        concurrency: settings.github.concurrency,
        user_agent: settings.github.user_agent.clone(),
        rate_limit_store,
        notify: Arc::new(notify),
    }
}
