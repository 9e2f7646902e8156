//! The handler of the queue `msght.users`: accounts to retrieve.

use tokio_util::sync::CancellationToken;

use super::leased_job::run_leased_job;
use super::{Handler, JobOutcome};
use crate::mirror::{Mirror, account_lease_name};
use crate::names::is_login;

/// The handler that retrieves the account that a message names, under its lease.
pub struct UserHandler {
    /// GitHub and the stores; its `cancel` is not used.
    pub mirror: Mirror,
    /// This process's name, which other processes see.
    pub process: String,
}

impl Handler for UserHandler {
    async fn handle(&self, body: &str, stop: CancellationToken) -> anyhow::Result<JobOutcome> {
        // The body is the login (docs/queue.md).
        let login = body.trim();
        if !is_login(login) {
            return Ok(JobOutcome::DeadLetter("the message names no account: expected a login".to_owned()));
        }
        let lease = account_lease_name(login);
        run_leased_job(&self.mirror, &lease, &self.process, &stop, |mirror| async move {
            mirror.sync_account(login, false).await
        })
        .await
    }
}
