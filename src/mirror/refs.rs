//! Branches, tags and releases.

use super::context::{Map, Mapped, Repository, Work};
use super::error::MirrorError;
use super::item::Item;
use super::pages::{Expected, List, look_expecting, mark, snapshot};
use super::readers::{RELEASES, keep_hidden};
use crate::github::Accept;
use crate::store::documents::Collection;

/// The branches with their heads, and the tags.
pub async fn branches(work: &Work) -> Result<(), MirrorError> {
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
    let map = move |repository: &Repository, item: &Item<'_>, out: &mut Mapped| {
        let name = item.need_text("name")?;
        let key = vec![repository.name.owner().into(), repository.name.name().into(), name.into()];
        out.documents.push(item.document(collection, key, &repository.tags(&[])));
        Ok(())
    };
    let map: &Map = &map;
    let list = List { name: what, url: work.url(&[what]), accept: Accept::Json, collection, map };
    snapshot(work, &list).await
}

/// The releases with their assets.
pub async fn releases(work: &Work) -> Result<(), MirrorError> {
    let map: &Map = &|repository: &Repository, item: &Item<'_>, out: &mut Mapped| {
        let id = item.need_integer("id")?;
        let key = vec![repository.name.owner().into(), repository.name.name().into(), id.into()];
        out.documents.push(item.document(Collection::Releases, key, &repository.tags(&[])));
        out.rows.accounts.extend(item.account("author"));
        Ok(())
    };
    let url = work.url(&["releases"]);
    let list = List { name: RELEASES.list, url, accept: Accept::Json, collection: Collection::Releases, map };
    let mut listing = look_expecting(work, &list, Expected::HiddenFromSome).await?;
    keep_hidden(work, &RELEASES, &mut listing, false).await?;
    mark(work, list.collection, &listing.gone).await
}
