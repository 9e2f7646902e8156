//! Work left to the `details` stage, newest first.

use super::Relational;
use super::profiles::PROFILES_DUE;
use super::sql::{Value, date};
use crate::store::BackendError;

/// Commits of a project, its pull requests and comments. Mere parents are left out: a fork would read its parent's
/// history, one commit a run.
macro_rules! own_commits {
    () => {
        "(SELECT commit_id FROM project_commits WHERE project_id = ?1 \
         UNION SELECT x.commit_id FROM pull_request_commits x JOIN pull_requests p ON p.id = x.pull_request_id \
            WHERE p.base_repo_id = ?1 \
         UNION SELECT head_commit_id FROM pull_requests WHERE base_repo_id = ?1 \
         UNION SELECT base_commit_id FROM pull_requests WHERE base_repo_id = ?1 \
         UNION SELECT x.commit_id FROM pull_request_comments x JOIN pull_requests p ON p.id = x.pull_request_id \
            WHERE p.base_repo_id = ?1 \
         UNION SELECT x.commit_id FROM commit_comments x JOIN commits k ON k.id = x.commit_id \
            WHERE k.project_id = ?1) own JOIN commits c ON c.id = own.commit_id"
    };
}

/// Those whose detailed form has not been read.
const PENDING_COMMITS: &str = concat!(
    "FROM ",
    own_commits!(),
    " WHERE NOT EXISTS (SELECT 1 FROM msght_commit_details d WHERE d.commit_id = c.id)"
);

/// Those that GitHub truncated.
const TRUNCATED_COMMITS: &str = concat!(
    "SELECT c.sha, d.short FROM ",
    own_commits!(),
    " JOIN msght_commit_details d ON d.commit_id = c.id WHERE d.short IS NOT NULL ORDER BY c.sha"
);

/// Commits known only by their SHA, because something refers to them.
const STUB_COMMITS: &str = "SELECT c.id, c.sha FROM commits c WHERE c.project_id = ?1 AND c.created_at IS NULL \
     AND c.id > ?2 AND NOT EXISTS (SELECT 1 FROM msght_commit_details d WHERE d.commit_id = c.id) ORDER BY c.id LIMIT ?3";

const PENDING_PULLS: &str = "FROM pull_requests p JOIN msght_pulls m ON m.pull_request_id = p.id \
     WHERE p.base_repo_id = ?1 AND p.deleted = 0 AND m.updated_at IS NOT NULL AND (m.detailed_of IS NULL OR m.detailed_of <> m.updated_at)";

/// The amount of work left to the `details` stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PendingDetails {
    /// Commits, one request each.
    pub commits: u64,
    /// Pull requests, two requests each.
    pub pulls: u64,
    /// Users, one request each.
    pub users: u64,
}

/// A position in a list that is read newest first: date and id of the last item taken.
#[derive(Debug, Clone)]
pub struct DetailsCursor(String, i64);

impl DetailsCursor {
    /// Returns the position before the newest item.
    pub fn newest() -> Self {
        Self("9999".to_owned(), i64::MAX)
    }
}

impl Relational {
    /// Counts the pending work. Profiles read before `profiles_before` are pending.
    pub async fn pending_details(
        &self,
        project: i64,
        profiles_before: chrono::DateTime<chrono::Utc>,
    ) -> Result<PendingDetails, BackendError> {
        let count = async |from: &str, params: Vec<Value>| {
            let rows = self.read(&format!("SELECT count(*) {from}"), params).await?;
            let number = rows.first().and_then(|row| row[0].as_i64()).unwrap_or(0);
            Ok::<u64, BackendError>(u64::try_from(number).unwrap_or(0))
        };
        let now = date(chrono::Utc::now());
        Ok(PendingDetails {
            commits: count(PENDING_COMMITS, vec![project.into()]).await?,
            pulls: count(PENDING_PULLS, vec![project.into()]).await?,
            users: count(PROFILES_DUE, vec![project.into(), date(profiles_before).into(), now.into()]).await?,
        })
    }

    /// Returns the next SHAs to read, from a position towards the oldest, and the position after them.
    pub async fn pending_commits(
        &self,
        project: i64,
        from: &DetailsCursor,
        limit: u32,
    ) -> Result<(Vec<String>, Option<DetailsCursor>), BackendError> {
        let sql = format!(
            "SELECT c.sha, coalesce(c.created_at, ''), c.id {PENDING_COMMITS} \
             AND (coalesce(c.created_at, ''), c.id) < (?2, ?3) ORDER BY 2 DESC, 3 DESC LIMIT ?4"
        );
        let params = vec![project.into(), from.0.as_str().into(), from.1.into(), i64::from(limit).into()];
        let rows = self.read(&sql, params).await?;
        let end = rows.last().and_then(|row| Some(DetailsCursor(row[1].as_str()?.to_owned(), row[2].as_i64()?)));
        Ok((rows.into_iter().filter_map(|row| row[0].as_str().map(str::to_owned)).collect(), end))
    }

    /// Returns commits that GitHub truncated: SHA and the truncated part.
    pub async fn truncated_commits(&self, project: i64) -> Result<Vec<(String, String)>, BackendError> {
        let rows = self.read(TRUNCATED_COMMITS, vec![project.into()]).await?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Ok(rows.iter().filter_map(|row| Some((text(&row[0])?, text(&row[1])?))).collect())
    }

    /// Returns commits known only by their SHA, such as a fork point or the parents of a fork's own commits, in row
    /// order, at most `limit` after `after`.
    pub async fn stub_commits(&self, project: i64, after: i64, limit: u32) -> Result<Vec<(i64, String)>, BackendError> {
        let rows = self.read(STUB_COMMITS, vec![project.into(), after.into(), i64::from(limit).into()]).await?;
        Ok(rows.into_iter().filter_map(|row| Some((row[0].as_i64()?, row[1].as_str()?.to_owned()))).collect())
    }

    /// Returns the next pull requests to read, last changed first: number and `updated_at`.
    pub async fn pending_pulls(
        &self,
        project: i64,
        from: &DetailsCursor,
        limit: u32,
    ) -> Result<(Vec<(i64, String)>, Option<DetailsCursor>), BackendError> {
        let sql = format!(
            "SELECT p.pullreq_id, m.updated_at, p.id {PENDING_PULLS} AND (m.updated_at, p.id) < (?2, ?3) \
             ORDER BY 2 DESC, 3 DESC LIMIT ?4"
        );
        let params = vec![project.into(), from.0.as_str().into(), from.1.into(), i64::from(limit).into()];
        let rows = self.read(&sql, params).await?;
        let end = rows.last().and_then(|row| Some(DetailsCursor(row[1].as_str()?.to_owned(), row[2].as_i64()?)));
        Ok((rows.into_iter().filter_map(|row| Some((row[0].as_i64()?, row[1].as_str()?.to_owned()))).collect(), end))
    }

    /// Marks the details of all commits as unread, for `--full`.
    pub(super) async fn reset_details(&self, project: i64) -> Result<(), BackendError> {
        let sql = "DELETE FROM msght_commit_details WHERE commit_id IN \
                   (SELECT commit_id FROM project_commits WHERE project_id = ?1 \
                    UNION SELECT id FROM commits WHERE project_id = ?1)";
        self.write(sql, vec![project.into()]).await?;
        self.write("DELETE FROM msght_missing_items WHERE project_id = ?", vec![project.into()]).await.map(drop)
    }
}
