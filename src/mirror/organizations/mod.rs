//! Organizations: their repositories and members, and repositories that they no longer have.
//!
//! | file | syncs |
//! |---|---|
//! | `repositories.rs` | the lists of repositories, with every token: each may see others |
//! | `discover.rs` | the organizations that the tokens belong to |
//! | `people.rs` | members, teams, outside collaborators |
//! | `missing.rs` | repositories that no list holds any more, each requested once |

mod discover;
mod missing;
mod people;
mod repositories;

pub(super) use people::PeopleScope;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::error::MirrorError;
use super::writer::Writer;
use crate::github::{ApiError, TokenRef};
use crate::mirror::accounts::User;
use crate::mirror::context::StageContext;
use crate::mirror::options::Options;
use crate::mirror::resource::Resource;
use crate::mirror::session::Mirror;
use crate::mirror::stats::StageStats;
use crate::mirror::sync_keys::organization_list;
use crate::store::relational::inventory::RepositoryRecord;
use crate::store::relational::{NO_PROJECT, SyncUpdate};

/// All repositories that were listed or mirrored, by GitHub's ids.
pub type Inventory = Arc<HashMap<i64, RepositoryRecord>>;

/// The result of listing an organization, or a person in an organization's place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrganizationReport {
    /// Login that was requested.
    pub asked: String,
    /// Present login, in GitHub's spelling.
    pub login: String,
    /// True if it is a person's account.
    pub person: bool,
    /// Repositories that are new in its lists.
    pub new: Vec<String>,
    /// Renamed repositories: former and present name.
    pub renamed: Vec<(String, String)>,
    /// Repositories deleted on GitHub and marked now.
    pub gone: Vec<String>,
    /// Repositories that no token can read any more.
    pub unreadable: Vec<String>,
    /// Notes that are no failures.
    pub notes: Vec<String>,
    /// Failures and their reasons: each makes the listing incomplete.
    pub problems: Vec<String>,
    /// True if every token's lists are complete, so that what they don't hold does not exist.
    pub complete: bool,
    /// True if any list is complete.
    pub listed: bool,
    /// Requests that count on a rate limit.
    pub requests: u64,
    /// Requests answered 304, which do not.
    pub free: u64,
    /// Fingerprints of the names in its lists.
    pub(super) seen: HashSet<i64>,
}

/// The sync of an organization's lists.
pub(super) struct OrganizationSync<'a> {
    mirror: &'a Mirror,
    writer: &'a Writer,
}

impl OrganizationSync<'_> {
    /// Builds the context for the lists of a resource: the organization or a part of it.
    fn context<S: Resource>(&self, resource: S, stats: &Arc<StageStats>) -> StageContext<S> {
        let shared = self.mirror.run_context(resource, Options::of(Vec::new()), self.writer.clone());
        let progress = shared.console.without_progress().progress("");
        StageContext { run: Arc::new(shared), stats: Arc::clone(stats), progress }
    }
}

impl Mirror {
    /// Lists an organization's repositories with every token, and mirrors its members and teams. `before` is the
    /// inventory by GitHub's ids; `process` owns the leases on renamed repositories.
    ///
    /// # Errors
    /// A store that can't be used, or the user's wish to stop. What GitHub does not give is in the result.
    pub async fn sync_organization(
        &self,
        login: &str,
        before: &Inventory,
        process: &str,
    ) -> Result<OrganizationReport, MirrorError> {
        let (writer, tasks) = Writer::start(&self.stores);
        let mut found = OrganizationReport {
            asked: login.to_owned(),
            login: login.to_owned(),
            complete: true,
            ..OrganizationReport::default()
        };
        let stats = Arc::new(StageStats::default());
        let synced = self.sync(login, (before, process), &writer, &stats, &mut found).await;
        drop(writer);
        tasks.finished().await;
        found.requests = stats.counter.counted();
        found.free = stats.counter.not_modified();
        synced.map(|()| found)
    }

    async fn sync(
        &self,
        login: &str,
        (before, process): (&Inventory, &str),
        writer: &Writer,
        stats: &Arc<StageStats>,
        found: &mut OrganizationReport,
    ) -> Result<(), MirrorError> {
        let own = match self.resolve_organization(login, stats, writer).await {
            Ok(own) => own,
            Err(MirrorError::Gone(error)) => {
                found.notes.push(format!("deleted on GitHub ({error})"));
                return Ok(());
            }
            Err(error) if error.is_fatal() => return Err(error),
            Err(error) => {
                found.record_problem(error.to_string());
                return Ok(());
            }
        };
        found.login.clone_from(&own.account.login);
        found.person = !own.account.organization;
        if !found.login.eq_ignore_ascii_case(&found.asked) {
            found.notes.push(format!("{} is called {} now", found.asked, found.login));
        }
        if found.person {
            found.notes.push("a person, not an organization: the person's own repositories are listed".to_owned());
        }
        let sync = OrganizationSync { mirror: self, writer };
        sync.repositories(&own, before, process, stats, found).await?;
        if own.account.organization {
            Box::pin(sync.people(&own, &PeopleScope::ALL, stats, found)).await?;
        }
        Ok(())
    }
}

impl Mirror {
    /// Refreshes a part of an organization's people.
    ///
    /// # Errors
    /// As [`Mirror::sync_organization`], or GitHub does not answer for the organization.
    pub(super) async fn refresh_people(
        &self,
        login: &str,
        scope: &PeopleScope,
    ) -> Result<OrganizationReport, MirrorError> {
        let (writer, tasks) = Writer::start(&self.stores);
        let mut found =
            OrganizationReport { asked: login.to_owned(), login: login.to_owned(), ..OrganizationReport::default() };
        let stats = Arc::new(StageStats::default());
        let refreshed = async {
            let own = self.resolve_organization(login, &stats, &writer).await?;
            found.login.clone_from(&own.account.login);
            if own.account.organization {
                let sync = OrganizationSync { mirror: self, writer: &writer };
                Box::pin(sync.people(&own, scope, &stats, &mut found)).await?;
            }
            writer.flush().await
        }
        .await;
        drop(writer);
        tasks.finished().await;
        found.requests = stats.counter.counted();
        found.free = stats.counter.not_modified();
        refreshed.map(|()| found)
    }

    /// Resolves an organization. GitHub redirects no logins, so its id is kept: `orgs.txt` may hold a former login for
    /// long.
    async fn resolve_organization(
        &self,
        login: &str,
        stats: &StageStats,
        writer: &Writer,
    ) -> Result<User, MirrorError> {
        let relational = &self.stores.relational;
        let kept = relational.list(NO_PROJECT, &organization_list(login)).await?;
        let resolved = match (self.resolve_account(login, false, stats, writer).await, &kept.watermark) {
            (Err(MirrorError::Api(error @ ApiError::NotFound { .. })), Some(github_id)) => {
                let github_id = github_id.parse().unwrap_or_default();
                match relational.find_account_by_github_id(github_id).await? {
                    Some(known) => self.resolve_account(&known.login, false, stats, writer).await?,
                    None => return Err(error.into()),
                }
            }
            (resolved, _) => resolved?,
        };
        let github_id = resolved.github_id.to_string();
        if kept.watermark.as_ref() != Some(&github_id) {
            let updates = vec![SyncUpdate::Watermark { list: kept.id, watermark: github_id }];
            self.save_sync_state(updates).await?;
        }
        Ok(resolved)
    }
}

impl OrganizationReport {
    /// Records a failure; unlisted repositories may then still exist.
    fn record_problem(&mut self, what: String) {
        tracing::warn!(organization = %self.asked, %what, "incomplete");
        self.problems.push(what);
        self.complete = false;
    }
}

/// Returns the account to be requested with one token.
fn with_token(own: &User, token: &TokenRef) -> User {
    User { token: Some(token.clone()), ..own.clone() }
}
