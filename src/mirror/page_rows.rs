//! Rows of pages on their way into one transaction, and the handling of rows that the database rejects.

use std::sync::Arc;

use super::stats::WriteCounts;
use crate::store::BackendError;
use crate::store::relational::{ApplyOutcome, Relational, RowBatch, SyncUpdate};

/// Rows of a page whose documents are stored.
pub(super) struct PageRows {
    /// Counters of its stage.
    pub counts: Arc<WriteCounts>,
    pub rows: RowBatch,
    /// True if the document store has rejected one of its documents.
    pub lacks_documents: bool,
}

impl PageRows {
    /// Records with a commit's details that its document is stored without a part.
    pub(super) fn record_reduced(&mut self, reduced: &str) {
        for update in &mut self.rows.sync_updates {
            if let SyncUpdate::CommitDetailed { short, .. } = update {
                *short = Some(match short.take() {
                    Some(short) => format!("{short}; {reduced}"),
                    None => reduced.to_owned(),
                });
            }
        }
    }

    /// Drops updates of the sync state that would not be true.
    ///
    /// A page that is not stored as a whole records nothing, so that the next run fetches it again. Its stage's
    /// watermarks and completions are dropped, too: they may lie behind what is missing. Updates that come with rows
    /// are kept; updates alone may concern anything handed in before.
    fn drop_untrue_updates(&mut self) {
        if self.lacks_documents {
            self.rows.sync_updates.clear();
            self.rows.pull_commits.iter_mut().for_each(|pull| pull.complete = false);
        } else if self.counts.has_rejected() {
            let has_rows = self.rows.has_rows();
            self.rows.sync_updates.retain(|update| match update {
                SyncUpdate::Watermark { .. } | SyncUpdate::Completed { .. } | SyncUpdate::PagesEnd { .. } => false,
                SyncUpdate::Page { .. } | SyncUpdate::CommitDetailed { .. } | SyncUpdate::PullDetailed { .. } => {
                    has_rows
                }
                _ => true,
            });
        }
    }
}

/// Stores pages in one transaction. A row that the database rejects is found, named in its stage's counters and left
/// out. `generation` is the document store's, since the documents are stored.
pub(super) async fn store(
    relational: &Relational,
    mut pages: Vec<PageRows>,
    generation: Option<i64>,
) -> Result<(), BackendError> {
    let mut batch = RowBatch::default();
    let mut extents = Vec::with_capacity(pages.len());
    for page in &mut pages {
        page.drop_untrue_updates();
        extents.push(page.rows.row_counts());
        batch.append(std::mem::take(&mut page.rows));
    }
    batch.sync_updates.extend(generation.map(|generation| SyncUpdate::Documents { generation }));
    if batch.is_empty() || relational.apply_or_reject(&batch).await? == ApplyOutcome::Applied {
        return Ok(());
    }
    for (page, extent) in pages.iter_mut().zip(&extents) {
        page.rows = batch.take_front(extent);
        store_page(relational, page).await?;
    }
    relational.apply(batch).await
}

async fn store_page(relational: &Relational, page: &mut PageRows) -> Result<(), BackendError> {
    page.drop_untrue_updates();
    let ApplyOutcome::Rejected(reason) = relational.apply_or_reject(&page.rows).await? else { return Ok(()) };
    let single = page.rows.take_single_rows();
    let rejected = store_what_can_be(relational, &single).await?;
    if rejected.is_empty() {
        // Each row by itself was taken: it is the sync state that can't be recorded.
        if let ApplyOutcome::Rejected(reason) = relational.apply_or_reject(&page.rows).await? {
            page.counts.add_rejected(format!("the sync state of a page is not stored: {reason}"));
        }
        return Ok(());
    }
    tracing::warn!(%reason, rows = rejected.len(), "rows rejected");
    for (name, reason) in rejected {
        page.counts.add_rejected(format!("the row {name} is not stored: {reason}"));
    }
    Ok(())
}

/// Stores all rows but those that the database rejects, by halving rejected batches. Returns the names of rejected rows
/// with the database's reasons.
async fn store_what_can_be(relational: &Relational, rows: &[RowBatch]) -> Result<Vec<(String, String)>, BackendError> {
    let mut rejected = Vec::new();
    let mut left = vec![rows];
    while let Some(rows) = left.pop() {
        let mut together = RowBatch::default();
        rows.iter().cloned().for_each(|row| together.append(row));
        let ApplyOutcome::Rejected(reason) = relational.apply_or_reject(&together).await? else { continue };
        if let [row] = rows {
            rejected.push((row.describe(), reason));
        } else {
            let (front, back) = rows.split_at(rows.len() / 2);
            left.extend([back, front]);
        }
    }
    Ok(rejected)
}
