//! Users of a repository: stargazers, contributors, collaborators.

use chrono::TimeDelta;

use super::account::{account, as_person};
use super::item::JsonItem;
use super::{ItemMapper, MappedPage};
use crate::mirror::resource::Repository;
use crate::store::documents::Collection;
use crate::store::relational::rows::{Account, ProjectUser};

/// Maximum age of GitHub's cached list of contributors.
const CONTRIBUTORS_AGE: TimeDelta = TimeDelta::days(1);

/// Maps a star: `{starred_at, user}` in the form that is requested.
pub(crate) const STARGAZER: &ItemMapper = &|repository: &Repository, item: &JsonItem<'_>, out: &mut MappedPage| {
    // `{starred_at, user}` in the form that was asked for; a user alone where that form is not known.
    let user = item.value().get("user").unwrap_or(item.value());
    // GitHub docs: `user` is nullable. A star of nobody has no key; the stage counts it.
    let Some(account) = account(Some(user)) else { return Ok(()) };
    let login = account.login.clone();
    let key = repository.document_key([login.as_str().into()]);
    let tags = repository.tags(&[("login", login.into())]);
    out.documents.push(item.document(Collection::Watchers, key, &tags));
    let since = item.date("starred_at");
    out.rows.watchers.push(ProjectUser { project: repository.project, user: as_person(account), since });
    Ok(())
};

/// Maps a contributor.
pub(crate) const CONTRIBUTOR: &ItemMapper = &|repository: &Repository, item: &JsonItem<'_>, out: &mut MappedPage| {
    let login = item.require_text("login")?;
    let key = repository.document_key([login.into()]);
    out.documents.push(item.document(Collection::Contributors, key, &repository.tags(&[])));
    // GitHub keeps this list for hours before it counts again (GitHub docs: list repository contributors).
    let as_of = Some(item.read_at() - CONTRIBUTORS_AGE);
    out.rows.accounts.extend(account(Some(item.value())).map(|account| Account { as_of, ..account }));
    Ok(())
};

/// Maps a collaborator.
pub(crate) const COLLABORATOR: &ItemMapper = &|repository: &Repository, item: &JsonItem<'_>, out: &mut MappedPage| {
    let login = item.require_text("login")?;
    let key = repository.document_key([login.into()]);
    out.documents.push(item.document(Collection::RepoCollaborators, key, &repository.tags(&[])));
    let user = account(Some(item.value())).map(as_person);
    out.rows.members.extend(user.map(|user| ProjectUser { project: repository.project, user, since: None }));
    Ok(())
};
