//! Issues (pull requests among them), their comments and events.

use std::collections::BTreeSet;

use serde_json::Value;

use super::context::{Map, Mapped, Repository, Work, read_now};
use super::error::MirrorError;
use super::independent::for_each_independent;
use super::item::{Item, account, as_person, at, whole};
use super::pages::{
    Backfill, DEEP_PAGE, Grows, List, PER_PAGE, Pages, backfill, mark_gone, newest_first, since, whole_then_since,
};
use crate::github::{Accept, ApiError, ApiUrl, Fetched};
use crate::store::documents::Collection;
use crate::store::relational::Rows;
use crate::store::relational::rows::{Issue, IssueComment, IssueEvent, Person, Progress, PullFact};

/// Items asked for one by one at once.
const ITEMS_IN_FLIGHT: usize = 16;

/// The number at the end of an issue's or pull request's URL.
pub fn number_of(url: Option<&str>) -> Option<i64> {
    url?.rsplit('/').next()?.parse().ok()
}

/// The first assignee. The newer form of the answer has only the list.
pub fn assignee(item: &Item<'_>) -> Option<Person> {
    let first = item.at("assignees").and_then(|list| list.get(0));
    account(item.at("assignee")).or_else(|| account(first)).map(as_person)
}

/// The names of an issue's labels.
pub fn label_names(item: &Item<'_>) -> Vec<String> {
    let labels = item.at("labels").and_then(Value::as_array).into_iter().flatten();
    // A label is an object, or in old answers its name alone.
    labels.filter_map(|label| at(label, "name").unwrap_or(label).as_str().map(str::to_owned)).collect()
}

const ISSUE: &Map = &|repository: &Repository, item: &Item<'_>, out: &mut Mapped| {
    let number = item.need_integer("number")?;
    let key = vec![repository.name.owner().into(), repository.name.name().into(), number.into()];
    out.documents.push(item.document(Collection::Issues, key, &repository.tags(&[])));
    let assignees = item.at("assignees").and_then(Value::as_array).into_iter().flatten();
    out.rows.accounts.extend(assignees.filter_map(|assignee| account(Some(assignee))));
    out.rows.milestones.extend(item.text("milestone.title").map(|title| (repository.project, title)));
    out.rows.issues.push(Issue {
        project: repository.project,
        number,
        reporter: item.person("user"),
        assignee: assignee(item),
        pull_request: item.at("pull_request").is_some(),
        created_at: item.date("created_at"),
        labels: label_names(item),
    });
    Ok(())
};

/// Issues and pull requests in their shape as issues, in the order of change.
pub async fn issues(work: &Work) -> Result<(), MirrorError> {
    let url = work.url(&["issues"]).query("state", "all").query("sort", "updated").query("direction", "asc");
    let list = List { name: "issues", url, accept: Accept::Json, collection: Collection::Issues, map: ISSUE };
    match since(work, &list).await {
        Ok(Some(seen)) => mark_gone(work, Collection::Issues, &seen).await,
        Ok(None) => Ok(()),
        Err(error) => if_not_disabled(work, error),
    }
}

/// GitHub docs: 410 where a repository has its issues disabled.
fn if_not_disabled(work: &Work, error: MirrorError) -> Result<(), MirrorError> {
    match error {
        MirrorError::Api(ApiError::Gone { message, .. }) => {
            work.switched_off(message);
            Ok(())
        }
        error => Err(error),
    }
}

/// Issues that something refers to but that the list has not given: they came after it, or were moved away.
pub async fn missing(work: &Work) -> Result<(), MirrorError> {
    if !work.repository().has("has_issues") {
        return Ok(());
    }
    let numbers = work.shared.stores.relational.issues_never_read(work.project()).await?;
    read_again(work, numbers).await
}

/// Issues that carry labels which are gone or renamed: GitHub doesn't count that as a change of the issue. They are asked
/// for one by one, or with all others in the list where that takes fewer requests.
pub async fn read_again_with_labels(work: &Work, labels: &[&str]) -> Result<(), MirrorError> {
    let relational = &work.shared.stores.relational;
    let mut numbers = BTreeSet::new();
    for label in labels {
        numbers.extend(relational.issues_with_label(work.project(), label).await?);
    }
    // A pull request's own document has its labels too: it counts as never read until it is read again.
    relational.forget_pulls_of_issues(work.project(), labels).await?;
    if numbers.len() <= relational.issues_known(work.project()).await?.div_ceil(PER_PAGE) {
        return read_again(work, numbers.into_iter().collect()).await;
    }
    let url = work.url(&["issues"]).query("state", "all").query("sort", "created").query("direction", "asc");
    let list = List { name: "issues", url, accept: Accept::Json, collection: Collection::Issues, map: ISSUE };
    let mut pages = Pages::new(work, &list);
    while let Some(Mapped { documents, rows, .. }) = pages.next().await? {
        work.write(documents, rows).await?;
    }
    Ok(())
}

async fn read_again(work: &Work, numbers: Vec<i64>) -> Result<(), MirrorError> {
    let name = |number: &i64| format!("issue #{number}");
    for_each_independent(work, ITEMS_IN_FLIGHT, numbers, name, |number| read_issue(work, number)).await
}

async fn read_issue(work: &Work, number: i64) -> Result<(), MirrorError> {
    let url = work.url(&["issues", &number.to_string()]);
    let page = match work.get_page(&url, Accept::Json).await {
        Ok(page) => page,
        Err(MirrorError::Api(ApiError::NotFound { .. } | ApiError::Gone { .. })) => {
            return gone(work, number).await;
        }
        Err(error) => return Err(error),
    };
    // An issue that was transferred answers with a redirect to another repository's issue.
    let item = Item::single(&page.body, read_now())?;
    if page.moved && !(item.integer("number") == Some(number) && is_at_home(work, &item).await?) {
        return gone(work, number).await;
    }
    let Mapped { documents, rows, .. } = work.map(ISSUE, &[whole(&page.body)?], read_now());
    work.write(documents, rows).await
}

/// Returns whether an issue is one of this repository's, which may bear another name by now: its number decides.
async fn is_at_home(work: &Work, item: &Item<'_>) -> Result<bool, MirrorError> {
    let Some(url) = item.text("repository_url") else { return Ok(true) };
    let mut names = url.rsplit('/');
    let (Some(name), Some(owner)) = (names.next(), names.next()) else { return Ok(false) };
    if format!("{owner}/{name}").eq_ignore_ascii_case(&work.repository().name.to_string()) {
        return Ok(true);
    }
    match work.get_of(None, &ApiUrl::path(&["repos", owner, name]), Accept::Json, None, false).await {
        Ok(Fetched::Page(page)) => {
            let number = Item::single(&page.body, read_now())?.integer("id");
            Ok(number.is_some() && number == work.repository().facts.get("id").and_then(Value::as_i64))
        }
        Ok(Fetched::Unchanged) => Ok(false),
        Err(MirrorError::Api(error)) if error.is_refusal() => Ok(false),
        Err(error) => Err(error),
    }
}

/// An issue that was deleted or transferred: what was stored of it stays, marked.
async fn gone(work: &Work, number: i64) -> Result<(), MirrorError> {
    let id = format!("{}/{number}", work.repository().name);
    work.mark_deleted(Collection::Issues, &[id]).await?;
    let progress = vec![Progress::IssueGone { project: work.project(), number }];
    work.write(Vec::new(), Rows { progress, ..Rows::default() }).await
}

/// Comments of issues and of pull requests' discussions.
pub async fn comments(work: &Work) -> Result<(), MirrorError> {
    let map: &Map = &|repository: &Repository, item: &Item<'_>, out: &mut Mapped| {
        let id = item.need_integer("id")?;
        let url = item.need_text("issue_url")?;
        let number = number_of(Some(&url))
            .ok_or_else(|| MirrorError::Answer(format!("comment {id} has an issue_url without a number: {url}")))?;
        let key = vec![repository.name.owner().into(), repository.name.name().into(), number.into(), id.into()];
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
    let url = work.url(&["issues", "comments"]);
    let list = List { name: "issue-comments", url, accept: Accept::Json, collection: Collection::IssueComments, map };
    whole_then_since(work, &list).await.or_else(|error| if_not_disabled(work, error))
}

/// Actions of an issue's events that belong into a pull request's history.
const HISTORY_ACTIONS: [&str; 3] = ["closed", "merged", "reopened"];

const EVENT: &Map = &|repository: &Repository, item: &Item<'_>, out: &mut Mapped| {
    let id = item.need_integer("id")?;
    // An event outlives its issue: without one it is kept under number 0.
    let number = item.integer("issue.number").unwrap_or(0);
    let key = vec![repository.name.owner().into(), repository.name.name().into(), number.into(), id.into()];
    let tags = repository.tags(&[("issue_id", number.into())]);
    out.documents.push(item.document(Collection::IssueEvents, key, &tags));
    if number == 0 {
        return Ok(());
    }
    let action = item.need_text("event")?;
    let specific = matches!(action.as_str(), "referenced" | "merged" | "closed");
    let (actor, created_at) = (item.person("actor"), item.date("created_at"));
    if let Some(at) = created_at
        && item.at("issue.pull_request").is_some()
        && HISTORY_ACTIONS.contains(&action.as_str())
    {
        let actor = Some(actor.clone());
        out.rows.pull_facts.push(PullFact { project: repository.project, number, action: action.clone(), at, actor });
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

/// Events of issues and pull requests. They never change, and new ones come first.
pub async fn events(work: &Work) -> Result<(), MirrorError> {
    let url = work.url(&["issues", "events"]);
    let list =
        List { name: "issue-events", url, accept: Accept::Json, collection: Collection::IssueEvents, map: EVENT };
    let state = work.shared.stores.relational.list(work.project(), list.name).await?;
    let done =
        if state.watermark.is_some() { newest_first(work, &list).await } else { first_events(work, &list).await };
    done.or_else(|error| if_not_disabled(work, error))
}

async fn first_events(work: &Work, list: &List<'_>) -> Result<(), MirrorError> {
    if let Backfill::Whole { listing, .. } = backfill(work, list, Grows::AtTheFront, false).await?
        && listing.last_page >= DEEP_PAGE
        && listing.ids.len().is_multiple_of(PER_PAGE)
    {
        work.record_final_gap(format!(
            "GitHub's list of issue events ends at page {}; events older than the {} newest may be missing",
            listing.last_page,
            listing.ids.len()
        ));
    }
    Ok(())
}
