//! Items that others refer to and that GitHub does not have.
//!
//! A single 404 may be an outage. An item counts as missing only if GitHub does not find it at two addresses while the
//! repository itself answers, and not if many are missed at once. It is requested again by later runs and listed as a
//! final gap until it is found. Any other failure makes the stage incomplete.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::heads::Heads;
use super::issues::tombstone_issue;
use crate::github::{Accept, ApiError};
use crate::mirror::context::{StageContext, read_now};
use crate::mirror::error::MirrorError;
use crate::mirror::independent::is_repository_reachable;
use crate::store::documents::Collection;
use crate::store::relational::SyncUpdate;
use crate::store::relational::missing_items::{ItemKind, MissingItem};

/// Minimum number of newly missing items that is taken for an outage, if they outnumber the found ones.
const MIN_OUTAGE_ITEMS: usize = 10;

/// Maximum number of commits per run that are searched for among the heads' histories; others of the project's history
/// count as reachable.
const MAX_SEARCHES: usize = 20;
/// Maximum depth of a search; a longer history counts as reachable.
const MAX_SEARCH_DEPTH: usize = 500;

/// Missing items of one kind: those known before, and those that a run finds.
pub(super) struct MissingItems {
    kind: ItemKind,
    known: HashMap<String, MissingItem>,
    /// Items that are not found in this run, with GitHub's answers.
    missed: Mutex<Vec<(String, String)>>,
    /// Number of items found.
    found: AtomicUsize,
    /// Number of commits searched for.
    searched: AtomicUsize,
    /// Heads of branches and tags, loaded on demand.
    heads: OnceCell<HashSet<String>>,
}

impl MissingItems {
    /// Loads the known missing items.
    pub(super) async fn load(ctx: &StageContext, kind: ItemKind) -> Result<Self, MirrorError> {
        let known = ctx.run.stores.relational.missing_items(ctx.project(), kind).await?;
        Ok(Self {
            kind,
            known,
            missed: Mutex::default(),
            found: AtomicUsize::new(0),
            searched: AtomicUsize::new(0),
            heads: OnceCell::new(),
        })
    }

    /// Formats an item's name for users.
    pub(super) fn name(&self, item: &str) -> String {
        match self.kind {
            ItemKind::Commit => format!("commit {item}"),
            ItemKind::Pull => format!("pull request #{item}"),
        }
    }

    /// Returns the number of items that are not due in this run.
    pub(super) fn not_due(&self) -> usize {
        let now = read_now();
        self.known.values().filter(|missing| !missing.is_due(now)).count()
    }

    /// Returns whether an item is due; one that is not is recorded as a final gap.
    pub(super) fn is_due(&self, ctx: &StageContext, item: &str) -> bool {
        match self.known.get(item) {
            Some(missing) if !missing.is_due(read_now()) => {
                ctx.record_final_gap(self.gap(missing));
                false
            }
            _ => true,
        }
    }

    /// Records that an item was found. Returns the sync-state update for it if it was missing before.
    pub(super) fn record_found(&self, ctx: &StageContext, item: &str) -> Option<SyncUpdate> {
        self.found.fetch_add(1, Ordering::Relaxed);
        self.known.contains_key(item).then(|| SyncUpdate::ItemFound {
            project: ctx.project(),
            kind: self.kind,
            item: item.to_owned(),
        })
    }

    /// Confirms that a commit is missing by requesting its git object at the other address.
    ///
    /// # Errors
    /// The second answer is another one, so that the commit may still be there.
    pub(super) async fn confirm_missing_commit(
        &self,
        ctx: &StageContext,
        sha: &str,
        error: ApiError,
    ) -> Result<(), MirrorError> {
        if self.is_reachable(ctx, sha).await? {
            return Err(MirrorError::Contradiction(format!("a branch or tag leads to it, and {error}")));
        }
        match ctx.get_page(&ctx.url(&["git", "commits", sha]), Accept::Json).await {
            Ok(_) => Err(MirrorError::Contradiction(format!("its git object is there, and {error}"))),
            Err(MirrorError::Api(second)) if second.says_missing() => {
                self.record_miss(sha.to_owned(), &error);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Returns whether a branch or tag leads to a commit: after a force-push, stored history may be unreachable.
    async fn is_reachable(&self, ctx: &StageContext, sha: &str) -> Result<bool, MirrorError> {
        let relational = &ctx.run.stores.relational;
        let mut next = vec![sha.to_owned()];
        if relational.known_commits(ctx.project(), &next).await?.is_empty() {
            return Ok(false);
        }
        if self.searched.fetch_add(1, Ordering::Relaxed) >= MAX_SEARCHES {
            return Ok(true);
        }
        let heads = self.heads.get_or_try_init(async || Heads::load(ctx).await.map(Heads::into_set)).await?;
        let mut seen: HashSet<String> = HashSet::new();
        for _ in 0..MAX_SEARCH_DEPTH {
            if next.iter().any(|sha| heads.contains(sha)) {
                return Ok(true);
            }
            let children = relational.child_commits(&next).await?;
            next = children.into_iter().filter(|sha| seen.insert(sha.clone())).collect();
            if next.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Confirms that a pull request is missing by requesting the issue of the same number.
    ///
    /// # Errors
    /// The second answer is another one, so that the pull request may still be there.
    pub(super) async fn confirm_missing_pull(
        &self,
        ctx: &StageContext,
        number: i64,
        error: ApiError,
    ) -> Result<(), MirrorError> {
        if !ctx.repository().may_have("has_issues") {
            // There is no other address.
            return Err(error.into());
        }
        match ctx.get_page(&ctx.url(&["issues", &number.to_string()]), Accept::Json).await {
            Ok(_) => Err(MirrorError::Contradiction(format!("it is there as an issue, and {error}"))),
            Err(MirrorError::Api(ApiError::NotFound { .. } | ApiError::Gone { .. })) => {
                self.record_miss(number.to_string(), &error);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn record_miss(&self, item: String, error: &ApiError) {
        self.missed.lock().unwrap_or_else(PoisonError::into_inner).push((item, error.to_string()));
    }

    /// Decides on the items not found: missing, or incomplete if it may be an outage.
    ///
    /// # Errors
    /// The run ends.
    pub(super) async fn conclude(&self, ctx: &StageContext) -> Result<(), MirrorError> {
        let missed = std::mem::take(&mut *self.missed.lock().unwrap_or_else(PoisonError::into_inner));
        if missed.is_empty() {
            return Ok(());
        }
        let new = missed.iter().filter(|(item, _)| !self.known.contains_key(item)).count();
        let doubt = if !is_repository_reachable(ctx).await? {
            Some("the repository itself doesn't answer".to_owned())
        } else if new >= MIN_OUTAGE_ITEMS && new > self.found.load(Ordering::Relaxed) {
            Some(format!("{new} items were missing at once, which may be an outage"))
        } else {
            None
        };
        let now = read_now();
        let mut updates = Vec::new();
        for (item, answer) in missed {
            if let Some(doubt) = &doubt {
                ctx.record_incomplete(format!("{}: {answer}; {doubt}; the next run tries again", self.name(&item)));
                continue;
            }
            let (attempts, first_at) =
                self.known.get(&item).map_or((1, now), |known| (known.attempts + 1, known.first_at));
            let (project, kind) = (ctx.project(), self.kind);
            if kind == ItemKind::Pull && !self.was_ever_listed(ctx, &item).await? {
                let number = item.parse().map_err(|_| MirrorError::Answer(format!("{item} is no number")))?;
                tombstone_issue(ctx, number).await?;
            }
            let missing = MissingItem { project, kind, item, answer, attempts, first_at, last_at: now };
            ctx.record_final_gap(self.gap(&missing));
            updates.push(SyncUpdate::ItemMissing(missing));
        }
        ctx.write_sync_state(updates).await
    }

    /// Returns whether the list of issues ever held a pull request: then that list tells whether it is deleted.
    async fn was_ever_listed(&self, ctx: &StageContext, number: &str) -> Result<bool, MirrorError> {
        let id = format!("{}/{number}", ctx.repository().name);
        Ok(ctx.run.stores.documents.get(Collection::Issues, &id).await?.is_some())
    }

    fn gap(&self, missing: &MissingItem) -> String {
        let (name, since) = (self.name(&missing.item), missing.first_at.format("%Y-%m-%d"));
        format!("{name}: {}; missing since {since}, attempt {}", missing.answer, missing.attempts)
    }
}
