//! A list as it is now, and what has gone from it.

use std::collections::HashSet;

use super::walker::{CachePolicy, MAX_PASSES, PageWalker};
use super::{List, UNIDENTIFIED};
use crate::github::{Accept, ApiUrl};
use crate::mirror::context::{Resource, StageContext, read_now};
use crate::mirror::error::MirrorError;
use crate::mirror::item::JsonItem;
use crate::store::documents::Collection;
use crate::store::relational::sync_state::fingerprint;

/// So many items that go at once, and leave nothing, are a reason for doubt.
const MIN_DOUBTFUL_LOSS: u32 = 2;
/// The mark of a list that was found empty though it held something before.
const FOUND_EMPTY: &str = "found empty";

/// How many items GitHub says elsewhere that a list has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// So many.
    Exactly(u64),
    /// So many, and perhaps others.
    AtLeast(u64),
    /// It says so at this address, under this key. That is asked for in doubt alone.
    At(ApiUrl, &'static str),
    /// It doesn't say.
    Unknown,
    /// It doesn't say, and some items are hidden from some readers: an empty list means something only to who read it before.
    HiddenFromSome,
    /// It doesn't matter: whatever the list no longer holds is asked for by itself.
    Irrelevant,
}

impl Expected {
    /// An exact count, if there is one.
    pub fn exactly(count: Option<u64>) -> Self {
        count.map_or(Self::Unknown, Self::Exactly)
    }

    /// A part's count, if there is one.
    pub fn at_least(count: Option<u64>) -> Self {
        count.map_or(Self::Unknown, Self::AtLeast)
    }

    /// A count that an empty list contradicts.
    pub fn positive(&self) -> Option<u64> {
        match self {
            Self::Exactly(count) | Self::AtLeast(count) => (*count > 0).then_some(*count),
            Self::At(..) | Self::Unknown | Self::HiddenFromSome | Self::Irrelevant => None,
        }
    }
}

/// What reading a list showed.
#[derive(Default)]
pub struct Listing {
    /// Fingerprints of the ids of the documents that its pages hold.
    pub ids: HashSet<i64>,
    /// Items that nothing identifies, such as a star of an account that is no more.
    pub unidentified: usize,
    /// Documents of what is mirrored that no page holds any more.
    pub gone: Vec<String>,
    /// The last page.
    pub last_page: u32,
    /// Whether it is certain that nothing else is in the list.
    pub complete: bool,
    /// Whether GitHub has answered from another address than it was asked for.
    pub redirected: bool,
    /// Whether any page came anew.
    pub changed: bool,
    /// The fingerprint of the token that all pages were read with, where it was one.
    pub reader: Option<String>,
}

/// Reads a list as it is now, and marks what has gone from it.
///
/// # Errors
/// A page could not be had; what was read before it is stored.
pub async fn sync_snapshot(ctx: &StageContext, list: &List<'_>) -> Result<(), MirrorError> {
    let listing = revalidate(ctx, list).await?;
    tombstone(ctx, list.collection, &listing.gone).await
}

/// Reads a list as it is now, as [`revalidate_expecting`] does, where GitHub doesn't tell elsewhere how many items it has.
///
/// # Errors
/// A page could not be had; what was read before it is stored.
pub async fn revalidate<S: Resource>(ctx: &StageContext<S>, list: &List<'_, S>) -> Result<Listing, MirrorError> {
    revalidate_expecting(ctx, list, Expected::Unknown).await
}

/// Reads a list as it is now: every page, conditionally, and finds what has gone from it. That is not marked yet: whoever
/// draws conclusions from it does so first, and a run that is cut off in between finds it again.
///
/// An empty answer that contradicts `expected`, or that takes
/// everything away at once, is asked for again, and then believed only if the next run finds it, too.
///
/// # Errors
/// A page could not be had; what was read before it is stored.
pub async fn revalidate_expecting<S: Resource>(
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
            Some(count) => format!("`{}` is empty, though GitHub counts {count}; nothing is marked as gone", list.name),
            None => format!(
                "`{}` is empty all at once; what it held is marked as gone if the next run finds the same",
                list.name
            ),
        });
        return Ok(Listing { last_page: 1, redirected: walker.redirected, ..Listing::default() });
    }
    if emptied && let Some(count) = expected.positive() {
        ctx.record_final_gap(format!("`{}` is empty, though GitHub counts {count}", list.name));
    } else if walker.shifted && walker.last_page() > 1 {
        ctx.record_incomplete(format!(
            "`{}` kept changing while it was read {MAX_PASSES} times; what slipped through is read by the next run",
            list.name
        ));
    } else if !ctx.is_incomplete() {
        // Where an item could not be understood, it is not known what the list holds.
        ctx.flush().await?;
        gone = find_missing(ctx, list.collection, &ids).await?;
        complete = true;
    }
    if !walker.state.completed || walker.changed {
        walker.complete(None, u32::MAX).await?;
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

/// Reads a list that was a single page when it was last read as [`revalidate`] does: the page's tag answers for everything in it.
/// `None` where it is longer, or was never read.
///
/// # Errors
/// The page could not be had.
pub async fn revalidate_single_page(ctx: &StageContext, list: &List<'_>) -> Result<Option<Listing>, MirrorError> {
    let walker = PageWalker::start(ctx, list).await?;
    if walker.state.completed && walker.pages.len() == 1 && walker.has_nothing_behind(1) {
        return revalidate(ctx, list).await.map(Some);
    }
    Ok(None)
}

/// Reads all pages, again as long as they move while they are read.
pub(super) async fn walk_until_stable<S: Resource>(walker: &mut PageWalker<'_, S>) -> Result<(), MirrorError> {
    walker.pass(CachePolicy::Revalidate).await?;
    let mut passes = 1;
    while walker.shifted && walker.last_page() > 1 && passes < MAX_PASSES {
        walker.pass(CachePolicy::Revalidate).await?;
        passes += 1;
    }
    Ok(())
}

/// Returns whether a list that shows nothing contradicts what GitHub counts elsewhere, or what it held until now.
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

/// Ids of the documents of what is mirrored whose fingerprints are not among `listed`.
///
/// # Errors
/// The store could not be read.
pub async fn find_missing<S: Resource>(
    ctx: &StageContext<S>,
    collection: Collection,
    listed: &HashSet<i64>,
) -> Result<Vec<String>, MirrorError> {
    const IDS_AT_A_TIME: u32 = 1000;
    let key = ctx.resource().key();
    let documents = &ctx.run.stores.documents;
    let (mut gone, mut after) = (Vec::new(), String::new());
    loop {
        let ids = documents.ids_after(collection, &key, &after, IDS_AT_A_TIME).await?;
        let Some(last) = ids.last() else { return Ok(gone) };
        after.clone_from(last);
        gone.extend(ids.into_iter().filter(|id| !listed.contains(&fingerprint(id))));
    }
}

/// Marks documents as gone, after all that was handed in before is stored.
///
/// # Errors
/// A store can't be written.
pub async fn tombstone<S: Resource>(
    ctx: &StageContext<S>,
    collection: Collection,
    gone: &[String],
) -> Result<(), MirrorError> {
    if gone.is_empty() {
        return Ok(());
    }
    ctx.flush().await?;
    ctx.mark_deleted(collection, gone).await
}
