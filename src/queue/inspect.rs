//! Read-only inspection of the queue: what exists, and what the first command would create.

use super::Route;
use super::backends::{rabbitmq, sqlite};
use crate::backend_url::BackendUrl;
use crate::retry::RetryPolicy;
use crate::store::BackendError;
use crate::store::inspect::{self, BackendStatus};

/// Inspects the queue that the URL names and creates nothing. `routes` are those whose own queues are inspected.
///
/// # Errors
/// A queue that could not be used, with the error of [`Queue::open`](super::Queue::open) or
/// [`Queue::declare`](super::Queue::declare).
pub async fn inspect(
    url: &BackendUrl,
    exchange: &str,
    routes: &[Route],
    retry_policy: &RetryPolicy,
) -> Result<BackendStatus, BackendError> {
    let Some(path) = url.sqlite_path() else {
        let queue = rabbitmq::RabbitQueue::open(url, exchange, retry_policy).await?;
        let found = queue.inspect(routes).await;
        queue.close().await;
        return found;
    };
    match inspect::open_existing(sqlite::KIND, path).await? {
        Some(file) => file.version_status(sqlite::SCHEMA_VERSION).await,
        None => Ok(BackendStatus::not_created(inspect::sqlite_product(), path.display().to_string())),
    }
}
