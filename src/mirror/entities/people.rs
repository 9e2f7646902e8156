//! Collaborators and contributors.

use crate::mirror::context::StageContext;
use crate::mirror::error::MirrorError;
use crate::mirror::lists::unlisted_users::{rows_not_in_listing, rows_of_gone_documents};
use crate::mirror::lists::{List, revalidate, sync_snapshot, tombstone};
use crate::mirror::mapping::project_user::{COLLABORATOR, CONTRIBUTOR};
use crate::store::documents::Collection;
use crate::store::relational::{ProjectUserKind, RowBatch};

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
    let url = ctx.url(&["contributors"]);
    let list = List::new("contributors", url, Collection::Contributors, CONTRIBUTOR);
    sync_snapshot(ctx, &list).await
}

async fn collaborators(ctx: &StageContext) -> Result<(), MirrorError> {
    let url = ctx.url(&["collaborators"]).query("affiliation", "all");
    let list = List::new("collaborators", url, Collection::RepoCollaborators, COLLABORATOR);
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
