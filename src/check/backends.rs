//! Checks the stores and the queue, and the destinations of dumps, telemetry and the log.

use std::time::Duration;

use crate::azure::{Account, Container};
use crate::config::{BackendUrl, Settings};
use crate::http;
use crate::queue::{self, Route};
use crate::retry::RetryPolicy;
use crate::store::inspect::{BackendStatus, inspect_path};
use crate::store::{self, BackendError, documents, relational};
use crate::telemetry::ConnectionString;

/// A request to Application Insights is given up after this time.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// The check of one store, queue or destination.
#[derive(Debug)]
pub struct BackendCheck {
    /// The section of its settings, such as `documents`.
    pub name: &'static str,
    /// Its URL or path, with the password redacted.
    pub url: String,
    /// Its status, or the reason why it is unusable.
    pub status: Result<BackendStatus, BackendError>,
}

impl BackendCheck {
    /// Returns whether it can't be used.
    pub fn is_unusable(&self) -> bool {
        self.status.is_err()
    }
}

/// Checks the stores and the queue, each independently of the others; nothing is created.
pub async fn check_stores(settings: &Settings) -> Vec<BackendCheck> {
    // An unavailable server is reported at once.
    let retry_policy = RetryPolicy::new(Duration::ZERO, |_| {});
    let Settings { documents, sql, queue, .. } = settings;
    let routes = [Route::Projects, Route::Users];
    let check = |name, url: &BackendUrl, status| BackendCheck { name, url: url.to_string(), status };
    vec![
        check("documents", &documents.url, documents::inspect(&documents.url, &retry_policy).await),
        check("sql", &sql.url, check_tables(&documents.url, &sql.url, &retry_policy).await),
        check("queue", &queue.url, queue::inspect(&queue.url, &queue.exchange, &routes, &retry_policy).await),
    ]
}

async fn check_tables(
    documents: &BackendUrl,
    sql: &BackendUrl,
    retry_policy: &RetryPolicy,
) -> Result<BackendStatus, BackendError> {
    store::ensure_distinct_files(documents, sql)?;
    relational::inspect(sql, retry_policy).await
}

/// Checks the destinations of dumps, telemetry and the log; nothing is created.
pub async fn check_outputs(settings: &Settings) -> Vec<BackendCheck> {
    let (target, log) = (&settings.dump.target, &settings.logging.file);
    let dumps = match target.folder() {
        Some(folder) => inspect_path("dumps", "directory", &folder.join("dump")),
        None => check_container(target, settings.dump.azure.as_ref()).await,
    };
    let mut checks = vec![BackendCheck { name: "dump", url: target.to_string(), status: dumps }];
    if let Some(connection) = &settings.telemetry.connection {
        let url = connection.endpoint.to_string();
        checks.push(BackendCheck { name: "telemetry", url, status: check_ingestion(connection).await });
    }
    checks.push(BackendCheck { name: "log", url: log.display().to_string(), status: inspect_path("log", "file", log) });
    checks
}

/// Checks the container of an `az:` target.
async fn check_container(target: &BackendUrl, account: Option<&Account>) -> Result<BackendStatus, BackendError> {
    let failed = |problem: String, advice| BackendError {
        operation: format!("Azure Blob Storage, {target}"),
        cause: problem,
        hint: advice,
        before_start: true,
    };
    let Some(account) = account else {
        return Err(failed(
            "no storage account is set".to_owned(),
            "set AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_ACCESS_KEY",
        ));
    };
    let rest = target.expose().split_once("://").map_or("", |(_, rest)| rest);
    let name = rest.split(['/', '?']).next().unwrap_or_default();
    let advice = "check the account's name and key, dump.azure_endpoint, and the network";
    let http = http::client().map_err(|problem| failed(problem, advice))?;
    let state = match account.container(&http, name).await.map_err(|problem| failed(problem, advice))? {
        Container::Exists => "writable",
        Container::Missing => "the account is writable; the container does not exist yet",
    };
    let place = format!("{target} at {}", account.endpoint);
    Ok(BackendStatus { product: "Azure Blob Storage".to_owned(), place, state: state.to_owned() })
}

/// Checks that the ingestion endpoint of Application Insights responds.
async fn check_ingestion(connection: &ConnectionString) -> Result<BackendStatus, BackendError> {
    let failed = |problem: String| BackendError {
        operation: format!("Application Insights, {}", connection.endpoint),
        cause: problem,
        hint: "check the connection string's IngestionEndpoint, and the network",
        before_start: true,
    };
    let http = http::client().map_err(failed)?;
    let response = http.get(connection.endpoint.clone()).timeout(REQUEST_TIMEOUT).send().await;
    let response = response.map_err(|error| failed(http::error_chain(&error.without_url())))?;
    if response.status().is_server_error() {
        return Err(failed(format!("it responds with {}", response.status())));
    }
    Ok(BackendStatus {
        product: "Application Insights".to_owned(),
        place: connection.endpoint.to_string(),
        state: "responds; this version writes its events to the log only".to_owned(),
    })
}
