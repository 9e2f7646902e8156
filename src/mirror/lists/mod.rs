//! Sync of lists: which pages to fetch, in which order, and when a list is complete.
//!
//! | file | syncs |
//! |---|---|
//! | `mod.rs` | one page |
//! | `parts.rs`, `part_size.rs` | one page in smaller parts, if the server can't deliver it in one |
//! | `successor.rs` | the page that follows another, even if no link says so |
//! | `walker.rs` | passes over a list's pages |
//! | `snapshot.rs` | a list as it is now, and what it no longer holds |
//! | `backfill.rs` | a list from beginning to end, once, with a proof of completeness |
//! | `since.rs` | changes in a list with a `since` key, and what it no longer holds |
//! | `newest_first.rs` | new items of a list that comes newest first |
//! | `changed_first.rs` | changed items of a list without a `since` key, by the order of change |
//! | `restricted.rs` | absence in lists that depend on the token |
//! | `unlisted_users.rs` | users that a list no longer holds |

mod backfill;
mod changed_first;
mod newest_first;
mod part_size;
mod parts;
pub(super) mod restricted;
mod since;
mod snapshot;
mod successor;
pub(super) mod unlisted_users;
mod walker;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::sync::OwnedSemaphorePermit;

use super::context::{StageContext, read_now};
use super::error::MirrorError;
use super::mapping::item::parse_items;
use super::mapping::{ItemMapper, MappedPage};
use super::resource::{Repository, Resource};
use crate::github::{Accept, ApiError, ApiUrl, Fetched, Page, VisitedUrls};
use crate::store::documents::Collection;
use crate::store::relational::sync_state::{PageState, fingerprint};
use crate::validator::Validator;

pub(super) use backfill::{Backfill, DEEP_PAGE, GrowthEnd, backfill, sync_immutable};
pub(super) use changed_first::sync_recently_changed;
pub(super) use newest_first::{Reach, sync_newest_first};
pub(super) use part_size::PartSize;
pub(super) use since::{Absent, recheck_share, sync_since};
pub(super) use snapshot::{
    Expected, Listing, find_missing, revalidate, revalidate_expecting, revalidate_single_page, sync_snapshot, tombstone,
};
use successor::Successor;

/// Items per page: GitHub's maximum (GitHub docs: using pagination).
pub(super) const PER_PAGE: usize = 100;

/// A list of GitHub's API.
pub(super) struct List<'a, S = Repository> {
    /// Name in the sync state.
    pub name: &'a str,
    /// URL without `per_page`.
    pub url: ApiUrl,
    /// Representation that is requested.
    pub accept: Accept,
    /// Collection of its items' documents.
    pub collection: Collection,
    /// Mapping of its items to documents and rows.
    pub map: &'a ItemMapper<S>,
}

impl<'a, S> List<'a, S> {
    /// Describes a list whose items come as plain JSON.
    pub(super) fn new(name: &'a str, url: ApiUrl, collection: Collection, map: &'a ItemMapper<S>) -> Self {
        Self { name, url, accept: Accept::Json, collection, map }
    }

    /// Requests the items in another representation.
    pub(super) fn accept(self, accept: Accept) -> Self {
        Self { accept, ..self }
    }

    /// Returns the list in another order.
    pub(super) fn sorted(&self, sort: &str, direction: &str) -> Self {
        Self { url: self.url.clone().query("sort", sort).query("direction", direction), ..*self }
    }

    fn first_page(&self) -> ApiUrl {
        self.url.clone().query("per_page", &PER_PAGE.to_string())
    }
}

/// Fingerprint of items that nothing identifies.
const UNIDENTIFIED: i64 = 0;

/// Formats a watermark: a date in the form of GitHub's `since`.
fn timestamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// A page of a list, possibly assembled from several smaller requests.
struct ListPage {
    bodies: Vec<Bytes>,
    url: ApiUrl,
    next: Option<ApiUrl>,
    last_page: Option<u32>,
    page: Page,
    read_at: DateTime<Utc>,
    /// Reserved share of the pages' memory.
    room: Option<OwnedSemaphorePermit>,
}

enum PageResult {
    NotModified,
    Page(Box<ListPage>),
}

/// Fetches a page of a list, in smaller parts if the server can't deliver it in one.
async fn fetch_page<S: Resource>(
    ctx: &StageContext<S>,
    url: &ApiUrl,
    accept: Accept,
    known: Option<&PageState>,
) -> Result<PageResult, MirrorError> {
    let validator = known.filter(|known| known.url == url.to_string()).and_then(|known| known.validator.as_ref());
    let room = ctx.reserve_page_memory().await;
    let is_divisible = parts::is_divisible(url);
    // A page with an ETag was delivered whole last time.
    if is_divisible && validator.is_none() && !ctx.part_size().is_whole() {
        return parts::fetch_split(ctx, url, accept, room).await.map(PageResult::Page);
    }
    match ctx.get(url, accept, validator, is_divisible).await {
        Ok(Fetched::NotModified) => Ok(PageResult::NotModified),
        Ok(Fetched::Page(page)) => {
            ctx.record_page_size(page.body.len());
            Ok(PageResult::Page(Box::new(list_page(url.clone(), *page, room))))
        }
        Err(error) if is_divisible && parts::is_too_much(&error) => {
            ctx.part_size().failed(PER_PAGE);
            parts::fetch_split(ctx, url, accept, room).await.map(PageResult::Page)
        }
        Err(error) => Err(error),
    }
}

fn list_page(url: ApiUrl, page: Page, room: Option<OwnedSemaphorePermit>) -> ListPage {
    let (next, last_page) = (page.links.next.clone(), page.links.last_page());
    ListPage { bodies: vec![page.body.clone()], next, last_page, url, page, read_at: read_now(), room }
}

impl ListPage {
    /// Maps its items and drops the bodies, so that only one form of the page is held while the writer is waited for.
    fn map<S: Resource>(&mut self, ctx: &StageContext<S>, list: &List<'_, S>) -> Result<MappedPage, MirrorError> {
        let _room = self.room.take();
        self.page.body = Bytes::new();
        let bodies = std::mem::take(&mut self.bodies);
        let mut mapped = MappedPage::default();
        for body in &bodies {
            for raw in parse_items(body)? {
                let before = mapped.documents.len();
                if let Err(error) = ctx.map_item(list.map, raw, self.read_at, &mut mapped) {
                    mapped.unusable += 1;
                    ctx.record_incomplete(format!(
                        "`{}`, item {} of {}: {error}",
                        list.name,
                        mapped.keys.len() + 1,
                        self.url
                    ));
                }
                let own = mapped.documents[before..].iter().find(|document| document.collection == list.collection);
                let key = own.map_or(UNIDENTIFIED, |document| fingerprint(&document.id()));
                mapped.keys.push(key);
            }
        }
        Ok(mapped)
    }

    /// Returns the successor of the page, given the number of items on it.
    fn successor(&self, shown: usize) -> Successor {
        Successor::of(&self.url, self.next.as_ref(), shown)
    }

    /// Returns the time of the answer by the server's clock, or by ours if the answer has none.
    fn answered_at(&self) -> DateTime<Utc> {
        self.page.date.unwrap_or(self.read_at)
    }

    /// Returns the validator of a page whose items are all usable; a page with an unusable item is fetched again
    /// unconditionally.
    fn validator_if_usable(&self, mapped: &MappedPage) -> Option<Validator> {
        self.page.validator.clone().filter(|_| mapped.unusable == 0)
    }
}

fn query_number(url: &ApiUrl, key: &str) -> Option<u32> {
    url.query_value(key).and_then(|value| value.parse().ok())
}

/// Fetches the successor of a page; `None` if there is none.
async fn fetch_successor<S: Resource>(
    ctx: &StageContext<S>,
    list: &List<'_, S>,
    successor: &Successor,
    known: Option<&PageState>,
) -> Result<Option<PageResult>, MirrorError> {
    let Some(url) = successor.url() else { return Ok(None) };
    match fetch_page(ctx, url, list.accept, known).await {
        Ok(asked) => Ok(Some(asked)),
        Err(MirrorError::Api(error)) if successor.is_probable() && error.is_past_the_end() => {
            if let ApiError::Unprocessable { message, .. } = &error
                && message.contains("cursor")
            {
                ctx.record_incomplete(format!(
                    "`{}` may continue behind {url}, which GitHub rejects: {message}",
                    list.name
                ));
            }
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Pages of a list one after the other, for callers that decide when to stop.
pub(super) struct Pages<'a> {
    ctx: &'a StageContext,
    list: &'a List<'a>,
    next: Successor,
    visited: VisitedUrls,
}

impl<'a> Pages<'a> {
    /// Starts before the first page.
    pub(super) fn new(ctx: &'a StageContext, list: &'a List<'a>) -> Self {
        Self { ctx, list, next: Successor::Linked(list.first_page()), visited: VisitedUrls::default() }
    }

    /// Fetches and maps the next page, without storing it; `None` behind the last.
    ///
    /// # Errors
    /// The page could not be had.
    pub(super) async fn next(&mut self) -> Result<Option<MappedPage>, MirrorError> {
        let next = std::mem::replace(&mut self.next, Successor::End);
        next.visit(&mut self.visited)?;
        let Some(PageResult::Page(mut answer)) = fetch_successor(self.ctx, self.list, &next, None).await? else {
            return Ok(None);
        };
        let page = answer.map(self.ctx, self.list)?;
        self.next = answer.successor(page.keys.len());
        Ok((!page.keys.is_empty()).then_some(page))
    }
}
