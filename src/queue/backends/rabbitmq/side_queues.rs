//! The queues beside a route's own: one for each retry delay, and one for dead letters.

use std::time::Duration;

use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicGetOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};

use super::connection::{LiveConnection, await_reply, short_string};
use super::error::BrokerError;
use super::publish::{self, Message};
use super::{DEFAULT_EXCHANGE, RabbitQueue, durable, finish};
use crate::queue::delivery::{DeadLetter, Depth};
use crate::queue::route::Route;
use crate::store::BackendError;

/// Retry delays in seconds, with a queue each, in which all messages wait equally long. In one queue with a delay for each
/// message, those behind a long delay would wait as long.
const RETRY_STEPS: [u32; 7] = [1, 5, 15, 60, 300, 900, 3600];
/// Dead letters requeued in one batch, which is held in memory and, if it fails halfway, is in both places.
const REQUEUE_BATCH: u32 = 100;

/// A queue beside a route's own.
pub(super) struct SideQueue {
    name: String,
    arguments: FieldTable,
}

impl SideQueue {
    /// Returns the queue whose messages return to `queue` after `delay`, rounded up to a step.
    pub(super) fn for_retry(queue: &str, delay: Duration) -> Self {
        let [.., longest] = RETRY_STEPS;
        let seconds = RETRY_STEPS.into_iter().find(|step| Duration::from_secs((*step).into()) >= delay);
        let seconds = seconds.unwrap_or(longest);
        let mut arguments = FieldTable::default();
        arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(i64::from(seconds) * 1000));
        arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString(DEFAULT_EXCHANGE.into()));
        arguments.insert("x-dead-letter-routing-key".into(), AMQPValue::LongString(queue.into()));
        Self { name: retry_queue(queue, seconds), arguments }
    }

    /// Returns the queue of the dead letters of `queue`.
    pub(super) fn for_dead(queue: &str) -> Self {
        Self { name: dead_queue(queue), arguments: FieldTable::default() }
    }
}

impl RabbitQueue {
    /// Publishes a message to a side queue, which is declared if it has not been yet.
    pub(super) async fn publish_aside(&self, side_queue: SideQueue, message: Message) -> Result<(), BackendError> {
        let SideQueue { name, arguments } = &side_queue;
        let declare = || async {
            let connected = self.0.publishing.live().await?;
            let mut declared = connected.declared.lock().await;
            if !declared.contains(name) {
                let channel = connected.channel().await?;
                await_reply("declared queue", channel.queue_declare(short_string(name)?, durable(), arguments.clone()))
                    .await?;
                finish(&channel).await;
                declared.insert(name.to_owned());
            }
            drop(declared);
            Ok(connected)
        };
        let connected = self.with_retry(&format!("declaring queue {name}"), declare).await?;
        let published = self.publish_to(DEFAULT_EXCHANGE, name, std::slice::from_ref(&message)).await;
        if published.is_err() {
            // Another client may have deleted it.
            connected.declared.lock().await.remove(name);
        }
        published
    }

    pub(in crate::queue) async fn depth(&self, route: &Route) -> Result<Depth, BackendError> {
        let queue = route.queue();
        let count = || async {
            let connected = self.0.consuming.live().await?;
            let ready = count(&connected, &queue).await?;
            let mut waiting = 0;
            for seconds in RETRY_STEPS {
                waiting += count_if_exists(&connected, &retry_queue(&queue, seconds)).await?;
            }
            let dead = count_if_exists(&connected, &dead_queue(&queue)).await?;
            Ok(Depth { ready, waiting, dead })
        };
        self.with_retry(&format!("counting the queue {queue}"), count).await
    }

    pub(in crate::queue) async fn dead_letters(
        &self,
        route: &Route,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, BackendError> {
        let dead = dead_queue(&route.queue());
        let read = || async {
            let channel = self.0.consuming.live().await?.channel().await?;
            let letters = fetch(&channel, &dead, limit).await?;
            // Closing the channel returns what was fetched over it, each message to its place.
            finish(&channel).await;
            Ok(letters)
        };
        let letters = self.with_retry(&format!("reading the queue {dead}"), read).await?;
        let letter = |fetched: lapin::message::Delivery| DeadLetter {
            attempts: publish::attempts_of(&fetched.properties),
            reason: publish::reason_of(&fetched.properties),
            body: String::from_utf8_lossy(&fetched.data).into_owned(),
        };
        Ok(letters.into_iter().map(letter).collect())
    }

    pub(in crate::queue) async fn requeue_dead(&self, route: &Route, limit: u32) -> Result<u32, BackendError> {
        let (queue, dead) = (route.queue(), dead_queue(&route.queue()));
        let mut requeued = 0;
        while requeued < limit {
            let batch = (limit - requeued).min(REQUEUE_BATCH);
            let fetch_batch = || async {
                let channel = self.0.consuming.live().await?.channel().await?;
                let letters = fetch(&channel, &dead, batch).await?;
                Ok((channel, letters))
            };
            let (channel, letters) = self.with_retry(&format!("reading the queue {dead}"), fetch_batch).await?;
            let messages: Vec<Message> = letters.iter().map(|letter| Message::fresh(letter.data.clone())).collect();
            // Unless this succeeds, the end of the channel returns the letters.
            self.publish_to(DEFAULT_EXCHANGE, &queue, &messages).await?;
            for letter in &letters {
                if let Err(error) = await_reply("room to send", letter.acker.ack(BasicAckOptions::default())).await {
                    return Err(self.explain(&format!("removing from the queue {dead}"), &error));
                }
            }
            finish(&channel).await;
            requeued += u32::try_from(letters.len()).unwrap_or(batch);
            if letters.len() < batch as usize {
                break;
            }
        }
        Ok(requeued)
    }
}

fn retry_queue(queue: &str, seconds: u32) -> String {
    format!("{queue}.retry.{seconds}s")
}

fn dead_queue(queue: &str) -> String {
    format!("{queue}.dead")
}

/// Counts the ready messages of a queue, over a channel of its own: the broker closes it if the queue does not exist.
async fn count(connected: &LiveConnection, queue: &str) -> Result<u64, BrokerError> {
    let channel = connected.channel().await?;
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let found =
        await_reply("count", channel.queue_declare(short_string(queue)?, options, FieldTable::default())).await?;
    finish(&channel).await;
    Ok(found.message_count().into())
}

/// Counts the ready messages of a queue, 0 if it does not exist.
async fn count_if_exists(connected: &LiveConnection, queue: &str) -> Result<u64, BrokerError> {
    match count(connected, queue).await {
        Err(error) if error.is_not_found() => Ok(0),
        counted => counted,
    }
}

/// Fetches the first messages of a queue, unsettled; none if it does not exist.
async fn fetch(channel: &Channel, queue: &str, limit: u32) -> Result<Vec<lapin::message::Delivery>, BrokerError> {
    let mut fetched = Vec::new();
    while fetched.len() < limit as usize {
        match await_reply("message", channel.basic_get(short_string(queue)?, BasicGetOptions::default())).await {
            Ok(Some(message)) => fetched.push(message.delivery),
            Ok(None) => break,
            Err(error) if error.is_not_found() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(fetched)
}
