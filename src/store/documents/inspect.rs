//! Read-only inspection of the document store.

use super::{mongodb, sqlite};
use crate::backend_url::{BackendKind, BackendUrl};
use crate::retry::RetryPolicy;
use crate::store::BackendError;
use crate::store::inspect::{self, BackendStatus};

/// Inspects the document store that the URL names; creates nothing.
///
/// # Errors
/// The store is unusable, as [`Documents::open`](super::Documents::open) would report it.
pub async fn inspect(url: &BackendUrl, retry_policy: &RetryPolicy) -> Result<BackendStatus, BackendError> {
    let Some(path) = url.sqlite_path() else {
        return match url.kind() {
            BackendKind::Mongodb => mongodb::inspect(url, retry_policy).await,
            _ => Err(BackendError::no_document_store(url)),
        };
    };
    match inspect::open_existing("document store", path).await? {
        Some(file) => file.version_status(sqlite::SCHEMA_VERSION).await,
        None => Ok(BackendStatus::not_created(inspect::sqlite_product(), path.display().to_string())),
    }
}
