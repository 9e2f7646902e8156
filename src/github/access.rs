//! The known access of tokens to repositories, from the responses that each token got.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;

use lru::LruCache;
use tokio::time::Instant;

use crate::names::RepoName;

/// Maximum number of repositories whose readers are cached.
const MAX_REPOSITORIES: NonZeroUsize = NonZeroUsize::new(20_000).unwrap(); // Checked by the compiler.

/// The tokens' known access to repositories. A token is identified by its index in the pool.
pub(super) struct AccessCache {
    repos: LruCache<String, Access>,
}

/// The known access to one repository.
#[derive(Clone)]
struct Access {
    /// Everybody can read it.
    public: bool,
    tokens: HashMap<usize, bool>,
    /// Earliest next probe of tokens whose last one brought no clear answer.
    probe_after: HashMap<usize, Instant>,
    /// Endpoints that a token was denied although it can read the repository.
    denied: HashSet<(usize, String)>,
}

impl AccessCache {
    pub(super) fn new() -> Self {
        Self { repos: LruCache::new(MAX_REPOSITORIES) }
    }

    /// Returns whether a token can read a repository, from its own responses.
    pub(super) fn known_access(&self, repo: &RepoName, token: usize) -> Option<bool> {
        self.repos.peek(&key(repo))?.tokens.get(&token).copied()
    }

    /// Returns whether everybody can read a repository.
    pub(super) fn is_public(&self, repo: &RepoName) -> bool {
        self.repos.peek(&key(repo)).is_some_and(|access| access.public)
    }

    /// Returns whether a token was denied an endpoint of a repository.
    pub(super) fn is_denied(&self, repo: &RepoName, token: usize, endpoint: &str) -> bool {
        self.repos.peek(&key(repo)).is_some_and(|access| access.denied.contains(&(token, endpoint.to_owned())))
    }

    /// Returns when a token may be probed again.
    pub(super) fn probe_after(&self, repo: &RepoName, token: usize) -> Option<Instant> {
        self.repos.peek(&key(repo))?.probe_after.get(&token).copied()
    }

    /// Records whether a token can read a repository, and whether everybody can if that is known.
    pub(super) fn record_access(&mut self, repo: &RepoName, token: usize, can: bool, public: Option<bool>) {
        let access = self.of(repo);
        access.tokens.insert(token, can);
        access.public = public.unwrap_or(access.public);
    }

    /// Records that a token was denied an endpoint of a repository.
    pub(super) fn record_denial(&mut self, repo: &RepoName, token: usize, endpoint: &str) {
        self.of(repo).denied.insert((token, endpoint.to_owned()));
    }

    /// Postpones the next probe of a token.
    pub(super) fn probe_later(&mut self, repo: &RepoName, token: usize, at: Instant) {
        self.of(repo).probe_after.insert(token, at);
    }

    /// Applies what is known of a repository to its present name too.
    pub(super) fn record_rename(&mut self, asked: &RepoName, name: &RepoName, public: Option<bool>) {
        let mut access = self.of(asked).clone();
        access.public = public.unwrap_or(access.public);
        self.repos.put(key(name), access);
    }

    fn of(&mut self, repo: &RepoName) -> &mut Access {
        self.repos.get_or_insert_mut(key(repo), || Access {
            public: false,
            tokens: HashMap::new(),
            probe_after: HashMap::new(),
            denied: HashSet::new(),
        })
    }
}

/// Returns the key of a repository: GitHub's names are case-insensitive.
fn key(repo: &RepoName) -> String {
    repo.to_string().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> RepoName {
        text.parse().unwrap()
    }

    #[test]
    fn names_are_case_insensitive_and_others_unknown() {
        let mut cache = AccessCache::new();
        cache.record_access(&name("o/r"), 0, false, None);
        cache.record_access(&name("O/R"), 1, true, Some(true));
        assert_eq!([0, 1, 2].map(|token| cache.known_access(&name("o/R"), token)), [Some(false), Some(true), None]);
        assert!(cache.is_public(&name("o/R")) && !cache.is_public(&name("o/other")));
        assert_eq!(cache.known_access(&name("o/other"), 0), None);
    }

    #[test]
    fn known_access_follows_a_rename() {
        let mut cache = AccessCache::new();
        cache.record_access(&name("o/old"), 0, false, None);
        cache.record_access(&name("o/old"), 1, true, Some(false));
        cache.record_denial(&name("o/old"), 1, "stargazers");
        cache.record_rename(&name("o/old"), &name("o/new"), None);
        assert_eq!([0, 1].map(|token| cache.known_access(&name("o/new"), token)), [Some(false), Some(true)]);
        assert!(cache.is_denied(&name("o/new"), 1, "stargazers"));
    }
}
