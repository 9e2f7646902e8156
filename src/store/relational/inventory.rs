//! The inventory: repositories known from organizations' lists and earlier retrievals.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDateTime, Utc};

use super::Relational;
use super::rows::{ListingState, ProjectListing};
use super::sql::Value;
use crate::store::BackendError;

/// A repository that was listed or mirrored.
#[derive(Debug, Clone)]
pub struct RepositoryRecord {
    /// GitHub's numeric id.
    pub github_id: i64,
    /// Its owner's login.
    pub owner: String,
    /// Its name.
    pub name: String,
    /// The name, `OWNER/NAME`, under which documents are stored; `None` if there are none.
    pub documents_name: Option<String>,
    /// Marked as deleted on GitHub.
    pub deleted: bool,
    /// `listed`, `unlisted` or `unreadable`; `None` if no list ever had it.
    pub listed: Option<String>,
    /// `public`, `private` or `internal`, if a list told.
    pub visibility: Option<String>,
    /// Archived: read-only.
    pub archived: bool,
    /// A fork.
    pub fork: bool,
    /// Disabled by GitHub.
    pub disabled: bool,
    /// End of the last complete retrieval.
    pub retrieved_at: Option<DateTime<Utc>>,
    /// Time of the last push or change according to its owner's list, whichever is later.
    pub changed_at: Option<DateTime<Utc>>,
}

impl RepositoryRecord {
    /// Returns a listing with another state; what the inventory doesn't know stays as stored.
    pub fn listing(&self, state: ListingState) -> ProjectListing {
        ProjectListing {
            github_id: self.github_id,
            documents_name: None,
            state,
            visibility: None,
            archived: self.archived,
            fork: self.fork,
            disabled: self.disabled,
            pushed_at: None,
            updated_at: None,
        }
    }
}

/// Repositories that are only mentioned, such as a fork's parent, do not belong to an inventory.
const SELECT: &str = "SELECT m.github_id, u.login, p.name, m.documents_as, p.deleted, l.state, l.visibility, \
    coalesce(l.archived, 0), coalesce(l.fork, 0), coalesce(l.disabled, 0), m.retrieved_at, l.pushed_at, l.updated_at FROM msght_projects m \
    JOIN projects p ON p.id = m.project_id JOIN users u ON u.id = p.owner_id \
    LEFT JOIN project_listings l ON l.project_id = p.id WHERE (l.project_id IS NOT NULL OR m.documents_as IS NOT NULL)";

impl Relational {
    /// Returns all repositories of the inventory.
    pub async fn inventory(&self) -> Result<Vec<RepositoryRecord>, BackendError> {
        let rows = self.read(SELECT, Vec::new()).await?;
        Ok(rows.into_iter().filter_map(repository_record).collect())
    }

    /// Returns one owner's repositories.
    pub async fn inventory_of(&self, owner: &str) -> Result<Vec<RepositoryRecord>, BackendError> {
        let sql = format!("{SELECT} AND u.login = ? ORDER BY p.name");
        let rows = self.read(&sql, vec![owner.into()]).await?;
        Ok(rows.into_iter().filter_map(repository_record).collect())
    }

    /// Returns the names, `owner/name` in lower case, of all project rows of an owner, with GitHub's ids if known.
    pub async fn github_ids_of_owner(&self, owner: &str) -> Result<HashMap<String, Option<i64>>, BackendError> {
        let sql = "SELECT p.name, m.github_id FROM projects p JOIN users u ON u.id = p.owner_id \
                   LEFT JOIN msght_projects m ON m.project_id = p.id WHERE u.login = ?";
        let rows = self.read(sql, vec![owner.into()]).await?;
        let name = |row: &Vec<Value>| Some(format!("{owner}/{}", row[0].as_str()?).to_lowercase());
        Ok(rows.iter().filter_map(|row| Some((name(row)?, row[1].as_i64()))).collect())
    }

    /// Returns whether the fate of a repository of this name is known: it is marked as deleted or has another name now.
    pub async fn is_known_missing(&self, owner: &str, name: &str) -> Result<bool, BackendError> {
        if let Some(known) = self.find_project(owner, name).await? {
            return Ok(known.deleted);
        }
        let sql = "SELECT project_id FROM project_names WHERE owner = ? AND name = ?";
        Ok(!self.read(sql, vec![owner.into(), name.into()]).await?.is_empty())
    }

    /// Returns the GitHub ids and slugs of an organization's teams.
    pub async fn teams_of(&self, organization: &str) -> Result<Vec<(i64, String)>, BackendError> {
        let sql = "SELECT t.github_id, t.slug FROM teams t JOIN users u ON u.id = t.org_id \
                   WHERE u.login = ? AND t.deleted = 0 ORDER BY t.github_id";
        let rows = self.read(sql, vec![organization.into()]).await?;
        Ok(rows.into_iter().filter_map(|row| Some((row[0].as_i64()?, row[1].as_str()?.to_owned()))).collect())
    }
}

fn repository_record(row: Vec<Value>) -> Option<RepositoryRecord> {
    let text = |at: usize| row[at].as_str().map(str::to_owned);
    let flag = |at: usize| row[at].as_i64() == Some(1);
    let date = |at: usize| row[at].as_str().and_then(parse_date);
    Some(RepositoryRecord {
        github_id: row[0].as_i64()?,
        owner: text(1)?,
        name: text(2)?,
        documents_name: text(3),
        deleted: flag(4),
        listed: text(5),
        visibility: text(6),
        archived: flag(7),
        fork: flag(8),
        disabled: flag(9),
        retrieved_at: date(10),
        changed_at: date(11).max(date(12)),
    })
}

/// Parses a date as the databases write it.
pub(super) fn parse_date(text: &str) -> Option<DateTime<Utc>> {
    ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.fZ"]
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
        .map(|naive| naive.and_utc())
}
