//! Items that others refer to and that GitHub says it doesn't have.
//!
//! One answer proves little: an outage may answer 404 for a while. So an item counts as missing only if GitHub says so at
//! two addresses while the repository itself answers, and not if many are missed at once; and it is asked for again ever
//! after. Until it comes it is listed as a final gap. Anything else that keeps an item away is a shortfall.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::issues::tombstone_issue;
use crate::github::{Accept, ApiError};
use crate::mirror::context::{Work, read_now};
use crate::mirror::error::MirrorError;
use crate::mirror::heads::Heads;
use crate::mirror::independent::is_repository_reachable;
use crate::store::documents::Collection;
use crate::store::relational::SyncUpdate;
use crate::store::relational::missing_items::{ItemKind, MissingItem};

/// New missing items of a run, if they outnumber those that came, are rather an outage from this many on.
const MIN_OUTAGE_ITEMS: usize = 10;

/// Commits of a run whose way to a branch's head is looked for; all others of the project's history count as reachable.
const MAX_SEARCHES: usize = 20;
/// Steps of such a way; a longer history counts as reachable.
const MAX_SEARCH_DEPTH: usize = 500;

/// The missing items of one kind: those of the tables, and what a run finds.
pub struct MissingItems {
    kind: ItemKind,
    known: HashMap<String, MissingItem>,
    /// Items that GitHub said it doesn't have, and its answers.
    missed: Mutex<Vec<(String, String)>>,
    /// Items that came.
    found: AtomicUsize,
    /// Commits whose way to a head was looked for.
    searched: AtomicUsize,
    /// What branches and tags point at, once it was needed.
    heads: OnceCell<HashSet<String>>,
}

impl MissingItems {
    /// Loads what is known.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn load(work: &Work, kind: ItemKind) -> Result<Self, MirrorError> {
        let known = work.shared.stores.relational.missing_items(work.project(), kind).await?;
        Ok(Self {
            kind,
            known,
            missed: Mutex::default(),
            found: AtomicUsize::new(0),
            searched: AtomicUsize::new(0),
            heads: OnceCell::new(),
        })
    }

    /// Names an item for users.
    pub fn name(&self, item: &str) -> String {
        match self.kind {
            ItemKind::Commit => format!("commit {item}"),
            ItemKind::Pull => format!("pull request #{item}"),
        }
    }

    /// Counts the items that are not asked for in this run.
    pub fn not_due(&self) -> usize {
        let now = read_now();
        self.known.values().filter(|missing| !missing.is_due(now)).count()
    }

    /// Returns whether an item is to be asked for now. One that isn't is listed as a final gap.
    pub fn is_due(&self, work: &Work, item: &str) -> bool {
        match self.known.get(item) {
            Some(missing) if !missing.is_due(read_now()) => {
                work.record_final_gap(self.gap(missing));
                false
            }
            _ => true,
        }
    }

    /// Records that an item came; returns the step that stores this, where it was missing before.
    pub fn record_found(&self, work: &Work, item: &str) -> Option<SyncUpdate> {
        self.found.fetch_add(1, Ordering::Relaxed);
        self.known.contains_key(item).then(|| SyncUpdate::ItemFound {
            project: work.project(),
            kind: self.kind,
            item: item.to_owned(),
        })
    }

    /// Handles an answer that says that a commit isn't there: asks for its git object by the other address.
    ///
    /// # Errors
    /// The second answer is another one, so that the commit may still be there.
    pub async fn confirm_missing_commit(&self, work: &Work, sha: &str, error: ApiError) -> Result<(), MirrorError> {
        if self.is_reachable(work, sha).await? {
            return Err(MirrorError::Contradiction(format!("a branch or tag leads to it, and {error}")));
        }
        match work.get_page(&work.url(&["git", "commits", sha]), Accept::Json).await {
            Ok(_) => Err(MirrorError::Contradiction(format!("its git object is there, and {error}"))),
            Err(MirrorError::Api(second)) if second.says_missing() => {
                self.record_miss(sha.to_owned(), &error);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Returns whether a branch or tag leads to a commit. After a force-push its history may be stored without any.
    async fn is_reachable(&self, work: &Work, sha: &str) -> Result<bool, MirrorError> {
        let relational = &work.shared.stores.relational;
        let mut next = vec![sha.to_owned()];
        if relational.known_commits(work.project(), &next).await?.is_empty() {
            return Ok(false);
        }
        if self.searched.fetch_add(1, Ordering::Relaxed) >= MAX_SEARCHES {
            return Ok(true);
        }
        let heads = self.heads.get_or_try_init(async || Heads::load(work).await.map(Heads::into_set)).await?;
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

    /// Handles an answer that says that a pull request isn't there: asks for the issue that every pull request is, too.
    ///
    /// # Errors
    /// The second answer is another one, so that the pull request may still be there.
    pub async fn confirm_missing_pull(&self, work: &Work, number: i64, error: ApiError) -> Result<(), MirrorError> {
        if !work.repository().has("has_issues") {
            // There is no other address.
            return Err(error.into());
        }
        match work.get_page(&work.url(&["issues", &number.to_string()]), Accept::Json).await {
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

    /// Decides on what was missed: recorded as missing and listed, or a shortfall where it may be an outage.
    ///
    /// # Errors
    /// The run ends.
    pub async fn conclude(&self, work: &Work) -> Result<(), MirrorError> {
        let missed = std::mem::take(&mut *self.missed.lock().unwrap_or_else(PoisonError::into_inner));
        if missed.is_empty() {
            return Ok(());
        }
        let new = missed.iter().filter(|(item, _)| !self.known.contains_key(item)).count();
        let doubt = if !is_repository_reachable(work).await? {
            Some("the repository itself doesn't answer".to_owned())
        } else if new >= MIN_OUTAGE_ITEMS && new > self.found.load(Ordering::Relaxed) {
            Some(format!("{new} items were missing at once, which may pass"))
        } else {
            None
        };
        let now = read_now();
        let mut progress = Vec::new();
        for (item, answer) in missed {
            if let Some(doubt) = &doubt {
                work.shortfall(format!("{}: {answer}; {doubt}; the next run asks again", self.name(&item)));
                continue;
            }
            let (attempts, first_at) =
                self.known.get(&item).map_or((1, now), |known| (known.attempts + 1, known.first_at));
            let (project, kind) = (work.project(), self.kind);
            if kind == ItemKind::Pull && !self.is_listed(work, &item).await? {
                let number = item.parse().map_err(|_| MirrorError::Answer(format!("{item} is no number")))?;
                tombstone_issue(work, number).await?;
            }
            let missing = MissingItem { project, kind, item, answer, attempts, first_at, last_at: now };
            work.record_final_gap(self.gap(&missing));
            progress.push(SyncUpdate::ItemMissing(missing));
        }
        work.write_sync_state(progress).await
    }

    /// Returns whether the list of issues has ever held a pull request: then that list tells whether it is gone.
    async fn is_listed(&self, work: &Work, number: &str) -> Result<bool, MirrorError> {
        let id = format!("{}/{number}", work.repository().name);
        Ok(work.shared.stores.documents.get(Collection::Issues, &id).await?.is_some())
    }

    fn gap(&self, missing: &MissingItem) -> String {
        let (name, since) = (self.name(&missing.item), missing.first_at.format("%Y-%m-%d"));
        format!("{name}: {}; missing since {since}, attempt {}", missing.answer, missing.attempts)
    }
}
