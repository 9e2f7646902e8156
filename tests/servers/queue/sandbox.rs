//! A queue store of a test's own, and what other programs would do with it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use lapin::options::{BasicGetOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties};
use msght::backend_url::{BackendKind, BackendUrl};
use msght::queue::{Consumer, Delivery, Queue, Route};
use msght::retry::RetryPolicy;
use msght::store::BackendError;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};
use tempfile::TempDir;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use support::servers::rabbitmq::RabbitServer;

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

pub struct Sandbox {
    url: String,
    directory: TempDir,
}

impl Sandbox {
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

    /// How many rows a statement gives.
    pub async fn rows(&self, sql: &str) -> usize {
        let mut file = self.file().await;
        sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_all(&mut file).await.expect(sql).len()
    }

    async fn file(&self) -> SqliteConnection {
        let path = self.url.strip_prefix("sqlite:").expect("a file");
        std::fs::create_dir_all(Path::new(path).parent().expect("a directory")).unwrap();
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
        SqliteConnection::connect_with(&options).await.expect("the file opens")
    }

    /// Another program makes the queue `theirs` and binds it to `evt.#` and more, as the manual says.
    pub async fn bind_theirs(&self, also: &[&str]) {
        if self.url.starts_with("sqlite:") {
            self.execute(&manual(BIND)).await;
            for pattern in also {
                self.execute(&manual(BIND).replace("evt.#", pattern)).await;
            }
            return;
        }
        let (queue, patterns) = ("theirs", std::iter::once(&"evt.#").chain(also));
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

    /// Another program takes all that the queue `theirs` holds, as the manual says.
    pub async fn take_theirs(&self) -> Vec<String> {
        let mut taken = Vec::new();
        if self.url.starts_with("sqlite:") {
            let mut file = self.file().await;
            let sql = manual(TAKE);
            while let Some(body) =
                sqlx::query_scalar::<_, String>(AssertSqlSafe(sql.clone())).fetch_optional(&mut file).await.unwrap()
            {
                taken.push(body);
            }
            return taken;
        }
        let (_connection, channel) = channel(&self.url).await;
        while let Some(message) = channel.basic_get("theirs".into(), BasicGetOptions { no_ack: true }).await.unwrap() {
            assert_eq!(message.delivery.properties.delivery_mode(), &Some(2), "a persistent message");
            taken.push(String::from_utf8(message.delivery.data).unwrap());
        }
        taken
    }
}

/// Blocks of SQL in the manual, by their place.
const BIND: usize = 0;
const TAKE: usize = 1;
pub const GIVE_REPOSITORY: usize = 2;
pub const SEE_DEAD: usize = 3;
pub const DELETE_QUEUE: usize = 4;

/// A block of SQL as the manual has it.
pub fn manual(block: usize) -> String {
    let manual = include_str!("../../../docs/queue.md");
    let after = manual.split("```sql\n").nth(block + 1).expect("the manual has that block");
    after.split("```").next().expect("the block ends").to_owned()
}

/// A channel of another program.
pub async fn channel(url: &str) -> (Connection, Channel) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.expect("the broker is there");
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

pub async fn try_open(url: &str) -> Result<Queue, BackendError> {
    let url = BackendUrl::parse(url, &[BackendKind::Sqlite, BackendKind::Amqp]).expect("a queue's URL");
    let retry_policy = RetryPolicy::new(Duration::from_secs(60), |line| eprintln!("{line}"));
    Queue::open(&url, EXCHANGE, &retry_policy).await
}

pub async fn open(url: &str) -> Queue {
    try_open(url).await.expect("the queue opens")
}

pub fn push() -> Route {
    Route::for_event_type("PushEvent").unwrap()
}

pub fn bodies(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|number| format!("message {number}")).collect()
}

pub async fn consumer(queue: &Queue, route: &Route, prefetch: u16) -> Consumer {
    queue.consume(route, prefetch, CancellationToken::new()).await.expect("the queue can be consumed")
}

/// The next message, which has to come.
pub async fn next(consumer: &mut Consumer) -> Delivery {
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
        let delivery = next(consumer).await;
        assert!(seen.insert(delivery.body().to_owned()), "{} came twice", delivery.body());
        delivery.ack().await.unwrap();
    }
    seen
}
