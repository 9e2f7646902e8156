//! Projects: the repository itself, its forks and parent, and head repositories of pull requests.

use super::super::rows::{Parent, Project};
use super::super::sql::{OnConflict, Upsert, Value};
use super::{BatchWriter, MAX_TEXT, id_of, truncate, truncate_option};

const COLUMNS: &[&str] =
    &["url", "owner_id", "name", "description", "language", "created_at", "forked_from", "deleted"];

const STUBS: Upsert = Upsert { table: "projects", columns: COLUMNS, key: &["name", "owner_id"], update: &[] };

const REFRESHED: Upsert = Upsert {
    table: "projects",
    columns: COLUMNS,
    key: &["name", "owner_id"],
    update: &[
        ("url", OnConflict::Overwrite),
        ("description", OnConflict::Overwrite),
        ("language", OnConflict::Overwrite),
        ("created_at", OnConflict::Overwrite),
        ("forked_from", OnConflict::Overwrite),
        ("deleted", OnConflict::Overwrite),
    ],
};

/// Keeps a known parent that this response doesn't know.
const REFRESHED_PARENT_UNKNOWN: Upsert = Upsert {
    update: &[
        ("url", OnConflict::Overwrite),
        ("description", OnConflict::Overwrite),
        ("language", OnConflict::Overwrite),
        ("created_at", OnConflict::Overwrite),
        ("forked_from", OnConflict::KeepExisting),
        ("deleted", OnConflict::Overwrite),
    ],
    ..REFRESHED
};

const GITHUB_IDS: Upsert =
    Upsert { table: "msght_projects", columns: &["project_id", "github_id"], key: &[], update: &[] };

pub(super) fn key_of(owner: &str, name: &str) -> String {
    format!("{owner}/{name}").to_lowercase()
}

/// The name and owner of a project's row.
struct RowName {
    name: String,
    owner: i64,
    /// The row is the repository's own, and not that of a former holder of its name.
    own: bool,
}

impl BatchWriter<'_> {
    pub(super) async fn projects(&mut self, projects: &[Project]) -> Result<(), sqlx::Error> {
        for project in projects {
            let key = key_of(&project.owner.login, &project.name);
            if !project.refresh && self.ids.projects.get(&key).is_some() {
                continue;
            }
            let owner = self.account(&project.owner).unwrap_or(-1);
            let RowName { name, owner, own } = self.resolve_row_name(project, owner).await?;
            let forked_from = match project.parent {
                Parent::None => Value::Null,
                Parent::Unknown => Value::Integer(-1),
                Parent::Project(id) => Value::Integer(id),
            };
            let row = vec![
                truncate_option(project.url.as_ref(), MAX_TEXT),
                owner.into(),
                name.as_str().into(),
                truncate_option(project.description.as_ref(), MAX_TEXT),
                truncate_option(project.language.as_ref(), MAX_TEXT),
                project.created_at.into(),
                forked_from,
                false.into(),
            ];
            let upsert = match (project.refresh && own, project.parent) {
                (false, _) => &STUBS,
                (true, Parent::Unknown) => &REFRESHED_PARENT_UNKNOWN,
                (true, _) => &REFRESHED,
            };
            self.tx.upsert(upsert, vec![row]).await?;
            let sql = "SELECT id FROM projects WHERE name = ? AND owner_id = ?";
            let found = self.tx.fetch(sql, vec![name.into(), owner.into()]).await?;
            let Some(id) = found.first().map(|row| id_of(row)) else { continue };
            if let Some(github_id) = project.github_id {
                self.tx.upsert(&GITHUB_IDS, vec![vec![id.into(), github_id.into()]]).await?;
            }
            self.ids.projects.put(key, id);
        }
        Ok(())
    }

    /// Returns the name and owner of a repository's row. Repositories are identified by GitHub's id: a renamed or
    /// transferred one keeps its row, which takes the new name in GitHub's spelling. A former holder of the name is
    /// displaced unless it has documents: its current name is asked for first, and until then this row keeps its former
    /// name.
    async fn resolve_row_name(&mut self, project: &Project, owner: i64) -> Result<RowName, sqlx::Error> {
        let name = truncate(&project.name, MAX_TEXT);
        let Some(github_id) = project.github_id else { return Ok(RowName { name, owner, own: true }) };
        let sql = "SELECT p.id, p.name, p.owner_id, u.login FROM msght_projects m JOIN projects p ON p.id = m.project_id \
                   JOIN users u ON u.id = p.owner_id WHERE m.github_id = ?";
        let own = self.tx.fetch(sql, vec![github_id.into()]).await?.into_iter().next();
        let own_id = own.as_ref().map(|row| id_of(row));
        if let Some(row) = &own
            && row[1].as_str() == Some(name.as_str())
            && row[2].as_i64() == Some(owner)
        {
            return Ok(RowName { name, owner, own: true });
        }
        let sql = "SELECT p.id, m.github_id, m.documents_as FROM projects p LEFT JOIN msght_projects m \
                   ON m.project_id = p.id WHERE p.name = ? AND p.owner_id = ?";
        let holder = self.tx.fetch(sql, vec![name.as_str().into(), owner.into()]).await?.into_iter().next();
        if let Some(holder) = holder.filter(|holder| Some(id_of(holder)) != own_id) {
            // A row without a GitHub id is this repository's own if it has none yet.
            let is_own = own.is_none() && holder[1].as_i64().is_none();
            if !is_own && holder[2].as_str().is_some() {
                let former = own.and_then(|row| {
                    Some(RowName { name: row[1].as_str()?.to_owned(), owner: row[2].as_i64()?, own: true })
                });
                return Ok(former.unwrap_or(RowName { name, owner, own: false }));
            }
            if !is_own {
                self.displace_name(id_of(&holder), &name, holder[1].as_i64()).await?;
            }
        }
        if let Some(row) = own {
            let sql = "UPDATE projects SET name = ?, owner_id = ? WHERE id = ?";
            self.tx.execute(sql, vec![name.as_str().into(), owner.into(), id_of(&row).into()]).await?;
            let (old_name, old_login) = (row[1].as_str().unwrap_or_default(), row[3].as_str().unwrap_or_default());
            self.ids.projects.remove(&key_of(old_login, old_name));
        }
        self.ids.projects.remove(&key_of(&project.owner.login, &project.name));
        Ok(RowName { name, owner, own: true })
    }

    /// Displaces a row whose name GitHub has given to another repository: it gets an impossible name until its
    /// repository is met again.
    async fn displace_name(&mut self, id: i64, name: &str, github_id: Option<i64>) -> Result<(), sqlx::Error> {
        let displaced_name =
            github_id.map_or_else(|| format!("{name}~row{id}"), |github_id| format!("{name}~{github_id}"));
        let sql = "UPDATE projects SET name = ? WHERE id = ?";
        self.tx.execute(sql, vec![truncate(&displaced_name, MAX_TEXT).into(), id.into()]).await.map(drop)
    }
}
