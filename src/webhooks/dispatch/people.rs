//! Members, teams and organizations.

use super::Dispatch;
use super::payload::Payload;
use crate::store::relational::refreshes::{RefreshKind, RefreshRequest, Wanted};

/// Returns a wish for what belongs to an organization.
pub(super) fn organization_wish(
    organization: &str,
    kind: RefreshKind,
    entity: impl Into<Option<String>>,
    wanted: Wanted,
) -> RefreshRequest {
    RefreshRequest::of_organization(organization, kind, entity.into(), wanted)
}

/// A collaborator was added to a repository, edited or removed.
pub(super) fn member(payload: Payload<'_>, out: &mut Dispatch) {
    let (Some(repository), Some(login)) = (payload.repository(), payload.text("member.login")) else { return };
    let wanted = match payload.action() {
        "removed" => Wanted::Gone,
        "added" => Wanted::Present,
        _ => Wanted::Read,
    };
    out.wish(repository.wish(RefreshKind::Collaborators, login.to_owned(), wanted));
    // Whether this one is a member of the organization, too, its own lists tell.
    if let Some(organization) = payload.organization() {
        out.wish(organization_wish(organization, RefreshKind::OutsideCollaborators, login.to_owned(), Wanted::Read));
    }
}

/// Somebody joined or left a team.
pub(super) fn membership(payload: Payload<'_>, out: &mut Dispatch) {
    let (Some(organization), Some(team)) = (payload.organization(), payload.integer("team.id")) else { return };
    let login = payload.text("member.login").unwrap_or_default();
    let wanted = match payload.action() {
        "removed" => Wanted::Gone,
        "added" => Wanted::Present,
        _ => Wanted::Read,
    };
    // The last member of a deleted team leaves it, too.
    let kind = if payload.flag("team.deleted") { RefreshKind::Teams } else { RefreshKind::TeamMembers };
    let (entity, wanted) = match kind {
        RefreshKind::Teams => (team.to_string(), Wanted::Gone),
        _ => (format!("{team}/{login}"), wanted),
    };
    out.wish(organization_wish(organization, kind, entity, wanted));
}

/// A team was made, edited or deleted, or got or lost a repository.
pub(super) fn team(payload: Payload<'_>, out: &mut Dispatch) {
    let (Some(organization), Some(id)) = (payload.organization(), payload.integer("team.id")) else { return };
    let wanted = if payload.action() == "deleted" { Wanted::Gone } else { Wanted::Present };
    let mut wish = organization_wish(organization, RefreshKind::Teams, id.to_string(), wanted);
    if wish.wanted == Wanted::Present {
        wish.facts = payload.member("team").and_then(|team| team.facts(&["name", "description", "privacy", "slug"]));
    }
    out.wish(wish);
    if payload.action() == "created" {
        out.wish(organization_wish(organization, RefreshKind::TeamMembers, format!("{id}/"), Wanted::Read));
    }
    if let Some(repository) = payload.integer("repository.id") {
        let wanted = match payload.action() {
            "added_to_repository" => Wanted::Present,
            "removed_from_repository" => Wanted::Gone,
            _ => Wanted::Read,
        };
        let entity = format!("{id}/{repository}");
        out.wish(organization_wish(organization, RefreshKind::TeamRepositories, entity, wanted));
    }
    collaborators(payload, out);
}

/// A team got a repository.
pub(super) fn team_add(payload: Payload<'_>, out: &mut Dispatch) {
    let (Some(organization), Some(id)) = (payload.organization(), payload.integer("team.id")) else { return };
    if let Some(repository) = payload.integer("repository.id") {
        let entity = format!("{id}/{repository}");
        out.wish(organization_wish(organization, RefreshKind::TeamRepositories, entity, Wanted::Present));
    }
    collaborators(payload, out);
}

/// The members of a team are collaborators of its repositories.
fn collaborators(payload: Payload<'_>, out: &mut Dispatch) {
    let repository = payload.repository();
    out.refreshes.extend(repository.map(|named| named.wish(RefreshKind::Collaborators, None, Wanted::Read)));
}

/// The organization was renamed, or somebody joined or left it.
pub(super) fn organization(payload: Payload<'_>, out: &mut Dispatch) {
    let Some(organization) = payload.organization() else { return };
    let login = payload.text("membership.user.login").or_else(|| payload.text("user.login"));
    match (payload.action(), login) {
        ("member_added", Some(login)) => {
            out.wish(organization_wish(organization, RefreshKind::Members, login.to_owned(), Wanted::Present));
        }
        ("member_removed", Some(login)) => {
            out.wish(organization_wish(organization, RefreshKind::Members, login.to_owned(), Wanted::Gone));
            // One who left may still have access to repositories, and is in no team.
            let outside = RefreshKind::OutsideCollaborators;
            out.wish(organization_wish(organization, outside, login.to_owned(), Wanted::Read));
            out.wish(organization_wish(organization, RefreshKind::TeamMembers, None, Wanted::Read));
        }
        // An invitation changes nothing yet.
        ("member_invited", _) => {}
        _ => out.wish(organization_wish(organization, RefreshKind::Organization, None, Wanted::Read)),
    }
}
