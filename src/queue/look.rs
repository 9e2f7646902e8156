//! What queue is there, without making anything.

use super::{Route, rabbitmq, sqlite};
use crate::backend_url::BackendUrl;
use crate::retry::RetryPolicy;
use crate::store::BackendError;
use crate::store::inspect::{self, BackendStatus};

/// Looks at the queue that the URL names; nothing is made. `routes`: those whose own queues are looked at.
///
/// # Errors
/// A queue that could not be used, as [`Queue::open`](super::Queue::open) and [`Queue::declare`](super::Queue::declare)
/// would say it.
pub async fn look(
    url: &BackendUrl,
    exchange: &str,
    routes: &[Route],
    retry_policy: &RetryPolicy,
) -> Result<BackendStatus, BackendError> {
    let Some(path) = url.sqlite_path() else {
        let queue = rabbitmq::RabbitQueue::open(url, exchange, retry_policy).await?;
        let found = queue.look(routes).await;
        queue.close().await;
        return found;
    };
    match inspect::open_existing(sqlite::WHAT, path).await? {
        Some(file) => file.version_status(sqlite::LAYOUT_VERSION).await,
        None => Ok(BackendStatus::not_created(inspect::sqlite_product(), path.display().to_string())),
    }
}
