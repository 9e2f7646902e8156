//! Repositories to retrieve, from the queue `msght.projects`.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Handler, Verdict};
use crate::github::ApiError;
use crate::mirror::{Mirror, MirrorError, Options};
use crate::names::RepoName;

/// A repository that another worker is at is looked at again after this long.
const BUSY_FOR: Duration = Duration::from_secs(10);

/// While GitHub can't be reached, a message comes back after this long.
const OUTAGE_WAIT: Duration = Duration::from_secs(60);

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
        let name = match RepoName::parse_loosely(body) {
            Ok(name) => name,
            Err(error) => return Ok(Verdict::Hopeless(format!("the message names no repository: {error}"))),
        };
        let lease = match self.mirror.stores.relational.lease(&format!("project {name}"), &self.process).await? {
            Ok(lease) => lease,
            Err(holder) => {
                let who = format!("{} has it since {}", holder.name, holder.since.format("%Y-%m-%d %H:%M:%S UTC"));
                return Ok(Verdict::NotNow(who, BUSY_FOR));
            }
        };
        tracing::info!(repository = %name, "retrieving");
        let cancel = stop.child_token();
        let mirror = Mirror { cancel: cancel.clone(), ..self.mirror.clone() };
        let retrieval = mirror.repository(&name, self.options.clone());
        tokio::pin!(retrieval);
        let result = tokio::select! {
            result = &mut retrieval => result,
            () = lease.lost().cancelled() => {
                // Work in hand is still brought to a point from which the new holder goes on.
                cancel.cancel();
                retrieval.await
            }
        };
        let lost = lease.lost().is_cancelled();
        lease.release().await?;
        if lost {
            return Ok(Verdict::NotNow("its lease was lost".to_owned(), BUSY_FOR));
        }
        match result {
            Ok(_) if cancel.is_cancelled() => Ok(Verdict::Stopped),
            Ok(report) if report.is_complete() => Ok(Verdict::Done(report.summary())),
            Ok(report) => Ok(Verdict::Failed(report.summary())),
            Err(MirrorError::Cancelled) => Ok(Verdict::Stopped),
            Err(MirrorError::Api(error @ ApiError::Connect { .. })) => {
                self.mirror.console.error(&format!("error: {name}: {error}"));
                Ok(Verdict::NotNow(error.to_string(), OUTAGE_WAIT))
            }
            // No token is left: nothing else could be retrieved either.
            Err(error @ (MirrorError::Store(_) | MirrorError::Api(ApiError::Unauthorized { .. }))) => Err(error.into()),
            Err(error) => Ok(Verdict::Failed(error.to_string())),
        }
    }
}
