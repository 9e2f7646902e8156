//! Requests and their answers.

use std::fmt;

use tokio_util::sync::CancellationToken;

use super::error::MirrorError;
use crate::github::{Fetched, GitHub, Page, Request, RequestCounter};

/// Sends a request unless the user asks to stop.
///
/// # Errors
/// The error that GitHub's answer amounts to, or the user's wish to stop.
pub(super) async fn get_unless_canceled(
    github: &GitHub,
    cancel: &CancellationToken,
    request: &Request,
    counter: &RequestCounter,
) -> Result<Fetched, MirrorError> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(MirrorError::Canceled),
        answer = github.send(request, counter) => Ok(answer?),
    }
}

/// Returns the page that answers an unconditional request.
///
/// # Errors
/// The answer is a 304, which can't be used.
pub(super) fn fresh_page(fetched: Fetched, url: &impl fmt::Display) -> Result<Page, MirrorError> {
    match fetched {
        Fetched::Page(page) => Ok(*page),
        Fetched::NotModified => Err(MirrorError::Answer(format!("{url} answered 304 to an unconditional request"))),
    }
}
