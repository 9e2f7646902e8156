//! Which token serves a request.

use tokio::time::Instant;

use super::token::{Standing, Token};
use super::{Purpose, State, Try, Want};
use crate::names::RepoName;

impl State {
    /// The tokens that may serve it at all.
    pub(super) fn candidates(&self, want: &Want<'_>) -> Vec<usize> {
        let every = |keep: &dyn Fn(usize, &Token) -> bool| -> Vec<usize> {
            self.tokens.iter().enumerate().filter(|(i, token)| keep(*i, token)).map(|(i, _)| i).collect()
        };
        if let Purpose::Probe(only) | Purpose::Only(only) = want.purpose {
            return every(&|i, token| i == only && token.out.is_none());
        }
        // An installation on another account is shown what everybody is, and refused some of that.
        let near = every(&|i, token| token.reads() && !self.is_foreign(i, want.repo));
        let all = if near.is_empty() { every(&|_, token| token.reads()) } else { near };
        let verdict = |i: usize| self.verdict(want.repo?, i);
        let refused = |i: &usize| want.repo.is_some_and(|repo| self.readers.is_refused(repo, *i, want.endpoint));
        let pick = |all: &[usize], keep: &dyn Fn(Option<bool>) -> bool| -> Vec<usize> {
            all.iter().copied().filter(|&i| keep(verdict(i))).collect()
        };
        let or = |first: Vec<usize>, second: Vec<usize>| if first.is_empty() { second } else { first };
        if let Purpose::Discover { tried } = want.purpose {
            let foreign = all.iter().all(|i| self.is_foreign(*i, want.repo));
            // One of them says as much as all.
            let mut rest = if foreign { all.into_iter().take(1).collect() } else { all };
            rest.retain(|i| !tried.contains(i));
            return or(pick(&rest, &|v| v != Some(false)), rest);
        }
        let mut readers = pick(&all, &|v| v == Some(true));
        if readers.is_empty() {
            if want.repo.is_some_and(|repo| self.has_lost_reader(repo)) {
                return Vec::new();
            }
            readers = or(pick(&all, &|v| v != Some(false)), all);
        }
        let (refused, allowed): (Vec<usize>, Vec<usize>) = readers.into_iter().partition(refused);
        or(allowed, refused)
    }

    /// Whether a token is out that was shown a repository: what those are answered that were not says nothing of it.
    fn has_lost_reader(&self, repo: &RepoName) -> bool {
        let lost = |(i, token): (usize, &Token)| token.out.is_some() && self.readers.told(repo, i) == Some(true);
        self.tokens.iter().enumerate().any(lost)
    }

    /// Whether a token can read a repository, as far as that is known: what it was answered itself counts most.
    pub(super) fn verdict(&self, repo: &RepoName, token: usize) -> Option<bool> {
        let public = || self.readers.is_public(repo).then_some(true);
        let foreign = || self.is_foreign(token, Some(repo)).then_some(false);
        self.readers.told(repo, token).or_else(public).or_else(foreign)
    }

    fn is_foreign(&self, token: usize, repo: Option<&RepoName>) -> bool {
        self.tokens.get(token).zip(repo).is_some_and(|(token, repo)| token.is_foreign_to(repo.owner()))
    }

    fn preferred(&self, want: &Want<'_>, candidates: &[usize], now: Instant) -> Option<usize> {
        let prefer = want.prefer?;
        let token =
            candidates.iter().copied().find(|&i| self.tokens.get(i).is_some_and(|t| t.tags() == Some(prefer)))?;
        // Its 304 is free: worth the milliseconds until it may go, not worth the hour.
        (!matches!(self.tokens.get(token)?.standing(now, usize::MAX), Standing::Until(..))).then_some(token)
    }

    /// The queue to wait in: the tokens waited for.
    pub(super) fn lane(&self, want: &Want<'_>, now: Instant) -> Vec<usize> {
        let candidates = self.candidates(want);
        match self.preferred(want, &candidates, now) {
            Some(token) => vec![token],
            None => candidates,
        }
    }

    pub(super) fn choose(&self, want: &Want<'_>, now: Instant, per_token: usize) -> Result<usize, Try> {
        let mut candidates = self.candidates(want);
        if candidates.is_empty() {
            return Err(self.successor(want, now, per_token));
        }
        if let Some(token) = self.preferred(want, &candidates, now) {
            candidates = vec![token];
        }
        let (mut best, mut wake, mut long, mut short) = (None, None, None, false);
        let sooner = |known: Option<Instant>, at: Instant| Some(known.map_or(at, |known| known.min(at)));
        for &i in &candidates {
            let Some(token) = self.tokens.get(i) else { continue };
            match token.standing(now, per_token) {
                Standing::Ready { left } => {
                    let merit = (
                        want.repo.and_then(|repo| self.verdict(repo, i)) == Some(true),
                        // A tag is of use for as long as the token that it was given to.
                        token.lasts(),
                        left,
                        std::cmp::Reverse((token.in_flight, i)),
                    );
                    if best.as_ref().is_none_or(|(known, _)| merit > *known) {
                        best = Some((merit, i));
                    }
                }
                Standing::Busy => short = true,
                Standing::Paced(at) => (short, wake) = (true, sooner(wake, at)),
                Standing::Until(at, reason) => {
                    wake = sooner(wake, at);
                    if long.is_none_or(|(known, _)| at < known) {
                        long = Some((at, reason));
                    }
                }
            }
        }
        match best {
            Some((_, token)) => Ok(token),
            None if short => Err(Try::Blocked { wake, told: None }),
            None => Err(match self.unproven(want, &candidates, now, per_token) {
                Unproven::Now(token) => Try::Probe(token),
                Unproven::Later(at) => Try::Blocked { wake: sooner(wake, at), told: long },
                Unproven::None => Try::Blocked { wake, told: long },
            }),
        }
    }

    /// Who might read a repository whose readers are all out.
    fn successor(&self, want: &Want<'_>, now: Instant, per_token: usize) -> Try {
        let (Purpose::Read, Some(repo)) = (want.purpose, want.repo) else { return Try::Nobody };
        let mut found = Try::Nobody;
        for (i, token) in self.tokens.iter().enumerate() {
            if !token.reads() || self.verdict(repo, i).is_some() {
                continue;
            }
            let later = self.readers.probe_after(repo, i).filter(|at| *at > now);
            found = match (later, token.standing(now, per_token)) {
                (None, Standing::Ready { .. }) => return Try::Probe(i),
                (Some(at), _) | (None, Standing::Paced(at)) => Try::Blocked { wake: Some(at), told: None },
                (None, Standing::Busy) => Try::Blocked { wake: None, told: None },
                (None, Standing::Until(at, reason)) => Try::Blocked { wake: Some(at), told: Some((at, reason)) },
            };
        }
        found
    }

    /// A token with budget that nobody has tried on this repository.
    fn unproven(&self, want: &Want<'_>, known: &[usize], now: Instant, per_token: usize) -> Unproven {
        let (Purpose::Read, Some(repo)) = (want.purpose, want.repo) else { return Unproven::None };
        let mut later = None;
        for (i, token) in self.tokens.iter().enumerate() {
            let ready = matches!(token.standing(now, per_token), Standing::Ready { .. });
            if !token.reads() || known.contains(&i) || self.verdict(repo, i).is_some() || !ready {
                continue;
            }
            match self.readers.probe_after(repo, i) {
                Some(at) if at > now => later = Some(later.map_or(at, |known: Instant| known.min(at))),
                _ => return Unproven::Now(i),
            }
        }
        later.map_or(Unproven::None, Unproven::Later)
    }
}

/// A token of which it is not known whether it can read a repository.
enum Unproven {
    Now(usize),
    Later(Instant),
    None,
}
