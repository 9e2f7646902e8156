//! The command line: its types, and the checks that clap's types can't express.

mod events;
mod hooks;
mod listing;
mod load;
mod parsers;
mod repositories;
mod webhooks;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use self::events::MirrorEventsArgs;
pub use self::hooks::{
    HookTargets, HooksArgs, HooksCommand, HooksListArgs, HooksMissedArgs, HooksPingArgs, WebhookListenerArgs,
};
pub use self::listing::{GetReposArgs, ListArgs, StartArgs, TokenArgs};
pub use self::load::LoadArgs;
pub use self::repositories::{RetrieveRepoArgs, UpdateRepoArgs, stages_of};
pub use self::webhooks::WebhooksArgs;
use crate::config::Sources;
use crate::telemetry::Level;

/// Keeps an organization's own copy of everything it has on GitHub.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "msght",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "Example:\n  msght retrieve-repo octocat/Hello-World\n\n\
                  Exit codes: 0 everything was done, 1 something failed, 2 usage or configuration error,\n\
                  129, 130 and 143 stopped by SIGHUP, Ctrl-C and SIGTERM."
)]
pub struct Cli {
    /// Options that every command takes.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Debug, Clone, Default, Args)]
pub struct GlobalArgs {
    /// Configuration file [default: $MSGHT_CONFIG, else ./msght.toml if it exists]
    #[arg(long, value_name = "FILE", global = true, help_heading = "Global options")]
    pub config: Option<PathBuf>,
    /// Also write the log to standard error
    #[arg(short, long, global = true, conflicts_with = "quiet", help_heading = "Global options")]
    pub verbose: bool,
    /// Print errors and results only
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub quiet: bool,
    /// Directory of the embedded stores [default: msght-data]
    #[arg(long, value_name = "DIR", global = true, help_heading = "Global options")]
    pub data_dir: Option<PathBuf>,
    /// Least severe level to log [default: info]
    #[arg(long, value_name = "LEVEL", global = true, help_heading = "Global options")]
    pub log_level: Option<Level>,
    /// Time to wait for a database or broker that doesn't respond [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = parsers::duration, global = true, help_heading = "Global options")]
    pub store_timeout: Option<Duration>,
}

impl GlobalArgs {
    /// Returns the sources of the settings: these flags, the environment, and the configuration file.
    pub fn sources(&self) -> Sources {
        Sources {
            config: self.config.clone(),
            data_dir: self.data_dir.clone(),
            log_level: self.log_level,
            store_timeout: self.store_timeout,
            ..Sources::from_env()
        }
    }
}

/// The commands, in the order of `msght --help`.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Keep the mirror of all organizations in orgs.txt up to date
    Start(StartArgs),
    /// List the organizations of orgs.txt, and rewrite projects.txt
    GetRepos(GetReposArgs),
    /// Mirror everything of the given repositories
    RetrieveRepo(RetrieveRepoArgs),
    /// Process the queue of repositories, beside any number of other workers
    RetrieveRepos(RetrieveReposArgs),
    /// Refresh the given repositories' own rows and documents
    UpdateRepo(UpdateRepoArgs),
    /// Mirror the given accounts: profile, followers, following, organizations, members
    RetrieveUser(RetrieveUserArgs),
    /// Process the queue of accounts, beside any number of other workers
    RetrieveUsers(RetrieveUsersArgs),
    /// Pull the events feeds of organizations without a webhook, and publish their events
    MirrorEvents(MirrorEventsArgs),
    /// Read again what deliveries and events name, beside any number of other workers
    DataRetrieval(DataRetrievalArgs),
    /// Receive GitHub's deliveries, keep them, and note what they name
    Webhooks(WebhooksArgs),
    /// Put repositories or users on their queue, or requeue events and dead letters
    Load(LoadArgs),
    /// Report the events that the webhook server has received
    WebhookListener(WebhookListenerArgs),
    /// List, ping and repair organizations' webhooks; find missed deliveries
    Hooks(HooksArgs),
    /// Upgrade GHTorrent's databases in place; without --apply only show the changes
    Migrate(MigrateArgs),
    /// Check everything that a run needs: tokens, App, organizations, stores, clock
    Check(CheckArgs),
    /// Show the settings and their origins, or check their stores
    Config(ConfigArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

/// Options of `msght retrieve-repos`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    msght retrieve-repos --jobs 8\n  \
    msght retrieve-repos --drain --detail skeleton")]
pub struct RetrieveReposArgs {
    /// Options of all queue workers.
    #[command(flatten)]
    pub work: WorkArgs,
    /// Detail to retrieve of each item
    #[arg(long, value_enum, value_name = "DETAIL", default_value_t = Detail::Full)]
    pub detail: Detail,
}

/// Options of the commands that work a queue.
#[derive(Debug, Clone, Args)]
pub struct WorkArgs {
    /// Number of concurrent retrievals
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=90))]
    pub jobs: u16,
    /// Stop when the queue is empty
    #[arg(long)]
    pub drain: bool,
}

/// Options of `msght retrieve-user`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    msght retrieve-user octocat\n  \
    msght retrieve-user contoso octocat --full")]
pub struct RetrieveUserArgs {
    /// Logins of people, bots or organizations
    #[arg(value_name = "LOGIN", required = true, value_parser = parsers::login)]
    pub logins: Vec<String>,
    /// Fetch everything again, regardless of earlier runs
    #[arg(long)]
    pub full: bool,
}

/// Options of `msght retrieve-users`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    msght retrieve-users --jobs 8\n  \
    msght load --route users --file logins.txt && msght retrieve-users --drain")]
pub struct RetrieveUsersArgs {
    /// Options of all queue workers.
    #[command(flatten)]
    pub work: WorkArgs,
}

/// Options of `msght data-retrieval`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    msght data-retrieval --jobs 8\n  \
    msght data-retrieval --drain --types PushEvent,IssuesEvent\n  \
    msght data-retrieval 12345678901")]
pub struct DataRetrievalArgs {
    /// Id of one stored event: process it alone, and say what was done
    #[arg(value_name = "EVENT_ID", conflicts_with_all = ["jobs", "drain", "types"])]
    pub event: Option<String>,
    /// Types of events to process, separated by commas [default: all]
    #[arg(long, value_name = "TYPE", value_delimiter = ',', value_parser = parsers::event_type)]
    pub types: Vec<String>,
    /// Options of all queue workers.
    #[command(flatten)]
    pub work: WorkArgs,
}

/// The amount of detail that is retrieved of each item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Detail {
    /// Only what lists hold: few requests, no commit statistics, no merge details
    Skeleton,
    /// One more request per item where lists leave something out
    Full,
}

/// Options of `msght migrate`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    msght migrate\n  \
    msght migrate --apply --repair-duplicates")]
pub struct MigrateArgs {
    /// Apply the changes; without this nothing is changed
    #[arg(long)]
    pub apply: bool,
    /// Keep the newest of several rows or documents with one key, and remove dangling references
    #[arg(long)]
    pub repair_duplicates: bool,
}

/// Options of `msght check`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    msght check\n  \
    msght check --orgs /etc/msght/orgs.txt --json")]
pub struct CheckArgs {
    /// File of the organizations to read, one login per line
    #[arg(long, value_name = "FILE", default_value = "orgs.txt")]
    pub orgs: PathBuf,
    /// Print JSON instead of tables
    #[arg(long)]
    pub json: bool,
}

/// Options of `msght config`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    msght --config /etc/msght.toml config --json\n  \
    msght config --check")]
pub struct ConfigArgs {
    /// Check the stores and the queue instead; nothing is created
    #[arg(long)]
    pub check: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Options of `msght completions`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  msght completions bash > ~/.local/share/bash-completion/completions/msght")]
pub struct CompletionsArgs {
    /// Shell to print the script for
    pub shell: clap_complete::Shell,
}

/// A command line that clap accepts, with arguments that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(String);

impl UsageError {
    /// Creates an error from a message for the user.
    pub fn new(problem: impl Into<String>) -> Self {
        Self(problem.into())
    }
}

impl Cli {
    /// Checks what clap's types can't express, before anything is touched.
    ///
    /// # Errors
    /// An error that names the invalid argument.
    pub fn check(&self) -> Result<(), UsageError> {
        match &self.command {
            Command::RetrieveRepo(args) => {
                args.repositories()?;
                args.stages()?;
                args.event_ids()
            }
            Command::UpdateRepo(args) => args.repositories().map(drop),
            Command::Load(args) => args.check(),
            Command::GetRepos(args) => args.lists.tokens.check(),
            Command::Start(args) => args.lists.tokens.check(),
            Command::RetrieveRepos(_)
            | Command::RetrieveUser(_)
            | Command::RetrieveUsers(_)
            | Command::MirrorEvents(_)
            | Command::Hooks(_)
            | Command::DataRetrieval(_)
            | Command::WebhookListener(_)
            | Command::Webhooks(_)
            | Command::Migrate(_)
            | Command::Check(_)
            | Command::Config(_)
            | Command::Completions(_) => Ok(()),
        }
    }
}

impl RetrieveUserArgs {
    /// Returns the logins in the order given, without repetitions; GitHub ignores their case.
    pub fn logins(&self) -> Vec<String> {
        let mut seen = std::collections::HashSet::new();
        self.logins.iter().filter(|login| seen.insert(login.to_ascii_lowercase())).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn definition_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        let cli = Cli::command();
        let names: Vec<_> = cli.get_subcommands().map(|command| command.get_name()).collect();
        let expected = [
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
        assert_eq!(names, expected);
        for command in cli.get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            assert!(command.get_after_help().is_some_and(|help| help.to_string().contains("Example")));
        }
    }

    #[test]
    fn logins_are_parsed_without_repetitions() {
        let parse = |args: &[&str]| Cli::try_parse_from(["msght", "retrieve-user"].iter().chain(args));
        let Command::RetrieveUser(args) = parse(&["octocat", "some[bot]", "OctoCat"]).unwrap().command else {
            panic!()
        };
        assert_eq!(args.logins(), ["octocat", "some[bot]"]);
        for bad in ["", "a/b", "../x", "a b", "é"] {
            assert!(parse(&[bad]).is_err(), "{bad}");
        }
    }
}
