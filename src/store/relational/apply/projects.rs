//! Projects: the repository itself, its forks and parent, and head repositories of pull requests.

use super::super::rows::{Parent, Project};
use super::super::sql::{Rule, Upsert, Value};
use super::{Batch, TEXT, cut, cut_option, id_of};

const COLUMNS: &[&str] =
    &["url", "owner_id", "name", "description", "language", "created_at", "forked_from", "deleted"];

const MENTIONED: Upsert = Upsert { table: "projects", columns: COLUMNS, key: &["name", "owner_id"], update: &[] };

const REFRESHED: Upsert = Upsert {
    table: "projects",
    columns: COLUMNS,
    key: &["name", "owner_id"],
    update: &[
        ("url", Rule::Replace),
        ("description", Rule::Replace),
        ("language", Rule::Replace),
        ("created_at", Rule::Replace),
        ("forked_from", Rule::Replace),
        ("deleted", Rule::Replace),
    ],
};

/// Where a project's row has a parent already that this answer doesn't know, the known one stays.
const REFRESHED_PARENT_UNKNOWN: Upsert = Upsert {
    update: &[
        ("url", Rule::Replace),
        ("description", Rule::Replace),
        ("language", Rule::Replace),
        ("created_at", Rule::Replace),
        ("forked_from", Rule::Fill),
        ("deleted", Rule::Replace),
    ],
    ..REFRESHED
};

const FACTS: Upsert = Upsert { table: "msght_projects", columns: &["project_id", "github_id"], key: &[], update: &[] };

pub(super) fn key_of(owner: &str, name: &str) -> String {
    format!("{owner}/{name}").to_lowercase()
}

impl Batch<'_> {
    pub(super) async fn projects(&mut self, projects: &[Project]) -> Result<(), sqlx::Error> {
        for project in projects {
            let key = key_of(&project.owner.login, &project.name);
            if !project.refresh && self.ids.projects.get(&key).is_some() {
                continue;
            }
            let owner = self.people.get(&project.owner.login.to_lowercase()).copied().unwrap_or(-1);
            self.follow_rename(project, owner).await?;
            let forked_from = match project.parent {
                Parent::None => Value::Null,
                Parent::Unknown => Value::Integer(-1),
                Parent::Project(id) => Value::Integer(id),
            };
            let row = vec![
                cut_option(project.url.as_ref(), TEXT),
                owner.into(),
                cut(&project.name, TEXT).into(),
                cut_option(project.description.as_ref(), TEXT),
                cut_option(project.language.as_ref(), TEXT),
                project.created_at.into(),
                forked_from,
                false.into(),
            ];
            let upsert = match (project.refresh, project.parent) {
                (false, _) => &MENTIONED,
                (true, Parent::Unknown) => &REFRESHED_PARENT_UNKNOWN,
                (true, _) => &REFRESHED,
            };
            self.tx.upsert(upsert, vec![row]).await?;
            let sql = "SELECT id FROM projects WHERE name = ? AND owner_id = ?";
            let found = self.tx.fetch(sql, vec![cut(&project.name, TEXT).into(), owner.into()]).await?;
            let Some(id) = found.first().map(|row| id_of(row)) else { continue };
            if let Some(github_id) = project.github_id {
                self.tx.upsert(&FACTS, vec![vec![id.into(), github_id.into()]]).await?;
            }
            self.ids.projects.put(key, id);
        }
        Ok(())
    }

    /// A repository is known by its numeric id: renamed or transferred, its row takes the new name and stays one.
    async fn follow_rename(&mut self, project: &Project, owner: i64) -> Result<(), sqlx::Error> {
        let Some(github_id) = project.github_id else { return Ok(()) };
        let sql = "SELECT p.id, p.name, p.owner_id, u.login FROM msght_projects m JOIN projects p ON p.id = m.project_id \
                   JOIN users u ON u.id = p.owner_id WHERE m.github_id = ?";
        let found = self.tx.fetch(sql, vec![github_id.into()]).await?;
        let Some(row) = found.first() else { return Ok(()) };
        let (old_name, old_login) = (row[1].as_str().unwrap_or_default(), row[3].as_str().unwrap_or_default());
        if old_name.eq_ignore_ascii_case(&project.name) && row[2].as_i64() == Some(owner) {
            return Ok(());
        }
        let sql = "SELECT id FROM projects WHERE name = ? AND owner_id = ?";
        if !self.tx.fetch(sql, vec![cut(&project.name, TEXT).into(), owner.into()]).await?.is_empty() {
            // The name is another row's until that one is moved out of the way.
            return Ok(());
        }
        let sql = "UPDATE projects SET name = ?, owner_id = ? WHERE id = ?";
        self.tx.execute(sql, vec![cut(&project.name, TEXT).into(), owner.into(), id_of(row).into()]).await?;
        self.ids.projects.forget(&key_of(old_login, old_name));
        Ok(())
    }
}
