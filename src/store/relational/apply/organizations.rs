//! What an organisation's lists tell: its repositories' standing, and its teams.

use super::super::batch::Rows;
use super::super::rows::Person;
use super::super::sql::{Rule, Upsert, Value};
use super::{Batch, TEXT, cut, cut_option, id_of};

/// Characters of `teams.privacy` and `project_listings.visibility`.
const WORD: usize = 16;
/// Characters of `teams.permission`.
const PERMISSION: usize = 32;

const LISTINGS: Upsert = Upsert {
    table: "project_listings",
    columns: &["project_id", "state", "visibility", "archived", "fork", "disabled", "pushed_at", "updated_at"],
    key: &["project_id"],
    update: &[
        ("state", Rule::Replace),
        ("visibility", Rule::ReplaceIfKnown),
        ("archived", Rule::Replace),
        ("fork", Rule::Replace),
        ("disabled", Rule::Replace),
        ("pushed_at", Rule::ReplaceIfKnown),
        ("updated_at", Rule::ReplaceIfKnown),
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
        ("org_id", Rule::Replace),
        ("slug", Rule::Replace),
        ("name", Rule::Replace),
        ("description", Rule::Replace),
        ("privacy", Rule::Replace),
        ("permission", Rule::Replace),
        ("parent_github_id", Rule::Replace),
        ("deleted", Rule::Replace),
    ],
};

const TEAM_MEMBERS: Upsert =
    Upsert { table: "team_members", columns: &["team_id", "user_id"], key: &["team_id", "user_id"], update: &[] };

const TEAM_PROJECTS: Upsert = Upsert {
    table: "team_projects",
    columns: &["team_id", "project_id", "role"],
    key: &["team_id", "project_id"],
    update: &[("role", Rule::Replace)],
};

const TEAM: &str = "SELECT id FROM teams WHERE github_id = ?";
const PROJECT: &str = "SELECT project_id FROM msght_projects WHERE github_id = ?";

impl Batch<'_> {
    pub(super) async fn organizations(&mut self, rows: &Rows) -> Result<(), sqlx::Error> {
        self.listings(rows).await?;
        self.teams(rows).await?;
        let mut members = Vec::new();
        for (team, member) in &rows.team_members {
            if let Some(team) = self.id_by_number(TEAM, *team).await? {
                members.push(vec![team.into(), self.person(&Person::Account(member.clone()))]);
            }
        }
        self.tx.upsert(&TEAM_MEMBERS, members).await?;
        let mut projects = Vec::new();
        for access in &rows.team_projects {
            let team = self.id_by_number(TEAM, access.team).await?;
            let project = self.id_by_number(PROJECT, access.project).await?;
            if let (Some(team), Some(project)) = (team, project) {
                projects.push(vec![team.into(), project.into(), cut_option(access.role.as_ref(), TEXT)]);
            }
        }
        self.tx.upsert(&TEAM_PROJECTS, projects).await?;
        for (team, member) in &rows.team_members_gone {
            let sql = "DELETE FROM team_members WHERE team_id = (SELECT id FROM teams WHERE github_id = ?) \
                       AND user_id = ?";
            self.tx.execute(sql, vec![(*team).into(), (*member).into()]).await?;
        }
        for (team, project) in &rows.team_projects_gone {
            let sql = "DELETE FROM team_projects WHERE team_id = (SELECT id FROM teams WHERE github_id = ?) \
                       AND project_id = (SELECT project_id FROM msght_projects WHERE github_id = ?)";
            self.tx.execute(sql, vec![(*team).into(), (*project).into()]).await?;
        }
        Ok(())
    }

    async fn listings(&mut self, rows: &Rows) -> Result<(), sqlx::Error> {
        let mut listings = Vec::new();
        for listing in &rows.listings {
            let Some(project) = self.id_by_number(PROJECT, listing.github_id).await? else { continue };
            if let Some(name) = &listing.documents_as {
                let sql = "UPDATE msght_projects SET documents_as = ? WHERE project_id = ? AND documents_as IS NULL";
                self.tx.execute(sql, vec![name.as_str().into(), project.into()]).await?;
            }
            listings.push(vec![
                project.into(),
                listing.state.name().into(),
                cut_option(listing.visibility.as_ref(), WORD),
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

    async fn teams(&mut self, rows: &Rows) -> Result<(), sqlx::Error> {
        let teams = rows.teams.iter().map(|team| {
            vec![
                team.github_id.into(),
                self.person(&Person::Account(team.organization.clone())),
                cut(&team.slug, TEXT).into(),
                cut(&team.name, TEXT).into(),
                cut_option(team.description.as_ref(), TEXT),
                cut_option(team.privacy.as_ref(), WORD),
                cut_option(team.permission.as_ref(), PERMISSION),
                team.parent.map_or(Value::Null, Value::Integer),
                false.into(),
            ]
        });
        let teams = teams.collect();
        self.tx.upsert(&TEAMS, teams).await?;
        for team in &rows.teams_gone {
            self.tx.execute("UPDATE teams SET deleted = 1 WHERE github_id = ?", vec![(*team).into()]).await?;
            for table in ["team_members", "team_projects"] {
                let sql = format!("DELETE FROM {table} WHERE team_id = (SELECT id FROM teams WHERE github_id = ?)");
                self.tx.execute(&sql, vec![(*team).into()]).await?;
            }
        }
        Ok(())
    }

    /// The row that bears one of GitHub's numbers.
    async fn id_by_number(&mut self, sql: &str, number: i64) -> Result<Option<i64>, sqlx::Error> {
        let found = self.tx.fetch(sql, vec![number.into()]).await?;
        Ok(found.first().map(|row| id_of(row)))
    }
}
