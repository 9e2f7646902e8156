//! Moves a repository's documents to its new name.

use futures::TryStreamExt;
use mongodb::bson::raw::cstr;
use mongodb::bson::{RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf, doc, rawdoc};
use mongodb::options::{ReadPreference, SelectionCriteria};

use super::connection::{COMMAND_TIMEOUT, Connection, Statements, WriteResult, with_timeout};
use super::error::MongoError;
use super::layout::{KEY, REVISION, append, bookkeeping_projection, id_path, key_paths, value_at};
use crate::store::documents::Collection;

/// Documents moved per command.
const DOCUMENTS_PER_COMMAND: usize = 500;
/// Maximum rounds of removing conflicting documents: each one means that another process has written them again.
const MAX_ROUNDS: usize = 20;

/// Moves a repository's documents and removes its entry in `repos`, which is read again under the new name. When
/// interrupted, it resumes with what still has the old name.
pub(super) async fn rename(connection: &Connection, from: (&str, &str), to: (&str, &str)) -> Result<(), MongoError> {
    for collection in Collection::ALL.iter().filter(|collection| collection.is_repository_scoped()) {
        let mut rounds = 0;
        while move_pass(connection, *collection, from, to).await? {
            rounds += 1;
            if rounds > MAX_ROUNDS {
                return Err(MongoError::Contended(format!("documents of {}/{} keep being written", to.0, to.1)));
            }
        }
    }
    let mut statements = RawArrayBuf::new();
    statements.push(rawdoc! { "q": { "owner.login": from.0, "name": from.1 }, "limit": 0_i32 });
    first_error(connection.write(Statements::Delete, Collection::Repos.name(), statements).await?)
}

/// Moves the documents that have the old name. Returns whether there were any: only a pass without any is the last.
async fn move_pass(
    connection: &Connection,
    collection: Collection,
    from: (&str, &str),
    to: (&str, &str),
) -> Result<bool, MongoError> {
    let mut fields = bookkeeping_projection(collection);
    fields.extend(doc! { "owner": 1, "repo": 1 });
    let target = connection.database.collection::<RawDocumentBuf>(collection.name());
    let find = target
        .find(doc! { "owner": from.0, "repo": from.1 })
        .projection(fields)
        .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary));
    let mut cursor = with_timeout(COMMAND_TIMEOUT, find).await?;
    let mut found = false;
    loop {
        let mut documents = Vec::new();
        while documents.len() < DOCUMENTS_PER_COMMAND {
            let Some(document) = with_timeout(COMMAND_TIMEOUT, cursor.try_next()).await? else { break };
            documents.push(document);
        }
        if documents.is_empty() {
            return Ok(found);
        }
        found = true;
        move_batch(connection, collection, &documents, to).await?;
    }
}

async fn move_batch(
    connection: &Connection,
    collection: Collection,
    documents: &[RawDocumentBuf],
    to: (&str, &str),
) -> Result<(), MongoError> {
    let mut in_the_way = RawArrayBuf::new();
    let mut moves = RawArrayBuf::new();
    for document in documents {
        let Some(id) = value_at(document, "_id") else { continue };
        in_the_way.push(rawdoc! { "q": conflict_condition(collection, document, id, to)?, "limit": 0_i32 });
        moves.push(rawdoc! { "q": { "_id": id }, "u": rename_update(collection, document, to)? });
    }
    // As in the embedded store, a moved document replaces any existing one.
    first_error(connection.write(Statements::Delete, collection.name(), in_the_way).await?)?;
    let mut outcome = connection.write(Statements::Update, collection.name(), moves).await?;
    // Documents written there since are removed in the next pass.
    outcome.errors.retain(|error| !error.is_duplicate());
    first_error(outcome)
}

/// Returns the condition for another document with this one's future key.
fn conflict_condition(
    collection: Collection,
    document: &RawDocument,
    id: RawBsonRef<'_>,
    to: (&str, &str),
) -> Result<RawDocumentBuf, MongoError> {
    let mut condition = RawDocumentBuf::new();
    for path in key_paths(collection) {
        let value = match path {
            "owner" => RawBsonRef::String(to.0),
            "repo" => RawBsonRef::String(to.1),
            _ => value_at(document, path).unwrap_or(RawBsonRef::Null),
        };
        append(&mut condition, path, value)?;
    }
    condition.append(cstr!("_id"), rawdoc! { "$ne": id });
    Ok(condition)
}

/// Returns the update that moves a document to its new name.
fn rename_update(
    collection: Collection,
    document: &RawDocument,
    to: (&str, &str),
) -> Result<RawDocumentBuf, MongoError> {
    let mut set = rawdoc! { "owner": to.0, "repo": to.1 };
    // A document of GHTorrent's has no bookkeeping until msght writes it.
    let Some(_) = value_at(document, REVISION) else { return Ok(rawdoc! { "$set": set }) };
    if let (KEY, Some(RawBsonRef::String(key))) = (id_path(collection), value_at(document, KEY)) {
        let tail = key.splitn(3, '/').nth(2);
        let key = [to.0, to.1].into_iter().chain(tail).collect::<Vec<_>>().join("/");
        append(&mut set, KEY, key.as_str())?;
    }
    Ok(rawdoc! { "$set": set, "$inc": { "_msght.rev": 1_i64 } })
}

fn first_error(outcome: WriteResult) -> Result<(), MongoError> {
    outcome.errors.into_iter().next().map_or(Ok(()), |error| Err(error.into()))
}
