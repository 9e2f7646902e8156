//! Requests for JSON and what their answers amount to.

use std::fmt;

use tokio_util::sync::CancellationToken;

use super::error::MirrorError;
use crate::github::{Accept, ApiUrl, Fetched, Get, GitHub, Page, RequestCounter, Validator};
use crate::store::relational::sync_state::PageValidator;

/// Builds a request for JSON that any token may serve.
pub fn get_json(url: ApiUrl) -> Get {
    Get { url, repo: None, accept: Accept::Json, validator: None, divisible: false, only: None }
}

/// Sends a request unless the user asks to stop.
///
/// # Errors
/// What GitHub's answer amounts to, or the user's wish to stop.
pub async fn get_unless_cancelled(
    github: &GitHub,
    cancel: &CancellationToken,
    request: &Get,
    meter: &RequestCounter,
) -> Result<Fetched, MirrorError> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(MirrorError::Cancelled),
        answer = github.get(request, meter) => Ok(answer?),
    }
}

/// Returns the page that answers an unconditional request.
///
/// # Errors
/// The answer is a 304, which can't be used.
pub fn fresh_page(fetched: Fetched, url: &impl fmt::Display) -> Result<Page, MirrorError> {
    match fetched {
        Fetched::Page(page) => Ok(*page),
        Fetched::NotModified => Err(MirrorError::Answer(format!("{url} answered 304 to an unconditional request"))),
    }
}

/// Converts a stored validator to that of a request.
pub fn request_validator(validator: &PageValidator) -> Validator {
    Validator { etag: validator.etag.clone(), token: validator.token.clone() }
}

/// The validator of a page, as the store keeps it.
pub fn page_validator(page: &Page) -> Option<PageValidator> {
    page.validator.as_ref().map(|v| PageValidator { etag: v.etag.clone(), token: v.token.clone() })
}
