//! Splits a batch: into the pages that it was merged from, and into single rows, so that a row that the database
//! rejects can be found and named.

use super::batch::{RowBatch, with_row_fields};

/// Maximum characters shown of a row that has no short name.
const MAX_SHOWN: usize = 160;

/// The number of rows of each kind that a page has added to a batch.
#[derive(Debug, Clone)]
pub struct RowCounts(Vec<usize>);

impl RowBatch {
    /// Counts the rows of each kind.
    pub fn row_counts(&self) -> RowCounts {
        macro_rules! extent {
            ($($field:ident),+) => { RowCounts(vec![$(self.$field.len()),+]) };
        }
        with_row_fields!(extent)
    }

    /// Returns whether there is nothing to store.
    pub fn is_empty(&self) -> bool {
        self.row_counts().0.iter().all(|count| *count == 0)
    }

    /// Returns whether there are rows besides the sync updates.
    pub fn has_rows(&self) -> bool {
        self.row_counts().0.iter().sum::<usize>() > self.sync_updates.len()
    }

    /// Takes a number of rows of each kind from the front: the inverse of [`RowBatch::append`].
    pub fn take_front(&mut self, extent: &RowCounts) -> Self {
        let mut counts = extent.0.iter().copied();
        macro_rules! take {
            ($($field:ident),+) => {
                Self { $($field: {
                    let count = counts.next().unwrap_or(0).min(self.$field.len());
                    self.$field.drain(..count).collect()
                }),+ }
            };
        }
        with_row_fields!(take)
    }

    /// Splits the batch into single rows in the order in which they are applied. The sync updates stay.
    pub fn take_single_rows(&mut self) -> Vec<Self> {
        let sync_updates = std::mem::take(&mut self.sync_updates);
        let mut single = Vec::new();
        macro_rules! single {
            ($($field:ident),+) => {
                $(single.extend(self.$field.drain(..).map(|row| Self { $field: vec![row], ..Self::default() }));)+
            };
        }
        with_row_fields!(single);
        self.sync_updates = sync_updates;
        single
    }

    /// Describes the first row by its table and key.
    pub fn describe(&self) -> String {
        if let Some(commit) = self.commits.first() {
            return format!("commits {}", commit.sha);
        }
        if let Some(issue) = self.issues.first() {
            return format!("issues #{}", issue.number);
        }
        if let Some(pull) = self.pulls.first() {
            return format!("pull_requests #{}", pull.number);
        }
        if let Some(comment) = self.issue_comments.first() {
            return format!("issue_comments {}, of #{}", comment.comment_id, comment.number);
        }
        if let Some(comment) = self.commit_comments.first() {
            return format!("commit_comments {}", comment.comment_id);
        }
        if let Some(comment) = self.review_comments.first() {
            return format!("pull_request_comments {}, of #{}", comment.comment_id, comment.number);
        }
        if let Some(event) = self.issue_events.first() {
            return format!("issue_events {}, of #{}", event.event_id, event.number);
        }
        macro_rules! first {
            ($($field:ident),+) => {
                $(if let Some(row) = self.$field.first() {
                    return format!("{} {}", stringify!($field), shown(&format!("{row:?}")));
                })+
            };
        }
        with_row_fields!(first);
        "nothing".to_owned()
    }
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{} ...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::relational::SyncUpdate;

    fn rows(labels: &[&str], deleted_teams: &[i64]) -> RowBatch {
        RowBatch {
            labels: labels.iter().map(|name| (1, (*name).to_owned())).collect(),
            deleted_teams: deleted_teams.to_vec(),
            sync_updates: vec![SyncUpdate::Documents { generation: 1 }],
            ..RowBatch::default()
        }
    }

    #[test]
    fn batch_splits_into_pages_and_rows() {
        let pages = [rows(&["a", "b"], &[]), rows(&[], &[7]), rows(&["c"], &[8])];
        let extents: Vec<RowCounts> = pages.iter().map(RowBatch::row_counts).collect();
        let mut batch = RowBatch::default();
        pages.iter().cloned().for_each(|page| batch.append(page));
        for (page, extent) in pages.iter().zip(&extents) {
            assert_eq!(format!("{:?}", batch.take_front(extent)), format!("{page:?}"));
        }
        assert!(batch.is_empty());
        let mut page = rows(&["a", "b"], &[9]);
        let single = page.take_single_rows();
        let names: Vec<String> = single.iter().map(RowBatch::describe).collect();
        assert_eq!(names, ["labels (1, \"a\")", "labels (1, \"b\")", "deleted_teams 9"]);
        assert!(!page.has_rows() && !page.is_empty());
    }
}
