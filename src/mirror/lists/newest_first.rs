//! Sync of a list whose items never change and come newest first: what is new.

use std::collections::HashSet;

use chrono::{DateTime, Utc};

use super::since::OVERLAP;
use super::successor::Successor;
use super::{List, MappedPage, PageResult, UNIDENTIFIED, fetch_successor, timestamp};
use crate::github::VisitedUrls;
use crate::mirror::context::{StageContext, read_now};
use crate::mirror::error::MirrorError;
use crate::mirror::mapping::item::parse_date;
use crate::store::relational::SyncUpdate;
use crate::store::relational::sync_state::PageState;

/// The extent of a sync down to known items.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reach {
    /// True if it reached known items. Otherwise items in between may be lost.
    pub joined: bool,
    /// Time of the last complete sync, if any.
    pub read_before: Option<DateTime<Utc>>,
    /// Number of items fetched.
    pub items: usize,
}

/// Syncs new items of a list whose items never change and come newest first: page after page, until one holds an item
/// of the first page of the last complete sync, and one from well before that. (A stored item proves nothing: an
/// aborted run may have stored newer items and not those behind them.)
///
/// # Errors
/// A page could not be had; what was read before it is stored, and the next run reads on to the same place.
pub(crate) async fn sync_newest_first(ctx: &StageContext, list: &List<'_>) -> Result<Reach, MirrorError> {
    let state = ctx.list_state(list.name).await?;
    let known = ctx.run.stores.relational.pages(state.id).await?.into_iter().next().filter(|_| state.completed);
    let stood_first: HashSet<i64> =
        known.iter().flat_map(|page| page.keys.iter().copied()).filter(|key| *key != UNIDENTIFIED).collect();
    // Entries appear late and out of order: the reading overlaps the last one.
    let read_before = state.watermark.as_deref().and_then(parse_date);
    let overlap = read_before.map(|at| at - OVERLAP);
    let (mut first_page, mut all_usable) = (None, true);
    let mut reach = Reach { joined: false, read_before, items: 0 };
    let mut next = Successor::Linked(list.first_page());
    let mut visited = VisitedUrls::default();
    loop {
        next.visit(&mut visited)?;
        let Some(asked) = fetch_successor(ctx, list, &next, known.as_ref()).await? else { break };
        let PageResult::Page(mut answer) = asked else {
            reach.joined = true;
            break;
        };
        let mapped = answer.map(ctx, list)?;
        let tag = answer.validator_if_usable(&mapped);
        let MappedPage { documents, rows, oldest, keys, unusable, .. } = mapped;
        all_usable &= unusable == 0;
        reach.items += keys.len();
        reach.joined |= keys.iter().any(|key| stood_first.contains(key));
        let overlaps = reach.joined && oldest.zip(overlap).is_none_or(|(at, overlap)| at < overlap);
        next = answer.successor(keys.len());
        if first_page.is_none() {
            first_page = Some(PageState { keys, ..PageState::single(&answer.url, tag) });
        }
        ctx.write(documents, rows).await?;
        if overlaps {
            break;
        }
    }
    // Only now: a run that is cut off before must not take the first page for all there was.
    let Some(page) = first_page.filter(|_| all_usable) else { return Ok(reach) };
    let updates = vec![
        SyncUpdate::Page { list: state.id, page },
        SyncUpdate::Completed { list: state.id, watermark: Some(timestamp(read_now())) },
    ];
    ctx.write_sync_state(updates).await?;
    Ok(reach)
}
