//! The sync state: progress and ETags of every list.

use xxhash_rust::xxh3::xxh3_64;

use super::Relational;
use super::sql::{OnConflict, Upsert, Value, date};
use crate::store::BackendError;
use crate::store::documents::StoreIdentity;
use crate::validator::Validator;

/// The state of one page of a list.
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

/// The state of a list.
#[derive(Debug, Clone)]
pub struct ListState {
    /// The row id.
    pub id: i64,
    /// Progress of the list; its meaning (a date, an id) is up to the list.
    pub watermark: Option<String>,
    /// Checkpoint of an unfinished walk, or a marker: `found empty` or `deep`.
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

    /// Stores a marker on a list that can't count as complete.
    pub async fn save_marker_and_reopen(&self, list: i64, mark: &str) -> Result<(), BackendError> {
        self.save_checkpoint(list, mark).await
    }

    /// Stores the checkpoint from which an interrupted walk resumes. Until then the list does not count as complete.
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

    /// Records that a project has been retrieved completely.
    pub async fn mark_retrieved(&self, project: i64) -> Result<(), BackendError> {
        let now = date(chrono::Utc::now());
        let sql = "UPDATE msght_projects SET retrieved_at = ? WHERE project_id = ?";
        self.write(sql, vec![now.as_str().into(), project.into()]).await?;
        let sql = "UPDATE projects SET updated_at = ? WHERE id = ?";
        self.write(sql, vec![now.into(), project.into()]).await.map(drop)
    }
}
