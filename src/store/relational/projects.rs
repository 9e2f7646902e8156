//! Queries and updates of projects' rows: names, renames, deletion, fork points.

use super::id_caches::IdCaches;
use super::rows::Project;
use super::sql::{OnConflict, Upsert, Value, date};
use super::{Relational, RowBatch, apply};
use crate::store::BackendError;

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

impl Relational {
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
        Ok(project_record(self.read(sql, vec![owner.into(), name.into()]).await?))
    }

    /// Finds a project by GitHub's numeric id, whatever its name is.
    pub async fn find_project_by_github_id(&self, github_id: i64) -> Result<Option<ProjectRecord>, BackendError> {
        let sql = "SELECT p.id, u.login, p.name, m.github_id, m.documents_as, p.deleted FROM msght_projects m JOIN projects p ON p.id = m.project_id \
                   JOIN users u ON u.id = p.owner_id WHERE m.github_id = ?";
        Ok(project_record(self.read(sql, vec![github_id.into()]).await?))
    }

    /// Marks a project as deleted if it was ever read or listed, or has no GitHub id to ask for. Returns whether it was
    /// marked now.
    pub async fn tombstone_project_if_seen(&self, known: &ProjectRecord) -> Result<bool, BackendError> {
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
    pub async fn displace_project(&self, project: i64, name: &str, deleted: bool) -> Result<(), BackendError> {
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
}

fn project_record(rows: Vec<Vec<Value>>) -> Option<ProjectRecord> {
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
