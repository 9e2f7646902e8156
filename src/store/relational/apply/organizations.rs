//! An organization's listed repositories and its teams.

use super::super::batch::RowBatch;
use super::super::rows::Person;
use super::super::sql::{OnConflict, Upsert, Value};
use super::{BatchWriter, MAX_TEXT, id_of, truncate, truncate_option};

/// Maximum characters of `teams.privacy` and `project_listings.visibility`.
const MAX_WORD: usize = 16;
/// Maximum characters of `teams.permission`.
const MAX_PERMISSION: usize = 32;

const LISTINGS: Upsert = Upsert {
    table: "project_listings",
    columns: &["project_id", "state", "visibility", "archived", "fork", "disabled", "pushed_at", "updated_at"],
    key: &["project_id"],
    update: &[
        ("state", OnConflict::Overwrite),
        ("visibility", OnConflict::OverwriteIfPresent),
        ("archived", OnConflict::Overwrite),
        ("fork", OnConflict::Overwrite),
        ("disabled", OnConflict::Overwrite),
        ("pushed_at", OnConflict::OverwriteIfPresent),
        ("updated_at", OnConflict::OverwriteIfPresent),
    ],
};

const TEAMS: Upsert = Upsert {
    table: "teams",
    columns: &[
        "github_id",
        "org_id",
        "slug",
        "name",
        "description",
        "privacy",
        "permission",
        "parent_github_id",
        "deleted",
    ],
    key: &["github_id"],
    update: &[
        ("org_id", OnConflict::Overwrite),
        ("slug", OnConflict::Overwrite),
        ("name", OnConflict::Overwrite),
        ("description", OnConflict::Overwrite),
        ("privacy", OnConflict::Overwrite),
        ("permission", OnConflict::Overwrite),
        ("parent_github_id", OnConflict::Overwrite),
        ("deleted", OnConflict::Overwrite),
    ],
};

const TEAM_MEMBERS: Upsert =
    Upsert { table: "team_members", columns: &["team_id", "user_id"], key: &["team_id", "user_id"], update: &[] };

const TEAM_PROJECTS: Upsert = Upsert {
    table: "team_projects",
    columns: &["team_id", "project_id", "role"],
    key: &["team_id", "project_id"],
    update: &[("role", OnConflict::Overwrite)],
};

const TEAM: &str = "SELECT id FROM teams WHERE github_id = ?";
const PROJECT: &str = "SELECT project_id FROM msght_projects WHERE github_id = ?";

impl BatchWriter<'_> {
    pub(super) async fn organizations(&mut self, rows: &RowBatch) -> Result<(), sqlx::Error> {
        self.listings(rows).await?;
        self.teams(rows).await?;
        let mut members = Vec::new();
        for (team, member) in &rows.team_members {
            if let Some(team) = self.id_by_github_id(TEAM, *team).await? {
                members.push(vec![team.into(), self.person(&Person::Account(member.clone()))]);
            }
        }
        self.tx.upsert(&TEAM_MEMBERS, members).await?;
        let mut projects = Vec::new();
        for access in &rows.team_projects {
            let team = self.id_by_github_id(TEAM, access.team).await?;
            let project = self.id_by_github_id(PROJECT, access.project).await?;
            if let (Some(team), Some(project)) = (team, project) {
                projects.push(vec![team.into(), project.into(), truncate_option(access.role.as_ref(), MAX_TEXT)]);
            }
        }
        self.tx.upsert(&TEAM_PROJECTS, projects).await?;
        for (team, member) in &rows.removed_team_members {
            let sql = "DELETE FROM team_members WHERE team_id = (SELECT id FROM teams WHERE github_id = ?) \
                       AND user_id = ?";
            self.tx.execute(sql, vec![(*team).into(), (*member).into()]).await?;
        }
        for (team, project) in &rows.removed_team_projects {
            let sql = "DELETE FROM team_projects WHERE team_id = (SELECT id FROM teams WHERE github_id = ?) \
                       AND project_id = (SELECT project_id FROM msght_projects WHERE github_id = ?)";
            self.tx.execute(sql, vec![(*team).into(), (*project).into()]).await?;
        }
        Ok(())
    }

    async fn listings(&mut self, rows: &RowBatch) -> Result<(), sqlx::Error> {
        let mut listings = Vec::new();
        for listing in &rows.listings {
            let Some(project) = self.id_by_github_id(PROJECT, listing.github_id).await? else { continue };
            if let Some(name) = &listing.documents_name {
                let sql = "UPDATE msght_projects SET documents_as = ? WHERE project_id = ? AND documents_as IS NULL";
                self.tx.execute(sql, vec![name.as_str().into(), project.into()]).await?;
            }
            listings.push(vec![
                project.into(),
                listing.state.name().into(),
                truncate_option(listing.visibility.as_ref(), MAX_WORD),
                listing.archived.into(),
                listing.fork.into(),
                listing.disabled.into(),
                listing.pushed_at.into(),
                listing.updated_at.into(),
            ]);
        }
        self.tx.upsert(&LISTINGS, listings).await?;
        Ok(())
    }

    async fn teams(&mut self, rows: &RowBatch) -> Result<(), sqlx::Error> {
        let teams = rows.teams.iter().map(|team| {
            vec![
                team.github_id.into(),
                self.person(&Person::Account(team.organization.clone())),
                truncate(&team.slug, MAX_TEXT).into(),
                truncate(&team.name, MAX_TEXT).into(),
                truncate_option(team.description.as_ref(), MAX_TEXT),
                truncate_option(team.privacy.as_ref(), MAX_WORD),
                truncate_option(team.permission.as_ref(), MAX_PERMISSION),
                team.parent.map_or(Value::Null, Value::Integer),
                false.into(),
            ]
        });
        let teams = teams.collect();
        self.tx.upsert(&TEAMS, teams).await?;
        for team in &rows.deleted_teams {
            self.tx.execute("UPDATE teams SET deleted = 1 WHERE github_id = ?", vec![(*team).into()]).await?;
            for table in ["team_members", "team_projects"] {
                let sql = format!("DELETE FROM {table} WHERE team_id = (SELECT id FROM teams WHERE github_id = ?)");
                self.tx.execute(&sql, vec![(*team).into()]).await?;
            }
        }
        Ok(())
    }

    /// Finds a row by GitHub's id.
    async fn id_by_github_id(&mut self, sql: &str, github_id: i64) -> Result<Option<i64>, sqlx::Error> {
        let found = self.tx.fetch(sql, vec![github_id.into()]).await?;
        Ok(found.first().map(|row| id_of(row)))
    }
}
