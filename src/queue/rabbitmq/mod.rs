//! RabbitMQ, or another broker of AMQP 0-9-1 with its extensions (publisher confirms, dead-lettering).

mod consumer;
mod failure;
mod greeting;
mod link;
mod look;
mod publish;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lapin::options::{BasicAckOptions, BasicGetOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::uri::AMQPUri;
use lapin::{Channel, ExchangeKind};
use tokio_util::sync::CancellationToken;

pub(super) use consumer::Held;
use failure::Failure;
use link::{Connected, Link, answer, short};
use publish::Message;

use super::{Consumer, DeadLetter, Depth, Route};
use crate::backend_url::BackendUrl;
use crate::retry::RetryPolicy;
use crate::store::BackendError;

/// The default exchange, which routes a message to the queue of the key's name.
const TO_QUEUE: &str = "";
/// Seconds after which a message may come back: one queue each, in which all wait equally long. In one queue with a
/// time for each message, those behind a long wait would wait as long.
const RETRY_STEPS: [u32; 7] = [1, 5, 15, 60, 300, 900, 3600];
/// Dead letters put back in one go: what is moved is in memory and, if that fails half-way, in both places.
const REQUEUED_AT_ONCE: u32 = 100;

#[derive(Clone)]
pub(super) struct RabbitQueue(Arc<Inner>);

struct Inner {
    uri: AMQPUri,
    /// The URL without its password.
    shown: String,
    exchange: String,
    retry_policy: RetryPolicy,
    publishing: Link,
    consuming: Link,
}

impl RabbitQueue {
    pub(super) async fn open(
        url: &BackendUrl,
        exchange: &str,
        retry_policy: &RetryPolicy,
    ) -> Result<Self, BackendError> {
        let tried = format!("opening the queue at {url}");
        let unreadable = |problem: &str| BackendError {
            operation: tried.clone(),
            cause: problem.to_owned(),
            hint: "correct `queue.url`; what is not a letter or a digit is percent-encoded in user and password",
            before_start: true,
        };
        if url.has_unescaped_user_part() {
            return Err(unreadable("user or password holds a / ? # or @ as it is"));
        }
        let uri = link::parse(url.expose()).map_err(unreadable)?;
        if exchange.is_empty() || exchange.starts_with("amq.") || short(exchange).is_err() {
            return Err(BackendError {
                operation: tried,
                cause: "the exchange's name is empty, over 255 bytes, or starts with amq., which brokers keep"
                    .to_owned(),
                hint: "set `queue.exchange` to another name",
                before_start: true,
            });
        }
        if uri.scheme == lapin::uri::AMQPScheme::AMQPS && rustls::crypto::CryptoProvider::get_default().is_none() {
            // Somebody else may have installed one since: that is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let queue = Self(Arc::new(Inner {
            publishing: Link::new(uri.clone(), "publishing"),
            consuming: Link::new(uri.clone(), "consuming"),
            uri,
            shown: url.to_string(),
            exchange: exchange.to_owned(),
            retry_policy: retry_policy.for_backend(),
        }));
        // One that is not there says so when it is connected to.
        let product = greeting::product(&queue.0.uri).await;
        if let Some(product) = product.filter(|product| greeting::is_too_old(product)) {
            return Err(BackendError {
                operation: tried,
                cause: format!("{product} is too old"),
                hint: "msght needs RabbitMQ 3.10 or newer",
                before_start: true,
            });
        }
        let connected = queue.0.consuming.connected().await;
        connected.map_err(|failure| failure.explain(tried).before_start())?;
        Ok(queue)
    }

    /// Tries until it succeeds, fails for good, or the patience ends.
    async fn with_retry<T, F>(&self, doing: &str, attempt: impl FnMut() -> F) -> Result<T, BackendError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let result = self.0.retry_policy.retry(&self.0.shown, Failure::retryability, attempt).await;
        result.map_err(|failure| self.explain(doing, &failure))
    }

    fn explain(&self, doing: &str, failure: &Failure) -> BackendError {
        failure.explain(format!("{doing} at {}", self.0.shown))
    }

    pub(super) async fn describe(&self) -> Result<String, BackendError> {
        self.with_retry("asking the broker", || async { self.0.consuming.connected().await?.channel().await }).await?;
        let product = greeting::product(&self.0.uri).await.unwrap_or_else(|| "AMQP broker".to_owned());
        Ok(format!("{product}, {}, exchange {}", self.0.shown, self.0.exchange))
    }

    pub(super) async fn declare(&self, routes: &[Route]) -> Result<(), BackendError> {
        let declare = || async {
            let connected = self.0.consuming.connected().await?;
            let channel = connected.channel().await?;
            let exchange = short(&self.0.exchange)?;
            let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
            let none = FieldTable::default;
            answer(
                "declared exchange",
                channel.exchange_declare(exchange.clone(), ExchangeKind::Topic, options, none()),
            )
            .await?;
            for route in routes {
                let queue = short(&route.queue())?;
                answer("declared queue", channel.queue_declare(queue.clone(), durable(), none())).await?;
                let key = short(&route.key())?;
                let binding = channel.queue_bind(queue, exchange.clone(), key, QueueBindOptions::default(), none());
                answer("binding", binding).await?;
            }
            finish(&channel).await;
            Ok(())
        };
        let doing = format!("declaring exchange {} and its queues", self.0.exchange);
        self.with_retry(&doing, declare).await.map_err(BackendError::before_start)
    }

    pub(super) async fn publish(&self, route: &Route, bodies: Vec<String>) -> Result<(), BackendError> {
        let messages: Vec<Message> = bodies.into_iter().map(|body| Message::fresh(body.into_bytes())).collect();
        self.publish_to(&self.0.exchange, &route.key(), &messages).await
    }

    async fn publish_to(&self, exchange: &str, key: &str, messages: &[Message]) -> Result<(), BackendError> {
        let doing = match exchange {
            TO_QUEUE => format!("publishing to queue {key}"),
            _ => format!("publishing to exchange {exchange}, routing key {key},"),
        };
        for window in messages.chunks(publish::WINDOW) {
            let pending: Mutex<BTreeSet<usize>> = Mutex::new((0..window.len()).collect());
            let attempt = || publish::attempt(&self.0.publishing, exchange, key, window, &pending);
            let failed = match self.0.retry_policy.retry(&self.0.shown, Failure::retryability, attempt).await {
                Ok(()) => continue,
                Err(failed) => failed,
            };
            return Err(match failed {
                Failure::Unroutable => super::delivery::unroutable(exchange, key, &self.0.shown),
                failed => self.explain(&doing, &failed),
            });
        }
        Ok(())
    }

    /// Puts a message into a queue beside the one that it came from, which is made when it is not there.
    async fn put_aside(&self, aside: &str, arguments: FieldTable, message: Message) -> Result<(), BackendError> {
        let declare = || async {
            let connected = self.0.publishing.connected().await?;
            let mut declared = connected.declared.lock().await;
            if !declared.contains(aside) {
                let channel = connected.channel().await?;
                answer("declared queue", channel.queue_declare(short(aside)?, durable(), arguments.clone())).await?;
                finish(&channel).await;
                declared.insert(aside.to_owned());
            }
            drop(declared);
            Ok(connected)
        };
        let connected = self.with_retry(&format!("declaring queue {aside}"), declare).await?;
        let put = self.publish_to(TO_QUEUE, aside, std::slice::from_ref(&message)).await;
        if put.is_err() {
            // Somebody may have deleted it.
            connected.declared.lock().await.remove(aside);
        }
        put
    }

    async fn put_off(&self, queue: &str, after: Duration, message: Message) -> Result<(), BackendError> {
        let [.., longest] = RETRY_STEPS;
        let seconds = RETRY_STEPS.into_iter().find(|step| Duration::from_secs((*step).into()) >= after);
        let seconds = seconds.unwrap_or(longest);
        let mut arguments = FieldTable::default();
        arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(i64::from(seconds) * 1000));
        arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString(TO_QUEUE.into()));
        arguments.insert("x-dead-letter-routing-key".into(), AMQPValue::LongString(queue.into()));
        self.put_aside(&retry_queue(queue, seconds), arguments, message).await
    }

    async fn give_up(&self, queue: &str, message: Message) -> Result<(), BackendError> {
        self.put_aside(&dead_queue(queue), FieldTable::default(), message).await
    }

    pub(super) async fn consume(
        &self,
        route: &Route,
        prefetch: u16,
        stop: CancellationToken,
    ) -> Result<Consumer, BackendError> {
        consumer::start(self.clone(), route.queue(), prefetch, stop).await
    }

    pub(super) async fn depth(&self, route: &Route) -> Result<Depth, BackendError> {
        let queue = route.queue();
        let count = || async {
            let connected = self.0.consuming.connected().await?;
            let ready = count(&connected, &queue).await?;
            let mut waiting = 0;
            for seconds in RETRY_STEPS {
                waiting += count_if_there(&connected, &retry_queue(&queue, seconds)).await?;
            }
            let dead = count_if_there(&connected, &dead_queue(&queue)).await?;
            Ok(Depth { ready, waiting, dead })
        };
        self.with_retry(&format!("counting the queue {queue}"), count).await
    }

    pub(super) async fn dead_letters(&self, route: &Route, limit: u32) -> Result<Vec<DeadLetter>, BackendError> {
        let dead = dead_queue(&route.queue());
        let look = || async {
            let channel = self.0.consuming.connected().await?.channel().await?;
            let letters = take(&channel, &dead, limit).await?;
            // Closing the channel puts back what was taken over it, each where it was.
            finish(&channel).await;
            Ok(letters)
        };
        let letters = self.with_retry(&format!("reading the queue {dead}"), look).await?;
        let letter = |taken: lapin::message::Delivery| DeadLetter {
            attempts: publish::attempts_of(&taken.properties),
            reason: publish::reason_of(&taken.properties),
            body: String::from_utf8_lossy(&taken.data).into_owned(),
        };
        Ok(letters.into_iter().map(letter).collect())
    }

    pub(super) async fn requeue_dead(&self, route: &Route, limit: u32) -> Result<u32, BackendError> {
        let (queue, dead) = (route.queue(), dead_queue(&route.queue()));
        let mut requeued = 0;
        while requeued < limit {
            let room = (limit - requeued).min(REQUEUED_AT_ONCE);
            let take = || async {
                let channel = self.0.consuming.connected().await?.channel().await?;
                let taken = take(&channel, &dead, room).await?;
                Ok((channel, taken))
            };
            let (channel, taken) = self.with_retry(&format!("reading the queue {dead}"), take).await?;
            let messages: Vec<Message> = taken.iter().map(|letter| Message::fresh(letter.data.clone())).collect();
            // Unless this succeeds, the end of the channel puts the letters back.
            self.publish_to(TO_QUEUE, &queue, &messages).await?;
            for letter in &taken {
                if let Err(failure) = answer("room to send", letter.acker.ack(BasicAckOptions::default())).await {
                    return Err(self.explain(&format!("removing from the queue {dead}"), &failure));
                }
            }
            finish(&channel).await;
            requeued += u32::try_from(taken.len()).unwrap_or(room);
            if taken.len() < room as usize {
                break;
            }
        }
        Ok(requeued)
    }

    pub(super) async fn close(self) {
        self.0.consuming.close().await;
        self.0.publishing.close().await;
    }
}

fn durable() -> QueueDeclareOptions {
    QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() }
}

fn retry_queue(queue: &str, seconds: u32) -> String {
    format!("{queue}.retry.{seconds}s")
}

fn dead_queue(queue: &str) -> String {
    format!("{queue}.dead")
}

/// Closes a channel. One that can't be closed is broken, and its successor is another.
async fn finish(channel: &Channel) {
    if let Err(error) = answer("farewell", channel.close(200, "done".into())).await {
        tracing::debug!(%error, "a channel was not closed in good order");
    }
}

/// Messages ready in a queue. Asks over a channel of its own, which a queue that isn't there would close.
async fn count(connected: &Connected, queue: &str) -> Result<u64, Failure> {
    let channel = connected.channel().await?;
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let found = answer("count", channel.queue_declare(short(queue)?, options, FieldTable::default())).await?;
    finish(&channel).await;
    Ok(found.message_count().into())
}

async fn count_if_there(connected: &Connected, queue: &str) -> Result<u64, Failure> {
    match count(connected, queue).await {
        Err(failure) if failure.is_not_found() => Ok(0),
        counted => counted,
    }
}

/// Takes a queue's first messages, unsettled; none where there is no such queue.
async fn take(channel: &Channel, queue: &str, limit: u32) -> Result<Vec<lapin::message::Delivery>, Failure> {
    let mut taken = Vec::new();
    while taken.len() < limit as usize {
        match answer("message", channel.basic_get(short(queue)?, BasicGetOptions::default())).await {
            Ok(Some(message)) => taken.push(message.delivery),
            Ok(None) => break,
            Err(failure) if failure.is_not_found() => break,
            Err(failure) => return Err(failure),
        }
    }
    Ok(taken)
}
