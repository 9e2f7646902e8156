//! What users type: the command line's types.

use std::path::PathBuf;
use std::time::Duration;

use chrono::NaiveTime;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{Level, Settings, duration_argument, token_problem};
use crate::mirror::stage::Stage;
use crate::names::{RepoName, is_login};
use crate::queue::Route;
use crate::schedule::parse_time_of_day;
use crate::secret::Secret;
use crate::telemetry::Console;

/// Keeps an organisation's own copy of everything it has on GitHub.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "msght",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "Example:\n  msght retrieve-repo octocat/Hello-World\n\n\
                  Exit codes: 0 all was done, 1 something failed, 2 usage or configuration error,\n\
                  130 and 143 stopped by Ctrl-C and SIGTERM."
)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Debug, Clone, Default, Args)]
pub struct GlobalArgs {
    /// The configuration file [default: $MSGHT_CONFIG, else ./msght.toml if it is there]
    #[arg(long, value_name = "FILE", global = true, help_heading = "Global options")]
    pub config: Option<PathBuf>,
    /// Show the log on standard error too
    #[arg(short, long, global = true, conflicts_with = "quiet", help_heading = "Global options")]
    pub verbose: bool,
    /// Show errors and results only
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub quiet: bool,
    /// Where the embedded stores keep their files [default: msght-data]
    #[arg(long, value_name = "DIR", global = true, help_heading = "Global options")]
    pub data_dir: Option<PathBuf>,
    /// The least severe lines that the log holds [default: info]
    #[arg(long, value_name = "LEVEL", global = true, help_heading = "Global options")]
    pub log_level: Option<Level>,
    /// How long a database or broker that doesn't answer is waited for [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = duration_argument, global = true, help_heading = "Global options")]
    pub store_timeout: Option<Duration>,
}

/// The commands, in the order of `msght --help`.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Keep all repositories of the organisations in orgs.txt fresh
    Start(StartArgs),
    /// List the organisations of orgs.txt, and rewrite projects.txt
    GetRepos(GetReposArgs),
    /// Mirror everything of the given repositories
    RetrieveRepo(RetrieveRepoArgs),
    /// Work the queue of repositories to retrieve, beside any number of other workers
    RetrieveRepos(RetrieveReposArgs),
    /// Bring the given repositories' own rows and documents up to date
    UpdateRepo(UpdateRepoArgs),
    /// Mirror the given accounts: profile, followers, following, organisations, members
    RetrieveUser(RetrieveUserArgs),
    /// Work the queue of accounts to retrieve, beside any number of other workers
    RetrieveUsers(RetrieveUsersArgs),
    /// Put repositories or users on their queue, or dead letters back on theirs
    Load(LoadArgs),
    /// Upgrade GHTorrent's databases in place; without --apply only check what that takes
    Migrate(MigrateArgs),
    /// Try everything that a run needs: tokens, App, organisations, stores, clock
    Check(CheckArgs),
    /// Show the settings and where each came from, or try their stores
    Config(ConfigArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

/// Options of `msght start`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    msght start\n  \
    msght start --max-age 20h --jobs 8 --until 06:00\n  \
    msght start --dry-run")]
pub struct StartArgs {
    /// What is listed.
    #[command(flatten)]
    pub lists: ListArgs,
    /// Retrieve what was not completely retrieved within this time: 12h, 10d, 0 for everything
    #[arg(long, value_name = "TIME", value_parser = duration_argument, default_value = "10d")]
    pub max_age: Duration,
    /// How many repositories to retrieve at a time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=90))]
    pub jobs: u16,
    /// How much to ask for of each item
    #[arg(long, value_enum, value_name = "DETAIL", default_value_t = Detail::Full)]
    pub detail: Detail,
    /// Begin no repository after this time of day, by this machine's clock; those in hand are finished
    #[arg(long, value_name = "HH:MM", value_parser = parse_time_of_day)]
    pub until: Option<NaiveTime>,
    /// Begin no repository after so many requests that count on a rate limit; those in hand are finished
    #[arg(long, value_name = "N")]
    pub max_requests: Option<u64>,
    /// List the organisations, and show what would be retrieved and what that would cost; projects.txt stays as it is
    #[arg(long, conflicts_with_all = ["enqueue", "discover"])]
    pub dry_run: bool,
    /// Put what is due on the queue of `msght retrieve-repos` instead of retrieving it
    #[arg(long, conflicts_with_all = ["jobs", "until", "max_requests", "detail"])]
    pub enqueue: bool,
}

/// Options of `msght get-repos`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    msght get-repos\n  \
    msght get-repos --discover --json")]
pub struct GetReposArgs {
    /// What is listed.
    #[command(flatten)]
    pub lists: ListArgs,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Options of the commands that list organisations.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// The organisations to list, one login a line
    #[arg(long, value_name = "FILE", default_value = "orgs.txt")]
    pub orgs: PathBuf,
    /// Where their repositories are written, one a line; lines of other organisations stay
    #[arg(long, value_name = "FILE", default_value = "projects.txt")]
    pub projects: PathBuf,
    /// Ask GitHub which organisations the tokens belong to, and add them to the file
    #[arg(long)]
    pub discover: bool,
    /// Put right what is wrong with organisations' webhooks: not active, not JSON, not all events, no secret
    #[arg(long, conflicts_with = "no_hooks")]
    pub repair_hooks: bool,
    /// Don't look at organisations' webhooks, and make none
    #[arg(long)]
    pub no_hooks: bool,
    /// Tokens as the first msght took them.
    #[command(flatten)]
    pub tokens: TokenArgs,
}

/// Tokens as arguments.
#[derive(Debug, Clone, Default, Args)]
pub struct TokenArgs {
    /// A token to read with, instead of those that are set. A process list shows it: better set GHT_READ_TOKEN
    #[arg(value_name = "TOKEN_READ", value_parser = token)]
    pub read: Option<Secret>,
    /// A token to manage webhooks with. A process list shows it: better set GHT_WEBHOOK_TOKEN
    #[arg(value_name = "TOKEN_WRITE_HOOKS", value_parser = token)]
    pub hooks: Option<Secret>,
}

/// Options of `msght retrieve-repo`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    msght retrieve-repo octocat/Hello-World\n  \
    msght retrieve-repo octocat Hello-World\n  \
    msght retrieve-repo contoso/web contoso/api --skip stars,forks")]
pub struct RetrieveRepoArgs {
    /// Repositories as ORG/NAME, or one as ORG NAME
    #[arg(value_name = "ORG/NAME", required = true)]
    pub names: Vec<String>,
    /// Run these stages only; comma-separated, repeatable
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub only: Vec<Stage>,
    /// Leave these stages out; the same names as for --only
    #[arg(long, value_name = "STAGE", value_delimiter = ',', hide_possible_values = true)]
    pub skip: Vec<Stage>,
    /// How much to ask for of each item
    #[arg(long, value_enum, value_name = "DETAIL", default_value_t = Detail::Full)]
    pub detail: Detail,
    /// Ignore what is known from earlier runs and fetch everything
    #[arg(long)]
    pub full: bool,
    /// Leave the repository's events feed out, as --skip events
    #[arg(long)]
    pub no_events: bool,
    /// Leave events of these types out, as PushEvent; comma-separated, repeatable
    #[arg(long, value_name = "TYPE", value_delimiter = ',', value_parser = event_type)]
    pub exclude_events: Vec<String>,
    /// Only events with a higher id
    #[arg(long, value_name = "ID")]
    pub events_after: Option<u64>,
    /// Only events with a lower id
    #[arg(long, value_name = "ID")]
    pub events_before: Option<u64>,
}

/// Options of `msght retrieve-repos`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    msght retrieve-repos --jobs 8\n  \
    msght retrieve-repos --drain --detail skeleton")]
pub struct RetrieveReposArgs {
    /// How the queue is worked.
    #[command(flatten)]
    pub work: WorkArgs,
    /// How much to ask for of each item
    #[arg(long, value_enum, value_name = "DETAIL", default_value_t = Detail::Full)]
    pub detail: Detail,
}

/// Options of the commands that work a queue.
#[derive(Debug, Clone, Args)]
pub struct WorkArgs {
    /// How many to retrieve at a time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=90))]
    pub jobs: u16,
    /// Stop when the queue is empty
    #[arg(long)]
    pub drain: bool,
}

/// Options of `msght update-repo`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    msght update-repo octocat/Hello-World\n  \
    msght update-repo contoso/web contoso/api")]
pub struct UpdateRepoArgs {
    /// Repositories as ORG/NAME, or one as ORG NAME
    #[arg(value_name = "ORG/NAME", required = true)]
    pub names: Vec<String>,
}

/// Options of `msght retrieve-user`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    msght retrieve-user octocat\n  \
    msght retrieve-user contoso octocat --full")]
pub struct RetrieveUserArgs {
    /// Logins of people, bots or organisations
    #[arg(value_name = "LOGIN", required = true, value_parser = login)]
    pub logins: Vec<String>,
    /// Ignore what is known from earlier runs and fetch everything
    #[arg(long)]
    pub full: bool,
}

/// Options of `msght retrieve-users`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    msght retrieve-users --jobs 8\n  \
    msght load --route users --file logins.txt && msght retrieve-users --drain")]
pub struct RetrieveUsersArgs {
    /// How the queue is worked.
    #[command(flatten)]
    pub work: WorkArgs,
}

/// Options of `msght load`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    msght load --route projects --file projects.txt\n  \
    msght load --route users --file -\n  \
    msght load --route projects --dead")]
pub struct LoadArgs {
    /// Where to: projects or users; with --dead also log or evt.TYPE
    #[arg(long, value_name = "ROUTE")]
    pub route: Route,
    /// One message a line: ORG REPO or ORG/REPO, or a login; # starts a comment; - for standard input
    #[arg(long, value_name = "FILE", required_unless_present = "dead", conflicts_with = "dead")]
    pub file: Option<PathBuf>,
    /// Take the route's dead letters instead
    #[arg(long)]
    pub dead: bool,
}

/// How much is asked for of each item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Detail {
    /// What lists hold: few requests, no commit statistics, no merge details
    Skeleton,
    /// One more request an item where lists leave something out
    Full,
}

/// Options of `msght migrate`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    msght migrate\n  \
    msght migrate --apply --repair-duplicates")]
pub struct MigrateArgs {
    /// Do it; without this nothing is changed
    #[arg(long)]
    pub apply: bool,
    /// Keep the newest of several rows or documents of one key, and remove references to nothing
    #[arg(long)]
    pub repair_duplicates: bool,
}

/// Options of `msght check`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    msght check\n  \
    msght check --orgs /etc/msght/orgs.txt --json")]
pub struct CheckArgs {
    /// The organisations that are to be read, one login a line
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
    /// Try the stores and the queue instead, and say what is there; nothing is made
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
    /// The shell to write for
    pub shell: clap_complete::Shell,
}

/// A command line that clap accepts and that still makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(String);

impl UsageError {
    /// A problem in the user's terms.
    pub fn new(problem: impl Into<String>) -> Self {
        Self(problem.into())
    }
}

impl Cli {
    /// Checks what clap's types can't express, before anything is touched.
    ///
    /// # Errors
    /// A usage error that names the bad argument.
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
            | Command::Migrate(_)
            | Command::Check(_)
            | Command::Config(_)
            | Command::Completions(_) => Ok(()),
        }
    }
}

impl LoadArgs {
    /// Only repositories and users can be put on a queue by name.
    fn check(&self) -> Result<(), UsageError> {
        match (&self.route, &self.file) {
            (Route::Projects | Route::Users, _) | (_, None) => Ok(()),
            (route, Some(_)) => {
                Err(UsageError(format!("--route {route} takes no file: expected projects or users, or --dead")))
            }
        }
    }
}

/// The stages of a whole retrieval at this detail.
pub fn stages_of(detail: Detail) -> Vec<Stage> {
    Stage::ALL.into_iter().filter(|stage| detail == Detail::Full || *stage != Stage::Details).collect()
}

impl RetrieveRepoArgs {
    /// The repositories that the positional arguments name.
    ///
    /// # Errors
    /// The first argument that is not a repository's name.
    pub fn repositories(&self) -> Result<Vec<RepoName>, UsageError> {
        repositories(&self.names)
    }

    /// The stages to run, in their order, after `--only`, `--skip` and `--no-events`.
    ///
    /// # Errors
    /// When the options together leave nothing to do.
    pub fn stages(&self) -> Result<Vec<Stage>, UsageError> {
        let wanted = |stage: &Stage| {
            (self.only.is_empty() || self.only.contains(stage))
                && !self.skip.contains(stage)
                && !(self.no_events && *stage == Stage::Events)
                && !(self.detail == Detail::Skeleton && *stage == Stage::Details)
        };
        let stages: Vec<Stage> = Stage::ALL.into_iter().filter(wanted).collect();
        if stages.is_empty() {
            return Err(UsageError("--only, --skip and --no-events together leave no stage to run".to_owned()));
        }
        Ok(stages)
    }

    /// Checks that `--events-after` and `--events-before` leave room for an event.
    fn event_ids(&self) -> Result<(), UsageError> {
        match (self.events_after, self.events_before) {
            (Some(after), Some(before)) if after >= before => Err(UsageError(format!(
                "--events-after {after} and --events-before {before} leave no event: expected the first to be lower"
            ))),
            _ => Ok(()),
        }
    }
}

/// The repositories that arguments name, each once, in the order given: `ORG/NAME...`, or exactly two arguments without a
/// slash, `ORG NAME`. Names that differ only in case are one repository to GitHub.
fn repositories(names: &[String]) -> Result<Vec<RepoName>, UsageError> {
    if let [owner, name] = names
        && !owner.contains('/')
        && !name.contains('/')
    {
        return Ok(vec![RepoName::new(owner, name).map_err(|error| UsageError(error.to_string()))?]);
    }
    let mut seen = std::collections::HashSet::new();
    let mut repositories = Vec::new();
    for text in names {
        let repository: RepoName = text.parse().map_err(|error| UsageError(format!("{error}")))?;
        if seen.insert(repository.to_string().to_ascii_lowercase()) {
            repositories.push(repository);
        }
    }
    Ok(repositories)
}

impl UpdateRepoArgs {
    /// The repositories that the positional arguments name.
    ///
    /// # Errors
    /// The first argument that is not a repository's name.
    pub fn repositories(&self) -> Result<Vec<RepoName>, UsageError> {
        repositories(&self.names)
    }
}

impl RetrieveUserArgs {
    /// The logins, each once, in the order given. Logins that differ only in case are one account to GitHub.
    pub fn logins(&self) -> Vec<String> {
        let mut seen = std::collections::HashSet::new();
        self.logins.iter().filter(|login| seen.insert(login.to_ascii_lowercase())).cloned().collect()
    }
}

/// Parses a login.
fn login(text: &str) -> Result<String, String> {
    if is_login(text) {
        Ok(text.to_owned())
    } else {
        Err("expected a login: letters, digits, '-' and '_', [bot] at the end of an app's".to_owned())
    }
}

/// Takes a token as it is: a refusal by the parser would show it.
fn token(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}

impl TokenArgs {
    /// What is wrong with a token, said without it.
    fn check(&self) -> Result<(), UsageError> {
        for (name, token) in [("TOKEN_READ", &self.read), ("TOKEN_WRITE_HOOKS", &self.hooks)] {
            if let Some(problem) = token.as_ref().and_then(|token| token_problem(token.expose())) {
                return Err(UsageError(format!("{name} is {problem}")));
            }
        }
        Ok(())
    }

    /// The settings with these tokens in the place of those that are set.
    pub fn apply(&self, mut settings: Settings, console: &Console) -> Settings {
        if self.read.is_some() || self.hooks.is_some() {
            console.line("tokens given as arguments are shown in the process list: better set GHT_READ_TOKEN and GHT_WEBHOOK_TOKEN");
        }
        if let Some(token) = &self.read {
            settings.set_read_token(token.clone());
        }
        if let Some(token) = &self.hooks {
            settings.github.hook_token = Some(token.clone());
        }
        settings
    }
}

/// Parses an event type's name; unknown types are fine, GitHub adds some.
fn event_type(text: &str) -> Result<String, String> {
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        Ok(text.to_owned())
    } else {
        Err("expected an event type such as PushEvent".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn retrieve(args: &[&str]) -> RetrieveRepoArgs {
        match Cli::try_parse_from(["msght", "retrieve-repo"].iter().chain(args)).unwrap().command {
            Command::RetrieveRepo(args) => args,
            other => panic!("{other:?}"),
        }
    }

    fn shown(args: &[&str]) -> Vec<String> {
        retrieve(args).repositories().unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_definition_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_commands_are_those_that_work_and_each_has_an_example() {
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
            "load",
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
    fn repositories_are_named_in_both_ways_and_each_is_taken_once() {
        assert_eq!(shown(&["octocat/Hello-World"]), ["octocat/Hello-World"]);
        assert_eq!(shown(&["octocat", "Hello-World"]), ["octocat/Hello-World"]);
        assert_eq!(shown(&["a/b", "c/d", "A/B"]), ["a/b", "c/d"]);
    }

    #[test]
    fn an_argument_that_is_not_a_name_is_a_usage_error_that_shows_it() {
        for (args, named) in [
            (vec!["a"], "\"a\""),
            (vec!["a", "b", "c"], "\"a\""),
            (vec!["a/b", "c"], "\"c\""),
            (vec!["a", "b/c"], "\"a\""),
            (vec!["a/b/c"], "\"a/b/c\""),
            (vec!["../x"], "\"../x\""),
            (vec!["a", ".."], "\"a/..\""),
            (vec!["a/b\u{1b}[2J"], "\\u{1b}"),
        ] {
            let error = retrieve(&args).repositories().unwrap_err().to_string();
            assert!(error.contains(named), "{args:?}: {error}");
        }
    }

    #[test]
    fn logins_are_checked_and_each_is_taken_once() {
        let parse = |args: &[&str]| Cli::try_parse_from(["msght", "retrieve-user"].iter().chain(args));
        let Command::RetrieveUser(args) = parse(&["octocat", "some[bot]", "OctoCat"]).unwrap().command else {
            panic!()
        };
        assert_eq!(args.logins(), ["octocat", "some[bot]"]);
        for bad in ["", "a/b", "../x", "a b", "é"] {
            assert!(parse(&[bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn stages_are_chosen_by_commas_and_by_repetition() {
        assert_eq!(retrieve(&["a/b"]).stages().unwrap(), Stage::ALL);
        assert_eq!(
            retrieve(&["a/b", "--only", "issues,repo", "--only", "pulls"]).stages().unwrap(),
            [Stage::Repo, Stage::Pulls, Stage::Issues]
        );
        assert_eq!(retrieve(&["a/b", "--skip", "stars,forks", "--no-events"]).stages().unwrap().len(), 16);
        assert!(retrieve(&["a/b", "--only", "events", "--no-events"]).stages().is_err());
        assert!(Cli::try_parse_from(["msght", "retrieve-repo", "a/b", "--only", "everything"]).is_err());
    }

    #[test]
    fn an_empty_range_of_events_is_refused() {
        let cli = |after, before| {
            Cli::try_parse_from(["msght", "retrieve-repo", "a/b", "--events-after", after, "--events-before", before])
                .unwrap()
        };
        assert!(cli("1", "3").check().is_ok());
        assert!(cli("3", "3").check().is_err());
    }
}
