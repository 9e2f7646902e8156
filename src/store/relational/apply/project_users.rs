//! A project's members and stargazers, milestones, languages and topics.

use std::collections::{BTreeMap, BTreeSet};

use super::super::batch::RowBatch;
use super::super::rows::{Languages, ProjectUser, Topics};
use super::super::sql::{OnConflict, Upsert, Value, date};
use super::{BatchWriter, MAX_TEXT, truncate};

const MILESTONES: Upsert =
    Upsert { table: "repo_milestones", columns: &["repo_id", "name"], key: &["repo_id", "name"], update: &[] };

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

const TOPICS: Upsert = Upsert {
    table: "project_topics",
    columns: &["project_id", "topic_name", "created_at", "deleted"],
    key: &["project_id", "topic_name"],
    update: &[("deleted", OnConflict::Overwrite)],
};

impl BatchWriter<'_> {
    pub(super) async fn relations(&mut self, rows: &RowBatch) -> Result<(), sqlx::Error> {
        let milestones = rows
            .milestones
            .iter()
            .map(|(project, name)| vec![(*project).into(), truncate(name, MAX_TEXT).into()])
            .collect();
        self.tx.upsert(&MILESTONES, milestones).await?;
        self.ties(&MEMBERS, &rows.members).await?;
        self.date_members(&rows.members, &rows.member_dates).await?;
        self.ties(&WATCHERS, &rows.watchers).await?;
        self.ties(&WATCHERS_FROM_EVENTS, &rows.watchers_from_events).await?;
        self.untie("project_members", &rows.members_gone).await?;
        self.untie("watchers", &rows.watchers_gone).await?;
        for languages in &rows.languages {
            self.languages(languages).await?;
        }
        for topics in &rows.topics {
            self.topics(topics).await?;
        }
        Ok(())
    }

    async fn ties(&mut self, upsert: &Upsert, ties: &[ProjectUser]) -> Result<(), sqlx::Error> {
        let rows = ties.iter().map(|tie| vec![tie.project.into(), self.person(&tie.user), tie.since.into()]).collect();
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

    async fn untie(&mut self, table: &str, gone: &[(i64, i64)]) -> Result<(), sqlx::Error> {
        for (project, user) in gone {
            let sql = format!("DELETE FROM {table} WHERE repo_id = ? AND user_id = ?");
            self.tx.execute(&sql, vec![(*project).into(), (*user).into()]).await?;
        }
        Ok(())
    }

    /// Adds a set of rows if the languages differ from the last set (`docs/data-model.md`, "project_languages").
    async fn languages(&mut self, languages: &Languages) -> Result<(), sqlx::Error> {
        let mut now: BTreeMap<String, i64> = BTreeMap::new();
        for (name, bytes) in &languages.bytes {
            now.insert(truncate(&name.to_lowercase(), MAX_TEXT), *bytes);
        }
        let sql = "SELECT language, bytes FROM project_languages WHERE project_id = ?1 AND created_at = \
                   (SELECT max(created_at) FROM project_languages WHERE project_id = ?1)";
        let last: BTreeMap<String, i64> = self
            .tx
            .fetch(sql, vec![languages.project.into()])
            .await?
            .into_iter()
            .filter_map(|row| Some((row[0].as_str()?.to_owned(), row[1].as_i64()?)))
            .collect();
        if now == last {
            return Ok(());
        }
        for (name, bytes) in now {
            let sql = "INSERT INTO project_languages (project_id, language, bytes, created_at) VALUES (?, ?, ?, ?)";
            let params = vec![languages.project.into(), name.into(), bytes.into(), date(languages.at).into()];
            self.tx.execute(sql, params).await?;
        }
        Ok(())
    }

    /// Marks topics that a repository has lost as deleted (`docs/data-model.md`, "project_topics").
    async fn topics(&mut self, topics: &Topics) -> Result<(), sqlx::Error> {
        let rows = topics
            .names
            .iter()
            .map(|name| vec![topics.project.into(), truncate(name, MAX_TEXT).into(), topics.at.into(), false.into()]);
        self.tx.upsert(&TOPICS, rows.collect()).await?;
        let sql = "SELECT topic_name FROM project_topics WHERE project_id = ? AND deleted = 0";
        for row in self.tx.fetch(sql, vec![topics.project.into()]).await? {
            let Some(name) = row[0].as_str() else { continue };
            if !topics.names.iter().any(|topic| truncate(topic, MAX_TEXT) == name) {
                let sql = "UPDATE project_topics SET deleted = 1 WHERE project_id = ? AND topic_name = ?";
                let params: Vec<Value> = vec![topics.project.into(), name.into()];
                self.tx.execute(sql, params).await?;
            }
        }
        Ok(())
    }
}
