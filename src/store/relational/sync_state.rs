//! The sync state: progress and ETags of every list.

use std::collections::HashSet;

use xxhash_rust::xxh3::xxh3_64;

use super::Relational;
use super::sql::{OnConflict, Upsert, Value, date};
use crate::store::BackendError;
use crate::store::documents::StoreIdentity;
use crate::validator::Validator;

/// State of one page of a list.
#[derive(Debug, Clone)]
pub struct PageState {
    /// The page number, from 1.
    pub page: u32,
    /// Path and query it was read from.
    pub url: String,
    /// The ETag.
    pub validator: Option<Validator>,
    /// The list's last page, if this page's links told it.
    pub last_page: Option<u32>,
    /// Path and query of the next page.
    pub next: Option<String>,
    /// Fingerprints of its items.
    pub keys: Vec<i64>,
    /// Time of the last check, for lists whose pages are checked in turn; `None` requires a new request.
    pub checked_at: Option<String>,
}

impl PageState {
    /// Returns the state of a page that is kept for its ETag alone, without items.
    pub fn single(url: &impl ToString, validator: Option<Validator>) -> Self {
        Self {
            page: 1,
            url: url.to_string(),
            validator,
            last_page: None,
            next: None,
            keys: Vec::new(),
            checked_at: None,
        }
    }
}

/// Returns a 64-bit fingerprint of a document id or SHA, for lists of millions of items. Among a million of them the
/// chance of a collision is 1 in 37 million.
pub fn fingerprint(id: &str) -> i64 {
    xxh3_64(id.as_bytes()).cast_signed()
}

/// State of a list.
#[derive(Debug, Clone)]
pub struct ListState {
    /// The row id.
    pub id: i64,
    /// Progress of the list; its meaning (a date, an id) is up to the list.
    pub watermark: Option<String>,
    /// Checkpoint of an unfinished walk.
    pub pending: Option<String>,
    /// Read from beginning to end at least once.
    pub completed: bool,
}

/// Decodes a list's row: id, watermark, pending, completed_at.
pub(super) fn list_state(row: Vec<Value>) -> ListState {
    let mut row = row.into_iter();
    let mut next = || row.next().unwrap_or(Value::Null);
    ListState {
        id: next().as_i64().unwrap_or(0),
        watermark: next().into_text(),
        pending: next().into_text(),
        completed: next() != Value::Null,
    }
}

/// Decodes a page's row: page, url, etag, token, last_page, next, keys, checked_at.
pub(super) fn page_state(row: &[Value]) -> PageState {
    let number = |value: &Value| value.as_i64().and_then(|number| u32::try_from(number).ok());
    PageState {
        page: number(&row[0]).unwrap_or(1),
        url: row[1].as_str().unwrap_or_default().to_owned(),
        validator: row[2]
            .as_str()
            .map(|etag| Validator { etag: etag.to_owned(), scope: row[3].as_str().unwrap_or_default().to_owned() }),
        last_page: number(&row[4]),
        next: row[5].as_str().map(str::to_owned),
        keys: row[6].as_str().and_then(|keys| serde_json::from_str(keys).ok()).unwrap_or_default(),
        checked_at: row[7].as_str().map(str::to_owned),
    }
}

const LISTS: Upsert =
    Upsert { table: "msght_lists", columns: &["project_id", "name"], key: &["project_id", "name"], update: &[] };

const LIST_READERS: Upsert = Upsert {
    table: "msght_list_readers",
    columns: &["list_id", "token"],
    key: &["list_id"],
    update: &[("token", OnConflict::Overwrite)],
};

impl Relational {
    /// Returns the state of a project's list, inserting its row if it was never read.
    pub async fn list(&self, project: i64, name: &str) -> Result<ListState, BackendError> {
        if let Some(state) = self.lists.state(project, name) {
            return Ok(state);
        }
        let sql = "SELECT id, watermark, pending, completed_at FROM msght_lists WHERE project_id = ? AND name = ?";
        let params = || vec![project.into(), name.into()];
        let mut found = self.read(sql, params()).await?;
        if found.is_empty() {
            self.upsert(&LISTS, vec![params()]).await?;
            found = self.read(sql, params()).await?;
        }
        Ok(list_state(found.into_iter().next().unwrap_or_default()))
    }

    /// Resets a project's lists whose names match an SQL LIKE pattern, so that they are read from the beginning.
    pub async fn reset_lists(&self, project: i64, name_like: &str) -> Result<(), BackendError> {
        self.lists.invalidate_project(project);
        // The rows stay: another process may be about to store pages that refer to them.
        let params = || vec![project.into(), name_like.into()];
        let sql = "DELETE FROM msght_pages WHERE list_id IN \
                   (SELECT id FROM msght_lists WHERE project_id = ? AND name LIKE ?)";
        self.write(sql, params()).await?;
        let sql = "UPDATE msght_lists SET watermark = NULL, pending = NULL, completed_at = NULL \
                   WHERE project_id = ? AND name LIKE ?";
        self.write(sql, params()).await.map(drop)
    }

    /// Resets a project's whole sync state, so that everything is read from the beginning.
    pub async fn reset(&self, project: i64) -> Result<(), BackendError> {
        self.reset_lists(project, "%").await?;
        self.reset_pull_details(project).await?;
        self.reset_details(project).await
    }

    /// Returns the document store that the sync state refers to, at its generation then.
    pub async fn paired_documents(&self) -> Result<Option<StoreIdentity>, BackendError> {
        let rows = self.read("SELECT id, generation FROM msght_document_store", Vec::new()).await?;
        let identity =
            |row: &Vec<Value>| Some(StoreIdentity { id: row[0].as_str()?.to_owned(), generation: row[1].as_i64()? });
        Ok(rows.first().and_then(identity))
    }

    /// Pairs the sync state, which refers to the store `known`, with this one. If it is another store or an older state
    /// of it (a backup, a lost write-ahead log), the sync state is reset, because what it calls stored is missing
    /// there. Returns whether it was reset.
    pub async fn pair_documents(
        &self,
        known: Option<&StoreIdentity>,
        store: &StoreIdentity,
    ) -> Result<bool, BackendError> {
        if known.is_some_and(|known| known.id == store.id && known.generation <= store.generation) {
            return Ok(false);
        }
        self.lists.clear();
        if known.is_some() {
            for sql in [
                "DELETE FROM msght_pages",
                "UPDATE msght_lists SET watermark = NULL, pending = NULL, completed_at = NULL",
                "UPDATE msght_pulls SET commits_of = NULL, detailed_of = NULL",
                "DELETE FROM msght_commit_details",
                "UPDATE msght_users SET profile_at = NULL",
                "UPDATE msght_profiles SET documents_as = NULL, etag = NULL",
                "UPDATE msght_projects SET documents_as = NULL",
            ] {
                self.write(sql, Vec::new()).await?;
            }
        }
        self.write("DELETE FROM msght_document_store", Vec::new()).await?;
        let params = vec![store.id.as_str().into(), store.generation.into()];
        self.write("INSERT INTO msght_document_store (id, generation) VALUES (?, ?)", params).await?;
        Ok(known.is_some())
    }

    /// Stores a marker on a list without changing its completeness. Reading the whole list removes it.
    pub async fn save_marker(&self, list: i64, mark: &str) -> Result<(), BackendError> {
        self.lists.invalidate(list);
        let sql = "UPDATE msght_lists SET pending = ? WHERE id = ?";
        self.write(sql, vec![mark.into(), list.into()]).await.map(drop)
    }

    /// Stores the checkpoint from which an interrupted walk resumes.
    pub async fn save_checkpoint(&self, list: i64, pending: &str) -> Result<(), BackendError> {
        self.lists.invalidate(list);
        let sql = "UPDATE msght_lists SET pending = ?, completed_at = NULL WHERE id = ?";
        self.write(sql, vec![pending.into(), list.into()]).await.map(drop)
    }

    /// Returns the fingerprint of the token with which a list was read completely.
    pub async fn list_reader(&self, list: i64) -> Result<Option<String>, BackendError> {
        let rows = self.read("SELECT token FROM msght_list_readers WHERE list_id = ?", vec![list.into()]).await?;
        Ok(rows.into_iter().next().and_then(|mut row| row.pop()?.into_text()))
    }

    /// Records the token that a list was read with.
    pub async fn set_list_reader(&self, list: i64, token: &str) -> Result<(), BackendError> {
        self.upsert(&LIST_READERS, vec![vec![list.into(), token.into()]]).await
    }

    /// Returns the pages of a list, in order.
    pub async fn pages(&self, list: i64) -> Result<Vec<PageState>, BackendError> {
        if let Some(pages) = self.lists.pages(list) {
            return Ok(pages);
        }
        let sql = "SELECT page, url, etag, token, last_page, next, `keys`, checked_at FROM msght_pages \
                   WHERE list_id = ? ORDER BY page";
        let rows = self.read(sql, vec![list.into()]).await?;
        Ok(rows.iter().map(|row| page_state(row)).collect())
    }

    /// Returns parents of a project's commits that are not known as the project's own: gaps in its history.
    pub async fn missing_parents(&self, project: i64, limit: u32) -> Result<Vec<String>, BackendError> {
        let sql = "SELECT DISTINCT c.sha FROM project_commits p JOIN commit_parents cp ON cp.commit_id = p.commit_id \
                   JOIN commits c ON c.id = cp.parent_id WHERE p.project_id = ?1 AND NOT EXISTS \
                   (SELECT 1 FROM project_commits q WHERE q.project_id = ?1 AND q.commit_id = cp.parent_id) \
                   ORDER BY c.sha LIMIT ?2";
        let rows = self.read(sql, vec![project.into(), i64::from(limit).into()]).await?;
        Ok(rows.into_iter().filter_map(|row| row[0].as_str().map(str::to_owned)).collect())
    }

    /// Returns those of the given commits that are known as the project's own.
    pub async fn known_commits(&self, project: i64, shas: &[String]) -> Result<HashSet<String>, BackendError> {
        let sql = "SELECT c.sha FROM commits c JOIN project_commits p ON p.commit_id = c.id AND p.project_id = ? \
                   WHERE c.sha IN ({})";
        let rows = self.read_many(sql, &[project.into()], shas).await?;
        Ok(rows.into_iter().filter_map(|row| row[0].as_str().map(str::to_owned)).collect())
    }

    /// Returns pull requests whose commits have not been read for their current head, at most `limit` with numbers
    /// above `after`: number, head, and whether the stored document has the commit count at this head.
    pub async fn pulls_with_unfetched_commits(
        &self,
        project: i64,
        after: i64,
        limit: u32,
    ) -> Result<Vec<(i64, String, bool)>, BackendError> {
        let sql = "SELECT p.pullreq_id, coalesce(m.head, ''), coalesce(m.detailed_of = m.updated_at, 0) \
                   FROM pull_requests p JOIN msght_pulls m ON m.pull_request_id = p.id \
                   WHERE p.base_repo_id = ? AND p.deleted = 0 AND p.pullreq_id > ? AND m.updated_at IS NOT NULL \
                   AND (m.commits_of IS NULL OR m.commits_of <> coalesce(m.head, '')) ORDER BY p.pullreq_id LIMIT ?";
        let rows = self.read(sql, vec![project.into(), after.into(), i64::from(limit).into()]).await?;
        let pull = |row: Vec<Value>| Some((row[0].as_i64()?, row[1].as_str()?.to_owned(), row[2] == Value::Integer(1)));
        Ok(rows.into_iter().filter_map(pull).collect())
    }

    /// Returns the head for which a pull request's commits were read and how many are stored; `None` if they were not
    /// read for the current one.
    pub async fn fetched_pull_commits(&self, project: i64, number: i64) -> Result<Option<(String, i64)>, BackendError> {
        let sql = "SELECT m.commits_of, (SELECT count(*) FROM pull_request_commits x WHERE x.pull_request_id = p.id) \
                   FROM pull_requests p JOIN msght_pulls m ON m.pull_request_id = p.id \
                   WHERE p.base_repo_id = ? AND p.pullreq_id = ? AND m.commits_of = m.head";
        let rows = self.read(sql, vec![project.into(), number.into()]).await?;
        Ok(rows.first().and_then(|row| Some((row[0].as_str()?.to_owned(), row[1].as_i64()?))))
    }

    /// Marks a pull request's commits as unread. The stored ones stay.
    pub async fn reset_pull_commits(&self, project: i64, number: i64) -> Result<(), BackendError> {
        let sql = "UPDATE msght_pulls SET commits_of = NULL WHERE pull_request_id IN \
                   (SELECT id FROM pull_requests WHERE base_repo_id = ? AND pullreq_id = ?)";
        self.write(sql, vec![project.into(), number.into()]).await.map(drop)
    }

    /// Returns the numbers of pull requests that are referred to but were in no list.
    pub async fn unfetched_pulls(&self, project: i64) -> Result<Vec<i64>, BackendError> {
        let sql = "SELECT p.pullreq_id FROM pull_requests p LEFT JOIN msght_pulls m ON m.pull_request_id = p.id \
                   WHERE p.base_repo_id = ? AND p.deleted = 0 AND m.updated_at IS NULL ORDER BY p.pullreq_id";
        self.numbers(sql, project).await
    }

    /// Returns the numbers of issues that are referred to but were in no list.
    pub async fn unfetched_issues(&self, project: i64) -> Result<Vec<i64>, BackendError> {
        let sql = "SELECT issue_id FROM issues WHERE repo_id = ? AND reporter_id IS NULL ORDER BY issue_id";
        self.numbers(sql, project).await
    }

    /// Marks pull requests as never read, so that they are fetched again.
    pub async fn reset_pulls(&self, project: i64, numbers: &[i64]) -> Result<(), BackendError> {
        let sql = "UPDATE msght_pulls SET updated_at = NULL WHERE pull_request_id = \
                   (SELECT id FROM pull_requests WHERE base_repo_id = ? AND pullreq_id = ?)";
        for number in numbers {
            self.write(sql, vec![project.into(), (*number).into()]).await?;
        }
        Ok(())
    }

    /// Counts the known pull requests of a project.
    pub async fn count_pulls(&self, project: i64) -> Result<usize, BackendError> {
        self.count("SELECT count(*) FROM pull_requests WHERE base_repo_id = ?", project).await
    }

    /// Counts the known issues and pull requests of a project.
    pub async fn count_issues(&self, project: i64) -> Result<usize, BackendError> {
        self.count("SELECT count(*) FROM issues WHERE repo_id = ?", project).await
    }

    async fn count(&self, sql: &str, project: i64) -> Result<usize, BackendError> {
        let counted = self.numbers(sql, project).await?;
        Ok(counted.first().and_then(|count| usize::try_from(*count).ok()).unwrap_or(0))
    }

    async fn numbers(&self, sql: &str, project: i64) -> Result<Vec<i64>, BackendError> {
        let rows = self.read(sql, vec![project.into()]).await?;
        Ok(rows.iter().filter_map(|row| row[0].as_i64()).collect())
    }

    /// Marks the commits and details of all pull requests as unread, for `--full`.
    async fn reset_pull_details(&self, project: i64) -> Result<(), BackendError> {
        let sql = "UPDATE msght_pulls SET commits_of = NULL, detailed_of = NULL WHERE pull_request_id IN \
                   (SELECT id FROM pull_requests WHERE base_repo_id = ?)";
        self.write(sql, vec![project.into()]).await.map(drop)
    }

    /// Records that a project has been retrieved completely.
    pub async fn mark_retrieved(&self, project: i64) -> Result<(), BackendError> {
        let now = date(chrono::Utc::now());
        let sql = "UPDATE msght_projects SET retrieved_at = ? WHERE project_id = ?";
        self.write(sql, vec![now.as_str().into(), project.into()]).await?;
        let sql = "UPDATE projects SET updated_at = ? WHERE id = ?";
        self.write(sql, vec![now.into(), project.into()]).await.map(drop)
    }
}
