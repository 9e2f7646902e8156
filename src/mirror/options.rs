//! Options of a run.

use std::collections::HashSet;

use super::stage::Stage;

/// What a run was asked to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// The stages to run.
    pub stages: Vec<Stage>,
    /// Whether what is known is forgotten and everything read anew.
    pub full: bool,
    /// Types of feed events that are left out.
    pub exclude_events: HashSet<String>,
    /// Only feed events with a larger id.
    pub events_after: Option<i64>,
    /// Only feed events with a smaller id.
    pub events_before: Option<i64>,
    /// Which commits of a fork are its own.
    pub fork_commits: ForkCommits,
}

impl Options {
    /// A run over these stages from what is known on, with nothing left out.
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

/// Which commits a fork's `project_commits` are (data model, §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForkCommits {
    /// Those that it has beyond the point where it left its parent
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

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::ForkPoint => "fork_point",
            Self::All => "all",
            Self::None => "none",
        }
    }
}
