//! Repositories that no list of their organization holds any more.

use super::OrganizationReport;
use super::repositories::is_unreadable;
use crate::mirror::Update;
use crate::mirror::error::MirrorError;
use crate::mirror::session::{Mirror, repository_lease_name};
use crate::names::RepoName;
use crate::store::relational::RowBatch;
use crate::store::relational::inventory::RepositoryRecord;
use crate::store::relational::rows::ListingState;

impl Mirror {
    /// Requests each repository once that an organization's lists no longer hold: it is deleted, has moved, is readable
    /// but unlisted, or no token can read it. To be called after all organizations are listed, so that moves between
    /// them are known.
    ///
    /// # Errors
    /// A store that can't be used, or the user's wish to stop. What GitHub does not give is in the result.
    pub async fn resolve_unlisted(&self, found: &mut OrganizationReport, process: &str) -> Result<(), MirrorError> {
        if !found.complete {
            return Ok(());
        }
        let own: Vec<RepositoryRecord> = self.stores.relational.inventory_of(&found.login).await?;
        let missing: Vec<RepositoryRecord> = own
            .into_iter()
            .filter(|known| !known.deleted && matches!(known.listed.as_deref(), None | Some("listed")))
            .filter(|known| !found.lists_repository(&format!("{}/{}", known.owner, known.name)))
            .collect();
        for known in missing {
            // A displaced one bears a name that no repository can have.
            let Ok(name) = RepoName::new(&known.owner, &known.name) else { continue };
            let lease = match self.stores.relational.try_lease(&repository_lease_name(&name), process).await? {
                Ok(lease) => lease,
                Err(holder) => {
                    found.notes.push(format!("{name} is not listed any more, and {holder}"));
                    continue;
                }
            };
            self.check_missing(&name, &known, found).await?;
            lease.release().await?;
        }
        Ok(())
    }

    async fn check_missing(
        &self,
        name: &RepoName,
        known: &RepositoryRecord,
        found: &mut OrganizationReport,
    ) -> Result<(), MirrorError> {
        let before = self.github.counted();
        match self.update_repository(name).await {
            Ok((_, Update::Gone)) => found.gone.push(name.to_string()),
            Ok((present, Update::Renamed { .. })) if !present.eq_ignore_ascii_case(&name.to_string()) => {
                found.renamed.push((name.to_string(), present));
            }
            Ok(_) => {
                found.notes.push(format!("{name} is in no list, but can be read: it is kept"));
                self.record_listing_state(known, ListingState::Unlisted).await?;
            }
            Err(error) if error.is_fatal() => return Err(error),
            Err(error) if is_unreadable(&error) => {
                found.unreadable.push(name.to_string());
                found.notes.push(format!("no longer readable: {error}"));
                self.record_listing_state(known, ListingState::Unreadable).await?;
            }
            Err(error) => found.record_problem(format!("{name} is not listed any more: {error}")),
        }
        found.requests += self.github.counted().saturating_sub(before);
        Ok(())
    }

    async fn record_listing_state(&self, known: &RepositoryRecord, state: ListingState) -> Result<(), MirrorError> {
        let listing = known.listing(state);
        Ok(self.stores.relational.apply(RowBatch { listings: vec![listing], ..RowBatch::default() }).await?)
    }
}
