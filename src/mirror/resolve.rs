//! Resolution of a repository: access, renames, deletion, and names that are reused.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;

use super::context::read_now;
use super::error::MirrorError;
use super::event::MirrorEvent;
use super::mapping::item::JsonItem;
use super::mapping::repository::{project_row, repository_document, unknown_parent};
use super::options::Options;
use super::request::fresh_page;
use super::resource::Repository;
use super::session::{Mirror, repository_lease_name};
use super::stats::StageStats;
use super::sync_keys::FIRST_MISSED;
use super::writer::{WriteRequest, Writer};
use crate::github::{ApiError, ApiUrl, Fetched, Page, Request};
use crate::json;
use crate::names::RepoName;
use crate::store::documents::{Collection, SourceRepository};
use crate::store::relational::leases::Lease;
use crate::store::relational::sync_state::PageState;
use crate::store::relational::{ProjectRecord, RowBatch, SyncUpdate, date, may_confirm_missing};

/// A repository that GitHub answered for.
pub(super) struct ResolvedRepository {
    /// The repository.
    pub repository: Repository,
    /// Name that its documents had until now, if it was another one.
    pub renamed_from: Option<String>,
    /// Lease on its present name, if that differs from the requested one and a lease is needed.
    pub lease: Option<Lease>,
}

impl Mirror {
    /// Fetches the repository itself: decides access and follows a rename.
    ///
    /// # Errors
    /// [`MirrorError::Gone`] where GitHub has it no more and it is marked so.
    pub(super) async fn resolve(
        &self,
        name: &RepoName,
        options: &Options,
        stats: &StageStats,
        writer: &Writer,
    ) -> Result<ResolvedRepository, MirrorError> {
        let relational = &self.stores.relational;
        let known = relational.find_project(name.owner(), name.name()).await?;
        let mut validator = None;
        if let Some(known) = &known {
            let list = relational.list(known.id, "repo").await?.id;
            let page = relational.pages(list).await?.into_iter().next();
            validator = page.and_then(|page| page.validator);
        }
        let last_reader = validator.as_ref().map(|v| v.scope.clone());
        // Should one that was gone come back unchanged, a 304 would leave the mark.
        let conditional = !options.full && known.as_ref().is_none_or(|known| !known.deleted);
        let sent = validator.filter(|_| conditional);
        let fetched = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Err(MirrorError::Canceled),
            fetched = self.github.repository(name, sent.as_ref(), &stats.counter) => fetched,
        };
        let page = match (fetched, &known) {
            (Ok(Fetched::Page(page)), _) => *page,
            (Ok(Fetched::NotModified), Some(known)) => {
                if let Some(repository) = self.stored_repository(known).await? {
                    let asked = name;
                    let public = repository.json.get("private").and_then(Value::as_bool).map(|private| !private);
                    self.github.record_rename(asked, &repository.name, public);
                    let lease = self.lease_current_name(asked, &repository.name).await?;
                    return Ok(ResolvedRepository { repository, renamed_from: None, lease });
                }
                self.refetch(name, stats).await?
            }
            (Ok(Fetched::NotModified), None) => self.refetch(name, stats).await?,
            (Err(error), Some(known)) if is_denied(&error) => {
                match Box::pin(self.find_by_id(known, name, stats)).await? {
                    Lookup::Found(page) => *page,
                    Lookup::Absent if self.is_gone(name, known, last_reader.as_deref(), &error, stats).await? => {
                        return Err(self.tombstone(name, known, error).await?);
                    }
                    Lookup::Unknown if self.is_gone(name, known, last_reader.as_deref(), &error, stats).await? => {
                        return Err(self.record_missed(name, known, error).await?);
                    }
                    Lookup::Absent | Lookup::Unknown | Lookup::Denied => return Err(error.into()),
                }
            }
            (Err(error), _) => return Err(error.into()),
        };
        let item = JsonItem::single(&page.body, read_now())?;
        let present = RepoName::new(&item.require_text("owner.login")?, &item.require_text("name")?)
            .map_err(|error| MirrorError::Answer(error.to_string()))?;
        let public = item.get_path("private").and_then(Value::as_bool).map(|private| !private);
        self.github.record_rename(name, &present, public);
        let lease = self.lease_current_name(name, &present).await?;
        let github_id = item.require_integer("id")?;
        if let Some(other) = relational.find_project(present.owner(), present.name()).await?
            && let Some(other_id) = other.github_id.filter(|other_id| *other_id != github_id)
        {
            self.displace_repository(&present, &other, other_id, stats).await?;
        }
        let mut renamed_from = None;
        if let Some(before) = relational.find_project_by_github_id(github_id).await? {
            renamed_from = before.documents_name.clone().filter(|before| *before != present.to_string());
            self.rename_documents(&before, &present.to_string()).await?;
        }
        let parent = unknown_parent(item.value());
        let row = project_row(item.value(), parent, true)
            .ok_or_else(|| MirrorError::Answer(format!("{name} came without an owner or a name")))?;
        let project = relational.ensure_project(row).await?;
        relational.set_documents_name(project, &present.to_string()).await?;
        if options.full {
            relational.reset(project).await?;
        }
        let tag = page.validator.as_ref().map(|validator| validator.etag.as_str());
        relational.set_project_etag(project, tag).await?;
        let list = relational.list(project, "repo").await?.id;
        let state = PageState::single(&ApiUrl::repo(&present, &[]), page.validator.clone());
        let rows = RowBatch { sync_updates: vec![SyncUpdate::Page { list, page: state }], ..RowBatch::default() };
        let counts = Arc::clone(&stats.counts);
        writer.write(WriteRequest { counts, documents: vec![repository_document(&item)?], rows }).await?;
        let source = self.source(project, &present, item.value()).await?;
        let repository = Repository { project, name: present, json: item.value().clone(), source };
        Ok(ResolvedRepository { repository, renamed_from, lease })
    }

    /// Returns a repository as it is stored; `None` if its document is not.
    pub(super) async fn stored_repository(&self, known: &ProjectRecord) -> Result<Option<Repository>, MirrorError> {
        let id = format!("{}/{}", known.owner, known.name);
        let stored = self.stores.documents.get(Collection::Repos, &id).await?;
        let Some(json) = stored.and_then(|json| json::parse::<Value>(&json).ok()) else { return Ok(None) };
        let name = RepoName::new(&known.owner, &known.name).map_err(|error| MirrorError::Answer(error.to_string()))?;
        let source = self.source(known.id, &name, &json).await?;
        Ok(Some(Repository { project: known.id, name, json, source }))
    }

    /// Returns the origin that documents shared with other repositories record.
    async fn source(
        &self,
        project: i64,
        name: &RepoName,
        json: &Value,
    ) -> Result<Option<Arc<SourceRepository>>, MirrorError> {
        let Some(repository) = json.get("id").and_then(Value::as_i64) else { return Ok(None) };
        let mut names = self.stores.relational.former_names(project).await?;
        names.push(name.to_string());
        Ok(Some(Arc::new(SourceRepository { repository, names })))
    }

    /// Takes a lease on the present name, too, if it differs from the requested one and the caller holds a lease.
    async fn lease_current_name(&self, asked: &RepoName, present: &RepoName) -> Result<Option<Lease>, MirrorError> {
        let Some(process) = self.lease_owner.as_deref().filter(|_| !asked.is_same_as(present)) else { return Ok(None) };
        match self.stores.relational.try_lease(&repository_lease_name(present), process).await? {
            Ok(lease) => Ok(Some(lease)),
            Err(holder) => Err(MirrorError::Busy(holder.to_string())),
        }
    }

    /// Returns whether an answer means that the repository is deleted (404 and 451; docs/data-model.md, "What is kept
    /// when something goes"). A 403 concerns only the token; so does a 404 while a token that could read it may be
    /// disabled.
    fn proves_deletion(&self, name: &RepoName, error: &ApiError) -> bool {
        match error {
            ApiError::NoAccess { tried, .. } => {
                tried.iter().all(|(_, status)| *status == 404) && !self.github.has_partial_view_of(name.owner())
            }
            ApiError::NotFound { .. } => !self.github.has_partial_view_of(name.owner()),
            error => matches!(error, ApiError::Legal { .. }),
        }
    }

    /// Returns whether a mirrored repository is deleted. A private one only is if the token that read it last still
    /// could, or one that sees all private repositories does not find it.
    async fn is_gone(
        &self,
        name: &RepoName,
        known: &ProjectRecord,
        last_reader: Option<&str>,
        error: &ApiError,
        stats: &StageStats,
    ) -> Result<bool, MirrorError> {
        if matches!(error, ApiError::Legal { .. }) {
            return Ok(true);
        }
        let id = format!("{}/{}", known.owner, known.name);
        let stored = self.stores.documents.get(Collection::Repos, &id).await?;
        let json = stored.and_then(|json| json::parse::<Value>(&json).ok());
        let private = json.and_then(|json| json.get("private")?.as_bool()).unwrap_or(true);
        if !self.proves_deletion(name, error) {
            return Ok(false);
        }
        let could_read = last_reader.is_none_or(|tags| self.github.can_still_read(tags, name.owner()));
        // Who read it last may have got another token since.
        Ok(!private || could_read || self.sees_all_private_of(name.owner(), stats).await?)
    }

    /// Looks up a repository by its id with every token: its name may not resolve for a moment, it may belong to
    /// another account whose installation alone sees it, or its owner may be renamed.
    async fn find_by_id(
        &self,
        known: &ProjectRecord,
        name: &RepoName,
        stats: &StageStats,
    ) -> Result<Lookup, MirrorError> {
        let Some(github_id) = known.github_id else { return Ok(Lookup::Unknown) };
        let url = ApiUrl::path(&["repositories", &github_id.to_string()]);
        let near = self.github.tokens_for(name.owner()).into_iter().map(|token| (token, true));
        let tokens = near.chain(self.github.tokens_elsewhere(name.owner()).into_iter().map(|token| (token, false)));
        let (mut asked, mut denied) = (HashSet::new(), false);
        for (token, near) in tokens {
            if !asked.insert(token.fingerprint.clone()) {
                continue;
            }
            let request = Request::get(url.clone()).token(token.clone());
            match self.get(&request, &stats.counter).await {
                Ok(Fetched::Page(page)) => {
                    let item = JsonItem::single(&page.body, read_now())?;
                    let present = RepoName::new(&item.require_text("owner.login")?, &item.require_text("name")?)
                        .map_err(|error| MirrorError::Answer(error.to_string()))?;
                    let private = item.get_path("private").and_then(Value::as_bool).unwrap_or(true);
                    self.github.record_access(&token, &present, !private);
                    return Ok(Lookup::Found(page));
                }
                Ok(Fetched::NotModified) => {}
                Err(MirrorError::Api(ApiError::NotFound { .. } | ApiError::Legal { .. })) => {}
                // That tells nothing of the repository, only of the token.
                Err(MirrorError::Api(error)) if error.is_access_denied() => denied |= near,
                Err(error) => return Err(error),
            }
        }
        Ok(if denied { Lookup::Denied } else { Lookup::Absent })
    }

    /// Records that a repository without a known id is not found: it counts as deleted when a later run misses it, too.
    async fn record_missed(
        &self,
        name: &RepoName,
        known: &ProjectRecord,
        error: ApiError,
    ) -> Result<MirrorError, MirrorError> {
        let relational = &self.stores.relational;
        let list = relational.list(known.id, FIRST_MISSED).await?;
        match list.watermark {
            Some(since) if may_confirm_missing(&since) => self.tombstone(name, known, error).await,
            Some(_) => Ok(error.into()),
            None => {
                let updates = vec![SyncUpdate::Watermark { list: list.id, watermark: date(read_now()) }];
                self.save_sync_state(updates).await?;
                Ok(error.into())
            }
        }
    }

    /// Marks a repository as deleted; reports it the first time.
    async fn tombstone(
        &self,
        name: &RepoName,
        known: &ProjectRecord,
        error: ApiError,
    ) -> Result<MirrorError, MirrorError> {
        if self.stores.relational.tombstone_project_if_seen(known).await? {
            MirrorEvent::RepositoryDeleted { name: &name.to_string() }.report(&self.console);
        } else if !known.deleted {
            return Ok(error.into());
        }
        let id = format!("{}/{}", known.owner, known.name);
        self.stores.documents.tombstone(Collection::Repos, &[id], read_now()).await?;
        Ok(MirrorError::Gone(error))
    }

    /// Displaces the repository that had a name before: its data move to its present name or, if it can't be found,
    /// to a name that no repository can have.
    async fn displace_repository(
        &self,
        name: &RepoName,
        other: &ProjectRecord,
        other_id: i64,
        stats: &StageStats,
    ) -> Result<(), MirrorError> {
        let url = ApiUrl::path(&["repositories", &other_id.to_string()]);
        let request = Request::get(url).repo(name.clone());
        match self.get_page(&request, &stats.counter).await {
            Ok(page) => {
                let item = JsonItem::single(&page.body, read_now())?;
                let present = format!("{}/{}", item.require_text("owner.login")?, item.require_text("name")?);
                let row = project_row(item.value(), unknown_parent(item.value()), true)
                    .ok_or_else(|| MirrorError::Answer(format!("{present} came without an owner or a name")))?;
                self.rename_documents(other, &present).await?;
                self.stores.relational.ensure_project(row).await?;
                Ok(())
            }
            Err(MirrorError::Api(
                error @ (ApiError::NotFound { .. } | ApiError::Forbidden { .. } | ApiError::Legal { .. }),
            )) => {
                let displaced_name = format!("{}~{other_id}", other.name);
                let kept_as = format!("{}/{displaced_name}", other.owner);
                MirrorEvent::RepositoryNameReused { name: &name.to_string(), kept_as: &kept_as }.report(&self.console);
                self.rename_documents(other, &kept_as).await?;
                self.stores
                    .relational
                    .displace_project(other.id, &displaced_name, self.proves_deletion(name, &error))
                    .await?;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Moves a repository's documents to its present name, however the rename was noticed.
    async fn rename_documents(&self, project: &ProjectRecord, present: &str) -> Result<(), MirrorError> {
        let Some(before) = project.documents_name.as_deref().filter(|before| *before != present) else { return Ok(()) };
        if let (Some(from), Some(to)) = (before.split_once('/'), present.split_once('/')) {
            MirrorEvent::RepositoryRenamed { from: before, to: present }.report(&self.console);
            self.stores.documents.rename_repository(from, to).await?;
            if !before.eq_ignore_ascii_case(present) {
                self.stores.relational.add_former_name(project.id, from.0, from.1).await?;
            }
            let generation = self.stores.documents.identity().await?.generation;
            let updates = vec![SyncUpdate::Documents { generation }];
            self.save_sync_state(updates).await?;
        }
        Ok(self.stores.relational.set_documents_name(project.id, present).await?)
    }

    async fn refetch(&self, name: &RepoName, stats: &StageStats) -> Result<Page, MirrorError> {
        fresh_page(self.github.repository(name, None, &stats.counter).await?, name)
    }
}

/// The result of looking up a repository by its id.
enum Lookup {
    Found(Box<Page>),
    /// No token sees it.
    Absent,
    /// A token that might see it is refused.
    Denied,
    /// Its id is not known.
    Unknown,
}

/// Returns whether an answer may mean that a repository is deleted or has moved.
fn is_denied(error: &ApiError) -> bool {
    matches!(error, ApiError::NoAccess { .. } | ApiError::NotFound { .. } | ApiError::Legal { .. })
}
