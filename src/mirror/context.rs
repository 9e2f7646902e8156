//! Context of a run and of its stages.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::error::MirrorError;
use super::lists::PartSize;
use super::mapping::item::JsonItem;
use super::mapping::{ItemMapper, MappedPage};
use super::options::Options;
use super::request::{fresh_page, get_unless_canceled};
pub(super) use super::resource::{Repository, Resource};
use super::stats::StageStats;
use super::writer::{WriteRequest, Writer};
use crate::github::{Accept, ApiUrl, Fetched, GitHub, Page, Request, VisitedUrls};
use crate::names::RepoName;
use crate::store::Stores;
use crate::store::documents::{Collection, Document};
use crate::store::relational::outbox::EventPublishing;
use crate::store::relational::rows::DeletedItem;
use crate::store::relational::sync_state::ListState;
use crate::store::relational::{RowBatch, SyncUpdate};
use crate::telemetry::{Console, Progress};
use crate::validator::Validator;

/// Limit in KiB of list pages that are requested or not mapped yet. Most pages have some 300 KiB, so that the number of
/// requests is the limit; pages full of long texts have 7 MiB and more.
pub(super) const MAX_PAGES_KIB: usize = 32 * 1024;
/// Reservation in KiB for a list's first page.
const INITIAL_PAGE_KIB: u32 = 512;

/// The context that all stages of a run share.
pub(super) struct RunContext<S = Repository> {
    /// Client of GitHub's API.
    pub github: GitHub,
    /// Both stores.
    pub stores: Stores,
    /// Pipeline into the stores.
    pub writer: Writer,
    /// The resource that is mirrored.
    pub resource: S,
    /// Options of the run.
    pub options: Options,
    /// Rule for which stored events are published.
    pub publishing: EventPublishing,
    /// Start of the run.
    pub started: DateTime<Utc>,
    /// Memory budget of pages, in KiB; see [`MAX_PAGES_KIB`].
    pub room: Arc<Semaphore>,
    /// Output for users.
    pub console: Console,
    /// Canceled when the user asks to stop.
    pub cancel: CancellationToken,
    /// Ids of the documents that were stored when the run's first list asked for them, by collection, where they are few.
    pub stored_ids: OnceCell<HashMap<Collection, Vec<String>>>,
}

/// The context of one stage.
#[derive(Clone)]
pub(super) struct StageContext<S = Repository> {
    /// Context shared with the other stages.
    pub run: Arc<RunContext<S>>,
    /// Statistics of the stage.
    pub stats: Arc<StageStats>,
    /// Progress of the stage.
    pub progress: Progress,
}

impl StageContext {
    /// Returns the repository.
    pub(super) fn repository(&self) -> &Repository {
        &self.run.resource
    }

    /// Builds a URL below the repository's.
    pub(super) fn url(&self, segments: &[&str]) -> ApiUrl {
        ApiUrl::repo(&self.run.resource.name, segments)
    }
}

impl<S: Resource> StageContext<S> {
    /// Starts the progress of the stage or list called `name`.
    pub(super) fn new(run: &Arc<RunContext<S>>, stats: Arc<StageStats>, name: &str) -> Self {
        let progress = run.console.progress(&format!("{} {name}", run.resource));
        Self { run: Arc::clone(run), stats, progress }
    }

    /// Returns the resource that is mirrored.
    pub(super) fn resource(&self) -> &S {
        &self.run.resource
    }

    /// Returns the `projects` row that the sync state belongs to.
    pub(super) fn project(&self) -> i64 {
        self.resource().project()
    }

    /// Loads the sync state of a list.
    pub(super) async fn list_state(&self, list: &str) -> Result<ListState, MirrorError> {
        let resource = self.resource();
        Ok(self.run.stores.relational.list(resource.project(), &resource.list_name(list)).await?)
    }

    /// Fetches one page or entity. With `divisible`, a request that times out is not retried for long, because the
    /// caller then requests smaller parts.
    ///
    /// # Errors
    /// The error that GitHub's answer amounts to, or the user's wish to stop.
    pub(super) async fn get(
        &self,
        url: &ApiUrl,
        accept: Accept,
        validator: Option<&Validator>,
        divisible: bool,
    ) -> Result<Fetched, MirrorError> {
        self.get_for(self.resource().repo(), url, accept, validator, divisible).await
    }

    /// Fetches one page or entity that belongs to `repo`, or to no repository.
    ///
    /// # Errors
    /// As [`StageContext::get`].
    pub(super) async fn get_for(
        &self,
        repo: Option<&RepoName>,
        url: &ApiUrl,
        accept: Accept,
        validator: Option<&Validator>,
        divisible: bool,
    ) -> Result<Fetched, MirrorError> {
        let request = Request::get(url.clone())
            .repo(repo.cloned())
            .accept(accept)
            .validator(validator.cloned())
            .can_split(divisible)
            .token(self.resource().token().cloned());
        get_unless_canceled(&self.run.github, &self.run.cancel, &request, &self.stats.counter).await
    }

    /// Reserves memory for another page of a list; waits until it is available.
    pub(super) async fn reserve_page_memory(&self) -> Option<OwnedSemaphorePermit> {
        let last = self.stats.page_kib.load(Ordering::Relaxed);
        let kib = if last == 0 { INITIAL_PAGE_KIB } else { last };
        let most = u32::try_from(MAX_PAGES_KIB).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        Arc::clone(&self.run.room).acquire_many_owned(kib.min(most)).await.ok()
    }

    /// Records the size of a list's page in bytes, as the estimate for the next one.
    pub(super) fn record_page_size(&self, bytes: usize) {
        self.stats.page_kib.store(u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Returns the number of items that the server delivers per request, as far as is known.
    pub(super) fn part_size(&self) -> MutexGuard<'_, PartSize> {
        self.stats.part_size.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches a page unconditionally.
    ///
    /// # Errors
    /// As [`StageContext::get`].
    pub(super) async fn get_page(&self, url: &ApiUrl, accept: Accept) -> Result<Page, MirrorError> {
        fresh_page(self.get(url, accept, None, false).await?, url)
    }

    /// Returns the pages of a short list that is not kept in the sync state, from `url` on.
    pub(super) fn linked_pages(&self, url: ApiUrl) -> LinkedPages<'_, S> {
        LinkedPages { context: self, next: Some(url), visited: VisitedUrls::default() }
    }

    /// Hands documents and rows to the writer.
    pub(super) async fn write(&self, mut documents: Vec<Document>, mut rows: RowBatch) -> Result<(), MirrorError> {
        self.progress.inc(documents.len() as u64);
        self.resource().stamp(&mut documents, &mut rows);
        let counts = Arc::clone(&self.stats.counts);
        self.run.writer.write(WriteRequest { counts, documents, rows }).await
    }

    /// Hands rows alone to the writer.
    pub(super) async fn write_rows(&self, rows: RowBatch) -> Result<(), MirrorError> {
        self.write(Vec::new(), rows).await
    }

    /// Hands the writer updates of the sync state, which are stored after everything before them.
    pub(super) async fn write_sync_state(&self, updates: Vec<SyncUpdate>) -> Result<(), MirrorError> {
        self.write_rows(RowBatch { sync_updates: updates, ..RowBatch::default() }).await
    }

    /// Waits until everything handed to the writer is stored.
    pub(super) async fn flush(&self) -> Result<(), MirrorError> {
        self.run.writer.flush().await
    }

    /// Maps items one by one, so that only one is held parsed. An item that can't be mapped is recorded as incomplete
    /// and does not stop the others.
    pub(super) fn map(&self, map: &ItemMapper<S>, items: &[&RawValue], read_at: DateTime<Utc>) -> MappedPage {
        let mut mapped = MappedPage::default();
        for raw in items {
            if let Err(error) = self.map_item(map, raw, read_at, &mut mapped) {
                self.record_incomplete(error.to_string());
            }
        }
        mapped
    }

    /// Maps one item and appends it to `mapped`.
    ///
    /// # Errors
    /// The item can't be used.
    pub(super) fn map_item(
        &self,
        map: &ItemMapper<S>,
        raw: &RawValue,
        read_at: DateTime<Utc>,
        mapped: &mut MappedPage,
    ) -> Result<(), MirrorError> {
        let item = JsonItem::new(raw, read_at)?;
        mapped.newest = mapped.newest.max(item.date("updated_at"));
        mapped.oldest = mapped.oldest.into_iter().chain(item.date("created_at")).min();
        map(self.resource(), &item, mapped)
    }

    /// Returns whether anything is incomplete so far.
    pub(super) fn is_incomplete(&self) -> bool {
        self.stats.counts.has_rejected()
            || !self.stats.incomplete.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Records something that could not be fetched or stored: the stage is incomplete, and the report says why.
    pub(super) fn record_incomplete(&self, what: String) {
        tracing::warn!(resource = %self.resource(), %what, "incomplete");
        self.stats.incomplete.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    /// Returns whether GitHub or the repository has refused any of it so far.
    pub(super) fn is_refused(&self) -> bool {
        let any = |notes: &Mutex<Vec<String>>| !notes.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        any(&self.stats.not_permitted) || any(&self.stats.disabled)
    }

    /// Records something that the tokens are not permitted to read.
    pub(super) fn record_not_permitted(&self, what: String) {
        tracing::warn!(resource = %self.resource(), %what, "not permitted");
        self.stats.not_permitted.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    /// Records a feature that the repository has disabled, in GitHub's words.
    pub(super) fn record_disabled(&self, what: String) {
        tracing::info!(resource = %self.resource(), %what, "disabled");
        self.stats.disabled.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    /// Records a gap that no later request can close, such as a commit's files beyond the 3,000 that GitHub gives.
    /// Every run reports it; it does not make the stage incomplete.
    pub(super) fn record_final_gap(&self, what: String) {
        tracing::info!(resource = %self.resource(), %what, "final gap");
        self.stats.final_gaps.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    /// Marks documents, and the rows made from them, as deleted on GitHub.
    pub(super) async fn tombstone(&self, collection: Collection, ids: &[String]) -> Result<(), MirrorError> {
        if ids.is_empty() {
            return Ok(());
        }
        let marked = self.run.stores.documents.tombstone(collection, ids, Utc::now()).await?;
        self.stats.counts.deleted.fetch_add(marked, Ordering::Relaxed);
        let prefix = format!("{}/", self.resource().key().join("/"));
        let rest = ids.iter().filter_map(|id| id.strip_prefix(&prefix));
        let gone: Vec<DeletedItem> =
            rest.filter_map(|rest| DeletedItem::of(collection, self.project(), rest)).collect();
        if gone.is_empty() {
            return Ok(());
        }
        self.write(Vec::new(), RowBatch { deleted_items: gone, ..RowBatch::default() }).await
    }
}

/// Pages that link to each other, for lists without sync state.
pub(super) struct LinkedPages<'a, S> {
    context: &'a StageContext<S>,
    next: Option<ApiUrl>,
    visited: VisitedUrls,
}

impl<S: Resource> LinkedPages<'_, S> {
    /// Fetches the next page; `None` behind the last.
    ///
    /// # Errors
    /// As [`StageContext::get`], or the page was fetched before.
    pub(super) async fn next(&mut self) -> Result<Option<Page>, MirrorError> {
        let Some(url) = self.next.take() else { return Ok(None) };
        self.visited.visit(&url)?;
        let page = self.context.get_page(&url, Accept::Json).await?;
        self.next.clone_from(&page.links.next);
        Ok(Some(page))
    }
}

/// Returns the time at which a page was read, by this machine's clock, so that dates in the store are comparable.
pub(super) fn read_now() -> DateTime<Utc> {
    Utc::now()
}
