//! Session: what every run needs from outside, and the leases that runs take.

use std::sync::Arc;

use tokio::sync::{OnceCell, Semaphore};
use tokio_util::sync::CancellationToken;

use super::context::{MAX_PAGES_KIB, RunContext, read_now};
use super::error::MirrorError;
use super::options::Options;
use super::request::{fresh_page, get_unless_canceled};
use super::writer::Writer;
use crate::github::{Fetched, GitHub, Page, Request, RequestCounter};
use crate::names::RepoName;
use crate::store::Stores;
use crate::store::relational::outbox::EventPublishing;
use crate::store::relational::{RowBatch, SyncUpdate};
use crate::telemetry::Console;

/// Everything that runs need from outside.
#[derive(Clone)]
pub struct Mirror {
    /// Client of GitHub's API.
    pub github: GitHub,
    /// Both stores.
    pub stores: Stores,
    /// Output for users.
    pub console: Console,
    /// Canceled when the user asks to stop.
    pub cancel: CancellationToken,
    /// Rule for which stored events are published.
    pub publishing: EventPublishing,
    /// Name of this process as an owner of leases, if what it mirrors has to be leased.
    pub lease_owner: Option<Arc<str>>,
}

/// Returns the name of the lease on a repository.
pub fn repository_lease_name(name: &RepoName) -> String {
    format!("project {name}")
}

/// Returns the name of the lease on an account.
pub fn account_lease_name(login: &str) -> String {
    format!("user {login}")
}

impl Mirror {
    /// Releases this process's share of the tokens, and closes the stores.
    pub async fn close(self) {
        self.github.close().await;
        self.stores.close().await;
    }

    /// Sends a request unless the user asks to stop.
    ///
    /// # Errors
    /// The error that GitHub's answer amounts to, or the user's wish to stop.
    pub async fn get(&self, request: &Request, counter: &RequestCounter) -> Result<Fetched, MirrorError> {
        get_unless_canceled(&self.github, &self.cancel, request, counter).await
    }

    /// Fetches a page unconditionally.
    ///
    /// # Errors
    /// As [`Mirror::get`].
    pub(super) async fn get_page(&self, request: &Request, counter: &RequestCounter) -> Result<Page, MirrorError> {
        fresh_page(self.get(request, counter).await?, &request.url)
    }

    /// Stores updates of the sync state.
    pub(super) async fn save_sync_state(&self, updates: Vec<SyncUpdate>) -> Result<(), MirrorError> {
        Ok(self.stores.relational.apply(RowBatch { sync_updates: updates, ..RowBatch::default() }).await?)
    }

    /// Builds what the stages of one run over `resource` share.
    pub(super) fn run_context<S>(&self, resource: S, options: Options, writer: Writer) -> RunContext<S> {
        RunContext {
            github: self.github.clone(),
            stores: self.stores.clone(),
            writer,
            resource,
            options,
            publishing: self.publishing,
            started: read_now(),
            room: Arc::new(Semaphore::new(MAX_PAGES_KIB)),
            console: self.console.clone(),
            cancel: self.cancel.clone(),
            stored_ids: OnceCell::new(),
        }
    }
}
