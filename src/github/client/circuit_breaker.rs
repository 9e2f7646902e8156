//! The circuit breaker: GitHub counts as down while it is open, so that retries don't multiply over all stages and repositories while GitHub is down.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// Number of different requests that have to exhaust their attempts, without an answer to any in between, for GitHub to count as
/// down.
const EXHAUSTED_REQUESTS: usize = 3;

/// A circuit breaker over the requests in a row that got no usable answer in all their attempts.
#[derive(Debug, Default)]
pub(super) struct CircuitBreaker {
    exhausted: Mutex<HashSet<String>>,
}

impl CircuitBreaker {
    /// Returns whether GitHub counts as down: until it answers again, a request is sent once.
    pub(super) fn is_open(&self) -> bool {
        self.exhausted().len() >= EXHAUSTED_REQUESTS
    }

    /// Records an answer, of whatever status, that came from GitHub.
    pub(super) fn record_answer(&self) {
        self.exhausted().clear();
    }

    /// Records a request that used up its attempts. Parts of one list are one request.
    pub(super) fn record_exhausted(&self, path_and_query: &str) {
        let path = path_and_query.split('?').next().unwrap_or_default();
        let mut exhausted = self.exhausted();
        if exhausted.len() < EXHAUSTED_REQUESTS {
            exhausted.insert(path.to_owned());
        }
    }

    fn exhausted(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.exhausted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_exhausted_requests_open_it_and_an_answer_closes_it() {
        let breaker = CircuitBreaker::default();
        for per_page in [100, 50, 25] {
            breaker.record_exhausted(&format!("/repos/a/b/labels?per_page={per_page}"));
        }
        breaker.record_exhausted("/repos/a/b/issues");
        assert!(!breaker.is_open(), "one request that keeps failing is no outage");
        breaker.record_answer();
        breaker.record_exhausted("/repos/a/b/pulls");
        breaker.record_exhausted("/repos/a/b/forks");
        assert!(!breaker.is_open(), "an answer in between starts anew");
        breaker.record_exhausted("/repos/a/b/commits");
        assert!(breaker.is_open());
        breaker.record_answer();
        assert!(!breaker.is_open());
    }
}
