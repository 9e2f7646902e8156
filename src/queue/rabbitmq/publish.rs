//! Publishing: persistent, mandatory, and done only when the broker has confirmed.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Confirmation};

use super::failure::Failure;
use super::link::{Link, short, within};

/// Messages under way at a time. The round trip is paid once for all of them; what a broker that dies may have kept
/// without saying so, and gets again, is no more than these.
pub(super) const WINDOW: usize = 500;
/// A confirm comes when the message is on the broker's disk, or in a quorum queue on most of them: milliseconds, and
/// some seconds under load. One that takes longer is not waited for: the broker hangs, or its memory or disk alarm is on.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(30);
const PERSISTENT: u8 = 2;
/// How often a message has failed.
const ATTEMPTS: &str = "x-msght-attempts";
/// Why it failed last.
const REASON: &str = "x-msght-reason";

/// A message to publish.
pub(super) struct Message {
    pub(super) body: Vec<u8>,
    pub(super) attempts: u32,
    pub(super) reason: Option<String>,
}

impl Message {
    /// One that was never tried.
    pub(super) fn fresh(body: Vec<u8>) -> Self {
        Self { body, attempts: 0, reason: None }
    }

    fn properties(&self) -> BasicProperties {
        let properties =
            BasicProperties::default().with_delivery_mode(PERSISTENT).with_content_type("text/plain".into());
        let mut headers = FieldTable::default();
        if self.attempts > 0 {
            headers.insert(ATTEMPTS.into(), AMQPValue::LongLongInt(self.attempts.into()));
        }
        if let Some(reason) = &self.reason {
            headers.insert(REASON.into(), AMQPValue::LongString(reason.as_str().into()));
        }
        if headers.inner().is_empty() { properties } else { properties.with_headers(headers) }
    }
}

/// How often a message has failed, by its headers. The broker's own `redelivered` says nothing of that: a restart sets
/// it on everything.
pub(super) fn attempts_of(properties: &BasicProperties) -> u32 {
    let attempts = match properties.headers().as_ref().and_then(|headers| headers.inner().get(ATTEMPTS)) {
        Some(AMQPValue::LongLongInt(attempts)) => *attempts,
        Some(AMQPValue::LongInt(attempts)) => i64::from(*attempts),
        _ => 0,
    };
    u32::try_from(attempts).unwrap_or(0)
}

/// Why a message failed last, by its headers.
pub(super) fn reason_of(properties: &BasicProperties) -> String {
    match properties.headers().as_ref().and_then(|headers| headers.inner().get(REASON)) {
        Some(AMQPValue::LongString(reason)) => reason.to_string(),
        _ => String::new(),
    }
}

/// One attempt to publish what is `pending`: indices of messages, from which each confirmed one is removed.
pub(super) async fn attempt(
    link: &Link,
    exchange: &str,
    key: &str,
    messages: &[Message],
    pending: &Mutex<BTreeSet<usize>>,
) -> Result<(), Failure> {
    let (exchange, key) = (short(exchange)?, short(key)?);
    let connected = link.connected().await?;
    let published = async {
        let channel = connected.confirming_channel().await?;
        let left = pending.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut confirms = Vec::with_capacity(left.len());
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        for index in left {
            let message = &messages[index];
            let sending =
                channel.basic_publish(exchange.clone(), key.clone(), options, &message.body, message.properties());
            confirms.push((index, within(CONFIRM_TIMEOUT, "room to send", sending).await?));
        }
        let mut refused = None;
        for (index, confirm) in confirms {
            match within(CONFIRM_TIMEOUT, "confirm of a message", confirm).await? {
                // A message that comes back as unroutable is acknowledged all the same, and all here go the same way.
                Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => refused = Some(Failure::Unroutable),
                Confirmation::Ack(None) => {
                    pending.lock().unwrap_or_else(PoisonError::into_inner).remove(&index);
                }
                Confirmation::Nack(None) | Confirmation::NotRequested => {
                    refused.get_or_insert(Failure::Nacked);
                }
            }
        }
        connected.confirming_done(channel).await;
        refused.map_or(Ok(()), Err)
    };
    let published = published.await;
    if let Err(Failure::Silent { .. }) = published {
        link.give_up(&connected).await;
    }
    published
}
