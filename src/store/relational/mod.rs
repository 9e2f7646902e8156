//! GHTorrent's tables (`docs/data-model.md`, "Tables") with the sync state beside them.
//!
//! Both live in one database, so that one transaction stores rows together with the fact that they are stored.

mod accounts;
mod apply;
mod backend;
mod batch;
mod comment_counts;
mod id_caches;
mod inspect;
pub mod inventory;
pub mod leases;
mod list_cache;
mod migrations;
pub mod missing_items;
mod mysql;
mod pending_details;
mod profiles;
pub mod rows;
mod split;
mod sql;
mod sqlite;
pub mod sync_state;
mod sync_update;
pub mod upgrade;

use std::sync::Arc;

use tokio::sync::Mutex;

pub use accounts::{AccountRecord, ProjectUserKind, RelationKind};
pub use batch::RowBatch;
pub use comment_counts::{CommentKind, CountMismatch};
pub use inspect::inspect;
pub use pending_details::{DetailsCursor, PendingDetails};
pub use profiles::{DueProfile, ProfileScope, is_confirmed_missing};
pub use split::RowCounts;
pub use sql::date;
pub use sync_update::SyncUpdate;

use self::backend::Backend;
use self::id_caches::IdCaches;
use self::rows::Project;
use self::sql::{OnConflict, Upsert, Value, placeholders};
use super::BackendError;
use crate::backend_url::BackendUrl;
use crate::retry::RetryPolicy;

/// The reserved row of `projects` that belongs to no repository, as in GHTorrent. The sync state of accounts is kept
/// under it.
pub const NO_PROJECT: i64 = -1;
/// Hint for a URL that names no relational store.
pub(super) const SUPPORTED_URLS: &str = "set `sql.url` to a sqlite: or mysql: URL";
/// Maximum number of keys per lookup statement outside a batch.
const KEYS_PER_READ: usize = 100;

/// Maximum attempts of a batch that fails because other processes removed rows or took names it had looked up. Each
/// attempt looks everything up again.
const STALE_ATTEMPTS: u32 = 5;

const FORMER_NAMES: Upsert = Upsert {
    table: "project_names",
    columns: &["project_id", "owner", "name", "renamed_at"],
    key: &["project_id", "owner", "name"],
    update: &[("renamed_at", OnConflict::Overwrite)],
};

/// A project as stored.
#[derive(Debug, Clone)]
pub struct ProjectRecord {
    /// The row id.
    pub id: i64,
    /// The owner's login.
    pub owner: String,
    /// The name.
    pub name: String,
    /// GitHub's numeric id, if known.
    pub github_id: Option<i64>,
    /// The name, `OWNER/NAME`, under which documents are stored; `None` if there are none.
    pub documents_name: Option<String>,
    /// Marked as deleted on GitHub.
    pub deleted: bool,
}

/// Outcome of applying a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApplyOutcome {
    /// The whole batch is stored.
    Applied,
    /// Nothing is stored: the database rejects one of these rows, for this reason, and would accept others.
    Rejected(String),
}

/// The relational store.
#[derive(Clone)]
pub struct Relational {
    backend: Backend,
    /// Committed row ids. The lock also serializes this process's writers.
    ids: Arc<Mutex<IdCaches>>,
    /// Cached sync state of the repositories being mirrored.
    lists: Arc<list_cache::ListCache>,
}

impl Relational {
    /// Opens the store that the URL names and migrates its tables.
    ///
    /// # Errors
    /// The store can't be created, reached or written, is of another kind, or was written by a newer msght.
    pub async fn open(url: &BackendUrl, retry_policy: &RetryPolicy) -> Result<Self, BackendError> {
        let backend = Backend::open(url, retry_policy).await?;
        Ok(Self { backend, ids: Arc::new(Mutex::new(IdCaches::new())), lists: Arc::default() })
    }

    /// Returns the database product, for display.
    pub fn description(&self) -> String {
        self.backend.description()
    }

    /// Applies a batch of rows and the sync state that it makes true in one transaction.
    ///
    /// # Errors
    /// The batch could not be committed; none of it is stored.
    pub async fn apply(&self, rows: RowBatch) -> Result<(), BackendError> {
        self.try_apply(&rows).await.map_err(|error| self.backend.backend_error("writing rows to", &error))
    }

    /// Applies a batch like [`Relational::apply`], but returns rows that the database rejects as an outcome, not as an
    /// error.
    ///
    /// # Errors
    /// The database could not be written; none of the batch is stored.
    pub async fn apply_or_reject(&self, rows: &RowBatch) -> Result<ApplyOutcome, BackendError> {
        match self.try_apply(rows).await {
            Ok(()) => Ok(ApplyOutcome::Applied),
            Err(error) if backend::is_rejected_row(&error) => {
                Ok(ApplyOutcome::Rejected(self.backend.backend_error("writing rows to", &error).cause))
            }
            Err(error) => Err(self.backend.backend_error("writing rows to", &error)),
        }
    }

    async fn try_apply(&self, rows: &RowBatch) -> Result<(), sqlx::Error> {
        self.lists.invalidate_changed(rows);
        self.backend
            .with_retry(async || {
                let mut attempts = 1;
                loop {
                    match self.apply_once(rows).await {
                        Err(error) if backend::is_stale_id(&error) && attempts < STALE_ATTEMPTS => attempts += 1,
                        done => return done,
                    }
                }
            })
            .await
    }

    async fn apply_once(&self, rows: &RowBatch) -> Result<(), sqlx::Error> {
        let mut ids = self.ids.lock().await;
        let applied = async {
            let mut tx = self.backend.begin().await?;
            apply::apply(&mut tx, &mut ids, rows).await?;
            tx.commit().await
        };
        let done = applied.await;
        match done {
            Ok(()) => ids.trim(),
            // Ids looked up inside the failed transaction may not exist.
            Err(_) => *ids = IdCaches::new(),
        }
        done
    }

    /// Inserts or updates a project's row and returns its id.
    pub async fn ensure_project(&self, project: Project) -> Result<i64, BackendError> {
        let (owner, name) = (project.owner.login.clone(), project.name.clone());
        self.apply(RowBatch { projects: vec![project], ..RowBatch::default() }).await?;
        let found = self.find_project(&owner, &name).await?;
        found.map(|known| known.id).ok_or_else(|| BackendError {
            operation: format!("storing the repository {owner}/{name}"),
            cause: "its row is not there after it was written".to_owned(),
            hint: "another process may be renaming it: run the command again",
            before_start: false,
        })
    }

    /// Finds a project by its current name.
    pub async fn find_project(&self, owner: &str, name: &str) -> Result<Option<ProjectRecord>, BackendError> {
        let sql = "SELECT p.id, u.login, p.name, m.github_id, m.documents_as, p.deleted FROM projects p JOIN users u ON u.id = p.owner_id \
                   LEFT JOIN msght_projects m ON m.project_id = p.id WHERE u.login = ? AND p.name = ?";
        Ok(find_project(self.read(sql, vec![owner.into(), name.into()]).await?))
    }

    /// Finds a project by GitHub's numeric id, whatever its name is.
    pub async fn find_project_by_github_id(&self, github_id: i64) -> Result<Option<ProjectRecord>, BackendError> {
        let sql = "SELECT p.id, u.login, p.name, m.github_id, m.documents_as, p.deleted FROM msght_projects m JOIN projects p ON p.id = m.project_id \
                   JOIN users u ON u.id = p.owner_id WHERE m.github_id = ?";
        Ok(find_project(self.read(sql, vec![github_id.into()]).await?))
    }

    /// Marks a project as deleted if it was ever read or listed, or has no GitHub id to ask for. Returns whether it was
    /// marked now.
    pub async fn mark_project_deleted(&self, known: &ProjectRecord) -> Result<bool, BackendError> {
        let project = known.id;
        let sql = "UPDATE projects SET deleted = 1 WHERE id = ?1 AND deleted = 0 AND (?2 OR EXISTS (SELECT 1 FROM msght_pages p \
                   JOIN msght_lists l ON l.id = p.list_id WHERE l.project_id = ?1 AND l.name = 'repo') \
                   OR EXISTS (SELECT 1 FROM project_listings g WHERE g.project_id = ?1))";
        let marked = self.write(sql, vec![project.into(), known.github_id.is_none().into()]).await? > 0;
        if marked {
            // If it comes back unchanged, a 304 would leave the mark in place.
            self.reset_lists(project, "repo").await?;
        }
        Ok(marked)
    }

    /// Records the ETag of a project's own response, without quotes, truncated to its column.
    pub async fn set_project_etag(&self, project: i64, etag: Option<&str>) -> Result<(), BackendError> {
        let etag =
            etag.map(|etag| etag.trim_start_matches("W/").trim_matches('"').chars().take(40).collect::<String>());
        let sql = "UPDATE projects SET etag = ? WHERE id = ?";
        self.write(sql, vec![etag.into(), project.into()]).await.map(drop)
    }

    /// Renames a displaced project so that another repository can have its name, and sets its deleted mark.
    pub async fn rename_displaced(&self, project: i64, name: &str, deleted: bool) -> Result<(), BackendError> {
        let sql = "UPDATE projects SET name = ?, deleted = ? WHERE id = ?";
        self.write(sql, vec![name.into(), deleted.into(), project.into()]).await?;
        *self.ids.lock().await = IdCaches::new();
        Ok(())
    }

    /// Records a former name of a project.
    pub async fn add_former_name(&self, project: i64, owner: &str, name: &str) -> Result<(), BackendError> {
        let now = date(chrono::Utc::now());
        self.upsert(&FORMER_NAMES, vec![vec![project.into(), owner.into(), name.into(), now.into()]]).await
    }

    /// Returns a project's former names as `OWNER/NAME`.
    pub async fn former_names(&self, project: i64) -> Result<Vec<String>, BackendError> {
        let sql = "SELECT owner, name FROM project_names WHERE project_id = ?";
        let rows = self.read(sql, vec![project.into()]).await?;
        Ok(rows.iter().filter_map(|row| Some(format!("{}/{}", row[0].as_str()?, row[1].as_str()?))).collect())
    }

    /// Records the name under which a project's documents are stored.
    pub async fn set_documents_name(&self, project: i64, full_name: &str) -> Result<(), BackendError> {
        let sql = "UPDATE msght_projects SET documents_as = ?1 \
                   WHERE project_id = ?2 AND (documents_as IS NULL OR documents_as <> ?1)";
        self.write(sql, vec![full_name.into(), project.into()]).await.map(drop)
    }

    /// Records the commit at which a fork left its parent.
    pub async fn set_fork_point(&self, project: i64, sha: &str) -> Result<(), BackendError> {
        self.upsert(&apply::COMMIT_STUBS, vec![vec![sha.into(), project.into()]]).await?;
        let sql = "UPDATE projects SET forked_commit_id = (SELECT id FROM commits WHERE sha = ?) WHERE id = ?";
        self.write(sql, vec![sha.into(), project.into()]).await.map(drop)
    }

    /// Returns the commit at which a fork left its parent, if known.
    pub async fn fork_point(&self, project: i64) -> Result<Option<String>, BackendError> {
        let sql = "SELECT c.sha FROM projects p JOIN commits c ON c.id = p.forked_commit_id WHERE p.id = ?";
        let rows = self.read(sql, vec![project.into()]).await?;
        Ok(rows.first().and_then(|row| row[0].as_str()).map(str::to_owned))
    }

    /// Closes the store.
    pub async fn close(self) {
        self.backend.close().await;
    }

    async fn read(&self, sql: &str, params: Vec<Value>) -> Result<Vec<Vec<Value>>, BackendError> {
        let read = self.backend.with_retry(|| self.backend.fetch(sql, params.clone())).await;
        read.map_err(|error| self.backend.backend_error("reading", &error))
    }

    /// Queries by a list of keys: `{}` in `sql` stands for the placeholders, which follow the fixed parameters.
    async fn read_many(&self, sql: &str, fixed: &[Value], keys: &[String]) -> Result<Vec<Vec<Value>>, BackendError> {
        let sql = sql.replace("{}", &placeholders(KEYS_PER_READ));
        let mut found = Vec::new();
        for chunk in keys.chunks(KEYS_PER_READ) {
            let mut params = fixed.to_vec();
            params.extend((0..KEYS_PER_READ).map(|position| chunk[position.min(chunk.len() - 1)].as_str().into()));
            found.extend(self.read(&sql, params).await?);
        }
        Ok(found)
    }

    /// Runs one statement in its own transaction and returns the number of rows matched (MySQL) or written. The
    /// statement must be idempotent: it may be retried.
    async fn write(&self, sql: &str, params: Vec<Value>) -> Result<u64, BackendError> {
        let write = async || {
            let _turn = self.ids.lock().await;
            let mut tx = self.backend.begin().await?;
            let written = tx.execute(sql, params.clone()).await?;
            tx.commit().await?;
            Ok(written)
        };
        self.backend.with_retry(write).await.map_err(|error| self.backend.backend_error("writing to", &error))
    }

    /// Upserts rows in their own transaction.
    async fn upsert(&self, upsert: &Upsert, rows: Vec<Vec<Value>>) -> Result<(), BackendError> {
        let write = async || {
            let _turn = self.ids.lock().await;
            let mut tx = self.backend.begin().await?;
            tx.upsert(upsert, rows.clone()).await?;
            tx.commit().await
        };
        self.backend.with_retry(write).await.map_err(|error| self.backend.backend_error("writing to", &error))
    }
}

fn find_project(rows: Vec<Vec<Value>>) -> Option<ProjectRecord> {
    let row = rows.into_iter().next()?;
    Some(ProjectRecord {
        id: row[0].as_i64()?,
        owner: row[1].as_str()?.to_owned(),
        name: row[2].as_str()?.to_owned(),
        github_id: row[3].as_i64(),
        documents_name: row[4].as_str().map(str::to_owned),
        deleted: row[5].as_i64() == Some(1),
    })
}
