//! Sync of a list with a `since` key: what changed in it, and what it no longer holds.
//!
//! `since` gives changes, but neither deleted items nor items that appear with an old date (a transferred issue brings
//! its comments with their dates). So the pages of the list in the order of creation are kept and revalidated: all by
//! every run if they are few, otherwise in turn. An unchanged page is a free 304.

use std::collections::HashSet;

use chrono::{DateTime, Duration, Utc};

use super::backfill::{Backfill, GrowthEnd, backfill};
use super::snapshot::{Expected, find_missing, revalidate_expecting, walk_until_stable};
use super::successor::Successor;
use super::walker::PageWalker;
use super::{List, MappedPage, PageResult, UNIDENTIFIED, fetch_successor, timestamp};
use crate::github::{ApiUrl, VisitedUrls};
use crate::mirror::context::StageContext;
use crate::mirror::error::MirrorError;
use crate::mirror::mapping::item::parse_date;
use crate::store::relational::SyncUpdate;
use crate::store::relational::sync_state::{ListState, PageState};

/// Maximum number of pages of lists that every run revalidates whole.
const MAX_SMALL_LIST_PAGES: u32 = 4;
/// Runs within which every page of a longer list is revalidated.
const RECHECK_ROUND_RUNS: usize = 10;
/// Overlap of a refresh with the newest known change: GitHub's lists lag behind and are not in order.
pub(super) const OVERLAP: Duration = Duration::minutes(5);
/// Mark of a list that is too long for its pages to be kept.
const DEEP: &str = "deep";

/// Documents that a list no longer holds.
#[derive(Debug, Default)]
pub(crate) struct Absent {
    /// Ids of the documents.
    pub ids: Vec<String>,
    /// True if all pages were seen to lack them. Otherwise an item may have moved to a page fetched before, and has to
    /// be requested by itself.
    pub certain: bool,
}

/// Syncs a list with a `since` key. `list.url` is unsorted; `expected` is the number of items that GitHub gives
/// elsewhere. Absent documents are not marked yet.
///
/// # Errors
/// A page could not be had; what was read before it is stored.
pub(crate) async fn sync_since(ctx: &StageContext, list: &List<'_>, expected: Expected) -> Result<Absent, MirrorError> {
    let changed_name = format!("{}:changed", list.name);
    let by_creation = list.sorted("created", "asc");
    let by_change = List { name: &changed_name, ..list.sorted("updated", "asc") };
    let mut walker = PageWalker::start(ctx, &by_creation).await?;
    let keeper = walker.state.clone();
    if keeper.pending.as_deref() == Some(DEEP) {
        return sync_changes_only(ctx, &by_change, &keeper).await;
    }
    if keeper.completed && keeper.watermark.is_some() && !walker.pages.is_empty() {
        if walker.last_page() <= MAX_SMALL_LIST_PAGES {
            let listing = revalidate_expecting(ctx, &by_creation, expected).await?;
            return Ok(Absent { ids: listing.gone, certain: true });
        }
        let seen = sync_changes(ctx, &by_change, &keeper).await?;
        return recheck_due(&mut walker, &seen).await;
    }
    match backfill(ctx, &by_creation, GrowthEnd::Back, true).await? {
        Backfill::TooManyPages => sync_changes_only(ctx, &by_change, &ListState { watermark: None, ..keeper }).await,
        Backfill::Partial => Ok(Absent::default()),
        Backfill::Whole { listing, resumed, watermark } => {
            let mut seen = listing.ids;
            if let Some(expected) = expected.positive().filter(|_| seen.is_empty()) {
                walker.forget_pages().await?;
                ctx.record_incomplete(format!("`{}` is empty, though GitHub counts {expected}", list.name));
            }
            if resumed {
                ctx.flush().await?;
                let keeper = ListState { watermark: Some(timestamp(watermark)), ..keeper };
                seen.extend(sync_changes(ctx, &by_change, &keeper).await?);
            }
            absent(ctx, list, &seen).await.map(|ids| Absent { ids, certain: !resumed })
        }
    }
}

/// Syncs only the changes of a list that is too deep to be kept.
async fn sync_changes_only(
    ctx: &StageContext,
    by_change: &List<'_>,
    keeper: &ListState,
) -> Result<Absent, MirrorError> {
    let is_first = keeper.watermark.is_none();
    let seen = sync_changes(ctx, by_change, keeper).await?;
    ctx.flush().await?;
    ctx.run.stores.relational.save_marker_and_reopen(keeper.id, DEEP).await?;
    let ids = if is_first { absent(ctx, by_change, &seen).await? } else { Vec::new() };
    Ok(Absent { ids, certain: true })
}

/// Returns the documents that were not seen; none if anything is incomplete.
async fn absent(ctx: &StageContext, list: &List<'_>, seen: &HashSet<i64>) -> Result<Vec<String>, MirrorError> {
    if ctx.is_incomplete() {
        return Ok(Vec::new());
    }
    ctx.flush().await?;
    find_missing(ctx, list.collection, seen).await
}

/// Revalidates a share of the kept pages of a list whose changes are synced otherwise.
///
/// # Errors
/// A page could not be had.
pub(crate) async fn recheck_share(ctx: &StageContext, list: &List<'_>) -> Result<Absent, MirrorError> {
    let mut walker = PageWalker::start(ctx, list).await?;
    recheck_due(&mut walker, &HashSet::new()).await
}

/// Revalidates a share of the list's pages: those with unusable items, the last one, and those not checked for the
/// longest time. `seen` are the items that this run has fetched already.
async fn recheck_due(walker: &mut PageWalker<'_>, seen: &HashSet<i64>) -> Result<Absent, MirrorError> {
    if walker.pages.is_empty() {
        walk_until_stable(walker).await?;
    }
    let (ctx, last) = (walker.ctx, walker.last_page());
    let mut in_turn: Vec<(Option<String>, u32)> =
        walker.pages.values().map(|page| (page.checked_at.clone(), page.page)).collect();
    in_turn.sort();
    let unchecked = in_turn.iter().filter(|(checked_at, _)| checked_at.is_none()).count();
    let share = in_turn.len().div_ceil(RECHECK_ROUND_RUNS).max(MAX_SMALL_LIST_PAGES as usize);
    let mut due: Vec<u32> = in_turn.iter().take(unchecked + share).map(|(_, page)| *page).collect();
    if !due.contains(&last) {
        due.push(last);
    }
    due.sort_unstable();
    walker.fetch_concurrently(&due, Some(last)).await?;
    walker.follow_next(last, &HashSet::new(), Some(last)).await?;
    let ids = |walker: &PageWalker<'_>| walker.ids().into_iter().chain(seen.iter().copied()).collect::<HashSet<i64>>();
    let mut found = Absent { ids: absent(ctx, walker.list, &ids(walker)).await?, certain: false };
    // What a deletion has moved to another page is asked for one by one, or all pages are, whichever takes fewer requests: of
    // the pages, those that are unchanged take none.
    let unread = walker.pages.keys().filter(|page| !walker.answered.contains(page)).count();
    if 2 * found.ids.len() > unread {
        walk_until_stable(walker).await?;
        found = Absent { ids: absent(ctx, walker.list, &ids(walker)).await?, certain: !walker.shifted };
    }
    let pages = walker.answered.iter().copied().filter(|page| walker.is_checked(*page)).collect();
    let updates = vec![SyncUpdate::PagesChecked { list: walker.state.id, pages }];
    ctx.write_sync_state(updates).await?;
    Ok(found)
}

impl PageWalker<'_> {
    fn is_checked(&self, page: u32) -> bool {
        self.pages.get(&page).is_some_and(|page| page.checked_at.is_some())
    }
}

/// Syncs the changes since the list's watermark, in the order of change, and moves the watermark with every page, so
/// that an aborted run resumes there. The watermark stays before a page that was not usable as a whole and is never
/// later than the server's clock. Returns the fingerprints of the items seen.
///
/// The list's URL sorts by `updated`, ascending. Without a watermark, `since` is left out, because some of GitHub's
/// lists answer nothing to the epoch.
async fn sync_changes(ctx: &StageContext, list: &List<'_>, keeper: &ListState) -> Result<HashSet<i64>, MirrorError> {
    let relational = &ctx.run.stores.relational;
    let state = ctx.list_state(list.name).await?;
    let known = relational.pages(state.id).await?.into_iter().next();
    let mut watermark = keeper.watermark.as_deref().and_then(parse_date).map(|at| at.min(Utc::now()));
    let changed_since = |at: Option<DateTime<Utc>>| match at {
        Some(at) => list.first_page().query("since", &timestamp(at)),
        None => list.first_page(),
    };
    let refresh_from = |watermark: Option<DateTime<Utc>>| changed_since(watermark.map(|at| at - OVERLAP));
    let mut next = Successor::Linked(refresh_from(watermark));
    let (mut seen, mut clock, mut all_usable) = (HashSet::new(), None, true);
    let mut visited = VisitedUrls::default();
    loop {
        next.visit(&mut visited)?;
        let asked = fetch_successor(ctx, list, &next, known.as_ref()).await?;
        let Some(PageResult::Page(mut answer)) = asked else { break };
        let clock = *clock.get_or_insert(answer.answered_at());
        let mapped = answer.map(ctx, list)?;
        let tag = answer.validator_if_usable(&mapped);
        let MappedPage { documents, mut rows, newest, keys, unusable, .. } = mapped;
        all_usable &= unusable == 0;
        seen.extend(keys.iter().copied().filter(|key| *key != UNIDENTIFIED));
        let before = watermark;
        watermark = watermark.max(newest.map(|newest| newest.min(clock)));
        if all_usable && let Some(at) = watermark {
            rows.sync_updates.push(SyncUpdate::Watermark { list: keeper.id, watermark: timestamp(at) });
        }
        next = onward(answer.successor(keys.len()), (watermark != before).then(|| changed_since(watermark)));
        // The next run asks from this watermark; when that is what this request asked, its tag answers for it.
        if next == Successor::End && all_usable && answer.url == refresh_from(watermark) {
            let page = PageState { keys, ..PageState::single(&answer.url, tag) };
            rows.sync_updates.push(SyncUpdate::Page { list: state.id, page });
        }
        ctx.write(documents, rows).await?;
    }
    if all_usable && clock.is_some() {
        let updates = vec![SyncUpdate::Completed { list: keeper.id, watermark: watermark.map(timestamp) }];
        ctx.write_sync_state(updates).await?;
    }
    Ok(seen)
}

/// Returns the next request in the order of change. Cursors are followed. Numbered pages would shift under a change:
/// the next request starts at the new watermark instead, as long as that moves.
fn onward(successor: Successor, from_watermark: Option<ApiUrl>) -> Successor {
    match (successor, from_watermark) {
        (Successor::Linked(url), Some(from)) if url.query_value("after").is_none() => Successor::Linked(from),
        (Successor::Probable(_), Some(from)) => Successor::Probable(from),
        (successor, _) => successor,
    }
}
