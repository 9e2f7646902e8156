//! What every run needs from outside, and the leases that runs take.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::context::{PAGES_KIB, Shared, read_now};
use super::options::Options;
use super::writer::Writer;
use crate::github::GitHub;
use crate::names::RepoName;
use crate::store::Stores;
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
    pub alone_as: Option<Arc<str>>,
}

/// What a worker at a repository holds a lease on.
pub fn lease_of(name: &RepoName) -> String {
    format!("project {name}")
}

/// The same of an account.
pub fn lease_of_account(login: &str) -> String {
    format!("user {login}")
}

impl Mirror {
    /// Gives up this process's part of the tokens, and closes the stores.
    pub async fn close(self) {
        self.github.close().await;
        self.stores.close().await;
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
            room: Arc::new(Semaphore::new(PAGES_KIB)),
            console: self.console.clone(),
            cancel: self.cancel.clone(),
        }
    }
}
