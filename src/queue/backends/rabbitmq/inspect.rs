//! Read-only inspection of a broker: what exists, and what the first command would create.

use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};

use super::connection::{LiveConnection, await_reply, short_string};
use super::error::BrokerError;
use super::{RabbitQueue, handshake};
use crate::queue::route::Route;
use crate::store::BackendError;
use crate::store::inspect::BackendStatus;

/// The remark on a queue that the virtual host's default type has made a quorum queue.
const QUORUM_REMARK: &str = ", a quorum queue by the virtual host's default: it drops a message that was returned 20 times \
                             (rabbitmqctl set_policy -p VHOST msght '^(.*Events|LogMessages|msght\\..*)$' \
                             '{\"delivery-limit\":-1}' --apply-to queues)";

impl RabbitQueue {
    /// Reports which of the exchange and the routes' queues exist, and checks the properties of those that do.
    pub(in crate::queue) async fn inspect(&self, routes: &[Route]) -> Result<BackendStatus, BackendError> {
        let inspection = || async {
            let connected = self.0.consuming.live().await?;
            let mut parts = vec![exchange(&connected, &self.0.exchange).await?];
            for route in routes {
                parts.push(queue(&connected, &route.queue()).await?);
            }
            Ok(parts.join("; "))
        };
        let inspected =
            self.with_retry(&format!("inspecting exchange {} and its queues", self.0.exchange), inspection).await;
        let state = inspected.map_err(BackendError::before_start)?;
        let product = handshake::product(&self.0.uri).await.unwrap_or_else(|| "AMQP broker".to_owned());
        Ok(BackendStatus { product, place: self.0.redacted_url.clone(), state })
    }
}

/// Inspects an exchange. Declaring one that exists creates nothing and shows whether it has the declared properties.
async fn exchange(connected: &LiveConnection, name: &str) -> Result<String, BrokerError> {
    let declare = async |passive| {
        let channel = connected.channel().await?;
        let options = ExchangeDeclareOptions { durable: true, passive, ..ExchangeDeclareOptions::default() };
        let declaring =
            channel.exchange_declare(short_string(name)?, ExchangeKind::Topic, options, FieldTable::default());
        let declared = await_reply("declared exchange", declaring).await;
        super::finish(&channel).await;
        declared
    };
    match declare(true).await {
        Err(failure) if failure.is_not_found() => Ok(format!("exchange {name}: the first command creates it")),
        Err(failure) => Err(failure),
        Ok(()) => declare(false).await.map(|()| format!("exchange {name}: exists")),
    }
}

/// Inspects a queue, and counts its messages.
async fn queue(connected: &LiveConnection, name: &str) -> Result<String, BrokerError> {
    let declare = async |passive| {
        let channel = connected.channel().await?;
        let options = QueueDeclareOptions { durable: true, passive, ..QueueDeclareOptions::default() };
        let declared =
            await_reply("declared queue", channel.queue_declare(short_string(name)?, options, FieldTable::default()))
                .await;
        super::finish(&channel).await;
        declared
    };
    match declare(true).await {
        Err(failure) if failure.is_not_found() => Ok(format!("queue {name}: the first command creates it")),
        Err(failure) => Err(failure),
        Ok(_) => {
            let count = declare(false).await?.message_count();
            let remark = if is_quorum(connected, name).await? { QUORUM_REMARK } else { "" };
            Ok(format!("queue {name}: {count} messages{remark}"))
        }
    }
}

/// Returns whether a queue that msght declares without arguments is a quorum queue, by its virtual host's default type.
/// Declaring it as a classic one changes nothing, and shows the difference.
async fn is_quorum(connected: &LiveConnection, name: &str) -> Result<bool, BrokerError> {
    let channel = connected.channel().await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("classic".into()));
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let declared = await_reply("declared queue", channel.queue_declare(short_string(name)?, options, arguments)).await;
    super::finish(&channel).await;
    // Any other answer says nothing of its type.
    Ok(declared.is_err_and(|failure| names_quorum_as_current(&failure.to_string())))
}

/// Reads RabbitMQ's answer to a declaration with another queue type.
fn names_quorum_as_current(text: &str) -> bool {
    let current = text.split_once("'x-queue-type'").and_then(|(_, rest)| rest.split_once("but current is"));
    current.is_some_and(|(_, current)| current.contains("'quorum'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quorum_queue_is_recognized_by_the_brokers_answer() {
        let answer = |current: &str| {
            format!(
                "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'PushEvents' in vhost '/': received the \
                 value 'classic' of type 'longstr' but current is {current}"
            )
        };
        assert!(names_quorum_as_current(&answer("the value 'quorum' of type 'longstr'")));
        assert!(!names_quorum_as_current(&answer("none")));
        assert!(!names_quorum_as_current("ACCESS_REFUSED - access to queue 'quorum' refused"));
    }
}
