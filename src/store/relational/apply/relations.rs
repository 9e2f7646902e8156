//! What ties people and words to a project: members, stars, milestones, languages, topics.

use std::collections::BTreeMap;

use super::super::rows::{Languages, Rows, Tie, Topics};
use super::super::sql::{Rule, Upsert, Value, date};
use super::{Batch, TEXT, cut};

const MILESTONES: Upsert =
    Upsert { table: "repo_milestones", columns: &["repo_id", "name"], key: &["repo_id", "name"], update: &[] };

const MEMBERS: Upsert = Upsert {
    table: "project_members",
    columns: &["repo_id", "user_id", "created_at"],
    key: &["repo_id", "user_id"],
    update: &[("created_at", Rule::Fill)],
};

const WATCHERS: Upsert = Upsert {
    table: "watchers",
    columns: &["repo_id", "user_id", "created_at"],
    key: &["repo_id", "user_id"],
    update: &[("created_at", Rule::ReplaceIfKnown)],
};

const WATCHERS_FROM_EVENTS: Upsert = Upsert { update: &[], ..WATCHERS };

const TOPICS: Upsert = Upsert {
    table: "project_topics",
    columns: &["project_id", "topic_name", "created_at", "deleted"],
    key: &["project_id", "topic_name"],
    update: &[("deleted", Rule::Replace)],
};

impl Batch<'_> {
    pub(super) async fn relations(&mut self, rows: &Rows) -> Result<(), sqlx::Error> {
        let milestones =
            rows.milestones.iter().map(|(project, name)| vec![(*project).into(), cut(name, TEXT).into()]).collect();
        self.tx.upsert(&MILESTONES, milestones).await?;
        self.ties(&MEMBERS, &rows.members).await?;
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

    async fn ties(&mut self, upsert: &Upsert, ties: &[Tie]) -> Result<(), sqlx::Error> {
        let rows = ties.iter().map(|tie| vec![tie.project.into(), self.person(&tie.user), tie.since.into()]).collect();
        self.tx.upsert(upsert, rows).await?;
        Ok(())
    }

    async fn untie(&mut self, table: &str, gone: &[(i64, String)]) -> Result<(), sqlx::Error> {
        for (project, login) in gone {
            let sql =
                format!("DELETE FROM {table} WHERE repo_id = ? AND user_id = (SELECT id FROM users WHERE login = ?)");
            self.tx.execute(&sql, vec![(*project).into(), login.as_str().into()]).await?;
        }
        Ok(())
    }

    /// Each look that differs from the last adds a set of rows (data model, §4); the same look twice adds nothing.
    async fn languages(&mut self, languages: &Languages) -> Result<(), sqlx::Error> {
        let mut now: BTreeMap<String, i64> = BTreeMap::new();
        for (name, bytes) in &languages.bytes {
            now.insert(cut(&name.to_lowercase(), TEXT), *bytes);
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

    /// Topics that a repository has lost are marked deleted, not removed (data model, §4).
    async fn topics(&mut self, topics: &Topics) -> Result<(), sqlx::Error> {
        let rows = topics
            .names
            .iter()
            .map(|name| vec![topics.project.into(), cut(name, TEXT).into(), topics.at.into(), false.into()]);
        self.tx.upsert(&TOPICS, rows.collect()).await?;
        let sql = "SELECT topic_name FROM project_topics WHERE project_id = ? AND deleted = 0";
        for row in self.tx.fetch(sql, vec![topics.project.into()]).await? {
            let Some(name) = row[0].as_str() else { continue };
            if !topics.names.iter().any(|topic| cut(topic, TEXT) == name) {
                let sql = "UPDATE project_topics SET deleted = 1 WHERE project_id = ? AND topic_name = ?";
                let params: Vec<Value> = vec![topics.project.into(), name.into()];
                self.tx.execute(sql, params).await?;
            }
        }
        Ok(())
    }
}
