//! Branches, tags and releases.

use crate::mirror::context::Work;
use crate::mirror::error::MirrorError;
use crate::mirror::lists::restricted::{RELEASES, keep_hidden};
use crate::mirror::lists::{Expected, List, look_expecting, mark, snapshot};
use crate::mirror::mapping::item::Item;
use crate::mirror::mapping::{ItemMapper, MappedPage};
use crate::mirror::resource::Repository;
use crate::store::documents::Collection;

/// Syncs the branches with their heads, and the tags.
pub async fn sync_branches(work: &Work) -> Result<(), MirrorError> {
    let branches = named(work, "branches", Collection::Branches).await;
    if let Err(error) = &branches
        && error.concerns_all_items()
    {
        return branches;
    }
    // The one list doesn't wait for the other.
    named(work, "tags", Collection::Tags).await.and(branches)
}

async fn named(work: &Work, what: &str, collection: Collection) -> Result<(), MirrorError> {
    let map = move |repository: &Repository, item: &Item<'_>, out: &mut MappedPage| {
        let name = item.require_text("name")?;
        let key = repository.document_key([name.into()]);
        out.documents.push(item.document(collection, key, &repository.tags(&[])));
        Ok(())
    };
    let map: &ItemMapper = &map;
    let list = List::new(what, work.url(&[what]), collection, map);
    snapshot(work, &list).await
}

/// Syncs the releases with their assets.
pub async fn sync_releases(work: &Work) -> Result<(), MirrorError> {
    let map: &ItemMapper = &|repository: &Repository, item: &Item<'_>, out: &mut MappedPage| {
        let id = item.require_integer("id")?;
        let key = repository.document_key([id.into()]);
        out.documents.push(item.document(Collection::Releases, key, &repository.tags(&[])));
        out.rows.accounts.extend(item.account("author"));
        Ok(())
    };
    let url = work.url(&["releases"]);
    let list = List::new(RELEASES.list, url, Collection::Releases, map);
    let mut listing = look_expecting(work, &list, Expected::HiddenFromSome).await?;
    keep_hidden(work, &RELEASES, &mut listing, false).await?;
    mark(work, list.collection, &listing.gone).await
}
