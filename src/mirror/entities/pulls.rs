//! Pull requests, their commits and review comments.

use std::collections::HashSet;

use serde_json::Value;

use super::history::{Comparison, compare};
use super::issues::{sync_own_list, tombstone_comments, tombstone_issue};
use super::missing_items::MissingItems;
use crate::github::{Accept, ApiError, ApiUrl};
use crate::json;
use crate::mirror::context::{StageContext, read_now};
use crate::mirror::error::MirrorError;
use crate::mirror::independent::for_each_independent;
use crate::mirror::lists::{
    Backfill, Expected, GrowthEnd, List, PER_PAGE, Pages, backfill, recheck_share, revalidate_single_page,
    sync_recently_changed, sync_since,
};
use crate::mirror::mapping::commit::map_commit;
use crate::mirror::mapping::item::{JsonItem, get_path, parse_date, parse_item, parse_items};
use crate::mirror::mapping::pull::{PULL, REVIEW_COMMENT, map_pull};
use crate::mirror::mapping::{ItemMapper, MappedPage};
use crate::mirror::resource::Repository;
use crate::store::documents::{Collection, Representation};
use crate::store::relational::missing_items::ItemKind;
use crate::store::relational::rows::PullCommits;

/// Pull requests whose commits are requested concurrently.
const MAX_CONCURRENT_PULLS: usize = 16;
/// Maximum number of commits in GitHub's list of a pull request (GitHub docs: list commits on a pull request).
const MAX_LISTED_COMMITS: usize = 250;

/// Syncs the pull requests, and the commits of those whose head is new.
pub(crate) async fn sync_pulls(ctx: &StageContext) -> Result<(), MirrorError> {
    match sync_list(ctx).await {
        Err(error) => commits_after_failed_list(ctx, error).await,
        done => done,
    }
}

async fn sync_list(ctx: &StageContext) -> Result<(), MirrorError> {
    let url = ctx.url(&["pulls"]).query("state", "all");
    let list = |name, sort, direction| {
        List::new(name, url.clone().query("sort", sort).query("direction", direction), Collection::PullRequests, PULL)
    };
    // The whole history is read in the order of creation, where pages don't move; what changed later, by change.
    let history = list("pulls", "created", "asc");
    let changes = list("pulls:changed", "updated", "desc");
    if let Some(listing) = revalidate_single_page(ctx, &history).await? {
        refresh_or_tombstone_absent(ctx, &listing.gone).await?;
        ctx.flush().await?;
        return sync_commits_of_changed_heads(ctx).await;
    }
    let state = ctx.list_state(history.name).await?;
    let (watermark, is_up_to_date) = match state.watermark.as_deref().and_then(parse_date) {
        Some(watermark) => (Some(watermark), false),
        None => match backfill(ctx, &history, GrowthEnd::Back, false).await? {
            Backfill::Whole { watermark, resumed, .. } => (Some(watermark), !resumed),
            Backfill::Partial | Backfill::TooManyPages => (None, true),
        },
    };
    if !is_up_to_date {
        ctx.flush().await?;
        sync_recently_changed(ctx, &changes, &history, watermark).await?;
        // Where issues are listed, they tell which pull requests are gone.
        if !ctx.repository().may_have("has_issues") {
            let absent = recheck_share(ctx, &history).await?;
            refresh_or_tombstone_absent(ctx, &absent.ids).await?;
        }
    }
    ctx.flush().await?;
    sync_commits_of_changed_heads(ctx).await
}

/// Refreshes pull requests that the list no longer holds, and marks the deleted ones: GitHub removes those of banned
/// accounts.
async fn refresh_or_tombstone_absent(ctx: &StageContext, ids: &[String]) -> Result<(), MirrorError> {
    let numbers: Vec<i64> = ids.iter().filter_map(|id| id.rsplit('/').next()?.parse().ok()).collect();
    let name = |number: &i64| format!("pull request #{number}");
    for_each_independent(ctx, MAX_CONCURRENT_PULLS, numbers, name, |number| async move {
        match refresh_one(ctx, number).await {
            Err(MirrorError::Api(ApiError::NotFound { .. } | ApiError::Gone { .. })) => {
                tombstone_issue(ctx, number).await
            }
            done => done,
        }
    })
    .await
}

/// Fetches one pull request.
///
/// # Errors
/// It is not found, or could not be had.
pub(crate) async fn refresh_one(ctx: &StageContext, number: i64) -> Result<(), MirrorError> {
    let page = ctx.get_page(&ctx.url(&["pulls", &number.to_string()]), Accept::Json).await?;
    let map: &ItemMapper = &|repository, item, out| map_pull(repository, item, out, Representation::Detailed);
    let MappedPage { documents, rows, .. } = ctx.map(map, &[parse_item(&page.body)?], read_now());
    ctx.write(documents, rows).await
}

/// Fetches pull requests that others refer to and that no list gave, or that changed without a list telling: one
/// request each, or the whole list if that takes fewer.
pub(crate) async fn fetch_referenced(ctx: &StageContext) -> Result<(), MirrorError> {
    let relational = &ctx.run.stores.relational;
    let mut numbers = relational.unfetched_pulls(ctx.project()).await?;
    if numbers.is_empty() {
        return Ok(());
    }
    if numbers.len() > relational.count_pulls(ctx.project()).await?.div_ceil(PER_PAGE) {
        let url = ctx.url(&["pulls"]).query("state", "all").query("sort", "created").query("direction", "asc");
        let list = List::new("pulls", url, Collection::PullRequests, PULL);
        let mut pages = Pages::new(ctx, &list);
        while let Some(MappedPage { documents, rows, .. }) = pages.next().await? {
            ctx.write(documents, rows).await?;
        }
        ctx.flush().await?;
        numbers = relational.unfetched_pulls(ctx.project()).await?;
    }
    let missing = &MissingItems::load(ctx, ItemKind::Pull).await?;
    numbers.retain(|number| missing.is_due(ctx, &number.to_string()));
    let name = |number: &i64| missing.name(&number.to_string());
    for_each_independent(ctx, MAX_CONCURRENT_PULLS, numbers, name, |number| async move {
        let url = ctx.url(&["pulls", &number.to_string()]);
        match ctx.get_page(&url, Accept::Json).await {
            Ok(page) => {
                let map: &ItemMapper =
                    &|repository, item, out| map_pull(repository, item, out, Representation::Detailed);
                let MappedPage { documents, mut rows, .. } = ctx.map(map, &[parse_item(&page.body)?], read_now());
                rows.sync_updates.extend(missing.record_found(ctx, &number.to_string()));
                ctx.write(documents, rows).await
            }
            Err(MirrorError::Api(error @ (ApiError::NotFound { .. } | ApiError::Gone { .. }))) => {
                missing.confirm_missing_pull(ctx, number, error).await
            }
            Err(error) => Err(error),
        }
    })
    .await?;
    missing.conclude(ctx).await?;
    ctx.flush().await?;
    sync_commits_of_changed_heads(ctx).await
}

/// Syncs the commits of known pull requests although their list failed, and returns the list's error.
///
/// # Errors
/// Always: the list's error, or one that the commits met and that ends more.
async fn commits_after_failed_list(ctx: &StageContext, error: MirrorError) -> Result<(), MirrorError> {
    let is_refused = matches!(&error, MirrorError::Api(api) if api.is_access_denied() || api.concerns_all_requests());
    if !is_refused && !error.concerns_all_items() && ctx.repository().may_have("has_pull_requests") {
        sync_commits_of_changed_heads(ctx).await?;
    }
    Err(error)
}

/// Syncs the commits of pull requests whose head has changed.
async fn sync_commits_of_changed_heads(ctx: &StageContext) -> Result<(), MirrorError> {
    const PULLS_PER_QUERY: u32 = 500;
    let missing = &MissingItems::load(ctx, ItemKind::Pull).await?;
    let mut after = 0;
    loop {
        let relational = &ctx.run.stores.relational;
        let mut pulls = relational.pulls_with_unfetched_commits(ctx.project(), after, PULLS_PER_QUERY).await?;
        let Some((last, ..)) = pulls.last() else { break };
        after = *last;
        pulls.retain(|(number, ..)| missing.is_due(ctx, &number.to_string()));
        let name = |(number, ..): &(i64, String, bool)| missing.name(&number.to_string());
        for_each_independent(ctx, MAX_CONCURRENT_PULLS, pulls, name, |(number, head, counted)| async move {
            let said = if counted { fetch_stated_commit_count(ctx, number).await? } else { None };
            match commits_of(ctx, number, head, said).await {
                Err(MirrorError::Api(error @ ApiError::NotFound { .. })) => {
                    handle_missing_commit_list(ctx, missing, number, error).await
                }
                done => done,
            }
        })
        .await?;
    }
    missing.conclude(ctx).await?;
    ctx.flush().await
}

/// Handles a pull request whose list of commits is not found: the pull request may be deleted.
async fn handle_missing_commit_list(
    ctx: &StageContext,
    missing: &MissingItems,
    number: i64,
    error: ApiError,
) -> Result<(), MirrorError> {
    match ctx.get_page(&ctx.url(&["pulls", &number.to_string()]), Accept::Json).await {
        Ok(_) => Err(MirrorError::Contradiction(format!("the pull request is there, and {error}"))),
        Err(MirrorError::Api(ApiError::NotFound { .. } | ApiError::Gone { .. })) => {
            missing.confirm_missing_pull(ctx, number, error).await
        }
        Err(error) => Err(error),
    }
}

/// Fetches a pull request and returns the number of commits that it states. The stored number may have been wrong for a
/// moment.
async fn fetch_stated_commit_count(ctx: &StageContext, number: i64) -> Result<Option<u64>, MirrorError> {
    let page = match ctx.get_page(&ctx.url(&["pulls", &number.to_string()]), Accept::Json).await {
        Ok(page) => page,
        Err(error) if error.concerns_all_items() => return Err(error),
        // Its list of commits is read all the same.
        Err(_) => return Ok(None),
    };
    let map: &ItemMapper = &|repository, item, out| map_pull(repository, item, out, Representation::Detailed);
    let MappedPage { documents, rows, .. } = ctx.map(map, &[parse_item(&page.body)?], read_now());
    ctx.write(documents, rows).await?;
    let said = JsonItem::single(&page.body, read_now())?.integer("commits");
    Ok(said.and_then(|said| u64::try_from(said).ok()))
}

async fn stored_pull(ctx: &StageContext, number: i64) -> Result<Value, MirrorError> {
    let id = format!("{}/{number}", ctx.repository().name);
    let json = ctx.run.stores.documents.get(Collection::PullRequests, &id).await?.unwrap_or_default();
    Ok(json::parse(&json).unwrap_or_default())
}

/// Syncs a pull request's commits. They are complete only if all came: those of its list, those of the comparison
/// beyond the list's cap, and as many as `said`.
pub(in crate::mirror) async fn commits_of(
    ctx: &StageContext,
    number: i64,
    head: String,
    said: Option<u64>,
) -> Result<(), MirrorError> {
    let map = move |repository: &Repository, item: &JsonItem<'_>, out: &mut MappedPage| {
        let sha = map_commit(repository, item, out, false)?;
        let tags = [("pull_request_id", Value::from(number))];
        out.documents.push(item.document(Collection::PullRequestCommits, vec![sha.into()], &tags));
        Ok(())
    };
    let map: &ItemMapper = &map;
    let url = ctx.url(&["pulls", &number.to_string(), "commits"]).query("per_page", "100");
    let (mut shas, mut items): (Vec<String>, usize) = (Vec::new(), 0);
    let mut failure = None;
    let mut came = MappedPage::default();
    let mut pages = ctx.linked_pages(url);
    loop {
        let page = match pages.next().await {
            Ok(Some(page)) => page,
            Ok(None) => break,
            Err(error) => {
                failure = Some(error);
                break;
            }
        };
        let on_page = parse_items(&page.body)?;
        items += on_page.len();
        let MappedPage { documents, rows, .. } = ctx.map(map, &on_page, read_now());
        shas.extend(rows.commits.iter().map(|commit| commit.sha.clone()));
        came.documents.extend(documents);
        came.rows.append(rows);
    }
    // One that could not be understood was noted, and is asked for again.
    let mut complete = failure.is_none() && shas.len() == items;
    let mut expected = said.unwrap_or(0);
    if shas.len() >= MAX_LISTED_COMMITS {
        match compare_ends(ctx, number, map).await {
            Ok(comparison) => {
                let listed: HashSet<String> = shas.iter().cloned().collect();
                shas.extend(comparison.shas.into_iter().filter(|sha| !listed.contains(sha)));
                expected = expected.max(comparison.total.unwrap_or(0));
                // Its commits are stored by themselves, and one may have been rejected.
                ctx.flush().await?;
                complete &= !ctx.stats.counts.has_rejected();
            }
            Err(error) => {
                complete = false;
                failure.get_or_insert(error);
            }
        }
    }
    let count = shas.len();
    let short = (count as u64) < expected;
    let read = PullCommits { project: ctx.project(), number, head, shas, complete: complete && !short };
    came.rows.pull_commits.push(read);
    ctx.write(came.documents, came.rows).await?;
    match failure {
        Some(error) => Err(error),
        None if short => {
            ctx.record_incomplete(format!("pull request #{number}: only {count} of its {expected} commits came"));
            Ok(())
        }
        None => Ok(()),
    }
}

/// Compares a pull request's base and head: the comparison has no cap, unlike the list of commits.
async fn compare_ends(ctx: &StageContext, number: i64, map: &ItemMapper) -> Result<Comparison, MirrorError> {
    let pull = stored_pull(ctx, number).await?;
    let sha = |path: &str| get_path(&pull, path).and_then(Value::as_str);
    match (sha("base.sha"), sha("head.sha")) {
        (Some(base), Some(head)) => compare(ctx, base, head, map).await,
        _ => Err(MirrorError::Answer(format!("pull request #{number} came without its base or head"))),
    }
}

/// Syncs the review comments.
pub(crate) async fn sync_review_comments(ctx: &StageContext) -> Result<(), MirrorError> {
    let list = review_comments(ctx);
    let absent = sync_since(ctx, &list, Expected::Unknown).await?;
    tombstone_comments(ctx, &list, &absent).await
}

/// Syncs the review comments of one pull request by its own list. Returns the ids of their documents.
pub(crate) async fn sync_review_comments_of(ctx: &StageContext, number: i64) -> Result<HashSet<String>, MirrorError> {
    sync_own_list(ctx, &review_comment_list(ctx.url(&["pulls", &number.to_string(), "comments"]))).await
}

/// Returns the list of all review comments.
pub(crate) fn review_comments(ctx: &StageContext) -> List<'static> {
    review_comment_list(ctx.url(&["pulls", "comments"]))
}

fn review_comment_list(url: ApiUrl) -> List<'static> {
    List::new("review-comments", url, Collection::PullRequestComments, REVIEW_COMMENT)
}
