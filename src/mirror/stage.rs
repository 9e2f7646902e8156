//! The stages of mirroring a repository, by the names that users type.

use std::fmt;

use clap::ValueEnum;

/// One kind of thing that is mirrored from a repository, in the order of [`Stage::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum)]
pub enum Stage {
    /// The repository itself and its owner
    Repo,
    /// Collaborators and contributors
    People,
    /// Labels
    Labels,
    /// Milestones
    Milestones,
    /// Topics
    Topics,
    /// Bytes of code in each language
    Languages,
    /// Releases
    Releases,
    /// Branches and tags
    Branches,
    /// Commits of every branch and tag
    Commits,
    /// Comments on commits
    CommitComments,
    /// Pull requests
    Pulls,
    /// Review comments of pull requests
    ReviewComments,
    /// Issues
    Issues,
    /// Comments of issues and pull requests
    IssueComments,
    /// Events of issues and pull requests: closed, labeled, referenced
    IssueEvents,
    /// Who starred the repository, and when
    Stars,
    /// Forks
    Forks,
    /// The repository's events feed
    Events,
    /// One request an item for what lists leave out: full commits, full pull requests, full users
    Details,
}

impl Stage {
    /// Every stage, in the order in which they run and are shown.
    pub const ALL: [Stage; 19] = [
        Stage::Repo,
        Stage::People,
        Stage::Labels,
        Stage::Milestones,
        Stage::Topics,
        Stage::Languages,
        Stage::Releases,
        Stage::Branches,
        Stage::Commits,
        Stage::CommitComments,
        Stage::Pulls,
        Stage::ReviewComments,
        Stage::Issues,
        Stage::IssueComments,
        Stage::IssueEvents,
        Stage::Stars,
        Stage::Forks,
        Stage::Events,
        Stage::Details,
    ];

    /// The stage's name as users type and read it.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Repo => "repo",
            Stage::People => "people",
            Stage::Labels => "labels",
            Stage::Milestones => "milestones",
            Stage::Topics => "topics",
            Stage::Languages => "languages",
            Stage::Releases => "releases",
            Stage::Branches => "branches",
            Stage::Commits => "commits",
            Stage::CommitComments => "commit-comments",
            Stage::Pulls => "pulls",
            Stage::ReviewComments => "review-comments",
            Stage::Issues => "issues",
            Stage::IssueComments => "issue-comments",
            Stage::IssueEvents => "issue-events",
            Stage::Stars => "stars",
            Stage::Forks => "forks",
            Stage::Events => "events",
            Stage::Details => "details",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_complete_ordered_and_named_as_typed() {
        assert_eq!(Stage::ALL.as_slice(), Stage::value_variants());
        assert!(Stage::ALL.is_sorted());
        for stage in Stage::ALL {
            assert_eq!(Stage::from_str(stage.name(), false), Ok(stage));
        }
        assert_eq!(format!("{:<8}|", Stage::Repo), "repo    |");
    }
}
