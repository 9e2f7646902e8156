//! The stores, the queue, and the places that files are written to.

use std::time::Duration;

use crate::azure::{Account, Container};
use crate::config::{BackendUrl, Settings};
use crate::http;
use crate::queue::{self, Route};
use crate::retry::RetryPolicy;
use crate::store::inspect::{BackendStatus, inspect_path};
use crate::store::{self, BackendError, documents, relational};
use crate::telemetry::Connection;

/// Whoever looks wants to know how it is now.
const PATIENCE: Duration = Duration::from_secs(15);

/// One of them.
#[derive(Debug)]
pub struct Part {
    /// What the setting's section is called.
    pub name: &'static str,
    /// Where it is, without a password.
    pub url: String,
    /// What is there, or why it can't be used.
    pub looked: Result<BackendStatus, BackendError>,
}

impl Part {
    /// Whether it can't be used.
    pub fn is_unusable(&self) -> bool {
        self.looked.is_err()
    }
}

/// Looks at the stores and the queue, each by itself; nothing is made.
pub async fn look_at_stores(settings: &Settings) -> Vec<Part> {
    // A server that is away is not waited for.
    let retry_policy = RetryPolicy::new(Duration::ZERO, |_| {});
    let Settings { documents, sql, queue, .. } = settings;
    let routes = [Route::Projects, Route::Users];
    let part = |name, url: &BackendUrl, looked| Part { name, url: url.to_string(), looked };
    vec![
        part("documents", &documents.url, documents::inspect(&documents.url, &retry_policy).await),
        part("sql", &sql.url, look_at_tables(&documents.url, &sql.url, &retry_policy).await),
        part("queue", &queue.url, queue::look(&queue.url, &queue.exchange, &routes, &retry_policy).await),
    ]
}

async fn look_at_tables(
    documents: &BackendUrl,
    sql: &BackendUrl,
    retry_policy: &RetryPolicy,
) -> Result<BackendStatus, BackendError> {
    store::ensure_distinct_files(documents, sql)?;
    relational::inspect(sql, retry_policy).await
}

/// Looks at where dumps, telemetry and the log go; nothing is made.
pub async fn look_at_outlets(settings: &Settings) -> Vec<Part> {
    let (target, log) = (&settings.dump.target, &settings.logging.file);
    let dumps = match target.folder() {
        Some(folder) => inspect_path("dumps", "directory", &folder.join("dump")),
        None => container(target, settings.dump.azure.as_ref()).await,
    };
    let mut parts = vec![Part { name: "dump", url: target.to_string(), looked: dumps }];
    if let Some(connection) = &settings.telemetry.connection {
        let url = connection.endpoint.to_string();
        parts.push(Part { name: "telemetry", url, looked: ingestion(connection).await });
    }
    parts.push(Part { name: "log", url: log.display().to_string(), looked: inspect_path("log", "file", log) });
    parts
}

/// The container of an `az:` target.
async fn container(target: &BackendUrl, account: Option<&Account>) -> Result<BackendStatus, BackendError> {
    let failed = |problem: String, advice| BackendError {
        operation: format!("Azure Blob Storage, {target}"),
        cause: problem,
        hint: advice,
        before_start: true,
    };
    let Some(account) = account else {
        return Err(failed(
            "there is no account to reach it with".to_owned(),
            "set AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_ACCESS_KEY",
        ));
    };
    let rest = target.expose().split_once("://").map_or("", |(_, rest)| rest);
    let name = rest.split(['/', '?']).next().unwrap_or_default();
    let advice = "check the account's name and key, dump.azure_endpoint, and the network";
    let http = http::client().map_err(|problem| failed(problem, advice))?;
    let state = match account.container(&http, name).await.map_err(|problem| failed(problem, advice))? {
        Container::Exists => "writable",
        Container::Missing => "the account can be written; there is no such container yet",
    };
    let place = format!("{target} at {}", account.endpoint);
    Ok(BackendStatus { product: "Azure Blob Storage".to_owned(), place, state: state.to_owned() })
}

/// Where Application Insights takes telemetry: that it answers at all.
async fn ingestion(connection: &Connection) -> Result<BackendStatus, BackendError> {
    let failed = |problem: String| BackendError {
        operation: format!("Application Insights, {}", connection.endpoint),
        cause: problem,
        hint: "check the connection string's IngestionEndpoint, and the network",
        before_start: true,
    };
    let http = http::client().map_err(failed)?;
    let asked = http.get(connection.endpoint.clone()).timeout(PATIENCE).send().await;
    let answer = asked.map_err(|error| failed(http::error_chain(&error.without_url())))?;
    if answer.status().is_server_error() {
        return Err(failed(format!("it answers {}", answer.status())));
    }
    Ok(BackendStatus {
        product: "Application Insights".to_owned(),
        place: connection.endpoint.to_string(),
        state: "answers; this version writes its events to the log alone".to_owned(),
    })
}
