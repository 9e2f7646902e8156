//! State of a project's commits, pull requests and issues: which are known, and which have to be fetched.

use std::collections::HashSet;

use chrono::{DateTime, Utc};

use super::Relational;
use super::inventory::parse_date;
use super::sql::Value;
use crate::store::BackendError;

impl Relational {
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

    /// Returns the time of an issue's newest event.
    pub async fn newest_issue_event(&self, project: i64, number: i64) -> Result<Option<DateTime<Utc>>, BackendError> {
        let sql = "SELECT max(e.created_at) FROM issue_events e JOIN issues i ON i.id = e.issue_id \
                   WHERE i.repo_id = ? AND i.issue_id = ?";
        let rows = self.read(sql, vec![project.into(), number.into()]).await?;
        Ok(rows.first().and_then(|row| parse_date(row[0].as_str()?)))
    }

    /// Returns whether any list of a project was read to its end: it was mirrored, at least in part.
    pub async fn has_completed_lists(&self, project: i64) -> Result<bool, BackendError> {
        let sql = "SELECT 1 FROM msght_lists WHERE project_id = ? AND completed_at IS NOT NULL LIMIT 1";
        Ok(!self.read(sql, vec![project.into()]).await?.is_empty())
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
    pub(super) async fn reset_pull_details(&self, project: i64) -> Result<(), BackendError> {
        let sql = "UPDATE msght_pulls SET commits_of = NULL, detailed_of = NULL WHERE pull_request_id IN \
                   (SELECT id FROM pull_requests WHERE base_repo_id = ?)";
        self.write(sql, vec![project.into()]).await.map(drop)
    }
}
