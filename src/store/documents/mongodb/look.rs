//! What is there on a server, without making anything.

use mongodb::bson::{RawArrayBuf, RawBsonRef, RawDocumentBuf, doc, rawdoc};

use super::connection::{COMMAND_TIMEOUT, Connection, Statements, within};
use super::failure::Failure;
use super::layout::at;
use super::{STORE, STORE_ID};
use crate::backend_url::BackendUrl;
use crate::retry::RetryPolicy;
use crate::store::StoreError;
use crate::store::documents::Collection;
use crate::store::look::Found;

/// Looks at the database that the URL names; nothing is made.
pub(in crate::store::documents) async fn look(
    url: &BackendUrl,
    retry_policy: &RetryPolicy,
) -> Result<Found, StoreError> {
    let connection = Connection::open(url, retry_policy).await?;
    let found = connection.retry_at_open(|| examine(&connection)).await;
    connection.close().await;
    found
}

async fn examine(connection: &Connection) -> Result<Found, Failure> {
    let answer = connection.command(rawdoc! { "buildInfo": 1 }, COMMAND_TIMEOUT).await?;
    let version = at(&answer, "version").and_then(RawBsonRef::as_str).unwrap_or("of an unknown version");
    let names = within(COMMAND_TIMEOUT, connection.database.list_collection_names()).await?;
    let known = Collection::ALL.iter().filter(|collection| names.iter().any(|name| name == collection.name())).count();
    let database = connection.database.name();
    let state = if names.iter().any(|name| name == STORE) {
        may_write(connection).await?;
        format!("database {database}, {known} collections, writable")
    } else if known > 0 {
        format!("database {database}, {known} collections of GHTorrent's: the first command makes their keys unique")
    } else {
        format!("database {database}, empty: the first command makes the collections")
    };
    Ok(Found { product: format!("MongoDB {version}"), place: connection.url.to_string(), state })
}

/// An update that finds nothing shows whether it is allowed, and changes nothing.
async fn may_write(connection: &Connection) -> Result<(), Failure> {
    let nothing = format!("not {STORE_ID}");
    let condition = RawDocumentBuf::try_from(&doc! { "_id": nothing }).map_err(Failure::of_bson)?;
    let mut statements = RawArrayBuf::new();
    statements.push(rawdoc! { "q": condition, "u": { "$set": { "generation": 0_i64 } } });
    let outcome = connection.write(Statements::Update, STORE, statements).await?;
    outcome.errors.into_iter().next().map_or(Ok(()), |error| Err(error.into()))
}
