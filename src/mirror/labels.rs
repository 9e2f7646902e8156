//! Labels and milestones.

use super::context::{Map, Mapped, Repository, Work};
use super::error::MirrorError;
use super::issues;
use super::item::Item;
use super::pages::{List, look, mark, snapshot};
use crate::github::Accept;
use crate::store::documents::Collection;

/// The labels. A label that was renamed or deleted changes issues and pull requests without changing their `updated_at`:
/// those are read again.
pub async fn labels(work: &Work) -> Result<(), MirrorError> {
    let map: &Map = &|repository: &Repository, item: &Item<'_>, out: &mut Mapped| {
        let name = item.need_text("name")?;
        let key = vec![repository.name.owner().into(), repository.name.name().into(), name.as_str().into()];
        out.documents.push(item.document(Collection::RepoLabels, key, &repository.tags(&[])));
        out.rows.labels.push((repository.project, name));
        Ok(())
    };
    let url = work.url(&["labels"]);
    let list = List { name: "labels", url, accept: Accept::Json, collection: Collection::RepoLabels, map };
    let listing = look(work, &list).await?;
    let prefix = format!("{}/", work.repository().name);
    let names: Vec<&str> = listing.gone.iter().filter_map(|id| id.strip_prefix(&prefix)).collect();
    issues::read_again_with_labels(work, &names).await?;
    if work.falls_short() {
        // An issue that could not be read again still carries the old label: the next run finds it gone again.
        return Ok(());
    }
    mark(work, Collection::RepoLabels, &listing.gone).await
}

/// The milestones, open and closed.
pub async fn milestones(work: &Work) -> Result<(), MirrorError> {
    let map: &Map = &|repository: &Repository, item: &Item<'_>, out: &mut Mapped| {
        let number = item.need_integer("number")?;
        let key = vec![repository.name.owner().into(), repository.name.name().into(), number.into()];
        out.documents.push(item.document(Collection::Milestones, key, &repository.tags(&[])));
        out.rows.accounts.extend(item.account("creator"));
        if let Some(title) = item.text("title") {
            out.rows.milestones.push((repository.project, title));
        }
        Ok(())
    };
    let url = work.url(&["milestones"]).query("state", "all");
    let list = List { name: "milestones", url, accept: Accept::Json, collection: Collection::Milestones, map };
    snapshot(work, &list).await
}
