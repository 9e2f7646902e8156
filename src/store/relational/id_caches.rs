//! Bounded caches from natural keys to row ids.

use std::hash::Hash;

use lru::LruCache;

/// Maximum entries that a cache keeps between batches. A commit's entry takes about 100 bytes, so all caches together
/// stay near 10 MB.
const CAPACITY: usize = 20_000;

/// An LRU cache of committed row ids. Ids never change; a row that another process merged away causes a foreign-key
/// violation, upon which all caches are dropped and the batch is retried.
pub(super) struct IdCache<K: Hash + Eq>(LruCache<K, i64>);

impl<K: Hash + Eq> IdCache<K> {
    pub(super) fn new() -> Self {
        Self(LruCache::unbounded())
    }

    pub(super) fn get(&mut self, key: &K) -> Option<i64> {
        self.0.get(key).copied()
    }

    pub(super) fn put(&mut self, key: K, id: i64) {
        self.0.put(key, id);
    }

    /// Evicts the least recently used entries. Called only between batches: a batch relies on everything it has looked
    /// up.
    fn trim(&mut self) {
        while self.0.len() > CAPACITY {
            self.0.pop_lru();
        }
    }

    pub(super) fn remove(&mut self, key: &K) {
        self.0.pop(key);
    }
}

/// All caches of the relational store.
pub(super) struct IdCaches {
    /// Lower-case login, or a fake user's derived login.
    pub users: IdCache<String>,
    /// E-mail address to the account that it belongs to.
    pub emails: IdCache<String>,
    pub commits: IdCache<String>,
    /// Lower-case `owner/name`.
    pub projects: IdCache<String>,
    /// Project and number.
    pub pulls: IdCache<(i64, i64)>,
    pub issues: IdCache<(i64, i64)>,
    pub labels: IdCache<(i64, String)>,
}

impl IdCaches {
    pub(super) fn new() -> Self {
        Self {
            users: IdCache::new(),
            emails: IdCache::new(),
            commits: IdCache::new(),
            projects: IdCache::new(),
            pulls: IdCache::new(),
            issues: IdCache::new(),
            labels: IdCache::new(),
        }
    }

    /// Trims all caches to their capacity.
    pub(super) fn trim(&mut self) {
        self.users.trim();
        self.emails.trim();
        self.commits.trim();
        self.projects.trim();
        self.pulls.trim();
        self.issues.trim();
        self.labels.trim();
    }
}
