//! What an event names: the entities that both stores must have before it counts as processed.
//!
//! An event comes after the state that it tells of, often by hours. So a wish asks for as little as proves that the state was
//! read since: what the stores have already costs no request.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::mirror::mapping::item::{get_path, parse_date};
use crate::store::relational::refreshes::{RefreshKind, RefreshRequest, Wanted};

/// Time by which an entity's `updated_at` may be before its event.
const TOLERANCE: TimeDelta = TimeDelta::seconds(2);

/// A view into an entry of the feed.
struct Entry<'a> {
    json: &'a Value,
    repository_id: Option<i64>,
    owner: &'a str,
    name: &'a str,
    at: Option<DateTime<Utc>>,
}

/// Returns what an event of the feed names (`docs/data-model.md`, "events"). A type that is not known, or has another form
/// than expected, names nothing.
pub fn wishes_of(event: &Value) -> Vec<RefreshRequest> {
    Entry::new(event).and_then(|entry| entry.wishes()).unwrap_or_default()
}

impl<'a> Entry<'a> {
    fn new(json: &'a Value) -> Option<Self> {
        let (owner, name) = get_path(json, "repo.name")?.as_str()?.split_once('/')?;
        let at = get_path(json, "created_at").and_then(Value::as_str).and_then(parse_date);
        Some(Self { json, repository_id: get_path(json, "repo.id").and_then(Value::as_i64), owner, name, at })
    }

    fn text(&self, path: &str) -> Option<&'a str> {
        get_path(self.json, path)?.as_str()
    }

    fn number(&self, path: &str) -> Option<i64> {
        get_path(self.json, path)?.as_i64()
    }

    fn wish(&self, kind: RefreshKind, entity: impl Into<Option<String>>, wanted: Wanted) -> RefreshRequest {
        let request =
            RefreshRequest::of_repository(self.repository_id, self.owner, self.name, kind, entity.into(), wanted);
        RefreshRequest { as_of: self.at.filter(|_| kind.is_reusable()), ..request }
    }

    /// Returns a wish for an entity whose `updated_at` the event has moved.
    fn changed(&self, kind: RefreshKind, entity: i64) -> RefreshRequest {
        let wanted = self.at.map_or(Wanted::Present, |at| Wanted::UpdatedAt(at - TOLERANCE));
        self.wish(kind, entity.to_string(), wanted)
    }

    fn wishes(&self) -> Option<Vec<RefreshRequest>> {
        let pull = || self.number("payload.number").or_else(|| self.number("payload.pull_request.number"));
        let of_pull = |id: i64| Some(format!("{}/{id}", pull()?));
        Some(match self.text("type")? {
            "PushEvent" => {
                let (head, reference) = (self.text("payload.head")?, self.text("payload.ref")?);
                // What is pushed to others, such as refs/pull, is in no list.
                let is_listed = reference.starts_with("refs/heads/");
                let wish = self.wish(RefreshKind::Commits, head.to_owned(), Wanted::Commit(head.to_owned()));
                if is_listed { vec![wish] } else { Vec::new() }
            }
            "CreateEvent" | "DeleteEvent" => vec![self.reference()?],
            "PullRequestEvent" => vec![self.changed(RefreshKind::Pulls, pull()?)],
            "PullRequestReviewEvent" => {
                let entity = of_pull(self.number("payload.review.id")?)?;
                vec![self.wish(RefreshKind::Reviews, entity, Wanted::Present)]
            }
            "PullRequestReviewCommentEvent" => {
                let entity = of_pull(self.number("payload.comment.id")?)?;
                vec![self.wish(RefreshKind::ReviewComments, entity, Wanted::Present)]
            }
            "IssuesEvent" => vec![self.changed(RefreshKind::Issues, self.number("payload.issue.number")?)],
            "IssueCommentEvent" => {
                let (issue, comment) = (self.number("payload.issue.number")?, self.number("payload.comment.id")?);
                vec![self.wish(RefreshKind::IssueComments, format!("{issue}/{comment}"), Wanted::Present)]
            }
            "CommitCommentEvent" => {
                let (sha, comment) = (self.text("payload.comment.commit_id")?, self.number("payload.comment.id")?);
                vec![self.wish(RefreshKind::CommitComments, format!("{sha}/{comment}"), Wanted::Present)]
            }
            "ForkEvent" => {
                let forkee = self.number("payload.forkee.id")?.to_string();
                vec![self.wish(RefreshKind::Forks, forkee, Wanted::Present)]
            }
            "WatchEvent" => {
                let actor = get_path(self.json, "actor")?;
                let login = self.text("actor.login")?.to_owned();
                let mut wish = self.wish(RefreshKind::Stars, login, Wanted::Present);
                wish.facts = Some(json!({"user": actor, "starred_at": null}).to_string());
                vec![wish]
            }
            "MemberEvent" => {
                let login = self.text("payload.member.login")?.to_owned();
                vec![self.wish(RefreshKind::Collaborators, login, Wanted::Present)]
            }
            "ReleaseEvent" => {
                let release = self.number("payload.release.id")?.to_string();
                vec![self.wish(RefreshKind::Releases, release, Wanted::Present)]
            }
            "PublicEvent" => {
                let mut wish = self.wish(RefreshKind::Repository, None, Wanted::Present);
                wish.facts = Some(json!({"private": false}).to_string());
                vec![wish]
            }
            // A wiki is in no API, and what nobody knows yet names nothing.
            _ => Vec::new(),
        })
    }

    fn reference(&self) -> Option<RefreshRequest> {
        let wanted = if self.text("type")? == "CreateEvent" { Wanted::Present } else { Wanted::Gone };
        let kind = match self.text("payload.ref_type")? {
            "branch" => RefreshKind::Branches,
            "tag" => RefreshKind::Tags,
            _ => return Some(self.wish(RefreshKind::Repository, None, Wanted::Present)),
        };
        Some(self.wish(kind, self.text("payload.ref")?.to_owned(), wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, payload: &Value) -> Value {
        json!({
            "id": "1", "type": kind, "actor": {"id": 1, "login": "octocat"}, "repo": {"id": 7, "name": "contoso/web"},
            "created_at": "2026-11-27T10:00:10Z", "payload": payload
        })
    }

    #[test]
    fn event_names_what_it_tells_of() {
        for (kind, payload, expected) in [
            ("PushEvent", json!({"ref": "refs/heads/main", "head": "b", "before": "a"}), (RefreshKind::Commits, "b")),
            ("PullRequestEvent", json!({"action": "opened", "number": 3}), (RefreshKind::Pulls, "3")),
            (
                "PullRequestReviewEvent",
                json!({"review": {"id": 5}, "pull_request": {"number": 3}}),
                (RefreshKind::Reviews, "3/5"),
            ),
            (
                "IssueCommentEvent",
                json!({"issue": {"number": 4}, "comment": {"id": 6}}),
                (RefreshKind::IssueComments, "4/6"),
            ),
            ("CreateEvent", json!({"ref_type": "branch", "ref": "a/b"}), (RefreshKind::Branches, "a/b")),
            ("WatchEvent", json!({"action": "started"}), (RefreshKind::Stars, "octocat")),
        ] {
            let wishes = wishes_of(&event(kind, &payload));
            assert_eq!(wishes.len(), 1, "{kind}");
            let found = (wishes[0].kind, wishes[0].entity.as_deref().unwrap_or_default());
            assert_eq!(found, expected, "{kind}");
            assert_eq!((wishes[0].repository_id, wishes[0].repo.as_str()), (Some(7), "web"));
        }
    }

    #[test]
    fn unknown_or_malformed_event_names_nothing() {
        for event in [
            event("FutureEvent", &json!({"issue": {"number": 4}})),
            event("IssuesEvent", &json!({"issue": 4})),
            event("PushEvent", &Value::Null),
            json!([1]),
            json!({"type": "IssuesEvent", "repo": {"name": "nonsense"}, "payload": {"issue": {"number": 4}}}),
        ] {
            assert_eq!(wishes_of(&event), [], "{event}");
        }
    }
}
