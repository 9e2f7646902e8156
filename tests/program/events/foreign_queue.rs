//! A queue of another program's, bound to every event, on either family's queue.

use std::path::PathBuf;

use lapin::options::{BasicGetOptions, BasicPublishOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, SqliteConnection};

use support::program::Sandbox;

/// The queue's name.
const QUEUE: &str = "theirs";
/// The exchange that msght publishes to by default.
const EXCHANGE: &str = "github";

/// Another program's queue.
pub enum ForeignQueue {
    /// In the file of the embedded queue.
    File(PathBuf),
    /// On the broker at this URL.
    Broker(String),
}

impl ForeignQueue {
    /// Creates the queue and binds it to every event. The exchange, or the file, must exist.
    pub async fn bind(sandbox: &Sandbox) -> Self {
        match sandbox.variable("MSGHT_QUEUE__URL") {
            None => {
                let this = Self::File(sandbox.data_dir().join("queue.db"));
                this.execute("INSERT INTO queues (name) VALUES ('theirs') ON CONFLICT DO NOTHING").await;
                this.execute("INSERT INTO bindings (exchange, pattern, queue) VALUES ('github', 'evt.#', 'theirs') ON CONFLICT DO NOTHING").await;
                this
            }
            Some(url) => {
                let (connection, channel) = channel(url).await;
                let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
                channel.queue_declare(QUEUE.into(), durable, FieldTable::default()).await.unwrap();
                let bound = channel.queue_bind(
                    QUEUE.into(),
                    EXCHANGE.into(),
                    "evt.#".into(),
                    QueueBindOptions::default(),
                    FieldTable::default(),
                );
                bound.await.unwrap();
                connection.close(200, "done".into()).await.unwrap();
                Self::Broker(url.to_owned())
            }
        }
    }

    /// Takes all that the queue holds, in order.
    pub async fn take(&self) -> Vec<String> {
        self.take_from(QUEUE).await
    }

    /// Takes all that a queue holds, in order.
    pub async fn take_from(&self, queue: &str) -> Vec<String> {
        let mut taken = Vec::new();
        match self {
            Self::File(path) => {
                let mut file = open(path).await;
                let sql = "DELETE FROM messages WHERE id = (SELECT id FROM messages WHERE queue = ? AND state = 'ready' \
                           ORDER BY id LIMIT 1) RETURNING body";
                while let Some(body) =
                    sqlx::query_scalar::<_, String>(sql).bind(queue).fetch_optional(&mut file).await.unwrap()
                {
                    taken.push(body);
                }
            }
            Self::Broker(url) => {
                let (connection, channel) = channel(url).await;
                let options = BasicGetOptions { no_ack: true };
                while let Ok(Some(message)) = channel.basic_get(queue.into(), options).await {
                    taken.push(String::from_utf8(message.delivery.data).unwrap());
                }
                let _ = connection.close(200, "done".into()).await;
            }
        }
        taken
    }

    /// Puts a message on a queue, past the exchange.
    pub async fn put(&self, queue: &str, body: &str) {
        match self {
            Self::File(path) => {
                let sql = "INSERT INTO messages (queue, routing_key, body, published_at) VALUES (?, 'by hand', ?, 0)";
                sqlx::query(sql).bind(queue).bind(body).execute(&mut open(path).await).await.expect(sql);
            }
            Self::Broker(url) => {
                let (connection, channel) = channel(url).await;
                let options = BasicPublishOptions::default();
                let properties = BasicProperties::default().with_delivery_mode(2);
                let sent = channel.basic_publish("".into(), queue.into(), options, body.as_bytes(), properties).await;
                sent.unwrap().await.unwrap();
                connection.close(200, "done".into()).await.unwrap();
            }
        }
    }

    async fn execute(&self, sql: &'static str) {
        let Self::File(path) = self else { return };
        sqlx::query(sql).execute(&mut open(path).await).await.expect(sql);
    }
}

async fn open(path: &PathBuf) -> SqliteConnection {
    SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(path)).await.expect("the file opens")
}

async fn channel(url: &str) -> (Connection, Channel) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.expect("the broker is there");
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}
