//! The embedded queue: one SQLite file for any number of processes on one machine.

mod consumer;
mod topic;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqlitePool};
use sqlx::{AssertSqlSafe, Sqlite, Transaction};
use tokio::sync::{Mutex, MutexGuard, Notify};

use crate::queue::delivery::{DeadLetter, Depth};
use crate::queue::error::{NO_QUEUE_ADVICE, unroutable};
use crate::queue::route::Route;
use crate::store::BackendError;
use crate::store::sqlite::{self, Pragmas};

/// The kind of the file in texts for users.
pub(in crate::queue) const KIND: &str = "queue";
/// The schema version that this build writes, kept in `PRAGMA user_version`.
pub(in crate::queue) const SCHEMA_VERSION: i64 = 1;
const SCHEMA: &str = include_str!("schema.sql");

/// An open queue file. Clones share it.
#[derive(Clone)]
pub(in crate::queue) struct SqliteQueue(Arc<Inner>);

struct Inner {
    pool: SqlitePool,
    path: PathBuf,
    exchange: String,
    /// SQLite has one writer, and waits for it by sleeping; the writers of this process queue up here instead.
    write_lock: Mutex<()>,
    /// Notified when this process has published, so that its consumers need not wait for their next poll.
    published: Notify,
}

/// A transaction that holds the file's write lock.
struct WriteTransaction<'a> {
    tx: Transaction<'static, Sqlite>,
    _write_lock: MutexGuard<'a, ()>,
}

impl WriteTransaction<'_> {
    async fn commit(self) -> Result<(), sqlx::Error> {
        self.tx.commit().await
    }
}

impl SqliteQueue {
    pub(in crate::queue) async fn open(path: &Path, exchange: &str) -> Result<Self, BackendError> {
        sqlite::create_parent_dir(KIND, path)?;
        // Processes that start together on a fresh file would race to create it; the lock lets one go first.
        let _lock = sqlite::lock_for_setup(path).await?;
        let pool = sqlite::open(KIND, path, &Pragmas { page_size: 4096, cache_kib: 4 * 1024, connections: 3 }).await?;
        let queue = Self(Arc::new(Inner {
            pool,
            path: path.to_owned(),
            exchange: exchange.to_owned(),
            write_lock: Mutex::new(()),
            published: Notify::new(),
        }));
        queue.set_up().await.map_err(BackendError::before_start)?;
        Ok(queue)
    }

    /// Creates the schema in a new file, and rejects a file of another kind or of a newer msght.
    async fn set_up(&self) -> Result<(), BackendError> {
        let tried = sqlite::describe_opening(KIND, &self.0.path);
        let explain = |error: sqlx::Error| BackendError::from_sqlite(tried.clone(), &error);
        let unusable = |problem: String, advice| BackendError {
            operation: tried.clone(),
            cause: problem,
            hint: advice,
            before_start: true,
        };
        let version = self.schema_version().await.map_err(explain)?;
        if version > SCHEMA_VERSION {
            return Err(unusable(
                format!("a newer msght wrote it (layout {version}, this one knows {SCHEMA_VERSION})"),
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
        if version == SCHEMA_VERSION {
            return Ok(());
        }
        let mut write = self.begin().await.map_err(explain)?;
        sqlx::raw_sql(SCHEMA).execute(&mut *write.tx).await.map_err(explain)?;
        let stamp = format!("PRAGMA user_version = {SCHEMA_VERSION}");
        sqlx::query(AssertSqlSafe(stamp)).execute(&mut *write.tx).await.map_err(explain)?;
        write.commit().await.map_err(explain)
    }

    async fn schema_version(&self) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar("PRAGMA user_version").fetch_one(&self.0.pool).await
    }

    /// Begins a transaction whose commit survives a power cut: for what must not be lost.
    async fn begin(&self) -> Result<WriteTransaction<'_>, sqlx::Error> {
        self.begin_with("PRAGMA synchronous = FULL; BEGIN IMMEDIATE").await
    }

    /// Begins a transaction whose commit survives the end of any process but does not wait for the disk: for fetching and
    /// settling messages. A power cut may undo the last ones, and those messages are delivered again.
    async fn begin_unsynced(&self) -> Result<WriteTransaction<'_>, sqlx::Error> {
        self.begin_with("PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE").await
    }

    /// Takes the write lock at once: a transaction that reads first and locks later can fail half-way.
    async fn begin_with(&self, statement: &'static str) -> Result<WriteTransaction<'_>, sqlx::Error> {
        let write_lock = self.0.write_lock.lock().await;
        Ok(WriteTransaction { tx: self.0.pool.begin_with(statement).await?, _write_lock: write_lock })
    }

    /// Runs one statement in an unsynced transaction of its own. Returns the number of rows that it changed.
    async fn execute_unsynced(&self, statement: Query<'_, Sqlite, SqliteArguments>) -> Result<u64, sqlx::Error> {
        let mut write = self.begin_unsynced().await?;
        let changed = statement.execute(&mut *write.tx).await?.rows_affected();
        write.commit().await?;
        Ok(changed)
    }

    /// Returns the conversion of a database error; `doing` is the operation, as in "reading".
    fn failed(&self, doing: &str) -> impl Fn(sqlx::Error) -> BackendError + use<> {
        let tried = format!("{doing} {}", self.0.path.display());
        move |error| BackendError::from_sqlite(tried.clone(), &error)
    }

    pub(in crate::queue) async fn describe(&self) -> Result<String, BackendError> {
        let version: String = sqlx::query_scalar("SELECT sqlite_version()")
            .fetch_one(&self.0.pool)
            .await
            .map_err(self.failed("reading"))?;
        Ok(format!(
            "SQLite {version}, {}, layout {SCHEMA_VERSION}, exchange {}",
            self.0.path.display(),
            self.0.exchange
        ))
    }

    pub(in crate::queue) async fn declare(&self, routes: &[Route]) -> Result<(), BackendError> {
        let failed = |error| self.failed("declaring queues in")(error).before_start();
        let mut write = self.begin().await.map_err(failed)?;
        for route in routes {
            sqlx::query("INSERT INTO queues (name) VALUES (?) ON CONFLICT DO NOTHING")
                .bind(route.queue())
                .execute(&mut *write.tx)
                .await
                .map_err(failed)?;
            sqlx::query("INSERT INTO bindings (exchange, pattern, queue) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")
                .bind(self.0.exchange.clone())
                .bind(route.key())
                .bind(route.queue())
                .execute(&mut *write.tx)
                .await
                .map_err(failed)?;
        }
        write.commit().await.map_err(failed)
    }

    pub(in crate::queue) async fn publish(&self, route: &Route, bodies: Vec<String>) -> Result<(), BackendError> {
        let failed = self.failed("publishing to");
        let key = route.key();
        let mut write = self.begin().await.map_err(&failed)?;
        // Inside the transaction, so that a queue that is bound at this moment gets all of the messages or none.
        let bindings: Vec<(String, String)> =
            sqlx::query_as("SELECT queue, pattern FROM bindings WHERE exchange = ? ORDER BY queue")
                .bind(self.0.exchange.clone())
                .fetch_all(&mut *write.tx)
                .await
                .map_err(&failed)?;
        let mut queues: Vec<String> =
            bindings.into_iter().filter(|(_, pattern)| topic::matches(pattern, &key)).map(|(queue, _)| queue).collect();
        queues.dedup();
        if queues.is_empty() {
            return Err(unroutable(&self.0.exchange, &key, &self.0.path.display().to_string()));
        }
        let bodies = serde_json::Value::from(bodies).to_string();
        for queue in queues {
            insert(&mut write, queue, &key, &bodies).await.map_err(&failed)?;
        }
        write.commit().await.map_err(&failed)?;
        self.0.published.notify_waiters();
        Ok(())
    }

    pub(in crate::queue) async fn enqueue(&self, route: &Route, bodies: Vec<String>) -> Result<(), BackendError> {
        self.require(&route.queue(), "publishing to").await?;
        let failed = self.failed("publishing to");
        let mut write = self.begin().await.map_err(&failed)?;
        let bodies = serde_json::Value::from(bodies).to_string();
        insert(&mut write, route.queue(), &route.key(), &bodies).await.map_err(&failed)?;
        write.commit().await.map_err(&failed)?;
        self.0.published.notify_waiters();
        Ok(())
    }

    /// Checks that the queue exists.
    async fn require(&self, queue: &str, doing: &str) -> Result<(), BackendError> {
        let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM queues WHERE name = ?)")
            .bind(queue.to_owned())
            .fetch_one(&self.0.pool)
            .await
            .map_err(self.failed("reading"))?;
        if exists {
            return Ok(());
        }
        Err(BackendError {
            operation: format!("{doing} the queue {queue} in {}", self.0.path.display()),
            cause: "there is no such queue".to_owned(),
            hint: NO_QUEUE_ADVICE,
            before_start: false,
        })
    }

    pub(in crate::queue) async fn depth(&self, route: &Route) -> Result<Depth, BackendError> {
        self.require(&route.queue(), "counting").await?;
        // What a dead consumer held counts as ready, although no consumer has recovered it yet.
        self.recover(None).await.map_err(self.failed("reading"))?;
        // A message whose retry is due is ready, although no consumer has noticed yet.
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

    pub(in crate::queue) async fn dead_letters(
        &self,
        route: &Route,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, BackendError> {
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

    pub(in crate::queue) async fn requeue_dead(&self, route: &Route, limit: u32) -> Result<u32, BackendError> {
        let failed = self.failed("requeuing dead letters in");
        let mut write = self.begin().await.map_err(&failed)?;
        let done = sqlx::query(
            "UPDATE messages SET state = 'ready', attempts = 0, reason = NULL WHERE id IN \
             (SELECT id FROM messages WHERE queue = ? AND state = 'dead' ORDER BY id LIMIT ?)",
        )
        .bind(route.queue())
        .bind(limit)
        .execute(&mut *write.tx)
        .await
        .map_err(&failed)?;
        write.commit().await.map_err(&failed)?;
        self.0.published.notify_waiters();
        Ok(u32::try_from(done.rows_affected()).unwrap_or(limit))
    }

    pub(in crate::queue) async fn close(self) {
        self.0.pool.close().await;
    }
}

/// Puts messages on a queue: one statement, whatever their number, as the list travels as JSON.
async fn insert(write: &mut WriteTransaction<'_>, queue: String, key: &str, bodies: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO messages (queue, routing_key, body, published_at) \
         SELECT ?1, ?2, value, ?3 FROM json_each(?4) ORDER BY key",
    )
    .bind(queue)
    .bind(key.to_owned())
    .bind(now())
    .bind(bodies.to_owned())
    .execute(&mut *write.tx)
    .await
    .map(drop)
}

/// Returns the milliseconds since 1970 in UTC.
fn now() -> i64 {
    chrono::Utc::now().timestamp_millis()
}
