//! Issues, their comments and events.

use serde_json::Value;

use super::account::{account, as_person};
use super::item::{JsonItem, get_path};
use super::{ItemMapper, MappedPage};
use crate::mirror::error::MirrorError;
use crate::mirror::resource::Repository;
use crate::store::documents::Collection;
use crate::store::relational::rows::{Issue, IssueComment, IssueEvent, Person, PullRequestHistory};

/// Returns the number at the end of an issue's or pull request's URL.
pub(crate) fn number_of(url: Option<&str>) -> Option<i64> {
    url?.rsplit('/').next()?.parse().ok()
}

/// Returns the first assignee. Newer answers only have the list.
pub(crate) fn assignee(item: &JsonItem<'_>) -> Option<Person> {
    let first = item.get_path("assignees").and_then(|list| list.get(0));
    account(item.get_path("assignee")).or_else(|| account(first)).map(as_person)
}

/// Returns the names of an issue's labels.
pub(crate) fn label_names(item: &JsonItem<'_>) -> Vec<String> {
    let labels = item.get_path("labels").and_then(Value::as_array).into_iter().flatten();
    // A label is an object, or in old answers its name alone.
    labels.filter_map(|label| get_path(label, "name").unwrap_or(label).as_str().map(str::to_owned)).collect()
}

pub(crate) const ISSUE: &ItemMapper = &|repository: &Repository, item: &JsonItem<'_>, out: &mut MappedPage| {
    let number = item.require_integer("number")?;
    let key = repository.document_key([number.into()]);
    out.documents.push(item.document(Collection::Issues, key, &repository.tags(&[])));
    let assignees = item.get_path("assignees").and_then(Value::as_array).into_iter().flatten();
    out.rows.accounts.extend(assignees.filter_map(|assignee| account(Some(assignee))));
    out.rows.milestones.extend(item.text("milestone.title").map(|title| (repository.project, title)));
    out.rows.issues.push(Issue {
        project: repository.project,
        number,
        reporter: item.person("user"),
        assignee: assignee(item),
        pull_request: item.get_path("pull_request").is_some(),
        created_at: item.date("created_at"),
        labels: label_names(item),
        open: item.text("state").as_deref() == Some("open"),
        comments: item.integer("comments"),
    });
    Ok(())
};

pub(crate) const COMMENT: &ItemMapper = &|repository: &Repository, item: &JsonItem<'_>, out: &mut MappedPage| {
    let id = item.require_integer("id")?;
    let url = item.require_text("issue_url")?;
    let number = number_of(Some(&url))
        .ok_or_else(|| MirrorError::Answer(format!("comment {id} has an issue_url without a number: {url}")))?;
    let key = repository.document_key([number.into(), id.into()]);
    let tags = repository.tags(&[("issue_id", number.into())]);
    out.documents.push(item.document(Collection::IssueComments, key, &tags));
    out.rows.issue_comments.push(IssueComment {
        project: repository.project,
        number,
        user: item.person("user"),
        comment_id: id,
        created_at: item.date("created_at"),
    });
    Ok(())
};

/// Actions of issue events that belong to a pull request's history.
const HISTORY_ACTIONS: [&str; 3] = ["closed", "merged", "reopened"];

pub(crate) const EVENT: &ItemMapper = &|repository: &Repository, item: &JsonItem<'_>, out: &mut MappedPage| {
    let id = item.require_integer("id")?;
    // An event outlives its issue: without one it is kept under number 0.
    let number = item.integer("issue.number").unwrap_or(0);
    let key = repository.document_key([number.into(), id.into()]);
    let tags = repository.tags(&[("issue_id", number.into())]);
    out.documents.push(item.document(Collection::IssueEvents, key, &tags));
    if number == 0 {
        return Ok(());
    }
    let action = item.require_text("event")?;
    let specific = matches!(action.as_str(), "referenced" | "merged" | "closed");
    let (actor, created_at) = (item.person("actor"), item.date("created_at"));
    if let Some(at) = created_at
        && item.get_path("issue.pull_request").is_some()
        && HISTORY_ACTIONS.contains(&action.as_str())
    {
        let actor = Some(actor.clone());
        out.rows.pull_history.push(PullRequestHistory {
            project: repository.project,
            number,
            action: action.clone(),
            at,
            actor,
        });
    }
    out.rows.issue_events.push(IssueEvent {
        project: repository.project,
        number,
        event_id: id,
        actor,
        action_specific: item.text("commit_id").filter(|_| specific),
        action,
        created_at,
    });
    Ok(())
};
