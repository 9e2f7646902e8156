//! Snapshot of a list: its present items, and documents that it no longer holds.

use std::collections::HashSet;

use super::walker::{CachePolicy, MAX_PASSES, PageWalker};
use super::{List, UNIDENTIFIED};
use crate::github::{Accept, ApiUrl};
use crate::mirror::context::{StageContext, read_now};
use crate::mirror::error::MirrorError;
use crate::mirror::mapping::item::JsonItem;
use crate::mirror::resource::Resource;
use crate::store::documents::{Collection, IDS_PER_PAGE};
use crate::store::relational::sync_state::fingerprint;

/// Minimum number of items that is doubtful if a list loses them all at once.
const MIN_DOUBTFUL_LOSS: u32 = 2;
/// Collections of which a repository usually has few, and whose lists are compared with them in every run.
const LISTED: [Collection; 14] = [
    Collection::Branches,
    Collection::CommitComments,
    Collection::Contributors,
    Collection::Forks,
    Collection::IssueComments,
    Collection::Issues,
    Collection::Milestones,
    Collection::PullRequestComments,
    Collection::Releases,
    Collection::RepoCollaborators,
    Collection::RepoLabels,
    Collection::Tags,
    Collection::Topics,
    Collection::Watchers,
];
/// Mark of a list that was found empty though it held something before.
const FOUND_EMPTY: &str = "found empty";

/// The number of items that GitHub gives elsewhere for a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Exactly so many.
    Exactly(u64),
    /// At least so many.
    AtLeast(u64),
    /// Given at this address, under this key; requested only in doubt.
    At(ApiUrl, &'static str),
    /// Not given.
    Unknown,
    /// Not given, and some items are hidden from some tokens: an empty list counts only for the token that synced it
    /// before.
    HiddenFromSome,
    /// Irrelevant: documents that the list no longer holds are found in another way, and [`Listing::gone`] stays empty.
    Irrelevant,
}

impl Expected {
    /// Returns an exact count, if there is one.
    pub(crate) fn exactly(count: Option<u64>) -> Self {
        count.map_or(Self::Unknown, Self::Exactly)
    }

    /// Returns a lower bound, if there is one.
    pub(crate) fn at_least(count: Option<u64>) -> Self {
        count.map_or(Self::Unknown, Self::AtLeast)
    }

    /// Returns a count that an empty list contradicts.
    pub(crate) fn positive(&self) -> Option<u64> {
        match self {
            Self::Exactly(count) | Self::AtLeast(count) => (*count > 0).then_some(*count),
            Self::At(..) | Self::Unknown | Self::HiddenFromSome | Self::Irrelevant => None,
        }
    }
}

/// The result of syncing a list.
#[derive(Default)]
pub(crate) struct Listing {
    /// Fingerprints of its documents' ids.
    pub ids: HashSet<i64>,
    /// Number of items that nothing identifies, such as a star of a deleted account.
    pub unidentified: usize,
    /// Stored documents that no page holds.
    pub gone: Vec<String>,
    /// Last page.
    pub last_page: u32,
    /// True if the list is certainly complete.
    pub complete: bool,
    /// True if GitHub answered from another address.
    pub redirected: bool,
    /// True if any page has changed.
    pub changed: bool,
    /// Fingerprint of the token that all pages were fetched with, if it was one.
    pub reader: Option<String>,
}

/// Syncs a list and marks documents that it no longer holds as deleted.
///
/// # Errors
/// A page could not be had; what was read before it is stored.
pub(crate) async fn sync_snapshot(ctx: &StageContext, list: &List<'_>) -> Result<(), MirrorError> {
    let listing = revalidate(ctx, list).await?;
    tombstone(ctx, list.collection, &listing.gone).await
}

/// Revalidates a list as [`revalidate_expecting`] does, where GitHub does not give the number of its items.
///
/// # Errors
/// A page could not be had; what was read before it is stored.
pub(crate) async fn revalidate<S: Resource>(ctx: &StageContext<S>, list: &List<'_, S>) -> Result<Listing, MirrorError> {
    revalidate_expecting(ctx, list, Expected::Unknown).await
}

/// Revalidates every page of a list, and finds documents that it no longer holds. They are not marked yet: callers draw
/// their conclusions first, so that an aborted run finds them again.
///
/// An empty answer that contradicts `expected`, or that removes everything at once, is requested again, and believed
/// only if the next run finds the same.
///
/// # Errors
/// A page could not be had; what was read before it is stored.
pub(crate) async fn revalidate_expecting<S: Resource>(
    ctx: &StageContext<S>,
    list: &List<'_, S>,
    expected: Expected,
) -> Result<Listing, MirrorError> {
    let mut walker = PageWalker::start(ctx, list).await?;
    walk_until_stable(&mut walker).await?;
    let mut expected = expected;
    if walker.keys().next().is_none() && is_doubtful(&walker, &mut expected).await? {
        walker.forget_pages().await?;
        walk_until_stable(&mut walker).await?;
    }
    let ids = walker.ids();
    let unidentified = walker.keys().filter(|key| *key == UNIDENTIFIED).count();
    let (mut gone, mut complete) = (Vec::new(), false);
    let emptied = walker.keys().next().is_none() && is_doubtful(&walker, &mut expected).await?;
    if emptied && walker.state.pending.as_deref() != Some(FOUND_EMPTY) {
        // The tag of such an answer must not stand for the list.
        walker.forget_pages().await?;
        ctx.flush().await?;
        ctx.run.stores.relational.save_marker(walker.state.id, FOUND_EMPTY).await?;
        ctx.record_incomplete(match expected.positive() {
            Some(count) => {
                format!("`{}` is empty, though GitHub counts {count}; nothing is marked as deleted", list.name)
            }
            None => format!(
                "`{}` is suddenly empty; its items are marked as deleted if the next run finds the same",
                list.name
            ),
        });
        return Ok(Listing { last_page: 1, redirected: walker.redirected, ..Listing::default() });
    }
    if emptied && let Some(count) = expected.positive() {
        ctx.record_final_gap(format!("`{}` is empty, though GitHub counts {count}", list.name));
    } else if walker.shifted && walker.last_page() > 1 {
        ctx.record_incomplete(format!(
            "`{}` kept changing during {MAX_PASSES} passes; items missed meanwhile are fetched by the next run",
            list.name
        ));
    } else if !ctx.is_incomplete() {
        // Where an item could not be understood, it is not known what the list holds.
        ctx.flush().await?;
        if expected != Expected::Irrelevant {
            gone = find_missing(ctx, list.collection, &ids).await?;
        }
        complete = true;
    }
    if !walker.state.completed || walker.changed {
        walker.record_completed(None, u32::MAX).await?;
    }
    Ok(Listing {
        ids,
        unidentified,
        gone,
        last_page: walker.last_page(),
        complete,
        redirected: walker.redirected,
        changed: walker.changed,
        reader: walker.reader(),
    })
}

/// Revalidates a list that was a single page: its tag answers for everything in it. `None` if it is longer, or was
/// never synced.
///
/// # Errors
/// The page could not be had.
pub(crate) async fn revalidate_single_page(
    ctx: &StageContext,
    list: &List<'_>,
) -> Result<Option<Listing>, MirrorError> {
    let walker = PageWalker::start(ctx, list).await?;
    if walker.state.completed && walker.pages.len() == 1 && walker.has_nothing_behind(1) {
        return revalidate(ctx, list).await.map(Some);
    }
    Ok(None)
}

/// Walks all pages, again as long as they shift meanwhile.
pub(super) async fn walk_until_stable<S: Resource>(walker: &mut PageWalker<'_, S>) -> Result<(), MirrorError> {
    walker.pass(CachePolicy::Revalidate).await?;
    let mut passes = 1;
    while walker.shifted && walker.last_page() > 1 && passes < MAX_PASSES {
        walker.pass(CachePolicy::Revalidate).await?;
        passes += 1;
    }
    Ok(())
}

/// Returns whether an empty list contradicts GitHub's count, or what it held until now.
async fn is_doubtful<S: Resource>(walker: &PageWalker<'_, S>, expected: &mut Expected) -> Result<bool, MirrorError> {
    if let Expected::At(url, key) = &*expected {
        *expected = match walker.ctx.get_page(url, Accept::Json).await {
            Ok(page) => {
                let count = JsonItem::single(&page.body, read_now())?.integer(key);
                Expected::exactly(count.and_then(|count| count.try_into().ok()))
            }
            Err(MirrorError::Api(error)) if error.is_access_denied() => Expected::Unknown,
            Err(error) => return Err(error),
        };
    }
    match expected {
        Expected::Exactly(0) | Expected::Irrelevant => return Ok(false),
        Expected::HiddenFromSome if walker.read_before_by != walker.reader() => return Ok(false),
        expected if expected.positive().is_some() => return Ok(true),
        _ => {}
    }
    let (ctx, key) = (walker.ctx, walker.ctx.resource().key());
    if walker.held_items >= MIN_DOUBTFUL_LOSS as usize || ctx.resource().repo().is_none() {
        return Ok(walker.held_items >= MIN_DOUBTFUL_LOSS as usize);
    }
    ctx.flush().await?;
    let held = ctx.run.stores.documents.ids_after(walker.list.collection, &key, "", MIN_DOUBTFUL_LOSS).await?;
    Ok(held.len() >= MIN_DOUBTFUL_LOSS as usize)
}

/// Returns the ids of stored documents whose fingerprints are not among `listed`.
///
/// For small collections, compares with ids loaded once at the run's first list: what the run itself has stored since
/// was listed just now, or is found by the next run.
pub(crate) async fn find_missing<S: Resource>(
    ctx: &StageContext<S>,
    collection: Collection,
    listed: &HashSet<i64>,
) -> Result<Vec<String>, MirrorError> {
    let is_missing = |id: &String| !listed.contains(&fingerprint(id));
    let key = ctx.resource().key();
    let documents = &ctx.run.stores.documents;
    if ctx.resource().repo().is_some() {
        let stored = ctx.run.stored_ids.get_or_try_init(|| documents.ids_of_small(&LISTED, &key, IDS_PER_PAGE));
        if let Some(ids) = stored.await?.get(&collection) {
            return Ok(ids.iter().filter(|id| is_missing(id)).cloned().collect());
        }
    }
    let (mut missing, mut pages) = (Vec::new(), documents.id_pages(collection, &key));
    while let Some(ids) = pages.next().await? {
        missing.extend(ids.into_iter().filter(is_missing));
    }
    Ok(missing)
}

/// Marks documents as deleted, after everything handed in before is stored.
pub(crate) async fn tombstone<S: Resource>(
    ctx: &StageContext<S>,
    collection: Collection,
    gone: &[String],
) -> Result<(), MirrorError> {
    if gone.is_empty() {
        return Ok(());
    }
    ctx.flush().await?;
    ctx.tombstone(collection, gone).await
}
