//! Marks of events: what a delivery and a feed's entry of the same event have in common.
//!
//! A delivery doesn't carry the id that its event has in the feed. The mark is made from what both show: the repository's
//! number, the event's type, and what tells it from others of that type (GitHub docs: webhook events and payloads; GitHub
//! event types).

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::item::get_path;
use crate::store::relational::feeds::Announcement;

/// Actions of issues and pull requests that the feed shows.
const ISSUE_ACTIONS: [&str; 7] = ["opened", "closed", "reopened", "assigned", "unassigned", "labeled", "unlabeled"];

/// Returns the mark of a feed's entry; `None` for types that no delivery announces.
pub(crate) fn mark_of_entry(entry: &Value) -> Option<String> {
    let kind = get_path(entry, "type")?.as_str()?;
    let detail = detail_of(kind, get_path(entry, "payload")?, get_path(entry, "actor.login"))?;
    Some(mark(get_path(entry, "repo.id")?.as_i64()?, kind, &detail))
}

/// Returns the event that a delivery announces, if a feed of GitHub's shows such. `event` is the delivery's
/// `X-GitHub-Event`.
pub fn announcement(event: &str, payload: &Value, at: DateTime<Utc>) -> Option<Announcement> {
    let repository = get_path(payload, "repository.id")?.as_i64()?;
    let action = get_path(payload, "action").and_then(Value::as_str).unwrap_or_default();
    let (kind, action) = match (event, action) {
        // What is pushed is a commit, and a ref that goes or comes without one has an event of its own.
        ("push", _) if !is_true(payload, "deleted") && !is_true(payload, "created") => ("PushEvent", ""),
        ("create", _) => ("CreateEvent", ""),
        ("delete", _) => ("DeleteEvent", ""),
        ("pull_request", "closed") if is_true(payload, "pull_request.merged") => ("PullRequestEvent", "merged"),
        ("pull_request", action) if ISSUE_ACTIONS.contains(&action) => ("PullRequestEvent", action),
        ("pull_request_review", "submitted") => ("PullRequestReviewEvent", "created"),
        ("pull_request_review", "edited") => ("PullRequestReviewEvent", "updated"),
        ("pull_request_review", "dismissed") => ("PullRequestReviewEvent", "dismissed"),
        ("pull_request_review_comment", "created") => ("PullRequestReviewCommentEvent", ""),
        ("issues", action) if ISSUE_ACTIONS.contains(&action) => ("IssuesEvent", action),
        ("issue_comment", "created") => ("IssueCommentEvent", ""),
        ("commit_comment", "created") => ("CommitCommentEvent", ""),
        ("fork", _) => ("ForkEvent", ""),
        ("star", "created") => ("WatchEvent", ""),
        ("member", "added") => ("MemberEvent", "added"),
        ("release", "published") => ("ReleaseEvent", "published"),
        ("gollum", _) => ("GollumEvent", ""),
        ("public", _) => ("PublicEvent", ""),
        ("discussion", "created") => ("DiscussionEvent", "created"),
        _ => return None,
    };
    let mut announced = payload.clone();
    if let Some(object) = announced.as_object_mut() {
        object.insert("action".to_owned(), action.into());
    }
    let detail = detail_of(kind, &announced, get_path(payload, "sender.login"))?;
    Some(Announcement { kind: kind.to_owned(), mark: mark(repository, kind, &detail), at })
}

fn mark(repository: i64, kind: &str, detail: &str) -> String {
    format!("{repository} {kind} {detail}")
}

fn is_true(payload: &Value, path: &str) -> bool {
    get_path(payload, path).and_then(Value::as_bool) == Some(true)
}

/// Returns what tells an event from others of its type in the same repository.
fn detail_of(kind: &str, payload: &Value, actor: Option<&Value>) -> Option<String> {
    let text = |path: &str| get_path(payload, path).and_then(Value::as_str).map(str::to_owned);
    let number = |path: &str| get_path(payload, path).and_then(Value::as_i64);
    let action = text("action").unwrap_or_default();
    Some(match kind {
        // A delivery calls the new head `after`.
        "PushEvent" => format!("{} {}", text("head").or_else(|| text("after"))?, text("ref")?),
        "CreateEvent" | "DeleteEvent" => {
            let kind = text("ref_type")?;
            format!("{kind} {}", text("ref").filter(|_| kind != "repository").unwrap_or_default())
        }
        "PullRequestEvent" => {
            let number = number("number").or_else(|| number("pull_request.number"))?;
            format!("{number} {action}{}", subject(&action, payload))
        }
        "IssuesEvent" => format!("{} {action}{}", number("issue.number")?, subject(&action, payload)),
        "PullRequestReviewEvent" => format!("{} {action}", number("review.id")?),
        "IssueCommentEvent" | "CommitCommentEvent" | "PullRequestReviewCommentEvent" => {
            number("comment.id")?.to_string()
        }
        "ForkEvent" => number("forkee.id")?.to_string(),
        "WatchEvent" => actor?.as_str()?.to_lowercase(),
        "MemberEvent" => format!("{} {action}", text("member.login")?.to_lowercase()),
        "ReleaseEvent" => format!("{} {action}", number("release.id")?),
        "GollumEvent" => get_path(payload, "pages")?.as_array()?.first()?.get("sha")?.as_str()?.to_owned(),
        "PublicEvent" => String::new(),
        "DiscussionEvent" => format!("{} {action}", number("discussion.number")?),
        _ => return None,
    })
}

/// Returns the label or the assignee that an action is about.
fn subject(action: &str, payload: &Value) -> String {
    let path = match action {
        "labeled" | "unlabeled" => "label.name",
        "assigned" | "unassigned" => "assignee.login",
        _ => return String::new(),
    };
    let subject = get_path(payload, path).and_then(Value::as_str).unwrap_or_default();
    format!(" {}", subject.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn announced(event: &str, payload: &Value) -> Option<String> {
        announcement(event, payload, DateTime::UNIX_EPOCH).map(|announced| announced.mark)
    }

    #[test]
    fn delivery_and_entry_of_an_event_have_one_mark() {
        let repository = json!({"id": 7});
        for (event, delivery, kind, entry) in [
            (
                "push",
                json!({"ref": "refs/heads/main", "before": "a", "after": "b", "created": false}),
                "PushEvent",
                json!({"ref": "refs/heads/main", "before": "a", "head": "b"}),
            ),
            (
                "pull_request",
                json!({"action": "closed", "number": 3, "pull_request": {"merged": true}}),
                "PullRequestEvent",
                json!({"action": "merged", "number": 3, "pull_request": {"number": 3}}),
            ),
            (
                "issues",
                json!({"action": "labeled", "issue": {"number": 4}, "label": {"name": "Bug"}}),
                "IssuesEvent",
                json!({"action": "labeled", "issue": {"number": 4}, "label": {"name": "bug"}}),
            ),
            ("star", json!({"action": "created"}), "WatchEvent", json!({"action": "started"})),
            (
                "pull_request_review",
                json!({"action": "submitted", "review": {"id": 9}}),
                "PullRequestReviewEvent",
                json!({"action": "created", "review": {"id": 9}}),
            ),
        ] {
            let mut delivery = delivery;
            delivery["repository"] = repository.clone();
            delivery["sender"] = json!({"login": "Monalisa"});
            let entry = json!({"type": kind, "repo": repository, "actor": {"login": "monalisa"}, "payload": entry});
            assert_eq!(announced(event, &delivery), mark_of_entry(&entry), "{event}");
            assert!(mark_of_entry(&entry).is_some(), "{event}");
        }
    }

    #[test]
    fn deliveries_without_an_event_announce_nothing() {
        for (event, payload) in [
            ("pull_request", json!({"action": "synchronize", "number": 3, "repository": {"id": 7}})),
            ("issue_comment", json!({"action": "deleted", "comment": {"id": 3}, "repository": {"id": 7}})),
            ("push", json!({"ref": "refs/heads/x", "deleted": true, "repository": {"id": 7}})),
            ("workflow_run", json!({"repository": {"id": 7}})),
            ("push", json!([])),
            ("issues", json!({"action": "opened", "issue": 3, "repository": {"id": "x"}})),
        ] {
            assert_eq!(announced(event, &payload), None, "{event}");
        }
    }
}
