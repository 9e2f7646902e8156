//! Members, teams with their members and repositories, and outside collaborators of an organization.
//!
//! GitHub shows teams to members only, and to others only public members. So the teams come first: a token that sees
//! them belongs to a member, and the other lists are requested with it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, PoisonError};

use futures::StreamExt;
use futures::stream;
use serde_json::Value;

use super::{OrganizationReport, OrganizationSync, with_token};
use crate::github::{ApiError, ApiUrl, TokenRef};
use crate::mirror::accounts::User;
use crate::mirror::accounts::relations::{MEMBERS, OUTSIDE_COLLABORATORS, sync_relation};
use crate::mirror::context::StageContext;
use crate::mirror::error::MirrorError;
use crate::mirror::lists::restricted::{self, TEAM_REPOSITORIES, drop_possibly_hidden};
use crate::mirror::lists::unlisted_users::rows_of_gone_documents;
use crate::mirror::lists::{Expected, List, Listing, revalidate_expecting, tombstone};
use crate::mirror::mapping::account::account;
use crate::mirror::mapping::item::JsonItem;
use crate::mirror::mapping::repository::{project_row, unknown_parent};
use crate::mirror::mapping::{ItemMapper, MappedPage};
use crate::mirror::resource::Resource;
use crate::mirror::stats::StageStats;
use crate::mirror::sync_keys::account_list;
use crate::names::RepoName;
use crate::store::documents::Collection;
use crate::store::relational::rows::{Team as TeamRow, TeamProject};
use crate::store::relational::sync_state::fingerprint;
use crate::store::relational::{NO_PROJECT, RowBatch};

/// Teams synced concurrently.
const MAX_CONCURRENT_TEAMS: usize = 8;

/// A team that lists belong to.
#[derive(Debug, Clone)]
struct Team {
    organization: User,
    github_id: i64,
    /// Its id as text, for keys.
    digits: String,
    slug: String,
}

impl Team {
    /// Builds its URL, or that of one of its lists.
    fn url(&self, list: &[&str]) -> ApiUrl {
        let own = ["orgs", &self.organization.account.login, "teams", &self.slug];
        ApiUrl::path(&[own.as_slice(), list].concat())
    }
}

impl fmt::Display for Team {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/teams/{}", self.organization, self.slug)
    }
}

impl Resource for Team {
    fn project(&self) -> i64 {
        NO_PROJECT
    }

    fn list_name(&self, list: &str) -> String {
        account_list(self.organization.github_id, &format!("team/{}/{list}", self.github_id))
    }

    fn key(&self) -> Vec<&str> {
        vec![&self.organization.account.login, &self.digits]
    }

    fn repo(&self) -> Option<&RepoName> {
        None
    }

    fn token(&self) -> Option<&TokenRef> {
        self.organization.token.as_ref()
    }
}

/// Part of an organization's people that is synced. The list of teams always is, since it tells the token to ask with.
#[derive(Debug, Clone)]
pub(in crate::mirror) struct PeopleScope {
    /// Whether members are.
    pub members: bool,
    /// Whether outside collaborators are.
    pub outside_collaborators: bool,
    /// Teams whose members and repositories are, by number; `None` for all teams.
    pub teams: Option<BTreeSet<i64>>,
}

impl PeopleScope {
    /// Everybody.
    pub(super) const ALL: Self = Self { members: true, outside_collaborators: true, teams: None };
}

impl OrganizationSync<'_> {
    /// Mirrors members, teams and outside collaborators, as far as any token sees them.
    pub(super) async fn people(
        &self,
        own: &User,
        scope: &PeopleScope,
        stats: &Arc<StageStats>,
        found: &mut OrganizationReport,
    ) -> Result<(), MirrorError> {
        if !self.mirror.github.disabled_for(&own.account.login).is_empty() {
            // Another token may be shown less: who is not shown then would seem to have left.
            found
                .notes
                .push("members, teams and outside collaborators are not synced while a token is disabled".to_owned());
            return Ok(());
        }
        let Some((member_token, mut teams_listing)) = self.member_token(own, stats, found).await? else {
            found.notes.push(
                "no token belongs to a member: members, teams and outside collaborators are not synced".to_owned(),
            );
            return Ok(());
        };
        let mut teams = self.mirror.stores.relational.teams_of(&member_token.account.login).await?;
        // Of a team that this token is not shown there is nothing to ask.
        let login = member_token.account.login.as_str();
        teams.retain(|(github_id, _)| scope.teams.as_ref().is_none_or(|wanted| wanted.contains(github_id)));
        teams.retain(|(github_id, _)| teams_listing.ids.contains(&fingerprint(&format!("{login}/{github_id}"))));
        let mut done = stream::iter(teams)
            .map(|(github_id, slug)| {
                let team = Team { organization: member_token.clone(), github_id, digits: github_id.to_string(), slug };
                let ctx = self.context(team, stats);
                // One list that can't be had keeps no other away.
                async move { [team_members(&ctx).await, team_repositories(&ctx).await] }
            })
            .buffer_unordered(MAX_CONCURRENT_TEAMS);
        while let Some(done) = done.next().await {
            for done in done {
                record_error(done, "teams", found)?;
            }
        }
        drop(done);
        let mut owner = false;
        let relations = [(&MEMBERS, scope.members), (&OUTSIDE_COLLABORATORS, scope.outside_collaborators)];
        for (relation, _) in relations.into_iter().filter(|(_, wanted)| *wanted) {
            let ctx = self.context(member_token.clone(), stats);
            let done = sync_relation(&ctx, relation).await;
            // Outside collaborators are shown to owners alone, and to those every team.
            owner = done.is_ok() && relation.name == OUTSIDE_COLLABORATORS.name;
            record_error(done, relation.name, found)?;
            ctx.flush().await?;
        }
        self.tombstone_teams(&member_token, &mut teams_listing, owner, stats).await?;
        let incomplete = std::mem::take(&mut *stats.incomplete.lock().unwrap_or_else(PoisonError::into_inner));
        found.problems.extend(incomplete);
        Ok(())
    }

    /// Returns the organization with a token that sees its teams, which are synced with it. The token of the last sync
    /// is tried first.
    async fn member_token(
        &self,
        own: &User,
        stats: &Arc<StageStats>,
        found: &mut OrganizationReport,
    ) -> Result<Option<(User, Listing)>, MirrorError> {
        let relational = &self.mirror.stores.relational;
        let state = relational.list(NO_PROJECT, &own.list_name(TEAMS)).await?;
        let known = relational.pages(state.id).await?.into_iter().find_map(|page| page.validator);
        let login = own.account.login.as_str();
        let mut tokens = self.mirror.github.tokens_for(login);
        // Then personal tokens, then the App, whose ETags expire with its token.
        tokens.sort_by_key(|token| {
            (known.as_ref().is_none_or(|known| known.scope != token.fingerprint), token.installed_on.is_some())
        });
        for token in tokens {
            let asking = with_token(own, &token);
            match self.teams(&asking, stats).await {
                Ok(listing) => return Ok(Some((asking, listing))),
                Err(MirrorError::Api(error))
                    if error.is_access_denied() || matches!(error, ApiError::SsoRequired { .. }) => {}
                Err(error) => record_error::<()>(Err(error), "teams", found)?,
            }
        }
        Ok(None)
    }

    async fn teams(&self, own: &User, stats: &Arc<StageStats>) -> Result<Listing, MirrorError> {
        let map: &ItemMapper<User> = &|own: &User, item: &JsonItem<'_>, out: &mut MappedPage| {
            let github_id = item.require_integer("id")?;
            let login = own.account.login.as_str();
            out.documents.push(item.document(
                Collection::Teams,
                vec![login.into(), github_id.into()],
                &[("org", login.into())],
            ));
            out.rows.teams.push(TeamRow {
                github_id,
                organization: own.account.clone(),
                slug: item.require_text("slug")?,
                name: item.require_text("name")?,
                description: item.text("description"),
                privacy: item.text("privacy"),
                permission: item.text("permission"),
                parent: item.integer("parent.id"),
            });
            Ok(())
        };
        let url = ApiUrl::path(&["orgs", &own.account.login, "teams"]);
        let list = List::new(TEAMS, url, Collection::Teams, map);
        let ctx = self.context(own.clone(), stats);
        let listing = revalidate_expecting(&ctx, &list, Expected::HiddenFromSome).await?;
        ctx.flush().await?;
        Ok(listing)
    }

    /// Marks unlisted teams, once it is known whether an owner's token listed them.
    async fn tombstone_teams(
        &self,
        own: &User,
        listing: &mut Listing,
        owner: bool,
        stats: &Arc<StageStats>,
    ) -> Result<(), MirrorError> {
        let ctx = self.context(own.clone(), stats);
        drop_possibly_hidden(&ctx, &restricted::TEAMS, listing, owner).await?;
        let deleted_teams = listing.gone.iter().filter_map(|id| id.rsplit('/').next()?.parse().ok()).collect();
        ctx.write_rows(RowBatch { deleted_teams, ..RowBatch::default() }).await?;
        tombstone(&ctx, Collection::Teams, &listing.gone).await?;
        ctx.flush().await
    }
}

/// Mirrors a team's members.
async fn team_members(ctx: &StageContext<Team>) -> Result<(), MirrorError> {
    let github_id = ctx.resource().github_id;
    let members: &ItemMapper<Team> = &|team: &Team, item: &JsonItem<'_>, out: &mut MappedPage| {
        let member = account(Some(item.value()))
            .ok_or_else(|| MirrorError::Answer("a member came without a login".to_owned()))?;
        let (login, github_id) = (team.organization.account.login.as_str(), team.github_id);
        let key = vec![login.into(), github_id.into(), member.login.as_str().into()];
        let tags = [("org", login.into()), ("team_id", github_id.into())];
        out.documents.push(item.document(Collection::TeamMembers, key, &tags));
        out.rows.team_members.push((github_id, member));
        Ok(())
    };
    let collection = Collection::TeamMembers;
    let list = List::new("members", ctx.resource().url(&["members"]), collection, members);
    let listing = revalidate_expecting(ctx, &list, Expected::At(ctx.resource().url(&[]), "members_count")).await?;
    let gone = rows_of_gone_documents(ctx, collection, &listing).await?;
    let gone = gone.into_iter().map(|member| (github_id, member)).collect();
    ctx.write_rows(RowBatch { removed_team_members: gone, ..RowBatch::default() }).await?;
    tombstone(ctx, collection, &listing.gone).await?;
    ctx.flush().await
}

/// Mirrors the repositories that a team has access to.
async fn team_repositories(ctx: &StageContext<Team>) -> Result<(), MirrorError> {
    let github_id = ctx.resource().github_id;
    let repositories: &ItemMapper<Team> = &|team: &Team, item: &JsonItem<'_>, out: &mut MappedPage| {
        let id = item.require_integer("id")?;
        let (login, github_id) = (team.organization.account.login.as_str(), team.github_id);
        let tags = [("org", Value::from(login)), ("team_id", github_id.into())];
        let key = vec![login.into(), github_id.into(), id.into()];
        out.documents.push(item.document(Collection::TeamRepos, key, &tags));
        out.rows.projects.extend(project_row(item.value(), unknown_parent(item.value()), false));
        out.rows.team_projects.push(TeamProject { team: github_id, project: id, role: role(item) });
        Ok(())
    };
    let collection = Collection::TeamRepos;
    let list = List::new("repositories", ctx.resource().url(&["repos"]), collection, repositories);
    let mut listing = revalidate_expecting(ctx, &list, Expected::At(ctx.resource().url(&[]), "repos_count")).await?;
    drop_possibly_hidden(ctx, &TEAM_REPOSITORIES, &mut listing, false).await?;
    let id = |id: &String| id.rsplit('/').next()?.parse().ok();
    let gone = listing.gone.iter().filter_map(id).map(|project| (github_id, project)).collect();
    ctx.write_rows(RowBatch { removed_team_projects: gone, ..RowBatch::default() }).await?;
    tombstone(ctx, collection, &listing.gone).await?;
    ctx.flush().await
}

/// Name of the list of teams in the sync state.
const TEAMS: &str = restricted::TEAMS.list;
/// Permissions of a team in a repository, highest first.
const PERMISSIONS: [&str; 5] = ["admin", "maintain", "push", "triage", "pull"];

/// Returns the role of a team in a listed repository: its name, or else the highest permission.
fn role(item: &JsonItem<'_>) -> Option<String> {
    item.text("role_name").or_else(|| {
        let may = item.get_path("permissions")?;
        let first =
            PERMISSIONS.into_iter().find(|permission| may.get(*permission).and_then(Value::as_bool) == Some(true));
        first.map(str::to_owned)
    })
}

/// Records the error of a list.
fn record_error<T>(
    done: Result<T, MirrorError>,
    what: &str,
    found: &mut OrganizationReport,
) -> Result<(), MirrorError> {
    match done {
        Ok(_) => Ok(()),
        Err(error) if error.is_fatal() => Err(error),
        Err(MirrorError::Api(error)) if error.is_access_denied() => {
            found.notes.push(format!("{what} not permitted: {error}"));
            Ok(())
        }
        Err(error) => {
            found.problems.push(format!("{what}: {error}"));
            Ok(())
        }
    }
}
