//! Options of the commands that list organizations: `start` and `get-repos`.

use std::path::PathBuf;
use std::time::Duration;

use chrono::NaiveTime;
use clap::Args;

use super::{Detail, UsageError, parsers};
use crate::config::{Settings, token_problem};
use crate::scheduler::parse_time_of_day;
use crate::secret::Secret;

/// Options of `msght start`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    msght start\n  \
    msght start --max-age 20h --jobs 8 --until 06:00\n  \
    msght start --dry-run")]
pub struct StartArgs {
    /// Options of the listing.
    #[command(flatten)]
    pub lists: ListArgs,
    /// Retrieve repositories whose last complete retrieval is older: 12h, 10d, 0 for all
    #[arg(long, value_name = "TIME", value_parser = parsers::duration, default_value = "10d")]
    pub max_age: Duration,
    /// Number of repositories to retrieve concurrently
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=90))]
    pub jobs: u16,
    /// Detail to retrieve of each item
    #[arg(long, value_enum, value_name = "DETAIL", default_value_t = Detail::Full)]
    pub detail: Detail,
    /// Start no repository after this time of day, by this machine's clock; running ones are finished
    #[arg(long, value_name = "HH:MM", value_parser = parse_time_of_day)]
    pub until: Option<NaiveTime>,
    /// Start no repository after this many requests that count on a rate limit; running ones are finished
    #[arg(long, value_name = "N")]
    pub max_requests: Option<u64>,
    /// List the organizations, and show what would be retrieved at which cost; projects.txt stays as it is
    #[arg(long, conflicts_with_all = ["enqueue", "discover"])]
    pub dry_run: bool,
    /// Put due repositories on the queue of `msght retrieve-repos` instead of retrieving them
    #[arg(long, conflicts_with_all = ["jobs", "until", "max_requests", "detail"])]
    pub enqueue: bool,
}

/// Options of `msght get-repos`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    msght get-repos\n  \
    msght get-repos --discover --json")]
pub struct GetReposArgs {
    /// Options of the listing.
    #[command(flatten)]
    pub lists: ListArgs,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Options of the commands that list organizations.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// File of the organizations to list, one login per line
    #[arg(long, value_name = "FILE", default_value = "orgs.txt")]
    pub orgs: PathBuf,
    /// File for their repositories, one per line; lines of other organizations are kept
    #[arg(long, value_name = "FILE", default_value = "projects.txt")]
    pub projects: PathBuf,
    /// Ask GitHub which organizations the tokens belong to, and add them to the file
    #[arg(long)]
    pub discover: bool,
    /// Repair organizations' webhooks that are inactive, not JSON, without all events or without a secret
    #[arg(long, conflicts_with = "no_hooks")]
    pub repair_hooks: bool,
    /// Neither inspect nor create organizations' webhooks
    #[arg(long)]
    pub no_hooks: bool,
    /// Tokens as arguments.
    #[command(flatten)]
    pub tokens: TokenArgs,
}

impl ListArgs {
    /// Checks that no list is one of the files that msght itself writes.
    ///
    /// # Errors
    /// An error that names the option, and the setting that uses the file.
    pub fn check_files(&self, settings: &Settings) -> Result<(), UsageError> {
        for (option, file) in [("--orgs", &self.orgs), ("--projects", &self.projects)] {
            if let Some(key) = settings.setting_for_file(file) {
                let problem = format!("{option} {} is the file of {key}: choose another one", file.display());
                return Err(UsageError::new(problem));
            }
        }
        Ok(())
    }
}

/// Tokens as arguments, as the first msght took them.
#[derive(Debug, Clone, Default, Args)]
pub struct TokenArgs {
    /// Token to read with, instead of the configured ones. Process lists show it: better set GHT_READ_TOKEN
    #[arg(value_name = "TOKEN_READ", value_parser = parsers::token)]
    pub read: Option<Secret>,
    /// Token to manage webhooks with. Process lists show it: better set GHT_WEBHOOK_TOKEN
    #[arg(value_name = "TOKEN_WRITE_HOOKS", value_parser = parsers::token)]
    pub hooks: Option<Secret>,
}

impl TokenArgs {
    /// Checks both tokens; an error does not show them.
    pub(super) fn check(&self) -> Result<(), UsageError> {
        for (name, token) in [("TOKEN_READ", &self.read), ("TOKEN_WRITE_HOOKS", &self.hooks)] {
            if let Some(problem) = token.as_ref().and_then(|token| token_problem(token.expose())) {
                return Err(UsageError(format!("{name} is {problem}")));
            }
        }
        Ok(())
    }

    /// Replaces the tokens of the settings by these; returns whether there are any.
    pub fn apply(&self, settings: &mut Settings) -> bool {
        if let Some(token) = &self.read {
            settings.set_read_token(token.clone());
        }
        if let Some(token) = &self.hooks {
            settings.github.hook_token = Some(token.clone());
        }
        self.read.is_some() || self.hooks.is_some()
    }
}
