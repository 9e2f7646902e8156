//! Details that take one request an item: whole commits, whole pull requests with their reviews, profiles of people.
//!
//! Details run after everything else is stored, newest first, and can be aborted at any time: the items that are
//! pending are those that the tables lack.

use std::collections::HashSet;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, Duration, Local, Utc};
use serde_json::Value;
use serde_json::value::RawValue;

use super::missing_items::MissingItems;
use super::pulls::commits_of;
use super::refusals::HAS_PULL_REQUESTS;
use crate::github::{Accept, ApiError, PoolBudget, VisitedUrls};
use crate::json;
use crate::mirror::accounts::profiles::{self, MAX_PROFILE_AGE_DAYS};
use crate::mirror::context::{StageContext, read_now};
use crate::mirror::error::MirrorError;
use crate::mirror::event::MirrorEvent;
use crate::mirror::independent::for_each_independent;
use crate::mirror::mapping::account::account;
use crate::mirror::mapping::commit::commit_row;
use crate::mirror::mapping::item::{JsonItem, parse_item, parse_items};
use crate::mirror::mapping::pull::map_pull;
use crate::mirror::mapping::{ItemMapper, MappedPage};
use crate::mirror::resource::Repository;
use crate::store::documents::{Collection, Representation};
use crate::store::relational::missing_items::ItemKind;
use crate::store::relational::{DetailsCursor, PendingDetails, ProfileScope, SyncUpdate, date};
use crate::telemetry::Progress;

/// Items requested concurrently.
const MAX_CONCURRENT_ITEMS: usize = 16;
/// Items read from the store per query.
const ITEMS_PER_QUERY: u32 = 2000;
/// Maximum number of files that GitHub gives of a commit (GitHub docs: get a commit).
const MAX_COMMIT_FILES: usize = 3000;

/// Fetches the pending details.
pub(crate) async fn sync_details(ctx: &StageContext) -> Result<(), MirrorError> {
    let (cutoff, relational) = (profile_cutoff(ctx), &ctx.run.stores.relational);
    let mut left = relational.pending_details(ctx.project(), cutoff).await?;
    if left == PendingDetails::default() && relational.stub_commits(ctx.project(), 0, 1).await?.is_empty() {
        return record_truncated_commits(ctx).await;
    }
    let (missing_commits, missing_pulls) =
        (MissingItems::load(ctx, ItemKind::Commit).await?, MissingItems::load(ctx, ItemKind::Pull).await?);
    left.commits = left.commits.saturating_sub(missing_commits.not_due() as u64);
    left.pulls = left.pulls.saturating_sub(missing_pulls.not_due() as u64);
    let requests = left.commits + 2 * left.pulls + left.users;
    if requests > 0 {
        let estimate = format_estimate(&ctx.run.github.budget(), requests);
        MirrorEvent::DetailsPlanned {
            repository: &ctx.repository().to_string(),
            requests,
            commits: left.commits,
            pulls: left.pulls,
            people: left.users,
            estimate: &estimate,
        }
        .report(&ctx.run.console);
    }
    let steps = Steps::new(&ctx.progress, left.commits + left.pulls, left.users);
    // Progress counts items, not documents.
    let uncounted = &StageContext { progress: ctx.run.console.without_progress().progress(""), ..ctx.clone() };
    let mut failure = None;
    for kind in ["pull requests", "commits", "profiles"] {
        let done = match kind {
            // Without them, what is left of them can't be had, and stays as it is.
            "pull requests" if !ctx.repository().may_have(HAS_PULL_REQUESTS) => Ok(()),
            "pull requests" => pulls(uncounted, &missing_pulls, &steps).await,
            "commits" => commits(uncounted, &missing_commits, &steps).await,
            _ => Box::pin(profiles::fetch_due_profiles(ctx, ProfileScope::Project(ctx.project()), cutoff)).await,
        };
        match done {
            Ok(()) => {}
            Err(error) if error.concerns_all_items() => return Err(error),
            // The other kinds may be had all the same.
            Err(error) => {
                tracing::warn!(repository = %ctx.repository(), kind, %error, "details aborted");
                failure.get_or_insert(error);
            }
        }
    }
    missing_pulls.conclude(ctx).await?;
    missing_commits.conclude(ctx).await?;
    ctx.flush().await?;
    record_truncated_commits(ctx).await?;
    failure.map_or(Ok(()), Err)
}

/// Reports commits that GitHub doesn't give whole, in every run and not only in the one that met them: the data are as short
/// as they were.
async fn record_truncated_commits(ctx: &StageContext) -> Result<(), MirrorError> {
    for (sha, short) in ctx.run.stores.relational.truncated_commits(ctx.project()).await? {
        ctx.record_final_gap(format!("commit {sha}: {short}"));
    }
    Ok(())
}

/// The progress of the details, one step an item. Items that turn up meanwhile raise the length.
struct Steps<'a> {
    progress: &'a Progress,
    done: AtomicU64,
    /// Expected commits and pull requests.
    items: u64,
    /// Expected profiles, which come last.
    profiles: u64,
}

impl<'a> Steps<'a> {
    fn new(progress: &'a Progress, items: u64, profiles: u64) -> Self {
        progress.set_length(items + profiles);
        Self { progress, done: AtomicU64::new(0), items, profiles }
    }

    /// Counts one step when `item` is done.
    async fn count<T>(&self, item: impl Future<Output = T>) -> T {
        let result = item.await;
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if done > self.items {
            self.progress.set_length(done + self.profiles);
        }
        self.progress.inc(1);
        result
    }
}

/// Returns the time before which profiles are stale.
fn profile_cutoff(ctx: &StageContext) -> DateTime<Utc> {
    if ctx.run.options.full { ctx.run.started } else { Utc::now() - Duration::days(MAX_PROFILE_AGE_DAYS) }
}

/// Formats the earliest time at which the requests can be done, as the end of a sentence, from the rate limit and the pace
/// that the secondary limit allows. Empty for a server without limits.
fn format_estimate(budget: &PoolBudget, requests: u64) -> String {
    if budget.unlimited || budget.hourly == 0 || budget.per_second <= 0.0 {
        return String::new();
    }
    let now = Utc::now();
    let paced = |requests: u64| Duration::seconds((requests as f64 / budget.per_second).min(1e9) as i64);
    let later = requests.saturating_sub(budget.remaining);
    let until = if later == 0 {
        now + paced(requests)
    } else {
        let full = (later - 1) / budget.hourly;
        let window = Duration::from_std(budget.window).unwrap_or(Duration::hours(1));
        let windows = window * i32::try_from(full.min(1_000_000)).unwrap_or(0);
        budget.next_reset.unwrap_or(now).max(now) + windows + paced(later - full * budget.hourly)
    };
    format!(", until {} at the earliest", until.with_timezone(&Local).format("%Y-%m-%d %H:%M"))
}

/// The history that a commit belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CommitHistory {
    /// The repository's own: its branches, pull requests, or commented commits.
    Own,
    /// Another repository's, such as a fork point: its parents are not fetched.
    Foreign,
}

/// Fetches the project's own commits, then those that they refer to and of which only the SHA is known.
async fn commits(ctx: &StageContext, missing: &MissingItems, steps: &Steps<'_>) -> Result<(), MirrorError> {
    let relational = &ctx.run.stores.relational;
    let name = |sha: &String| missing.name(sha);
    let mut position = DetailsCursor::newest();
    let mut asked: HashSet<String> = HashSet::new();
    loop {
        let (mut shas, end) = relational.pending_commits(ctx.project(), &position, ITEMS_PER_QUERY).await?;
        let Some(end) = end else { break };
        position = end;
        shas.retain(|sha| missing.is_due(ctx, sha));
        asked.extend(shas.iter().cloned());
        for_each_independent(ctx, MAX_CONCURRENT_ITEMS, shas, name, |sha| {
            steps.count(commit(ctx, missing, sha, CommitHistory::Own))
        })
        .await?;
    }
    ctx.flush().await?;
    let mut after = 0;
    loop {
        let mentioned = relational.stub_commits(ctx.project(), after, ITEMS_PER_QUERY).await?;
        let Some((last, _)) = mentioned.last() else { return Ok(()) };
        after = *last;
        let mut shas: Vec<String> = mentioned.into_iter().map(|(_, sha)| sha).collect();
        shas.retain(|sha| !asked.contains(sha) && missing.is_due(ctx, sha));
        for_each_independent(ctx, MAX_CONCURRENT_ITEMS, shas, name, |sha| {
            steps.count(commit(ctx, missing, sha, CommitHistory::Foreign))
        })
        .await?;
    }
}

/// Fetches a commit with its statistics and files, which may span several pages.
async fn commit(
    ctx: &StageContext,
    missing: &MissingItems,
    sha: String,
    history: CommitHistory,
) -> Result<(), MirrorError> {
    let first = ctx.url(&["commits", &sha]);
    let mut short = None;
    let page = match ctx.get_page(&first, Accept::Json).await {
        Ok(page) => page,
        // Something refers to it, but GitHub may have it no more: a force-push or a deleted fork took it away.
        Err(MirrorError::Api(error)) if error.says_missing() => {
            return missing.confirm_missing_commit(ctx, &sha, error).await;
        }
        Err(error) => return Err(error),
    };
    let mut next = page.links.next.clone();
    let joined: Box<RawValue>;
    let mut raw = parse_item(&page.body)?;
    if next.is_some() {
        let mut value: Value =
            json::parse_bytes(&page.body).map_err(|error| MirrorError::unexpected("an object", &error))?;
        let mut visited = VisitedUrls::default();
        visited.visit(&first)?;
        while let Some(url) = next.take() {
            visited.visit(&url)?;
            let more = ctx.get_page(&url, Accept::Json).await?;
            let mut more_value: Value =
                json::parse_bytes(&more.body).map_err(|error| MirrorError::unexpected("an object", &error))?;
            if let (Some(files), Some(Value::Array(more_files))) =
                (value.get_mut("files").and_then(Value::as_array_mut), more_value.get_mut("files").map(Value::take))
            {
                files.extend(more_files);
            }
            next = more.links.next;
        }
        if value.get("files").and_then(Value::as_array).is_some_and(|files| files.len() >= MAX_COMMIT_FILES) {
            short = Some(format!("GitHub gives only its first {MAX_COMMIT_FILES} files"));
        }
        joined = serde_json::value::to_raw_value(&value)
            .map_err(|error| MirrorError::Answer(format!("commit {sha}: {error}")))?;
        raw = &joined;
    }
    let on_branch =
        !ctx.run.stores.relational.known_commits(ctx.project(), std::slice::from_ref(&sha)).await?.is_empty();
    let map = move |repository: &Repository, item: &JsonItem<'_>, out: &mut MappedPage| {
        let sha = item.require_text("sha")?;
        out.documents.push(item.full_document(Collection::Commits, vec![sha.into()], &[]));
        commit_row(repository, item, &mut out.rows, on_branch)?;
        if history == CommitHistory::Foreign {
            // Parents would be rows that nothing but their SHA is known of, and that were completed next, down to the root.
            out.rows.commits.iter_mut().for_each(|commit| commit.parents.clear());
        }
        Ok(())
    };
    let map: &ItemMapper = &map;
    let MappedPage { documents, mut rows, .. } = ctx.map(map, &[raw], read_now());
    // One that could not be understood was noted, and is asked for again.
    if !documents.is_empty() {
        rows.sync_updates.extend(missing.record_found(ctx, &sha));
        rows.sync_updates.push(SyncUpdate::CommitDetailed { sha, short });
    }
    ctx.write(documents, rows).await
}

async fn pulls(ctx: &StageContext, missing: &MissingItems, steps: &Steps<'_>) -> Result<(), MirrorError> {
    if !ctx.repository().may_have("has_pull_requests") {
        return Ok(());
    }
    let mut position = DetailsCursor::newest();
    loop {
        let relational = &ctx.run.stores.relational;
        let (mut pulls, end) = relational.pending_pulls(ctx.project(), &position, ITEMS_PER_QUERY).await?;
        let Some(end) = end else { return Ok(()) };
        position = end;
        pulls.retain(|(number, _)| missing.is_due(ctx, &number.to_string()));
        let name = |(number, _): &(i64, String)| missing.name(&number.to_string());
        for_each_independent(ctx, MAX_CONCURRENT_ITEMS, pulls, name, |(number, of)| {
            steps.count(pull(ctx, missing, number, of))
        })
        .await?;
    }
}

/// Fetches a pull request with its merger and sizes, and its reviews.
async fn pull(ctx: &StageContext, missing: &MissingItems, number: i64, listed: String) -> Result<(), MirrorError> {
    let text = number.to_string();
    let page = match ctx.get_page(&ctx.url(&["pulls", &text]), Accept::Json).await {
        Ok(page) => page,
        Err(MirrorError::Api(error @ (ApiError::NotFound { .. } | ApiError::Gone { .. }))) => {
            return missing.confirm_missing_pull(ctx, number, error).await;
        }
        Err(error) => return Err(error),
    };
    let map: &ItemMapper = &|repository, item, out| map_pull(repository, item, out, Representation::Detailed);
    let mut mapped = ctx.map(map, &[parse_item(&page.body)?], read_now());
    let of = mapped.newest.map_or(listed, date);
    // What could not be understood was noted, and is asked for again.
    let understood = !mapped.documents.is_empty();
    let reviews = reviews(ctx, number).await;
    let failure = match reviews {
        Ok((reviews, all)) => {
            mapped.documents.extend(reviews.documents);
            mapped.rows.append(reviews.rows);
            if all && understood {
                mapped.rows.sync_updates.push(SyncUpdate::PullDetailed { project: ctx.project(), number, of });
            }
            None
        }
        // The pull request itself came.
        Err(error) => Some(error),
    };
    mapped.rows.sync_updates.extend(missing.record_found(ctx, &text));
    ctx.write(mapped.documents, mapped.rows).await?;
    match failure {
        Some(error) => Err(error),
        None => refetch_commits_if_short(ctx, number, &JsonItem::single(&page.body, read_now())?).await,
    }
}

/// Compares the number of commits that a pull request states with the stored ones, and fetches them again if any are
/// missing.
async fn refetch_commits_if_short(ctx: &StageContext, number: i64, pull: &JsonItem<'_>) -> Result<(), MirrorError> {
    let (Some(said), Some(head)) = (pull.integer("commits"), pull.text("head.sha")) else { return Ok(()) };
    let relational = &ctx.run.stores.relational;
    match relational.fetched_pull_commits(ctx.project(), number).await? {
        Some((of, stored)) if stored < said && of.split(' ').next() == Some(head.as_str()) => {
            relational.reset_pull_commits(ctx.project(), number).await?;
            commits_of(ctx, number, of, u64::try_from(said).ok()).await
        }
        _ => Ok(()),
    }
}

/// Syncs the reviews of one pull request. (Reviews can't be deleted once they are submitted.)
///
/// # Errors
/// They could not be had.
pub(crate) async fn sync_reviews_of(ctx: &StageContext, number: i64) -> Result<(), MirrorError> {
    let (MappedPage { documents, rows, .. }, _) = reviews(ctx, number).await?;
    ctx.write(documents, rows).await
}

/// Fetches a pull request's reviews. Returns whether all of them could be mapped.
async fn reviews(ctx: &StageContext, number: i64) -> Result<(MappedPage, bool), MirrorError> {
    let map = move |repository: &Repository, item: &JsonItem<'_>, out: &mut MappedPage| {
        let id = item.require_integer("id")?;
        let key = repository.document_key([number.into(), id.into()]);
        let tags = repository.tags(&[("pullreq_id", number.into())]);
        out.documents.push(item.document(Collection::PullRequestReviews, key, &tags));
        out.rows.accounts.extend(account(item.get_path("user")));
        Ok(())
    };
    let map: &ItemMapper = &map;
    let url = ctx.url(&["pulls", &number.to_string(), "reviews"]).query("per_page", "100");
    let (mut all, mut understood) = (MappedPage::default(), true);
    let mut pages = ctx.linked_pages(url);
    while let Some(page) = pages.next().await? {
        let items = parse_items(&page.body)?;
        let MappedPage { documents, rows, .. } = ctx.map(map, &items, read_now());
        understood &= documents.len() == items.len();
        all.documents.extend(documents);
        all.rows.append(rows);
    }
    Ok((all, understood))
}
