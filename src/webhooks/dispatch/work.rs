//! Issues and pull requests: themselves, their comments, reviews, labels and milestones.

use super::Dispatch;
use super::payload::{Named, Payload};
use crate::store::relational::refreshes::{RefreshKind, Wanted};

/// An issue: everything that happens to it changes its `updated_at`, and most leaves an event.
pub(super) fn issues(payload: Payload<'_>, out: &mut Dispatch) {
    let (Some(repository), Some(issue)) = (payload.repository(), payload.member("issue")) else { return };
    let Some(number) = issue.integer("number").map(|number| number.to_string()) else { return };
    match payload.action() {
        "deleted" => out.wish(repository.wish(RefreshKind::Issues, number, Wanted::Gone)),
        "transferred" => {
            out.wish(repository.wish(RefreshKind::Issues, number, Wanted::Gone));
            let there = payload.named("changes.new_repository").zip(payload.member("changes.new_issue"));
            if let Some((there, issue)) = there
                && let Some(number) = issue.integer("number")
            {
                // Its comments come along, with dates that no list shows as new.
                moved_here(&there, number, issue, out);
            }
        }
        action => {
            if payload.get("changes.old_issue").is_some() && action == "opened" {
                issue.integer("number").into_iter().for_each(|number| moved_here(&repository, number, issue, out));
            }
            out.wish(repository.updated(RefreshKind::Issues, number.clone(), issue.date("updated_at")));
            // Of an edit, only another title is an event.
            let is_event = action != "edited" || payload.get("changes.title").is_some();
            if is_event && action != "opened" {
                out.wish(repository.updated(RefreshKind::IssueEvents, number, issue.date("updated_at")));
            }
        }
    }
    milestone_of(&repository, issue, out);
    out.wish_counts(payload);
}

/// A milestone counts its open and closed issues.
fn milestone_of(repository: &Named, issue: Payload<'_>, out: &mut Dispatch) {
    let Some((milestone, number)) = issue.member("milestone").zip(issue.integer("milestone.number")) else { return };
    let mut wish = repository.wish(RefreshKind::Milestones, number.to_string(), Wanted::Present);
    wish.facts = milestone.facts(&["open_issues", "closed_issues"]);
    out.wish(wish);
}

fn moved_here(repository: &Named, number: i64, issue: Payload<'_>, out: &mut Dispatch) {
    out.wish(repository.updated(RefreshKind::Issues, number.to_string(), issue.date("updated_at")));
    out.wish(repository.wish(RefreshKind::IssueComments, format!("{number}/"), Wanted::Read));
    out.wish(repository.wish(RefreshKind::IssueEvents, number.to_string(), Wanted::Read));
}

/// A comment on an issue, or in the discussion of a pull request.
pub(super) fn issue_comment(payload: Payload<'_>, out: &mut Dispatch) {
    let (Some(repository), Some(issue)) = (payload.repository(), payload.member("issue")) else { return };
    let Some(number) = issue.integer("number") else { return };
    if let Some((comment, id)) = payload.member("comment").zip(payload.integer("comment.id")) {
        let entity = format!("{number}/{id}");
        out.wish(match payload.action() {
            "deleted" => repository.wish(RefreshKind::IssueComments, entity, Wanted::Gone),
            _ => repository.updated(RefreshKind::IssueComments, entity, comment.date("updated_at")),
        });
    }
    out.wish(repository.updated(RefreshKind::Issues, number.to_string(), issue.date("updated_at")));
    if issue.get("pull_request").is_some() {
        // A comment changes the pull request's `updated_at`, too.
        out.wish(repository.updated(RefreshKind::Pulls, number.to_string(), issue.date("updated_at")));
    }
}

/// Issues that were made parts of each other, or dependent on each other, perhaps in another repository.
pub(super) fn related_issues(payload: Payload<'_>, out: &mut Dispatch) {
    const PAIRS: [(&str, &str); 9] = [
        ("issue", "repository"),
        ("sub_issue", "sub_issue_repo"),
        ("parent_issue", "parent_issue_repo"),
        ("blocked_issue", "blocked_issue_repo"),
        ("blocking_issue", "blocking_issue_repo"),
        ("related_issue", "related_issue_repo"),
        ("related_issue", "related_issue_repository"),
        ("source_issue", "source_issue_repo"),
        ("target_issue", "target_issue_repo"),
    ];
    for (issue, repository) in PAIRS {
        let Some(issue) = payload.member(issue) else { continue };
        let Some(number) = issue.integer("number") else { continue };
        // Without a repository of its own an issue is in that of the delivery.
        let Some(repository) = payload.named(repository).or_else(|| payload.repository()) else { continue };
        out.wish(repository.updated(RefreshKind::Issues, number.to_string(), issue.date("updated_at")));
        out.wish(repository.wish(RefreshKind::IssueEvents, number.to_string(), Wanted::Read));
    }
}

/// A label was made, renamed, recolored or deleted.
pub(super) fn label(payload: Payload<'_>, out: &mut Dispatch) {
    let (Some(repository), Some(label)) = (payload.repository(), payload.member("label")) else { return };
    let Some(name) = label.text("name") else { return };
    if payload.action() == "deleted" {
        out.wish(repository.wish(RefreshKind::Labels, name.to_owned(), Wanted::Gone));
        return;
    }
    let mut wish = repository.wish(RefreshKind::Labels, name.to_owned(), Wanted::Present);
    wish.facts = label.facts(&["name", "color", "description"]);
    out.wish(wish);
    if let Some(former) = payload.text("changes.name.from").filter(|former| *former != name) {
        out.wish(repository.wish(RefreshKind::Labels, former.to_owned(), Wanted::Gone));
    }
}

/// A milestone was made, edited, closed or deleted.
pub(super) fn milestone(payload: Payload<'_>, out: &mut Dispatch) {
    let (Some(repository), Some(milestone)) = (payload.repository(), payload.member("milestone")) else { return };
    let Some(number) = milestone.integer("number").map(|number| number.to_string()) else { return };
    out.wish(match payload.action() {
        "deleted" => repository.wish(RefreshKind::Milestones, number, Wanted::Gone),
        _ => repository.updated(RefreshKind::Milestones, number, milestone.date("updated_at")),
    });
}

/// A pull request: itself, its form as an issue, its commits.
pub(super) fn pull_request(payload: Payload<'_>, out: &mut Dispatch) {
    let Some((repository, number)) = pull(payload, out) else { return };
    if let Some(head) = payload.text("pull_request.head.sha") {
        out.wish(repository.wish(RefreshKind::PullCommits, number.clone(), Wanted::Commit(head.to_owned())));
    }
    // Of an edit, only another title or base is an event.
    let is_edit = payload.action() == "edited";
    let is_event = !is_edit || ["changes.title", "changes.base"].iter().any(|path| payload.get(path).is_some());
    if is_event && !matches!(payload.action(), "opened" | "synchronize") {
        out.wish(repository.updated(RefreshKind::IssueEvents, number, payload.date("pull_request.updated_at")));
    }
    if matches!(payload.action(), "opened" | "closed" | "reopened") {
        out.wish_counts(payload);
    }
    if let Some(pull) = payload.member("pull_request") {
        milestone_of(&repository, pull, out);
    }
}

/// Wishes for the pull request of a payload, and returns its number.
fn pull(payload: Payload<'_>, out: &mut Dispatch) -> Option<(Named, String)> {
    let (repository, pull) = payload.repository().zip(payload.member("pull_request"))?;
    let number = pull.integer("number").or_else(|| payload.integer("number"))?.to_string();
    let at = pull.date("updated_at");
    out.wish(repository.updated(RefreshKind::Pulls, number.clone(), at));
    out.wish(repository.updated(RefreshKind::Issues, number.clone(), at));
    Some((repository, number))
}

/// A review was submitted, edited or dismissed.
pub(super) fn review(payload: Payload<'_>, out: &mut Dispatch) {
    let Some((repository, number)) = pull(payload, out) else { return };
    let Some(review) = payload.member("review") else { return };
    if let Some(id) = review.integer("id") {
        let mut wish = repository.wish(RefreshKind::Reviews, format!("{number}/{id}"), Wanted::Present);
        if payload.action() == "dismissed" {
            wish.facts = Some(r#"{"state":"DISMISSED"}"#.to_owned());
        } else {
            wish.facts = review.facts(&["body"]);
        }
        out.wish(wish);
    }
    if payload.action() == "dismissed" {
        out.wish(repository.wish(RefreshKind::IssueEvents, number, Wanted::Read));
    }
}

/// A comment in a review.
pub(super) fn review_comment(payload: Payload<'_>, out: &mut Dispatch) {
    let Some((repository, number)) = pull(payload, out) else { return };
    let Some((comment, id)) = payload.member("comment").zip(payload.integer("comment.id")) else { return };
    let entity = format!("{number}/{id}");
    if payload.action() == "deleted" {
        out.wish(repository.wish(RefreshKind::ReviewComments, entity, Wanted::Gone));
        return;
    }
    out.wish(repository.updated(RefreshKind::ReviewComments, entity, comment.date("updated_at")));
    // Even a single comment makes a review.
    if let Some(review) = comment.integer("pull_request_review_id") {
        out.wish(repository.wish(RefreshKind::Reviews, format!("{number}/{review}"), Wanted::Present));
    }
}

/// A thread of review comments was resolved or reopened.
pub(super) fn review_thread(payload: Payload<'_>, out: &mut Dispatch) {
    let Some((repository, number)) = pull(payload, out) else { return };
    let comments = payload.get("thread.comments").and_then(serde_json::Value::as_array).into_iter().flatten();
    for comment in comments.map(Payload) {
        let Some(id) = comment.integer("id") else { continue };
        let at = comment.date("updated_at");
        out.wish(repository.updated(RefreshKind::ReviewComments, format!("{number}/{id}"), at));
    }
}
