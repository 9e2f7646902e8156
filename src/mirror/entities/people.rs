//! Collaborators and contributors.

use chrono::TimeDelta;

use crate::mirror::context::StageContext;
use crate::mirror::error::MirrorError;
use crate::mirror::lists::unlisted_users::{rows_not_in_listing, rows_of_gone_documents};
use crate::mirror::lists::{List, revalidate, sync_snapshot, tombstone};
use crate::mirror::mapping::account::{account, as_person};
use crate::mirror::mapping::item::JsonItem;
use crate::mirror::mapping::{ItemMapper, MappedPage};
use crate::mirror::resource::Repository;
use crate::store::documents::Collection;
use crate::store::relational::rows::{Account, ProjectUser};
use crate::store::relational::{ProjectUserKind, RowBatch};

/// Maximum age of GitHub's cached list of contributors.
const CONTRIBUTORS_AGE: TimeDelta = TimeDelta::days(1);

/// Syncs contributors and collaborators. Collaborators take more permissions than the rest of the repository.
pub(crate) async fn sync_people(ctx: &StageContext) -> Result<(), MirrorError> {
    for (what, done) in [("contributors", contributors(ctx).await), ("collaborators", collaborators(ctx).await)] {
        match done {
            // The contributors are refused where a history is too long for GitHub to count them.
            Err(MirrorError::Api(error)) if error.is_access_denied() => {
                ctx.record_not_permitted(format!("{what}: {error}"));
                // What was listed once goes stale: from here on the feed's members count.
                ctx.run.stores.relational.reset_lists(ctx.project(), what).await?;
            }
            done => done?,
        }
    }
    Ok(())
}

async fn contributors(ctx: &StageContext) -> Result<(), MirrorError> {
    let map: &ItemMapper = &|repository: &Repository, item: &JsonItem<'_>, out: &mut MappedPage| {
        let login = item.require_text("login")?;
        let key = repository.document_key([login.into()]);
        out.documents.push(item.document(Collection::Contributors, key, &repository.tags(&[])));
        // GitHub keeps this list for hours before it counts again (GitHub docs: list repository contributors).
        let as_of = Some(item.read_at() - CONTRIBUTORS_AGE);
        out.rows.accounts.extend(account(Some(item.value())).map(|account| Account { as_of, ..account }));
        Ok(())
    };
    let url = ctx.url(&["contributors"]);
    let list = List::new("contributors", url, Collection::Contributors, map);
    sync_snapshot(ctx, &list).await
}

async fn collaborators(ctx: &StageContext) -> Result<(), MirrorError> {
    let map: &ItemMapper = &|repository: &Repository, item: &JsonItem<'_>, out: &mut MappedPage| {
        let login = item.require_text("login")?;
        let key = repository.document_key([login.into()]);
        out.documents.push(item.document(Collection::RepoCollaborators, key, &repository.tags(&[])));
        let user = account(Some(item.value())).map(as_person);
        out.rows.members.extend(user.map(|user| ProjectUser { project: repository.project, user, since: None }));
        Ok(())
    };
    let url = ctx.url(&["collaborators"]).query("affiliation", "all");
    let list = List::new("collaborators", url, Collection::RepoCollaborators, map);
    let state = ctx.list_state(list.name).await?;
    let listing = revalidate(ctx, &list).await?;
    let project = ctx.project();
    let mut gone = rows_of_gone_documents(ctx, list.collection, &listing).await?;
    if !state.completed && listing.complete {
        // Members that only the feed has told of, while the list could not be read.
        gone.extend(rows_not_in_listing(ctx, ProjectUserKind::Members, &listing).await?);
    }
    let gone = gone.into_iter().map(|user| (project, user)).collect();
    ctx.write_rows(RowBatch { removed_members: gone, ..RowBatch::default() }).await?;
    tombstone(ctx, Collection::RepoCollaborators, &listing.gone).await
}
