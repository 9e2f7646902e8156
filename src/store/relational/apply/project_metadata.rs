//! A project's milestones, languages and topics.

use std::collections::BTreeMap;

use super::super::batch::RowBatch;
use super::super::rows::{Languages, Topics};
use super::super::sql::{OnConflict, Upsert, Value, date};
use super::{BatchWriter, MAX_TEXT, truncate};

const MILESTONES: Upsert =
    Upsert { table: "repo_milestones", columns: &["repo_id", "name"], key: &["repo_id", "name"], update: &[] };

const TOPICS: Upsert = Upsert {
    table: "project_topics",
    columns: &["project_id", "topic_name", "created_at", "deleted"],
    key: &["project_id", "topic_name"],
    update: &[("deleted", OnConflict::Overwrite)],
};

impl BatchWriter<'_> {
    pub(super) async fn project_metadata(&mut self, rows: &RowBatch) -> Result<(), sqlx::Error> {
        let milestones = rows
            .milestones
            .iter()
            .map(|(project, name)| vec![(*project).into(), truncate(name, MAX_TEXT).into()])
            .collect();
        self.tx.upsert(&MILESTONES, milestones).await?;
        for languages in &rows.languages {
            self.languages(languages).await?;
        }
        for topics in &rows.topics {
            self.topics(topics).await?;
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
