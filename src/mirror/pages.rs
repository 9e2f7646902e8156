//! How lists are read: which pages, in which order, and when a list counts as read.
//!
//! - [`snapshot`] asks for every page each time, conditionally: an unchanged page is free, and what no page holds any
//!   more is known to be gone. For lists without a key to read on from.
//! - [`backfill`] reads a list once from beginning to end, many pages at a time, and proves that it missed nothing.
//! - [`since`] reads what changed from a watermark on, in the order of change.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use chrono::{DateTime, Duration, Utc};
use futures::StreamExt;

use super::context::{Map, Mapped, Work, page_validator, read_now};
use super::error::MirrorError;
use super::item::split;
use crate::github::{Accept, ApiError, ApiUrl, Fetched, Page};
use crate::store::documents::Collection;
use crate::store::relational::Rows;
use crate::store::relational::rows::Progress;
use crate::store::relational::state::{ListState, PageState};

/// Items a page: GitHub's maximum (GitHub docs: using pagination).
pub const PER_PAGE: usize = 100;
/// Below this many items a page a server that keeps timing out is not asked for less.
const PER_PAGE_LEAST: u32 = 5;
/// Pages of one list in flight. The client's own bound is over all lists; this one keeps one list from taking it all.
const PAGES_IN_FLIGHT: usize = 8;
/// Lists that are said to end at or beyond this page may be ending at GitHub's cap (some do at 300 to 400 pages).
pub const DEEP_PAGE: u32 = 300;
/// How often a list that keeps changing while it is read is read again.
const PASSES: usize = 4;

/// A list of GitHub's.
pub struct List<'a> {
    /// Its name in the sync state.
    pub name: &'a str,
    /// Its URL without `per_page`.
    pub url: ApiUrl,
    /// The form it is asked for in.
    pub accept: Accept,
    /// The collection its items become documents of.
    pub collection: Collection,
    /// How its items become documents and rows.
    pub map: &'a Map,
}

impl List<'_> {
    fn first_page(&self) -> ApiUrl {
        self.url.clone().query("per_page", &PER_PAGE.to_string())
    }
}

/// What reading a list showed.
#[derive(Default)]
pub struct Listing {
    /// The ids of the documents that its pages hold.
    pub ids: HashSet<String>,
    /// Documents of the repository that no page holds any more.
    pub gone: Vec<String>,
    /// The last page.
    pub last_page: u32,
}

/// One answer of a list, perhaps put together from several smaller requests.
struct Answer {
    bodies: Vec<Bytes>,
    url: ApiUrl,
    next: Option<ApiUrl>,
    last_page: Option<u32>,
    page: Page,
    read_at: DateTime<Utc>,
}

enum Asked {
    Unchanged,
    Answer(Box<Answer>),
}

/// Asks for a page of a list; a page that the server can't make in time is asked for in halves.
async fn ask(work: &Work, url: &ApiUrl, accept: Accept, known: Option<&PageState>) -> Result<Asked, MirrorError> {
    let validator = known.filter(|known| known.url == url.to_string()).and_then(|known| known.validator.as_ref());
    match work.get(url, accept, validator).await {
        Ok(Fetched::Unchanged) => Ok(Asked::Unchanged),
        Ok(Fetched::Page(page)) => Ok(Asked::Answer(Box::new(answer(url.clone(), *page)))),
        Err(MirrorError::Api(ApiError::Unavailable { heavy: true, .. })) if can_halve(url) => {
            Box::pin(ask_in_halves(work, url, accept)).await
        }
        Err(error) => Err(error),
    }
}

fn answer(url: ApiUrl, page: Page) -> Answer {
    let (next, last_page) = (page.links.next.clone(), page.links.last_page());
    Answer { bodies: vec![page.body.clone()], next, last_page, url, page, read_at: read_now() }
}

impl Answer {
    fn map(&self, work: &Work, map: &Map) -> Result<Mapped, MirrorError> {
        let mut items = Vec::new();
        for body in &self.bodies {
            items.extend(split(body)?);
        }
        Ok(work.map(map, &items, self.read_at))
    }
}

fn number(url: &ApiUrl, key: &str) -> Option<u32> {
    url.query_value(key).and_then(|value| value.parse().ok())
}

fn can_halve(url: &ApiUrl) -> bool {
    number(url, "per_page").is_some_and(|size| size / 2 >= PER_PAGE_LEAST && size % 2 == 0)
}

async fn ask_in_halves(work: &Work, url: &ApiUrl, accept: Accept) -> Result<Asked, MirrorError> {
    let size = number(url, "per_page").unwrap_or(100) / 2;
    let smaller = url.clone().with_query("per_page", &size.to_string());
    if url.query_value("after").is_some() {
        // A cursor says where to go on whatever the page's size.
        return ask(work, &smaller, accept, None).await;
    }
    let page = number(url, "page").unwrap_or(1);
    let half = |which: u32| smaller.clone().with_query("page", &(2 * page - 2 + which).to_string());
    let first_url = if page == 1 { smaller.clone() } else { half(1) };
    let Asked::Answer(mut first) = ask(work, &first_url, accept, None).await? else { return Ok(Asked::Unchanged) };
    let whole = |link: Option<ApiUrl>| {
        link.map(|link| {
            link.with_query("per_page", &(2 * size).to_string()).with_query("page", &(page + 1).to_string())
        })
    };
    if first.next.is_some() {
        let Asked::Answer(second) = ask(work, &half(2), accept, None).await? else { return Ok(Asked::Unchanged) };
        first.bodies.extend(second.bodies);
        first.next = whole(second.next);
    }
    first.last_page = first.last_page.map(|last| last.div_ceil(2));
    // The tags are of the halves, and of no use for the whole.
    first.page.validator = None;
    first.url = url.clone();
    Ok(Asked::Answer(first))
}

/// A walk over a list's numbered pages.
struct Walk<'a> {
    work: &'a Work,
    list: &'a List<'a>,
    state: ListState,
    pages: BTreeMap<u32, PageState>,
    /// When the walk's first answer came, by the server's clock.
    started: Option<DateTime<Utc>>,
    /// The newest `updated_at` seen.
    newest: Option<DateTime<Utc>>,
}

/// What a pass does with pages that are known.
#[derive(Clone, Copy, PartialEq)]
enum Known {
    /// Asks for them conditionally.
    Revalidate,
    /// Takes them as read: they were, by the walk that this one goes on with.
    Trust,
}

impl<'a> Walk<'a> {
    async fn start(work: &'a Work, list: &'a List<'a>) -> Result<Self, MirrorError> {
        let relational = &work.shared.stores.relational;
        let state = relational.list(work.project(), list.name).await?;
        let pages = relational.pages(state.id).await?.into_iter().map(|page| (page.page, page)).collect();
        Ok(Self { work, list, state, pages, started: None, newest: None })
    }

    /// Reads all pages once. Returns whether any of them had changed.
    async fn pass(&mut self, known: Known) -> Result<bool, MirrorError> {
        let mut changed = false;
        let mut next = None;
        let mut last = self.pages.keys().next_back().copied().unwrap_or(1);
        if known == Known::Revalidate || !self.pages.contains_key(&1) {
            let url = self.list.first_page();
            match ask(self.work, &url, self.list.accept, self.validator(1, last)).await? {
                Asked::Unchanged => {}
                Asked::Answer(answer) => {
                    changed = true;
                    next.clone_from(&answer.next);
                    last = answer.last_page.unwrap_or(1);
                    self.take(1, *answer).await?;
                }
            }
        } else if let Some(promised) = self.pages.get(&1).and_then(|page| page.last_page) {
            last = last.max(promised);
        }
        if last == 1 {
            // No `last`, or only one page: pages are followed one by one.
            self.follow(1, next).await?;
            return Ok(changed);
        }
        let wanted: Vec<u32> =
            (2..=last).filter(|page| known == Known::Revalidate || !self.pages.contains_key(page)).collect();
        // A page's URL is the one that GitHub gave, with another number.
        let template = match &next {
            Some(next) => next.clone(),
            None => self.pages.get(&2).and_then(|page| page.url.parse().ok()).unwrap_or_else(|| self.list.first_page()),
        };
        let (work, accept) = (self.work, self.list.accept);
        let requests: Vec<_> = wanted
            .into_iter()
            .map(|page| {
                (page, template.clone().with_query("page", &page.to_string()), self.validator(page, last).cloned())
            })
            .collect();
        let mut answers = futures::stream::iter(requests)
            .map(|(page, url, state)| async move { (page, ask(work, &url, accept, state.as_ref()).await) })
            .buffer_unordered(PAGES_IN_FLIGHT);
        let mut after_last = None;
        while let Some((page, asked)) = answers.next().await {
            if let Asked::Answer(answer) = asked? {
                changed = true;
                if page == last {
                    after_last.clone_from(&answer.next);
                }
                self.take(page, *answer).await?;
            }
        }
        drop(answers);
        self.follow(last, after_last).await?;
        Ok(changed)
    }

    /// The validator for a page. A last page that is full gets none: an unchanged answer could not tell that the list
    /// has grown a page beyond it.
    fn validator(&self, page: u32, last: u32) -> Option<&PageState> {
        self.pages.get(&page).filter(|state| page < last || state.keys.len() < PER_PAGE)
    }

    async fn follow(&mut self, mut page: u32, mut next: Option<ApiUrl>) -> Result<(), MirrorError> {
        while let Some(url) = next.take() {
            page += 1;
            let state = self.pages.get(&page).cloned();
            match ask(self.work, &url, self.list.accept, state.as_ref()).await? {
                Asked::Unchanged => {}
                Asked::Answer(answer) => {
                    next.clone_from(&answer.next);
                    self.take(page, *answer).await?;
                }
            }
        }
        self.trim(page).await
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

    /// Stores a page that came, with its state.
    async fn take(&mut self, number: u32, answer: Answer) -> Result<(), MirrorError> {
        let Mapped { documents, mut rows, newest } = answer.map(self.work, self.list.map)?;
        self.started = self.started.or(answer.page.date).or(Some(answer.read_at));
        self.newest = self.newest.max(newest);
        let keys =
            documents.iter().filter(|document| document.collection == self.list.collection).map(|d| d.id()).collect();
        let page = PageState {
            page: number,
            url: answer.url.to_string(),
            validator: page_validator(&answer.page),
            last_page: answer.last_page,
            keys,
        };
        rows.progress.push(Progress::Page { list: self.state.id, page: page.clone() });
        self.pages.insert(number, page);
        self.work.write(documents, rows).await
    }

    fn ids(&self) -> HashSet<String> {
        self.pages.values().flat_map(|page| page.keys.iter().cloned()).collect()
    }

    fn last_page(&self) -> u32 {
        self.pages.keys().next_back().copied().unwrap_or(1)
    }

    /// How many items GitHub's list has, by its page numbers.
    fn total(&self) -> usize {
        let last = self.last_page();
        let on_last = self.pages.get(&last).map_or(0, |page| page.keys.len());
        (last as usize - 1) * PER_PAGE + on_last
    }

    async fn complete(self, watermark: Option<String>, keep_pages: bool) -> Result<(), MirrorError> {
        let step = Progress::Completed { list: self.state.id, watermark, keep_pages };
        let rows = Rows { progress: vec![step], ..Default::default() };
        self.work.write(Vec::new(), rows).await
    }
}

/// Reads a list as it is now: every page, conditionally, and finds what has gone from it.
///
/// # Errors
/// A page could not be had; what was read before it is stored.
pub async fn snapshot(work: &Work, list: &List<'_>) -> Result<Listing, MirrorError> {
    let mut walk = Walk::start(work, list).await?;
    let mut changed = walk.pass(Known::Revalidate).await?;
    let mut gone = Vec::new();
    // Where an item could not be understood, it is not known what the list holds.
    let passes = if work.falls_short() { 0 } else { PASSES };
    for pass in 1..=passes {
        work.flush().await?;
        gone = not_listed(work, list.collection, &walk.ids()).await?;
        // An item may slip from one page to another between two requests: before anything counts as gone from a list
        // of several pages, a whole pass must have shown all of them unchanged.
        if gone.is_empty() || !changed || walk.last_page() == 1 {
            break;
        }
        if pass == PASSES {
            work.shortfall(format!(
                "`{}` kept changing while it was read; deletions are looked for next time",
                list.name
            ));
            gone.clear();
            break;
        }
        changed = walk.pass(Known::Revalidate).await?;
    }
    work.mark_deleted(list.collection, &gone).await?;
    let listing = Listing { ids: walk.ids(), gone, last_page: walk.last_page() };
    if !walk.state.completed || changed {
        walk.complete(None, true).await?;
    }
    Ok(listing)
}

/// Reads all pages of a list that can't change, going on where an earlier reading was cut off.
///
/// # Errors
/// A page could not be had; what was read before it is stored and not read again.
pub async fn read_all(work: &Work, list: &List<'_>) -> Result<(), MirrorError> {
    let mut walk = Walk::start(work, list).await?;
    if !walk.state.completed {
        walk.pass(Known::Trust).await?;
    }
    walk.complete(None, false).await
}

/// A list's pages, one after the other, for a reader who decides when it is enough.
pub struct Pages<'a> {
    work: &'a Work,
    list: &'a List<'a>,
    next: Option<ApiUrl>,
}

impl<'a> Pages<'a> {
    /// Before the first page.
    pub fn new(work: &'a Work, list: &'a List<'a>) -> Self {
        Self { work, list, next: Some(list.first_page()) }
    }

    /// The next page, mapped and not yet written; `None` behind the last.
    ///
    /// # Errors
    /// The page could not be had.
    pub async fn next(&mut self) -> Result<Option<Mapped>, MirrorError> {
        let Some(url) = self.next.take() else { return Ok(None) };
        let Asked::Answer(answer) = ask(self.work, &url, self.list.accept, None).await? else { return Ok(None) };
        self.next.clone_from(&answer.next);
        answer.map(self.work, self.list.map).map(Some)
    }
}

/// Documents of the repository that are not among `listed`.
///
/// # Errors
/// The store could not be read.
pub async fn not_listed(
    work: &Work,
    collection: Collection,
    listed: &HashSet<String>,
) -> Result<Vec<String>, MirrorError> {
    const IDS_AT_A_TIME: u32 = 1000;
    let name = &work.repository().name;
    let documents = &work.shared.stores.documents;
    let (mut gone, mut after) = (Vec::new(), String::new());
    loop {
        let ids = documents.ids_after(collection, name.owner(), name.name(), &after, IDS_AT_A_TIME).await?;
        let Some(last) = ids.last() else { return Ok(gone) };
        after.clone_from(last);
        gone.extend(ids.into_iter().filter(|id| !listed.contains(id)));
    }
}

/// Which end of a list new items come to.
#[derive(Clone, Copy, PartialEq)]
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
        /// From here on [`since`] (or its like) reads what changed during and after the walk.
        watermark: Option<DateTime<Utc>>,
        /// Documents that a complete list no longer holds.
        listing: Listing,
    },
    /// The list is so long that its page numbers may end before it does; nothing was read but its first page.
    TooDeep,
}

/// Reads a list from beginning to end, many pages at a time, and goes on where an earlier walk was cut off.
///
/// Items may shift between pages while it reads. So it counts: the different items that it has seen must be as many
/// as GitHub's page numbers say the list has, or it reads the changed pages again.
///
/// # Errors
/// A page could not be had; what was read before it is stored and not read again.
pub async fn backfill(work: &Work, list: &List<'_>, grows: Grows, give_up_deep: bool) -> Result<Backfill, MirrorError> {
    let mut walk = Walk::start(work, list).await?;
    walk.started = walk.state.pending.as_deref().and_then(super::item::parse_date);
    let first = walk.list.first_page();
    if !walk.pages.contains_key(&1) {
        let Asked::Answer(answer) = ask(work, &first, list.accept, None).await? else {
            return Err(MirrorError::Answer(format!("{first} answered 304 to an unconditional request")));
        };
        if give_up_deep && answer.last_page.is_some_and(|last| last >= DEEP_PAGE) {
            return Ok(Backfill::TooDeep);
        }
        let started = answer.page.date.unwrap_or(answer.read_at);
        work.shared.stores.relational.set_pending(walk.state.id, &started.to_rfc3339()).await?;
        walk.take(1, *answer).await?;
        walk.started = Some(started);
    }
    walk.pass(Known::Trust).await?;
    for pass in 1..=PASSES {
        let (seen, total) = (walk.ids().len(), end_of(&mut walk, grows).await?);
        if walk.ids().len() == total || walk.last_page() == 1 {
            break;
        }
        if pass == PASSES {
            work.shortfall(format!(
                "`{}` kept changing while it was read: {seen} of about {total} items were seen; `--full` reads it again",
                list.name
            ));
            break;
        }
        walk.pass(Known::Revalidate).await?;
    }
    // Whatever changes after the walk began must be read again: the watermark is the earlier of the beginning, by the
    // server's clock, and the newest change that was seen.
    let before_start = walk.started.map(|started| started - Duration::seconds(CLOCK_SLACK_SECONDS));
    let watermark = match (before_start, walk.newest) {
        (Some(start), Some(newest)) => Some(start.min(newest)),
        (start, newest) => newest.or(start),
    };
    let listing = Listing { ids: walk.ids(), gone: Vec::new(), last_page: walk.last_page() };
    let text = watermark.map(timestamp);
    walk.complete(text, false).await?;
    Ok(Backfill::Whole { watermark, listing })
}

/// Reads a list with a `since` key: whole the first time, many pages at a time where its length allows that, and from
/// the watermark on afterwards. `list.url` is the list's URL without a sorting.
///
/// # Errors
/// A page could not be had; what was read before it is stored.
pub async fn whole_then_since(work: &Work, list: &List<'_>) -> Result<(), MirrorError> {
    let sorted = |by: &str| List { url: list.url.clone().query("sort", by).query("direction", "asc"), ..*list };
    let state = work.shared.stores.relational.list(work.project(), list.name).await?;
    if state.watermark.is_none()
        && let Backfill::Whole { listing, .. } = backfill(work, &sorted("created"), Grows::AtTheBack, true).await?
    {
        return mark_gone(work, list.collection, &listing.ids).await;
    }
    match since(work, &sorted("updated")).await? {
        Some(seen) => mark_gone(work, list.collection, &seen).await,
        None => Ok(()),
    }
}

/// Reads what is new in a list whose items never change and come newest first: page after page, until one holds
/// nothing but what is known.
///
/// # Errors
/// A page could not be had; what was read before it is stored, and the next run reads on to where this one began.
pub async fn newest_first(work: &Work, list: &List<'_>) -> Result<(), MirrorError> {
    let relational = &work.shared.stores.relational;
    let state = relational.list(work.project(), list.name).await?;
    let known = relational.pages(state.id).await?.into_iter().next();
    let first = list.first_page();
    let mut url = first.clone();
    let mut first_page = None;
    loop {
        let answer = match ask(work, &url, list.accept, known.as_ref()).await? {
            Asked::Unchanged => break,
            Asked::Answer(answer) => answer,
        };
        if first_page.is_none() {
            first_page = Some(PageState {
                page: 1,
                url: first.to_string(),
                validator: page_validator(&answer.page),
                last_page: None,
                keys: Vec::new(),
            });
        }
        let Mapped { documents, rows, .. } = answer.map(work, list.map)?;
        // A list that was never read to its end may hold gaps behind what is known.
        let mut news = !state.completed;
        for document in documents.iter().filter(|document| document.collection == list.collection) {
            news = news || work.shared.stores.documents.get(list.collection, &document.id()).await?.is_none();
        }
        work.write(documents, rows).await?;
        match answer.next {
            Some(next) if news => url = next,
            _ => break,
        }
    }
    // Only now: a run that is cut off before must not take the first page for all there was.
    let Some(page) = first_page else { return Ok(()) };
    let progress = vec![
        Progress::Page { list: state.id, page },
        Progress::Completed { list: state.id, watermark: Some(timestamp(read_now())), keep_pages: true },
    ];
    work.write(Vec::new(), Rows { progress, ..Rows::default() }).await
}

/// Reads what changed in a list that has no `since` key but can be sorted by change, newest first: until an item is
/// older than the watermark, which `watermarked` keeps.
///
/// The watermark moves to the first item's change, and only when all is read: an item that changes meanwhile moves to
/// the front, where the next run finds it.
///
/// # Errors
/// A page could not be had; what was read before it is stored, and the next run reads down to the same watermark.
pub async fn changed_first(
    work: &Work,
    list: &List<'_>,
    watermarked: &List<'_>,
    watermark: Option<DateTime<Utc>>,
) -> Result<(), MirrorError> {
    let relational = &work.shared.stores.relational;
    let state = relational.list(work.project(), list.name).await?;
    let keeper = relational.list(work.project(), watermarked.name).await?;
    let known = relational.pages(state.id).await?.into_iter().next();
    let mut url = list.first_page();
    let mut begun: Option<(PageState, Option<DateTime<Utc>>)> = None;
    loop {
        let answer = match ask(work, &url, list.accept, known.as_ref()).await? {
            Asked::Unchanged => break,
            Asked::Answer(answer) => answer,
        };
        let Mapped { documents, rows, newest } = answer.map(work, list.map)?;
        if begun.is_none() {
            let page = PageState {
                page: 1,
                url: url.to_string(),
                validator: page_validator(&answer.page),
                last_page: None,
                keys: Vec::new(),
            };
            begun = Some((page, newest));
        }
        let oldest = rows.pulls.iter().filter_map(|pull| pull.updated_at).min();
        work.write(documents, rows).await?;
        let reached = watermark.is_some() && oldest < watermark;
        match answer.next {
            Some(next) if !reached => url = next,
            _ => break,
        }
    }
    let Some((page, newest)) = begun else { return Ok(()) };
    let watermark = newest.max(watermark).map(timestamp);
    let progress = vec![
        Progress::Page { list: state.id, page },
        Progress::Completed { list: state.id, watermark: None, keep_pages: true },
        Progress::Completed { list: keeper.id, watermark, keep_pages: true },
    ];
    work.write(Vec::new(), Rows { progress, ..Rows::default() }).await
}

/// Marks what a complete list no longer holds.
///
/// # Errors
/// A store can't be read or written.
pub async fn mark_gone(work: &Work, collection: Collection, listed: &HashSet<String>) -> Result<(), MirrorError> {
    if work.falls_short() {
        return Ok(());
    }
    work.flush().await?;
    let gone = not_listed(work, collection, listed).await?;
    work.mark_deleted(collection, &gone).await
}

/// How far behind the web GitHub's API answers may be.
const CLOCK_SLACK_SECONDS: i64 = 60;

/// Looks again at the end where the list grows, takes what is new there, and returns how many items the list has.
async fn end_of(walk: &mut Walk<'_>, grows: Grows) -> Result<usize, MirrorError> {
    let last = walk.last_page();
    let page = if grows == Grows::AtTheFront { 1 } else { last };
    let Some(known) = walk.pages.get(&page).cloned() else { return Ok(walk.total()) };
    if last == 1 {
        return Ok(walk.total());
    }
    let Some(url) = known.url.parse::<ApiUrl>().ok() else { return Ok(walk.total()) };
    let Asked::Answer(answer) = ask(walk.work, &url, walk.list.accept, Some(&known)).await? else {
        return Ok(walk.total());
    };
    let (next, now_last) = (answer.next.clone(), answer.last_page);
    walk.take(page, *answer).await?;
    match (grows, now_last) {
        (Grows::AtTheBack, _) => walk.follow(last, next).await?,
        (Grows::AtTheFront, Some(now_last)) => {
            let url = url_of_page(next.unwrap_or(url), now_last);
            if let Asked::Answer(answer) = ask(walk.work, &url, walk.list.accept, None).await? {
                walk.take(now_last, *answer).await?;
            }
        }
        (Grows::AtTheFront, None) => {}
    }
    Ok(walk.total())
}

fn url_of_page(template: ApiUrl, page: u32) -> ApiUrl {
    template.with_query("page", &page.to_string())
}

/// A watermark's text: a date as GitHub's `since` takes it.
pub fn timestamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// Reads what changed since the list's watermark, in the order of change, and moves the watermark along with every
/// page: cut off anywhere, the next run goes on from there.
///
/// The list's URL sorts by `updated`, ascending. Without a watermark it begins at the beginning: `since` is then left
/// out, because some of GitHub's lists answer nothing to the epoch.
///
/// A walk that began at the beginning and was not cut off returns the ids it saw: with them, what is gone can be told.
///
/// # Errors
/// A page could not be had; what was read before it is stored.
pub async fn since(work: &Work, list: &List<'_>) -> Result<Option<HashSet<String>>, MirrorError> {
    let relational = &work.shared.stores.relational;
    let state = relational.list(work.project(), list.name).await?;
    let known = relational.pages(state.id).await?.into_iter().next();
    let from = |watermark: &Option<String>| match watermark {
        Some(watermark) => list.first_page().query("since", watermark),
        None => list.first_page(),
    };
    let mut watermark = state.watermark;
    let mut url = from(&watermark);
    let mut seen = watermark.is_none().then(HashSet::new);
    loop {
        let answer = match ask(work, &url, list.accept, known.as_ref()).await? {
            Asked::Unchanged => return Ok(None),
            Asked::Answer(answer) => answer,
        };
        let before = watermark.clone();
        let Mapped { documents, mut rows, newest } = answer.map(work, list.map)?;
        watermark = watermark.max(newest.map(timestamp));
        if let Some(watermark) = &watermark {
            rows.progress.push(Progress::Watermark { list: state.id, watermark: watermark.clone() });
        }
        let is_last = answer.next.is_none();
        if is_last {
            // The next run asks from this watermark; when that is what this request asked, its tag answers for it.
            if url == from(&watermark) {
                let page = PageState {
                    page: 1,
                    url: url.to_string(),
                    validator: page_validator(&answer.page),
                    last_page: None,
                    keys: Vec::new(),
                };
                rows.progress.push(Progress::Page { list: state.id, page });
            }
            rows.progress.push(Progress::Completed { list: state.id, watermark: watermark.clone(), keep_pages: true });
        }
        if let Some(seen) = &mut seen {
            seen.extend(documents.iter().filter(|document| document.collection == list.collection).map(|d| d.id()));
        }
        work.write(documents, rows).await?;
        let Some(next) = answer.next else { return Ok(seen) };
        // A cursor is followed as it is. Numbered pages would shift under a change: there the next request begins at
        // the new watermark instead, as long as that moves.
        let numbered = next.query_value("after").is_none();
        url = if numbered && watermark != before { from(&watermark) } else { next };
    }
}
