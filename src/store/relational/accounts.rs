//! Queries of accounts and their relations.

use super::Relational;
use super::id_caches::IdCaches;
use super::profiles::may_confirm_missing;
use super::sql::Value;
use crate::store::BackendError;

/// An account as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRecord {
    /// The row id.
    pub id: i64,
    /// The login.
    pub login: String,
    /// GitHub's numeric id, if known.
    pub github_id: Option<i64>,
    /// Marked as deleted on GitHub.
    pub deleted: bool,
    /// GitHub has answered that there is no profile, and has not given one since.
    pub missing: bool,
    /// The login of its profile's document; `None` if there is none.
    pub documents_name: Option<String>,
}

/// A kind of relation, as seen from one account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelationKind {
    /// Its followers.
    Followers,
    /// Accounts that it follows.
    Following,
    /// Organizations that it is a member of.
    Organizations,
    /// Its members.
    Members,
    /// Non-members with access to its repositories.
    OutsideCollaborators,
}

impl RelationKind {
    /// Returns the table, the column of the account itself and that of the other one.
    fn columns(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Followers => ("followers", "user_id", "follower_id"),
            Self::Following => ("followers", "follower_id", "user_id"),
            Self::Organizations => ("organization_members", "user_id", "org_id"),
            Self::Members => ("organization_members", "org_id", "user_id"),
            Self::OutsideCollaborators => ("outside_collaborators", "org_id", "user_id"),
        }
    }
}

/// A kind of project user for which GitHub's list is authoritative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProjectUserKind {
    /// Collaborators.
    Members,
    /// Stargazers.
    Watchers,
}

impl ProjectUserKind {
    fn table(self) -> &'static str {
        match self {
            Self::Members => "project_members",
            Self::Watchers => "watchers",
        }
    }
}

const SELECT_ACCOUNT: &str = "SELECT u.id, u.login, m.github_id, u.deleted, f.missing_since, f.documents_as";

impl Relational {
    /// Finds an account by its current login.
    pub async fn find_account(&self, login: &str) -> Result<Option<AccountRecord>, BackendError> {
        let sql = format!(
            "{SELECT_ACCOUNT} FROM users u LEFT JOIN msght_users m ON m.user_id = u.id \
             LEFT JOIN msght_profiles f ON f.user_id = u.id WHERE u.login = ? AND u.fake = 0 AND u.id > 0"
        );
        Ok(account_record(self.read(&sql, vec![login.into()]).await?))
    }

    /// Finds an account by GitHub's numeric id, whatever its login is.
    pub async fn find_account_by_github_id(&self, github_id: i64) -> Result<Option<AccountRecord>, BackendError> {
        let sql = format!(
            "{SELECT_ACCOUNT} FROM msght_users m JOIN users u ON u.id = m.user_id \
             LEFT JOIN msght_profiles f ON f.user_id = u.id WHERE m.github_id = ?"
        );
        Ok(account_record(self.read(&sql, vec![github_id.into()]).await?))
    }

    /// Returns the logins of the accounts related to one.
    pub async fn related_logins(&self, login: &str, tied: RelationKind) -> Result<Vec<String>, BackendError> {
        let (table, own, others) = tied.columns();
        let sql = format!(
            "SELECT o.login FROM {table} x JOIN users o ON o.id = x.{others} JOIN users u ON u.id = x.{own} \
             WHERE u.login = ? ORDER BY o.login"
        );
        let rows = self.read(&sql, vec![login.into()]).await?;
        Ok(rows.into_iter().filter_map(|mut row| row.pop()?.into_text()).collect())
    }

    /// Returns the row ids and logins of a project's users of a kind.
    pub async fn project_users(&self, project: i64, tie: ProjectUserKind) -> Result<Vec<(i64, String)>, BackendError> {
        let table = tie.table();
        let sql = format!("SELECT u.id, u.login FROM {table} x JOIN users u ON u.id = x.user_id WHERE x.repo_id = ?");
        let rows = self.read(&sql, vec![project.into()]).await?;
        Ok(rows.into_iter().filter_map(|row| Some((row[0].as_i64()?, row[1].as_str()?.to_owned()))).collect())
    }

    /// Displaces an account whose login belongs to another one: its row takes the login it has now, or an impossible one, and its
    /// deleted mark is set.
    pub async fn displace_account(&self, account: i64, login: &str, deleted: bool) -> Result<(), BackendError> {
        let sql = "UPDATE users SET login = ?, deleted = ? WHERE id = ?";
        self.write(sql, vec![login.into(), deleted.into(), account.into()]).await?;
        *self.ids.lock().await = IdCaches::new();
        Ok(())
    }
}

fn account_record(rows: Vec<Vec<Value>>) -> Option<AccountRecord> {
    let row = rows.into_iter().next()?;
    Some(AccountRecord {
        id: row[0].as_i64()?,
        login: row[1].as_str()?.to_owned(),
        github_id: row[2].as_i64(),
        deleted: row[3].as_i64() == Some(1),
        missing: row[4].as_str().is_some_and(may_confirm_missing),
        documents_name: row[5].as_str().map(str::to_owned),
    })
}
