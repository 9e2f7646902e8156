//! Pages that a server can't make in one piece: they are asked for in smaller ones.

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::{Answer, PER_PAGE, answer, number};
use crate::github::{Accept, ApiError, ApiUrl, Fetched, Page};
use crate::mirror::context::{Subject, Work};
use crate::mirror::error::MirrorError;
use crate::mirror::item::split;

/// The sizes that a page is asked for in, largest first. Each divides [`PER_PAGE`], so that parts can be numbered; a server
/// that can't make even one item has failed.
const SIZES: [usize; 6] = [PER_PAGE, 50, 25, 10, 5, 1];
/// Whole pages that are read in small parts before a larger part is tried again that failed twice.
const MIN_HOLD: u32 = 2;
/// No more pages are read in small parts before that.
const MAX_HOLD: u32 = 64;

/// How many items the server makes at a time, as one stage has learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartSize {
    /// Index into [`SIZES`] of what is asked for next.
    at: usize,
    /// Whether that is larger than what succeeded last.
    trial: bool,
    /// Pages to read before a larger part is tried.
    hold: u32,
    /// The next `hold`.
    next_hold: u32,
}

impl Default for PartSize {
    fn default() -> Self {
        Self { at: 0, trial: false, hold: 0, next_hold: MIN_HOLD }
    }
}

impl PartSize {
    /// Returns whether whole pages are asked for.
    pub fn is_whole(&self) -> bool {
        self.at == 0
    }

    /// The size to ask for at this place of a page: where parts are numbered, only multiples of a size can be reached.
    fn at_place(&self, place: usize, numbered: bool) -> usize {
        let fits = |size: &usize| place + size <= PER_PAGE && (!numbered || place.is_multiple_of(*size));
        SIZES.iter().skip(self.at).copied().find(fits).unwrap_or(1)
    }

    /// Records that the server has made a part of this size.
    fn succeeded(&mut self, size: usize) {
        // A part that had to be smaller, to reach a place, proves nothing.
        if SIZES.get(self.at) == Some(&size) {
            self.trial = self.at > 0 && self.hold == 0;
            self.at -= usize::from(self.trial);
        }
    }

    /// Records that it could not; `false` where there is no smaller size.
    pub(super) fn failed(&mut self, size: usize) -> bool {
        let Some(smaller) = SIZES.iter().position(|other| *other < size) else { return false };
        if self.trial {
            self.hold = self.next_hold;
            self.next_hold = (self.next_hold * 2).min(MAX_HOLD);
        }
        self.trial = false;
        self.at = smaller;
        true
    }

    /// Records the end of a page.
    fn page_ended(&mut self) {
        self.hold = self.hold.saturating_sub(1);
    }
}

/// Returns whether an error means that a smaller part may succeed.
pub(super) fn is_too_much(error: &MirrorError) -> bool {
    matches!(error, MirrorError::Api(ApiError::Unavailable { heavy: true, .. }))
}

/// Returns whether a page can be asked for in smaller parts.
pub(super) fn is_divisible(url: &ApiUrl) -> bool {
    number(url, "per_page").is_some_and(|size| size as usize == PER_PAGE)
}

/// Reads one whole page in parts, as large as the server makes them; where it makes larger ones again, so do they grow.
pub(super) async fn ask_in_parts<S: Subject>(
    work: &Work<S>,
    url: &ApiUrl,
    accept: Accept,
    room: Option<OwnedSemaphorePermit>,
) -> Result<Box<Answer>, MirrorError> {
    let first_number = number(url, "page").unwrap_or(1).max(1) as usize;
    let mut read: Option<(Page, Vec<Bytes>)> = None;
    let mut last_page = None;
    let (mut place, mut next) = (0, None);
    while place < PER_PAGE {
        let is_cursor = |url: &ApiUrl| url.query_value("page").is_none() && url.query_value("after").is_some();
        // A cursor says where to go on whatever the part's size; numbers count parts of one size.
        let cursor = next.as_ref().or(Some(url)).filter(|from| is_cursor(from));
        let size = work.part_size().at_place(place, cursor.is_none());
        let text = size.to_string();
        let part = match cursor {
            Some(cursor) => cursor.clone().with_query("per_page", &text),
            None => match ((first_number - 1) * PER_PAGE + place) / size {
                0 => url.clone().with_query("per_page", &text),
                before => url.clone().with_query("per_page", &text).with_query("page", &(before + 1).to_string()),
            },
        };
        let page = match work.get(&part, accept, None, size > 1).await {
            Ok(Fetched::Page(page)) => *page,
            Ok(Fetched::Unchanged) => {
                return Err(MirrorError::Answer(format!("{part} answered 304 to an unconditional request")));
            }
            Err(error) if is_too_much(&error) && work.part_size().failed(size) => {
                tracing::warn!(%part, size, "the server can't make so much at a time");
                continue;
            }
            Err(error) => return Err(error),
        };
        work.part_size().succeeded(size);
        place += size;
        if let Some(last) = page.links.last_page() {
            let items = last as usize * size;
            last_page = u32::try_from(items.div_ceil(PER_PAGE)).ok();
        }
        let body = page.body.clone();
        // A part that is half empty and leads nowhere is the list's end.
        let ends = page.links.next.is_none() && (cursor.is_some() || split(&body)?.len() < size.div_ceil(2));
        next = page.links.next.clone();
        read.get_or_insert_with(|| (page, Vec::new())).1.push(body);
        if ends {
            break;
        }
    }
    work.part_size().page_ended();
    let (mut page, bodies) = read.ok_or_else(|| MirrorError::Answer(format!("{url} was read in no part")))?;
    work.page_was(bodies.iter().map(Bytes::len).sum());
    // The tags are of the parts, and of no use for the whole.
    page.validator = None;
    let whole = |link: ApiUrl| {
        let link = link.with_query("per_page", &PER_PAGE.to_string());
        match link.query_value("page") {
            Some(_) => link.with_query("page", &(first_number + 1).to_string()),
            None => link,
        }
    };
    let mut answer = answer(url.clone(), page, room);
    (answer.bodies, answer.next, answer.last_page) = (bodies, next.map(whole), last_page);
    Ok(Box::new(answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads pages of a numbered list from a server that makes `most` items at a time; the requests that each page took.
    fn read(size: &mut PartSize, most: usize, pages: usize) -> Vec<usize> {
        let one_page = |size: &mut PartSize| {
            let (mut place, mut requests) = (0, 0);
            while place < PER_PAGE {
                let part = size.at_place(place, true);
                requests += 1;
                if part > most {
                    assert!(size.failed(part));
                } else {
                    size.succeeded(part);
                    place += part;
                }
            }
            size.page_ended();
            requests
        };
        (0..pages).map(|_| one_page(size)).collect()
    }

    #[test]
    fn smaller_parts_are_remembered() {
        let mut size = PartSize::default();
        // 100, 50 and 25 fail, and 25 once more where a larger part can begin.
        assert_eq!(read(&mut size, 10, 9), [14, 10, 11, 10, 10, 10, 11, 10, 10]);
        assert!(!size.is_whole());
    }

    #[test]
    fn parts_grow_back_when_server_recovers() {
        let mut size = PartSize::default();
        read(&mut size, 1, 1);
        let requests = read(&mut size, PER_PAGE, 8);
        assert!(requests.iter().sum::<usize>() < 300, "{requests:?}");
        assert_eq!(requests.last(), Some(&1));
        assert!(size.is_whole());
    }

    #[test]
    fn single_items_are_the_end() {
        let mut size = PartSize::default();
        assert!([100, 50, 25, 10, 5].iter().all(|part| size.failed(*part)));
        assert!(!size.failed(1));
    }
}
