//! Comments whose number differs from what GitHub counts.
//!
//! An issue states how many comments it has. If the stored number differs, its own list is fetched: a comment was
//! deleted, or has an old date that no refresh finds, such as those of an issue that was transferred here.

use std::collections::HashSet;

use super::{issues, pulls};
use crate::github::ApiError;
use crate::mirror::context::StageContext;
use crate::mirror::error::MirrorError;
use crate::mirror::independent::for_each_independent;
use crate::mirror::lists::tombstone;
use crate::store::documents::Collection;
use crate::store::relational::{CommentKind, CountMismatch};

/// Issues whose comments are fetched concurrently.
const MAX_CONCURRENT_ITEMS: usize = 8;

/// Compares the comment counts of issues with the stored comments, and fetches the lists of those that differ.
pub(crate) async fn reconcile_comment_counts(ctx: &StageContext, what: CommentKind) -> Result<(), MirrorError> {
    ctx.flush().await?;
    let mismatches = ctx.run.stores.relational.count_mismatches(ctx.project(), what).await?;
    let (settled, open): (Vec<_>, Vec<_>) = mismatches.into_iter().partition(|found| found.confirmed);
    let name = |found: &CountMismatch| format!("comments of #{}", found.number);
    for_each_independent(ctx, MAX_CONCURRENT_ITEMS, open, name, |found| resync_comments(ctx, what, found)).await?;
    if let Some(first) = settled.first() {
        ctx.record_final_gap(format!(
            "GitHub counts other comments than it lists for {} issues or pull requests (#{}: {} counted, {} listed)",
            settled.len(),
            first.number,
            first.reported,
            first.stored
        ));
    }
    Ok(())
}

async fn resync_comments(ctx: &StageContext, what: CommentKind, found: CountMismatch) -> Result<(), MirrorError> {
    let (listed, collection) = match what {
        CommentKind::IssueComments => (issues::sync_comments_of(ctx, found.number).await, Collection::IssueComments),
        CommentKind::ReviewComments => {
            (pulls::sync_review_comments_of(ctx, found.number).await, Collection::PullRequestComments)
        }
    };
    let listed: HashSet<String> = match listed {
        // It may be gone as a whole, and its page not yet have been looked at again.
        Err(MirrorError::Api(ApiError::NotFound { .. } | ApiError::Gone { .. })) => {
            return issues::refresh_or_tombstone(ctx, found.number).await;
        }
        listed => listed?,
    };
    if listed.is_empty() && found.reported > 0 {
        ctx.record_incomplete(format!("#{} states {} comments, and its list is empty", found.number, found.reported));
        return Ok(());
    }
    ctx.flush().await?;
    let (name, digits) = (&ctx.repository().name, found.number.to_string());
    let documents = &ctx.run.stores.documents;
    let key = [name.owner(), name.name(), &digits];
    let (mut gone, mut pages) = (Vec::new(), documents.id_pages(collection, &key));
    while let Some(ids) = pages.next().await? {
        gone.extend(ids.into_iter().filter(|id| !listed.contains(id)));
    }
    tombstone(ctx, collection, &gone).await?;
    if ctx.is_incomplete() {
        return Ok(());
    }
    ctx.flush().await?;
    Ok(ctx.run.stores.relational.confirm_count(ctx.project(), what, &found).await?)
}
