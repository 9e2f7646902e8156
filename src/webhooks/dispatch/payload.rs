//! Lenient access to a payload.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::Dispatch;
use crate::names::{RepoName, is_login};
use crate::store::relational::refreshes::{RefreshKind, RefreshRequest, Wanted};

/// Keys of a repository that its own document and its payloads have in common, and that change with its entities.
const REPOSITORY_FACTS: [&str; 12] = [
    "name",
    "description",
    "homepage",
    "private",
    "visibility",
    "archived",
    "default_branch",
    "open_issues_count",
    "stargazers_count",
    "forks_count",
    "updated_at",
    "pushed_at",
];

/// A delivery's payload.
#[derive(Clone, Copy)]
pub(super) struct Payload<'a>(pub &'a Value);

/// The repository that a payload names.
#[derive(Clone)]
pub(super) struct Named {
    id: Option<i64>,
    name: RepoName,
    as_of: Option<DateTime<Utc>>,
}

impl<'a> Payload<'a> {
    /// Returns a member by its path, `a.b.c`; null counts as missing.
    pub(super) fn get(self, path: &str) -> Option<&'a Value> {
        path.split('.').try_fold(self.0, |value, key| value.get(key)).filter(|value| !value.is_null())
    }

    pub(super) fn text(self, path: &str) -> Option<&'a str> {
        self.get(path)?.as_str().filter(|text| !text.is_empty())
    }

    pub(super) fn integer(self, path: &str) -> Option<i64> {
        self.get(path)?.as_i64()
    }

    pub(super) fn flag(self, path: &str) -> bool {
        self.get(path).and_then(Value::as_bool) == Some(true)
    }

    /// Returns a date in text; pushes have some as Unix seconds.
    pub(super) fn date(self, path: &str) -> Option<DateTime<Utc>> {
        match self.get(path)? {
            Value::String(text) => Some(DateTime::parse_from_rfc3339(text).ok()?.with_timezone(&Utc)),
            value => DateTime::from_timestamp(value.as_i64()?, 0),
        }
    }

    pub(super) fn action(self) -> &'a str {
        self.text("action").unwrap_or_default()
    }

    /// Returns the payload of a member.
    pub(super) fn member(self, path: &str) -> Option<Self> {
        self.get(path).map(Payload)
    }

    /// Returns the repository.
    pub(super) fn repository(self) -> Option<Named> {
        self.named("repository")
    }

    /// Returns the repository under a path.
    pub(super) fn named(self, path: &str) -> Option<Named> {
        let repository = self.member(path)?;
        // Old payloads of pushes have the owner's login as its name.
        let owner = repository.text("owner.login").or_else(|| repository.text("owner.name"));
        let owner = owner.or_else(|| Some(repository.text("full_name")?.split_once('/')?.0))?;
        let name = RepoName::new(owner, repository.text("name")?).ok()?;
        // The newer of the two: a push moves the one, an edit the other.
        let as_of = repository.date("updated_at").max(repository.date("pushed_at"));
        Some(Named { id: repository.integer("id").filter(|id| *id > 0), name, as_of })
    }

    /// Returns the organization's login; that of the repository's owner if it is one.
    pub(super) fn organization(self) -> Option<&'a str> {
        let owner = || {
            self.text("repository.owner.login").filter(|_| self.text("repository.owner.type") == Some("Organization"))
        };
        self.text("organization.login").or_else(owner).filter(|login| is_login(login))
    }

    /// Returns the facts of these members that are there, as JSON.
    pub(super) fn facts(self, keys: &[&str]) -> Option<String> {
        let facts: Map<String, Value> =
            keys.iter().filter_map(|key| Some(((*key).to_owned(), self.0.get(key)?.clone()))).collect();
        (!facts.is_empty()).then(|| Value::Object(facts).to_string())
    }
}

impl Named {
    /// Returns a wish for one of its entities.
    pub(super) fn wish(&self, kind: RefreshKind, entity: impl Into<Option<String>>, wanted: Wanted) -> RefreshRequest {
        let (owner, name) = (self.name.owner(), self.name.name());
        let wish = RefreshRequest::of_repository(self.id, owner, name, kind, entity.into(), wanted);
        // Evidence matters only where a key may come back.
        RefreshRequest { as_of: self.as_of.filter(|_| kind.is_reusable()), ..wish }
    }

    /// Returns a wish for an entity with an `updated_at`.
    pub(super) fn updated(&self, kind: RefreshKind, entity: String, at: Option<DateTime<Utc>>) -> RefreshRequest {
        self.wish(kind, entity, at.map_or(Wanted::Present, Wanted::UpdatedAt))
    }
}

impl Dispatch {
    /// Adds a wish.
    pub(super) fn wish(&mut self, wish: RefreshRequest) {
        self.refreshes.push(wish);
    }

    /// Adds wishes for the repository itself, as far as its entities change it: its counts and dates.
    pub(super) fn wish_counts(&mut self, payload: Payload<'_>) {
        let (Some(repository), Some(json)) = (payload.repository(), payload.member("repository")) else { return };
        let mut wish = repository.wish(RefreshKind::Counts, None, Wanted::Present);
        wish.facts = repository_facts(json);
        self.wish(wish);
    }
}

/// Returns what a payload says of a repository itself, without dates that it has in another form.
pub(super) fn repository_facts(repository: Payload<'_>) -> Option<String> {
    let keys: Vec<&str> = REPOSITORY_FACTS
        .into_iter()
        .filter(|key| !key.ends_with("_at") || repository.get(key).is_some_and(Value::is_string))
        .collect();
    repository.facts(&keys)
}
