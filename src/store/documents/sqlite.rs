//! The embedded document store: one SQLite file, one table per collection.

mod deliveries;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::sqlite::{SqliteArguments, SqlitePool, SqliteRow, SqliteSynchronous};
use sqlx::{Arguments, AssertSqlSafe, Row as _, Sqlite, Transaction};

use super::merge::{self, Row, StoredMeta};
use super::{BatchResult, Collection, ColumnKind, Document, KeyValue, StoreIdentity, WriteOutcome, timestamp};
use crate::store::BackendError;
use crate::store::sqlite::{self, Pragmas};

/// The schema version that this build writes, kept in `PRAGMA user_version`.
///
/// | layout | has |
/// |---|---|
/// | 1 | what belongs to repositories |
/// | 2 | the collections of people, too |
/// | 3 | the inbox of deliveries |
pub(super) const SCHEMA_VERSION: i64 = 3;

/// Documents per statement: far below SQLite's 32,766 parameters with all columns, and few distinct sizes keep the
/// statement cache small.
const ROWS_PER_STATEMENT: usize = 32;

/// Maximum bytes of a document: SQLite stores up to a billion bytes, and `_msght` and a later mark have to fit as well.
const MAX_DOCUMENT_BYTES: usize = 999_999_000;

/// Ids per lookup statement.
const IDS_PER_STATEMENT: usize = 128;

#[derive(Clone)]
pub(super) struct SqliteDocuments {
    pool: SqlitePool,
    path: Arc<PathBuf>,
}

impl SqliteDocuments {
    pub(super) async fn open(path: &Path, busy_timeout: Duration) -> Result<Self, BackendError> {
        // Two processes starting together on a new file would race through its schema; the lock serializes them.
        let _lock = sqlite::lock_for_setup(path).await?;
        let pragmas = Pragmas { page_size: 8192, cache_kib: 4 * 1024, connections: 2 };
        let pool = sqlite::open_with("document store", path, &pragmas, SqliteSynchronous::Full, busy_timeout).await?;
        let store = Self { pool, path: Arc::new(path.to_owned()) };
        store.create_schema().await.map_err(BackendError::before_start)?;
        Ok(store)
    }

    pub(super) async fn close(self) {
        self.pool.close().await;
    }

    async fn create_schema(&self) -> Result<(), BackendError> {
        let explain = |error: &sqlx::Error| {
            BackendError::from_sqlite(sqlite::describe_opening("document store", &self.path), error)
        };
        let version: i64 =
            sqlx::query_scalar("PRAGMA user_version").fetch_one(&self.pool).await.map_err(|e| explain(&e))?;
        if version > SCHEMA_VERSION {
            return Err(BackendError {
                operation: sqlite::describe_opening("document store", &self.path),
                cause: format!(
                    "it was written by a newer msght (layout {version}, this version knows {SCHEMA_VERSION})"
                ),
                hint: "use that version of msght, or point `documents.url` at another file",
                before_start: true,
            });
        }
        if version == SCHEMA_VERSION {
            return Ok(());
        }
        let mut tx = self.begin().await.map_err(|e| explain(&e))?;
        for collection in Collection::ALL {
            for statement in schema(*collection) {
                sqlx::query(AssertSqlSafe(statement)).execute(&mut *tx).await.map_err(|e| explain(&e))?;
            }
        }
        for statement in deliveries::SCHEMA {
            sqlx::query(statement).execute(&mut *tx).await.map_err(|e| explain(&e))?;
        }
        let identity =
            "CREATE TABLE IF NOT EXISTS msght_store AS SELECT lower(hex(randomblob(16))) AS id, 0 AS generation";
        sqlx::query(identity).execute(&mut *tx).await.map_err(|e| explain(&e))?;
        let stamp = format!("PRAGMA user_version = {SCHEMA_VERSION}");
        sqlx::query(AssertSqlSafe(stamp)).execute(&mut *tx).await.map_err(|e| explain(&e))?;
        tx.commit().await.map_err(|e| explain(&e))
    }

    /// Begins a transaction that takes the write lock at once: one that reads first and locks later can fail half-way.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        self.pool.begin_with("BEGIN IMMEDIATE").await
    }

    fn failed(&self, doing: &str) -> impl Fn(sqlx::Error) -> BackendError {
        let operation = format!("{doing} {}", self.path.display());
        move |error| BackendError::from_sqlite(operation.clone(), &error)
    }

    pub(super) async fn upsert(&self, documents: Vec<Document>) -> Result<BatchResult, BackendError> {
        self.try_upsert(documents).await.map_err(self.failed("writing documents to"))
    }

    async fn try_upsert(&self, documents: Vec<Document>) -> Result<BatchResult, sqlx::Error> {
        let mut written = vec![WriteOutcome::Unchanged; documents.len()];
        let mut by_collection: BTreeMap<Collection, Vec<(usize, String, Document)>> = BTreeMap::new();
        let mut rejected = Vec::new();
        for (position, document) in documents.into_iter().enumerate() {
            if document.json.len() > MAX_DOCUMENT_BYTES {
                let reason = format!("it has {} bytes, and SQLite stores a billion at most", document.json.len());
                rejected.push((position, document.rejected(&reason)));
                written[position] = WriteOutcome::Rejected;
                continue;
            }
            by_collection.entry(document.collection).or_default().push((position, document.id(), document));
        }
        let mut tx = self.begin().await?;
        for (collection, entries) in by_collection {
            self.upsert_collection(&mut tx, collection, entries, &mut written).await?;
        }
        let changed = written.iter().any(|written| matches!(written, WriteOutcome::Inserted | WriteOutcome::Updated));
        let generation = if changed { Some(next_generation(&mut tx).await?) } else { None };
        tx.commit().await?;
        Ok(BatchResult { written, rejected, reduced: Vec::new(), generation })
    }

    async fn upsert_collection(
        &self,
        tx: &mut Transaction<'static, Sqlite>,
        collection: Collection,
        entries: Vec<(usize, String, Document)>,
        written: &mut [WriteOutcome],
    ) -> Result<(), sqlx::Error> {
        let mut known = stored_meta(tx, collection, entries.iter().map(|(_, id, _)| id.as_str())).await?;
        // Rows that this batch will write, so that a repeated key is compared with its first occurrence.
        let mut pending: HashMap<String, (Document, Row)> = HashMap::new();
        let mut order: Vec<String> = Vec::new();
        for (position, id, document) in entries {
            let hash = document.hash();
            let Some(stored) = known.get(&id).copied() else {
                let row = merge::new_row(&document, hash);
                known.insert(id.clone(), meta_of_row(&row));
                order.push(id.clone());
                pending.insert(id, (document, row));
                written[position] = WriteOutcome::Inserted;
                continue;
            };
            if merge::is_unchanged(&stored, &document, hash) {
                continue;
            }
            let json = match pending.get(&id) {
                Some((_, row)) => row.json.clone(),
                None => read_json(tx, collection, &id).await?.unwrap_or_else(|| "{}".to_owned()),
            };
            let Some(row) = merge::replacement_row(&stored, &json, &document, hash) else { continue };
            known.insert(id.clone(), meta_of_row(&row));
            if pending.insert(id.clone(), (document, row)).is_none() {
                order.push(id);
            }
            written[position] = WriteOutcome::Updated;
        }
        let rows: Vec<(String, Document, Row)> =
            order.into_iter().filter_map(|id| pending.remove(&id).map(|(document, row)| (id, document, row))).collect();
        write_rows(tx, collection, rows).await
    }

    pub(super) async fn identity(&self) -> Result<StoreIdentity, BackendError> {
        let failed = self.failed("reading");
        let row = sqlx::query("SELECT id, generation FROM msght_store").fetch_one(&self.pool).await.map_err(&failed)?;
        Ok(StoreIdentity { id: row.try_get(0).map_err(&failed)?, generation: row.try_get(1).map_err(&failed)? })
    }

    pub(super) async fn get(&self, collection: Collection, id: &str) -> Result<Option<String>, BackendError> {
        let sql = format!("SELECT doc FROM {} WHERE _id = ?", collection.name());
        let row: Option<SqliteRow> = sqlx::query(AssertSqlSafe(sql))
            .bind(id.to_owned())
            .fetch_optional(&self.pool)
            .await
            .map_err(self.failed("reading"))?;
        row.map(|row| row.try_get(0)).transpose().map_err(self.failed("reading"))
    }

    pub(super) async fn ids_after(
        &self,
        collection: Collection,
        key: &[&str],
        after: &str,
        limit: u32,
    ) -> Result<Vec<String>, BackendError> {
        let columns = collection.key().iter().zip(key);
        let belongs: String = columns.map(|(column, _)| format!("{} = ? AND ", column.name)).collect();
        let sql = format!(
            "SELECT _id FROM {} WHERE {belongs}deleted_at IS NULL AND _id > ? ORDER BY _id LIMIT ?",
            collection.name()
        );
        let mut query = sqlx::query_scalar(AssertSqlSafe(sql));
        for value in key {
            query = query.bind((*value).to_owned());
        }
        let query = query.bind(after.to_owned()).bind(limit);
        query.fetch_all(&self.pool).await.map_err(self.failed("reading"))
    }

    pub(super) async fn ids_of_small(
        &self,
        collections: &[Collection],
        key: &[&str],
        limit: u32,
    ) -> Result<HashMap<Collection, Vec<String>>, BackendError> {
        let failed = self.failed("reading");
        let selects: Vec<String> = collections
            .iter()
            .enumerate()
            .map(|(index, collection)| {
                let columns = collection.key().iter().zip(1..=key.len());
                let belongs: String =
                    columns.map(|(column, number)| format!("{} = ?{number} AND ", column.name)).collect();
                format!(
                    "SELECT {index}, _id FROM (SELECT _id FROM {} WHERE {belongs}deleted_at IS NULL ORDER BY _id LIMIT {limit})",
                    collection.name()
                )
            })
            .collect();
        let mut query = sqlx::query_as(AssertSqlSafe(selects.join(" UNION ALL ")));
        for value in key {
            query = query.bind((*value).to_owned());
        }
        let rows: Vec<(i64, String)> = query.fetch_all(&self.pool).await.map_err(failed)?;
        let mut ids: HashMap<Collection, Vec<String>> =
            collections.iter().map(|collection| (*collection, Vec::new())).collect();
        for (index, id) in rows {
            let collection = usize::try_from(index).ok().and_then(|index| collections.get(index));
            if let Some(ids) = collection.and_then(|collection| ids.get_mut(collection)) {
                ids.push(id);
            }
        }
        ids.retain(|_, ids| ids.len() < limit as usize);
        Ok(ids)
    }

    pub(super) async fn tombstone(
        &self,
        collection: Collection,
        ids: &[String],
        at: DateTime<Utc>,
    ) -> Result<u64, BackendError> {
        let failed = self.failed("marking deleted documents in");
        let sql = format!(
            "UPDATE {} SET deleted_at = ?1, doc = {} WHERE _id = ?2 AND deleted_at IS NULL",
            collection.name(),
            json_edit("json_set(doc, '$._msght.deleted_at', ?1)")
        );
        let mut tx = self.begin().await.map_err(&failed)?;
        let mut marked = 0;
        for id in ids {
            let query = sqlx::query(AssertSqlSafe(sql.clone())).bind(timestamp(at)).bind(id.clone());
            marked += query.execute(&mut *tx).await.map_err(&failed)?.rows_affected();
        }
        tx.commit().await.map_err(&failed)?;
        Ok(marked)
    }

    pub(super) async fn rename_repository(&self, from: (&str, &str), to: (&str, &str)) -> Result<(), BackendError> {
        let failed = self.failed("renaming a repository in");
        let mut tx = self.begin().await.map_err(&failed)?;
        for collection in Collection::ALL.iter().filter(|collection| collection.is_repository_scoped()) {
            let id_tail = "substr(_id, length(?1) + length(?2) + 2)";
            let sql = format!(
                "UPDATE OR REPLACE {} SET owner = ?3, repo = ?4, _id = ?3 || '/' || ?4 || {id_tail}, \
                 doc = {} WHERE owner = ?1 AND repo = ?2",
                collection.name(),
                json_edit("json_set(doc, '$.owner', ?3, '$.repo', ?4)")
            );
            sqlx::query(AssertSqlSafe(sql))
                .bind(from.0.to_owned())
                .bind(from.1.to_owned())
                .bind(to.0.to_owned())
                .bind(to.1.to_owned())
                .execute(&mut *tx)
                .await
                .map_err(&failed)?;
        }
        let repos = "DELETE FROM repos WHERE owner_login = ? AND name = ?";
        sqlx::query(repos).bind(from.0.to_owned()).bind(from.1.to_owned()).execute(&mut *tx).await.map_err(&failed)?;
        next_generation(&mut tx).await.map_err(&failed)?;
        tx.commit().await.map_err(&failed)
    }
}

/// Increments the store's generation in its transaction.
async fn next_generation(tx: &mut Transaction<'static, Sqlite>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("UPDATE msght_store SET generation = generation + 1 RETURNING generation")
        .fetch_one(&mut **tx)
        .await
}

/// Returns the statements that create a collection's table: `_id`, the natural key, the document and the bookkeeping
/// for [`merge`]. Existing tables stay.
fn schema(collection: Collection) -> Vec<String> {
    let name = collection.name();
    let mut columns = String::new();
    for column in collection.key() {
        let kind = match column.kind {
            ColumnKind::Text => "TEXT",
            ColumnKind::Integer => "INTEGER",
        };
        let _ = write!(columns, "{} {kind} NOT NULL, ", column.name);
    }
    let mut statements = vec![format!(
        "CREATE TABLE IF NOT EXISTS {name} (_id TEXT NOT NULL PRIMARY KEY, {columns}fetched_at TEXT NOT NULL, deleted_at TEXT, \
         hash INTEGER NOT NULL, summary_hash INTEGER, full INTEGER NOT NULL, doc TEXT NOT NULL)"
    )];
    // A key of one column is `_id` itself and needs no second index.
    if collection.key().len() > 1 {
        let key: Vec<&str> = collection.key().iter().map(|column| column.name).collect();
        statements.push(format!("CREATE UNIQUE INDEX IF NOT EXISTS {name}_key ON {name} ({})", key.join(", ")));
    }
    statements.push(format!("CREATE INDEX IF NOT EXISTS {name}_fetched_at ON {name} (fetched_at)"));
    statements
}

/// Wraps an expression that edits a document. SQLite's JSON functions reject more than 1,000 levels of nesting; such a
/// document keeps its text, and the columns beside it tell the same.
fn json_edit(expression: &str) -> String {
    format!("CASE WHEN json_valid(doc) THEN {expression} ELSE doc END")
}

fn meta_of_row(row: &Row) -> StoredMeta {
    StoredMeta { hash: row.hash, summary_hash: row.summary_hash, detailed: row.detailed, deleted: false }
}

async fn stored_meta<'a>(
    tx: &mut Transaction<'static, Sqlite>,
    collection: Collection,
    ids: impl Iterator<Item = &'a str>,
) -> Result<HashMap<String, StoredMeta>, sqlx::Error> {
    let ids: Vec<&str> = ids.collect();
    let mut known = HashMap::with_capacity(ids.len());
    for chunk in ids.chunks(IDS_PER_STATEMENT) {
        let marks = vec!["?"; IDS_PER_STATEMENT].join(",");
        let sql = format!(
            "SELECT _id, hash, summary_hash, full, deleted_at IS NOT NULL FROM {} WHERE _id IN ({marks})",
            collection.name()
        );
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for position in 0..IDS_PER_STATEMENT {
            // A short chunk is padded with its last id, so that one statement serves all sizes.
            query = query.bind(chunk[position.min(chunk.len() - 1)].to_owned());
        }
        for row in query.fetch_all(&mut **tx).await? {
            let stored = StoredMeta {
                hash: row.try_get(1)?,
                summary_hash: row.try_get(2)?,
                detailed: row.try_get(3)?,
                deleted: row.try_get(4)?,
            };
            known.insert(row.try_get(0)?, stored);
        }
    }
    Ok(known)
}

async fn read_json(
    tx: &mut Transaction<'static, Sqlite>,
    collection: Collection,
    id: &str,
) -> Result<Option<String>, sqlx::Error> {
    let sql = format!("SELECT doc FROM {} WHERE _id = ?", collection.name());
    sqlx::query_scalar(AssertSqlSafe(sql)).bind(id.to_owned()).fetch_optional(&mut **tx).await
}

async fn write_rows(
    tx: &mut Transaction<'static, Sqlite>,
    collection: Collection,
    mut rows: Vec<(String, Document, Row)>,
) -> Result<(), sqlx::Error> {
    while !rows.is_empty() {
        let take = if rows.len() >= ROWS_PER_STATEMENT { ROWS_PER_STATEMENT } else { 1 };
        let sql = insert_statement(collection, take);
        let mut arguments = SqliteArguments::default();
        for (id, document, row) in rows.drain(..take) {
            bind_row(&mut arguments, id, document, row).map_err(sqlx::Error::Encode)?;
        }
        sqlx::query_with(AssertSqlSafe(sql), arguments).execute(&mut **tx).await?;
    }
    Ok(())
}

fn bind_row(
    arguments: &mut SqliteArguments,
    id: String,
    document: Document,
    row: Row,
) -> Result<(), sqlx::error::BoxDynError> {
    arguments.add(id)?;
    for value in document.key {
        match value {
            KeyValue::Text(text) => arguments.add(text)?,
            KeyValue::Integer(number) => arguments.add(number)?,
        }
    }
    arguments.add(timestamp(document.fetched_at))?;
    arguments.add(row.hash)?;
    arguments.add(row.summary_hash)?;
    arguments.add(row.detailed)?;
    arguments.add(row.json)
}

fn insert_statement(collection: Collection, rows: usize) -> String {
    let key: Vec<&str> = collection.key().iter().map(|column| column.name).collect();
    let marks = format!("({}?,?,?,?,?,?)", "?,".repeat(key.len()));
    let values = vec![marks; rows].join(",");
    format!(
        "INSERT INTO {} (_id, {}, fetched_at, hash, summary_hash, full, doc) VALUES {values} \
         ON CONFLICT (_id) DO UPDATE SET fetched_at = excluded.fetched_at, deleted_at = NULL, hash = excluded.hash, \
         summary_hash = excluded.summary_hash, full = excluded.full, doc = excluded.doc",
        collection.name(),
        key.join(", "),
    )
}
