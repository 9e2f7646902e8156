//! Labels and milestones that are embedded in issues and pull requests. Recoloring a label or closing a milestone does
//! not change the `updated_at` of those that carry it, so that no refresh finds them: they are found by comparison and
//! fetched again.

use std::collections::HashMap;

use serde_json::Value;

use super::issues;
use crate::mirror::context::StageContext;
use crate::mirror::error::MirrorError;
use crate::mirror::mapping::item::get_path;
use crate::mirror::resource::Resource;
use crate::mirror::sync_keys::{EMBEDDED_LABELS, EMBEDDED_MILESTONES};
use crate::store::documents::Collection;
use crate::store::relational::SyncUpdate;

const UNCHECKED: &str = "unchecked";
const CHECKED: &str = "checked";

/// A kind of resource that is embedded in issues and pull requests and has a list of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Embedded {
    /// Labels.
    Labels,
    /// Milestones.
    Milestones,
}

impl Embedded {
    fn collection(self) -> Collection {
        match self {
            Self::Labels => Collection::RepoLabels,
            Self::Milestones => Collection::Milestones,
        }
    }

    /// Returns the list of the sync state that holds whether all carriers were compared since the last change.
    fn list_name(self) -> &'static str {
        match self {
            Self::Labels => EMBEDDED_LABELS,
            Self::Milestones => EMBEDDED_MILESTONES,
        }
    }

    /// Returns the fields that identify its state. A milestone's issue counts are not among them.
    fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Labels => &["name", "color", "description", "default"],
            Self::Milestones => &["title", "state", "description", "due_on", "closed_at"],
        }
    }

    fn in_carrier(self, carrier: &Value) -> Vec<&Value> {
        match self {
            Self::Labels => carrier.get("labels").and_then(Value::as_array).into_iter().flatten().collect(),
            Self::Milestones => get_path(carrier, "milestone").into_iter().collect(),
        }
    }

    fn id_of(value: &Value) -> Option<i64> {
        value.get("id").and_then(Value::as_i64)
    }

    /// Returns whether a carrier embeds something that was deleted or changed.
    fn is_stale_in(self, carrier: &Value, present: &HashMap<i64, Value>) -> bool {
        self.in_carrier(carrier).into_iter().filter_map(|inside| Some((Self::id_of(inside)?, inside))).any(
            |(id, inside)| {
                let Some(present) = present.get(&id) else { return true };
                self.fields().iter().any(|field| match (inside.get(field), present.get(field)) {
                    (Some(inside), Some(present)) => inside != present,
                    _ => false,
                })
            },
        )
    }
}

/// Returns the sync-state update that requires carriers to be compared again. It belongs to the batch that stores the
/// change, so that an aborted run leaves the comparison to the next one.
pub(super) async fn require_comparison(ctx: &StageContext, what: Embedded) -> Result<SyncUpdate, MirrorError> {
    let list = ctx.list_state(what.list_name()).await?.id;
    Ok(SyncUpdate::Watermark { list, watermark: UNCHECKED.to_owned() })
}

/// Fetches carriers of a former state again, if anything has changed since all carriers were compared. `gone` are
/// documents that their list no longer holds. Returns whether anything had changed.
pub(super) async fn refresh_carriers(ctx: &StageContext, what: Embedded, gone: &[String]) -> Result<bool, MirrorError> {
    ctx.flush().await?;
    let state = ctx.list_state(what.list_name()).await?;
    if ctx.is_incomplete() || gone.is_empty() && state.watermark.as_deref() != Some(UNCHECKED) {
        return Ok(false);
    }
    let own = ctx.resource().key();
    let present: HashMap<i64, Value> = live_documents(ctx, what.collection(), &own)
        .await?
        .into_iter()
        .filter(|(id, _)| !gone.contains(id))
        .filter_map(|(_, document)| Some((Embedded::id_of(&document)?, document)))
        .collect();
    let pulls = stale_carriers(ctx, what, Collection::PullRequests, &present).await?;
    ctx.run.stores.relational.reset_pulls(ctx.project(), &pulls).await?;
    let stale = stale_carriers(ctx, what, Collection::Issues, &present).await?;
    issues::refresh(ctx, stale).await?;
    if ctx.is_incomplete() {
        return Ok(true);
    }
    let updates = vec![SyncUpdate::Watermark { list: state.id, watermark: CHECKED.to_owned() }];
    ctx.write_sync_state(updates).await?;
    Ok(true)
}

/// Loads the documents of a collection that are not marked as deleted, with their ids, by the prefix of their keys.
pub(super) async fn live_documents(
    ctx: &StageContext,
    collection: Collection,
    key: &[&str],
) -> Result<Vec<(String, Value)>, MirrorError> {
    let documents = &ctx.run.stores.documents;
    let (mut live, mut pages) = (Vec::new(), documents.id_pages(collection, key));
    while let Some(ids) = pages.next().await? {
        for id in ids {
            let json = documents.get(collection, &id).await?;
            live.extend(json.and_then(|json| Some((id, serde_json::from_str(&json).ok()?))));
        }
    }
    Ok(live)
}

async fn stale_carriers(
    ctx: &StageContext,
    what: Embedded,
    collection: Collection,
    present: &HashMap<i64, Value>,
) -> Result<Vec<i64>, MirrorError> {
    let documents = &ctx.run.stores.documents;
    let key = ctx.resource().key();
    let (mut stale, mut pages) = (Vec::new(), documents.id_pages(collection, &key));
    while let Some(ids) = pages.next().await? {
        for id in ids {
            let Some(json) = documents.get(collection, &id).await? else { continue };
            let carrier: Value = serde_json::from_str(&json).unwrap_or_default();
            if what.is_stale_in(&carrier, present) {
                stale.extend(id.rsplit('/').next().and_then(|number| number.parse::<i64>().ok()));
            }
        }
    }
    Ok(stale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn carriers_of_a_former_state_are_stale() {
        let present = HashMap::from([(1, json!({"id":1,"name":"bug","color":"red","description":null}))]);
        let stale = |labels: Value| Embedded::Labels.is_stale_in(&json!({ "labels": labels }), &present);
        assert!(!stale(json!([{"id":1,"name":"bug","color":"red"}])));
        assert!(!stale(json!(["bug"])), "old answers hold names alone");
        assert!(stale(json!([{"id":1,"name":"bug","color":"blue"}])));
        assert!(stale(json!([{"id":2,"name":"gone","color":"red"}])));
        let present = HashMap::from([(7, json!({"id":7,"title":"1.0","state":"closed","open_issues":0}))]);
        let stale = |milestone: Value| Embedded::Milestones.is_stale_in(&json!({ "milestone": milestone }), &present);
        assert!(!stale(Value::Null));
        assert!(!stale(json!({"id":7,"title":"1.0","state":"closed","open_issues":3})), "counts move by themselves");
        assert!(stale(json!({"id":7,"title":"1.0","state":"open"})));
    }
}
