//! The document store on a MongoDB server: one collection per GitHub entity, as GHTorrent's users know them.
//!
//! Each document carries, under `_msght`, the time it was read and the bookkeeping for [`merge`](super::merge)
//! (`docs/documents.md`). No replica set or transaction is needed: every statement is idempotent and replaces exactly
//! the state that it was decided on.

mod connection;
mod convert;
mod deliveries;
mod error;
mod fit;
mod indexes;
mod inspect;
mod layout;
mod rename;
mod repair;
mod upsert;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use mongodb::bson::{RawArrayBuf, RawBsonRef, RawDocumentBuf, doc, rawdoc};
use rand::RngExt;

use super::{BatchResult, Collection, ColumnKind, Document, StoreIdentity, timestamp};
use crate::backend_url::BackendUrl;
use crate::retry::RetryPolicy;
use crate::store::BackendError;

use connection::{COMMAND_TIMEOUT, Connection, ReadFrom, Statements};
use error::MongoError;
use layout::{DELETED_AT, META, REVISION, append, id_path, integer, value_at};

pub(super) use inspect::inspect;
pub(super) use repair::{find_duplicates, repair_duplicates};

/// Collection with the store's identity record.
const STORE: &str = "msght_store";
/// `_id` of that record.
const STORE_ID: &str = "store";
/// Ids per lookup, and statements per command: some kilobytes of ids, and a reply of at most some megabytes.
const IDS_PER_COMMAND: usize = 1_000;

#[derive(Clone)]
pub(super) struct MongoDocuments {
    connection: Arc<Connection>,
}

impl MongoDocuments {
    /// Opens the database that the URL names and creates missing collections and indexes.
    pub(super) async fn open(url: &BackendUrl, retry_policy: &RetryPolicy) -> Result<Self, BackendError> {
        let store = Self { connection: Arc::new(Connection::open(url, retry_policy).await?) };
        let connection = &store.connection;
        connection.retry_conflicts(|| indexes::ensure(connection)).await?;
        connection.retry_conflicts(|| deliveries::ensure_indexes(connection)).await?;
        connection.retry_conflicts(|| store.read_identity()).await?;
        Ok(store)
    }

    pub(super) async fn close(self) {
        self.connection.close().await;
    }

    pub(super) async fn identity(&self) -> Result<StoreIdentity, BackendError> {
        self.connection.retry("reading", || self.read_identity()).await
    }

    async fn read_identity(&self) -> Result<StoreIdentity, MongoError> {
        loop {
            // A stale generation would suggest an older state of the store: only the primary may answer.
            let condition = doc! { "_id": STORE_ID };
            let found = self.connection.find(STORE, condition, ReadFrom::Primary, None, None).await?;
            if let Some(record) = found.first() {
                let id = record.get_str("id").map_err(|_| unreadable(&self.connection.url))?.to_owned();
                return Ok(StoreIdentity {
                    id,
                    generation: value_at(record, "generation").and_then(integer).unwrap_or(0),
                });
            }
            self.create_identity().await?;
        }
    }

    /// Inserts the store's identity record unless another process just has.
    async fn create_identity(&self) -> Result<(), MongoError> {
        let id = format!("{:032x}", rand::rng().random::<u128>());
        let record = rawdoc! { "_id": STORE_ID, "id": id, "generation": 0_i64 };
        let mut command = rawdoc! { "insert": STORE, "documents": [record] };
        self.connection.append_write_concern(&mut command);
        let done = connection::parse_write_result(&self.connection.command(command, COMMAND_TIMEOUT).await?)?;
        match done.errors.into_iter().next() {
            Some(error) if !error.is_duplicate() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Increments the store's generation after a change: a generation never covers what is not stored yet.
    async fn next_generation(&self) -> Result<i64, MongoError> {
        loop {
            let mut command = rawdoc! {
                "findAndModify": STORE,
                "query": { "_id": STORE_ID },
                "update": { "$inc": { "generation": 1_i64 } },
                "new": true,
            };
            self.connection.append_write_concern(&mut command);
            let answer = self.connection.command(command, COMMAND_TIMEOUT).await?;
            connection::check_write_concern(&answer)?;
            match value_at(&answer, "value.generation").and_then(integer) {
                Some(generation) => return Ok(generation),
                // The record was dropped: it is another store now, and the sync state will notice.
                None => self.create_identity().await?,
            }
        }
    }

    pub(super) async fn upsert(&self, documents: Vec<Document>) -> Result<BatchResult, BackendError> {
        let connection = &self.connection;
        let batch = upsert::BatchUpsert::new(&documents);
        for part in &batch.parts {
            connection.retry("writing documents to", || upsert::upsert_collection(connection, part, &batch)).await?;
        }
        let generation = if batch.has_written() {
            Some(connection.retry("writing documents to", || self.next_generation()).await?)
        } else {
            None
        };
        Ok(batch.result(generation))
    }

    pub(super) async fn get(&self, collection: Collection, id: &str) -> Result<Option<String>, BackendError> {
        let read = || async {
            let condition = doc! { id_path(collection): id };
            let found = self.connection.find(collection.name(), condition, ReadFrom::UrlPreference, None, None).await?;
            found.first().map(|document| convert::to_json(document).map(|json| json.to_string())).transpose()
        };
        self.connection.retry("reading", read).await
    }

    pub(super) async fn ids_after(
        &self,
        collection: Collection,
        key: &[&str],
        after: &str,
        limit: u32,
    ) -> Result<Vec<String>, BackendError> {
        // The server takes a limit of 0 for none.
        if limit == 0 {
            return Ok(Vec::new());
        }
        let path = id_path(collection);
        // All their ids have this prefix, and '0' follows '/': the index returns them in order.
        let begins = key.join("/");
        let (from, to) = (format!("{begins}/"), format!("{begins}0"));
        let from = if after > from.as_str() { after.to_owned() } else { from };
        let read = || async {
            let mut condition = doc! { DELETED_AT: { "$exists": false } };
            for (column, value) in collection.key().iter().zip(key) {
                match column.kind {
                    ColumnKind::Text => condition.insert(column.name, *value),
                    ColumnKind::Integer => condition.insert(column.name, value.parse::<i64>().unwrap_or_default()),
                };
            }
            condition.insert(path, doc! { "$gt": &from, "$lt": &to });
            let first = Some((doc! { path: 1 }, i64::from(limit)));
            let fields = Some(doc! { META: 1 });
            let found =
                self.connection.find(collection.name(), condition, ReadFrom::UrlPreference, fields, first).await?;
            let id =
                |document: &RawDocumentBuf| value_at(document, path).and_then(RawBsonRef::as_str).map(str::to_owned);
            Ok(found.iter().filter_map(id).collect())
        };
        self.connection.retry("reading", read).await
    }

    pub(super) async fn tombstone(
        &self,
        collection: Collection,
        ids: &[String],
        at: DateTime<Utc>,
    ) -> Result<u64, BackendError> {
        let mut marked = 0;
        for ids in ids.chunks(IDS_PER_COMMAND) {
            // Another writer may change some of them meanwhile: these are read again.
            while let Some(done) = self
                .connection
                .retry("marking deleted documents in", || self.try_tombstone(collection, ids, at))
                .await?
            {
                marked += done;
            }
        }
        Ok(marked)
    }

    /// Marks those that are not marked yet; `None` if all are.
    async fn try_tombstone(
        &self,
        collection: Collection,
        ids: &[String],
        when: DateTime<Utc>,
    ) -> Result<Option<u64>, MongoError> {
        let mut condition = doc! { DELETED_AT: { "$exists": false }, REVISION: { "$exists": true } };
        condition.insert(id_path(collection), doc! { "$in": ids });
        let fields = Some(doc! { META: 1 });
        let found = self.connection.find(collection.name(), condition, ReadFrom::Primary, fields, None).await?;
        let mut statements = RawArrayBuf::new();
        for document in &found {
            let (Some(id), Some(RawBsonRef::Document(meta))) = (value_at(document, "_id"), value_at(document, META))
            else {
                continue;
            };
            let revision = value_at(document, REVISION).and_then(integer).unwrap_or(0);
            let mut marked = RawDocumentBuf::new();
            for member in meta {
                let (key, value) = member.map_err(MongoError::from_bson)?;
                if key.as_str() != "rev" {
                    marked.append(key, value);
                }
            }
            append(&mut marked, "rev", revision + 1)?;
            append(&mut marked, "deleted_at", convert::date(&timestamp(when)).unwrap_or(mongodb::bson::DateTime::MIN))?;
            let mut condition = RawDocumentBuf::new();
            append(&mut condition, "_id", id)?;
            append(&mut condition, REVISION, revision)?;
            statements.push(rawdoc! { "q": condition, "u": { "$set": { "_msght": marked } } });
        }
        if statements.is_empty() {
            return Ok(None);
        }
        let outcome = self.connection.write(Statements::Update, collection.name(), statements).await?;
        match outcome.errors.into_iter().next() {
            Some(error) => Err(error.into()),
            None if outcome.matched == 0 => {
                Err(MongoError::Contended("none of them was as it had been read".to_owned()))
            }
            None => Ok(Some(u64::try_from(outcome.matched).unwrap_or(0))),
        }
    }

    pub(super) async fn rename_repository(&self, from: (&str, &str), to: (&str, &str)) -> Result<(), BackendError> {
        let connection = &self.connection;
        connection.retry("renaming a repository in", || rename::rename(connection, from, to)).await?;
        connection.retry("renaming a repository in", || self.next_generation()).await.map(drop)
    }
}

fn unreadable(url: &BackendUrl) -> BackendError {
    BackendError {
        operation: format!("reading {url}"),
        cause: format!("the record in the collection {STORE} has no string `id`"),
        hint: "drop the collection msght_store: the sync state is then reset",
        before_start: false,
    }
}
