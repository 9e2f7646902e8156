//! Branches, tags and releases.

use crate::mirror::context::StageContext;
use crate::mirror::error::MirrorError;
use crate::mirror::lists::restricted::{RELEASES, drop_possibly_hidden};
use crate::mirror::lists::{Expected, List, revalidate_expecting, sync_snapshot, tombstone};
use crate::mirror::mapping::item::JsonItem;
use crate::mirror::mapping::release::RELEASE;
use crate::mirror::mapping::{ItemMapper, MappedPage};
use crate::mirror::resource::Repository;
use crate::store::documents::Collection;

/// Syncs the branches with their heads, and the tags.
pub(crate) async fn sync_branches(ctx: &StageContext) -> Result<(), MirrorError> {
    let branches = sync_named_refs(ctx, "branches", Collection::Branches).await;
    if let Err(error) = &branches
        && error.concerns_all_items()
    {
        return branches;
    }
    // The one list doesn't wait for the other.
    sync_named_refs(ctx, "tags", Collection::Tags).await.and(branches)
}

async fn sync_named_refs(ctx: &StageContext, what: &str, collection: Collection) -> Result<(), MirrorError> {
    let map = move |repository: &Repository, item: &JsonItem<'_>, out: &mut MappedPage| {
        let name = item.require_text("name")?;
        let key = repository.document_key([name.into()]);
        out.documents.push(item.document(collection, key, &repository.tags(&[])));
        Ok(())
    };
    let map: &ItemMapper = &map;
    let list = List::new(what, ctx.url(&[what]), collection, map);
    sync_snapshot(ctx, &list).await
}

/// Syncs the releases with their assets.
pub(crate) async fn sync_releases(ctx: &StageContext) -> Result<(), MirrorError> {
    let url = ctx.url(&["releases"]);
    let list = List::new(RELEASES.list, url, Collection::Releases, RELEASE);
    let mut listing = revalidate_expecting(ctx, &list, Expected::HiddenFromSome).await?;
    drop_possibly_hidden(ctx, &RELEASES, &mut listing, false).await?;
    tombstone(ctx, list.collection, &listing.gone).await
}
