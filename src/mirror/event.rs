//! Events of a run that users and the log are told about, and the one place that does so.

use std::fmt;

use crate::telemetry::Console;

/// An event of a run that users are told about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MirrorEvent<'a> {
    /// A repository was renamed; its documents move.
    RepositoryRenamed { from: &'a str, to: &'a str },
    /// A mirrored repository is deleted on GitHub.
    RepositoryDeleted { name: &'a str },
    /// A repository's name belongs to another one now; the former one's data stay under `kept_as`.
    RepositoryNameReused { name: &'a str, kept_as: &'a str },
    /// An account was renamed.
    AccountRenamed { from: &'a str, to: &'a str },
    /// A known account is deleted on GitHub.
    AccountDeleted { login: &'a str },
    /// An account's login belongs to another one now; the former one's rows stay under `kept_as`.
    LoginReused { login: &'a str, kept_as: &'a str },
    /// The details of a repository start; `estimate` ends the sentence.
    DetailsPlanned { repository: &'a str, requests: u64, commits: u64, pulls: u64, people: u64, estimate: &'a str },
}

impl fmt::Display for MirrorEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RepositoryRenamed { from, to } => write!(f, "{from} is now {to}; its data go with it"),
            Self::RepositoryDeleted { name } => {
                write!(f, "{name} was mirrored before and is marked as deleted; its data stay")
            }
            Self::RepositoryNameReused { name, kept_as } => write!(
                f,
                "{name} is not the repository that was mirrored under this name before; the former one's data are kept \
                 as {kept_as}"
            ),
            Self::AccountRenamed { from, to } => write!(f, "{from} is now {to}; its lists are fetched again"),
            Self::AccountDeleted { login } => {
                write!(f, "{login} was known before and is marked as deleted; its data stay")
            }
            Self::LoginReused { login, kept_as } => write!(
                f,
                "{login} is not the account that had this login before; the former one's rows are kept as {kept_as}"
            ),
            Self::DetailsPlanned { repository, requests, commits, pulls, people, estimate } => write!(
                f,
                "{repository}: details take about {requests} requests ({commits} commits, {pulls} pull requests, \
                 {people} people){estimate}"
            ),
        }
    }
}

impl MirrorEvent<'_> {
    /// Shows the event to users and logs it.
    pub(super) fn report(&self, console: &Console) {
        tracing::info!(event = %self, "mirror");
        console.line(&self.to_string());
    }
}
