//! Collaborators and contributors.

use chrono::TimeDelta;

use crate::mirror::context::Work;
use crate::mirror::error::MirrorError;
use crate::mirror::lists::unlisted_users::{gone_people, unlisted_people};
use crate::mirror::lists::{List, look, mark, snapshot};
use crate::mirror::mapping::account::{account, as_person};
use crate::mirror::mapping::item::Item;
use crate::mirror::mapping::{ItemMapper, MappedPage};
use crate::mirror::resource::Repository;
use crate::store::documents::Collection;
use crate::store::relational::rows::{Account, ProjectUser};
use crate::store::relational::{ProjectUserKind, RowBatch};

/// Maximum age of GitHub's cached list of contributors.
const CONTRIBUTORS_AGE: TimeDelta = TimeDelta::days(1);

/// Syncs contributors and collaborators. Collaborators take more permissions than the rest of the repository.
pub async fn sync_people(work: &Work) -> Result<(), MirrorError> {
    for (what, done) in [("contributors", contributors(work).await), ("collaborators", collaborators(work).await)] {
        match done {
            // The contributors are refused where a history is too long for GitHub to count them.
            Err(MirrorError::Api(error)) if error.is_access_denied() => {
                work.record_not_permitted(format!("{what}: {error}"));
                // What was listed once goes stale: from here on the feed's members count.
                work.shared.stores.relational.reset_lists(work.project(), what).await?;
            }
            done => done?,
        }
    }
    Ok(())
}

async fn contributors(work: &Work) -> Result<(), MirrorError> {
    let map: &ItemMapper = &|repository: &Repository, item: &Item<'_>, out: &mut MappedPage| {
        let login = item.require_text("login")?;
        let key = repository.document_key([login.into()]);
        out.documents.push(item.document(Collection::Contributors, key, &repository.tags(&[])));
        // GitHub keeps this list for hours before it counts again (GitHub docs: list repository contributors).
        let as_of = Some(item.read_at() - CONTRIBUTORS_AGE);
        out.rows.accounts.extend(account(Some(item.value())).map(|account| Account { as_of, ..account }));
        Ok(())
    };
    let url = work.url(&["contributors"]);
    let list = List::new("contributors", url, Collection::Contributors, map);
    snapshot(work, &list).await
}

async fn collaborators(work: &Work) -> Result<(), MirrorError> {
    let map: &ItemMapper = &|repository: &Repository, item: &Item<'_>, out: &mut MappedPage| {
        let login = item.require_text("login")?;
        let key = repository.document_key([login.into()]);
        out.documents.push(item.document(Collection::RepoCollaborators, key, &repository.tags(&[])));
        let user = account(Some(item.value())).map(as_person);
        out.rows.members.extend(user.map(|user| ProjectUser { project: repository.project, user, since: None }));
        Ok(())
    };
    let url = work.url(&["collaborators"]).query("affiliation", "all");
    let list = List::new("collaborators", url, Collection::RepoCollaborators, map);
    let state = work.list_state(list.name).await?;
    let listing = look(work, &list).await?;
    let project = work.project();
    let mut gone = gone_people(work, list.collection, &listing).await?;
    if !state.completed && listing.settled {
        // Members that only the feed has told of, while the list could not be read.
        gone.extend(unlisted_people(work, ProjectUserKind::Members, &listing).await?);
    }
    let gone = gone.into_iter().map(|user| (project, user)).collect();
    work.write_rows(RowBatch { members_gone: gone, ..RowBatch::default() }).await?;
    mark(work, Collection::RepoCollaborators, &listing.gone).await
}
