//! A connection to a MongoDB database: opening, retries, commands.

use std::time::Duration;

use futures::TryStreamExt;
use mongodb::bson::raw::{CStr, cstr};
use mongodb::bson::{Document, RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};
use mongodb::options::{Acknowledgment, ClientOptions, ReadPreference, SelectionCriteria, WriteConcern};
use mongodb::{Client, Database};

use super::error::{MongoError, StatementError};
use super::layout::{integer, value_at};
use crate::backend_url::BackendUrl;
use crate::retry::{RetryPolicy, Retryability};
use crate::store::BackendError;

/// Database of a URL that names none: GHTorrent's.
const DEFAULT_DATABASE: &str = "github";
/// Timeout of server selection unless the URL sets one. A running server answers within milliseconds; the election of a
/// new primary is waited out by [`RetryPolicy`].
const SELECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of a connection attempt unless the URL sets one: a few round trips over any distance.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of a command: the largest batch (12 MB) takes seconds.
pub(super) const COMMAND_TIMEOUT: Duration = Duration::from_mins(1);
/// Write concern timeout unless the URL sets one: less than [`COMMAND_TIMEOUT`], so that the server reports what it
/// waited for.
const WRITE_CONCERN_TIMEOUT: Duration = Duration::from_secs(30);
/// Timeout of closing, which only ends idle connections.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum time for retrying conflicts with another process that opens the same store.
const OPEN_RETRY_TIMEOUT: Duration = Duration::from_secs(10);
/// Documents per reply message; the server ends it earlier at 16 MB.
const DOCUMENTS_PER_REPLY: u32 = 2_000;

/// An open database.
pub(super) struct Connection {
    client: Client,
    pub database: Database,
    pub url: BackendUrl,
    retry_policy: RetryPolicy,
    write_concern: RawDocumentBuf,
}

/// Members of a replica set that may answer.
#[derive(Clone, Copy)]
pub(super) enum ReadFrom {
    /// Only the primary, for decisions on the newest state.
    Primary,
    /// As the URL's read preference says.
    UrlPreference,
}

/// The result of a write command, by statement.
#[derive(Debug, Default)]
pub(super) struct WriteResult {
    /// Number of documents matched or inserted.
    pub matched: i64,
    /// The failed statements.
    pub errors: Vec<StatementError>,
}

impl Connection {
    /// Opens the database that the URL names and checks that its server answers and knows the user.
    pub(super) async fn open(url: &BackendUrl, retry_policy: &RetryPolicy) -> Result<Self, BackendError> {
        let operation = || format!("opening the document store {url}");
        let failed = |failure: MongoError| failure.into_backend_error(operation(), url).before_start();
        let mut options = with_timeout(SELECTION_TIMEOUT + CONNECT_TIMEOUT, ClientOptions::parse(url.expose()))
            .await
            .map_err(failed)?;
        options.app_name.get_or_insert_with(|| "msght".to_owned());
        options.server_selection_timeout.get_or_insert(SELECTION_TIMEOUT);
        options.connect_timeout.get_or_insert(CONNECT_TIMEOUT);
        let mut concern = options.write_concern.clone().unwrap_or_default();
        if concern.w == Some(Acknowledgment::Nodes(0)) {
            return Err(BackendError {
                operation: operation(),
                cause: "with w=0 the server doesn't confirm writes".to_owned(),
                hint: "remove w=0 from `documents.url`, or set w=1 or w=majority",
                before_start: true,
            });
        }
        if concern.w.is_none() {
            concern.w = Some(Acknowledgment::Majority);
        }
        // A single server confirms a majority before its journal is on disk; the sync state must not outlive the data.
        concern.journal.get_or_insert(true);
        concern.w_timeout.get_or_insert(WRITE_CONCERN_TIMEOUT);
        let write_concern = write_concern_document(&concern);
        let name = options.default_database.clone().unwrap_or_else(|| DEFAULT_DATABASE.to_owned());
        let client = Client::with_options(options).map_err(|error| failed(error.into()))?;
        let database = client.database(&name);
        let connection = Self { client, database, url: url.clone(), retry_policy: retry_policy.clone(), write_concern };
        connection.command(rawdoc! { "ping": 1 }, COMMAND_TIMEOUT).await.map_err(failed)?;
        Ok(connection)
    }

    /// Runs an operation until it succeeds, fails permanently or the deadline passes. `doing` names it, as in
    /// "reading".
    pub(super) async fn retry<T, F>(&self, doing: &str, attempt: impl FnMut() -> F) -> Result<T, BackendError>
    where
        F: Future<Output = Result<T, MongoError>>,
    {
        let server = self.url.to_string();
        let done = self.retry_policy.retry(&server, MongoError::retryability, attempt).await;
        done.map_err(|failure| failure.into_backend_error(format!("{doing} {server}"), &self.url))
    }

    /// Runs an operation while the store is opened: only conflicts are retried, an unavailable server is an error at
    /// once.
    pub(super) async fn retry_conflicts<T, F>(&self, attempt: impl FnMut() -> F) -> Result<T, BackendError>
    where
        F: Future<Output = Result<T, MongoError>>,
    {
        let server = self.url.to_string();
        let retryability = |failure: &MongoError| match failure.retryability() {
            Retryability::Unavailable => Retryability::Permanent,
            other => other,
        };
        let done = RetryPolicy::new(OPEN_RETRY_TIMEOUT, |_| {}).retry(&server, retryability, attempt).await;
        done.map_err(|failure| {
            failure.into_backend_error(format!("opening the document store {server}"), &self.url).before_start()
        })
    }

    /// Sends a command to the primary.
    pub(super) async fn command(&self, command: RawDocumentBuf, limit: Duration) -> Result<RawDocumentBuf, MongoError> {
        let answer = with_timeout(limit, self.database.run_raw_command(command)).await?;
        RawDocumentBuf::try_from(&answer).map_err(MongoError::from_bson)
    }

    /// Sends statements with the store's write concern. All are attempted.
    pub(super) async fn write(
        &self,
        command: Statements,
        collection: &str,
        statements: RawArrayBuf,
    ) -> Result<WriteResult, MongoError> {
        let (verb, member) = command.names();
        let mut message = RawDocumentBuf::new();
        message.append(verb, collection);
        message.append(member, statements);
        message.append(cstr!("ordered"), false);
        self.append_write_concern(&mut message);
        parse_write_result(&self.command(message, COMMAND_TIMEOUT).await?)
    }

    /// Appends the write concern to a command.
    pub(super) fn append_write_concern(&self, command: &mut RawDocumentBuf) {
        command.append(cstr!("writeConcern"), self.write_concern.clone());
    }

    /// Finds documents by a condition, with the given fields, order and limit.
    pub(super) async fn find(
        &self,
        collection: &str,
        condition: Document,
        from: ReadFrom,
        fields: Option<Document>,
        first: Option<(Document, i64)>,
    ) -> Result<Vec<RawDocumentBuf>, MongoError> {
        let collection = self.database.collection::<RawDocumentBuf>(collection);
        let mut find = collection.find(condition).batch_size(DOCUMENTS_PER_REPLY);
        if let ReadFrom::Primary = from {
            find = find.selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        }
        if let Some(fields) = fields {
            find = find.projection(fields);
        }
        if let Some((order, limit)) = first {
            find = find.sort(order).limit(limit);
        }
        with_timeout(COMMAND_TIMEOUT, async { find.await?.try_collect().await }).await
    }

    pub(super) async fn close(&self) {
        // The rest ends with the process.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.client.clone().shutdown().immediate(true).into_future()).await;
    }
}

/// The kind of a write command.
#[derive(Clone, Copy)]
pub(super) enum Statements {
    Insert,
    Update,
    Delete,
}

impl Statements {
    fn names(self) -> (&'static CStr, &'static CStr) {
        match self {
            Self::Insert => (cstr!("insert"), cstr!("documents")),
            Self::Update => (cstr!("update"), cstr!("updates")),
            Self::Delete => (cstr!("delete"), cstr!("deletes")),
        }
    }
}

/// Runs a driver operation with a timeout.
pub(super) async fn with_timeout<T>(
    limit: Duration,
    work: impl IntoFuture<Output = mongodb::error::Result<T>>,
) -> Result<T, MongoError> {
    match tokio::time::timeout(limit, work.into_future()).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(MongoError::TimedOut(limit)),
    }
}

fn write_concern_document(concern: &WriteConcern) -> RawDocumentBuf {
    let mut document = RawDocumentBuf::new();
    match &concern.w {
        Some(Acknowledgment::Nodes(nodes)) => {
            document.append(cstr!("w"), i32::try_from(*nodes).unwrap_or(i32::MAX));
        }
        Some(Acknowledgment::Custom(tag)) => document.append(cstr!("w"), tag.as_str()),
        _ => document.append(cstr!("w"), "majority"),
    }
    if let Some(journal) = concern.journal {
        document.append(cstr!("j"), journal);
    }
    if let Some(limit) = concern.w_timeout {
        document.append(cstr!("wtimeout"), i64::try_from(limit.as_millis()).unwrap_or(i64::MAX));
    }
    document
}

/// Parses the reply of a write command.
pub(super) fn parse_write_result(answer: &RawDocument) -> Result<WriteResult, MongoError> {
    check_write_concern(answer)?;
    let index =
        |entry: &RawDocument| value_at(entry, "index").and_then(integer).and_then(|index| usize::try_from(index).ok());
    let mut outcome =
        WriteResult { matched: value_at(answer, "n").and_then(integer).unwrap_or(0), ..WriteResult::default() };
    for entry in entries(answer, "writeErrors") {
        let (code, message) = code_and_message(entry);
        outcome.errors.extend(index(entry).map(|index| StatementError { index, code, message }));
    }
    Ok(outcome)
}

/// Checks that the write concern was met. The write may be stored even if not, so it is retried.
pub(super) fn check_write_concern(answer: &RawDocument) -> Result<(), MongoError> {
    match value_at(answer, "writeConcernError").and_then(RawBsonRef::as_document) {
        Some(error) => {
            let (code, message) = code_and_message(error);
            Err(MongoError::Rejected { code, message })
        }
        None => Ok(()),
    }
}

fn entries<'a>(answer: &'a RawDocument, member: &str) -> impl Iterator<Item = &'a RawDocument> {
    let array = value_at(answer, member).and_then(RawBsonRef::as_array);
    array.into_iter().flatten().filter_map(|entry| entry.ok().and_then(RawBsonRef::as_document))
}

fn code_and_message(error: &RawDocument) -> (i32, String) {
    let code = value_at(error, "code").and_then(integer).and_then(|code| i32::try_from(code).ok());
    let message = value_at(error, "errmsg").and_then(RawBsonRef::as_str).unwrap_or("no reason given");
    (code.unwrap_or(0), message.to_owned())
}
