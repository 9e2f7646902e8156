//! Publishing: messages are persistent and mandatory, and count as published only when the broker has confirmed them.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Confirmation};

use super::connection::{ReconnectingConnection, short_string, within};
use super::error::BrokerError;

/// Messages in flight at a time. They share one round trip, and no more than these are published twice when a broker dies
/// before it confirms.
pub(super) const MAX_IN_FLIGHT: usize = 500;
/// Limit for a confirm, which follows the broker's write to disk or to a quorum: milliseconds, and some seconds under load.
/// After that the broker hangs, or its memory or disk alarm is on.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(30);
const PERSISTENT: u8 = 2;
/// Header with the number of failed attempts.
const ATTEMPTS: &str = "x-msght-attempts";
/// Header with the reason of the last failure.
const REASON: &str = "x-msght-reason";

/// A message to publish.
pub(super) struct Message {
    pub(super) body: Vec<u8>,
    pub(super) attempts: u32,
    pub(super) reason: Option<String>,
}

impl Message {
    /// Creates a message with no failed attempt.
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

/// Returns the number of failed attempts from a message's headers. The broker's own `redelivered` does not tell: a restart
/// sets it on every message.
pub(super) fn attempts_of(properties: &BasicProperties) -> u32 {
    let attempts = match properties.headers().as_ref().and_then(|headers| headers.inner().get(ATTEMPTS)) {
        Some(AMQPValue::LongLongInt(attempts)) => *attempts,
        Some(AMQPValue::LongInt(attempts)) => i64::from(*attempts),
        _ => 0,
    };
    u32::try_from(attempts).unwrap_or(0)
}

/// Returns the reason of the last failure from a message's headers.
pub(super) fn reason_of(properties: &BasicProperties) -> String {
    match properties.headers().as_ref().and_then(|headers| headers.inner().get(REASON)) {
        Some(AMQPValue::LongString(reason)) => reason.to_string(),
        _ => String::new(),
    }
}

/// Makes one attempt to publish the messages at the `pending` indices, and removes the index of each confirmed one.
pub(super) async fn attempt(
    connection: &ReconnectingConnection,
    exchange: &str,
    key: &str,
    messages: &[Message],
    pending: &Mutex<BTreeSet<usize>>,
) -> Result<(), BrokerError> {
    let (exchange, key) = (short_string(exchange)?, short_string(key)?);
    let connected = connection.live().await?;
    let published = async {
        let channel = connected.confirming_channel().await?;
        let indices = pending.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut confirms = Vec::with_capacity(indices.len());
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        for index in indices {
            let message = &messages[index];
            let sending =
                channel.basic_publish(exchange.clone(), key.clone(), options, &message.body, message.properties());
            confirms.push((index, within(CONFIRM_TIMEOUT, "room to send", sending).await?));
        }
        let mut rejected = None;
        for (index, confirm) in confirms {
            match within(CONFIRM_TIMEOUT, "confirm of a message", confirm).await? {
                // An unroutable message is returned and still acknowledged; all of them here have the same key.
                Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => rejected = Some(BrokerError::Unroutable),
                Confirmation::Ack(None) => {
                    pending.lock().unwrap_or_else(PoisonError::into_inner).remove(&index);
                }
                Confirmation::Nack(None) | Confirmation::NotRequested => {
                    rejected.get_or_insert(BrokerError::Nacked);
                }
            }
        }
        connected.release_confirming(channel).await;
        rejected.map_or(Ok(()), Err)
    };
    let published = published.await;
    if let Err(BrokerError::TimedOut { .. }) = published {
        connection.discard(&connected).await;
    }
    published
}
