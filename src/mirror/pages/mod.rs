//! How lists are read: which pages, in which order, and when a list counts as read.
//!
//! | file | reads |
//! |---|---|
//! | `mod.rs` | one page |
//! | `parts.rs` | one page in smaller parts, where the server can't make it in one |
//! | `walk.rs` | a list's numbered pages from beginning to end: as it is now, or once with the proof that nothing was missed |
//! | `changes.rs` | what is new or changed since the last run |

mod changes;
mod parts;
mod walk;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::sync::OwnedSemaphorePermit;

use super::context::{Map, Mapped, Repository, Subject, Work, read_now};
use super::error::MirrorError;
use super::item::split;
use crate::github::{Accept, ApiUrl, Fetched, Page, VisitedUrls};
use crate::store::documents::{Collection, Document};
use crate::store::relational::state::{PageState, fingerprint};

pub use changes::{changed_first, newest_first, one_page, since, timestamp, whole_then_since};
pub use parts::PartSize;
pub use walk::{Backfill, DEEP_PAGE, Grows, Listing, backfill, look, mark, mark_gone, not_listed, read_all, snapshot};

/// Items a page: GitHub's maximum (GitHub docs: using pagination).
pub const PER_PAGE: usize = 100;

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

/// Asks for a page of a list; one that the server can't make is asked for in smaller parts.
async fn ask<S: Subject>(
    work: &Work<S>,
    url: &ApiUrl,
    accept: Accept,
    known: Option<&PageState>,
) -> Result<Asked, MirrorError> {
    let validator = known.filter(|known| known.url == url.to_string()).and_then(|known| known.validator.as_ref());
    let room = work.room_for_a_page().await;
    let is_divisible = parts::is_divisible(url);
    // What has a tag came in one piece the last time.
    if is_divisible && validator.is_none() && !work.part_size().is_whole() {
        return parts::ask_in_parts(work, url, accept, room).await.map(Asked::Answer);
    }
    match work.get(url, accept, validator, is_divisible).await {
        Ok(Fetched::Unchanged) => Ok(Asked::Unchanged),
        Ok(Fetched::Page(page)) => {
            work.page_was(page.body.len());
            Ok(Asked::Answer(Box::new(answer(url.clone(), *page, room))))
        }
        Err(error) if is_divisible && parts::is_too_much(&error) => {
            work.part_size().failed(PER_PAGE);
            parts::ask_in_parts(work, url, accept, room).await.map(Asked::Answer)
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

/// A list's pages, one after the other, for a reader who decides when it is enough.
pub struct Pages<'a> {
    work: &'a Work,
    list: &'a List<'a>,
    next: Option<ApiUrl>,
    visited: VisitedUrls,
}

impl<'a> Pages<'a> {
    /// Before the first page.
    pub fn new(work: &'a Work, list: &'a List<'a>) -> Self {
        Self { work, list, next: Some(list.first_page()), visited: VisitedUrls::default() }
    }

    /// The next page, mapped and not yet written; `None` behind the last.
    ///
    /// # Errors
    /// The page could not be had.
    pub async fn next(&mut self) -> Result<Option<Mapped>, MirrorError> {
        let Some(url) = self.next.take() else { return Ok(None) };
        self.visited.visit(&url)?;
        let Asked::Answer(mut answer) = ask(self.work, &url, self.list.accept, None).await? else { return Ok(None) };
        self.next.clone_from(&answer.next);
        answer.map(self.work, self.list.map).map(Some)
    }
}
