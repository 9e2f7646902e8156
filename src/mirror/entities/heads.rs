//! Heads: the commits that branches and tags point at.

use std::collections::HashSet;

use serde_json::Value;

use crate::json;
use crate::mirror::context::{Repository, Resource, StageContext};
use crate::mirror::error::MirrorError;
use crate::mirror::mapping::item::get_path;
use crate::store::documents::Collection;
use crate::store::relational::sync_state::fingerprint;

/// SHAs that branches and tags point at, each once.
#[derive(Debug, Default)]
pub(super) struct Heads {
    /// Heads of branches, the default branch's first.
    pub branches: Vec<String>,
    /// Heads of tags only.
    pub tags: Vec<String>,
}

impl Heads {
    /// Loads the stored heads.
    pub(super) async fn load(ctx: &StageContext) -> Result<Self, MirrorError> {
        let Repository { name, json, .. } = ctx.repository();
        let default = get_path(json, "default_branch").and_then(Value::as_str).unwrap_or("main");
        let default = format!("{name}/{default}");
        let mut heads = Self::default();
        for (id, sha) in pointed_at(ctx, Collection::Branches).await? {
            if id == default {
                heads.branches.insert(0, sha);
            } else {
                heads.branches.push(sha);
            }
        }
        heads.tags = pointed_at(ctx, Collection::Tags).await?.into_iter().map(|(_, sha)| sha).collect();
        let mut seen = HashSet::new();
        heads.branches.retain(|sha| seen.insert(sha.clone()));
        heads.tags.retain(|sha| seen.insert(sha.clone()));
        Ok(heads)
    }

    /// Returns all heads, the branches' first.
    pub(super) fn all(&self) -> impl Iterator<Item = &String> {
        self.branches.iter().chain(&self.tags)
    }

    /// Converts to a set of all heads.
    pub(super) fn into_set(self) -> HashSet<String> {
        self.branches.into_iter().chain(self.tags).collect()
    }

    /// Returns whether a branch points at this SHA.
    pub(super) fn is_branch(&self, sha: &str) -> bool {
        self.branches.iter().any(|head| head == sha)
    }
}

/// Loads the ids and SHAs of all branches or tags.
async fn pointed_at(ctx: &StageContext, collection: Collection) -> Result<Vec<(String, String)>, MirrorError> {
    let documents = &ctx.run.stores.documents;
    let key = ctx.repository().key();
    let (mut heads, mut pages) = (Vec::new(), documents.id_pages(collection, &key));
    while let Some(ids) = pages.next().await? {
        for id in ids {
            let Some(json) = documents.get(collection, &id).await? else { continue };
            let value: Value = json::parse(&json).unwrap_or_default();
            let sha = get_path(&value, "commit.sha").and_then(Value::as_str).map(str::to_owned);
            heads.extend(sha.map(|sha| (id, sha)));
        }
    }
    Ok(heads)
}

/// Returns a fingerprint of the lists of branches and tags and of the wanted commits: while it is the same, so are the
/// heads. `None` if a page came without an entity tag.
pub(super) async fn fingerprint_of_refs(ctx: &StageContext) -> Result<Option<String>, MirrorError> {
    let relational = &ctx.run.stores.relational;
    let mut state = ctx.run.options.fork_commits.name().to_owned();
    for list in ["branches", "tags"] {
        let list = relational.list(ctx.project(), list).await?;
        for page in relational.pages(list.id).await? {
            let Some(validator) = page.validator else { return Ok(None) };
            state.push('\n');
            state.push_str(&validator.etag);
        }
    }
    Ok(Some(fingerprint(&state).to_string()))
}
