//! Walks over a list's numbered pages.
//!
//! Items move between pages while a list is read: a deletion pulls all later items forward, and one that slips from a page
//! not yet read to a page already read is seen by nobody. So no walk over several pages ends without a proof that this has
//! not happened: [`look`] ends with a pass that finds every page as the pass before, [`backfill`] counts.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use chrono::{DateTime, Duration, Utc};
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use super::{Answer, Asked, List, PER_PAGE, ask, keys_of, timestamp};
use crate::github::{ApiUrl, VisitedUrls};
use crate::mirror::context::{Mapped, Repository, Subject, Work, page_validator};
use crate::mirror::error::MirrorError;
use crate::store::documents::Collection;
use crate::store::relational::Rows;
use crate::store::relational::rows::Progress;
use crate::store::relational::state::{ListState, PageState, fingerprint};

/// Pages of one list in flight. The client's own bound is over all lists; this one keeps one list from taking it all.
const PAGES_IN_FLIGHT: usize = 8;
/// Lists that are said to end at or beyond this page may be ending at GitHub's cap (some do at 300 to 400 pages).
pub const DEEP_PAGE: u32 = 300;
/// How often a list that keeps changing while it is read is read again.
const PASSES: usize = 4;
/// How far behind the web GitHub's API answers may be.
const CLOCK_SLACK_SECONDS: i64 = 60;

/// What reading a list showed.
#[derive(Default)]
pub struct Listing {
    /// Fingerprints of the ids of the documents that its pages hold.
    pub ids: HashSet<i64>,
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

/// Which end of a list new items come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grows {
    /// At the first page: newest first.
    AtTheFront,
    /// At the last page: oldest first.
    AtTheBack,
}

/// What a [`backfill`] came to.
pub enum Backfill {
    /// The list was read whole.
    Whole {
        /// From here on [`since`](super::since) (or its like) reads what changed during and after the walk.
        watermark: Option<DateTime<Utc>>,
        /// What it holds.
        listing: Listing,
        /// Whether an earlier run began it: then its first pages may be old, and what changed since is to be read at once.
        resumed: bool,
    },
    /// The list is so long that its page numbers may end before it does; nothing was read but its first page.
    TooDeep,
}

/// What a pass does with pages that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Asks for them conditionally.
    Revalidate,
    /// Takes them as read: they were, by the walk that this one goes on with.
    Trust,
    /// Takes them as read as far as they follow each other from the first one on.
    TrustBeginning,
}

/// How a list was when a walk over it began; kept in the sync state for the run that goes on with the walk.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Beginning {
    /// By the server's clock.
    at: DateTime<Utc>,
    /// How many items it had, by its page numbers, where GitHub tells the last of them.
    total: Option<usize>,
    /// The item at the end where the list grows.
    edge: Option<i64>,
}

/// A walk over a list's numbered pages.
struct Walk<'a, S = Repository> {
    work: &'a Work<S>,
    list: &'a List<'a, S>,
    state: ListState,
    pages: BTreeMap<u32, PageState>,
    /// A numbered page's URL as GitHub writes it.
    template: Option<ApiUrl>,
    /// Whether a page came that did not hold what it held before, and perhaps more.
    moved: bool,
    /// Whether any page came anew.
    changed: bool,
    /// Whether GitHub has answered from another address.
    sent_on: bool,
    /// Pages that were read before the page in front of them.
    seams: Vec<u32>,
    /// When the walk's first answer came, by the server's clock.
    started: Option<DateTime<Utc>>,
    /// The newest `updated_at` seen.
    newest: Option<DateTime<Utc>>,
}

impl<'a, S: Subject> Walk<'a, S> {
    async fn start(work: &'a Work<S>, list: &'a List<'a, S>) -> Result<Self, MirrorError> {
        let state = work.list_state(list.name).await?;
        let pages = work.shared.stores.relational.pages(state.id).await?;
        let pages: BTreeMap<_, _> = pages.into_iter().map(|page| (page.page, page)).collect();
        Ok(Self {
            work,
            list,
            state,
            template: pages.get(&2).and_then(|page| page.url.parse().ok()),
            pages,
            moved: false,
            changed: false,
            sent_on: false,
            seams: Vec::new(),
            started: None,
            newest: None,
        })
    }

    /// Reads all pages once.
    async fn pass(&mut self, known: Known) -> Result<(), MirrorError> {
        self.moved = false;
        self.seams.clear();
        let last_before = self.pages.keys().next_back().copied();
        let trusted = match known {
            Known::Revalidate => 1..1,
            Known::Trust => 1..u32::MAX,
            Known::TrustBeginning => 1..(1..).find(|page| !self.pages.contains_key(page)).unwrap_or(1),
        };
        let mut last = last_before.unwrap_or(1);
        if !(trusted.contains(&1) && self.pages.contains_key(&1)) {
            let url = self.list.first_page();
            if let Asked::Answer(answer) = ask(self.work, &url, self.list.accept, self.validator(1)).await? {
                last = 1;
                self.take(1, *answer, last_before).await?;
            }
        }
        let Some(promised) = self.pages.get(&1).and_then(|page| page.last_page) else {
            // GitHub doesn't always tell the last page: then each page leads to the next.
            return self.follow(1, &trusted, last_before).await;
        };
        last = last.max(promised);
        let requests: Vec<(u32, ApiUrl, Option<PageState>)> = (2..=last)
            .filter(|page| !(trusted.contains(page) && self.pages.contains_key(page)))
            .map(|page| (page, self.url_of(page), self.validator(page).cloned()))
            .collect();
        // Neighbouring pages are read one after the other, in a few stretches side by side: where a list grows at its
        // front, an item that is pushed on to the next page while they are read is then met there.
        let stretch = requests.len().div_ceil(PAGES_IN_FLIGHT).max(1);
        let (work, accept) = (self.work, self.list.accept);
        let stretches: Vec<_> = requests
            .chunks(stretch)
            .map(|chunk| {
                futures::stream::iter(chunk.to_vec())
                    .then(
                        move |(page, url, state)| async move { (page, ask(work, &url, accept, state.as_ref()).await) },
                    )
                    .boxed()
            })
            .collect();
        self.seams = requests.chunks(stretch).skip(1).filter_map(|chunk| Some(chunk.first()?.0)).collect();
        let mut answers = futures::stream::select_all(stretches);
        while let Some((page, asked)) = answers.next().await {
            if let Asked::Answer(answer) = asked? {
                self.take(page, *answer, last_before).await?;
            }
        }
        drop(answers);
        self.follow(last, &trusted, last_before).await
    }

    /// A page's URL: the one that it was read from, or the one that GitHub gave for another page, with this number.
    fn url_of(&self, page: u32) -> ApiUrl {
        let known = self.pages.get(&page).and_then(|state| state.url.parse().ok());
        let template = || self.template.clone().unwrap_or_else(|| self.list.first_page());
        known.unwrap_or_else(|| template().with_query("page", &page.to_string()))
    }

    /// The validator for a page. A last page that is full gets none: an unchanged answer could not tell that the list
    /// has grown a page beyond it.
    fn validator(&self, page: u32) -> Option<&PageState> {
        self.pages.get(&page).filter(|state| state.next.is_some() || state.keys.len() < PER_PAGE)
    }

    /// Reads on behind a page, from each page to the next.
    async fn follow(
        &mut self,
        mut page: u32,
        trusted: &Range<u32>,
        last_before: Option<u32>,
    ) -> Result<(), MirrorError> {
        let mut visited = VisitedUrls::default();
        for before in self.pages.range(..=page).filter_map(|(_, before)| before.url.parse().ok()) {
            visited.visit(&before)?;
        }
        loop {
            let next = self.pages.get(&page).and_then(|page| page.next.as_ref());
            let Some(url) = next.and_then(|next| next.parse::<ApiUrl>().ok()) else { return self.trim(page).await };
            if let Err(error) = visited.visit(&url) {
                // Where the page led to must not be believed by the next run: its tag, which says nothing of its links,
                // would keep it.
                let end = Progress::PagesEnd { list: self.state.id, last: page.saturating_sub(1) };
                self.work.write(Vec::new(), Rows { progress: vec![end], ..Rows::default() }).await?;
                return Err(error.into());
            }
            page += 1;
            if trusted.contains(&page) && self.pages.contains_key(&page) {
                continue;
            }
            if let Asked::Answer(answer) = ask(self.work, &url, self.list.accept, self.validator(page)).await? {
                self.take(page, *answer, last_before).await?;
            }
        }
    }

    /// Pages beyond the last one, and empty ones at the end, are no longer part of the list.
    async fn trim(&mut self, mut last: u32) -> Result<(), MirrorError> {
        while last > 1 && self.pages.get(&last).is_none_or(|page| page.keys.is_empty()) {
            last -= 1;
        }
        if self.pages.keys().next_back().is_some_and(|page| *page > last) {
            self.pages.retain(|page, _| *page <= last);
            let end = Progress::PagesEnd { list: self.state.id, last };
            let rows = Rows { progress: vec![end], ..Default::default() };
            self.work.write(Vec::new(), rows).await?;
        }
        Ok(())
    }

    /// Stores a page that came, with its state. `last_before` is the last page that was known before: pages behind it are
    /// new because the list has grown.
    async fn take(&mut self, number: u32, mut answer: Answer, last_before: Option<u32>) -> Result<(), MirrorError> {
        let Mapped { documents, mut rows, newest } = answer.map(self.work, self.list.map)?;
        self.started = self.started.or(answer.page.date).or(Some(answer.read_at));
        self.newest = self.newest.max(newest);
        if self.template.is_none() {
            self.template.clone_from(&answer.next);
        }
        let keys = keys_of(self.list, &documents);
        self.changed = true;
        self.sent_on |= answer.page.moved;
        self.moved |= match self.pages.get(&number) {
            Some(before) => !keys.starts_with(&before.keys),
            None => last_before.is_none_or(|last| number <= last),
        };
        let page = PageState {
            page: number,
            url: answer.url.to_string(),
            validator: page_validator(&answer.page),
            last_page: answer.last_page,
            next: answer.next.map(|next| next.to_string()),
            keys,
        };
        rows.progress.push(Progress::Page { list: self.state.id, page: page.clone() });
        self.pages.insert(number, page);
        self.work.write(documents, rows).await
    }

    fn ids(&self) -> HashSet<i64> {
        self.pages.values().flat_map(|page| page.keys.iter().copied()).collect()
    }

    /// The fingerprint of the token that all pages were read with.
    fn reader(&self) -> Option<String> {
        let mut tokens = self.pages.values().map(|page| page.validator.as_ref().map(|validator| &validator.token));
        let first = tokens.next()??;
        tokens.all(|token| token == Some(first)).then(|| first.clone())
    }

    fn last_page(&self) -> u32 {
        self.pages.keys().next_back().copied().unwrap_or(1)
    }

    /// How many items GitHub's list has, by its page numbers. GitHub hides some items after it has made the pages, so that
    /// a page may hold fewer than it stands for: only differences between such totals are exact.
    fn total(&self) -> usize {
        let last = self.last_page();
        let on_last = self.pages.get(&last).map_or(0, |page| page.keys.len());
        (last as usize - 1) * PER_PAGE + on_last
    }

    /// The item at the end where the list grows.
    fn edge(&self, grows: Grows) -> Option<i64> {
        match grows {
            Grows::AtTheFront => self.pages.values().next()?.keys.first().copied(),
            Grows::AtTheBack => self.pages.values().next_back()?.keys.last().copied(),
        }
    }

    /// How many items stand between the end where the list grows and what was its edge; `None` where that is gone.
    fn grown(&self, grows: Grows, edge: Option<i64>) -> Option<usize> {
        let Some(edge) = edge else { return Some(self.total()) };
        let keys = || self.pages.values().flat_map(|page| page.keys.iter());
        match grows {
            Grows::AtTheFront => keys().position(|key| *key == edge),
            Grows::AtTheBack => keys().rev().position(|key| *key == edge),
        }
    }

    /// Reads the first and the last page and remembers how the list is now. `None`: it is too deep, as `give_up_deep` says.
    async fn begin(&mut self, grows: Grows, give_up_deep: bool) -> Result<Option<Beginning>, MirrorError> {
        self.pages.clear();
        let first = self.list.first_page();
        let Asked::Answer(answer) = ask(self.work, &first, self.list.accept, None).await? else {
            return Err(MirrorError::Answer(format!("{first} answered 304 to an unconditional request")));
        };
        let last = answer.last_page;
        if give_up_deep && last >= Some(DEEP_PAGE) {
            return Ok(None);
        }
        let goes_on = answer.next.is_some();
        self.take(1, *answer, None).await?;
        if let Some(last) = last.filter(|last| *last > 1)
            && let Asked::Answer(answer) = ask(self.work, &self.url_of(last), self.list.accept, None).await?
        {
            self.take(last, *answer, None).await?;
        }
        let at = self.started.unwrap_or_else(Utc::now);
        let total = (last.is_some() || !goes_on).then(|| self.total());
        self.remember(Beginning { at, total, edge: self.edge(grows) }).await.map(Some)
    }

    async fn remember(&self, beginning: Beginning) -> Result<Beginning, MirrorError> {
        let text = serde_json::to_string(&beginning).map_err(|error| MirrorError::Answer(error.to_string()))?;
        self.work.flush().await?;
        self.work.shared.stores.relational.set_pending(self.state.id, &text).await?;
        Ok(beginning)
    }

    /// Looks again at both ends of the list, and takes what is new there.
    async fn look_at_ends(&mut self, grows: Grows, edge: Option<i64>) -> Result<(), MirrorError> {
        let mut last = self.last_page();
        let last_before = Some(last);
        if grows == Grows::AtTheFront {
            let (mut page, mut url) = (1, Some(self.list.first_page()));
            let mut visited = VisitedUrls::default();
            while let Some(next) = url.take() {
                visited.visit(&next)?;
                let state = self.pages.get(&page).filter(|_| page == 1).cloned();
                let Asked::Answer(answer) = ask(self.work, &next, self.list.accept, state.as_ref()).await? else {
                    break;
                };
                last = answer.last_page.unwrap_or(last);
                let next = answer.next.clone();
                self.take(page, *answer, last_before).await?;
                let reached =
                    self.pages.get(&page).is_some_and(|page| edge.is_none_or(|edge| page.keys.contains(&edge)));
                url = next.filter(|_| !reached);
                page += 1;
            }
        }
        if let Asked::Answer(answer) =
            ask(self.work, &self.url_of(last), self.list.accept, self.validator(last)).await?
        {
            self.take(last, *answer, last_before).await?;
        }
        self.follow(last, &(1..1), last_before).await
    }

    /// Reads again what may have been pushed over the seams between stretches while these were read.
    async fn look_at_seams(&mut self, grown: usize) -> Result<(), MirrorError> {
        let reach = u32::try_from(grown / PER_PAGE).unwrap_or(u32::MAX);
        let last = self.last_page();
        let pages: HashSet<u32> =
            self.seams.iter().flat_map(|seam| *seam..=seam.saturating_add(reach).min(last)).collect();
        for page in pages {
            let state = self.pages.get(&page).cloned();
            if let Asked::Answer(answer) = ask(self.work, &self.url_of(page), self.list.accept, state.as_ref()).await? {
                self.take(page, *answer, Some(last)).await?;
            }
        }
        Ok(())
    }

    async fn complete(&self, watermark: Option<String>, keep_pages: u32) -> Result<(), MirrorError> {
        let list = self.state.id;
        let progress = vec![Progress::PagesEnd { list, last: keep_pages }, Progress::Completed { list, watermark }];
        self.work.write(Vec::new(), Rows { progress, ..Default::default() }).await
    }
}

/// Reads a list as it is now, and marks what has gone from it.
///
/// # Errors
/// A page could not be had; what was read before it is stored.
pub async fn snapshot(work: &Work, list: &List<'_>) -> Result<(), MirrorError> {
    let listing = look(work, list).await?;
    mark(work, list.collection, &listing.gone).await
}

/// Reads a list as it is now: every page, conditionally, and finds what has gone from it. That is not marked yet: whoever
/// draws conclusions from it does so first, and a run that is cut off in between finds it again.
///
/// # Errors
/// A page could not be had; what was read before it is stored.
pub async fn look<S: Subject>(work: &Work<S>, list: &List<'_, S>) -> Result<Listing, MirrorError> {
    let mut walk = Walk::start(work, list).await?;
    walk.pass(Known::Revalidate).await?;
    let mut passes = 1;
    while walk.moved && walk.last_page() > 1 && passes < PASSES {
        walk.pass(Known::Revalidate).await?;
        passes += 1;
    }
    let ids = walk.ids();
    let (mut gone, mut settled) = (Vec::new(), false);
    if walk.moved && walk.last_page() > 1 {
        work.shortfall(format!(
            "`{}` kept changing while it was read {PASSES} times; what slipped through is read by the next run",
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
    let (changed, reader) = (walk.changed, walk.reader());
    Ok(Listing { ids, gone, last_page: walk.last_page(), settled, moved: walk.sent_on, changed, reader })
}

/// Reads all pages of a list that can't change, going on where an earlier reading was cut off. Returns the fingerprints of
/// what it holds.
///
/// # Errors
/// A page could not be had; what was read before it is stored and not read again.
pub async fn read_all(work: &Work, list: &List<'_>) -> Result<HashSet<i64>, MirrorError> {
    let mut walk = Walk::start(work, list).await?;
    if !walk.state.completed {
        walk.pass(Known::Trust).await?;
    }
    walk.complete(None, 0).await?;
    Ok(walk.ids())
}

/// Reads a list from beginning to end, many pages at a time, and goes on where an earlier walk was cut off.
///
/// The proof that nothing slipped through: at its end the list has as many items as at the walk's beginning and those
/// that have come since. Where it has fewer, something was deleted meanwhile, and all pages are looked at again.
///
/// # Errors
/// A page could not be had; what was read before it is stored.
pub async fn backfill(work: &Work, list: &List<'_>, grows: Grows, give_up_deep: bool) -> Result<Backfill, MirrorError> {
    let mut walk = Walk::start(work, list).await?;
    let pending = walk.state.pending.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let pending = pending.filter(|_| walk.pages.contains_key(&1));
    let resumed = pending.is_some();
    let mut beginning: Beginning = match pending {
        Some(beginning) => beginning,
        None => match walk.begin(grows, give_up_deep).await? {
            Some(beginning) => beginning,
            None => return Ok(Backfill::TooDeep),
        },
    };
    // Whatever changes after the walk began must be read again: the watermark is the earlier of the beginning, by the
    // server's clock, and the newest change that was seen.
    let began = beginning.at - Duration::seconds(CLOCK_SLACK_SECONDS);
    walk.pass(if grows == Grows::AtTheFront { Known::TrustBeginning } else { Known::Trust }).await?;
    for pass in 1.. {
        if walk.last_page() == 1 {
            break;
        }
        walk.look_at_ends(grows, beginning.edge).await?;
        let grown = walk.grown(grows, beginning.edge);
        let proven = match beginning.total {
            Some(total) => grown.is_some_and(|grown| walk.total() >= total + grown),
            // Nothing to count with: every page must have been found again as it was.
            None => pass > 1 && !walk.moved,
        };
        if proven {
            if grows == Grows::AtTheFront && grown != Some(0) {
                walk.look_at_seams(grown.unwrap_or(0)).await?;
            }
            break;
        }
        if pass == PASSES {
            work.shortfall(format!(
                "`{}` lost items each of the {PASSES} times that it was read; what slipped through meanwhile is missing \
                 until `--full` reads it again",
                list.name
            ));
            break;
        }
        let total = beginning.total.map(|_| walk.total());
        beginning = walk.remember(Beginning { total, edge: walk.edge(grows), ..beginning }).await?;
        walk.pass(Known::Revalidate).await?;
    }
    let watermark = Some(walk.newest.map_or(began, |newest| began.min(newest)));
    let settled = !work.falls_short();
    let listing = Listing {
        ids: walk.ids(),
        gone: Vec::new(),
        last_page: walk.last_page(),
        settled,
        moved: walk.sent_on,
        changed: walk.changed,
        reader: walk.reader(),
    };
    // The first page's tag lets the next run see for free that nothing has come at the front, or, where it is the only
    // page, that nothing has changed at all.
    let only = walk.last_page() == 1 && walk.total() < PER_PAGE;
    let keep = if grows == Grows::AtTheFront || only { 1 } else { 0 };
    walk.complete(watermark.map(timestamp), keep).await?;
    Ok(Backfill::Whole { watermark, listing, resumed })
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

/// Marks what a complete list no longer holds.
///
/// # Errors
/// A store can't be read or written.
pub async fn mark_gone(work: &Work, collection: Collection, listed: &HashSet<i64>) -> Result<(), MirrorError> {
    if work.falls_short() {
        return Ok(());
    }
    work.flush().await?;
    let gone = not_listed(work, collection, listed).await?;
    mark(work, collection, &gone).await
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
