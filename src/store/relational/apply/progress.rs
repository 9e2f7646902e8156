//! The sync state's share of a batch.

use super::super::rows::Progress;
use super::super::sql::{Rule, Upsert, Value, date};
use super::people::PROFILE_FACTS;
use super::{Batch, id_of};

const PAGES: Upsert = Upsert {
    table: "msght_pages",
    columns: &["list_id", "page", "url", "etag", "token", "last_page", "next", "keys"],
    key: &["list_id", "page"],
    update: &[
        ("url", Rule::Replace),
        ("etag", Rule::Replace),
        ("token", Rule::Replace),
        ("last_page", Rule::Replace),
        ("next", Rule::Replace),
        ("keys", Rule::Replace),
    ],
};

const COMMITS_DETAILED: Upsert = Upsert {
    table: "msght_commit_details",
    columns: &["commit_id", "short"],
    key: &["commit_id"],
    update: &[("short", Rule::Replace)],
};

const PULLS_DETAILED: Upsert = Upsert {
    table: "msght_pulls",
    columns: &["pull_request_id", "detailed_of"],
    key: &["pull_request_id"],
    update: &[("detailed_of", Rule::Replace)],
};

impl Batch<'_> {
    pub(super) async fn progress(&mut self, steps: &[Progress]) -> Result<(), sqlx::Error> {
        for step in steps {
            self.step(step).await?;
        }
        Ok(())
    }

    async fn step(&mut self, step: &Progress) -> Result<(), sqlx::Error> {
        match step {
            Progress::Page { list, page } => {
                let keys = serde_json::Value::from(page.keys.clone()).to_string();
                let (etag, token) = page.validator.clone().map(|v| (v.etag, v.token)).unzip();
                let row = vec![
                    (*list).into(),
                    i64::from(page.page).into(),
                    page.url.as_str().into(),
                    etag.into(),
                    token.into(),
                    page.last_page.map(i64::from).into(),
                    page.next.clone().into(),
                    keys.into(),
                ];
                self.tx.upsert(&PAGES, vec![row]).await?;
            }
            Progress::PagesEnd { list, last } => {
                let sql = "DELETE FROM msght_pages WHERE list_id = ? AND page > ?";
                self.tx.execute(sql, vec![(*list).into(), i64::from(*last).into()]).await?;
            }
            Progress::Watermark { list, watermark } => {
                let sql = "UPDATE msght_lists SET watermark = ?1 \
                           WHERE id = ?2 AND (watermark IS NULL OR watermark <> ?1)";
                self.tx.execute(sql, vec![watermark.as_str().into(), (*list).into()]).await?;
            }
            Progress::Completed { list, watermark } => {
                let now = date(chrono::Utc::now());
                let sql = "UPDATE msght_lists SET completed_at = ?, pending = NULL, watermark = coalesce(?, watermark) \
                           WHERE id = ?";
                self.tx.execute(sql, vec![now.into(), watermark.clone().into(), (*list).into()]).await?;
            }
            Progress::Documents { generation } => {
                let sql = "UPDATE msght_document_store SET generation = ?1 WHERE generation < ?1";
                self.tx.execute(sql, vec![(*generation).into()]).await?;
            }
            Progress::CommitDetailed { sha, short } => {
                let found = self.tx.fetch("SELECT id FROM commits WHERE sha = ?", vec![sha.as_str().into()]).await?;
                let rows: Vec<Vec<Value>> =
                    found.iter().map(|row| vec![id_of(row).into(), short.clone().into()]).collect();
                self.tx.upsert(&COMMITS_DETAILED, rows).await?;
            }
            Progress::PullDetailed { project, number, of } => {
                let sql = "SELECT id FROM pull_requests WHERE base_repo_id = ? AND pullreq_id = ?";
                let found = self.tx.fetch(sql, vec![(*project).into(), (*number).into()]).await?;
                let rows = found.iter().map(|row| vec![id_of(row).into(), of.as_str().into()]).collect();
                self.tx.upsert(&PULLS_DETAILED, rows).await?;
            }
            Progress::IssueGone { project, number } => {
                // Where nothing is known of it but its number, it was the ghost's: then it isn't asked for again.
                let sql =
                    "UPDATE issues SET reporter_id = ? WHERE repo_id = ? AND issue_id = ? AND reporter_id IS NULL";
                let ghost = self.ghost().await?;
                self.tx.execute(sql, vec![ghost.into(), (*project).into(), (*number).into()]).await?;
            }
            Progress::UserGone { login, at } => {
                let sql = "UPDATE users SET deleted = 1 WHERE login = ?";
                self.tx.execute(sql, vec![login.as_str().into()]).await?;
                let found = self.tx.fetch("SELECT id FROM users WHERE login = ?", vec![login.as_str().into()]).await?;
                let rows = found.iter().map(|row| vec![id_of(row).into(), date(*at).into()]).collect();
                self.tx.upsert(&PROFILE_FACTS, rows).await?;
            }
        }
        Ok(())
    }
}
