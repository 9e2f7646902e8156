//! Repositories.

use serde_json::Value;

use super::account::account;
use super::item::{JsonItem, get_path, parse_date};
use super::{ItemMapper, MappedPage};
use crate::mirror::error::MirrorError;
use crate::mirror::resource::Repository;
use crate::store::documents::{Collection, Document};
use crate::store::relational::rows::{ListingState, Parent, Project, ProjectListing};

/// Returns a repository's row, from any answer that embeds the repository.
pub(crate) fn project_row(value: &Value, parent: Parent, refresh: bool) -> Option<Project> {
    let text = |path: &str| get_path(value, path).and_then(Value::as_str).map(str::to_owned);
    Some(Project {
        github_id: value.get("id").and_then(Value::as_i64),
        owner: account(value.get("owner"))?,
        name: text("name")?,
        url: text("url"),
        description: text("description"),
        language: text("language"),
        created_at: text("created_at").as_deref().and_then(parse_date),
        parent,
        refresh,
    })
}

/// Returns the parent of a repository that is only mentioned: the answer tells whether there is one, but not which.
pub(crate) fn unknown_parent(value: &Value) -> Parent {
    if value.get("fork").and_then(Value::as_bool).unwrap_or(false) { Parent::Unknown } else { Parent::None }
}

/// Returns the document of a repository's full answer.
pub(crate) fn repository_document(item: &JsonItem<'_>) -> Result<Document, MirrorError> {
    let key = vec![item.require_text("owner.login")?.into(), item.require_text("name")?.into()];
    Ok(item.full_document(Collection::Repos, key, &[]))
}

/// Returns the listing row of an answer that embeds a repository.
pub(crate) fn listing(github_id: i64, item: &JsonItem<'_>, state: ListingState) -> ProjectListing {
    let flag = |key: &str| item.get_path(key).and_then(Value::as_bool).unwrap_or(false);
    let visibility = item.text("visibility").or_else(|| {
        item.get_path("private")
            .and_then(Value::as_bool)
            .map(|private| if private { "private" } else { "public" }.to_owned())
    });
    ProjectListing {
        github_id,
        documents_name: None,
        state,
        visibility,
        archived: flag("archived"),
        fork: flag("fork"),
        disabled: flag("disabled"),
        pushed_at: item.date("pushed_at"),
        updated_at: item.date("updated_at"),
    }
}

/// Maps a fork.
pub(crate) const FORK: &ItemMapper = &|repository: &Repository, item: &JsonItem<'_>, out: &mut MappedPage| {
    let id = item.require_integer("id")?;
    let key = repository.document_key([id.into()]);
    out.documents.push(item.document(Collection::Forks, key, &repository.tags(&[])));
    out.rows.projects.extend(project_row(item.value(), Parent::Project(repository.project), true));
    Ok(())
};
