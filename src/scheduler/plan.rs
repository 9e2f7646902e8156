//! Plan of a run: the repositories that are due.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::names::RepoName;
use crate::store::relational::inventory::RepositoryRecord;

/// A repository that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueRepository {
    /// Name.
    pub name: RepoName,
    /// End of its last complete retrieval.
    pub retrieved_at: Option<DateTime<Utc>>,
    /// True if its owner's list says that it has changed since.
    pub changed: bool,
}

/// The plan of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Repositories that are due, most stale first.
    pub due: Vec<DueRepository>,
    /// Number of repositories that are fresh enough.
    pub fresh: usize,
}

impl Plan {
    /// Selects the repositories that are due, most stale first: those whose last complete retrieval is at least `max_age` ago.
    pub fn due_stalest_first<'a>(
        repositories: impl Iterator<Item = &'a RepoName>,
        inventory: &[RepositoryRecord],
        max_age: Duration,
        now: DateTime<Utc>,
    ) -> Self {
        let by_name: HashMap<String, &RepositoryRecord> =
            inventory.iter().map(|known| (format!("{}/{}", known.owner, known.name).to_lowercase(), known)).collect();
        let max_age = TimeDelta::from_std(max_age).unwrap_or(TimeDelta::MAX);
        let mut due = Vec::new();
        let mut fresh = 0;
        for name in repositories {
            let known = by_name.get(&name.to_string().to_lowercase());
            let retrieved_at = known.and_then(|known| known.retrieved_at);
            if retrieved_at.is_some_and(|at| now.signed_duration_since(at) < max_age) {
                fresh += 1;
                continue;
            }
            let changed =
                known.and_then(|known| known.changed_at).zip(retrieved_at).is_none_or(|(at, seen)| at >= seen);
            due.push(DueRepository { name: name.clone(), retrieved_at, changed });
        }
        // Those never retrieved first; among equals the order of projects.txt stays.
        due.sort_by_key(|due| due.retrieved_at);
        Self { due, fresh }
    }
}
