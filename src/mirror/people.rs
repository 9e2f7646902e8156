//! Collaborators and contributors.

use super::context::{Map, Mapped, Repository, Work};
use super::error::MirrorError;
use super::item::{Item, account, as_person};
use super::pages::{List, look, mark, snapshot};
use crate::github::Accept;
use crate::store::documents::Collection;
use crate::store::relational::Rows;
use crate::store::relational::rows::Tie;

/// Who contributed, and who may write. The collaborators need more rights than the rest of the repository.
pub async fn people(work: &Work) -> Result<(), MirrorError> {
    for (what, done) in [("contributors", contributors(work).await), ("collaborators", collaborators(work).await)] {
        match done {
            // The contributors are refused where a history is too long for GitHub to count them.
            Err(MirrorError::Api(error)) if error.is_refusal() => {
                work.not_permitted(format!("{what}: {error}"));
            }
            done => done?,
        }
    }
    Ok(())
}

async fn contributors(work: &Work) -> Result<(), MirrorError> {
    let map: &Map = &|repository: &Repository, item: &Item<'_>, out: &mut Mapped| {
        let login = item.need_text("login")?;
        let key = vec![repository.name.owner().into(), repository.name.name().into(), login.into()];
        out.documents.push(item.document(Collection::Contributors, key, &repository.tags(&[])));
        out.rows.accounts.extend(account(Some(item.value())));
        Ok(())
    };
    let url = work.url(&["contributors"]);
    let list = List { name: "contributors", url, accept: Accept::Json, collection: Collection::Contributors, map };
    snapshot(work, &list).await
}

async fn collaborators(work: &Work) -> Result<(), MirrorError> {
    let map: &Map = &|repository: &Repository, item: &Item<'_>, out: &mut Mapped| {
        let login = item.need_text("login")?;
        let key = vec![repository.name.owner().into(), repository.name.name().into(), login.into()];
        out.documents.push(item.document(Collection::RepoCollaborators, key, &repository.tags(&[])));
        let user = account(Some(item.value())).map(as_person);
        out.rows.members.extend(user.map(|user| Tie { project: repository.project, user, since: None }));
        Ok(())
    };
    let url = work.url(&["collaborators"]).query("affiliation", "all");
    let list =
        List { name: "collaborators", url, accept: Accept::Json, collection: Collection::RepoCollaborators, map };
    let listing = look(work, &list).await?;
    let project = work.project();
    let gone = logins(work, &listing.gone).map(|login| (project, login)).collect();
    work.write(Vec::new(), Rows { members_gone: gone, ..Rows::default() }).await?;
    mark(work, Collection::RepoCollaborators, &listing.gone).await
}

/// The logins in ids that end with one.
pub(super) fn logins<'a>(work: &'a Work, ids: &'a [String]) -> impl Iterator<Item = String> + 'a {
    let prefix = format!("{}/", work.repository().name);
    ids.iter().filter_map(move |id| id.strip_prefix(&prefix).map(str::to_owned))
}
