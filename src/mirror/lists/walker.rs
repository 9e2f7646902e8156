//! Passes over a list's pages.
//!
//! Numbered pages shift while they are fetched: a deletion pulls later items forward, and one that slips from a page
//! not yet fetched to one already fetched is missed. So no walk over several numbered pages ends without a proof: a
//! snapshot ends with a pass that finds every page unchanged, a backfill counts. Pages told apart by cursors don't
//! shift: each begins behind a certain item.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::{DateTime, Utc};
use futures::StreamExt;

use super::successor::Successor;
use super::{List, ListPage, MappedPage, PER_PAGE, PageResult, UNIDENTIFIED, fetch_page, fetch_successor};
use crate::github::{ApiUrl, VisitedUrls};
use crate::mirror::context::StageContext;
use crate::mirror::error::MirrorError;
use crate::mirror::resource::{Repository, Resource};
use crate::store::relational::sync_state::{ListState, PageState};
use crate::store::relational::{RowBatch, SyncUpdate, date};

/// Pages of one list requested concurrently, so that one list does not take the client's whole concurrency.
const MAX_CONCURRENT_PAGES: usize = 8;
/// Maximum number of passes over a list that keeps changing.
pub(super) const MAX_PASSES: usize = 4;

/// The policy of a pass for known pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CachePolicy {
    /// Revalidate each page.
    Revalidate,
    /// Trust all: they were fetched by the walk that this one resumes.
    Trust,
    /// Trust the consecutive pages from the first one on.
    TrustLeading,
}

/// A walk over a list's pages.
pub(super) struct PageWalker<'a, S = Repository> {
    pub ctx: &'a StageContext<S>,
    pub list: &'a List<'a, S>,
    pub state: ListState,
    pub pages: BTreeMap<u32, PageState>,
    /// URL of a numbered page as GitHub writes it.
    template: Option<ApiUrl>,
    /// True if a page came without some of its former items.
    pub shifted: bool,
    /// True if any page has changed.
    pub changed: bool,
    /// True if GitHub answered from another address.
    pub redirected: bool,
    /// Pages that were fetched before their predecessors.
    pub boundaries: Vec<u32>,
    /// Pages that were answered in this walk.
    pub answered: BTreeSet<u32>,
    /// Number of items known before the walk.
    pub held_items: usize,
    /// Token that they were fetched with.
    pub read_before_by: Option<String>,
    /// Time of the walk's first answer, by the server's clock.
    pub started: Option<DateTime<Utc>>,
    /// Newest `updated_at` seen.
    pub newest: Option<DateTime<Utc>>,
}

impl<'a, S: Resource> PageWalker<'a, S> {
    pub(super) async fn start(ctx: &'a StageContext<S>, list: &'a List<'a, S>) -> Result<Self, MirrorError> {
        let state = ctx.list_state(list.name).await?;
        let pages = ctx.run.stores.relational.pages(state.id).await?;
        let mut pages: BTreeMap<_, _> = pages.into_iter().map(|page| (page.page, page)).collect();
        // Pages of another address, such as that of another sorting, tell nothing of this list.
        if pages.get(&1).is_some_and(|page| page.url != list.first_page().to_string()) {
            pages.clear();
        }
        let read_before_by = reader_of(&pages);
        Ok(Self {
            ctx,
            read_before_by,
            list,
            state,
            template: pages.get(&2).and_then(|page| page.url.parse().ok()),
            held_items: pages.values().map(|page| page.keys.len()).sum(),
            pages,
            shifted: false,
            changed: false,
            redirected: false,
            boundaries: Vec::new(),
            answered: BTreeSet::new(),
            started: None,
            newest: None,
        })
    }

    /// Fetches or revalidates all pages once.
    pub(super) async fn pass(&mut self, known: CachePolicy) -> Result<(), MirrorError> {
        self.shifted = false;
        self.boundaries.clear();
        let trusted_to = match known {
            CachePolicy::Revalidate => 0,
            CachePolicy::Trust => u32::MAX,
            CachePolicy::TrustLeading => (1..).find(|page| !self.pages.contains_key(page)).unwrap_or(1) - 1,
        };
        let read = |(number, page): (&u32, &PageState)| {
            (*number <= trusted_to && page.checked_at.is_some()).then_some(*number)
        };
        let mut settled: HashSet<u32> = self.pages.iter().filter_map(read).collect();
        let last_before = self.pages.keys().next_back().copied();
        if settled.insert(1) {
            self.fetch(1, self.list.first_page(), last_before).await?;
        }
        // Where GitHub tells the last page, all of them can be asked for at once; otherwise those that are known.
        let promised = self.pages.get(&1).and_then(|page| page.last_page);
        let last = promised.into_iter().chain(last_before).max().unwrap_or(1);
        let wanted: Vec<u32> = (2..=last)
            .filter(|page| !settled.contains(page))
            .filter(|page| promised.is_some() || self.pages.contains_key(page))
            .collect();
        self.boundaries = self.fetch_concurrently(&wanted, last_before).await?;
        settled.extend(wanted);
        self.follow_next(1, &settled, last_before).await
    }

    /// Fetches pages whose addresses are known. Neighboring pages are fetched one after the other, in a few concurrent
    /// stretches: in a list that grows at its front, an item that is pushed to the next page meanwhile is met there.
    /// Returns the first page of each stretch but the first.
    pub(super) async fn fetch_concurrently(
        &mut self,
        pages: &[u32],
        last_before: Option<u32>,
    ) -> Result<Vec<u32>, MirrorError> {
        let requests: Vec<(u32, ApiUrl, Option<PageState>)> =
            pages.iter().map(|page| (*page, self.url_of(*page), self.pages.get(page).cloned())).collect();
        let stretch = requests.len().div_ceil(MAX_CONCURRENT_PAGES).max(1);
        let (ctx, accept) = (self.ctx, self.list.accept);
        let stretches: Vec<_> = requests
            .chunks(stretch)
            .map(|chunk| {
                futures::stream::iter(chunk.to_vec())
                    .then(move |(page, url, state)| async move {
                        (page, fetch_page(ctx, &url, accept, state.as_ref()).await)
                    })
                    .boxed()
            })
            .collect();
        let boundaries = requests.chunks(stretch).skip(1).filter_map(|chunk| Some(chunk.first()?.0)).collect();
        let mut answers = futures::stream::select_all(stretches);
        while let Some((page, asked)) = answers.next().await {
            match asked? {
                PageResult::Page(answer) => self.store_page(page, *answer, last_before).await?,
                PageResult::NotModified => _ = self.answered.insert(page),
            }
        }
        Ok(boundaries)
    }

    /// Fetches one page, and stores it unless it is unchanged.
    pub(super) async fn fetch(&mut self, page: u32, url: ApiUrl, last_before: Option<u32>) -> Result<(), MirrorError> {
        match fetch_page(self.ctx, &url, self.list.accept, self.pages.get(&page)).await? {
            PageResult::Page(answer) => self.store_page(page, *answer, last_before).await,
            PageResult::NotModified => {
                self.answered.insert(page);
                Ok(())
            }
        }
    }

    /// Returns a page's URL: the known one, or the template with this number.
    pub(super) fn url_of(&self, page: u32) -> ApiUrl {
        let known = self.pages.get(&page).and_then(|state| state.url.parse().ok());
        let template = || self.template.clone().unwrap_or_else(|| self.list.first_page());
        known.unwrap_or_else(|| template().with_query("page", &page.to_string()))
    }

    /// Returns the successor of a known page.
    fn successor(&self, page: u32) -> Successor {
        let Some(state) = self.pages.get(&page) else { return Successor::End };
        let Ok(url) = state.url.parse::<ApiUrl>() else { return Successor::End };
        let link = state.next.as_ref().and_then(|next| next.parse().ok());
        Successor::of(&url, link.as_ref(), state.keys.len())
    }

    /// Returns whether a known page is certainly the last one.
    pub(super) fn has_nothing_behind(&self, page: u32) -> bool {
        self.pages.contains_key(&page) && self.successor(page) == Successor::End
    }

    /// Follows the successors of a page; pages in `settled` need no request.
    pub(super) async fn follow_next(
        &mut self,
        mut page: u32,
        settled: &HashSet<u32>,
        last_before: Option<u32>,
    ) -> Result<(), MirrorError> {
        let mut visited = VisitedUrls::default();
        for before in self.pages.range(..=page).filter_map(|(_, before)| before.url.parse().ok()) {
            visited.visit(&before)?;
        }
        loop {
            let successor = self.successor(page);
            let Some(url) = successor.url() else { return self.trim(page).await };
            if let Err(error) = visited.visit(url) {
                // Drop this page's state: its 304 would hide the bad link.
                self.truncate_pages(page.saturating_sub(1)).await?;
                return Err(error.into());
            }
            let known = self.pages.get(&(page + 1));
            if settled.contains(&(page + 1)) && known.is_some_and(|known| known.url == url.to_string()) {
                page += 1;
                continue;
            }
            match fetch_successor(self.ctx, self.list, &successor, known).await? {
                Some(PageResult::Page(answer)) => self.store_page(page + 1, *answer, last_before).await?,
                Some(PageResult::NotModified) => _ = self.answered.insert(page + 1),
                None => return self.trim(page).await,
            }
            page += 1;
        }
    }

    /// Drops the pages beyond the last one.
    async fn trim(&mut self, last: u32) -> Result<(), MirrorError> {
        if self.pages.keys().next_back().is_some_and(|page| *page > last) {
            self.pages.retain(|page, _| *page <= last);
            self.truncate_pages(last).await?;
        }
        Ok(())
    }

    async fn truncate_pages(&self, last: u32) -> Result<(), MirrorError> {
        let rows =
            RowBatch { sync_updates: vec![SyncUpdate::PagesEnd { list: self.state.id, last }], ..RowBatch::default() };
        self.ctx.write_rows(rows).await
    }

    /// Drops all pages, so that the next walk fetches them unconditionally.
    pub(super) async fn forget_pages(&mut self) -> Result<(), MirrorError> {
        self.pages.clear();
        self.truncate_pages(0).await
    }

    /// Stores a page and its state. `last_before` is the last page known before: later ones are new because the list
    /// has grown.
    pub(super) async fn store_page(
        &mut self,
        number: u32,
        mut answer: ListPage,
        last_before: Option<u32>,
    ) -> Result<(), MirrorError> {
        let mapped = answer.map(self.ctx, self.list)?;
        let validator = answer.validator_if_usable(&mapped);
        let MappedPage { documents, mut rows, newest, keys, unusable, .. } = mapped;
        self.started = self.started.or(Some(answer.answered_at()));
        self.newest = self.newest.max(newest);
        if self.template.is_none() {
            self.template = answer.next.clone().filter(|next| next.query_value("page").is_some());
        }
        self.changed = true;
        self.redirected |= answer.page.redirected;
        self.answered.insert(number);
        let mut next = answer.next.as_ref().map(ToString::to_string);
        match self.pages.get(&number) {
            // It still reaches the item behind which the next page begins.
            Some(before) if is_cursor(before.next.as_deref()) => {
                if before.keys.last().is_some_and(|last| *last != UNIDENTIFIED && keys.contains(last)) {
                    next.clone_from(&before.next);
                }
            }
            Some(before) => self.shifted |= !keys.starts_with(&before.keys),
            None => {
                let by_cursor = is_cursor(Some(&answer.url.to_string()));
                self.shifted |= !by_cursor && last_before.is_none_or(|last| number <= last);
            }
        }
        let page = PageState {
            page: number,
            url: answer.url.to_string(),
            validator,
            last_page: answer.last_page,
            next,
            keys,
            checked_at: (unusable == 0).then(|| date(Utc::now())),
        };
        rows.sync_updates.push(SyncUpdate::Page { list: self.state.id, page: page.clone() });
        self.pages.insert(number, page);
        self.ctx.write(documents, rows).await
    }

    /// Returns whether the pages are told apart by cursors.
    pub(super) fn is_by_cursor(&self) -> bool {
        self.pages.values().any(|page| is_cursor(page.next.as_deref()))
    }

    /// Returns the fingerprint of the token that all pages were fetched with, if it was one.
    pub(super) fn reader(&self) -> Option<String> {
        reader_of(&self.pages)
    }

    /// Returns the fingerprints of all identified items on the known pages.
    pub(super) fn ids(&self) -> HashSet<i64> {
        self.keys().filter(|key| *key != UNIDENTIFIED).collect()
    }

    /// Returns the fingerprints of the items on the known pages, in order.
    pub(super) fn keys(&self) -> impl DoubleEndedIterator<Item = i64> {
        self.pages.values().flat_map(|page| page.keys.iter().copied())
    }

    /// Returns the last page that holds items.
    pub(super) fn last_page(&self) -> u32 {
        self.pages.iter().rev().find(|(_, page)| !page.keys.is_empty()).map_or(1, |(number, _)| *number)
    }

    /// Returns the number of items in GitHub's list, by its page numbers. GitHub hides items after it has cut the
    /// pages: only differences between such totals are exact.
    pub(super) fn total(&self) -> usize {
        let last = self.last_page();
        let on_last = self.pages.get(&last).map_or(0, |page| page.keys.len());
        (last as usize - 1) * PER_PAGE + on_last
    }

    /// Records that the list is complete.
    pub(super) async fn record_completed(&self, watermark: Option<String>, keep_pages: u32) -> Result<(), MirrorError> {
        let list = self.state.id;
        let updates = vec![SyncUpdate::PagesEnd { list, last: keep_pages }, SyncUpdate::Completed { list, watermark }];
        self.ctx.write_sync_state(updates).await
    }
}

fn reader_of(pages: &BTreeMap<u32, PageState>) -> Option<String> {
    let mut tokens = pages.values().map(|page| page.validator.as_ref().map(|validator| &validator.scope));
    let first = tokens.next()??;
    tokens.all(|token| token == Some(first)).then(|| first.clone())
}

fn is_cursor(url: Option<&str>) -> bool {
    url.and_then(|url| url.parse::<ApiUrl>().ok()).is_some_and(|url| url.query_value("after").is_some())
}
