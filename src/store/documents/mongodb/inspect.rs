//! Read-only inspection of a MongoDB server.

use mongodb::bson::{RawArrayBuf, RawBsonRef, RawDocumentBuf, doc, rawdoc};

use super::connection::{COMMAND_TIMEOUT, Connection, Statements, with_timeout};
use super::error::MongoError;
use super::layout::value_at;
use super::{STORE, STORE_ID};
use crate::backend_url::BackendUrl;
use crate::retry::RetryPolicy;
use crate::store::BackendError;
use crate::store::documents::Collection;
use crate::store::inspect::BackendStatus;

/// Inspects the database that the URL names; creates nothing.
pub(in crate::store::documents) async fn inspect(
    url: &BackendUrl,
    retry_policy: &RetryPolicy,
) -> Result<BackendStatus, BackendError> {
    let connection = Connection::open(url, retry_policy).await?;
    let found = connection.retry_conflicts(|| inspect_database(&connection)).await;
    connection.close().await;
    found
}

async fn inspect_database(connection: &Connection) -> Result<BackendStatus, MongoError> {
    let answer = connection.command(rawdoc! { "buildInfo": 1 }, COMMAND_TIMEOUT).await?;
    let version = value_at(&answer, "version").and_then(RawBsonRef::as_str).unwrap_or("of an unknown version");
    let names = with_timeout(COMMAND_TIMEOUT, connection.database.list_collection_names()).await?;
    let known = Collection::ALL.iter().filter(|collection| names.iter().any(|name| name == collection.name())).count();
    let database = connection.database.name();
    let state = if names.iter().any(|name| name == STORE) {
        check_writable(connection).await?;
        format!("database {database}, {known} collections, writable")
    } else if known > 0 {
        format!("database {database}, {known} collections of GHTorrent's: the first command creates their keys unique")
    } else {
        format!("database {database}, empty: the first command creates the collections")
    };
    Ok(BackendStatus { product: format!("MongoDB {version}"), place: connection.url.to_string(), state })
}

/// Checks the right to write by an update that matches nothing.
async fn check_writable(connection: &Connection) -> Result<(), MongoError> {
    let nothing = format!("not {STORE_ID}");
    let condition = RawDocumentBuf::try_from(&doc! { "_id": nothing }).map_err(MongoError::from_bson)?;
    let mut statements = RawArrayBuf::new();
    statements.push(rawdoc! { "q": condition, "u": { "$set": { "generation": 0_i64 } } });
    let outcome = connection.write(Statements::Update, STORE, statements).await?;
    outcome.errors.into_iter().next().map_or(Ok(()), |error| Err(error.into()))
}
