//! Requests as callers describe them, and the counters that say what they cost.

use std::sync::atomic::{AtomicU64, Ordering};

use http::Method;

use super::token_info::TokenRef;
use super::url::ApiUrl;
use crate::names::RepoName;
use crate::validator::Validator;

/// Points that a mutation counts on the secondary limit, where a GET counts 1 (GitHub docs: secondary rate limits).
const MUTATION_POINTS: u32 = 5;

/// A request: a GET, or a mutation. The builder methods narrow down who may send it and what it returns.
#[derive(Debug, Clone)]
pub struct Request {
    /// Address within the API.
    pub url: ApiUrl,
    pub(super) mutation: Option<Mutation>,
    pub(super) repo: Option<RepoName>,
    pub(super) accept: Accept,
    pub(super) validator: Option<Validator>,
    pub(super) can_split: bool,
    pub(super) token: Option<TokenRef>,
}

/// The part of a request that changes something.
#[derive(Debug, Clone)]
pub(super) struct Mutation {
    pub method: Method,
    /// JSON.
    pub body: Vec<u8>,
    /// May be repeated although an earlier attempt may have succeeded.
    pub is_idempotent: bool,
}

impl Request {
    /// Builds a GET that any token may send.
    pub fn get(url: ApiUrl) -> Self {
        Self { url, mutation: None, repo: None, accept: Accept::Json, validator: None, can_split: false, token: None }
    }

    /// Builds a request that changes something, POST or PATCH. It is repeated only where a limit kept it from being done: without
    /// a response it isn't known whether it was.
    pub fn mutation(method: Method, url: ApiUrl, body: &serde_json::Value) -> Self {
        let body = body.to_string().into_bytes();
        Self { mutation: Some(Mutation { method, body, is_idempotent: false }), ..Self::get(url) }
    }

    /// Allows a mutation to be retried like a GET.
    #[must_use]
    pub(super) fn idempotent(mut self) -> Self {
        if let Some(mutation) = &mut self.mutation {
            mutation.is_idempotent = true;
        }
        self
    }

    /// Names the repository that the request belongs to: tokens that can read it are used.
    #[must_use]
    pub fn repo(mut self, repo: impl Into<Option<RepoName>>) -> Self {
        self.repo = repo.into();
        self
    }

    /// Asks for a representation other than plain JSON.
    #[must_use]
    pub fn accept(mut self, accept: Accept) -> Self {
        self.accept = accept;
        self
    }

    /// Makes the request conditional on what is known already.
    #[must_use]
    pub fn validator(mut self, validator: impl Into<Option<Validator>>) -> Self {
        self.validator = validator.into();
        self
    }

    /// Says that the caller can ask for smaller parts instead, so that a page that the server can't make in time is not retried
    /// for long.
    #[must_use]
    pub fn can_split(mut self, can_split: bool) -> Self {
        self.can_split = can_split;
        self
    }

    /// Restricts the request to one token.
    #[must_use]
    pub fn token(mut self, token: impl Into<Option<TokenRef>>) -> Self {
        self.token = token.into();
        self
    }

    pub(super) fn method(&self) -> &str {
        self.mutation.as_ref().map_or("GET", |mutation| mutation.method.as_str())
    }

    /// Returns the points that it counts on the secondary limit.
    pub(super) fn points(&self) -> u32 {
        if self.mutation.is_some() { MUTATION_POINTS } else { 1 }
    }
}

/// The representation asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Accept {
    /// `application/vnd.github+json`.
    #[default]
    Json,
    /// `application/vnd.github.star+json`: stars with their time.
    StarJson,
}

/// A count of responses; each stage has its own.
#[derive(Debug, Default)]
pub struct RequestCounter {
    counted: AtomicU64,
    not_modified: AtomicU64,
}

impl RequestCounter {
    /// Returns the number of responses that counted on a rate limit.
    pub fn counted(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }

    /// Returns the number of responses that were free: 304 to a token.
    pub fn not_modified(&self) -> u64 {
        self.not_modified.load(Ordering::Relaxed)
    }

    pub(super) fn record(&self, is_free: bool) {
        (if is_free { &self.not_modified } else { &self.counted }).fetch_add(1, Ordering::Relaxed);
    }
}
