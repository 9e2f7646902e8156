//! Backfill of a list: all pages once, many concurrently, with a proof that nothing was missed.

use std::collections::HashSet;

use chrono::{DateTime, Duration, Utc};
use serde::{Deserialize, Serialize};

use super::snapshot::Listing;
use super::walker::{CachePolicy, MAX_PASSES, PageWalker};
use super::{List, PER_PAGE, PageResult, UNIDENTIFIED, fetch_page, timestamp};
use crate::github::VisitedUrls;
use crate::mirror::context::StageContext;
use crate::mirror::error::MirrorError;
use crate::mirror::resource::Resource;

/// GitHub truncates some lists at 300 to 400 pages; a last page at or beyond this may be a truncation.
pub(crate) const DEEP_PAGE: u32 = 300;
/// Maximum delay in seconds of GitHub's API behind its clock.
const CLOCK_SLACK_SECONDS: i64 = 60;

/// The end of a list at which new items appear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GrowthEnd {
    /// First page: newest first.
    Front,
    /// Last page: oldest first.
    Back,
}

/// The result of a [`backfill`].
pub(crate) enum Backfill {
    /// The list is complete.
    Whole {
        /// Time from which changes have to be fetched.
        watermark: DateTime<Utc>,
        /// Contents of the list.
        listing: Listing,
        /// True if an earlier run started it: its first pages may be old, so that changes have to be fetched at once.
        resumed: bool,
    },
    /// A part could not be fetched and is recorded as incomplete; the next run resumes.
    Partial,
    /// The list is so long that its pages may be truncated; only the first page was fetched.
    TooManyPages,
}

/// The state of a list when its backfill started, kept in the sync state for the run that resumes it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct BackfillStart {
    /// Time, by the server's clock.
    at: DateTime<Utc>,
    /// Number of items by its page numbers, if GitHub gives the last page.
    total: Option<usize>,
    /// Item at the end where the list grows.
    edge: Option<i64>,
}

/// Fetches all pages of a list whose items can't change, resuming an aborted run. Returns the fingerprints of its
/// items.
///
/// # Errors
/// A page could not be had; what was read before it is stored and not read again.
pub(crate) async fn sync_immutable(ctx: &StageContext, list: &List<'_>) -> Result<HashSet<i64>, MirrorError> {
    let mut walker = PageWalker::start(ctx, list).await?;
    if !walker.state.completed {
        walker.pass(CachePolicy::Trust).await?;
    }
    if walker.has_unchecked_pages() {
        return Ok(walker.ids());
    }
    walker.record_completed(None, 0).await?;
    Ok(walker.ids())
}

/// Fetches a list from beginning to end, many pages concurrently, resuming an aborted run.
///
/// Nothing was missed if the list has as many items at the end as at the start plus those that were added. If it has
/// fewer, items were deleted meanwhile, and all pages are revalidated. (Pages told apart by cursors need no such
/// proof.)
///
/// All pages of a list that grows at its back are kept; of one that grows at its front, where all pages shift, only the
/// first.
///
/// # Errors
/// A page could not be had; what was read before it is stored.
pub(crate) async fn backfill(
    ctx: &StageContext,
    list: &List<'_>,
    grows: GrowthEnd,
    reject_deep: bool,
) -> Result<Backfill, MirrorError> {
    let mut walker = PageWalker::start(ctx, list).await?;
    let pending = walker.state.pending.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let pending = pending.filter(|_| walker.pages.contains_key(&1));
    let resumed = pending.is_some();
    let mut beginning: BackfillStart = match pending {
        Some(beginning) => beginning,
        None => match walker.begin(grows, reject_deep).await? {
            Some(beginning) => beginning,
            None => return Ok(Backfill::TooManyPages),
        },
    };
    // Whatever changes after the walk began must be read again: the watermark is the earlier of the beginning, by the
    // server's clock, and the newest change that was seen.
    let began = beginning.at - Duration::seconds(CLOCK_SLACK_SECONDS);
    walker.pass(if grows == GrowthEnd::Front { CachePolicy::TrustLeading } else { CachePolicy::Trust }).await?;
    for pass in 1.. {
        if walker.last_page() == 1 || walker.is_by_cursor() {
            break;
        }
        walker.recheck_ends(grows, beginning.edge).await?;
        let grown = walker.grown(grows, beginning.edge);
        if walker.is_proven_complete(beginning.total, grown, pass) {
            if grows == GrowthEnd::Front && grown != Some(0) {
                walker.recheck_boundaries(grown.unwrap_or(0)).await?;
            }
            break;
        }
        if pass == MAX_PASSES {
            // The walk stays begun: the next run looks at all pages again.
            ctx.record_incomplete(format!(
                "`{}` lost items in each of {MAX_PASSES} passes; items missed meanwhile are fetched by the next run",
                list.name
            ));
            return Ok(Backfill::Partial);
        }
        let total = beginning.total.map(|_| walker.total());
        beginning = walker.checkpoint(BackfillStart { total, edge: walker.edge(grows), ..beginning }).await?;
        walker.pass(CachePolicy::Revalidate).await?;
    }
    if walker.has_unchecked_pages() && grows == GrowthEnd::Front {
        // Only the open backfill remembers the unusable item, so it stays open.
        return Ok(Backfill::Partial);
    }
    let watermark = walker.newest.map_or(began, |newest| began.min(newest));
    let listing = Listing {
        ids: walker.ids(),
        unidentified: walker.keys().filter(|key| *key == UNIDENTIFIED).count(),
        gone: Vec::new(),
        last_page: walker.last_page(),
        complete: !ctx.is_incomplete(),
        redirected: walker.redirected,
        changed: walker.changed,
        reader: walker.reader(),
    };
    // The first page's tag lets the next run see for free that nothing has come at the front.
    let keep = if grows == GrowthEnd::Front { 1 } else { u32::MAX };
    walker.record_completed(Some(timestamp(watermark)), keep).await?;
    Ok(Backfill::Whole { watermark, listing, resumed })
}

impl<S: Resource> PageWalker<'_, S> {
    /// Returns whether any known page holds an item that could not be mapped, or was never checked.
    pub(super) fn has_unchecked_pages(&self) -> bool {
        self.pages.values().any(|page| page.checked_at.is_none())
    }

    /// Returns the item at the end where the list grows.
    fn edge(&self, grows: GrowthEnd) -> Option<i64> {
        match grows {
            GrowthEnd::Front => self.pages.get(&1)?.keys.first().copied(),
            GrowthEnd::Back => self.pages.get(&self.last_page())?.keys.last().copied(),
        }
    }

    /// Returns whether no item can have been missed in this pass, the first being 1: the list has as many items as the
    /// `total` that it had at the start and the `grown` ones that were added.
    fn is_proven_complete(&self, total: Option<usize>, grown: Option<usize>, pass: usize) -> bool {
        match total {
            Some(total) => grown.is_some_and(|grown| self.total() >= total + grown),
            // Nothing to count with: every page must have been found again as it was.
            None => pass > 1 && !self.shifted,
        }
    }

    /// Returns the number of items between the growing end and its former edge; `None` if the edge is gone.
    fn grown(&self, grows: GrowthEnd, edge: Option<i64>) -> Option<usize> {
        let Some(edge) = edge else { return Some(self.total()) };
        match grows {
            GrowthEnd::Front => self.keys().position(|key| key == edge),
            GrowthEnd::Back => self.keys().rev().position(|key| key == edge),
        }
    }

    /// Fetches the first and the last page and records the list's state. `None` if the list is too deep and
    /// `reject_deep` is set.
    async fn begin(&mut self, grows: GrowthEnd, reject_deep: bool) -> Result<Option<BackfillStart>, MirrorError> {
        self.pages.clear();
        let first = self.list.first_page();
        let PageResult::Page(answer) = fetch_page(self.ctx, &first, self.list.accept, None).await? else {
            return Err(MirrorError::Answer(format!("{first} answered 304 to an unconditional request")));
        };
        let last = answer.last_page;
        if reject_deep && last >= Some(DEEP_PAGE) {
            return Ok(None);
        }
        let continues = answer.next.is_some();
        self.store_page(1, *answer, None).await?;
        let continues = continues || self.total() >= PER_PAGE / 2;
        if let Some(last) = last.filter(|last| *last > 1)
            && let PageResult::Page(answer) = fetch_page(self.ctx, &self.url_of(last), self.list.accept, None).await?
        {
            self.store_page(last, *answer, None).await?;
        }
        let at = self.started.unwrap_or_else(Utc::now);
        let total = (last.is_some() || !continues).then(|| self.total());
        self.checkpoint(BackfillStart { at, total, edge: self.edge(grows) }).await.map(Some)
    }

    async fn checkpoint(&self, beginning: BackfillStart) -> Result<BackfillStart, MirrorError> {
        let text = serde_json::to_string(&beginning).map_err(|error| MirrorError::Answer(error.to_string()))?;
        self.ctx.flush().await?;
        self.ctx.run.stores.relational.save_checkpoint(self.state.id, &text).await?;
        Ok(beginning)
    }

    /// Revalidates both ends of the list and stores new items.
    async fn recheck_ends(&mut self, grows: GrowthEnd, edge: Option<i64>) -> Result<(), MirrorError> {
        let mut last = self.last_page();
        let last_before = Some(last);
        if grows == GrowthEnd::Front {
            let (mut page, mut url) = (1, Some(self.list.first_page()));
            let mut visited = VisitedUrls::default();
            while let Some(next) = url.take() {
                visited.visit(&next)?;
                let state = self.pages.get(&page).filter(|_| page == 1).cloned();
                let PageResult::Page(answer) = fetch_page(self.ctx, &next, self.list.accept, state.as_ref()).await?
                else {
                    break;
                };
                last = answer.last_page.unwrap_or(last);
                let next = answer.next.clone();
                self.store_page(page, *answer, last_before).await?;
                let reached =
                    self.pages.get(&page).is_some_and(|page| edge.is_none_or(|edge| page.keys.contains(&edge)));
                url = next.filter(|_| !reached);
                page += 1;
            }
        }
        self.fetch(last, self.url_of(last), last_before).await?;
        self.follow_next(last, &HashSet::new(), last_before).await
    }

    /// Revalidates pages at the boundaries between stretches, across which items may have been pushed meanwhile.
    async fn recheck_boundaries(&mut self, grown: usize) -> Result<(), MirrorError> {
        let reach = u32::try_from(grown / PER_PAGE).unwrap_or(u32::MAX);
        let last = self.last_page();
        let pages: HashSet<u32> =
            self.boundaries.iter().flat_map(|boundary| *boundary..=boundary.saturating_add(reach).min(last)).collect();
        for page in pages {
            self.fetch(page, self.url_of(page), Some(last)).await?;
        }
        Ok(())
    }
}
