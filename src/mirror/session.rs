//! What every run needs from outside, and the leases that runs take.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::context::{MAX_PAGES_KIB, Shared, read_now};
use super::error::MirrorError;
use super::options::Options;
use super::request::{fresh_page, get_unless_cancelled};
use super::writer::Writer;
use crate::github::{Fetched, GitHub, Page, Request, RequestCounter};
use crate::names::RepoName;
use crate::store::Stores;
use crate::store::relational::{RowBatch, SyncUpdate};
use crate::telemetry::Console;

/// What a run needs from outside.
#[derive(Clone)]
pub struct Mirror {
    /// The way to GitHub.
    pub github: GitHub,
    /// The stores.
    pub stores: Stores,
    /// Where users read.
    pub console: Console,
    /// Set when the user asks to stop.
    pub cancel: CancellationToken,
    /// What this process is called, if it has to be alone at what it mirrors.
    pub lease_owner: Option<Arc<str>>,
}

/// What a worker at a repository holds a lease on.
pub fn repository_lease(name: &RepoName) -> String {
    format!("project {name}")
}

/// The same of an account.
pub fn account_lease(login: &str) -> String {
    format!("user {login}")
}

impl Mirror {
    /// Gives up this process's part of the tokens, and closes the stores.
    pub async fn close(self) {
        self.github.close().await;
        self.stores.close().await;
    }

    /// Sends a request unless the user asks to stop.
    ///
    /// # Errors
    /// What GitHub's answer amounts to, or the user's wish to stop.
    pub async fn get(&self, request: &Request, meter: &RequestCounter) -> Result<Fetched, MirrorError> {
        get_unless_cancelled(&self.github, &self.cancel, request, meter).await
    }

    /// Fetches an entity whose state is not known, so that the answer is a page.
    ///
    /// # Errors
    /// As [`Mirror::get`].
    pub(super) async fn get_page(&self, request: &Request, meter: &RequestCounter) -> Result<Page, MirrorError> {
        fresh_page(self.get(request, meter).await?, &request.url)
    }

    /// Stores what is true of the sync state by now.
    ///
    /// # Errors
    /// The store can't be written.
    pub(super) async fn save_sync_state(&self, progress: Vec<SyncUpdate>) -> Result<(), MirrorError> {
        Ok(self.stores.relational.apply(RowBatch { sync_updates: progress, ..RowBatch::default() }).await?)
    }

    /// Builds what the stages of one run over `subject` share.
    pub(super) fn run_context<S>(&self, subject: S, options: Options, writer: Writer) -> Shared<S> {
        Shared {
            github: self.github.clone(),
            stores: self.stores.clone(),
            writer,
            subject,
            options,
            started: read_now(),
            room: Arc::new(Semaphore::new(MAX_PAGES_KIB)),
            console: self.console.clone(),
            cancel: self.cancel.clone(),
        }
    }
}
