//! Issues (including pull requests), their comments and events.

use std::collections::HashSet;

use serde_json::Value;

use crate::github::{Accept, ApiError, ApiUrl, Fetched};
use crate::mirror::context::{StageContext, read_now};
use crate::mirror::error::MirrorError;
use crate::mirror::independent::{for_each_independent, record_failure};
use crate::mirror::lists::{
    Absent, Backfill, DEEP_PAGE, Expected, GrowthEnd, List, PER_PAGE, Pages, backfill, revalidate_expecting,
    sync_newest_first, sync_since, tombstone,
};
use crate::mirror::mapping::MappedPage;
use crate::mirror::mapping::issue::{COMMENT, EVENT, ISSUE};
use crate::mirror::mapping::item::{JsonItem, parse_item};
use crate::mirror::sync_keys::{ISSUE_EVENTS_CAP, OPEN_ISSUES};
use crate::store::documents::{Collection, Document};
use crate::store::relational::SyncUpdate;

/// Items requested one by one concurrently.
const MAX_CONCURRENT_ITEMS: usize = 16;

/// Syncs issues, and pull requests in their form as issues.
pub(crate) async fn sync_issues(ctx: &StageContext) -> Result<(), MirrorError> {
    let url = ctx.url(&["issues"]).query("state", "all");
    let list = List::new("issues", url, Collection::Issues, ISSUE);
    let open = ctx.repository().count("open_issues_count");
    let absent = match sync_since(ctx, &list, Expected::at_least(open)).await {
        Ok(absent) => absent,
        Err(error) => return if_not_disabled(ctx, error),
    };
    refresh_or_tombstone_absent(ctx, &absent.ids).await?;
    reconcile_open_count(ctx, &list, open).await
}

/// Compares the number of open issues with GitHub's count, and revalidates the whole list if they differ. A difference
/// that remains is GitHub's own (it counts issues of hidden accounts) and not checked again.
async fn reconcile_open_count(ctx: &StageContext, list: &List<'_>, open: Option<u64>) -> Result<(), MirrorError> {
    let Some(said) = open.filter(|_| !ctx.is_incomplete()) else { return Ok(()) };
    ctx.flush().await?;
    let relational = &ctx.run.stores.relational;
    let stored = relational.open_issues(ctx.project()).await?;
    let settled = ctx.list_state(OPEN_ISSUES).await?;
    if stored == said || settled.watermark.as_deref() == Some(&format!("{stored} of {said}")) {
        return Ok(());
    }
    let by_creation = list.sorted("created", "asc");
    let listing = revalidate_expecting(ctx, &by_creation, Expected::at_least(open)).await?;
    refresh_or_tombstone_absent(ctx, &listing.gone).await?;
    if listing.complete {
        ctx.flush().await?;
        let stored = relational.open_issues(ctx.project()).await?;
        let watermark = format!("{stored} of {said}");
        let updates = vec![SyncUpdate::Watermark { list: settled.id, watermark }];
        ctx.write_sync_state(updates).await?;
    }
    Ok(())
}

/// Refreshes issues that the list no longer holds, and marks the deleted ones.
async fn refresh_or_tombstone_absent(ctx: &StageContext, ids: &[String]) -> Result<(), MirrorError> {
    let number = |id: &String| id.rsplit('/').next()?.parse().ok();
    refetch(ctx, ids.iter().filter_map(number).collect(), OnNotFound::Tombstone).await
}

/// Records disabled issues, which GitHub answers with 410 (GitHub docs: list repository issues); returns any other
/// error.
fn if_not_disabled(ctx: &StageContext, error: MirrorError) -> Result<(), MirrorError> {
    match error {
        MirrorError::Api(ApiError::Gone { message, .. }) => {
            ctx.record_disabled(message);
            Ok(())
        }
        error => Err(error),
    }
}

/// Fetches issues that others refer to and that the list did not give: they are newer than the list, or were moved
/// away.
pub(crate) async fn fetch_referenced(ctx: &StageContext) -> Result<(), MirrorError> {
    if !ctx.repository().may_have("has_issues") {
        return Ok(());
    }
    let numbers = ctx.run.stores.relational.unfetched_issues(ctx.project()).await?;
    // Its absence from the list is the first look, its own answer the second; a list that was not read whole is none.
    let on_not_found = if ctx.is_incomplete() { OnNotFound::Fail } else { OnNotFound::Tombstone };
    refetch(ctx, numbers, on_not_found).await
}

/// Refreshes these issues: one by one, or with all others by the list if that takes fewer requests.
pub(crate) async fn refresh(ctx: &StageContext, numbers: Vec<i64>) -> Result<(), MirrorError> {
    let known = ctx.run.stores.relational.count_issues(ctx.project()).await?;
    if numbers.len() <= known.div_ceil(PER_PAGE) {
        return refetch(ctx, numbers, OnNotFound::Fail).await;
    }
    let url = ctx.url(&["issues"]).query("state", "all").query("sort", "created").query("direction", "asc");
    let list = List::new("issues", url, Collection::Issues, ISSUE);
    let mut pages = Pages::new(ctx, &list);
    while let Some(MappedPage { documents, rows, .. }) = pages.next().await? {
        ctx.write(documents, rows).await?;
    }
    Ok(())
}

/// The meaning of an answer that an issue is not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnNotFound {
    /// Deleted: the list does not hold it either.
    Tombstone,
    /// Failure: as far as is known the list holds it, so that the next run tries again.
    Fail,
}

/// Refreshes an issue whose parts are not found; marks it as deleted if it is not found either.
pub(crate) async fn refresh_or_tombstone(ctx: &StageContext, number: i64) -> Result<(), MirrorError> {
    refresh_issue(ctx, number, OnNotFound::Tombstone).await
}

/// Fetches one issue that GitHub may not show yet.
///
/// # Errors
/// It is not found, or could not be had.
pub(crate) async fn refresh_one(ctx: &StageContext, number: i64) -> Result<(), MirrorError> {
    refresh_issue(ctx, number, OnNotFound::Fail).await
}

async fn refetch(ctx: &StageContext, numbers: Vec<i64>, on_not_found: OnNotFound) -> Result<(), MirrorError> {
    let name = |number: &i64| format!("issue #{number}");
    for_each_independent(ctx, MAX_CONCURRENT_ITEMS, numbers, name, |number| refresh_issue(ctx, number, on_not_found))
        .await
}

async fn refresh_issue(ctx: &StageContext, number: i64, on_not_found: OnNotFound) -> Result<(), MirrorError> {
    let url = ctx.url(&["issues", &number.to_string()]);
    let page = match ctx.get_page(&url, Accept::Json).await {
        Ok(page) => page,
        Err(MirrorError::Api(ApiError::NotFound { .. } | ApiError::Gone { .. }))
            if on_not_found == OnNotFound::Tombstone =>
        {
            return tombstone_issue(ctx, number).await;
        }
        Err(error) => return Err(error),
    };
    // An issue that was transferred answers with a redirect to another repository's issue.
    let item = JsonItem::single(&page.body, read_now())?;
    if page.redirected && !(item.integer("number") == Some(number) && belongs_to_repository(ctx, &item).await?) {
        return tombstone_issue(ctx, number).await;
    }
    let MappedPage { documents, rows, .. } = ctx.map(ISSUE, &[parse_item(&page.body)?], read_now());
    ctx.write(documents, rows).await
}

/// Returns whether an issue belongs to this repository, possibly under the repository's new name.
async fn belongs_to_repository(ctx: &StageContext, item: &JsonItem<'_>) -> Result<bool, MirrorError> {
    let Some(url) = item.text("repository_url") else { return Ok(true) };
    let mut names = url.rsplit('/');
    let (Some(name), Some(owner)) = (names.next(), names.next()) else { return Ok(false) };
    if format!("{owner}/{name}").eq_ignore_ascii_case(&ctx.repository().name.to_string()) {
        return Ok(true);
    }
    match ctx.get_for(None, &ApiUrl::path(&["repos", owner, name]), Accept::Json, None, false).await {
        Ok(Fetched::Page(page)) => {
            let number = JsonItem::single(&page.body, read_now())?.integer("id");
            Ok(number.is_some() && number == ctx.repository().json.get("id").and_then(Value::as_i64))
        }
        Ok(Fetched::NotModified) => Ok(false),
        Err(MirrorError::Api(error)) if error.is_access_denied() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Collections of an issue's or pull request's documents, which are deleted with it although their own lists don't
/// tell.
const ISSUE_COLLECTIONS: [Collection; 6] = [
    Collection::Issues,
    Collection::IssueComments,
    Collection::IssueEvents,
    Collection::PullRequests,
    Collection::PullRequestComments,
    Collection::PullRequestReviews,
];

/// Marks a deleted or transferred issue and all its parts; the stored data stay.
pub(crate) async fn tombstone_issue(ctx: &StageContext, number: i64) -> Result<(), MirrorError> {
    ctx.flush().await?;
    let (name, digits) = (&ctx.repository().name, number.to_string());
    let documents = &ctx.run.stores.documents;
    for collection in ISSUE_COLLECTIONS {
        if matches!(collection, Collection::Issues | Collection::PullRequests) {
            // Its rows are marked also where it was never read.
            ctx.tombstone(collection, &[format!("{name}/{digits}")]).await?;
            continue;
        }
        let key = [name.owner(), name.name(), &digits];
        let mut pages = documents.id_pages(collection, &key);
        while let Some(ids) = pages.next().await? {
            ctx.tombstone(collection, &ids).await?;
        }
    }
    let updates = vec![SyncUpdate::IssueGone { project: ctx.project(), number }];
    ctx.write_sync_state(updates).await
}

/// Syncs comments of issues and of pull requests' discussions.
pub(crate) async fn sync_comments(ctx: &StageContext) -> Result<(), MirrorError> {
    let list = comment_list(ctx);
    match sync_since(ctx, &list, Expected::Unknown).await {
        Ok(absent) => tombstone_comments(ctx, &list, &absent).await,
        Err(error) => if_not_disabled(ctx, error),
    }
}

/// Returns the list of all comments.
pub(crate) fn comment_list(ctx: &StageContext) -> List<'static> {
    List::new("issue-comments", ctx.url(&["issues", "comments"]), Collection::IssueComments, COMMENT)
}

/// Marks comments that their list no longer holds. If the list is not certain, each is requested by its own address
/// first.
pub(crate) async fn tombstone_comments(
    ctx: &StageContext,
    list: &List<'_>,
    absent: &Absent,
) -> Result<(), MirrorError> {
    if absent.certain {
        return tombstone(ctx, list.collection, &absent.ids).await;
    }
    for id in &absent.ids {
        record_failure(ctx, &format!("comment {id}"), tombstone_comment(ctx, list, id).await).await?;
    }
    Ok(())
}

/// Fetches a comment by its document's id, and marks it as deleted if it is not found.
pub(crate) async fn tombstone_comment(ctx: &StageContext, list: &List<'_>, id: &str) -> Result<(), MirrorError> {
    match fetch_comment(ctx, list, id.rsplit('/').next().unwrap_or_default()).await {
        Err(MirrorError::Api(ApiError::NotFound { .. } | ApiError::Gone { .. })) => {
            tombstone(ctx, list.collection, &[id.to_owned()]).await
        }
        done => done,
    }
}

/// Fetches one comment by its number.
///
/// # Errors
/// It is not found, or could not be had.
pub(crate) async fn fetch_comment(ctx: &StageContext, list: &List<'_>, number: &str) -> Result<(), MirrorError> {
    let page = ctx.get_page(&list.url.clone().child(number), Accept::Json).await?;
    let MappedPage { documents, rows, .. } = ctx.map(list.map, &[parse_item(&page.body)?], read_now());
    ctx.write(documents, rows).await
}

/// Syncs the comments of one issue by its own list. Returns the ids of their documents.
pub(crate) async fn sync_comments_of(ctx: &StageContext, number: i64) -> Result<HashSet<String>, MirrorError> {
    let url = ctx.url(&["issues", &number.to_string(), "comments"]);
    sync_own_list(ctx, &List::new("issue-comments", url, Collection::IssueComments, COMMENT)).await
}

/// Fetches a short list page by page. Returns the ids of its documents.
pub(crate) async fn sync_own_list(ctx: &StageContext, list: &List<'_>) -> Result<HashSet<String>, MirrorError> {
    let mut ids = HashSet::new();
    let mut pages = Pages::new(ctx, list);
    while let Some(MappedPage { documents, rows, .. }) = pages.next().await? {
        ids.extend(documents.iter().filter(|document| document.collection == list.collection).map(Document::id));
        ctx.write(documents, rows).await?;
    }
    Ok(ids)
}

/// Syncs events of issues and pull requests, which never change and are listed newest first.
pub(crate) async fn sync_events(ctx: &StageContext) -> Result<(), MirrorError> {
    let url = ctx.url(&["issues", "events"]);
    let list = List::new("issue-events", url, Collection::IssueEvents, EVENT);
    let state = ctx.list_state(list.name).await?;
    let done = match state.watermark {
        Some(_) => sync_newest_first(ctx, &list).await.map(drop),
        None => first_events(ctx, &list).await,
    };
    if let Some(gap) = ctx.list_state(ISSUE_EVENTS_CAP).await?.watermark {
        ctx.record_final_gap(gap);
    }
    done.or_else(|error| if_not_disabled(ctx, error))
}

async fn first_events(ctx: &StageContext, list: &List<'_>) -> Result<(), MirrorError> {
    if let Backfill::Whole { listing, .. } = backfill(ctx, list, GrowthEnd::Front, false).await?
        && listing.last_page >= DEEP_PAGE
        && listing.ids.len().is_multiple_of(PER_PAGE)
    {
        let gap = format!(
            "GitHub's list of issue events ends at page {}; events older than the {} newest may be missing",
            listing.last_page,
            listing.ids.len()
        );
        let list = ctx.list_state(ISSUE_EVENTS_CAP).await?.id;
        let updates = vec![SyncUpdate::Watermark { list, watermark: gap }];
        ctx.write_sync_state(updates).await?;
        ctx.flush().await?;
    }
    Ok(())
}
