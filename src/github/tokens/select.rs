//! The choice of the token that serves a request.

use tokio::time::Instant;

use super::token::{Availability, Token};
use super::{Acquire, Purpose, State, TokenRequest};
use crate::names::RepoName;

impl State {
    /// Returns the tokens that may serve a request: known readers of the repository, else those not known to lack access.
    pub(super) fn candidates(&self, wanted: &TokenRequest<'_>) -> Vec<usize> {
        let every = |keep: &dyn Fn(usize, &Token) -> bool| -> Vec<usize> {
            self.tokens.iter().enumerate().filter(|(i, token)| keep(*i, token)).map(|(i, _)| i).collect()
        };
        if let Purpose::OnlyIfSoon(only) | Purpose::OnlyWith(only) = wanted.purpose {
            return every(&|i, token| i == only && token.disabled_reason.is_none());
        }
        // An installation on another account sees only public data, and is denied some of that.
        let local = every(&|i, token| token.can_serve_reads() && !self.is_elsewhere(i, wanted.repo()));
        let all = if local.is_empty() { every(&|_, token| token.can_serve_reads()) } else { local };
        let can_read = |i: usize| self.can_read(wanted.repo()?, i);
        let is_denied =
            |i: &usize| wanted.repo().is_some_and(|repo| self.access.is_denied(repo, *i, wanted.endpoint()));
        let pick = |all: &[usize], keep: &dyn Fn(Option<bool>) -> bool| -> Vec<usize> {
            all.iter().copied().filter(|&i| keep(can_read(i))).collect()
        };
        let or = |first: Vec<usize>, second: Vec<usize>| if first.is_empty() { second } else { first };
        if let Purpose::Discover { tried } = wanted.purpose {
            let all_elsewhere = all.iter().all(|i| self.is_elsewhere(*i, wanted.repo()));
            // All of them see the same public data: one is enough.
            let mut rest = if all_elsewhere { all.into_iter().take(1).collect() } else { all };
            rest.retain(|i| !tried.contains(i));
            return or(pick(&rest, &|v| v != Some(false)), rest);
        }
        let mut readers = pick(&all, &|v| v == Some(true));
        if readers.is_empty() {
            if wanted.repo().is_some_and(|repo| self.has_disabled_reader(repo)) {
                return Vec::new();
            }
            readers = or(pick(&all, &|v| v != Some(false)), all);
        }
        let (denied, allowed): (Vec<usize>, Vec<usize>) = readers.into_iter().partition(is_denied);
        or(allowed, denied)
    }

    /// Returns whether a disabled token could read the repository: a 404 to the others then proves nothing.
    fn has_disabled_reader(&self, repo: &RepoName) -> bool {
        let is_disabled_reader = |(i, token): (usize, &Token)| {
            token.disabled_reason.is_some() && self.access.known_access(repo, i) == Some(true)
        };
        self.tokens.iter().enumerate().any(is_disabled_reader)
    }

    /// Returns whether a token can read a repository, as far as that is known; its own responses count most.
    pub(super) fn can_read(&self, repo: &RepoName, token: usize) -> Option<bool> {
        let public = || self.access.is_public(repo).then_some(true);
        let elsewhere = || self.is_elsewhere(token, Some(repo)).then_some(false);
        self.access.known_access(repo, token).or_else(public).or_else(elsewhere)
    }

    fn is_elsewhere(&self, token: usize, repo: Option<&RepoName>) -> bool {
        self.tokens.get(token).zip(repo).is_some_and(|(token, repo)| token.is_installed_elsewhere(repo.owner()))
    }

    /// Returns the candidate that the ETag at hand belongs to, unless it is blocked for long.
    fn preferred(&self, wanted: &TokenRequest<'_>, candidates: &[usize], now: Instant) -> Option<usize> {
        let prefer = wanted.etag_scope()?;
        let token =
            candidates.iter().copied().find(|&i| self.tokens.get(i).is_some_and(|t| t.etag_scope() == Some(prefer)))?;
        // Its 304 is free: worth waiting milliseconds for, not an hour.
        (!matches!(self.tokens.get(token)?.availability(now, usize::MAX), Availability::BlockedUntil(..)))
            .then_some(token)
    }

    /// Returns the key of the queue that a request waits in: the tokens that it waits for.
    pub(super) fn wait_queue(&self, wanted: &TokenRequest<'_>, now: Instant) -> Vec<usize> {
        let candidates = self.candidates(wanted);
        match self.preferred(wanted, &candidates, now) {
            Some(token) => vec![token],
            None => candidates,
        }
    }

    /// Selects a request's token: a known reader first, then a long-lived token, then the one with the most requests left.
    ///
    /// # Errors
    /// The next step, if none is available now.
    pub(super) fn select(&self, wanted: &TokenRequest<'_>, now: Instant, per_token: usize) -> Result<usize, Acquire> {
        let mut candidates = self.candidates(wanted);
        if candidates.is_empty() {
            return Err(self.find_untried_reader(wanted, now, per_token));
        }
        if let Some(token) = self.preferred(wanted, &candidates, now) {
            candidates = vec![token];
        }
        let (mut best, mut wake, mut long_wait, mut is_short) = (None, None, None, false);
        let sooner = |known: Option<Instant>, at: Instant| Some(known.map_or(at, |known| known.min(at)));
        for &i in &candidates {
            let Some(token) = self.tokens.get(i) else { continue };
            match token.availability(now, per_token) {
                Availability::Ready { left } => {
                    let rank = (
                        wanted.repo().and_then(|repo| self.can_read(repo, i)) == Some(true),
                        // An ETag is valid for as long as its token.
                        token.is_long_lived(),
                        left,
                        std::cmp::Reverse((token.in_flight, i)),
                    );
                    if best.as_ref().is_none_or(|(known, _)| rank > *known) {
                        best = Some((rank, i));
                    }
                }
                Availability::Saturated => is_short = true,
                Availability::Throttled(at) => (is_short, wake) = (true, sooner(wake, at)),
                Availability::BlockedUntil(at, reason) => {
                    wake = sooner(wake, at);
                    if long_wait.is_none_or(|(known, _)| at < known) {
                        long_wait = Some((at, reason));
                    }
                }
            }
        }
        match best {
            Some((_, token)) => Ok(token),
            None if is_short => Err(Acquire::Wait { wake, announce: None }),
            None => Err(match self.probe_candidate(wanted, &candidates, now, per_token) {
                ProbeCandidate::Ready(token) => Acquire::ProbeFirst(token),
                ProbeCandidate::Later(at) => Acquire::Wait { wake: sooner(wake, at), announce: long_wait },
                ProbeCandidate::None => Acquire::Wait { wake, announce: long_wait },
            }),
        }
    }

    /// Finds a token that may read a repository of which no reader is usable any more.
    fn find_untried_reader(&self, wanted: &TokenRequest<'_>, now: Instant, per_token: usize) -> Acquire {
        let (Purpose::Read, Some(repo)) = (wanted.purpose, wanted.repo()) else { return Acquire::NoToken };
        let mut found = Acquire::NoToken;
        for (i, token) in self.tokens.iter().enumerate() {
            if !token.can_serve_reads() || self.can_read(repo, i).is_some() {
                continue;
            }
            let later = self.access.probe_after(repo, i).filter(|at| *at > now);
            found = match (later, token.availability(now, per_token)) {
                (None, Availability::Ready { .. }) => return Acquire::ProbeFirst(i),
                (Some(at), _) | (None, Availability::Throttled(at)) => Acquire::Wait { wake: Some(at), announce: None },
                (None, Availability::Saturated) => Acquire::Wait { wake: None, announce: None },
                (None, Availability::BlockedUntil(at, reason)) => {
                    Acquire::Wait { wake: Some(at), announce: Some((at, reason)) }
                }
            };
        }
        found
    }

    /// Finds a token with budget that was not tried on this repository yet.
    fn probe_candidate(
        &self,
        wanted: &TokenRequest<'_>,
        known: &[usize],
        now: Instant,
        per_token: usize,
    ) -> ProbeCandidate {
        let (Purpose::Read, Some(repo)) = (wanted.purpose, wanted.repo()) else { return ProbeCandidate::None };
        let mut later = None;
        for (i, token) in self.tokens.iter().enumerate() {
            let ready = matches!(token.availability(now, per_token), Availability::Ready { .. });
            if !token.can_serve_reads() || known.contains(&i) || self.can_read(repo, i).is_some() || !ready {
                continue;
            }
            match self.access.probe_after(repo, i) {
                Some(at) if at > now => later = Some(later.map_or(at, |known: Instant| known.min(at))),
                _ => return ProbeCandidate::Ready(i),
            }
        }
        later.map_or(ProbeCandidate::None, ProbeCandidate::Later)
    }
}

/// A token that may or may not be able to read a repository.
enum ProbeCandidate {
    Ready(usize),
    Later(Instant),
    None,
}
