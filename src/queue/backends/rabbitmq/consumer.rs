//! A consumer on a broker: it subscribes, resubscribes whenever the connection breaks, and settles what it received.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions};
use lapin::types::FieldTable;
use lapin::{Channel, message};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::RabbitQueue;
use super::connection::{await_reply, short_string};
use super::error::BrokerError;
use super::publish::{self, Message};
use super::side_queues::SideQueue;
use crate::queue::delivery::{Acker, Consumer, Delivery, Disposition, SettleOutcome};
use crate::queue::route::Route;
use crate::store::BackendError;

/// Delay before a new subscription: a broker that ends each one at once is not asked more often than this.
const RESUBSCRIBE_DELAY: Duration = Duration::from_millis(500);

/// The hold on a message that the broker has delivered; on drop the message returns to its queue.
struct AckHandle {
    source: Arc<Source>,
    data: Vec<u8>,
    acker: lapin::Acker,
    settled: bool,
}

/// The origin of one subscription's messages.
struct Source {
    queue: RabbitQueue,
    name: String,
    runtime: Handle,
    /// Closed with the last hold on a message that came over it, which returns everything unsettled.
    channel: Channel,
}

struct Subscription {
    source: Arc<Source>,
    messages: lapin::Consumer,
}

impl RabbitQueue {
    pub(in crate::queue) async fn consume(
        &self,
        route: &Route,
        prefetch: u16,
        stop: CancellationToken,
    ) -> Result<Consumer, BackendError> {
        let (queue, name) = (self.clone(), route.queue());
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
                    sleep(RESUBSCRIBE_DELAY).await;
                    subscribe(&queue, &name, prefetch).await
                };
                subscription = tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    () = sender.closed() => return,
                    renewed = renewed => match renewed {
                        Ok(subscription) => subscription,
                        Err(error) => {
                            // If the consumer was dropped, nobody is interested.
                            let _ = sender.send(Err(error)).await;
                            return;
                        }
                    },
                };
            }
        });
        Ok(consumer)
    }
}

async fn subscribe(queue: &RabbitQueue, name: &str, prefetch: u16) -> Result<Subscription, BackendError> {
    let attempt = || async {
        let connected = queue.0.consuming.live().await?;
        let subscribed = async {
            let channel = connected.consuming_channel(prefetch).await?;
            let consuming = channel.basic_consume(
                short_string(name)?,
                // The broker chooses the consumer's tag.
                short_string("")?,
                BasicConsumeOptions::default(),
                FieldTable::default(),
            );
            let messages = await_reply("subscription", consuming).await?;
            let source = Source { queue: queue.clone(), name: name.to_owned(), runtime: Handle::current(), channel };
            Ok(Subscription { source: Arc::new(source), messages })
        };
        let subscribed = subscribed.await;
        if let Err(BrokerError::TimedOut { .. }) = subscribed {
            queue.0.consuming.discard(&connected).await;
        }
        subscribed
    };
    queue.with_retry(&format!("consuming the queue {name}"), attempt).await
}

impl Subscription {
    /// Forwards messages until the subscription ends. Its renewal shows why it ended: a broken connection is reopened, a
    /// deleted queue is not found.
    async fn forward(&mut self, sender: &mpsc::Sender<Result<Delivery, BackendError>>) {
        loop {
            // The slot first: what has left the stream must not be lost when this future is dropped.
            let Ok(slot) = sender.reserve().await else { return };
            match self.messages.next().await {
                Some(Ok(message)) => slot.send(Ok(self.source.delivery(message))),
                Some(Err(error)) => {
                    tracing::warn!(queue = self.source.name, error = %BrokerError::from(error), "a subscription broke");
                    return;
                }
                None => {
                    tracing::warn!(queue = self.source.name, "the broker ended a subscription");
                    return;
                }
            }
        }
    }

    /// Ends the subscription. What was received but not handed out returns at once, not only when the rest is settled.
    async fn cancel(mut self) {
        let canceling = self.source.channel.basic_cancel(self.messages.tag(), BasicCancelOptions::default());
        if let Err(error) = await_reply("end of the subscription", canceling).await {
            tracing::debug!(%error, "a subscription was not ended cleanly");
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
        let handle = AckHandle { source: Arc::clone(self), data: message.data, acker: message.acker, settled: false };
        Delivery::new(body, attempts, handle)
    }
}

impl Acker for AckHandle {
    fn is_expired(&self) -> bool {
        !self.acker.usable()
    }

    fn settle(
        mut self: Box<Self>,
        disposition: Disposition,
    ) -> BoxFuture<'static, Result<SettleOutcome, BackendError>> {
        Box::pin(async move {
            let name = &self.source.name;
            let copy = match disposition {
                Disposition::Ack => None,
                Disposition::Retry { delay, reason, attempts } => {
                    Some((SideQueue::for_retry(name, delay), reason, attempts))
                }
                Disposition::DeadLetter { reason, attempts } => Some((SideQueue::for_dead(name), reason, attempts)),
            };
            if let Some((side_queue, reason, attempts)) = copy {
                if self.is_expired() {
                    return Ok(SettleOutcome::Expired);
                }
                let message = Message { body: std::mem::take(&mut self.data), attempts, reason: Some(reason) };
                self.source.queue.publish_aside(side_queue, message).await?;
            }
            // A lost acknowledgement is no error: the message is delivered again, as after any broken connection.
            if let Err(error) = await_reply("room to send", self.acker.ack(BasicAckOptions::default())).await {
                tracing::debug!(queue = self.source.name, %error, "an acknowledgement was lost with its connection");
            }
            self.settled = true;
            Ok(SettleOutcome::Applied)
        })
    }
}

impl Drop for AckHandle {
    fn drop(&mut self) {
        if self.settled || self.is_expired() {
            return;
        }
        let (acker, source) = (self.acker.clone(), Arc::clone(&self.source));
        self.source.runtime.spawn(async move {
            let options = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
            if let Err(error) = await_reply("room to send", acker.nack(options)).await {
                tracing::debug!(%error, "a message returns with the end of its connection");
            }
            // Not before: dropping the last reference closes the channel.
            drop(source);
        });
    }
}
