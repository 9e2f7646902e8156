//! Comparison of wishes with the stores.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};

use crate::json;
use crate::mirror::error::MirrorError;
use crate::mirror::mapping::item::{get_path, parse_date};
use crate::store::Stores;
use crate::store::documents::Collection;
use crate::store::relational::refreshes::{RefreshKind, RefreshRequest, Wanted};

/// Time by which an event may be older than the change of its issue.
const EVENT_TOLERANCE: TimeDelta = TimeDelta::seconds(2);

/// Returns the collection of a kind's documents, whose ids end with the entity's key.
pub(super) fn collection_of(kind: RefreshKind) -> Option<Collection> {
    Some(match kind {
        RefreshKind::Labels => Collection::RepoLabels,
        RefreshKind::Milestones => Collection::Milestones,
        RefreshKind::Branches => Collection::Branches,
        RefreshKind::Tags => Collection::Tags,
        RefreshKind::CommitComments => Collection::CommitComments,
        RefreshKind::Issues => Collection::Issues,
        RefreshKind::IssueComments => Collection::IssueComments,
        RefreshKind::Pulls => Collection::PullRequests,
        RefreshKind::Reviews => Collection::PullRequestReviews,
        RefreshKind::ReviewComments => Collection::PullRequestComments,
        RefreshKind::Releases => Collection::Releases,
        RefreshKind::Stars => Collection::Watchers,
        RefreshKind::Forks => Collection::Forks,
        RefreshKind::Collaborators => Collection::RepoCollaborators,
        RefreshKind::Members => Collection::OrgMembers,
        RefreshKind::Teams => Collection::Teams,
        RefreshKind::TeamMembers => Collection::TeamMembers,
        RefreshKind::TeamRepositories => Collection::TeamRepos,
        RefreshKind::OutsideCollaborators => Collection::OutsideCollaborators,
        RefreshKind::Repository
        | RefreshKind::Counts
        | RefreshKind::Details
        | RefreshKind::Contributors
        | RefreshKind::Topics
        | RefreshKind::Languages
        | RefreshKind::Commits
        | RefreshKind::IssueEvents
        | RefreshKind::PullCommits
        | RefreshKind::Organization => return None,
    })
}

/// State of an entity's document.
pub(super) enum Stored {
    /// Never stored.
    Missing,
    /// Marked as deleted.
    Deleted,
    /// Stored.
    Live(Value),
}

/// The stores of a repository or an organization.
pub(super) struct Checker<'a> {
    stores: &'a Stores,
    project: i64,
    /// The prefix of its documents' keys: owner and name, or the organization.
    key: Vec<&'a str>,
}

impl<'a> Checker<'a> {
    pub(super) fn of_repository(stores: &'a Stores, project: i64, owner: &'a str, name: &'a str) -> Self {
        Self { stores, project, key: vec![owner, name] }
    }

    pub(super) fn of_organization(stores: &'a Stores, project: i64, login: &'a str) -> Self {
        Self { stores, project, key: vec![login] }
    }

    /// Returns the id of an entity's document.
    pub(super) fn document_id(&self, entity: &str) -> String {
        format!("{}/{entity}", self.key.join("/"))
    }

    /// Loads an entity's document.
    pub(super) async fn stored(&self, collection: Collection, entity: &str) -> Result<Stored, MirrorError> {
        let stored = self.stores.documents.get(collection, &self.document_id(entity)).await?;
        let Some(document) = stored.and_then(|json| json::parse::<Value>(&json).ok()) else {
            return Ok(Stored::Missing);
        };
        let deleted = get_path(&document, "_msght.deleted_at").is_some();
        Ok(if deleted { Stored::Deleted } else { Stored::Live(document) })
    }

    /// Returns whether a wish has come true without a request. What is not there, and what is to be read, must be read.
    pub(super) async fn is_fulfilled_already(&self, request: &RefreshRequest) -> Result<bool, MirrorError> {
        match (&request.wanted, collection_of(request.kind), request.entity.as_deref()) {
            (Wanted::Gone, Some(collection), Some(entity)) => {
                Ok(matches!(self.stored(collection, entity).await?, Stored::Deleted))
            }
            (Wanted::Commit(sha), Some(collection), Some(entity)) => {
                let stored = self.stored(collection, entity).await?;
                Ok(matches!(stored, Stored::Live(document) if has_head(&document, sha)))
            }
            (Wanted::Gone | Wanted::Read, ..) => Ok(false),
            // Without facts to compare, a star may be an earlier one.
            (Wanted::Present, ..) if request.facts.is_none() && request.kind.is_reusable() => Ok(false),
            _ => self.is_fulfilled(request).await,
        }
    }

    /// Returns whether a wish has come true, after its kind was read.
    pub(super) async fn is_fulfilled(&self, request: &RefreshRequest) -> Result<bool, MirrorError> {
        let entity = request.entity.as_deref().unwrap_or_default();
        match (request.kind, &request.wanted) {
            (_, Wanted::Read) => Ok(true),
            (RefreshKind::Repository | RefreshKind::Counts, wanted) => self.is_repository_as(wanted, request).await,
            (RefreshKind::Topics, _) => self.has_topics(request).await,
            (RefreshKind::IssueEvents, Wanted::UpdatedAt(at)) => {
                let Ok(number) = entity.parse() else { return Ok(true) };
                let newest = self.stores.relational.newest_issue_event(self.project, number).await?;
                Ok(newest.is_some_and(|newest| newest >= *at - EVENT_TOLERANCE))
            }
            (RefreshKind::PullCommits, Wanted::Commit(sha)) => {
                let Ok(number) = entity.parse() else { return Ok(true) };
                let fetched = self.stores.relational.fetched_pull_commits(self.project, number).await?;
                Ok(fetched.is_some_and(|(head, _)| head.split(' ').next() == Some(sha)))
            }
            (RefreshKind::Commits, Wanted::Commit(sha)) => self.is_known(sha).await,
            (kind, wanted) => match collection_of(kind) {
                Some(collection) => {
                    let stored = self.stored(collection, entity).await?;
                    self.is_document_as(stored, wanted, request).await
                }
                None => Ok(true),
            },
        }
    }

    async fn is_document_as(
        &self,
        stored: Stored,
        wanted: &Wanted,
        request: &RefreshRequest,
    ) -> Result<bool, MirrorError> {
        Ok(match (stored, wanted) {
            (Stored::Live(_), Wanted::Gone) => false,
            (Stored::Missing | Stored::Deleted, Wanted::Gone) => true,
            // It went after it was announced, and nothing comes back under its key.
            (Stored::Deleted, _) => !request.kind.is_reusable(),
            (Stored::Live(document), Wanted::UpdatedAt(at)) => updated_at(&document) >= Some(*at),
            (Stored::Live(document), Wanted::Present) => {
                request.facts.as_deref().is_none_or(|facts| has_facts(&document, facts))
            }
            (Stored::Live(document), Wanted::Commit(sha)) => has_head(&document, sha) || self.is_known(sha).await?,
            // A branch may be gone again.
            (Stored::Missing, Wanted::Commit(sha)) => self.is_known(sha).await?,
            (Stored::Missing, _) => false,
            (_, Wanted::Read) => true,
        })
    }

    async fn is_known(&self, sha: &String) -> Result<bool, MirrorError> {
        let known = self.stores.relational.known_commits(self.project, std::slice::from_ref(sha)).await?;
        Ok(!known.is_empty())
    }

    async fn is_repository_as(&self, wanted: &Wanted, request: &RefreshRequest) -> Result<bool, MirrorError> {
        let id = self.key.join("/");
        let stored = self.stores.documents.get(Collection::Repos, &id).await?;
        let document = stored.and_then(|json| json::parse::<Value>(&json).ok()).unwrap_or_default();
        let deleted = get_path(&document, "_msght.deleted_at").is_some();
        Ok(match wanted {
            Wanted::Gone => deleted,
            _ => !deleted && request.facts.as_deref().is_none_or(|facts| has_facts(&document, facts)),
        })
    }

    async fn has_topics(&self, request: &RefreshRequest) -> Result<bool, MirrorError> {
        let facts = request.facts.as_deref().and_then(|facts| serde_json::from_str::<Value>(facts).ok());
        let Some(topics) = facts.as_ref().and_then(|facts| facts.get("topics")?.as_array()) else { return Ok(true) };
        let mut expected: Vec<&str> = topics.iter().filter_map(Value::as_str).collect();
        let (mut stored, mut pages) = (Vec::new(), self.stores.documents.id_pages(Collection::Topics, &self.key));
        while let Some(ids) = pages.next().await? {
            stored.extend(ids.iter().filter_map(|id| id.rsplit('/').next()).map(str::to_owned));
        }
        expected.sort_unstable();
        stored.sort_unstable();
        Ok(stored == expected)
    }
}

fn updated_at(document: &Value) -> Option<DateTime<Utc>> {
    get_path(document, "updated_at").and_then(Value::as_str).and_then(parse_date)
}

/// Returns whether a branch has this commit for its head.
fn has_head(document: &Value, sha: &str) -> bool {
    get_path(document, "commit.sha").and_then(Value::as_str) == Some(sha)
}

/// Returns whether a document has these facts. Null, an empty text and a missing member are the same; a person is no fact
/// of a star.
fn has_facts(document: &Value, facts: &str) -> bool {
    let Ok(facts) = serde_json::from_str::<Map<String, Value>>(facts) else { return true };
    let present = |value: &Value| !value.is_null() && value.as_str() != Some("");
    facts.iter().filter(|(key, _)| key.as_str() != "user").all(|(key, fact)| {
        let there = document.get(key).filter(|value| present(value));
        if present(fact) {
            there == Some(fact) || is_same_date(there, fact)
        } else {
            // When somebody starred it, a delivery may not tell.
            key == "starred_at" || there.is_none()
        }
    })
}

fn is_same_date(there: Option<&Value>, fact: &Value) -> bool {
    let date = |value: &Value| value.as_str().and_then(parse_date);
    date(fact).is_some_and(|fact| there.and_then(date) == Some(fact))
}
