//! Labels and milestones.

use serde_json::Value;

use super::embedded::{self, Embedded};
use crate::mirror::context::Work;
use crate::mirror::error::MirrorError;
use crate::mirror::lists::{List, look, mark};
use crate::mirror::mapping::item::Item;
use crate::mirror::mapping::{ItemMapper, MappedPage};
use crate::mirror::resource::{Repository, Subject};
use crate::store::documents::Collection;
use crate::store::relational::RowBatch;

/// Syncs the labels. Renaming, recoloring or deleting a label changes issues and pull requests without changing their
/// `updated_at`: those that carry it are fetched again.
pub async fn sync_labels(work: &Work) -> Result<(), MirrorError> {
    let mark_unchecked = embedded::unchecked(work, Embedded::Labels).await?;
    let map = move |repository: &Repository, item: &Item<'_>, out: &mut MappedPage| {
        let name = item.require_text("name")?;
        let key = repository.document_key([name.as_str().into()]);
        out.documents.push(item.document(Collection::RepoLabels, key, &repository.tags(&[])));
        out.rows.labels.push((repository.project, name));
        if out.rows.sync_updates.is_empty() {
            out.rows.sync_updates.push(mark_unchecked.clone());
        }
        Ok(())
    };
    let map: &ItemMapper = &map;
    let url = work.url(&["labels"]);
    let list = List::new("labels", url, Collection::RepoLabels, map);
    let listing = look(work, &list).await?;
    embedded::refresh_carriers(work, Embedded::Labels, &listing.gone).await?;
    if work.falls_short() {
        // An issue that could not be read again still carries the old label: the next run finds it gone again.
        return Ok(());
    }
    mark(work, Collection::RepoLabels, &listing.gone).await
}

/// Syncs the milestones, open and closed. As with labels, the issues that carry a changed one are fetched again.
pub async fn sync_milestones(work: &Work) -> Result<(), MirrorError> {
    let mark_unchecked = embedded::unchecked(work, Embedded::Milestones).await?;
    let map = move |repository: &Repository, item: &Item<'_>, out: &mut MappedPage| {
        let number = item.require_integer("number")?;
        let key = repository.document_key([number.into()]);
        out.documents.push(item.document(Collection::Milestones, key, &repository.tags(&[])));
        out.rows.accounts.extend(item.account("creator"));
        if let Some(title) = item.text("title") {
            out.rows.milestones.push((repository.project, title));
        }
        if out.rows.sync_updates.is_empty() {
            out.rows.sync_updates.push(mark_unchecked.clone());
        }
        Ok(())
    };
    let map: &ItemMapper = &map;
    let url = work.url(&["milestones"]).query("state", "all");
    let list = List::new("milestones", url, Collection::Milestones, map);
    let listing = look(work, &list).await?;
    let changed = embedded::refresh_carriers(work, Embedded::Milestones, &listing.gone).await?;
    mark(work, Collection::Milestones, &listing.gone).await?;
    if changed { mark_titles(work).await } else { Ok(()) }
}

/// Marks titles that no milestone has any more: GHTorrent identifies milestones by their titles.
async fn mark_titles(work: &Work) -> Result<(), MirrorError> {
    work.flush().await?;
    let milestones = embedded::live_documents(work, Collection::Milestones, &work.subject().key()).await?;
    let title = |(_, milestone): &(String, Value)| milestone.get("title").and_then(Value::as_str).map(str::to_owned);
    let titles = milestones.iter().filter_map(title).collect();
    work.write_rows(RowBatch { milestone_titles: vec![(work.project(), titles)], ..RowBatch::default() }).await
}
