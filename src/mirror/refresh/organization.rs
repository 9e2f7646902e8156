//! Refresh of an organization's members and teams.

use std::collections::BTreeSet;

use super::check::Checker;
use super::{Refreshed, outcome};
use crate::mirror::error::MirrorError;
use crate::mirror::organizations::PeopleScope;
use crate::mirror::session::Mirror;
use crate::store::relational::NO_PROJECT;
use crate::store::relational::refreshes::{Refresh, RefreshKind, RefreshOutcome};

impl Mirror {
    /// Reads what wishes name in an organization, each list once, and compares each wish with the stores. The caller
    /// holds the organization's lease.
    ///
    /// # Errors
    /// GitHub does not answer for the organization, a store can't be used, or the user wishes to stop.
    pub async fn refresh_organization(&self, login: &str, refreshes: &[Refresh]) -> Result<Refreshed, MirrorError> {
        let mut outcomes = vec![RefreshOutcome::Done; refreshes.len()];
        let before = Checker::of_organization(&self.stores, NO_PROJECT, login);
        let mut left = Vec::new();
        for (at, refresh) in refreshes.iter().enumerate() {
            if !before.is_fulfilled_already(&refresh.request).await? {
                left.push(at);
            }
        }
        if left.is_empty() {
            return Ok(Refreshed { outcomes, ..Refreshed::default() });
        }
        let kinds: BTreeSet<RefreshKind> = left.iter().map(|at| refreshes[*at].request.kind).collect();
        let mut scope = PeopleScope {
            members: kinds.contains(&RefreshKind::Members),
            outside_collaborators: kinds.contains(&RefreshKind::OutsideCollaborators),
            teams: Some(BTreeSet::new()),
        };
        for at in &left {
            let request = &refreshes[*at].request;
            if matches!(request.kind, RefreshKind::TeamMembers | RefreshKind::TeamRepositories) {
                let team = request.entity.as_deref().and_then(|entity| entity.split('/').next()?.parse().ok());
                match (team, &mut scope.teams) {
                    (Some(team), Some(teams)) => _ = teams.insert(team),
                    (None, teams) => *teams = None,
                    (_, None) => {}
                }
            }
        }
        let before = self.github.counted();
        let found = self.refresh_people(login, &scope).await?;
        let checker = Checker::of_organization(&self.stores, NO_PROJECT, &found.login);
        let is_refused = found.notes.iter().any(|note| !note.is_empty());
        for at in left {
            outcomes[at] = match found.problems.first() {
                Some(problem) => RefreshOutcome::Retry(problem.clone()),
                None => match outcome(&checker, &refreshes[at]).await? {
                    // What the tokens are not shown can't be waited for.
                    RefreshOutcome::Retry(_) if is_refused => RefreshOutcome::Done,
                    outcome => outcome,
                },
            };
        }
        let requests = self.github.counted().saturating_sub(before);
        Ok(Refreshed { outcomes, read: kinds.into_iter().collect(), requests, free: found.free })
    }
}
