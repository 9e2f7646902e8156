//! How lists are read: which pages, in which order, and when a list counts as read.
//!
//! | file | reads |
//! |---|---|
//! | `mod.rs` | one page, in halves where the server can't make it in time |
//! | `walk.rs` | a list's numbered pages from beginning to end: as it is now, or once with the proof that nothing was missed |
//! | `changes.rs` | what is new or changed since the last run |

mod changes;
mod walk;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::sync::OwnedSemaphorePermit;

use super::context::{Map, Mapped, Repository, Subject, Work, read_now};
use super::error::MirrorError;
use super::item::split;
use crate::github::{Accept, ApiError, ApiUrl, Fetched, Page};
use crate::store::documents::{Collection, Document};
use crate::store::relational::state::{PageState, fingerprint};

pub use changes::{changed_first, newest_first, one_page, since, timestamp, whole_then_since};
pub use walk::{Backfill, DEEP_PAGE, Grows, backfill, look, mark, mark_gone, not_listed, read_all, snapshot};

/// Items a page: GitHub's maximum (GitHub docs: using pagination).
pub const PER_PAGE: usize = 100;
/// Below this many items a page a server that keeps timing out is not asked for less.
const PER_PAGE_LEAST: u32 = 5;

/// A list of GitHub's.
pub struct List<'a, S = Repository> {
    /// Its name in the sync state.
    pub name: &'a str,
    /// Its URL without `per_page`.
    pub url: ApiUrl,
    /// The form it is asked for in.
    pub accept: Accept,
    /// The collection its items become documents of.
    pub collection: Collection,
    /// How its items become documents and rows.
    pub map: &'a Map<S>,
}

impl<S> List<'_, S> {
    fn first_page(&self) -> ApiUrl {
        self.url.clone().query("per_page", &PER_PAGE.to_string())
    }
}

/// Fingerprints of the list's own documents among these.
fn keys_of<S>(list: &List<'_, S>, documents: &[Document]) -> Vec<i64> {
    let own = documents.iter().filter(|document| document.collection == list.collection);
    own.map(|document| fingerprint(&document.id())).collect()
}

/// One answer of a list, perhaps put together from several smaller requests.
struct Answer {
    bodies: Vec<Bytes>,
    url: ApiUrl,
    next: Option<ApiUrl>,
    last_page: Option<u32>,
    page: Page,
    read_at: DateTime<Utc>,
    /// Its share of the memory that all pages may take.
    room: Option<OwnedSemaphorePermit>,
}

enum Asked {
    Unchanged,
    Answer(Box<Answer>),
}

/// Asks for a page of a list; a page that the server can't make in time is asked for in halves.
async fn ask<S: Subject>(
    work: &Work<S>,
    url: &ApiUrl,
    accept: Accept,
    known: Option<&PageState>,
) -> Result<Asked, MirrorError> {
    let validator = known.filter(|known| known.url == url.to_string()).and_then(|known| known.validator.as_ref());
    let room = work.room_for_a_page().await;
    match work.get(url, accept, validator, can_halve(url)).await {
        Ok(Fetched::Unchanged) => Ok(Asked::Unchanged),
        Ok(Fetched::Page(page)) => {
            work.page_was(page.body.len());
            Ok(Asked::Answer(Box::new(answer(url.clone(), *page, room))))
        }
        Err(MirrorError::Api(ApiError::Unavailable { heavy: true, .. })) if can_halve(url) => {
            drop(room);
            Box::pin(ask_in_halves(work, url, accept)).await
        }
        Err(error) => Err(error),
    }
}

fn answer(url: ApiUrl, page: Page, room: Option<OwnedSemaphorePermit>) -> Answer {
    let (next, last_page) = (page.links.next.clone(), page.links.last_page());
    Answer { bodies: vec![page.body.clone()], next, last_page, url, page, read_at: read_now(), room }
}

impl Answer {
    /// Maps its items. The bodies are not kept: while the writer is waited for, only one form of the page is held.
    fn map<S: Subject>(&mut self, work: &Work<S>, map: &Map<S>) -> Result<Mapped, MirrorError> {
        let _room = self.room.take();
        self.page.body = Bytes::new();
        let bodies = std::mem::take(&mut self.bodies);
        let mut items = Vec::new();
        for body in &bodies {
            items.extend(split(body)?);
        }
        Ok(work.map(map, &items, self.read_at))
    }
}

fn number(url: &ApiUrl, key: &str) -> Option<u32> {
    url.query_value(key).and_then(|value| value.parse().ok())
}

/// Whether a page can be asked for in two smaller ones.
fn can_halve(url: &ApiUrl) -> bool {
    number(url, "per_page").is_some_and(|size| size / 2 >= PER_PAGE_LEAST && size % 2 == 0)
}

async fn ask_in_halves<S: Subject>(work: &Work<S>, url: &ApiUrl, accept: Accept) -> Result<Asked, MirrorError> {
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
    // A half must not wait for room while it holds some.
    first.room = None;
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
        let Asked::Answer(mut answer) = ask(self.work, &url, self.list.accept, None).await? else { return Ok(None) };
        self.next.clone_from(&answer.next);
        answer.map(self.work, self.list.map).map(Some)
    }
}
