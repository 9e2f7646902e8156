//! A fork's own commits: those beyond the point where it left its parent.

use std::collections::HashSet;

use serde_json::Value;

use super::heads::Heads;
use super::history::{MAX_CONCURRENT_BRANCHES, UnresolvedParents, compare, history};
use crate::github::{Accept, ApiError, ApiUrl, Page};
use crate::mirror::context::{StageContext, read_now};
use crate::mirror::error::MirrorError;
use crate::mirror::independent::for_each_independent;
use crate::mirror::lists::{Pages, sync_immutable};
use crate::mirror::mapping::commit::{ON_BRANCH, map_commit};
use crate::mirror::mapping::item::{JsonItem, get_path, parse_item_under};
use crate::mirror::mapping::{ItemMapper, MappedPage};
use crate::mirror::resource::Repository;
use crate::names::RepoName;
use crate::store::relational::sync_state::{PageState, fingerprint};
use crate::store::relational::{RowBatch, SyncUpdate};

/// Returns the commit where a fork left its parent, from GitHub's comparison of their default branches
/// (docs/data-model.md, "Tables").
pub(super) async fn find_fork_point(ctx: &StageContext, heads: &Heads) -> Result<Option<String>, MirrorError> {
    let relational = &ctx.run.stores.relational;
    if let Some(known) = relational.fork_point(ctx.project()).await? {
        return Ok(Some(known));
    }
    let json = &ctx.repository().json;
    let text = |path: &str| get_path(json, path).and_then(Value::as_str);
    let (Some(owner), Some(branch), Some(head)) =
        (text("parent.owner.login"), text("parent.default_branch"), heads.branches.first())
    else {
        return Ok(None);
    };
    let compared = match compare_with(ctx, &format!("{owner}:{branch}"), head).await {
        Err(MirrorError::Api(error)) if may_be_no_common_history(&error) => match parent_head(ctx, branch).await? {
            // One answer is no proof: the parent is there, and its commit is compared by its SHA.
            Some(parent) => compare_with(ctx, &parent, head).await,
            None => return Ok(None),
        },
        compared => compared,
    };
    let page = match compared {
        Ok(page) => page,
        // They have no common history: then all commits are the fork's own.
        Err(MirrorError::Api(ApiError::NotFound { .. })) => return Ok(None),
        Err(error) => return Err(error),
    };
    // The fork point is its parent's commit, and its own parents are, too.
    let map: &ItemMapper = &|repository: &Repository, item: &JsonItem<'_>, out: &mut MappedPage| {
        map_commit(repository, item, out, false)?;
        out.rows.commits.iter_mut().for_each(|commit| commit.parents.clear());
        Ok(())
    };
    let commit = parse_item_under(&page.body, "merge_base_commit")?;
    let sha = JsonItem::new(commit, read_now())?.require_text("sha")?;
    let MappedPage { documents, rows, .. } = ctx.map(map, &[commit], read_now());
    ctx.write(documents, rows).await?;
    ctx.flush().await?;
    relational.set_fork_point(ctx.project(), &sha).await?;
    Ok(Some(sha))
}

async fn compare_with(ctx: &StageContext, base: &str, head: &str) -> Result<Page, MirrorError> {
    let url = ctx.url(&["compare", &format!("{base}...{head}")]).query("per_page", "1");
    ctx.get_page(&url, Accept::Json).await
}

/// Returns whether a comparison may have failed for want of a common history, or because GitHub does not show the
/// parent.
fn may_be_no_common_history(error: &ApiError) -> bool {
    matches!(error, ApiError::NotFound { .. } | ApiError::Unprocessable { .. } | ApiError::Forbidden { .. })
}

/// Returns the head of the parent's default branch; `None` if the parent is deleted, private or empty.
async fn parent_head(ctx: &StageContext, branch: &str) -> Result<Option<String>, MirrorError> {
    let Some(parent) = parent_name(ctx) else { return Ok(None) };
    let url = ApiUrl::repo(&parent, &["branches", branch]);
    match ctx.get_page(&url, Accept::Json).await {
        Ok(page) => Ok(JsonItem::single(&page.body, read_now())?.text("commit.sha")),
        Err(MirrorError::Api(
            ApiError::NotFound { .. }
            | ApiError::Forbidden { .. }
            | ApiError::Legal { .. }
            | ApiError::EmptyRepository { .. },
        )) => Ok(None),
        Err(error) => Err(error),
    }
}

fn parent_name(ctx: &StageContext) -> Option<RepoName> {
    let json = &ctx.repository().json;
    let text = |path: &str| get_path(json, path).and_then(Value::as_str);
    RepoName::new(text("parent.owner.login")?, text("parent.name")?).ok()
}

/// Returns those of a fork's tags that point where a tag of its parent points. Without the parent's list, the tags are
/// compared one by one.
async fn shas_of_parent_tags(ctx: &StageContext, tags: &[String]) -> Result<HashSet<String>, MirrorError> {
    let mut found = HashSet::new();
    let Some(parent) = parent_name(ctx).filter(|_| !tags.is_empty()) else { return Ok(found) };
    let wanted: HashSet<&str> = tags.iter().map(String::as_str).collect();
    let mut pages = ctx.linked_pages(ApiUrl::repo(&parent, &["tags"]).query("per_page", "100"));
    while found.len() < wanted.len() {
        let page = match pages.next().await {
            Ok(Some(page)) => page,
            Ok(None) => break,
            Err(error) if error.concerns_all_items() => return Err(error),
            Err(_) => break,
        };
        let listed: Vec<Value> =
            serde_json::from_slice(&page.body).map_err(|error| MirrorError::unexpected("an array", &error))?;
        let shas = listed.iter().filter_map(|tag| get_path(tag, "commit.sha")?.as_str());
        found.extend(shas.filter(|sha| wanted.contains(sha)).map(str::to_owned));
    }
    Ok(found)
}

/// Syncs a fork's own commits: those of its branches that are not reachable from the fork point.
///
/// Most branches of a fork are copies of its parent's. The heads that were compared are recorded one by one, so that
/// they are not compared again.
pub(super) async fn own_commits(
    ctx: &StageContext,
    list: i64,
    heads: &Heads,
    fork_point: &str,
) -> Result<(), MirrorError> {
    let pages = ctx.run.stores.relational.pages(list).await?;
    let before: HashSet<i64> = pages.into_iter().flat_map(|page| page.keys).collect();
    let is_new = |head: &&String| !before.contains(&fingerprint(head)) && *head != fork_point;
    let new_tags: Vec<String> = heads.tags.iter().filter(is_new).cloned().collect();
    let of_parent = shas_of_parent_tags(ctx, &new_tags).await?;
    let settled = heads.all().filter(|head| before.contains(&fingerprint(head)) || of_parent.contains(*head));
    // Held while the state is handed in, so that a shorter one never follows a longer one.
    let compared: &tokio::sync::Mutex<Vec<i64>> =
        &tokio::sync::Mutex::new(settled.map(|head| fingerprint(head)).collect());
    let refreshes = !before.is_empty();
    let new: Vec<String> = heads.all().filter(is_new).filter(|head| !of_parent.contains(*head)).cloned().collect();
    if !of_parent.is_empty() {
        record_compared(ctx, list, &compared.lock().await).await?;
    }
    let name = |head: &String| format!("the fork's own commits up to {head}");
    for_each_independent(ctx, MAX_CONCURRENT_BRANCHES, new, name, |head| async move {
        own_commits_of(ctx, &head, fork_point, refreshes).await?;
        ctx.flush().await?;
        if ctx.stats.counts.has_rejected() {
            // It may be one of these commits that could not be stored.
            return Ok(());
        }
        let mut compared = compared.lock().await;
        compared.push(fingerprint(&head));
        record_compared(ctx, list, &compared).await
    })
    .await
}

async fn record_compared(ctx: &StageContext, list: i64, compared: &[i64]) -> Result<(), MirrorError> {
    let page = PageState { keys: compared.to_vec(), ..PageState::single(&"", None) };
    ctx.write_sync_state(vec![SyncUpdate::Page { list, page }]).await
}

async fn own_commits_of(ctx: &StageContext, head: &str, fork_point: &str, refreshes: bool) -> Result<(), MirrorError> {
    if refreshes && store_if_few_new_commits(ctx, head, fork_point).await? {
        return Ok(());
    }
    match compare(ctx, fork_point, head, ON_BRANCH).await {
        Ok(comparison) => {
            let came = comparison.shas.len() as u64;
            match comparison.total.filter(|total| *total > came) {
                Some(total) => Err(MirrorError::Contradiction(format!("there are {total} commits, and {came} came"))),
                None => Ok(()),
            }
        }
        // No history in common, if both are there: all that leads to it is the fork's own.
        Err(MirrorError::Api(ApiError::NotFound { .. })) => {
            for sha in [fork_point, head] {
                ctx.get_page(&ctx.url(&["git", "commits", sha]), Accept::Json).await?;
            }
            let name = format!("commits:{head}");
            sync_immutable(ctx, &history(ctx, &name, head)).await.map(drop)
        }
        Err(error) => Err(error),
    }
}

/// Stores the commits of a push to a fork's own branch if one page of its history reaches the fork point or commits
/// known as its own. Otherwise nothing is stored, and a comparison has to tell the fork's own commits.
async fn store_if_few_new_commits(ctx: &StageContext, head: &str, fork_point: &str) -> Result<bool, MirrorError> {
    let list = history(ctx, "commits", head);
    let Some(MappedPage { documents, rows, .. }) = Pages::new(ctx, &list).next().await? else { return Ok(false) };
    let RowBatch { mut commits, emails, .. } = rows;
    let shas: Vec<String> = commits.iter().map(|commit| commit.sha.clone()).collect();
    let known = ctx.run.stores.relational.known_commits(ctx.project(), &shas).await?;
    let Some(new) = shas.iter().position(|sha| known.contains(sha) || sha == fork_point) else { return Ok(false) };
    commits.truncate(new);
    let mut ends = UnresolvedParents::default();
    ends.record(&commits);
    ends.pending.remove(fork_point);
    ends.remove_known(ctx).await?;
    if !ends.pending.is_empty() {
        return Ok(false);
    }
    let new: HashSet<&String> = shas[..new].iter().collect();
    let documents = documents.into_iter().filter(|document| new.contains(&document.id())).collect();
    ctx.write(documents, RowBatch { commits, emails, ..RowBatch::default() }).await?;
    Ok(true)
}
