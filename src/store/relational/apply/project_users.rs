//! A project's members and stargazers.

use std::collections::BTreeSet;

use super::super::batch::RowBatch;
use super::super::rows::ProjectUser;
use super::super::sql::{OnConflict, Upsert, Value};
use super::BatchWriter;

const MEMBERS: Upsert = Upsert {
    table: "project_members",
    columns: &["repo_id", "user_id", "created_at"],
    key: &["repo_id", "user_id"],
    update: &[("created_at", OnConflict::KeepExisting)],
};

const MEMBER_DATES: Upsert = Upsert {
    table: "msght_member_dates",
    columns: &["project_id", "user_id", "added_at"],
    key: &["project_id", "user_id"],
    update: &[],
};

const WATCHERS: Upsert = Upsert {
    table: "watchers",
    columns: &["repo_id", "user_id", "created_at"],
    key: &["repo_id", "user_id"],
    update: &[("created_at", OnConflict::OverwriteIfPresent)],
};

const WATCHERS_FROM_EVENTS: Upsert = Upsert { update: &[], ..WATCHERS };

impl BatchWriter<'_> {
    pub(super) async fn project_users(&mut self, rows: &RowBatch) -> Result<(), sqlx::Error> {
        self.upsert_project_users(&MEMBERS, &rows.members).await?;
        self.date_members(&rows.members, &rows.member_dates).await?;
        self.upsert_project_users(&WATCHERS, &rows.watchers).await?;
        self.upsert_project_users(&WATCHERS_FROM_EVENTS, &rows.watchers_from_events).await?;
        self.remove_project_users("project_members", &rows.removed_members).await?;
        self.remove_project_users("watchers", &rows.removed_watchers).await?;
        Ok(())
    }

    async fn upsert_project_users(&mut self, upsert: &Upsert, users: &[ProjectUser]) -> Result<(), sqlx::Error> {
        let rows = users.iter().map(|tie| vec![tie.project.into(), self.person(&tie.user), tie.since.into()]).collect();
        self.tx.upsert(upsert, rows).await?;
        Ok(())
    }

    /// Sets members' dates from the events feed, which may be read before the list of members.
    async fn date_members(&mut self, members: &[ProjectUser], dates: &[ProjectUser]) -> Result<(), sqlx::Error> {
        for tie in dates {
            let (project, user, since) = (Value::from(tie.project), self.person(&tie.user), Value::from(tie.since));
            if since == Value::Null {
                continue;
            }
            self.tx.upsert(&MEMBER_DATES, vec![vec![project.clone(), user.clone(), since.clone()]]).await?;
            let sql =
                "UPDATE msght_member_dates SET added_at = ?1 WHERE project_id = ?2 AND user_id = ?3 AND added_at < ?1";
            self.tx.execute(sql, vec![since, project, user]).await?;
        }
        let projects: BTreeSet<i64> = members.iter().chain(dates).map(|tie| tie.project).collect();
        for project in projects {
            let sql = "UPDATE project_members SET created_at = (SELECT d.added_at FROM msght_member_dates d \
                       WHERE d.project_id = ?1 AND d.user_id = project_members.user_id) \
                       WHERE repo_id = ?1 AND created_at IS NULL \
                       AND user_id IN (SELECT user_id FROM msght_member_dates WHERE project_id = ?1)";
            self.tx.execute(sql, vec![project.into()]).await?;
        }
        Ok(())
    }

    async fn remove_project_users(&mut self, table: &str, gone: &[(i64, i64)]) -> Result<(), sqlx::Error> {
        for (project, user) in gone {
            let sql = format!("DELETE FROM {table} WHERE repo_id = ? AND user_id = ?");
            self.tx.execute(&sql, vec![(*project).into(), (*user).into()]).await?;
        }
        Ok(())
    }
}
