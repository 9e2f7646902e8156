//! What a broker has, without making anything.

use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::FieldTable;

use super::failure::Failure;
use super::link::{Connected, answer, short};
use super::{RabbitQueue, greeting};
use crate::queue::Route;
use crate::store::BackendError;
use crate::store::inspect::BackendStatus;

impl RabbitQueue {
    /// Says which of the exchange and the routes' queues are there, and makes sure that those are as they should be.
    pub(in crate::queue) async fn look(&self, routes: &[Route]) -> Result<BackendStatus, BackendError> {
        let looking = || async {
            let connected = self.0.consuming.connected().await?;
            let mut parts = vec![exchange(&connected, &self.0.exchange).await?];
            for route in routes {
                parts.push(queue(&connected, &route.queue()).await?);
            }
            Ok(parts.join("; "))
        };
        let looked = self.with_retry(&format!("looking at exchange {} and its queues", self.0.exchange), looking).await;
        let state = looked.map_err(BackendError::before_start)?;
        let product = greeting::product(&self.0.uri).await.unwrap_or_else(|| "AMQP broker".to_owned());
        Ok(BackendStatus { product, place: self.0.shown.clone(), state })
    }
}

/// Declaring what is there makes nothing, and shows whether it has the properties declared.
async fn exchange(connected: &Connected, name: &str) -> Result<String, Failure> {
    let declare = async |passive| {
        let channel = connected.channel().await?;
        let options = ExchangeDeclareOptions { durable: true, passive, ..ExchangeDeclareOptions::default() };
        let declaring = channel.exchange_declare(short(name)?, ExchangeKind::Topic, options, FieldTable::default());
        let declared = answer("declared exchange", declaring).await;
        super::finish(&channel).await;
        declared
    };
    match declare(true).await {
        Err(failure) if failure.is_not_found() => Ok(format!("exchange {name}: the first command makes it")),
        Err(failure) => Err(failure),
        Ok(()) => declare(false).await.map(|()| format!("exchange {name}: there")),
    }
}

async fn queue(connected: &Connected, name: &str) -> Result<String, Failure> {
    let declare = async |passive| {
        let channel = connected.channel().await?;
        let options = QueueDeclareOptions { durable: true, passive, ..QueueDeclareOptions::default() };
        let declared =
            answer("declared queue", channel.queue_declare(short(name)?, options, FieldTable::default())).await;
        super::finish(&channel).await;
        declared
    };
    match declare(true).await {
        Err(failure) if failure.is_not_found() => Ok(format!("queue {name}: the first command makes it")),
        Err(failure) => Err(failure),
        Ok(_) => declare(false).await.map(|queue| format!("queue {name}: {} messages", queue.message_count())),
    }
}
