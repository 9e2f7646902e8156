//! Absence in lists that depend on the token: drafts of releases, secret teams, private repositories of teams.
//!
//! The token that synced a list last is kept beside its state. An item that another token does not find may only be
//! hidden from it: it counts as deleted only if the former token, or one that sees all items, does not find it.

use std::collections::HashSet;

use serde_json::Value;

use super::snapshot::Listing;
use crate::mirror::context::StageContext;
use crate::mirror::error::MirrorError;
use crate::mirror::resource::Resource;
use crate::store::documents::Collection;
use crate::store::relational::sync_state::fingerprint;

/// A kind of list in which some items are hidden from some tokens.
pub(in crate::mirror) struct Restricted {
    /// Name in the sync state.
    pub list: &'static str,
    /// Collection of its documents.
    pub collection: Collection,
    /// Returns whether a document is visible to some tokens only.
    pub is_hidden: fn(&Value) -> bool,
    /// True if a token that sees one of these sees all.
    pub all_or_none: bool,
}

/// Releases: drafts are visible to those who can push.
pub(in crate::mirror) const RELEASES: Restricted = Restricted {
    list: "releases",
    collection: Collection::Releases,
    is_hidden: |release| release.get("draft").and_then(Value::as_bool) == Some(true),
    all_or_none: true,
};

/// Teams: secret ones are visible to their members and to owners.
pub(in crate::mirror) const TEAMS: Restricted = Restricted {
    list: "teams",
    collection: Collection::Teams,
    is_hidden: |team| team.get("privacy").and_then(Value::as_str) == Some("secret"),
    all_or_none: false,
};

/// Repositories of a team: private ones are visible to those who can read them.
pub(in crate::mirror) const TEAM_REPOSITORIES: Restricted = Restricted {
    list: "repositories",
    collection: Collection::TeamRepos,
    is_hidden: |repository| repository.get("private").and_then(Value::as_bool) != Some(false),
    all_or_none: false,
};

/// Removes documents from a listing's `gone` that may only be hidden from the present token. With `sees_all`, the token
/// is known to see everything.
pub(in crate::mirror) async fn drop_possibly_hidden<S: Resource>(
    ctx: &StageContext<S>,
    kind: &Restricted,
    listing: &mut Listing,
    sees_all: bool,
) -> Result<(), MirrorError> {
    let relational = &ctx.run.stores.relational;
    let list = ctx.list_state(kind.list).await?.id;
    let before = relational.list_reader(list).await?;
    let trusted = listing.gone.is_empty()
        || sees_all
        || before.is_none()
        || before == listing.reader
        || (kind.all_or_none && shows_hidden(ctx, kind, &listing.ids).await?);
    if !trusted {
        let missing = listing.gone.len();
        let mut gone = Vec::new();
        for id in std::mem::take(&mut listing.gone) {
            if !is_hidden(ctx, kind, &id).await? {
                gone.push(id);
            }
        }
        let hidden = missing - gone.len();
        listing.gone = gone;
        if hidden > 0 {
            tracing::info!(resource = %ctx.resource(), list = kind.list, hidden, "read with another token than before");
            return Ok(());
        }
    }
    if let Some(reader) = listing.reader.as_ref().filter(|reader| before.as_ref() != Some(reader)) {
        relational.set_list_reader(list, reader).await?;
    }
    Ok(())
}

async fn is_hidden<S: Resource>(ctx: &StageContext<S>, kind: &Restricted, id: &str) -> Result<bool, MirrorError> {
    let stored = ctx.run.stores.documents.get(kind.collection, id).await?;
    let document: Option<Value> = stored.and_then(|json| serde_json::from_str(&json).ok());
    Ok(document.is_some_and(|document| (kind.is_hidden)(&document)))
}

/// Returns whether a list holds any of the items that are hidden from some tokens.
async fn shows_hidden<S: Resource>(
    ctx: &StageContext<S>,
    kind: &Restricted,
    listed: &HashSet<i64>,
) -> Result<bool, MirrorError> {
    let key = ctx.resource().key();
    let mut pages = ctx.run.stores.documents.id_pages(kind.collection, &key);
    while let Some(ids) = pages.next().await? {
        for id in ids.iter().filter(|id| listed.contains(&fingerprint(id))) {
            if is_hidden(ctx, kind, id).await? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
