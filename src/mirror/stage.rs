//! The table of stages: what a repository's mirroring consists of, by the names that users type.

use std::fmt;

/// Hands the table of stages to the macro `$expand`. A row registers a stage:
///
/// ```text
/// /// Help
/// Variant: "name", PHASE [after Stage], LISTS lists, entity::function;
/// ```
///
/// The rows stand in the order in which stages are shown. Stages of one phase run concurrently, except one that runs `after`
/// another. LISTS is the number of lists that the stage requests at least. `function` of the file `entity` in `entities/`
/// runs the stage.
macro_rules! stage_table {
    ($expand:ident) => {
        $expand! {
            /// The repository itself and its owner
            Repo: "repo", Repository, 1 lists, repository::sync_owner_and_parent;
            /// Collaborators and contributors
            People: "people", Lists, 2 lists, people::sync_people;
            /// Labels
            Labels: "labels", Lists, 1 lists, labels::sync_labels;
            /// Milestones
            Milestones: "milestones", Lists, 1 lists, labels::sync_milestones;
            /// Topics
            Topics: "topics", Lists, 1 lists, repository::sync_topics;
            /// Bytes of code in each language
            Languages: "languages", Lists, 1 lists, repository::sync_languages;
            /// Releases
            Releases: "releases", Lists, 1 lists, refs::sync_releases;
            /// Branches and tags
            Branches: "branches", Lists, 2 lists, refs::sync_branches;
            // Commits are walked from the heads of the branches.
            /// Commits of every branch and tag
            Commits: "commits", Lists after Branches, 1 lists, commits::sync_commits;
            /// Comments on commits
            CommitComments: "commit-comments", Lists, 1 lists, commits::sync_commit_comments;
            /// Pull requests
            Pulls: "pulls", Lists, 1 lists, pulls::sync_pulls;
            /// Review comments of pull requests
            ReviewComments: "review-comments", Lists, 1 lists, pulls::sync_review_comments;
            // Issues whose labels were renamed are fetched again before those that changed, so that the newer answer is
            // stored last.
            /// Issues
            Issues: "issues", Lists after Labels, 1 lists, issues::sync_issues;
            /// Comments of issues and pull requests
            IssueComments: "issue-comments", Lists, 1 lists, issues::sync_comments;
            /// Events of issues and pull requests: closed, labeled, referenced
            IssueEvents: "issue-events", Lists, 1 lists, issues::sync_events;
            /// Who starred the repository, and when
            Stars: "stars", Lists, 1 lists, stars::sync_stars;
            /// Forks
            Forks: "forks", Lists, 1 lists, stars::sync_forks;
            /// The repository's events feed
            Events: "events", Feed, 1 lists, events::sync_feed;
            /// One request an item for what lists leave out: full commits, full pull requests, full users
            Details: "details", Details, 0 lists, details::sync_details;
        }
    };
}
pub(super) use stage_table;

macro_rules! define_stages {
    ($(
        #[doc = $help:literal]
        $stage:ident: $name:literal, $phase:ident $(after $predecessor:ident)?, $lists:literal lists,
        $entity:ident::$function:ident;
    )+) => {
        /// One kind of data that is mirrored from a repository, in the order of [`Stage::ALL`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Stage {
            $(#[doc = $help] $stage,)+
        }

        impl Stage {
            /// Every stage, in the order in which they are shown.
            pub const ALL: [Self; [$(Self::$stage),+].len()] = [$(Self::$stage),+];

            /// Returns the stage's name as users type and read it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$stage => $name,)+
                }
            }

            /// Returns what the stage mirrors, for the command's help.
            pub fn help(self) -> &'static str {
                match self {
                    $(Self::$stage => $help.trim_ascii(),)+
                }
            }

            /// Returns the number of lists that the stage requests at least.
            pub fn lists(self) -> u64 {
                match self {
                    $(Self::$stage => $lists,)+
                }
            }

            /// Returns the phase of a run that the stage belongs to.
            pub(super) fn phase(self) -> Phase {
                match self {
                    $(Self::$stage => Phase::$phase,)+
                }
            }

            /// Returns the stage of the same phase that it waits for.
            pub(super) fn predecessor(self) -> Option<Self> {
                match self {
                    $($(Self::$stage => Some(Self::$predecessor),)?)+
                    _ => None,
                }
            }
        }
    };
}

stage_table!(define_stages);

/// A part of a run: its stages run concurrently, after those of the phases before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The repository itself.
    Repository,
    /// Its lists.
    Lists,
    /// Its events feed, which is read with what the lists know.
    Feed,
    /// One request an item, for items that the lists and the feed have named.
    Details,
}

impl Phase {
    /// All phases, in the order in which they run.
    pub(super) const ALL: [Self; 4] = [Self::Repository, Self::Lists, Self::Feed, Self::Details];

    /// Returns the phase's chains of stages: each stage of a chain waits for the one before it.
    pub(super) fn chains(self) -> Vec<Vec<Stage>> {
        let heads = Stage::ALL.into_iter().filter(|stage| stage.phase() == self && stage.predecessor().is_none());
        heads.map(|head| std::iter::successors(Some(head), |stage| stage.successor()).collect()).collect()
    }
}

impl Stage {
    fn successor(self) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.predecessor() == Some(self))
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
    fn every_stage_is_in_one_chain_of_its_phase() {
        let mut chained: Vec<Stage> = Phase::ALL.into_iter().flat_map(Phase::chains).flatten().collect();
        chained.sort();
        assert_eq!(chained, Stage::ALL);
        assert!(Phase::Lists.chains().contains(&vec![Stage::Labels, Stage::Issues]));
        assert!(Phase::Lists.chains().contains(&vec![Stage::Branches, Stage::Commits]));
    }

    #[test]
    fn stage_is_padded_as_text() {
        assert_eq!(format!("{:<8}|", Stage::Repo), "repo    |");
        assert_eq!(Stage::Repo.help(), "The repository itself and its owner");
    }
}
