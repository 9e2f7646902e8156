//! Answers: a page, or the news that it has not changed.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::links::Links;
use crate::validator::Validator;

/// The answer to a request.
#[derive(Debug, Clone)]
pub enum Fetched {
    /// A complete page.
    Page(Box<Page>),
    /// 304: the page is the one that the validator came with.
    NotModified,
}

/// A complete page.
#[derive(Debug, Clone)]
pub struct Page {
    /// Complete, valid JSON; empty where GitHub has nothing to send (204).
    pub body: Bytes,
    /// Makes the next request for this page conditional.
    pub validator: Option<Validator>,
    /// The pages around it.
    pub links: Links,
    /// The server's clock when it answered.
    pub date: Option<DateTime<Utc>>,
    /// The interval that GitHub wants between two requests for it (`X-Poll-Interval`), which feeds have.
    pub poll_interval: Option<Duration>,
    /// It came after a redirect: the resource has another address now.
    pub redirected: bool,
}

/// Returns whether a repository's JSON says that everybody can read it.
pub(super) fn is_public_repository(body: &[u8]) -> Option<bool> {
    #[derive(serde::Deserialize)]
    struct Repository {
        private: Option<bool>,
    }
    serde_json::from_slice::<Repository>(body).ok()?.private.map(|private| !private)
}
