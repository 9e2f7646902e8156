//! Work queues and the routing of events (data model, §2).
//!
//! A message is published to the topic exchange under a routing key, and lands in every queue that is bound to a matching
//! pattern. A consumer holds a message until it settles it: done, again later, or dead. What it holds when it dies comes
//! back, so every message is worked at least once.
//!
//! `docs/queue.md` has the layout of both backends, for other programs that publish or consume.

mod delivery;
mod look;
mod rabbitmq;
mod route;
mod sqlite;

use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub use delivery::{Consumer, DeadLetter, Delivery, Depth, Settlement};
pub use look::look;
pub use route::{InvalidRoute, Route};

use crate::backend_url::BackendUrl;
use crate::retry::RetryPolicy;
use crate::store::BackendError;

/// The longest time after which a message can come back from [`Delivery::retry_later`]; a longer one is cut to it.
pub const LONGEST_RETRY: Duration = Duration::from_secs(3600);

/// The topic exchange and its queues. Clones share their connections.
#[derive(Clone)]
pub struct Queue(Backend);

#[derive(Clone)]
enum Backend {
    Sqlite(sqlite::SqliteQueue),
    Rabbitmq(rabbitmq::RabbitQueue),
}

impl Queue {
    /// Opens the queue store that the URL's scheme picks. An SQLite file is created or upgraded as needed; nothing is
    /// declared on a broker yet. `retry_policy` is for a broker that goes away later; one that can't be reached now is an
    /// error at once.
    ///
    /// # Errors
    /// A file that can't be used; a broker that can't be reached, refuses the user, or has no such virtual host.
    pub async fn open(url: &BackendUrl, exchange: &str, retry_policy: &RetryPolicy) -> Result<Self, BackendError> {
        let backend = match url.sqlite_path() {
            Some(path) => Backend::Sqlite(sqlite::SqliteQueue::open(path, exchange).await?),
            None => Backend::Rabbitmq(rabbitmq::RabbitQueue::open(url, exchange, retry_policy).await?),
        };
        Ok(Self(backend))
    }

    /// What was found, in one line for the user: product, version, place, exchange.
    ///
    /// # Errors
    /// A store that doesn't answer.
    pub async fn describe(&self) -> Result<String, BackendError> {
        match &self.0 {
            Backend::Sqlite(queue) => queue.describe().await,
            Backend::Rabbitmq(queue) => queue.describe().await,
        }
    }

    /// Makes the exchange and each route's own queue, and binds the two; what is there already stays as it is.
    ///
    /// # Errors
    /// An exchange or queue of that name that is of another kind, or rights that are missing. Nothing was published or
    /// consumed then: such an error is one `before_start`.
    pub async fn declare(&self, routes: &[Route]) -> Result<(), BackendError> {
        match &self.0 {
            Backend::Sqlite(queue) => queue.declare(routes).await,
            Backend::Rabbitmq(queue) => queue.declare(routes).await,
        }
    }

    /// Publishes messages under a route's key, in this order. Returns when all of them are kept safely: in SQLite when
    /// the transaction is committed, in RabbitMQ when the broker has confirmed each. Hundreds are under way at a time.
    ///
    /// # Errors
    /// No queue is bound to the key, or the broker can't be had within the patience. Some of the messages may have been
    /// published then; publishing all of them again is safe wherever consumers take a message twice.
    pub async fn publish(&self, route: &Route, bodies: Vec<String>) -> Result<(), BackendError> {
        match &self.0 {
            Backend::Sqlite(queue) => queue.publish(route, bodies).await,
            Backend::Rabbitmq(queue) => queue.publish(route, bodies).await,
        }
    }

    /// Starts consuming a route's own queue. At most `prefetch` messages (1 at least) are held unsettled at a time.
    /// Cancelling `stop` ends the consumer; what it has taken but not handed out goes back to the queue.
    ///
    /// # Errors
    /// A queue that does not exist or can't be read.
    pub async fn consume(
        &self,
        route: &Route,
        prefetch: u16,
        stop: CancellationToken,
    ) -> Result<Consumer, BackendError> {
        let prefetch = prefetch.max(1);
        match &self.0 {
            Backend::Sqlite(queue) => queue.consume(route, prefetch, stop).await,
            Backend::Rabbitmq(queue) => queue.consume(route, prefetch, stop).await,
        }
    }

    /// How many messages a route's own queue holds.
    ///
    /// # Errors
    /// A queue that does not exist, or a store that doesn't answer.
    pub async fn depth(&self, route: &Route) -> Result<Depth, BackendError> {
        match &self.0 {
            Backend::Sqlite(queue) => queue.depth(route).await,
            Backend::Rabbitmq(queue) => queue.depth(route).await,
        }
    }

    /// Looks at the oldest dead letters of a route's own queue, which stay where they are.
    ///
    /// # Errors
    /// A store that doesn't answer.
    pub async fn dead_letters(&self, route: &Route, limit: u32) -> Result<Vec<DeadLetter>, BackendError> {
        match &self.0 {
            Backend::Sqlite(queue) => queue.dead_letters(route, limit).await,
            Backend::Rabbitmq(queue) => queue.dead_letters(route, limit).await,
        }
    }

    /// Puts the oldest dead letters of a route's own queue back into it, as if they had never been tried. Returns how
    /// many.
    ///
    /// # Errors
    /// A store that doesn't answer. No message is lost; one may be in both places.
    pub async fn requeue_dead(&self, route: &Route, limit: u32) -> Result<u32, BackendError> {
        match &self.0 {
            Backend::Sqlite(queue) => queue.requeue_dead(route, limit).await,
            Backend::Rabbitmq(queue) => queue.requeue_dead(route, limit).await,
        }
    }

    /// Closes the file or the connections. What is still unsettled goes back to its queue: in RabbitMQ at once, in SQLite
    /// when this process ends or the lease is over.
    pub async fn close(self) {
        match self.0 {
            Backend::Sqlite(queue) => queue.close().await,
            Backend::Rabbitmq(queue) => queue.close().await,
        }
    }
}
