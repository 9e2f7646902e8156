//! GHTorrent's tables (`docs/data-model.md`, "Tables") with the sync state beside them.
//!
//! Both live in one database, so that one transaction stores rows together with the fact that they are stored.
//!
//! | file | contents |
//! |---|---|
//! | `rows.rs`, `batch.rs`, `sync_update.rs` | what the mirror hands in: rows, updates of the sync state, and the batch of both |
//! | `apply/` | how a batch is written: references resolved, rows upserted |
//! | `split.rs` | how a rejected batch is taken apart |
//! | `projects.rs`, `accounts.rs` | rows of repositories and accounts: found, renamed, displaced, marked |
//! | `inventory.rs` | repositories known from lists and earlier retrievals |
//! | `sync_state.rs`, `list_cache.rs` | what is known of each list, and its cache |
//! | `item_state.rs`, `pending_details.rs`, `missing_items.rs`, `profiles.rs` | which items are known, due or missing |
//! | `comment_counts.rs` | GitHub's counts against what is stored |
//! | `refreshes.rs` | what deliveries and events ask to be read again |
//! | `feeds.rs`, `outbox.rs` | the state of events feeds, and the events to publish |
//! | `webhooks.rs` | what is known of organizations' webhooks and their delivery logs |
//! | `leases.rs` | one process at a time |
//! | `backend.rs`, `sqlite.rs`, `mysql.rs`, `sql.rs` | the two databases, and the SQL that both understand |
//! | `migrations.rs` | the tables |
//! | `upgrade/` | the upgrade of GHTorrent's databases |
//! | `id_caches.rs` | row ids by natural keys |
//! | `inspect.rs` | what exists, without creating anything |

mod accounts;
mod apply;
mod backend;
mod batch;
mod comment_counts;
pub mod feeds;
mod id_caches;
mod inspect;
pub mod inventory;
mod item_state;
pub mod leases;
mod list_cache;
mod migrations;
pub mod missing_items;
mod mysql;
pub mod outbox;
mod pending_details;
mod profiles;
mod projects;
pub mod refreshes;
pub mod rows;
mod split;
mod sql;
mod sqlite;
pub mod sync_state;
mod sync_update;
pub mod upgrade;
pub mod webhooks;

use std::sync::Arc;

use tokio::sync::Mutex;

pub use accounts::{AccountRecord, ProjectUserKind, RelationKind};
pub use batch::RowBatch;
pub use comment_counts::{CommentKind, CountMismatch};
pub use inspect::inspect;
pub use pending_details::{DetailsCursor, PendingDetails};
pub use profiles::{DueProfile, ProfileScope, may_confirm_missing};
pub use projects::ProjectRecord;
pub use split::RowCounts;
pub use sql::date;
pub use sync_update::SyncUpdate;

use self::backend::Backend;
use self::id_caches::IdCaches;
use self::sql::{Upsert, Value, placeholders};
use super::BackendError;
use crate::backend_url::BackendUrl;
use crate::retry::RetryPolicy;

/// The reserved row of `projects` that belongs to no repository, as in GHTorrent. The sync state of accounts is kept
/// under it.
pub const NO_PROJECT: i64 = -1;
/// Maximum number of keys per lookup statement outside a batch.
const KEYS_PER_READ: usize = 100;

/// Maximum attempts of a batch that fails because other processes removed rows or took names it had looked up. Each
/// attempt looks everything up again.
const MAX_STALE_ATTEMPTS: u32 = 5;

/// The outcome of applying a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApplyOutcome {
    /// The whole batch is stored.
    Applied,
    /// Nothing is stored: the database rejects one of these rows, for this reason, and would accept others.
    Rejected(String),
}

/// The relational store.
#[derive(Clone)]
pub struct Relational {
    backend: Backend,
    /// Committed row ids. The lock also serializes this process's writers.
    ids: Arc<Mutex<IdCaches>>,
    /// Cached sync state of the repositories being mirrored.
    lists: Arc<list_cache::ListCache>,
}

impl Relational {
    /// Opens the store that the URL names and migrates its tables.
    ///
    /// # Errors
    /// The store can't be created, reached or written, is of another kind, or was written by a newer msght.
    pub async fn open(url: &BackendUrl, retry_policy: &RetryPolicy) -> Result<Self, BackendError> {
        let backend = Backend::open(url, retry_policy).await?;
        Ok(Self { backend, ids: Arc::new(Mutex::new(IdCaches::new())), lists: Arc::default() })
    }

    /// Returns the database product, for display.
    pub fn description(&self) -> String {
        self.backend.description()
    }

    /// Applies a batch of rows and the sync state that it makes true in one transaction.
    ///
    /// # Errors
    /// The batch could not be committed; none of it is stored.
    pub async fn apply(&self, rows: RowBatch) -> Result<(), BackendError> {
        self.try_apply(&rows).await.map_err(|error| self.backend.backend_error("writing rows to", &error))
    }

    /// Applies a batch like [`Relational::apply`], but returns rows that the database rejects as an outcome, not as an
    /// error.
    ///
    /// # Errors
    /// The database could not be written; none of the batch is stored.
    pub async fn apply_or_reject(&self, rows: &RowBatch) -> Result<ApplyOutcome, BackendError> {
        match self.try_apply(rows).await {
            Ok(()) => Ok(ApplyOutcome::Applied),
            Err(error) if backend::is_rejected_row(&error) => {
                Ok(ApplyOutcome::Rejected(self.backend.backend_error("writing rows to", &error).cause))
            }
            Err(error) => Err(self.backend.backend_error("writing rows to", &error)),
        }
    }

    async fn try_apply(&self, rows: &RowBatch) -> Result<(), sqlx::Error> {
        self.lists.invalidate_changed(rows);
        self.backend
            .with_retry(async || {
                let mut attempts = 1;
                loop {
                    match self.apply_once(rows).await {
                        Err(error) if backend::is_stale_id(&error) && attempts < MAX_STALE_ATTEMPTS => attempts += 1,
                        done => return done,
                    }
                }
            })
            .await
    }

    async fn apply_once(&self, rows: &RowBatch) -> Result<(), sqlx::Error> {
        let mut ids = self.ids.lock().await;
        let applied = async {
            let mut tx = self.backend.begin().await?;
            apply::apply(&mut tx, &mut ids, rows).await?;
            tx.commit().await
        };
        let done = applied.await;
        match done {
            Ok(()) => ids.trim(),
            // Ids looked up inside the failed transaction may not exist.
            Err(_) => *ids = IdCaches::new(),
        }
        done
    }

    /// Closes the store.
    pub async fn close(self) {
        self.backend.close().await;
    }

    async fn read(&self, sql: &str, params: Vec<Value>) -> Result<Vec<Vec<Value>>, BackendError> {
        let read = self.backend.with_retry(|| self.backend.fetch(sql, params.clone())).await;
        read.map_err(|error| self.backend.backend_error("reading", &error))
    }

    /// Queries by a list of keys: `{}` in `sql` stands for the placeholders, which follow the fixed parameters.
    async fn read_many(&self, sql: &str, fixed: &[Value], keys: &[String]) -> Result<Vec<Vec<Value>>, BackendError> {
        let sql = sql.replace("{}", &placeholders(KEYS_PER_READ));
        let mut found = Vec::new();
        for chunk in keys.chunks(KEYS_PER_READ) {
            let mut params = fixed.to_vec();
            params.extend((0..KEYS_PER_READ).map(|position| chunk[position.min(chunk.len() - 1)].as_str().into()));
            found.extend(self.read(&sql, params).await?);
        }
        Ok(found)
    }

    /// Runs one statement in its own transaction and returns the number of rows matched (MySQL) or written. The
    /// statement must be idempotent: it may be retried.
    async fn write(&self, sql: &str, params: Vec<Value>) -> Result<u64, BackendError> {
        let write = async || {
            let _turn = self.ids.lock().await;
            let mut tx = self.backend.begin().await?;
            let written = tx.execute(sql, params.clone()).await?;
            tx.commit().await?;
            Ok(written)
        };
        self.backend.with_retry(write).await.map_err(|error| self.backend.backend_error("writing to", &error))
    }

    /// Upserts rows in their own transaction.
    async fn upsert(&self, upsert: &Upsert, rows: Vec<Vec<Value>>) -> Result<(), BackendError> {
        let write = async || {
            let _turn = self.ids.lock().await;
            let mut tx = self.backend.begin().await?;
            tx.upsert(upsert, rows.clone()).await?;
            tx.commit().await
        };
        self.backend.with_retry(write).await.map_err(|error| self.backend.backend_error("writing to", &error))
    }
}
