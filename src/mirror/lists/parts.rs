//! Pages that a server can't deliver in one piece and that are fetched in smaller parts.

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::{ListPage, PER_PAGE, list_page, query_number};
use crate::github::{Accept, ApiError, ApiUrl, Fetched, Page};
use crate::mirror::context::StageContext;
use crate::mirror::error::MirrorError;
use crate::mirror::mapping::item::parse_items;
use crate::mirror::resource::Resource;

/// Returns whether an error means that a smaller part may succeed.
pub(super) fn is_too_much(error: &MirrorError) -> bool {
    matches!(error, MirrorError::Api(ApiError::Unavailable { timed_out: true, .. }))
}

/// Returns whether a page can be requested in smaller parts.
pub(super) fn is_divisible(url: &ApiUrl) -> bool {
    query_number(url, "per_page").is_some_and(|size| size as usize == PER_PAGE)
}

/// Fetches one whole page in parts, as large as the server delivers them; they grow again when it recovers.
pub(super) async fn fetch_split<S: Resource>(
    ctx: &StageContext<S>,
    url: &ApiUrl,
    accept: Accept,
    room: Option<OwnedSemaphorePermit>,
) -> Result<Box<ListPage>, MirrorError> {
    let first_number = query_number(url, "page").unwrap_or(1).max(1) as usize;
    let mut read: Option<(Page, Vec<Bytes>)> = None;
    let mut last_page = None;
    let (mut place, mut next) = (0, None);
    while place < PER_PAGE {
        let is_cursor = |url: &ApiUrl| url.query_value("page").is_none() && url.query_value("after").is_some();
        // A cursor says where to go on whatever the part's size; numbers count parts of one size.
        let cursor = next.as_ref().or(Some(url)).filter(|from| is_cursor(from));
        let size = ctx.part_size().at_place(place, cursor.is_none());
        let text = size.to_string();
        let part = match cursor {
            Some(cursor) => cursor.clone().with_query("per_page", &text),
            None => match ((first_number - 1) * PER_PAGE + place) / size {
                0 => url.clone().with_query("per_page", &text),
                before => url.clone().with_query("per_page", &text).with_query("page", &(before + 1).to_string()),
            },
        };
        let page = match ctx.get(&part, accept, None, size > 1).await {
            Ok(Fetched::Page(page)) => *page,
            Ok(Fetched::NotModified) => {
                return Err(MirrorError::Answer(format!("{part} answered 304 to an unconditional request")));
            }
            Err(error) if is_too_much(&error) && ctx.part_size().failed(size) => {
                tracing::warn!(%part, size, "the server can't deliver so many items at once");
                continue;
            }
            Err(error) => return Err(error),
        };
        ctx.part_size().succeeded(size);
        place += size;
        if let Some(last) = page.links.last_page() {
            let items = last as usize * size;
            last_page = u32::try_from(items.div_ceil(PER_PAGE)).ok();
        }
        let body = page.body.clone();
        // A part that is half empty and leads nowhere is the list's end.
        let ends = page.links.next.is_none() && (cursor.is_some() || parse_items(&body)?.len() < size.div_ceil(2));
        next = page.links.next.clone();
        read.get_or_insert_with(|| (page, Vec::new())).1.push(body);
        if ends {
            break;
        }
    }
    ctx.part_size().page_ended();
    let (mut page, bodies) = read.ok_or_else(|| MirrorError::Answer(format!("{url} gave no part")))?;
    ctx.record_page_size(bodies.iter().map(Bytes::len).sum());
    // The tags are of the parts, and of no use for the whole.
    page.validator = None;
    let whole = |link: ApiUrl| {
        let link = link.with_query("per_page", &PER_PAGE.to_string());
        match link.query_value("page") {
            Some(_) => link.with_query("page", &(first_number + 1).to_string()),
            None => link,
        }
    };
    let mut answer = list_page(url.clone(), page, room);
    (answer.bodies, answer.next, answer.last_page) = (bodies, next.map(whole), last_page);
    Ok(Box::new(answer))
}
