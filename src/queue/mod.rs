//! Work queues and the routing of events.
//!
//! A message is published to the topic exchange under a routing key, and arrives in every queue that is bound to a matching
//! pattern. A consumer holds a message until it settles it: acknowledged, to be retried, or dead-lettered. What a consumer
//! holds when it dies returns to the queue, so every message is delivered at least once.
//!
//! `docs/queue.md` describes the layout of both backends for other programs that publish or consume.
//!
//! | file | contents |
//! |---|---|
//! | `route.rs` | routing keys, and the queue that is bound to each |
//! | `delivery.rs` | what a consumer receives, and how it settles each message |
//! | `backends/sqlite/` | the embedded queue: one file |
//! | `backends/rabbitmq/` | the queue on a broker |
//! | `inspect.rs` | what exists, without creating anything |
//! | `error.rs` | errors that both backends report in the same words |

mod backends;
mod delivery;
mod error;
mod inspect;
mod route;

use tokio_util::sync::CancellationToken;

pub use delivery::{Consumer, DeadLetter, Delivery, Depth, MAX_RETRY_DELAY, SettleOutcome};
pub use inspect::inspect;
pub use route::{InvalidRoute, Route};

use self::backends::{rabbitmq::RabbitQueue, sqlite::SqliteQueue};
use crate::backend_url::BackendUrl;
use crate::retry::RetryPolicy;
use crate::store::BackendError;

/// The topic exchange and its queues. Clones share their connections.
#[derive(Clone)]
pub struct Queue(Backend);

#[derive(Clone)]
enum Backend {
    Sqlite(SqliteQueue),
    Rabbitmq(RabbitQueue),
}

/// Calls the same method of whichever backend it is.
macro_rules! dispatch {
    ($backend:expr, $queue:ident => $call:expr) => {
        match $backend {
            Backend::Sqlite($queue) => $call.await,
            Backend::Rabbitmq($queue) => $call.await,
        }
    };
}

impl Queue {
    /// Opens the queue backend that the URL's scheme selects. Creates or upgrades a SQLite file as needed; declares nothing
    /// on a broker yet. `retry_policy` is for a broker that goes away later; one that can't be reached now is an error at
    /// once.
    ///
    /// # Errors
    /// A file that can't be used; a broker that can't be reached, refuses the user, or has no such virtual host.
    pub async fn open(url: &BackendUrl, exchange: &str, retry_policy: &RetryPolicy) -> Result<Self, BackendError> {
        let backend = match url.sqlite_path() {
            Some(path) => Backend::Sqlite(SqliteQueue::open(path, exchange).await?),
            None => Backend::Rabbitmq(RabbitQueue::open(url, exchange, retry_policy).await?),
        };
        Ok(Self(backend))
    }

    /// Describes the backend in one line for the user: product, version, place, exchange.
    ///
    /// # Errors
    /// A backend that does not answer.
    pub async fn describe(&self) -> Result<String, BackendError> {
        dispatch!(&self.0, queue => queue.describe())
    }

    /// Creates the exchange and each route's own queue, and binds them; what exists stays as it is.
    ///
    /// # Errors
    /// An exchange or queue of that name with other properties, or missing permissions. Nothing has been published or
    /// consumed then: such an error is marked `before_start`.
    pub async fn declare(&self, routes: &[Route]) -> Result<(), BackendError> {
        dispatch!(&self.0, queue => queue.declare(routes))
    }

    /// Publishes messages under a route's key, in this order. Returns when all are stored durably: SQLite has committed the
    /// transaction, or RabbitMQ has confirmed each message. Hundreds are in flight at a time.
    ///
    /// # Errors
    /// No queue is bound to the key, or the broker can't be reached within the retry policy's time. Some of the messages may
    /// have been published then; publishing all of them again is safe wherever consumers are idempotent.
    pub async fn publish(&self, route: &Route, bodies: Vec<String>) -> Result<(), BackendError> {
        dispatch!(&self.0, queue => queue.publish(route, bodies))
    }

    /// Puts messages on a route's own queue, past the exchange: no other queue gets them. The queue must have been declared.
    ///
    /// # Errors
    /// The queue does not exist, or the broker can't be reached within the retry policy's time. Some of the messages may be on
    /// the queue then.
    pub async fn enqueue(&self, route: &Route, bodies: Vec<String>) -> Result<(), BackendError> {
        dispatch!(&self.0, queue => queue.enqueue(route, bodies))
    }

    /// Starts consuming a route's own queue. Holds at most `prefetch` messages unsettled at a time, at least 1. Canceling
    /// `stop` ends the consumer and returns what it has fetched but not handed out.
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
        dispatch!(&self.0, queue => queue.consume(route, prefetch, stop))
    }

    /// Counts the messages of a route's own queue.
    ///
    /// # Errors
    /// A queue that does not exist, or a backend that does not answer.
    pub async fn depth(&self, route: &Route) -> Result<Depth, BackendError> {
        dispatch!(&self.0, queue => queue.depth(route))
    }

    /// Reads the oldest dead letters of a route's own queue and leaves them where they are.
    ///
    /// # Errors
    /// A backend that does not answer.
    pub async fn dead_letters(&self, route: &Route, limit: u32) -> Result<Vec<DeadLetter>, BackendError> {
        dispatch!(&self.0, queue => queue.dead_letters(route, limit))
    }

    /// Returns the oldest dead letters of a route's own queue to it, with no attempt counted. Returns their number.
    ///
    /// # Errors
    /// A backend that does not answer. No message is lost; one may be in both places.
    pub async fn requeue_dead(&self, route: &Route, limit: u32) -> Result<u32, BackendError> {
        dispatch!(&self.0, queue => queue.requeue_dead(route, limit))
    }

    /// Closes the file or the connections. What is still unsettled returns to its queue: in RabbitMQ at once, in SQLite when
    /// this process ends or the lease expires.
    pub async fn close(self) {
        dispatch!(self.0, queue => queue.close());
    }
}
