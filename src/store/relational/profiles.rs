//! Accounts whose profiles are due.

use chrono::{DateTime, TimeDelta, Utc};

use super::Relational;
use super::sql::{Value, date};
use crate::store::BackendError;
use crate::validator::Validator;

/// Everybody whom a project's tables or documents refer to and who belongs to its owner, with a profile that was never
/// read or before a date. Deleted accounts are rechecked on their own schedule; fake users and the ghost have no
/// profile.
pub(super) const PROFILES_DUE: &str = "FROM (\
     SELECT owner_id AS user_id FROM projects WHERE id = ?1 \
     UNION SELECT owner_id FROM projects WHERE forked_from = ?1 \
     UNION SELECT r.owner_id FROM projects p JOIN projects r ON r.id = p.forked_from WHERE p.id = ?1 \
     UNION SELECT h.owner_id FROM pull_requests p JOIN projects h ON h.id = p.head_repo_id WHERE p.base_repo_id = ?1 \
     UNION SELECT c.author_id FROM commits c JOIN project_commits p ON p.commit_id = c.id AND p.project_id = ?1 \
     UNION SELECT c.committer_id FROM commits c JOIN project_commits p ON p.commit_id = c.id AND p.project_id = ?1 \
     UNION SELECT author_id FROM commits WHERE project_id = ?1 \
     UNION SELECT committer_id FROM commits WHERE project_id = ?1 \
     UNION SELECT c.user_id FROM commit_comments c JOIN commits k ON k.id = c.commit_id WHERE k.project_id = ?1 \
     UNION SELECT reporter_id FROM issues WHERE repo_id = ?1 \
     UNION SELECT assignee_id FROM issues WHERE repo_id = ?1 \
     UNION SELECT c.user_id FROM issue_comments c JOIN issues i ON i.id = c.issue_id WHERE i.repo_id = ?1 \
     UNION SELECT e.actor_id FROM issue_events e JOIN issues i ON i.id = e.issue_id WHERE i.repo_id = ?1 \
     UNION SELECT c.user_id FROM pull_request_comments c JOIN pull_requests p ON p.id = c.pull_request_id \
        WHERE p.base_repo_id = ?1 \
     UNION SELECT h.actor_id FROM pull_request_history h JOIN pull_requests p ON p.id = h.pull_request_id \
        WHERE p.base_repo_id = ?1 \
     UNION SELECT user_id FROM project_members WHERE repo_id = ?1 \
     UNION SELECT user_id FROM watchers WHERE repo_id = ?1 \
     UNION SELECT user_id FROM msght_mentions WHERE project_id = ?1 \
     UNION SELECT x.user_id FROM organization_members x JOIN projects p ON p.owner_id = x.org_id WHERE p.id = ?1 \
     UNION SELECT x.user_id FROM outside_collaborators x JOIN projects p ON p.owner_id = x.org_id WHERE p.id = ?1 \
     UNION SELECT x.user_id FROM team_members x JOIN teams t ON t.id = x.team_id \
        JOIN projects p ON p.owner_id = t.org_id WHERE p.id = ?1) own JOIN users u ON u.id = own.user_id \
     LEFT JOIN msght_users m ON m.user_id = u.id LEFT JOIN msght_profiles f ON f.user_id = u.id \
     WHERE u.fake = 0 AND u.id > 0 AND u.login <> 'ghost' \
     AND ((f.look_again_at IS NULL AND (m.profile_at IS NULL OR m.profile_at < ?2)) OR f.look_again_at <= ?3)";

/// The same for an account's followers, followed accounts, members and organizations.
const RELATED_PROFILES_DUE: &str = "FROM (\
     SELECT follower_id AS user_id FROM followers WHERE user_id = ?1 \
     UNION SELECT user_id FROM followers WHERE follower_id = ?1 \
     UNION SELECT user_id FROM organization_members WHERE org_id = ?1 \
     UNION SELECT org_id FROM organization_members WHERE user_id = ?1) own JOIN users u ON u.id = own.user_id \
     LEFT JOIN msght_users m ON m.user_id = u.id LEFT JOIN msght_profiles f ON f.user_id = u.id \
     WHERE u.fake = 0 AND u.id > 0 AND u.login <> 'ghost' \
     AND ((f.look_again_at IS NULL AND (m.profile_at IS NULL OR m.profile_at < ?2)) OR f.look_again_at <= ?3)";

/// Minimum time between two failed requests for them to confirm each other.
const MIN_RECHECK_INTERVAL: TimeDelta = TimeDelta::hours(1);

/// An account whose profile is due.
#[derive(Debug, Clone)]
pub struct DueProfile {
    /// The row id.
    pub user: i64,
    /// The last known login.
    pub login: String,
    /// GitHub's numeric id, if known.
    pub github_id: Option<i64>,
    /// The login of its stored document.
    pub documents_name: Option<String>,
    /// The profile's ETag, unless a 304 would not do.
    pub validator: Option<Validator>,
    /// Marked as deleted on GitHub.
    pub deleted: bool,
    /// GitHub has answered before that there is no profile.
    pub missing: bool,
}

/// The accounts to check for due profiles.
#[derive(Debug, Clone, Copy)]
pub enum ProfileScope {
    /// Everybody related to a project, by its row id.
    Project(i64),
    /// Everybody related to an account, by its row id.
    Account(i64),
}

impl Relational {
    /// Returns accounts whose profiles were never read or before `stale`, in row order, at most `limit` after `after`.
    pub async fn profiles_due(
        &self,
        people: ProfileScope,
        stale: DateTime<Utc>,
        after: i64,
        limit: u32,
    ) -> Result<Vec<DueProfile>, BackendError> {
        let (due, of) = match people {
            ProfileScope::Project(project) => (PROFILES_DUE, project),
            ProfileScope::Account(account) => (RELATED_PROFILES_DUE, account),
        };
        let sql = format!(
            "SELECT u.id, u.login, m.github_id, f.documents_as, f.etag, f.token, u.deleted, f.missing_since {due} \
             AND u.id > ?4 ORDER BY u.id LIMIT ?5"
        );
        let now = date(Utc::now());
        let params = vec![of.into(), date(stale).into(), now.into(), after.into(), i64::from(limit).into()];
        Ok(self.read(&sql, params).await?.into_iter().filter_map(due_profile).collect())
    }
}

fn due_profile(row: Vec<Value>) -> Option<DueProfile> {
    let text = |at: usize| row[at].as_str().map(str::to_owned);
    let (login, documents_name) = (text(1)?, text(3));
    let deleted = row[6].as_i64() == Some(1);
    // If a deleted account came back unchanged, a 304 would leave the mark. And an ETag belongs to one URL.
    let usable = !deleted && documents_name.as_deref() == Some(login.as_str());
    let validator = text(4).filter(|_| usable).map(|etag| Validator { etag, scope: text(5).unwrap_or_default() });
    Some(DueProfile {
        user: row[0].as_i64()?,
        github_id: row[2].as_i64(),
        missing: row[7].as_str().is_some_and(may_confirm_missing),
        login,
        documents_name,
        validator,
        deleted,
    })
}

/// Returns whether a second miss confirms one of this date: something missing twice may be considered deleted.
pub fn may_confirm_missing(since: &str) -> bool {
    since <= date(Utc::now() - MIN_RECHECK_INTERVAL).as_str()
}
