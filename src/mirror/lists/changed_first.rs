//! Sync of a list that can be sorted by change, newest first, and has no `since` key: what has changed.

use chrono::{DateTime, Utc};

use super::since::OVERLAP;
use super::successor::Successor;
use super::{List, MappedPage, PageResult, fetch_successor, timestamp};
use crate::github::VisitedUrls;
use crate::mirror::context::StageContext;
use crate::mirror::error::MirrorError;
use crate::store::relational::SyncUpdate;
use crate::store::relational::sync_state::PageState;

/// Syncs changed items of a list that has no `since` key but can be sorted by change, newest first: until an item is
/// older than the watermark, which the sync state of `watermarked` keeps.
///
/// The watermark moves to the first item's change, though never beyond the server's clock, and only when all pages are
/// stored: an item that changes meanwhile moves to the front, where the next run finds it.
///
/// # Errors
/// A page could not be had; what was read before it is stored, and the next run reads down to the same watermark.
pub(crate) async fn sync_recently_changed(
    ctx: &StageContext,
    list: &List<'_>,
    watermarked: &List<'_>,
    watermark: Option<DateTime<Utc>>,
) -> Result<(), MirrorError> {
    let state = ctx.list_state(list.name).await?;
    let keeper = ctx.list_state(watermarked.name).await?;
    let known = ctx.run.stores.relational.pages(state.id).await?.into_iter().next();
    let watermark = watermark.map(|at| at.min(Utc::now()));
    let reached = watermark.map(|at| at - OVERLAP);
    let mut begun: Option<(PageState, Option<DateTime<Utc>>)> = None;
    let mut all_usable = true;
    let (mut next, mut visited) = (Successor::Linked(list.first_page()), VisitedUrls::default());
    loop {
        next.visit(&mut visited)?;
        let Some(PageResult::Page(mut answer)) = fetch_successor(ctx, list, &next, known.as_ref()).await? else {
            break;
        };
        let mapped = answer.map(ctx, list)?;
        let MappedPage { documents, rows, newest, keys, unusable, .. } = mapped;
        all_usable &= unusable == 0;
        if begun.is_none() {
            let page = PageState::single(&answer.url, answer.page.validator.clone());
            begun = Some((page, newest.map(|newest| newest.min(answer.answered_at()))));
        }
        let oldest = rows.pulls.iter().filter_map(|pull| pull.updated_at).min();
        ctx.write(documents, rows).await?;
        next = answer.successor(keys.len());
        if reached.is_some() && oldest < reached {
            break;
        }
    }
    let Some((page, newest)) = begun.filter(|_| all_usable) else { return Ok(()) };
    let watermark = newest.max(watermark).map(timestamp);
    let updates = vec![
        SyncUpdate::Page { list: state.id, page },
        SyncUpdate::Completed { list: state.id, watermark: None },
        SyncUpdate::Completed { list: keeper.id, watermark },
    ];
    ctx.write_sync_state(updates).await
}
