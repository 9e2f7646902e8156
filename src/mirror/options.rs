//! Options of a run.

use std::collections::HashSet;

use super::stage::Stage;

/// Options of a run over a repository.
#[derive(Debug, Clone)]
pub struct Options {
    /// Stages to run.
    pub stages: Vec<Stage>,
    /// Discards the sync state, so that everything is fetched again.
    pub full: bool,
    /// Types of feed events to leave out.
    pub exclude_events: HashSet<String>,
    /// Exclusive lower bound of feed event ids.
    pub events_after: Option<i64>,
    /// Exclusive upper bound of feed event ids.
    pub events_before: Option<i64>,
    /// Commits that count as a fork's own.
    pub fork_commits: ForkCommits,
}

impl Options {
    /// Returns options that run these stages incrementally, with nothing left out.
    pub fn of(stages: Vec<Stage>) -> Self {
        Self {
            stages,
            full: false,
            exclude_events: HashSet::new(),
            events_after: None,
            events_before: None,
            fork_commits: ForkCommits::default(),
        }
    }
}

/// Commits that a fork's `project_commits` hold (docs/data-model.md, "Tables").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForkCommits {
    /// Those beyond the point where it left its parent
    #[default]
    ForkPoint,
    /// All commits of its branches and tags
    All,
    /// None
    None,
}

impl ForkCommits {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::ForkPoint, Self::All, Self::None];

    /// Returns its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::ForkPoint => "fork_point",
            Self::All => "all",
            Self::None => "none",
        }
    }
}
