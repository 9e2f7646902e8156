//! Repositories to retrieve, from the queue `msght.projects`.

use tokio_util::sync::CancellationToken;

use super::leased::leased;
use super::{Handler, Verdict};
use crate::mirror::{Mirror, Options, repository_lease};
use crate::names::RepoName;

/// Retrieves the repositories that messages name, one worker at a time each.
pub struct Repositories {
    /// The way to GitHub and the stores; its `cancel` is not used.
    pub mirror: Mirror,
    /// What is retrieved.
    pub options: Options,
    /// This process, as others see it.
    pub process: String,
}

impl Handler for Repositories {
    async fn work(&self, body: &str, stop: CancellationToken) -> anyhow::Result<Verdict> {
        // `owner repo` (data model, §2), or `owner/repo`.
        let name = match RepoName::parse_line(body) {
            Ok(name) => name,
            Err(error) => return Ok(Verdict::Hopeless(format!("the message names no repository: {error}"))),
        };
        let options = self.options.clone();
        leased(&self.mirror, &repository_lease(&name), &self.process, &stop, |mirror| {
            let name = name.clone();
            async move { mirror.repository(&name, options).await }
        })
        .await
    }
}
