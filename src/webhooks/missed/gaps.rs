//! Closing of gaps: repositories that have changed since a gap began are retrieved.

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::Rounds;
use super::report::{GapReport, OrganizationRound};
use crate::github::webhooks::WebhookRef;
use crate::github::{ApiError, ApiUrl, Fetched, GitHub, Request, RequestCounter, VisitedUrls};
use crate::queue::Route;
use crate::store::BackendError;
use crate::store::relational::webhooks::DeliveryGap;

/// Repositories per page, GitHub's maximum.
const PER_PAGE: &str = "100";

#[derive(Deserialize)]
struct ListedRepository {
    name: String,
    owner: ListedOwner,
    #[serde(default)]
    pushed_at: Option<DateTime<Utc>>,
    #[serde(default)]
    updated_at: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
struct ListedOwner {
    login: String,
}

impl Rounds {
    /// Queues the repositories that have changed since the organization's open gaps began: of one that has changed after a
    /// gap, the list can't tell whether it did within it.
    ///
    /// # Errors
    /// A store or a queue that could not be written. A gap whose list GitHub refuses stays open.
    pub(super) async fn close_gaps(
        &self,
        github: &GitHub,
        hook: &WebhookRef,
        round: &mut OrganizationRound,
        counter: &RequestCounter,
    ) -> Result<(), BackendError> {
        let organization = hook.organization.as_str();
        let gaps = self.stores.relational.open_delivery_gaps(organization).await?;
        let Some(since) = gaps.iter().map(|gap| gap.from).min() else { return Ok(()) };
        let changed = match list_changed(github, organization, since, counter).await {
            Ok(changed) => changed,
            Err(error) => {
                round.note_problem(&error);
                round.gaps = gaps.iter().map(|gap| GapReport::new(gap, None)).collect();
                return Ok(());
            }
        };
        let bodies: Vec<String> = changed.iter().map(|found| format!("{} {}", found.owner.login, found.name)).collect();
        if !bodies.is_empty() {
            self.queue.declare(std::slice::from_ref(&Route::Projects)).await?;
            self.queue.publish(&Route::Projects, bodies).await?;
        }
        for gap in gaps {
            let queued = changed.iter().filter(|found| found.has_changed_since(gap.from)).count() as u64;
            let closed = DeliveryGap { repositories: Some(queued), ..gap };
            self.stores.relational.record_delivery_gap(organization, &closed).await?;
            round.gaps.push(GapReport::new(&closed, Some(queued)));
        }
        Ok(())
    }
}

impl ListedRepository {
    fn has_changed_since(&self, at: DateTime<Utc>) -> bool {
        [self.pushed_at, self.updated_at].into_iter().flatten().any(|changed| changed >= at)
    }
}

/// Lists the organization's repositories that have changed since a time.
async fn list_changed(
    github: &GitHub,
    organization: &str,
    since: DateTime<Utc>,
    counter: &RequestCounter,
) -> Result<Vec<ListedRepository>, ApiError> {
    let mut changed: Vec<ListedRepository> = Vec::new();
    let mut next =
        Some(ApiUrl::path(&["orgs", organization, "repos"]).query("type", "all").query("per_page", PER_PAGE));
    let mut visited = VisitedUrls::default();
    while let Some(url) = next.take() {
        visited.visit(&url)?;
        let Fetched::Page(page) = github.send(&Request::get(url.clone()), counter).await? else { break };
        let listed: Vec<ListedRepository> = serde_json::from_slice(&page.body).map_err(|error| {
            let message = format!("the body is no list of repositories: {error}");
            ApiError::UnexpectedStatus { path: url.to_string(), status: 200, message }
        })?;
        changed.extend(listed.into_iter().filter(|found| found.has_changed_since(since)));
        next = page.links.next;
    }
    Ok(changed)
}
