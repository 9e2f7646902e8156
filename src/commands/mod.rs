//! One thin file a subcommand: what it does with its options, and nothing that another command needs too.

use std::io::{self, Write};

use tokio_util::sync::CancellationToken;

use crate::cli::{Cli, Command};
use crate::config::{Settings, Sources};
use crate::patience::Patience;
use crate::store::{StoreError, Stores};
use crate::telemetry::{self, Console};

pub mod completions;
pub mod config;
pub mod retrieve_repo;

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
    match &cli.command {
        Command::Completions(args) => completions::run(args),
        Command::Config(args) => config::run(&settings()?, args),
        Command::RetrieveRepo(args) => {
            let settings = settings()?;
            telemetry::start(&settings.logging, cli.global.verbose, &console);
            retrieve_repo::run(settings, args.clone(), console, shutdown).await
        }
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

/// How servers that go away are waited for; what there is to say goes to the console.
fn patience(settings: &Settings, console: &Console) -> Patience {
    let console = console.clone();
    Patience::new(settings.stores.timeout, move |line| console.line(line))
}

/// Opens both stores.
///
/// # Errors
/// A store that can't be used.
async fn open_stores(settings: &Settings, console: &Console) -> Result<Stores, StoreError> {
    let stores = Stores::open(&settings.documents.url, &settings.sql.url, &patience(settings, console)).await?;
    if stores.documents_replaced {
        console.line(
            "the document store is not the one that was written to before, or an older state of it: everything is read anew",
        );
    }
    Ok(stores)
}
