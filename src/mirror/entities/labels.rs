//! Labels and milestones.

use serde_json::Value;

use super::embedded::{self, Embedded};
use crate::mirror::context::StageContext;
use crate::mirror::error::MirrorError;
use crate::mirror::lists::{List, revalidate, tombstone};
use crate::mirror::mapping::item::JsonItem;
use crate::mirror::mapping::{ItemMapper, MappedPage};
use crate::mirror::resource::{Repository, Resource};
use crate::store::documents::Collection;
use crate::store::relational::RowBatch;

/// Syncs the labels. Renaming, recoloring or deleting a label changes issues and pull requests without changing their
/// `updated_at`: those that carry it are fetched again.
pub(crate) async fn sync_labels(ctx: &StageContext) -> Result<(), MirrorError> {
    let mark_unchecked = embedded::require_comparison(ctx, Embedded::Labels).await?;
    let map = move |repository: &Repository, item: &JsonItem<'_>, out: &mut MappedPage| {
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
    let url = ctx.url(&["labels"]);
    let list = List::new("labels", url, Collection::RepoLabels, map);
    let listing = revalidate(ctx, &list).await?;
    embedded::refresh_carriers(ctx, Embedded::Labels, &listing.gone).await?;
    if ctx.is_incomplete() {
        // An issue that could not be read again still carries the old label: the next run finds it gone again.
        return Ok(());
    }
    tombstone(ctx, Collection::RepoLabels, &listing.gone).await
}

/// Syncs the milestones, open and closed. As with labels, the issues that carry a changed one are fetched again.
pub(crate) async fn sync_milestones(ctx: &StageContext) -> Result<(), MirrorError> {
    let mark_unchecked = embedded::require_comparison(ctx, Embedded::Milestones).await?;
    let map = move |repository: &Repository, item: &JsonItem<'_>, out: &mut MappedPage| {
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
    let url = ctx.url(&["milestones"]).query("state", "all");
    let list = List::new("milestones", url, Collection::Milestones, map);
    let listing = revalidate(ctx, &list).await?;
    let changed = embedded::refresh_carriers(ctx, Embedded::Milestones, &listing.gone).await?;
    tombstone(ctx, Collection::Milestones, &listing.gone).await?;
    if changed { tombstone_titles(ctx).await } else { Ok(()) }
}

/// Marks titles that no milestone has any more: GHTorrent identifies milestones by their titles.
async fn tombstone_titles(ctx: &StageContext) -> Result<(), MirrorError> {
    ctx.flush().await?;
    let milestones = embedded::live_documents(ctx, Collection::Milestones, &ctx.resource().key()).await?;
    let title = |(_, milestone): &(String, Value)| milestone.get("title").and_then(Value::as_str).map(str::to_owned);
    let titles = milestones.iter().filter_map(title).collect();
    ctx.write_rows(RowBatch { milestone_titles: vec![(ctx.project(), titles)], ..RowBatch::default() }).await
}
