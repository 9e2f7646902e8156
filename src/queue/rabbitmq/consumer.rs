//! A consumer on a broker: it subscribes, again whenever the connection breaks, and settles what it got.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions};
use lapin::types::FieldTable;
use lapin::{Acker, Channel, message};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::RabbitQueue;
use super::failure::Failure;
use super::link::{answer, short};
use super::publish::{self, Message};
use crate::queue::delivery::{Hold, Settlement};
use crate::queue::{Consumer, Delivery};
use crate::store::BackendError;

/// A broker that ends each subscription as soon as it is made is not asked more often than this.
const RESUBSCRIBE_PAUSE: Duration = Duration::from_millis(500);

/// A message that the broker waits to hear about; it goes back to its queue on drop.
pub(in crate::queue) struct Held {
    source: Arc<Source>,
    data: Vec<u8>,
    acker: Acker,
    settled: bool,
}

/// Where messages of one subscription come from.
struct Source {
    queue: RabbitQueue,
    name: String,
    runtime: Handle,
    /// Closed, and with it everything unsettled put back, when the last message that came over it is settled.
    channel: Channel,
}

struct Subscription {
    source: Arc<Source>,
    messages: lapin::Consumer,
}

pub(super) async fn start(
    queue: RabbitQueue,
    name: String,
    prefetch: u16,
    stop: CancellationToken,
) -> Result<Consumer, BackendError> {
    let first = subscribe(&queue, &name, prefetch).await?;
    let (sender, deliveries) = mpsc::channel(prefetch.into());
    let consumer = Consumer::new(deliveries, stop.clone(), name.clone());
    tokio::spawn(async move {
        let mut subscription = first;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return subscription.cancel().await,
                () = sender.closed() => return subscription.cancel().await,
                () = subscription.forward(&sender) => {}
            }
            drop(subscription);
            let renewed = async {
                sleep(RESUBSCRIBE_PAUSE).await;
                subscribe(&queue, &name, prefetch).await
            };
            subscription = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = sender.closed() => return,
                renewed = renewed => match renewed {
                    Ok(subscription) => subscription,
                    Err(error) => {
                        // Whoever has dropped the consumer doesn't want to know.
                        let _ = sender.send(Err(error)).await;
                        return;
                    }
                },
            };
        }
    });
    Ok(consumer)
}

async fn subscribe(queue: &RabbitQueue, name: &str, prefetch: u16) -> Result<Subscription, BackendError> {
    let attempt = || async {
        let connected = queue.0.consuming.connected().await?;
        let subscribed = async {
            let channel = connected.consuming_channel(prefetch).await?;
            let consuming = channel.basic_consume(
                short(name)?,
                // The broker gives it a name.
                short("")?,
                BasicConsumeOptions::default(),
                FieldTable::default(),
            );
            let messages = answer("subscription", consuming).await?;
            let source = Source { queue: queue.clone(), name: name.to_owned(), runtime: Handle::current(), channel };
            Ok(Subscription { source: Arc::new(source), messages })
        };
        let subscribed = subscribed.await;
        if let Err(Failure::Silent { .. }) = subscribed {
            queue.0.consuming.give_up(&connected).await;
        }
        subscribed
    };
    queue.with_retry(&format!("consuming the queue {name}"), attempt).await
}

impl Subscription {
    /// Hands on what comes, until the subscription ends. Why it ended shows when it is renewed: a connection that broke
    /// is made again, a queue that was deleted is not found.
    async fn forward(&mut self, sender: &mpsc::Sender<Result<Delivery, BackendError>>) {
        loop {
            // A place first: what has left the stream must not be lost when this future is dropped.
            let Ok(place) = sender.reserve().await else { return };
            match self.messages.next().await {
                Some(Ok(message)) => place.send(Ok(self.source.delivery(message))),
                Some(Err(error)) => {
                    tracing::warn!(queue = self.source.name, error = %Failure::from(error), "a subscription broke");
                    return;
                }
                None => {
                    tracing::warn!(queue = self.source.name, "the broker ended a subscription");
                    return;
                }
            }
        }
    }

    /// Asks for no more. What came but was not handed out goes back at once, not only when the rest is settled.
    async fn cancel(mut self) {
        let cancelling = self.source.channel.basic_cancel(self.messages.tag(), BasicCancelOptions::default());
        if let Err(error) = answer("end of the subscription", cancelling).await {
            tracing::debug!(%error, "a subscription was not ended in good order");
            return;
        }
        while let Some(Ok(message)) = self.messages.next().await {
            drop(self.source.delivery(message));
        }
    }
}

impl Source {
    fn delivery(self: &Arc<Self>, message: message::Delivery) -> Delivery {
        let body = String::from_utf8_lossy(&message.data).into_owned();
        let attempts = publish::attempts_of(&message.properties);
        let held = Held { source: Arc::clone(self), data: message.data, acker: message.acker, settled: false };
        Delivery::new(body, attempts, Hold::Rabbitmq(held))
    }
}

impl Held {
    /// Whether the channel that the message came over is gone: the broker has put it back then, and delivers it again.
    pub(in crate::queue) fn is_stale(&self) -> bool {
        !self.acker.usable()
    }

    pub(in crate::queue) async fn ack(mut self) -> Result<(), BackendError> {
        // One that doesn't get through is no error: the message is delivered again, as after any broken connection.
        if let Err(error) = answer("room to send", self.acker.ack(BasicAckOptions::default())).await {
            tracing::debug!(queue = self.source.name, %error, "an acknowledgement was lost with its connection");
        }
        self.settled = true;
        Ok(())
    }

    pub(in crate::queue) async fn retry_later(
        mut self,
        after: Duration,
        reason: &str,
        attempts: u32,
    ) -> Result<Settlement, BackendError> {
        if self.is_stale() {
            return Ok(Settlement::Lost);
        }
        let body = std::mem::take(&mut self.data);
        let message = Message { body, attempts, reason: Some(reason.to_owned()) };
        self.source.queue.put_off(&self.source.name, after, message).await?;
        self.ack().await?;
        Ok(Settlement::Settled)
    }

    pub(in crate::queue) async fn dead_letter(
        mut self,
        reason: &str,
        attempts: u32,
    ) -> Result<Settlement, BackendError> {
        if self.is_stale() {
            return Ok(Settlement::Lost);
        }
        let body = std::mem::take(&mut self.data);
        let message = Message { body, attempts, reason: Some(reason.to_owned()) };
        self.source.queue.give_up(&self.source.name, message).await?;
        self.ack().await?;
        Ok(Settlement::Settled)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.settled || self.is_stale() {
            return;
        }
        let (acker, source) = (self.acker.clone(), Arc::clone(&self.source));
        self.source.runtime.spawn(async move {
            let options = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
            if let Err(error) = answer("room to send", acker.nack(options)).await {
                tracing::debug!(%error, "a message goes back with its connection");
            }
            // Only now: the end of the channel's last holder closes it.
            drop(source);
        });
    }
}
