//! Commits of all branches and tags, each once, and comments on them.
//!
//! A project's commits are closed under parents: when a run is complete, no commit of a branch lacks its parent.
//! Missing parents are looked up and their histories fetched, so that neither a list that ends too early nor an aborted
//! run leaves a gap.

use std::collections::HashSet;
use std::future::Future;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::fork_commits::{find_fork_point, own_commits};
use super::heads::{Heads, fingerprint_of_refs};
use super::history::{MAX_CONCURRENT_BRANCHES, UnresolvedParents, history};
use super::refs;
use crate::github::{Accept, ApiError};
use crate::mirror::context::StageContext;
use crate::mirror::error::MirrorError;
use crate::mirror::independent::for_each_independent;
use crate::mirror::lists::{List, PER_PAGE, Pages, sync_immutable, sync_snapshot};
use crate::mirror::mapping::MappedPage;
use crate::mirror::mapping::commit::COMMIT_COMMENT;
use crate::mirror::options::ForkCommits;
use crate::mirror::stage::Stage;
use crate::mirror::sync_keys::WALKED_REFS;
use crate::store::documents::Collection;
use crate::store::relational::SyncUpdate;
use crate::store::relational::sync_state::{ListState, fingerprint};

/// Maximum number of rounds in which missing parents are fetched; one is enough unless lists end early.
const MAX_GAP_ROUNDS: usize = 50;

/// Syncs the commits that branches and tags lead to.
pub(crate) async fn sync_commits(ctx: &StageContext) -> Result<(), MirrorError> {
    let relational = &ctx.run.stores.relational;
    let (branches, tags) =
        (relational.list(ctx.project(), "branches").await?, relational.list(ctx.project(), "tags").await?);
    if !branches.completed || !tags.completed || !ctx.run.options.stages.contains(&Stage::Branches) {
        // Without their heads nothing could be walked, and nothing would look complete.
        refs::sync_branches(ctx).await?;
        ctx.flush().await?;
    }
    let state = relational.list(ctx.project(), "commits").await?;
    let walked = relational.list(ctx.project(), WALKED_REFS).await?;
    let refs = fingerprint_of_refs(ctx).await?;
    if state.completed && refs.is_some() && refs == walked.watermark && !ctx.run.options.full {
        return Ok(());
    }
    let outcome = walk_refs(ctx, &state).await?;
    ctx.flush().await?;
    // What is missing is missed again, and said again, by the next run.
    if outcome == WalkOutcome::Partial || ctx.is_incomplete() {
        return Ok(());
    }
    let mut updates = vec![SyncUpdate::Completed { list: state.id, watermark: None }];
    updates.extend(refs.map(|watermark| SyncUpdate::Watermark { list: walked.id, watermark }));
    ctx.write_sync_state(updates).await
}

/// The outcome of walking the histories of the heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WalkOutcome {
    /// All of them are known.
    Complete,
    /// GitHub has no commit for one of them.
    Partial,
}

/// Walks the histories of heads that are not known.
async fn walk_refs(ctx: &StageContext, state: &ListState) -> Result<WalkOutcome, MirrorError> {
    let relational = &ctx.run.stores.relational;
    let heads = Heads::load(ctx).await?;
    if ctx.repository().json.get("fork").and_then(Value::as_bool) == Some(true) {
        match (ctx.run.options.fork_commits, find_fork_point(ctx, &heads).await?) {
            (ForkCommits::None, _) => return Ok(WalkOutcome::Complete),
            (ForkCommits::ForkPoint, Some(point)) => {
                own_commits(ctx, state.id, &heads, &point).await?;
                return Ok(WalkOutcome::Complete);
            }
            // Without anything in common with a parent all commits are its own.
            (ForkCommits::ForkPoint, None) | (ForkCommits::All, _) => {}
        }
    }
    let all: Vec<String> = heads.all().cloned().collect();
    let unknown = unknown_heads(ctx, &all).await?;
    if unknown.is_empty() && state.completed {
        return Ok(WalkOutcome::Complete);
    }
    // With `--full` only commits fetched in this run count as known.
    let seen = ctx.run.options.full.then(|| Mutex::new(HashSet::new()));
    let mut next = if seen.is_some() { all } else { unknown };
    if state.watermark.is_none() {
        let read = first_branch(ctx, state, &next).await?;
        if let Some(seen) = &seen {
            *seen.lock().unwrap_or_else(PoisonError::into_inner) = read;
        }
    } else {
        relational.save_checkpoint(state.id, "").await?;
    }
    if seen.is_none() {
        next = unknown_heads(ctx, &next).await?;
    }
    let no_commits = Mutex::new(Vec::new());
    let (heads, noted) = (&heads, &no_commits);
    walk(ctx, next, seen.as_ref(), |sha, error| async move {
        if heads.is_branch(&sha) {
            return Err(error.into());
        }
        // A tag may point at something else than a commit: then nothing leads to it.
        match ctx.get_page(&ctx.url(&["git", "commits", &sha]), Accept::Json).await {
            Ok(_) => Err(MirrorError::Contradiction(format!("its git object is there, and {error}"))),
            Err(MirrorError::Api(second)) if second.says_missing() => {
                noted.lock().unwrap_or_else(PoisonError::into_inner).push(format!("a tag's {sha}: {error}"));
                Ok(())
            }
            Err(error) => Err(error),
        }
    })
    .await?;
    let no_commits = no_commits.into_inner().unwrap_or_else(PoisonError::into_inner);
    let outcome = if no_commits.is_empty() { WalkOutcome::Complete } else { WalkOutcome::Partial };
    no_commits.into_iter().for_each(|tag| ctx.record_final_gap(tag));
    fill_history_gaps(ctx).await?;
    Ok(outcome)
}

/// Fetches the whole history of one branch, many pages concurrently. A SHA's history never changes, so an aborted walk
/// resumes with the same SHA, wherever its branch points now. Returns the fingerprints of what it fetched.
async fn first_branch(ctx: &StageContext, state: &ListState, heads: &[String]) -> Result<HashSet<i64>, MirrorError> {
    let relational = &ctx.run.stores.relational;
    let begun = state.pending.as_ref().filter(|sha| !sha.is_empty());
    let Some(first) = begun.or_else(|| heads.first()) else { return Ok(HashSet::new()) };
    relational.save_checkpoint(state.id, first).await?;
    let name = format!("commits:{first}");
    let read = match sync_immutable(ctx, &history(ctx, &name, first)).await {
        // A force-push has taken away what an earlier run began with.
        Err(MirrorError::Api(ApiError::NotFound { .. } | ApiError::Unprocessable { .. })) if begun.is_some() => {
            relational.save_checkpoint(state.id, "").await?;
            return Ok(HashSet::new());
        }
        // The other branches may be had all the same.
        Err(error) if !error.concerns_all_of_a_kind() && !ctx.run.github.is_down() => {
            ctx.record_incomplete(format!("{}: {error}", history_of(first)));
            return Ok(HashSet::new());
        }
        read => read?,
    };
    let watermark = SyncUpdate::Watermark { list: state.id, watermark: first.clone() };
    ctx.write_sync_state(vec![watermark]).await?;
    ctx.flush().await?;
    relational.save_checkpoint(state.id, "").await?;
    Ok(read)
}

/// Fetches the commits of a push that no branch leads to any more: from its head down to known ones. A fork's are left out,
/// as most of what they lead to is its parent's.
pub(crate) async fn sync_pushed(ctx: &StageContext, head: &str) -> Result<(), MirrorError> {
    if ctx.repository().json.get("fork").and_then(Value::as_bool) == Some(true) {
        return Ok(());
    }
    let unknown = unknown_heads(ctx, &[head.to_owned()]).await?;
    walk(ctx, unknown, None, async |_, error| Err(error.into())).await?;
    fill_history_gaps(ctx).await
}

/// Returns the heads whose commits the project does not have.
async fn unknown_heads(ctx: &StageContext, heads: &[String]) -> Result<Vec<String>, MirrorError> {
    let known = ctx.run.stores.relational.known_commits(ctx.project(), heads).await?;
    Ok(heads.iter().filter(|sha| !known.contains(*sha)).cloned().collect())
}

/// Fingerprints of the SHAs that a full run has fetched so far.
type Seen = Mutex<HashSet<i64>>;

/// Fetches histories from these SHAs down to known commits, or, with `seen`, to commits that this run has fetched.
/// `missing` handles a SHA that GitHub does not have.
async fn walk<F>(
    ctx: &StageContext,
    shas: Vec<String>,
    seen: Option<&Seen>,
    missing: impl Fn(String, ApiError) -> F,
) -> Result<(), MirrorError>
where
    F: Future<Output = Result<(), MirrorError>>,
{
    let missing = &missing;
    for_each_independent(
        ctx,
        MAX_CONCURRENT_BRANCHES,
        shas,
        |sha| history_of(sha),
        |sha| async move {
            match walk_one(ctx, &sha, seen).await {
                Err(MirrorError::Api(error)) if error.says_missing() => missing(sha, error).await,
                done => done,
            }
        },
    )
    .await?;
    ctx.flush().await
}

fn history_of(sha: &str) -> String {
    format!("the history of {sha}")
}

async fn walk_one(ctx: &StageContext, sha: &str, seen: Option<&Seen>) -> Result<(), MirrorError> {
    let seen_before =
        |sha: &str| seen.is_some_and(|s| s.lock().unwrap_or_else(PoisonError::into_inner).contains(&fingerprint(sha)));
    if seen_before(sha) {
        return Ok(());
    }
    let list = history(ctx, "commits", sha);
    let mut ends = UnresolvedParents::default();
    let mut pages = Pages::new(ctx, &list);
    while let Some(MappedPage { documents, rows, .. }) = pages.next().await? {
        ends.record(&rows.commits);
        if let Some(seen) = seen {
            ends.pending.retain(|sha| !seen_before(sha));
            let read = rows.commits.iter().map(|commit| fingerprint(&commit.sha));
            seen.lock().unwrap_or_else(PoisonError::into_inner).extend(read);
        } else {
            ends.remove_known(ctx).await?;
        }
        ctx.write(documents, rows).await?;
        if ends.pending.is_empty() {
            break;
        }
    }
    Ok(())
}

/// Fetches histories of missing parents until no commit of the project lacks one.
async fn fill_history_gaps(ctx: &StageContext) -> Result<(), MirrorError> {
    let mut before: Vec<String> = Vec::new();
    for _ in 0..MAX_GAP_ROUNDS {
        ctx.flush().await?;
        let missing = ctx.run.stores.relational.missing_parents(ctx.project(), PER_PAGE as u32).await?;
        if missing.is_empty() {
            return Ok(());
        }
        if missing == before {
            break;
        }
        walk(ctx, missing.clone(), None, async |_, error| Err(error.into())).await?;
        before = missing;
    }
    ctx.record_incomplete(format!("the history before {} could not be read", before.join(", ")));
    Ok(())
}

/// Syncs the comments on commits. Their list has no `since`: every page is requested conditionally.
pub(crate) async fn sync_commit_comments(ctx: &StageContext) -> Result<(), MirrorError> {
    let url = ctx.url(&["comments"]);
    let list = List::new("commit-comments", url, Collection::CommitComments, COMMIT_COMMENT);
    sync_snapshot(ctx, &list).await
}
