//! The repository itself, its stars and forks.

use serde_json::{Map, Value};

use super::Dispatch;
use super::payload::{Payload, repository_facts};
use crate::store::relational::refreshes::{RefreshKind, Wanted};

/// A repository was created, renamed, transferred, deleted, shown, hidden, archived or edited.
pub(super) fn repository(payload: Payload<'_>, out: &mut Dispatch) {
    let (Some(named), Some(json)) = (payload.repository(), payload.member("repository")) else { return };
    let mut wish = match payload.action() {
        // Only GitHub's own answer makes it so.
        "deleted" => named.wish(RefreshKind::Repository, None, Wanted::Gone),
        _ => named.wish(RefreshKind::Repository, None, Wanted::Present),
    };
    wish.facts = repository_facts(json).filter(|_| wish.wanted == Wanted::Present);
    out.wish(wish);
    if payload.get("changes.topics").is_some() {
        let mut wish = named.wish(RefreshKind::Topics, None, Wanted::Present);
        wish.facts = json.facts(&["topics"]);
        out.wish(wish);
    }
    if payload.get("changes.default_branch").is_some() {
        out.wish(named.wish(RefreshKind::Branches, None, Wanted::Read));
        // A branch that is renamed is renamed in releases, too.
        out.wish(named.wish(RefreshKind::Releases, None, Wanted::Read));
    }
    if let Some(organization) = payload.organization() {
        let wish = RefreshKind::TeamRepositories;
        // Who may see it has changed with it: its teams, and those of its former owner.
        if matches!(payload.action(), "transferred" | "privatized") {
            out.wish(super::people::organization_wish(organization, wish, None, Wanted::Read));
        }
    }
}

/// Something happened to the repository as a whole.
pub(super) fn itself(payload: Payload<'_>, out: &mut Dispatch) {
    let (Some(named), Some(json)) = (payload.repository(), payload.member("repository")) else { return };
    let mut wish = named.wish(RefreshKind::Repository, None, Wanted::Present);
    wish.facts = repository_facts(json);
    out.wish(wish);
}

/// Something happened of which only the repository's own counts and dates tell.
pub(super) fn counts(payload: Payload<'_>, out: &mut Dispatch) {
    out.wish_counts(payload);
}

/// Somebody starred the repository, or does no longer. The person and the date are kept: the list of stars may be refused.
pub(super) fn star(payload: Payload<'_>, out: &mut Dispatch) {
    let (Some(named), Some(sender)) = (payload.repository(), payload.member("sender")) else { return };
    let Some(login) = sender.text("login") else { return };
    let wanted = if payload.action() == "deleted" { Wanted::Gone } else { Wanted::Present };
    let mut wish = named.wish(RefreshKind::Stars, login.to_owned(), wanted);
    let mut facts = Map::new();
    facts.insert("starred_at".to_owned(), payload.get("starred_at").cloned().unwrap_or(Value::Null));
    facts.insert("user".to_owned(), sender.0.clone());
    wish.facts = Some(Value::Object(facts).to_string());
    wish.as_of = wish.as_of.max(payload.date("starred_at"));
    out.wish(wish);
    out.wish_counts(payload);
}

/// The repository was forked.
pub(super) fn fork(payload: Payload<'_>, out: &mut Dispatch) {
    let (Some(named), Some(id)) = (payload.repository(), payload.integer("forkee.id")) else { return };
    out.wish(named.wish(RefreshKind::Forks, id.to_string(), Wanted::Present));
    out.wish_counts(payload);
}
