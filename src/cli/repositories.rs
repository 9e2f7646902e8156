//! Options of the commands that are given repositories by name: `retrieve-repo` and `update-repo`.

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};

use super::{Detail, UsageError, parsers};
use crate::config::nearest;
use crate::mirror::stage::Stage;
use crate::names::RepoName;

/// The event types of repositories' feeds ("GitHub event types" in GitHub's REST API documentation).
const EVENT_TYPES: [&str; 17] = [
    "CommitCommentEvent",
    "CreateEvent",
    "DeleteEvent",
    "DiscussionEvent",
    "ForkEvent",
    "GollumEvent",
    "IssueCommentEvent",
    "IssuesEvent",
    "MemberEvent",
    "PublicEvent",
    "PullRequestEvent",
    "PullRequestReviewCommentEvent",
    "PullRequestReviewEvent",
    "PullRequestReviewThreadEvent",
    "PushEvent",
    "ReleaseEvent",
    "WatchEvent",
];

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
    /// Skip these stages; the same names as for --only
    #[arg(long, value_name = "STAGE", value_delimiter = ',', hide_possible_values = true)]
    pub skip: Vec<Stage>,
    /// Detail to retrieve of each item
    #[arg(long, value_enum, value_name = "DETAIL", default_value_t = Detail::Full)]
    pub detail: Detail,
    /// Fetch everything again, regardless of earlier runs
    #[arg(long)]
    pub full: bool,
    /// Skip the repository's events feed, as --skip events does
    #[arg(long)]
    pub no_events: bool,
    /// Skip events of these types, such as PushEvent; comma-separated, repeatable
    #[arg(long, value_name = "TYPE", value_delimiter = ',', value_parser = parsers::event_type)]
    pub exclude_events: Vec<String>,
    /// Only events with a higher id
    #[arg(long, value_name = "ID")]
    pub events_after: Option<u64>,
    /// Only events with a lower id
    #[arg(long, value_name = "ID")]
    pub events_before: Option<u64>,
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

impl ValueEnum for Stage {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(self.help()))
    }
}

/// Returns the stages of a whole retrieval at a level of detail.
pub fn stages_of(detail: Detail) -> Vec<Stage> {
    Stage::ALL.into_iter().filter(|stage| detail == Detail::Full || *stage != Stage::Details).collect()
}

impl RetrieveRepoArgs {
    /// Returns the repositories that the positional arguments name.
    ///
    /// # Errors
    /// An error that shows the first argument that is not a repository's name.
    pub fn repositories(&self) -> Result<Vec<RepoName>, UsageError> {
        repositories(&self.names)
    }

    /// Returns the stages to run, in their order, after `--only`, `--skip`, `--no-events` and `--detail`.
    ///
    /// # Errors
    /// An error if the options together leave no stage.
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

    /// Returns a warning for each excluded event type that msght does not know; GitHub may add types.
    pub fn warnings(&self) -> Vec<String> {
        let unknown = self.exclude_events.iter().filter(|excluded| !EVENT_TYPES.contains(&excluded.as_str()));
        let warning = |excluded: &String| {
            let hint = nearest(excluded, EVENT_TYPES.iter().map(ToString::to_string));
            let hint = hint.unwrap_or_else(|| "if GitHub has it, its events are skipped".to_owned());
            format!("--exclude-events: unknown event type {excluded}; {hint}")
        };
        unknown.map(warning).collect()
    }

    /// Checks that `--events-after` and `--events-before` leave room for an event.
    pub(super) fn event_ids(&self) -> Result<(), UsageError> {
        match (self.events_after, self.events_before) {
            (Some(after), Some(before)) if after >= before => Err(UsageError(format!(
                "--events-after {after} and --events-before {before} leave no events: the first must be lower"
            ))),
            _ => Ok(()),
        }
    }
}

/// Parses repositories in the order given, without repetitions: `ORG/NAME...`, or exactly two arguments without a slash,
/// `ORG NAME`. GitHub ignores the case of names.
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
    /// Returns the repositories that the positional arguments name.
    ///
    /// # Errors
    /// An error that shows the first argument that is not a repository's name.
    pub fn repositories(&self) -> Result<Vec<RepoName>, UsageError> {
        repositories(&self.names)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

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
    fn repositories_are_parsed_in_both_forms_without_repetitions() {
        assert_eq!(shown(&["octocat/Hello-World"]), ["octocat/Hello-World"]);
        assert_eq!(shown(&["octocat", "Hello-World"]), ["octocat/Hello-World"]);
        assert_eq!(shown(&["a/b", "c/d", "A/B"]), ["a/b", "c/d"]);
    }

    #[test]
    fn usage_error_shows_the_invalid_name() {
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
    fn stages_are_chosen_by_commas_and_repetition() {
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
    fn unknown_event_types_are_warned_of() {
        assert!(retrieve(&["a/b", "--exclude-events", "PushEvent,WatchEvent"]).warnings().is_empty());
        let warnings = retrieve(&["a/b", "--exclude-events", "PushEvents,NewKindOfEvent"]).warnings();
        assert_eq!(warnings[0], "--exclude-events: unknown event type PushEvents; did you mean PushEvent?");
        assert!(warnings.len() == 2 && warnings[1].contains("NewKindOfEvent"), "{warnings:?}");
    }

    #[test]
    fn empty_range_of_events_is_rejected() {
        let cli = |after, before| {
            Cli::try_parse_from(["msght", "retrieve-repo", "a/b", "--events-after", after, "--events-before", before])
                .unwrap()
        };
        assert!(cli("1", "3").check().is_ok());
        assert!(cli("3", "3").check().is_err());
    }
}
