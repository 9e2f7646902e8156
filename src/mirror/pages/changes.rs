//! What is new or changed in a list since the last run.

use std::collections::HashSet;

use chrono::{DateTime, Utc};

use super::walk::{Backfill, Grows, backfill, mark_gone};
use super::{Asked, List, PER_PAGE, ask, keys_of};
use crate::github::VisitedUrls;
use crate::mirror::context::{Mapped, Work, page_validator, read_now};
use crate::mirror::error::MirrorError;
use crate::store::relational::Rows;
use crate::store::relational::rows::Progress;
use crate::store::relational::state::PageState;

/// Reads a list with a `since` key: whole the first time, many pages at a time where its length allows that, and from
/// the watermark on afterwards. `list.url` is the list's URL without a sorting.
///
/// # Errors
/// A page could not be had; what was read before it is stored.
pub async fn whole_then_since(work: &Work, list: &List<'_>) -> Result<(), MirrorError> {
    let sorted = |by: &str| List { url: list.url.clone().query("sort", by).query("direction", "asc"), ..*list };
    if one_page(work, &sorted("created")).await? {
        return Ok(());
    }
    let state = work.shared.stores.relational.list(work.project(), list.name).await?;
    if state.watermark.is_none()
        && let Backfill::Whole { listing, resumed, .. } =
            backfill(work, &sorted("created"), Grows::AtTheBack, true).await?
    {
        mark_gone(work, list.collection, &listing.ids).await?;
        if !resumed {
            return Ok(());
        }
    }
    match since(work, &sorted("updated")).await? {
        Some(seen) => mark_gone(work, list.collection, &seen).await,
        None => Ok(()),
    }
}

/// A list that was a single page when it was read whole is read whole again: the page's tag answers for everything in it,
/// where the first request for what changed since would have none. Returns whether the list was read so; where it has grown
/// beyond a page, or never was one, what changed since its watermark is to be read.
///
/// # Errors
/// The page could not be had.
pub async fn one_page(work: &Work, list: &List<'_>) -> Result<bool, MirrorError> {
    let relational = &work.shared.stores.relational;
    let state = relational.list(work.project(), list.name).await?;
    let url = list.first_page();
    let known = relational.pages(state.id).await?.into_iter().next();
    let Some(known) = known.filter(|known| state.completed && known.url == url.to_string() && known.next.is_none())
    else {
        return Ok(false);
    };
    let mut answer = match ask(work, &url, list.accept, Some(&known)).await? {
        Asked::Unchanged => return Ok(true),
        Asked::Answer(answer) => answer,
    };
    let Mapped { documents, mut rows, newest } = answer.map(work, list.map)?;
    let keys = keys_of(list, &documents);
    let whole = answer.next.is_none() && keys.len() < PER_PAGE;
    if whole {
        let page = PageState { keys: keys.clone(), ..PageState::only(&url, page_validator(&answer.page)) };
        let watermark = state.watermark.max(newest.map(timestamp));
        rows.progress.push(Progress::Page { list: state.id, page });
        rows.progress.push(Progress::Completed { list: state.id, watermark });
    } else {
        rows.progress.push(Progress::PagesEnd { list: state.id, last: 0 });
    }
    work.write(documents, rows).await?;
    if whole {
        mark_gone(work, list.collection, &keys.into_iter().collect()).await?;
    }
    Ok(whole)
}

/// Reads what is new in a list whose items never change and come newest first: page after page, until one holds an item
/// of what stood first when the list was last read to its end. (That an item is in the store proves nothing: a run that
/// was cut off may have stored newer ones and not those behind them.)
///
/// # Errors
/// A page could not be had; what was read before it is stored, and the next run reads on to the same place.
pub async fn newest_first(work: &Work, list: &List<'_>) -> Result<(), MirrorError> {
    let relational = &work.shared.stores.relational;
    let state = relational.list(work.project(), list.name).await?;
    let known = relational.pages(state.id).await?.into_iter().next().filter(|_| state.completed);
    let stood_first: HashSet<i64> = known.iter().flat_map(|page| page.keys.iter().copied()).collect();
    let mut url = list.first_page();
    let mut first_page = None;
    let mut visited = VisitedUrls::default();
    loop {
        visited.visit(&url)?;
        let mut answer = match ask(work, &url, list.accept, known.as_ref()).await? {
            Asked::Unchanged => break,
            Asked::Answer(answer) => answer,
        };
        let Mapped { documents, rows, .. } = answer.map(work, list.map)?;
        let keys = keys_of(list, &documents);
        let reached = keys.iter().any(|key| stood_first.contains(key));
        if first_page.is_none() {
            first_page = Some(PageState { keys, ..PageState::only(&url, page_validator(&answer.page)) });
        }
        work.write(documents, rows).await?;
        match answer.next {
            Some(next) if !reached => url = next,
            _ => break,
        }
    }
    // Only now: a run that is cut off before must not take the first page for all there was.
    let Some(page) = first_page else { return Ok(()) };
    let progress = vec![
        Progress::Page { list: state.id, page },
        Progress::Completed { list: state.id, watermark: Some(timestamp(read_now())) },
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
    let mut visited = VisitedUrls::default();
    loop {
        visited.visit(&url)?;
        let mut answer = match ask(work, &url, list.accept, known.as_ref()).await? {
            Asked::Unchanged => break,
            Asked::Answer(answer) => answer,
        };
        let Mapped { documents, rows, newest } = answer.map(work, list.map)?;
        if begun.is_none() {
            let page = PageState::only(&url, page_validator(&answer.page));
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
        Progress::Completed { list: state.id, watermark: None },
        Progress::Completed { list: keeper.id, watermark },
    ];
    work.write(Vec::new(), Rows { progress, ..Rows::default() }).await
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
/// A walk that began at the beginning and was not cut off returns the fingerprints of the ids it saw: with them, what is
/// gone can be told.
///
/// # Errors
/// A page could not be had; what was read before it is stored.
pub async fn since(work: &Work, list: &List<'_>) -> Result<Option<HashSet<i64>>, MirrorError> {
    if one_page(work, list).await? {
        return Ok(None);
    }
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
    let mut visited = VisitedUrls::default();
    loop {
        visited.visit(&url)?;
        let mut answer = match ask(work, &url, list.accept, known.as_ref()).await? {
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
            let keys = keys_of(list, &documents);
            let only = url == list.first_page() && keys.len() < PER_PAGE;
            // The next run asks from this watermark; when that is what this request asked, its tag answers for it. So does
            // that of a list's only page.
            if only || url == from(&watermark) {
                let page = PageState { keys, ..PageState::only(&url, page_validator(&answer.page)) };
                rows.progress.push(Progress::Page { list: state.id, page });
            }
            rows.progress.push(Progress::Completed { list: state.id, watermark: watermark.clone() });
        }
        if let Some(seen) = &mut seen {
            seen.extend(keys_of(list, &documents));
        }
        work.write(documents, rows).await?;
        let Some(next) = answer.next else { return Ok(seen) };
        // A cursor is followed as it is. Numbered pages would shift under a change: there the next request begins at
        // the new watermark instead, as long as that moves.
        let numbered = next.query_value("after").is_none();
        url = if numbered && watermark != before { from(&watermark) } else { next };
    }
}
