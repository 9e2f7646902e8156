//! Commits and comments on them.

use serde_json::Value;

use super::account::{account, as_person};
use super::item::{JsonItem, get_path};
use super::{ItemMapper, MappedPage};
use crate::mirror::error::MirrorError;
use crate::mirror::resource::Repository;
use crate::store::documents::Collection;
use crate::store::relational::RowBatch;
use crate::store::relational::rows::{Commit, CommitComment, Person};

/// Maps a commit to its document and row. Returns its SHA.
pub(crate) fn map_commit(
    repository: &Repository,
    item: &JsonItem<'_>,
    out: &mut MappedPage,
    on_branch: bool,
) -> Result<String, MirrorError> {
    let sha = item.require_text("sha")?;
    out.documents.push(item.document(Collection::Commits, vec![sha.as_str().into()], &[]));
    commit_row(repository, item, &mut out.rows, on_branch)?;
    Ok(sha)
}

/// Adds a commit's row, and what it tells of its author and committer.
pub(crate) fn commit_row(
    repository: &Repository,
    item: &JsonItem<'_>,
    rows: &mut RowBatch,
    on_branch: bool,
) -> Result<(), MirrorError> {
    let mut person = |on_github: &str, in_git: &str| {
        let (on_github, in_git) = (item.get_path(on_github), item.get_path(in_git));
        let email = in_git.and_then(|git| git.get("email")).and_then(Value::as_str).map(str::trim);
        if let (Some(account), Some(email)) = (account(on_github), email)
            && !account.login.eq_ignore_ascii_case("ghost")
        {
            rows.emails.push((email.to_owned(), account));
        }
        commit_person(on_github, in_git)
    };
    let author = person("author", "commit.author");
    let committer = person("committer", "commit.committer");
    let parents = item.get_path("parents").and_then(Value::as_array).into_iter().flatten();
    rows.commits.push(Commit {
        project: repository.project,
        sha: item.require_text("sha")?,
        author,
        committer,
        created_at: item.date("commit.author.date"),
        parents: parents.filter_map(|parent| get_path(parent, "sha")?.as_str().map(str::to_owned)).collect(),
        on_branch,
    });
    Ok(())
}

pub(crate) const ON_BRANCH: &ItemMapper = &|repository: &Repository, item: &JsonItem<'_>, out: &mut MappedPage| {
    map_commit(repository, item, out, true).map(drop)
};

/// Returns a commit's author or committer: the account, or else the identity in git (docs/data-model.md, "Tables").
pub(crate) fn commit_person(on_github: Option<&Value>, in_git: Option<&Value>) -> Person {
    if let Some(account) = account(on_github) {
        return as_person(account);
    }
    let text = |key: &str| {
        let text = in_git.and_then(|git| git.get(key)).and_then(Value::as_str).map(str::trim);
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let (name, email) = (text("name"), text("email"));
    if name.is_none() && email.is_none() { Person::Ghost } else { Person::Fake { name, email } }
}

/// Maps a comment on a commit.
pub(crate) const COMMIT_COMMENT: &ItemMapper = &|repository: &Repository, item: &JsonItem<'_>, out: &mut MappedPage| {
    let (id, sha) = (item.require_integer("id")?, item.require_text("commit_id")?);
    let key = repository.document_key([sha.as_str().into(), id.into()]);
    out.documents.push(item.document(Collection::CommitComments, key, &repository.tags(&[])));
    out.rows.commit_comments.push(CommitComment {
        project: repository.project,
        sha,
        user: item.person("user"),
        body: item.text("body"),
        line: item.integer("line"),
        position: item.integer("position"),
        comment_id: id,
        created_at: item.date("created_at"),
    });
    Ok(())
};

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nobody_is_the_ghost_and_an_unknown_author_is_a_fake() {
        assert_eq!(
            commit_person(Some(&json!({})), Some(&json!({"name":"N","email":"e@x"}))),
            Person::Fake { name: Some("N".into()), email: Some("e@x".into()) }
        );
        assert_eq!(commit_person(None, None), Person::Ghost);
        assert_eq!(account(Some(&json!({"login":"ghost","id":10137}))).map(as_person), Some(Person::Ghost));
    }
}
