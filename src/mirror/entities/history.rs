//! Histories of commits: lists, comparisons and unresolved parents.

use std::collections::HashSet;

use crate::mirror::context::{StageContext, read_now};
use crate::mirror::error::MirrorError;
use crate::mirror::lists::List;
use crate::mirror::mapping::commit::ON_BRANCH;
use crate::mirror::mapping::item::parse_items_under;
use crate::mirror::mapping::{ItemMapper, MappedPage};
use crate::store::documents::Collection;
use crate::store::relational::rows::Commit;
use crate::store::relational::sync_state::fingerprint;

/// Branches walked concurrently.
pub(super) const MAX_CONCURRENT_BRANCHES: usize = 8;

pub(super) fn history<'a>(ctx: &StageContext, name: &'a str, sha: &str) -> List<'a> {
    let url = ctx.url(&["commits"]).query("sha", sha);
    List::new(name, url, Collection::Commits, ON_BRANCH)
}

/// Parents in a history that have not been fetched yet.
#[derive(Default)]
pub(super) struct UnresolvedParents {
    read: HashSet<i64>,
    /// SHAs of the parents.
    pub pending: HashSet<String>,
}

impl UnresolvedParents {
    /// Records fetched commits: they are resolved, and their parents pending.
    pub(super) fn record(&mut self, commits: &[Commit]) {
        for commit in commits {
            self.pending.remove(&commit.sha);
            self.read.insert(fingerprint(&commit.sha));
        }
        let parents = commits.iter().flat_map(|commit| &commit.parents);
        self.pending.extend(parents.filter(|sha| !self.read.contains(&fingerprint(sha))).cloned());
    }

    /// Removes parents that the project already has.
    pub(super) async fn remove_known(&mut self, ctx: &StageContext) -> Result<(), MirrorError> {
        let asked: Vec<String> = self.pending.iter().cloned().collect();
        for known in ctx.run.stores.relational.known_commits(ctx.project(), &asked).await? {
            self.pending.remove(&known);
        }
        Ok(())
    }
}

/// Commits that `head` has and `base` lacks.
pub(super) struct Comparison {
    /// SHAs of the fetched commits.
    pub shas: Vec<String>,
    /// Total number of commits, if GitHub gives it.
    pub total: Option<u64>,
}

/// Stores the commits that `head` has and `base` lacks. GitHub pages its comparison without the cap of other commit
/// lists; older servers give only a part.
pub(super) async fn compare(
    ctx: &StageContext,
    base: &str,
    head: &str,
    map: &ItemMapper,
) -> Result<Comparison, MirrorError> {
    let url = ctx.url(&["compare", &format!("{base}...{head}")]).query("per_page", "100");
    let mut comparison = Comparison { shas: Vec::new(), total: None };
    let mut pages = ctx.linked_pages(url);
    while let Some(page) = pages.next().await? {
        let items = parse_items_under(&page.body, "commits")?;
        comparison.total = comparison.total.max(total_commits(&page.body));
        let MappedPage { documents, rows, .. } = ctx.map(map, &items, read_now());
        comparison.shas.extend(rows.commits.iter().map(|commit| commit.sha.clone()));
        ctx.write(documents, rows).await?;
    }
    Ok(comparison)
}

/// Reads the total number of commits of a comparison, without holding the rest of the answer.
fn total_commits(body: &[u8]) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Answer {
        total_commits: Option<u64>,
    }
    serde_json::from_slice::<Answer>(body).ok()?.total_commits
}
