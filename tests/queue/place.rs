//! A queue store of a test's own, and what other programs would do with it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use lapin::options::{BasicGetOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties};
use msght::patience::Patience;
use msght::queue::{Consumer, Delivery, Queue, Route};
use msght::store::StoreError;
use msght::store_url::{Backend, StoreUrl};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};
use tempfile::TempDir;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::servers::rabbitmq::RabbitServer;

pub const EXCHANGE: &str = "github";
/// For what has to come.
const SOON: Duration = Duration::from_secs(60);
/// For what must not come: several looks at an SQLite queue, many times what a broker needs.
const A_WHILE: Duration = Duration::from_millis(700);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Rabbitmq,
}

pub struct Place {
    url: String,
    directory: TempDir,
}

impl Place {
    /// A file, or a virtual host of the shared broker.
    pub fn new(kind: Kind) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let url = match kind {
            Kind::Sqlite => format!("sqlite:{}", directory.path().join("data/queue.db").display()),
            Kind::Rabbitmq => RabbitServer::shared().vhost_url(),
        };
        Self { url, directory }
    }

    pub fn url(&self) -> String {
        self.url.clone()
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub async fn open(&self) -> Queue {
        open(&self.url).await
    }

    /// A statement on the file, as another program would run it.
    pub async fn execute(&self, sql: &str) {
        let mut file = self.file().await;
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut file).await.expect(sql);
    }

    async fn file(&self) -> SqliteConnection {
        let path = self.url.strip_prefix("sqlite:").expect("a file");
        std::fs::create_dir_all(Path::new(path).parent().expect("a directory")).unwrap();
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
        SqliteConnection::connect_with(&options).await.expect("the file opens")
    }

    /// Another program makes its own queue and binds it, as the manual says.
    pub async fn bind_foreign(&self, queue: &str, patterns: &[&str]) {
        if self.url.starts_with("sqlite:") {
            self.execute(&format!("INSERT INTO queues (name) VALUES ('{queue}') ON CONFLICT DO NOTHING")).await;
            for pattern in patterns {
                self.execute(&format!(
                    "INSERT INTO bindings (exchange, pattern, queue) VALUES ('{EXCHANGE}', '{pattern}', '{queue}') \
                     ON CONFLICT DO NOTHING"
                ))
                .await;
            }
            return;
        }
        let (_connection, channel) = channel(&self.url).await;
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.into(), durable, FieldTable::default()).await.unwrap();
        for pattern in patterns {
            let options = QueueBindOptions::default();
            let bound =
                channel.queue_bind(queue.into(), EXCHANGE.into(), (*pattern).into(), options, FieldTable::default());
            bound.await.unwrap();
        }
    }

    /// Another program takes all that its queue holds.
    pub async fn take_foreign(&self, queue: &str) -> Vec<String> {
        let mut taken = Vec::new();
        if self.url.starts_with("sqlite:") {
            let mut file = self.file().await;
            let sql = "DELETE FROM messages WHERE id = (SELECT id FROM messages WHERE queue = ? AND state = 'ready' \
                       ORDER BY id LIMIT 1) RETURNING body";
            while let Some(body) =
                sqlx::query_scalar::<_, String>(sql).bind(queue.to_owned()).fetch_optional(&mut file).await.unwrap()
            {
                taken.push(body);
            }
            return taken;
        }
        let (_connection, channel) = channel(&self.url).await;
        while let Some(message) = channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await.unwrap() {
            assert_eq!(message.delivery.properties.delivery_mode(), &Some(2), "a persistent message");
            taken.push(String::from_utf8(message.delivery.data).unwrap());
        }
        taken
    }
}

/// A channel of another program.
pub async fn channel(url: &str) -> (Connection, Channel) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.expect("the broker is there");
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

pub async fn try_open(url: &str) -> Result<Queue, StoreError> {
    let url = StoreUrl::parse(url, &[Backend::Sqlite, Backend::Amqp]).expect("a queue's URL");
    let patience = Patience::new(Duration::from_secs(60), |line| eprintln!("{line}"));
    Queue::open(&url, EXCHANGE, &patience).await
}

pub async fn open(url: &str) -> Queue {
    try_open(url).await.expect("the queue opens")
}

pub fn push() -> Route {
    Route::event("PushEvent").unwrap()
}

pub fn bodies(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|number| format!("message {number}")).collect()
}

pub async fn consumer(queue: &Queue, route: &Route, prefetch: u16) -> Consumer {
    queue.consume(route, prefetch, CancellationToken::new()).await.expect("the queue can be consumed")
}

/// The next message, which has to come.
pub async fn body(consumer: &mut Consumer) -> Delivery {
    let next = timeout(SOON, consumer.next()).await.expect("a message comes");
    next.expect("the consumer works").expect("nobody stopped it")
}

/// Nothing comes for a while.
pub async fn no_more(consumer: &mut Consumer) {
    if let Ok(next) = timeout(A_WHILE, consumer.next()).await {
        panic!("unexpected: {:?}", next.map(|delivery| delivery.map(|delivery| delivery.body().to_owned())));
    }
}

/// Acknowledges so many messages, which are all different.
pub async fn settle_all(consumer: &mut Consumer, count: usize) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for _ in 0..count {
        let delivery = body(consumer).await;
        assert!(seen.insert(delivery.body().to_owned()), "{} came twice", delivery.body());
        delivery.ack().await.unwrap();
    }
    seen
}
