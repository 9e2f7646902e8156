//! A list as it is now, and what has gone from it.

use std::collections::HashSet;

use super::walk::{Known, MAX_PASSES, Walk};
use super::{List, UNIDENTIFIED};
use crate::github::{Accept, ApiUrl};
use crate::mirror::context::{Subject, Work, read_now};
use crate::mirror::error::MirrorError;
use crate::mirror::item::Item;
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
    pub settled: bool,
    /// Whether GitHub has answered from another address than it was asked for.
    pub moved: bool,
    /// Whether any page came anew.
    pub changed: bool,
    /// The fingerprint of the token that all pages were read with, where it was one.
    pub reader: Option<String>,
}

/// Reads a list as it is now, and marks what has gone from it.
///
/// # Errors
/// A page could not be had; what was read before it is stored.
pub async fn snapshot(work: &Work, list: &List<'_>) -> Result<(), MirrorError> {
    let listing = look(work, list).await?;
    mark(work, list.collection, &listing.gone).await
}

/// Reads a list as it is now, as [`look_expecting`] does, where GitHub doesn't tell elsewhere how many items it has.
///
/// # Errors
/// A page could not be had; what was read before it is stored.
pub async fn look<S: Subject>(work: &Work<S>, list: &List<'_, S>) -> Result<Listing, MirrorError> {
    look_expecting(work, list, Expected::Unknown).await
}

/// Reads a list as it is now: every page, conditionally, and finds what has gone from it. That is not marked yet: whoever
/// draws conclusions from it does so first, and a run that is cut off in between finds it again.
///
/// An empty answer that contradicts `expected`, or that takes
/// everything away at once, is asked for again, and then believed only if the next run finds it, too.
///
/// # Errors
/// A page could not be had; what was read before it is stored.
pub async fn look_expecting<S: Subject>(
    work: &Work<S>,
    list: &List<'_, S>,
    expected: Expected,
) -> Result<Listing, MirrorError> {
    let mut walk = Walk::start(work, list).await?;
    read_until_settled(&mut walk).await?;
    let mut expected = expected;
    if walk.keys().next().is_none() && is_doubtful(&walk, &mut expected).await? {
        walk.forget_pages().await?;
        read_until_settled(&mut walk).await?;
    }
    let ids = walk.ids();
    let unidentified = walk.keys().filter(|key| *key == UNIDENTIFIED).count();
    let (mut gone, mut settled) = (Vec::new(), false);
    let emptied = walk.keys().next().is_none() && is_doubtful(&walk, &mut expected).await?;
    if emptied && walk.state.pending.as_deref() != Some(FOUND_EMPTY) {
        // The tag of such an answer must not stand for the list.
        walk.forget_pages().await?;
        work.flush().await?;
        work.shared.stores.relational.save_marker(walk.state.id, FOUND_EMPTY).await?;
        work.shortfall(match expected.positive() {
            Some(count) => format!("`{}` is empty, though GitHub counts {count}; nothing is marked as gone", list.name),
            None => format!(
                "`{}` is empty all at once; what it held is marked as gone if the next run finds the same",
                list.name
            ),
        });
        return Ok(Listing { last_page: 1, moved: walk.redirected, ..Listing::default() });
    }
    if emptied && let Some(count) = expected.positive() {
        work.record_final_gap(format!("`{}` is empty, though GitHub counts {count}", list.name));
    } else if walk.moved && walk.last_page() > 1 {
        work.shortfall(format!(
            "`{}` kept changing while it was read {MAX_PASSES} times; what slipped through is read by the next run",
            list.name
        ));
    } else if !work.falls_short() {
        // Where an item could not be understood, it is not known what the list holds.
        work.flush().await?;
        gone = not_listed(work, list.collection, &ids).await?;
        settled = true;
    }
    if !walk.state.completed || walk.changed {
        walk.complete(None, u32::MAX).await?;
    }
    Ok(Listing {
        ids,
        unidentified,
        gone,
        last_page: walk.last_page(),
        settled,
        moved: walk.redirected,
        changed: walk.changed,
        reader: walk.reader(),
    })
}

/// Reads a list that was a single page when it was last read as [`look`] does: the page's tag answers for everything in it.
/// `None` where it is longer, or was never read.
///
/// # Errors
/// The page could not be had.
pub async fn look_if_single(work: &Work, list: &List<'_>) -> Result<Option<Listing>, MirrorError> {
    let walk = Walk::start(work, list).await?;
    if walk.state.completed && walk.pages.len() == 1 && walk.has_nothing_behind(1) {
        return look(work, list).await.map(Some);
    }
    Ok(None)
}

/// Reads all pages, again as long as they move while they are read.
pub(super) async fn read_until_settled<S: Subject>(walk: &mut Walk<'_, S>) -> Result<(), MirrorError> {
    walk.pass(Known::Revalidate).await?;
    let mut passes = 1;
    while walk.moved && walk.last_page() > 1 && passes < MAX_PASSES {
        walk.pass(Known::Revalidate).await?;
        passes += 1;
    }
    Ok(())
}

/// Returns whether a list that shows nothing contradicts what GitHub counts elsewhere, or what it held until now.
async fn is_doubtful<S: Subject>(walk: &Walk<'_, S>, expected: &mut Expected) -> Result<bool, MirrorError> {
    if let Expected::At(url, key) = &*expected {
        *expected = match walk.work.get_page(url, Accept::Json).await {
            Ok(page) => {
                let count = Item::single(&page.body, read_now())?.integer(key);
                Expected::exactly(count.and_then(|count| count.try_into().ok()))
            }
            Err(MirrorError::Api(error)) if error.is_access_denied() => Expected::Unknown,
            Err(error) => return Err(error),
        };
    }
    match expected {
        Expected::Exactly(0) | Expected::Irrelevant => return Ok(false),
        Expected::HiddenFromSome if walk.read_before_by != walk.reader() => return Ok(false),
        expected if expected.positive().is_some() => return Ok(true),
        _ => {}
    }
    let (work, key) = (walk.work, walk.work.subject().key());
    if walk.held_items >= MIN_DOUBTFUL_LOSS as usize || work.subject().repo().is_none() {
        return Ok(walk.held_items >= MIN_DOUBTFUL_LOSS as usize);
    }
    work.flush().await?;
    let held = work.shared.stores.documents.ids_after(walk.list.collection, &key, "", MIN_DOUBTFUL_LOSS).await?;
    Ok(held.len() >= MIN_DOUBTFUL_LOSS as usize)
}

/// Ids of the documents of what is mirrored whose fingerprints are not among `listed`.
///
/// # Errors
/// The store could not be read.
pub async fn not_listed<S: Subject>(
    work: &Work<S>,
    collection: Collection,
    listed: &HashSet<i64>,
) -> Result<Vec<String>, MirrorError> {
    const IDS_AT_A_TIME: u32 = 1000;
    let key = work.subject().key();
    let documents = &work.shared.stores.documents;
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
pub async fn mark<S: Subject>(work: &Work<S>, collection: Collection, gone: &[String]) -> Result<(), MirrorError> {
    if gone.is_empty() {
        return Ok(());
    }
    work.flush().await?;
    work.mark_deleted(collection, gone).await
}
