//! The embedded queue: one SQLite file for any number of processes on one machine.

mod consumer;
mod topic;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::sqlite::SqlitePool;
use sqlx::{AssertSqlSafe, Sqlite, Transaction};
use tokio::sync::{Mutex, MutexGuard, Notify};
use tokio_util::sync::CancellationToken;

pub(super) use consumer::Held;

use super::{Consumer, DeadLetter, Depth, Route};
use crate::store::BackendError;
use crate::store::sqlite::{self, Pragmas};

pub(super) const WHAT: &str = "queue";
/// The layout this build writes, kept in `PRAGMA user_version`.
pub(super) const LAYOUT_VERSION: i64 = 1;
const LAYOUT: &str = include_str!("layout.sql");

#[derive(Clone)]
pub(super) struct SqliteQueue(Arc<Inner>);

struct Inner {
    pool: SqlitePool,
    path: PathBuf,
    exchange: String,
    /// SQLite has one writer; its own way of waiting for that is a sleep. Those of this process queue up here.
    writing: Mutex<()>,
    /// Rung when this process has published: its consumers need not wait for their next look.
    published: Notify,
}

/// A transaction that holds the file's write lock.
struct Writing<'a> {
    tx: Transaction<'static, Sqlite>,
    _turn: MutexGuard<'a, ()>,
}

impl Writing<'_> {
    async fn commit(self) -> Result<(), sqlx::Error> {
        self.tx.commit().await
    }
}

impl SqliteQueue {
    pub(super) async fn open(path: &Path, exchange: &str) -> Result<Self, BackendError> {
        sqlite::create_parent_dir(WHAT, path)?;
        // Processes that start together on a fresh file would race through its making; the lock lets one go first.
        let _lock = sqlite::lock_for_setup(path).await?;
        let pool = sqlite::open(WHAT, path, &Pragmas { page_size: 4096, cache_kib: 4 * 1024, connections: 3 }).await?;
        let queue = Self(Arc::new(Inner {
            pool,
            path: path.to_owned(),
            exchange: exchange.to_owned(),
            writing: Mutex::new(()),
            published: Notify::new(),
        }));
        queue.set_up().await.map_err(BackendError::before_start)?;
        Ok(queue)
    }

    async fn set_up(&self) -> Result<(), BackendError> {
        let tried = sqlite::open_operation(WHAT, &self.0.path);
        let explain = |error: sqlx::Error| BackendError::from_sqlite(tried.clone(), &error);
        let unusable = |problem: String, advice| BackendError {
            operation: tried.clone(),
            cause: problem,
            hint: advice,
            before_start: true,
        };
        let version = self.layout_version().await.map_err(explain)?;
        if version > LAYOUT_VERSION {
            return Err(unusable(
                format!("a newer msght wrote it (layout {version}, this one knows {LAYOUT_VERSION})"),
                "use that version of msght, or point `queue.url` at another file",
            ));
        }
        let tables = "SELECT count(*), coalesce(sum(name = 'messages'), 0) FROM sqlite_master WHERE type = 'table'";
        let (tables, messages): (i64, i64) = sqlx::query_as(tables).fetch_one(&self.0.pool).await.map_err(explain)?;
        if (version > 0 || tables > 0) && messages == 0 {
            return Err(unusable(
                "it is a database of another kind".to_owned(),
                "point `queue.url` at a file of its own",
            ));
        }
        if version == LAYOUT_VERSION {
            return Ok(());
        }
        let mut writing = self.begin().await.map_err(explain)?;
        sqlx::raw_sql(LAYOUT).execute(&mut *writing.tx).await.map_err(explain)?;
        let stamp = format!("PRAGMA user_version = {LAYOUT_VERSION}");
        sqlx::query(AssertSqlSafe(stamp)).execute(&mut *writing.tx).await.map_err(explain)?;
        writing.commit().await.map_err(explain)
    }

    async fn layout_version(&self) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar("PRAGMA user_version").fetch_one(&self.0.pool).await
    }

    /// A transaction whose commit survives a power cut: for what must not be lost.
    async fn begin(&self) -> Result<Writing<'_>, sqlx::Error> {
        self.begin_with("PRAGMA synchronous = FULL; BEGIN IMMEDIATE").await
    }

    /// A transaction whose commit survives the end of any process, but for which no disk is waited for: for taking and
    /// settling messages. After a power cut the last of that may be undone, and the messages are delivered again.
    async fn begin_unsynced(&self) -> Result<Writing<'_>, sqlx::Error> {
        self.begin_with("PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE").await
    }

    /// Takes the write lock at once: a transaction that reads first and locks later can fail half-way.
    async fn begin_with(&self, statement: &'static str) -> Result<Writing<'_>, sqlx::Error> {
        let turn = self.0.writing.lock().await;
        Ok(Writing { tx: self.0.pool.begin_with(statement).await?, _turn: turn })
    }

    fn failed(&self, doing: &str) -> impl Fn(sqlx::Error) -> BackendError + use<> {
        let tried = format!("{doing} {}", self.0.path.display());
        move |error| BackendError::from_sqlite(tried.clone(), &error)
    }

    pub(super) async fn describe(&self) -> Result<String, BackendError> {
        let version: String = sqlx::query_scalar("SELECT sqlite_version()")
            .fetch_one(&self.0.pool)
            .await
            .map_err(self.failed("reading"))?;
        Ok(format!(
            "SQLite {version}, {}, layout {LAYOUT_VERSION}, exchange {}",
            self.0.path.display(),
            self.0.exchange
        ))
    }

    pub(super) async fn declare(&self, routes: &[Route]) -> Result<(), BackendError> {
        let failed = |error| self.failed("declaring queues in")(error).before_start();
        let mut writing = self.begin().await.map_err(failed)?;
        for route in routes {
            sqlx::query("INSERT INTO queues (name) VALUES (?) ON CONFLICT DO NOTHING")
                .bind(route.queue())
                .execute(&mut *writing.tx)
                .await
                .map_err(failed)?;
            sqlx::query("INSERT INTO bindings (exchange, pattern, queue) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")
                .bind(self.0.exchange.clone())
                .bind(route.key())
                .bind(route.queue())
                .execute(&mut *writing.tx)
                .await
                .map_err(failed)?;
        }
        writing.commit().await.map_err(failed)
    }

    pub(super) async fn publish(&self, route: &Route, bodies: Vec<String>) -> Result<(), BackendError> {
        let failed = self.failed("publishing to");
        let key = route.key();
        let mut writing = self.begin().await.map_err(&failed)?;
        // Inside the transaction, so that a queue that is bound at this moment gets all of the messages or none.
        let bindings: Vec<(String, String)> =
            sqlx::query_as("SELECT queue, pattern FROM bindings WHERE exchange = ? ORDER BY queue")
                .bind(self.0.exchange.clone())
                .fetch_all(&mut *writing.tx)
                .await
                .map_err(&failed)?;
        let mut queues: Vec<String> =
            bindings.into_iter().filter(|(_, pattern)| topic::matches(pattern, &key)).map(|(queue, _)| queue).collect();
        queues.dedup();
        if queues.is_empty() {
            return Err(super::delivery::unroutable(&self.0.exchange, &key, &self.0.path.display().to_string()));
        }
        // One statement a queue, whatever the number of messages: the list travels as JSON.
        let bodies = serde_json::Value::from(bodies).to_string();
        let now = now();
        for queue in queues {
            sqlx::query(
                "INSERT INTO messages (queue, routing_key, body, published_at) \
                 SELECT ?1, ?2, value, ?3 FROM json_each(?4) ORDER BY key",
            )
            .bind(queue)
            .bind(key.clone())
            .bind(now)
            .bind(bodies.clone())
            .execute(&mut *writing.tx)
            .await
            .map_err(&failed)?;
        }
        writing.commit().await.map_err(&failed)?;
        self.0.published.notify_waiters();
        Ok(())
    }

    pub(super) async fn consume(
        &self,
        route: &Route,
        prefetch: u16,
        stop: CancellationToken,
    ) -> Result<Consumer, BackendError> {
        let queue = route.queue();
        self.require(&queue, "consuming").await?;
        consumer::start(self.clone(), queue, prefetch, stop).await
    }

    /// Fails when there is no such queue.
    async fn require(&self, queue: &str, doing: &str) -> Result<(), BackendError> {
        let there: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM queues WHERE name = ?)")
            .bind(queue.to_owned())
            .fetch_one(&self.0.pool)
            .await
            .map_err(self.failed("reading"))?;
        if there {
            return Ok(());
        }
        Err(BackendError {
            operation: format!("{doing} the queue {queue} in {}", self.0.path.display()),
            cause: "there is no such queue".to_owned(),
            hint: super::delivery::NO_QUEUE_ADVICE,
            before_start: false,
        })
    }

    pub(super) async fn depth(&self, route: &Route) -> Result<Depth, BackendError> {
        self.require(&route.queue(), "counting").await?;
        // What a consumer held that is gone is there to be taken, though nobody has put it back yet.
        self.recover(None).await.map_err(self.failed("reading"))?;
        // A message whose time has come is ready, though no consumer has noticed yet.
        let counts: (i64, i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM messages WHERE queue = ?1 AND state = 'ready') + \
             (SELECT count(*) FROM messages WHERE queue = ?1 AND available_at <= ?2), \
             (SELECT count(*) FROM messages WHERE queue = ?1 AND available_at > ?2), \
             (SELECT count(*) FROM messages WHERE queue = ?1 AND state = 'dead')",
        )
        .bind(route.queue())
        .bind(now())
        .fetch_one(&self.0.pool)
        .await
        .map_err(self.failed("reading"))?;
        let number = |count: i64| u64::try_from(count).unwrap_or(0);
        Ok(Depth { ready: number(counts.0), waiting: number(counts.1), dead: number(counts.2) })
    }

    pub(super) async fn dead_letters(&self, route: &Route, limit: u32) -> Result<Vec<DeadLetter>, BackendError> {
        let rows: Vec<(String, u32, Option<String>)> = sqlx::query_as(
            "SELECT body, attempts, reason FROM messages WHERE queue = ? AND state = 'dead' ORDER BY id LIMIT ?",
        )
        .bind(route.queue())
        .bind(limit)
        .fetch_all(&self.0.pool)
        .await
        .map_err(self.failed("reading"))?;
        let letter = |(body, attempts, reason): (_, _, Option<_>)| DeadLetter {
            body,
            attempts,
            reason: reason.unwrap_or_default(),
        };
        Ok(rows.into_iter().map(letter).collect())
    }

    pub(super) async fn requeue_dead(&self, route: &Route, limit: u32) -> Result<u32, BackendError> {
        let failed = self.failed("requeuing dead letters in");
        let mut writing = self.begin().await.map_err(&failed)?;
        let done = sqlx::query(
            "UPDATE messages SET state = 'ready', attempts = 0, reason = NULL WHERE id IN \
             (SELECT id FROM messages WHERE queue = ? AND state = 'dead' ORDER BY id LIMIT ?)",
        )
        .bind(route.queue())
        .bind(limit)
        .execute(&mut *writing.tx)
        .await
        .map_err(&failed)?;
        writing.commit().await.map_err(&failed)?;
        self.0.published.notify_waiters();
        Ok(u32::try_from(done.rows_affected()).unwrap_or(limit))
    }

    pub(super) async fn close(self) {
        self.0.pool.close().await;
    }
}

/// Milliseconds since 1970 in UTC.
fn now() -> i64 {
    chrono::Utc::now().timestamp_millis()
}
