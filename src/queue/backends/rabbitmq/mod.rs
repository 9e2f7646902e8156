//! RabbitMQ, or another broker of AMQP 0-9-1 with its extensions (publisher confirms, dead-lettering).

mod connection;
mod consumer;
mod error;
mod handshake;
mod inspect;
mod publish;
mod side_queues;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::uri::AMQPUri;
use lapin::{Channel, ExchangeKind};

use self::connection::{ReconnectingConnection, await_reply, short_string};
use self::error::BrokerError;
use self::publish::Message;
use crate::backend_url::BackendUrl;
use crate::http;
use crate::queue::error::unroutable;
use crate::queue::route::Route;
use crate::retry::RetryPolicy;
use crate::store::BackendError;

/// The default exchange, which routes a message to the queue that is named by its key.
const DEFAULT_EXCHANGE: &str = "";
/// A broker with its exchange. Clones share its connections.
#[derive(Clone)]
pub(in crate::queue) struct RabbitQueue(Arc<Inner>);

struct Inner {
    uri: AMQPUri,
    /// The URL without its password.
    redacted_url: String,
    exchange: String,
    retry_policy: RetryPolicy,
    publishing: ReconnectingConnection,
    consuming: ReconnectingConnection,
}

impl RabbitQueue {
    pub(in crate::queue) async fn open(
        url: &BackendUrl,
        exchange: &str,
        retry_policy: &RetryPolicy,
    ) -> Result<Self, BackendError> {
        let tried = format!("opening the queue at {url}");
        let unreadable = |problem: &str| BackendError {
            operation: tried.clone(),
            cause: problem.to_owned(),
            hint: "correct `queue.url`; percent-encode whatever is not a letter or a digit in user and password",
            before_start: true,
        };
        if url.has_unescaped_user_part() {
            return Err(unreadable("user or password contains an unescaped / ? # or @"));
        }
        let uri = connection::parse(url.expose()).map_err(unreadable)?;
        if exchange.is_empty() || exchange.starts_with("amq.") || short_string(exchange).is_err() {
            return Err(BackendError {
                operation: tried,
                cause: "the exchange's name is empty, over 255 bytes, or starts with amq., which brokers reserve"
                    .to_owned(),
                hint: "set `queue.exchange` to another name",
                before_start: true,
            });
        }
        if uri.scheme == lapin::uri::AMQPScheme::AMQPS && rustls::crypto::CryptoProvider::get_default().is_none() {
            http::install_crypto_provider();
        }
        let queue = Self(Arc::new(Inner {
            publishing: ReconnectingConnection::new(uri.clone(), "publishing"),
            consuming: ReconnectingConnection::new(uri.clone(), "consuming"),
            uri,
            redacted_url: url.to_string(),
            exchange: exchange.to_owned(),
            retry_policy: retry_policy.for_backend(),
        }));
        // A broker that is away is reported by the connection below.
        let product = handshake::product(&queue.0.uri).await;
        if let Some(product) = product.filter(|product| handshake::is_rabbitmq_too_old(product)) {
            return Err(BackendError {
                operation: tried,
                cause: format!("{product} is too old"),
                hint: "msght needs RabbitMQ 3.10 or newer",
                before_start: true,
            });
        }
        let connected = queue.0.consuming.live().await;
        connected.map_err(|failure| failure.explain(tried).before_start())?;
        Ok(queue)
    }

    /// Runs `attempt` until it succeeds, fails permanently or the retry policy's time is over. `doing` is the operation.
    async fn with_retry<T, F>(&self, doing: &str, attempt: impl FnMut() -> F) -> Result<T, BackendError>
    where
        F: Future<Output = Result<T, BrokerError>>,
    {
        let result = self.0.retry_policy.retry(&self.0.redacted_url, BrokerError::retryability, attempt).await;
        result.map_err(|failure| self.explain(doing, &failure))
    }

    fn explain(&self, doing: &str, failure: &BrokerError) -> BackendError {
        failure.explain(format!("{doing} at {}", self.0.redacted_url))
    }

    pub(in crate::queue) async fn describe(&self) -> Result<String, BackendError> {
        self.with_retry("asking the broker", || async { self.0.consuming.live().await?.channel().await }).await?;
        let product = handshake::product(&self.0.uri).await.unwrap_or_else(|| "AMQP broker".to_owned());
        Ok(format!("{product}, {}, exchange {}", self.0.redacted_url, self.0.exchange))
    }

    pub(in crate::queue) async fn declare(&self, routes: &[Route]) -> Result<(), BackendError> {
        let declare = || async {
            let connected = self.0.consuming.live().await?;
            let channel = connected.channel().await?;
            let exchange = short_string(&self.0.exchange)?;
            let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
            let none = FieldTable::default;
            await_reply(
                "declared exchange",
                channel.exchange_declare(exchange.clone(), ExchangeKind::Topic, options, none()),
            )
            .await?;
            for route in routes {
                let queue = short_string(&route.queue())?;
                await_reply("declared queue", channel.queue_declare(queue.clone(), durable(), none())).await?;
                let key = short_string(&route.key())?;
                let binding = channel.queue_bind(queue, exchange.clone(), key, QueueBindOptions::default(), none());
                await_reply("binding", binding).await?;
            }
            finish(&channel).await;
            Ok(())
        };
        let doing = format!("declaring exchange {} and its queues", self.0.exchange);
        self.with_retry(&doing, declare).await.map_err(BackendError::before_start)
    }

    pub(in crate::queue) async fn publish(&self, route: &Route, bodies: Vec<String>) -> Result<(), BackendError> {
        let messages: Vec<Message> = bodies.into_iter().map(|body| Message::fresh(body.into_bytes())).collect();
        self.publish_to(&self.0.exchange, &route.key(), &messages).await
    }

    pub(in crate::queue) async fn enqueue(&self, route: &Route, bodies: Vec<String>) -> Result<(), BackendError> {
        let messages: Vec<Message> = bodies.into_iter().map(|body| Message::fresh(body.into_bytes())).collect();
        self.publish_to(DEFAULT_EXCHANGE, &route.queue(), &messages).await
    }

    async fn publish_to(&self, exchange: &str, key: &str, messages: &[Message]) -> Result<(), BackendError> {
        let doing = match exchange {
            DEFAULT_EXCHANGE => format!("publishing to queue {key}"),
            _ => format!("publishing to exchange {exchange}, routing key {key},"),
        };
        for window in messages.chunks(publish::MAX_IN_FLIGHT) {
            let pending: Mutex<BTreeSet<usize>> = Mutex::new((0..window.len()).collect());
            let attempt = || publish::attempt(&self.0.publishing, exchange, key, window, &pending);
            let failed = match self.0.retry_policy.retry(&self.0.redacted_url, BrokerError::retryability, attempt).await
            {
                Ok(()) => continue,
                Err(failed) => failed,
            };
            return Err(match failed {
                BrokerError::Unroutable => unroutable(exchange, key, &self.0.redacted_url),
                failed => self.explain(&doing, &failed),
            });
        }
        Ok(())
    }

    pub(in crate::queue) async fn close(self) {
        self.0.consuming.close().await;
        self.0.publishing.close().await;
    }
}

/// Options of a queue that survives the broker's restart.
fn durable() -> QueueDeclareOptions {
    QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() }
}

/// Closes a channel. One that can't be closed is broken and is not used again.
async fn finish(channel: &Channel) {
    if let Err(error) = await_reply("reply to a close", channel.close(200, "done".into())).await {
        tracing::debug!(%error, "a channel was not closed cleanly");
    }
}
