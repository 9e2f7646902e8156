//! Users that a list no longer holds.
//!
//! Documents hold the logins at the time of listing, rows the present ones. GitHub's id in the document decides who is
//! unlisted, so that a login that was renamed or reassigned removes nobody's row.

use serde_json::Value;

use super::snapshot::Listing;
use crate::mirror::context::StageContext;
use crate::mirror::error::MirrorError;
use crate::mirror::mapping::item::get_path;
use crate::mirror::resource::Resource;
use crate::store::documents::Collection;
use crate::store::relational::ProjectUserKind;
use crate::store::relational::sync_state::fingerprint;

/// Returns the rows of users whose documents a list no longer holds, unless it holds them under another login.
pub(in crate::mirror) async fn rows_of_gone_documents<S: Resource>(
    ctx: &StageContext<S>,
    collection: Collection,
    listing: &Listing,
) -> Result<Vec<i64>, MirrorError> {
    let stores = &ctx.run.stores;
    let mut rows = Vec::new();
    for id in &listing.gone {
        let Some((prefix, login)) = id.rsplit_once('/') else { continue };
        let stored = stores.documents.get(collection, id).await?;
        let document: Option<Value> = stored.and_then(|json| serde_json::from_str(&json).ok());
        let github_id = document.as_ref().and_then(|document| {
            get_path(document, "user.id")
                .or_else(|| get_path(document, "id").filter(|_| get_path(document, "user").is_none()))?
                .as_i64()
        });
        let known = match github_id {
            Some(github_id) => stores.relational.find_account_by_github_id(github_id).await?,
            None => stores.relational.find_account(login).await?,
        };
        let Some(known) = known else { continue };
        if !listing.ids.contains(&fingerprint(&format!("{prefix}/{}", known.login))) {
            rows.push(known.id);
        }
    }
    Ok(rows)
}

/// Returns the rows of users that the tables relate to a repository and that its list does not hold.
pub(in crate::mirror) async fn rows_not_in_listing(
    ctx: &StageContext,
    tie: ProjectUserKind,
    listing: &Listing,
) -> Result<Vec<i64>, MirrorError> {
    let name = &ctx.repository().name;
    let tied = ctx.run.stores.relational.project_users(ctx.project(), tie).await?;
    let unlisted =
        tied.into_iter().filter(|(_, login)| !listing.ids.contains(&fingerprint(&format!("{name}/{login}"))));
    Ok(unlisted.map(|(row, _)| row).collect())
}
