//! The handler of the queue `msght.projects`: repositories to retrieve.

use tokio_util::sync::CancellationToken;

use super::leased_job::run_leased_job;
use super::{Handler, JobOutcome};
use crate::mirror::{Mirror, Options, repository_lease_name};
use crate::names::RepoName;

/// The handler that retrieves the repository that a message names, under its lease.
pub struct RepositoryHandler {
    /// GitHub and the stores; its `cancel` is not used.
    pub mirror: Mirror,
    /// Options of each retrieval.
    pub options: Options,
    /// This process's name, which other processes see.
    pub process: String,
}

impl Handler for RepositoryHandler {
    async fn handle(&self, body: &str, stop: CancellationToken) -> anyhow::Result<JobOutcome> {
        // `owner repo` (docs/queue.md) or `owner/repo`.
        let name = match RepoName::parse_line(body) {
            Ok(name) => name,
            Err(error) => return Ok(JobOutcome::DeadLetter(format!("the message names no repository: {error}"))),
        };
        let options = self.options.clone();
        run_leased_job(&self.mirror, &repository_lease_name(&name), &self.process, &stop, |mirror| {
            let name = name.clone();
            async move { mirror.sync_repository(&name, options).await }
        })
        .await
    }
}
