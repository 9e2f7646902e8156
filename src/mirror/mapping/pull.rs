//! Pull requests and their review comments.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::account::{account, as_person};
use super::issue::{assignee, label_names, number_of};
use super::item::JsonItem;
use super::repository::{project_row, unknown_parent};
use super::{ItemMapper, MappedPage};
use crate::mirror::error::MirrorError;
use crate::mirror::resource::Repository;
use crate::store::documents::{Collection, Representation};
use crate::store::relational::rows::{PullRequest, PullRequestHistory, ReviewComment};

/// Maps a pull request to its document and rows, from a list or from its own answer.
pub(crate) fn map_pull(
    repository: &Repository,
    item: &JsonItem<'_>,
    out: &mut MappedPage,
    representation: Representation,
) -> Result<(), MirrorError> {
    let number = item.require_integer("number")?;
    let key = repository.document_key([number.into()]);
    let tags = repository.tags(&[]);
    out.documents.push(match representation {
        Representation::Summary => item.document(Collection::PullRequests, key, &tags),
        Representation::Detailed => item.full_document(Collection::PullRequests, key, &tags),
    });
    let rows = &mut out.rows;
    for list in ["assignees", "requested_reviewers"] {
        let people = item.get_path(list).and_then(Value::as_array).into_iter().flatten();
        rows.accounts.extend(people.filter_map(|person| account(Some(person))));
    }
    let head_repo = item.get_path("head.repo").and_then(|repo| project_row(repo, unknown_parent(repo), false));
    let head_repo_name = head_repo.as_ref().map(|repo| (repo.owner.login.clone(), repo.name.clone()));
    let intra_branch =
        item.get_path("head.repo.id").is_some() && item.get_path("head.repo.id") == item.get_path("base.repo.id");
    rows.projects.extend(head_repo);
    let mut fact = |action: &str, at: Option<DateTime<Utc>>, actor| {
        let project = repository.project;
        rows.pull_history.extend(at.map(|at| PullRequestHistory {
            project,
            number,
            action: action.to_owned(),
            at,
            actor,
        }));
    };
    fact("opened", item.date("created_at"), Some(item.person("user")));
    fact("merged", item.date("merged_at"), account(item.get_path("merged_by")).map(as_person));
    fact("closed", item.date("closed_at"), None);
    rows.pulls.push(PullRequest {
        project: repository.project,
        number,
        head_repo: head_repo_name,
        head_sha: item.text("head.sha"),
        base_ref: item.text("base.ref"),
        base_sha: item.text("base.sha"),
        intra_branch,
        user: item.person("user"),
        assignee: assignee(item),
        created_at: item.date("created_at"),
        updated_at: item.date("updated_at"),
        labels: (!repository.may_have("has_issues")).then(|| label_names(item)),
        review_comments: item.integer("review_comments"),
    });
    Ok(())
}

pub(crate) const PULL: &ItemMapper = &|repository: &Repository, item: &JsonItem<'_>, out: &mut MappedPage| {
    map_pull(repository, item, out, Representation::Summary)
};

pub(crate) const REVIEW_COMMENT: &ItemMapper = &|repository: &Repository, item: &JsonItem<'_>, out: &mut MappedPage| {
    let id = item.require_integer("id")?;
    let url = item.require_text("pull_request_url")?;
    let number = number_of(Some(&url)).ok_or_else(|| {
        MirrorError::Answer(format!("review comment {id} has a pull_request_url without a number: {url}"))
    })?;
    let key = repository.document_key([number.into(), id.into()]);
    let tags = repository.tags(&[("pullreq_id", number.into())]);
    out.documents.push(item.document(Collection::PullRequestComments, key, &tags));
    out.rows.review_comments.push(ReviewComment {
        project: repository.project,
        number,
        user: item.person("user"),
        comment_id: id,
        position: item.integer("original_position"),
        body: item.text("body"),
        sha: item.text("original_commit_id"),
        created_at: item.date("created_at"),
    });
    Ok(())
};
