//! The stores, the queue, and the places that files are written to.

use std::time::Duration;

use crate::config::{Backend, Settings, StoreUrl};
use crate::patience::Patience;
use crate::queue::{self, Route};
use crate::store::look::{Found, directory_for};
use crate::store::{self, StoreError, documents, relational};

/// One of them.
#[derive(Debug)]
pub struct Part {
    /// What the setting's section is called.
    pub name: &'static str,
    /// Where it is, without a password.
    pub url: String,
    /// What is there; `None` where this msght can't look.
    pub looked: Option<Result<Found, StoreError>>,
}

impl Part {
    /// Whether it was looked at, and can't be used.
    pub fn is_unusable(&self) -> bool {
        matches!(self.looked, Some(Err(_)))
    }
}

/// Looks at the stores and the queue, each by itself; nothing is made.
pub async fn look_at_stores(settings: &Settings) -> Vec<Part> {
    // Whoever asks wants to know how it is now.
    let patience = Patience::new(Duration::ZERO, |_| {});
    let Settings { documents, sql, queue, .. } = settings;
    let routes = [Route::Projects, Route::Users];
    let part = |name, url: &StoreUrl, looked| Part { name, url: url.to_string(), looked: Some(looked) };
    vec![
        part("documents", &documents.url, documents::look(&documents.url, &patience).await),
        part("sql", &sql.url, look_at_tables(&documents.url, &sql.url, &patience).await),
        part("queue", &queue.url, queue::look(&queue.url, &queue.exchange, &routes, &patience).await),
    ]
}

async fn look_at_tables(documents: &StoreUrl, sql: &StoreUrl, patience: &Patience) -> Result<Found, StoreError> {
    store::refuse_same_file(documents, sql)?;
    relational::look(sql, patience).await
}

/// Looks at where dumps and the log go; nothing is made.
pub fn look_at_files(settings: &Settings) -> Vec<Part> {
    let target = &settings.dump.target;
    let dumps = match (target.backend(), target.folder()) {
        (Backend::File, Some(folder)) => Some(directory_for("dumps", "directory", &folder.join("dump"))),
        _ => None,
    };
    let log = &settings.logging.file;
    vec![
        Part { name: "dump", url: target.to_string(), looked: dumps },
        Part { name: "log", url: log.display().to_string(), looked: Some(directory_for("log", "file", log)) },
    ]
}
