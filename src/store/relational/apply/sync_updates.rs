//! A batch's sync updates.

use std::collections::BTreeMap;

use super::super::sql::{OnConflict, Upsert, Value, date, placeholders};
use super::super::sync_state::PageState;
use super::super::sync_update::SyncUpdate;
use super::BatchWriter;

const PAGES: Upsert = Upsert {
    table: "msght_pages",
    columns: &["list_id", "page", "url", "etag", "token", "last_page", "next", "keys", "checked_at"],
    key: &["list_id", "page"],
    update: &[
        ("url", OnConflict::Overwrite),
        ("etag", OnConflict::Overwrite),
        ("token", OnConflict::Overwrite),
        ("last_page", OnConflict::Overwrite),
        ("next", OnConflict::Overwrite),
        ("keys", OnConflict::Overwrite),
        ("checked_at", OnConflict::Overwrite),
    ],
};

const COMMITS_DETAILED: Upsert = Upsert {
    table: "msght_commit_details",
    columns: &["commit_id", "short"],
    key: &["commit_id"],
    update: &[("short", OnConflict::Overwrite)],
};

const MISSING_ITEMS: Upsert = Upsert {
    table: "msght_missing_items",
    columns: &["project_id", "kind", "item", "answer", "attempts", "first_at", "last_at"],
    key: &["project_id", "kind", "item"],
    update: &[
        ("answer", OnConflict::Overwrite),
        ("attempts", OnConflict::Overwrite),
        ("first_at", OnConflict::Overwrite),
        ("last_at", OnConflict::Overwrite),
    ],
};

const PULLS_DETAILED: Upsert = Upsert {
    table: "msght_pulls",
    columns: &["pull_request_id", "detailed_of"],
    key: &["pull_request_id"],
    update: &[("detailed_of", OnConflict::Overwrite)],
};

/// Maximum number of pages that one statement marks as checked.
const PAGES_PER_STATEMENT: usize = 100;

fn page_row(list: i64, page: &PageState) -> Vec<Value> {
    let (etag, token) = page.validator.clone().map(|v| (v.etag, v.scope)).unzip();
    vec![
        list.into(),
        i64::from(page.page).into(),
        page.url.as_str().into(),
        etag.into(),
        token.into(),
        page.last_page.map(i64::from).into(),
        page.next.clone().into(),
        serde_json::Value::from(page.keys.clone()).to_string().into(),
        page.checked_at.clone().into(),
    ]
}

/// Updates of one kind that share statements.
#[derive(Default)]
struct GroupedUpdates<'a> {
    pages: Vec<Vec<Value>>,
    generation: Option<i64>,
    commits: BTreeMap<&'a str, &'a Option<String>>,
    /// Project and number, with the state that was read.
    pulls: BTreeMap<(i64, i64), &'a str>,
}

impl BatchWriter<'_> {
    pub(super) async fn sync_updates(&mut self, updates: &[SyncUpdate]) -> Result<(), sqlx::Error> {
        let mut grouped = GroupedUpdates::default();
        for update in updates {
            match update {
                SyncUpdate::Page { list, page } => grouped.pages.push(page_row(*list, page)),
                SyncUpdate::PagesEnd { list, last } => {
                    // A page that is read again later in the batch is stored after this.
                    self.tx.upsert(&PAGES, std::mem::take(&mut grouped.pages)).await?;
                    let sql = "DELETE FROM msght_pages WHERE list_id = ? AND page > ?";
                    self.tx.execute(sql, vec![(*list).into(), i64::from(*last).into()]).await?;
                }
                SyncUpdate::Documents { generation } => {
                    grouped.generation = grouped.generation.max(Some(*generation));
                }
                SyncUpdate::CommitDetailed { sha, short } => _ = grouped.commits.insert(sha, short),
                SyncUpdate::PullDetailed { project, number, of } => {
                    grouped.pulls.insert((*project, *number), of);
                }
                other => self.apply_update(other).await?,
            }
        }
        self.tx.upsert(&PAGES, grouped.pages).await?;
        if let Some(generation) = grouped.generation {
            let sql = "UPDATE msght_document_store SET generation = ?1 WHERE generation < ?1";
            self.tx.execute(sql, vec![generation.into()]).await?;
        }
        self.commits_detailed(&grouped.commits).await?;
        self.pulls_detailed(&grouped.pulls).await
    }

    async fn commits_detailed(&mut self, commits: &BTreeMap<&str, &Option<String>>) -> Result<(), sqlx::Error> {
        let unknown: Vec<&str> =
            commits.keys().copied().filter(|sha| self.ids.commits.get(&(*sha).to_owned()).is_none()).collect();
        self.find_commits(unknown.into_iter()).await?;
        let mut rows = Vec::new();
        for (sha, short) in commits {
            if let Some(id) = self.ids.commits.get(&(*sha).to_owned()) {
                rows.push(vec![id.into(), (*short).clone().into()]);
            }
        }
        self.tx.upsert(&COMMITS_DETAILED, rows).await.map(drop)
    }

    async fn pulls_detailed(&mut self, pulls: &BTreeMap<(i64, i64), &str>) -> Result<(), sqlx::Error> {
        let unknown = pulls.keys().copied().filter(|key| self.ids.pulls.get(key).is_none()).collect();
        self.find_pulls(&unknown).await?;
        let mut rows = Vec::new();
        for (key, of) in pulls {
            if let Some(id) = self.ids.pulls.get(key) {
                rows.push(vec![id.into(), (*of).into()]);
            }
        }
        self.tx.upsert(&PULLS_DETAILED, rows).await.map(drop)
    }

    /// Applies a single update.
    async fn apply_update(&mut self, update: &SyncUpdate) -> Result<(), sqlx::Error> {
        match update {
            SyncUpdate::Page { .. }
            | SyncUpdate::PagesEnd { .. }
            | SyncUpdate::Documents { .. }
            | SyncUpdate::CommitDetailed { .. }
            | SyncUpdate::PullDetailed { .. } => {}
            SyncUpdate::PagesChecked { list, pages } => {
                let pages: Vec<Value> = pages.iter().map(|page| i64::from(*page).into()).collect();
                let now = date(chrono::Utc::now());
                for chunk in pages.chunks(PAGES_PER_STATEMENT) {
                    let sql = format!(
                        "UPDATE msght_pages SET checked_at = ? WHERE list_id = ? AND page IN ({})",
                        placeholders(chunk.len())
                    );
                    let mut params = vec![now.as_str().into(), (*list).into()];
                    params.extend(chunk.iter().cloned());
                    self.tx.execute(&sql, params).await?;
                }
            }
            SyncUpdate::Watermark { list, watermark } => {
                let sql = "UPDATE msght_lists SET watermark = ?1 \
                           WHERE id = ?2 AND (watermark IS NULL OR watermark <> ?1)";
                self.tx.execute(sql, vec![watermark.as_str().into(), (*list).into()]).await?;
            }
            SyncUpdate::Completed { list, watermark } => {
                let now = date(chrono::Utc::now());
                let sql = "UPDATE msght_lists SET completed_at = ?, pending = NULL, watermark = coalesce(?, watermark) \
                           WHERE id = ?";
                self.tx.execute(sql, vec![now.into(), watermark.clone().into(), (*list).into()]).await?;
            }
            SyncUpdate::ItemMissing(missing) => {
                let row = vec![
                    missing.project.into(),
                    missing.kind.name().into(),
                    missing.item.as_str().into(),
                    missing.answer.as_str().into(),
                    missing.attempts.into(),
                    date(missing.first_at).into(),
                    date(missing.last_at).into(),
                ];
                self.tx.upsert(&MISSING_ITEMS, vec![row]).await?;
            }
            SyncUpdate::ItemFound { project, kind, item } => {
                let sql = "DELETE FROM msght_missing_items WHERE project_id = ? AND kind = ? AND item = ?";
                self.tx.execute(sql, vec![(*project).into(), kind.name().into(), item.as_str().into()]).await?;
            }
            SyncUpdate::IssueGone { project, number } => {
                // An issue of which only the number is known is assigned to the ghost, so that it is not asked for
                // again.
                let sql =
                    "UPDATE issues SET reporter_id = ? WHERE repo_id = ? AND issue_id = ? AND reporter_id IS NULL";
                let ghost = self.ghost().await?;
                self.tx.execute(sql, vec![ghost.into(), (*project).into(), (*number).into()]).await?;
            }
            SyncUpdate::ProfileUnchanged { user, at } => self.record_unchanged_profile(*user, *at).await?,
            SyncUpdate::ProfileMissing { user, at, certain } => {
                self.record_missing_profile(*user, *at, *certain).await?;
            }
        }
        Ok(())
    }
}
