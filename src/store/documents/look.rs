//! What document store is there, without making anything.

use super::{mongodb, sqlite};
use crate::backend_url::{BackendKind, BackendUrl};
use crate::retry::RetryPolicy;
use crate::store::StoreError;
use crate::store::look::{self, Found};

/// Looks at the document store that the URL names; nothing is made.
///
/// # Errors
/// A store that could not be used, as [`Documents::open`](super::Documents::open) would say it.
pub async fn look(url: &BackendUrl, retry_policy: &RetryPolicy) -> Result<Found, StoreError> {
    let Some(path) = url.sqlite_path() else {
        return match url.kind() {
            BackendKind::Mongodb => mongodb::look(url, retry_policy).await,
            _ => Err(StoreError::unsupported_scheme("document store", url, super::SUPPORTED_URLS)),
        };
    };
    match look::file("document store", path).await? {
        Some(file) => file.with_layout(sqlite::LAYOUT_VERSION).await,
        None => Ok(Found::yet_to_be_made(look::product(), path.display().to_string())),
    }
}
