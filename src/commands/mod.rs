//! One thin file per subcommand, and what these files share.
//!
//! | shared file | contents |
//! |---|---|
//! | `app.rs` | `App`, the commands' context: settings, console and stop signal; opens stores, queue, GitHub client and mirror on demand |
//! | `hook_clients.rs` | the clients that see to organizations' webhooks |
//! | `output.rs` | results on standard output: tables and JSON |
//! | `run_each.rs` | named things one after another, each under its lease |
//! | `run_worker.rs` | the workers of a queue |

mod app;
mod check;
mod completions;
mod config;
mod data_retrieval;
mod get_repos;
mod hook_clients;
mod hooks;
mod load;
mod migrate;
mod mirror_events;
mod output;
mod retrieve_repo;
mod retrieve_repos;
mod retrieve_user;
mod retrieve_users;
mod run_each;
mod run_worker;
mod start;
mod update_repo;
mod webhook_listener;
mod webhooks;

use tokio_util::sync::CancellationToken;

use self::app::App;
use crate::cli::{Cli, Command};
use crate::config::Settings;
use crate::telemetry::Console;

/// The outcome of a command that ran to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandOutcome {
    /// Everything was done.
    Complete,
    /// Something failed; the command has reported what, and how many.
    Incomplete,
}

/// Runs the command that the user typed.
///
/// `shutdown` is canceled by the first signal: running work is then finished or left resumable.
///
/// # Errors
/// The reason why the command could not run. With a [`ConfigError`](crate::config::ConfigError) or a
/// [`UsageError`](crate::cli::UsageError) in the chain, nothing was touched.
pub async fn run(cli: Cli, console: Console, shutdown: CancellationToken) -> anyhow::Result<CommandOutcome> {
    cli.check()?;
    let app = || App::start(&cli, console, shutdown);
    match &cli.command {
        // These two write no log and touch no file.
        Command::Completions(args) => completions::run(args),
        Command::Config(args) => config::run(&Settings::load(&cli.global.sources())?, args).await,
        Command::Check(args) => check::run(app()?, args).await,
        Command::Migrate(args) => migrate::run(app()?, args).await,
        Command::RetrieveRepo(args) => retrieve_repo::run(app()?, args).await,
        Command::RetrieveRepos(args) => retrieve_repos::run(app()?, args).await,
        Command::UpdateRepo(args) => update_repo::run(app()?, args).await,
        Command::RetrieveUser(args) => retrieve_user::run(app()?, args).await,
        Command::RetrieveUsers(args) => retrieve_users::run(app()?, args).await,
        Command::GetRepos(args) => get_repos::run(app()?, args).await,
        Command::Start(args) => start::run(app()?, args).await,
        Command::MirrorEvents(args) => mirror_events::run(app()?, args).await,
        Command::WebhookListener(args) => webhook_listener::run(app()?, args).await,
        Command::Hooks(args) => hooks::run(app()?, args).await,
        Command::DataRetrieval(args) => data_retrieval::run(app()?, args).await,
        Command::Webhooks(args) => webhooks::run(app()?, args).await,
        Command::Load(args) => load::run(app()?, args).await,
    }
}
