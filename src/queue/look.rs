//! What queue is there, without making anything.

use super::{Route, rabbitmq, sqlite};
use crate::backend_url::BackendUrl;
use crate::retry::RetryPolicy;
use crate::store::StoreError;
use crate::store::look::{self, Found};

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
) -> Result<Found, StoreError> {
    let Some(path) = url.sqlite_path() else {
        let queue = rabbitmq::RabbitQueue::open(url, exchange, retry_policy).await?;
        let found = queue.look(routes).await;
        queue.close().await;
        return found;
    };
    match look::file(sqlite::WHAT, path).await? {
        Some(file) => file.with_layout(sqlite::LAYOUT_VERSION).await,
        None => Ok(Found::yet_to_be_made(look::product(), path.display().to_string())),
    }
}
