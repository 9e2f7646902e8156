//! Teams and outside collaborators of organizations: as they change, and as GitHub answers for them.
use super::app::not_for_apps;
use super::json::*;
use super::paging::Query;
use super::routes::{Answer, Kind, Viewer, not_found, object, refusal, rows};
use super::world::*;
use std::fmt::Write as _;

/// A team of an organization.
#[derive(Clone)]
pub struct Team {
    pub id: u64,
    pub org: UserIx,
    pub name: String,
    pub description: Option<String>,
    pub members: Vec<UserIx>,
    pub repos: Vec<RepoIx>,
    /// Position in the world's teams.
    pub parent: Option<usize>,
    /// Shown to its members and to owners alone.
    pub secret: bool,
    pub deleted: bool,
}

impl Team {
    /// GitHub makes it from the name.
    pub fn slug(&self) -> String {
        self.name.to_lowercase().replace(' ', "-")
    }
}

impl World {
    pub fn add_team(&mut self, org: &str, name: &str, members: &[UserIx], repos: &[RepoIx]) -> usize {
        self.tick(60);
        let (id, org) = (self.id(), self.user(org));
        self.teams.push(Team {
            id,
            org,
            name: name.into(),
            description: Some(format!("{name} of the organization")),
            members: members.to_vec(),
            repos: repos.to_vec(),
            parent: None,
            secret: false,
            deleted: false,
        });
        self.teams.len() - 1
    }

    /// Lets a user who is no member of an organization into its repositories.
    pub fn let_in(&mut self, org: &str, user: UserIx) {
        let org = self.user(org);
        self.outside.push((org, user));
    }

    /// Makes a member an owner of an organization.
    pub fn make_owner(&mut self, org: &str, user: UserIx) {
        let org = self.user(org);
        self.join(org, user, false);
        self.owners.push((org, user));
    }

    /// A user's own membership of an organization.
    pub(super) fn membership(&self, org: UserIx, user: UserIx) -> Option<Answer> {
        self.members.iter().find(|m| m.org == org && m.user == user)?;
        let role = if self.owners.contains(&(org, user)) { "admin" } else { "member" };
        let login = &self.users[org as usize].login;
        Some(Answer::Object(format!(
            r#"{{"url":"{}orgs/{login}/memberships/me","state":"active","role":"{role}","organization":{{"login":"{login}"}}}}"#,
            self.api
        )))
    }

    /// `/orgs/{org}/teams/...` and `/orgs/{org}/outside_collaborators`.
    pub(super) fn team_answer(&self, org: UserIx, rest: &[&str], who: &Viewer) -> Option<(&'static str, Answer)> {
        let installed = who.installation.is_some_and(|i| i.account == org);
        let granted = installed && who.installation.is_some_and(|i| i.may("members", false));
        let inside = granted || who.user.is_some_and(|u| self.members.iter().any(|m| m.org == org && m.user == u));
        let owner = granted || who.user.is_some_and(|u| self.owners.contains(&(org, u)));
        let named = |slug: &str| self.teams.iter().position(|t| t.org == org && !t.deleted && t.slug() == slug);
        let upto = |list: &[RepoIx]| {
            let live = |&&r: &&RepoIx| self.repos[r].state == RepoState::Live && (who.sees)(self, r);
            list.iter().filter(live).map(|&r| r as u32).collect()
        };
        Some(match *rest {
            ["outside_collaborators"] if installed && !granted => {
                ("/orgs/{org}/outside_collaborators", not_for_apps("members=read"))
            }
            ["teams", ..] if installed && !granted => ("/orgs/{org}/teams", not_for_apps("members=read")),
            ["outside_collaborators"] if !owner => {
                ("/orgs/{org}/outside_collaborators", refusal(403, "Must be an owner of the organization."))
            }
            ["outside_collaborators"] => {
                let list = self.outside.iter().filter(|o| o.0 == org).map(|o| o.1);
                ("/orgs/{org}/outside_collaborators", rows(0, Kind::User, list.collect()))
            }
            // GitHub: teams are shown to members alone.
            ["teams", ..] if !inside => ("/orgs/{org}/teams", not_found()),
            ["teams"] => {
                let shown = |t: &Team| !t.secret || owner || who.user.is_some_and(|u| t.members.contains(&u));
                let here = |t: &Team| t.org == org && !t.deleted && shown(t);
                let list = (0..self.teams.len()).filter(|&t| here(&self.teams[t]));
                ("/orgs/{org}/teams", rows(0, Kind::Team, list.map(|t| t as u32).collect()))
            }
            ["teams", slug] => (
                "/orgs/{org}/teams/{team_slug}",
                named(slug).map_or_else(not_found, |t| {
                    let repos: Vec<u32> = upto(&self.teams[t].repos);
                    object(|o| self.whole_team_json(o, t, repos.len()))
                }),
            ),
            ["teams", slug, "members"] => (
                "/orgs/{org}/teams/{team_slug}/members",
                named(slug).map_or_else(not_found, |t| rows(0, Kind::User, self.teams[t].members.clone())),
            ),
            ["teams", slug, "repos"] => (
                "/orgs/{org}/teams/{team_slug}/repos",
                named(slug).map_or_else(not_found, |t| rows(0, Kind::TeamRepo, upto(&self.teams[t].repos))),
            ),
            _ => return None,
        })
    }

    pub(super) fn team_json(&self, o: &mut String, team: usize) {
        self.team_fields(o, team);
        match self.teams[team].parent {
            None => o.push_str(r#","parent":null}"#),
            Some(parent) => {
                o.push_str(r#","parent":"#);
                self.team_fields(o, parent);
                o.push_str("}}");
            }
        }
    }

    /// A team's own answer counts what it has.
    fn whole_team_json(&self, o: &mut String, team: usize, repos: usize) {
        self.team_fields(o, team);
        let t = &self.teams[team];
        let _ = write!(
            o,
            r#","members_count":{},"repos_count":{repos},"created_at":"2024-01-01T00:00:00Z","updated_at":"2024-01-01T00:00:00Z","organization":"#,
            t.members.len()
        );
        self.org(o, t.org);
        o.push_str(r#","parent":null}"#);
    }

    fn team_fields(&self, o: &mut String, team: usize) {
        let t = &self.teams[team];
        let org = &self.users[t.org as usize];
        let (slug, api, html) = (t.slug(), &self.api, &self.html);
        let _ = write!(
            o,
            r#"{{"id":{0},"node_id":"T_kwDO{0:08x}","name":"{1}","slug":"{slug}","description":"#,
            t.id, t.name
        );
        esc_opt(o, t.description.as_deref());
        let _ = write!(
            o,
            r#","privacy":"{3}","notification_setting":"notifications_enabled","permission":"pull","type":"organization","organization_id":{0},"url":"{api}organizations/{0}/team/{1}","html_url":"{html}orgs/{2}/teams/{slug}","members_url":"{api}organizations/{0}/team/{1}/members{{/member}}","repositories_url":"{api}organizations/{0}/team/{1}/repos""#,
            org.id,
            t.id,
            org.login,
            if t.secret { "secret" } else { "closed" },
        );
    }

    /// `/users/{login}/repos`: what a user owns and everybody may see; `/user/repos` with `mine`.
    pub(super) fn repos_of(&self, owner: UserIx, mine: bool, q: &Query) -> Answer {
        let live = |r: &Repo| r.owner == owner && r.state == RepoState::Live && (mine || !r.private);
        let mut list: Vec<u32> =
            self.repos.iter().enumerate().filter(|(_, r)| live(r)).map(|(i, _)| i as u32).collect();
        list.sort_by_key(|&r| self.repos[r as usize].name.to_lowercase());
        if q.get("direction") == Some("desc") {
            list.reverse();
        }
        rows(0, Kind::Repo, list)
    }

    /// Organizations that a user is a member of.
    pub(super) fn orgs_of(&self, user: UserIx) -> Answer {
        rows(0, Kind::Org, self.members.iter().filter(|m| m.user == user).map(|m| m.org).collect())
    }

    /// Several organizations with small repositories each, the first's `r000` and so on, fabrikam's `f000`, every third of them private, and some teams. Their members are
    /// `dev0` to `dev11`, of whom the first is an owner.
    pub fn estate(seed: u64, organizations: &[(&str, usize)]) -> World {
        let mut w = World::empty(seed);
        let users: Vec<UserIx> = (0..12).map(|i| w.add_user(&format!("dev{i}"), UserKind::User)).collect();
        for (place, &(org, repositories)) in organizations.iter().enumerate() {
            // No two organizations' repositories are called the same.
            let letter = if place == 0 { "r" } else { &org[..1] };
            let repos: Vec<RepoIx> =
                (0..repositories).map(|r| w.small_repo(&format!("{org}/{letter}{r:03}"), r, &users)).collect();
            for (r, &repo) in repos.iter().enumerate() {
                w.repos[repo].private = r % 3 == 2;
            }
            if w.find_user(org).is_none() {
                w.add_user(org, UserKind::Organization);
            }
            let login = w.user(org);
            for (i, &user) in users.iter().take(8).enumerate() {
                w.join(login, user, i % 2 == 0);
            }
            w.make_owner(org, users[0]);
            w.let_in(org, users[10]);
            let mid = repos.len().min(4);
            w.add_team(org, "Maintainers", &users[..3], &repos[..mid]);
            w.add_team(org, "Readers", &users[2..7], &repos[mid..]);
        }
        w.changed();
        w
    }
}
