//! Tombstones rows of items that GitHub has deleted. Rows stay (`docs/data-model.md`, "What is kept when something goes").

use super::super::batch::RowBatch;
use super::super::rows::DeletedItem;
use super::super::sql::Value;
use super::{BatchWriter, MAX_TEXT, id_of, truncate};

impl BatchWriter<'_> {
    pub(super) async fn tombstone_items(&mut self, rows: &RowBatch) -> Result<(), sqlx::Error> {
        for gone in &rows.deleted_items {
            let (sql, params): (&str, Vec<Value>) = match gone {
                DeletedItem::Issue(project, number) => (
                    "UPDATE issues SET deleted = 1 WHERE repo_id = ? AND issue_id = ?",
                    vec![(*project).into(), (*number).into()],
                ),
                DeletedItem::PullRequest(project, number) => (
                    "UPDATE pull_requests SET deleted = 1 WHERE base_repo_id = ? AND pullreq_id = ?",
                    vec![(*project).into(), (*number).into()],
                ),
                DeletedItem::IssueComment(id) => {
                    ("UPDATE issue_comments SET deleted = 1 WHERE comment_id = ?", vec![(*id).into()])
                }
                DeletedItem::ReviewComment(id) => {
                    ("UPDATE pull_request_comments SET deleted = 1 WHERE comment_id = ?", vec![(*id).into()])
                }
                DeletedItem::CommitComment(id) => {
                    ("UPDATE commit_comments SET deleted = 1 WHERE comment_id = ?", vec![(*id).into()])
                }
                DeletedItem::Label(project, name) => (
                    "UPDATE repo_labels SET deleted = 1 WHERE repo_id = ? AND name = ?",
                    vec![(*project).into(), truncate(name, MAX_TEXT).into()],
                ),
            };
            self.tx.execute(sql, params).await?;
        }
        for (project, titles) in &rows.milestone_titles {
            self.tombstone_milestones(*project, titles).await?;
        }
        Ok(())
    }

    /// Marks milestones whose title no milestone has any more: GHTorrent knows milestones by title.
    async fn tombstone_milestones(&mut self, project: i64, titles: &[String]) -> Result<(), sqlx::Error> {
        let titles: Vec<String> = titles.iter().map(|title| truncate(title, MAX_TEXT)).collect();
        let sql = "SELECT id, name, deleted FROM repo_milestones WHERE repo_id = ?";
        for row in self.tx.fetch(sql, vec![project.into()]).await? {
            let gone = !row[1].as_str().is_some_and(|name| titles.iter().any(|title| title == name));
            if gone != (row[2].as_i64() == Some(1)) {
                let sql = "UPDATE repo_milestones SET deleted = ? WHERE id = ?";
                self.tx.execute(sql, vec![gone.into(), id_of(&row).into()]).await?;
            }
        }
        Ok(())
    }
}
