//! Comparison of GitHub's own counts with what is stored: comments per issue, open issues.

use super::Relational;
use crate::store::BackendError;

/// An issue or pull request whose number of stored comments differs from GitHub's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountMismatch {
    /// Its number.
    pub number: i64,
    /// The number according to GitHub.
    pub reported: i64,
    /// The number stored and not marked as deleted.
    pub stored: i64,
    /// Read one by one for this number already: GitHub lists no more, or has hidden some.
    pub confirmed: bool,
}

/// The kind of comments to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommentKind {
    /// Comments of issues and of pull requests' discussions.
    IssueComments,
    /// Review comments of pull requests.
    ReviewComments,
}

impl Relational {
    /// Returns a project's issues (or pull requests) whose number of stored comments differs from GitHub's.
    pub async fn count_mismatches(&self, project: i64, what: CommentKind) -> Result<Vec<CountMismatch>, BackendError> {
        let sql = match what {
            CommentKind::IssueComments => {
                "SELECT number, said, stored, read_of FROM (SELECT i.issue_id AS number, m.comments AS said, \
                 (SELECT count(*) FROM issue_comments c WHERE c.issue_id = i.id AND c.deleted = 0) AS stored, \
                 m.comments_read_of AS read_of FROM issues i JOIN msght_issues m ON m.issue_id = i.id \
                 WHERE i.repo_id = ? AND i.deleted = 0 AND m.comments IS NOT NULL) AS counted WHERE said <> stored \
                 ORDER BY number"
            }
            CommentKind::ReviewComments => {
                "SELECT number, said, stored, read_of FROM (SELECT p.pullreq_id AS number, m.review_comments AS said, \
                 (SELECT count(*) FROM pull_request_comments c WHERE c.pull_request_id = p.id AND c.deleted = 0) \
                 AS stored, m.review_comments_read_of AS read_of FROM pull_requests p \
                 JOIN msght_pulls m ON m.pull_request_id = p.id \
                 WHERE p.base_repo_id = ? AND p.deleted = 0 AND m.review_comments IS NOT NULL) AS counted \
                 WHERE said <> stored ORDER BY number"
            }
        };
        let rows = self.read(sql, vec![project.into()]).await?;
        let mismatch = |row: &Vec<super::sql::Value>| {
            let (number, reported, stored) = (row[0].as_i64()?, row[1].as_i64()?, row[2].as_i64()?);
            Some(CountMismatch { number, reported, stored, confirmed: row[3].as_i64() == Some(reported) })
        };
        Ok(rows.iter().filter_map(mismatch).collect())
    }

    /// Records that the comments of an issue (or pull request) were read one by one for GitHub's current number.
    pub async fn confirm_count(
        &self,
        project: i64,
        what: CommentKind,
        found: &CountMismatch,
    ) -> Result<(), BackendError> {
        let sql = match what {
            CommentKind::IssueComments => {
                "UPDATE msght_issues SET comments_read_of = ? WHERE issue_id = \
                 (SELECT id FROM issues WHERE repo_id = ? AND issue_id = ?)"
            }
            CommentKind::ReviewComments => {
                "UPDATE msght_pulls SET review_comments_read_of = ? WHERE pull_request_id = \
                 (SELECT id FROM pull_requests WHERE base_repo_id = ? AND pullreq_id = ?)"
            }
        };
        self.write(sql, vec![found.reported.into(), project.into(), found.number.into()]).await.map(drop)
    }

    /// Counts a project's open issues and pull requests that are not marked as deleted.
    pub async fn open_issues(&self, project: i64) -> Result<u64, BackendError> {
        let sql = "SELECT count(*) FROM issues i JOIN msght_issues m ON m.issue_id = i.id \
                   WHERE i.repo_id = ? AND i.deleted = 0 AND m.open = 1";
        let rows = self.read(sql, vec![project.into()]).await?;
        Ok(rows.first().and_then(|row| row[0].as_i64()).and_then(|count| u64::try_from(count).ok()).unwrap_or(0))
    }
}
