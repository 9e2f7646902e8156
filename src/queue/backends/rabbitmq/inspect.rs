//! Read-only inspection of a broker: what exists, and what the first command would create.

use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::FieldTable;

use super::connection::{LiveConnection, await_reply, short_string};
use super::error::BrokerError;
use super::{RabbitQueue, handshake};
use crate::queue::route::Route;
use crate::store::BackendError;
use crate::store::inspect::BackendStatus;

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
        Ok(_) => declare(false).await.map(|queue| format!("queue {name}: {} messages", queue.message_count())),
    }
}
