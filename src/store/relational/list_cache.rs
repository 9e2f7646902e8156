//! Cache of a repository's sync state, loaded with two statements when its run begins: most runs find nothing changed
//! and would spend their time on one query per list.
//!
//! A write invalidates its lists first; they are read from the tables again afterwards.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use super::Relational;
use super::batch::RowBatch;
use super::sync_state::{ListState, PageState, list_state, page_state};
use super::sync_update::SyncUpdate;
use crate::store::BackendError;

/// Maximum number of cached pages per list: fingerprints take memory, so longer lists are read on demand.
const MAX_CACHED_PAGES: i64 = 8;

/// Cached lists of the repositories being mirrored, by project.
#[derive(Debug, Default)]
pub(super) struct ListCache(Mutex<HashMap<i64, Lists>>);

/// Cached lists of one project.
#[derive(Debug, Default)]
struct Lists {
    states: HashMap<String, ListState>,
    pages: HashMap<i64, Vec<PageState>>,
}

impl ListCache {
    fn projects(&self) -> std::sync::MutexGuard<'_, HashMap<i64, Lists>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a list's cached state, if any.
    pub(super) fn state(&self, project: i64, name: &str) -> Option<ListState> {
        self.projects().get(&project)?.states.get(name).cloned()
    }

    /// Returns a list's cached pages, if any.
    pub(super) fn pages(&self, list: i64) -> Option<Vec<PageState>> {
        self.projects().values().find_map(|lists| lists.pages.get(&list).cloned())
    }

    /// Drops a list that is about to change.
    pub(super) fn invalidate(&self, list: i64) {
        for lists in self.projects().values_mut() {
            lists.pages.remove(&list);
            lists.states.retain(|_, state| state.id != list);
        }
    }

    pub(super) fn invalidate_project(&self, project: i64) {
        self.projects().remove(&project);
    }

    pub(super) fn clear(&self) {
        self.projects().clear();
    }

    /// Drops the lists that a batch's sync updates change.
    pub(super) fn invalidate_changed(&self, rows: &RowBatch) {
        let list = |update: &SyncUpdate| match update {
            SyncUpdate::Page { list, .. }
            | SyncUpdate::PagesEnd { list, .. }
            | SyncUpdate::PagesChecked { list, .. }
            | SyncUpdate::Watermark { list, .. }
            | SyncUpdate::Completed { list, .. } => Some(*list),
            _ => None,
        };
        let changed: HashSet<i64> = rows.sync_updates.iter().filter_map(list).collect();
        changed.into_iter().for_each(|list| self.invalidate(list));
    }
}

impl Relational {
    /// Caches all lists of a project, for a run that is the only one to change them. [`Relational::unload_lists`] must
    /// follow when the run ends.
    pub async fn load_lists(&self, project: i64) -> Result<(), BackendError> {
        self.lists.invalidate_project(project);
        let sql = "SELECT id, watermark, pending, completed_at, name FROM msght_lists WHERE project_id = ?";
        let mut lists = Lists::default();
        for mut row in self.read(sql, vec![project.into()]).await? {
            if let Some(name) = row.pop().and_then(super::sql::Value::into_text) {
                let state = list_state(row);
                lists.pages.insert(state.id, Vec::new());
                lists.states.insert(name, state);
            }
        }
        let sql = "SELECT p.page, p.url, p.etag, p.token, p.last_page, p.next, p.`keys`, p.checked_at, p.list_id \
                   FROM msght_lists l \
                   JOIN msght_pages p ON p.list_id = l.id WHERE l.project_id = ? AND p.page <= ? \
                   ORDER BY p.list_id, p.page";
        for mut row in self.read(sql, vec![project.into(), (MAX_CACHED_PAGES + 1).into()]).await? {
            let list = row.pop().and_then(|list| list.as_i64());
            if let Some(pages) = list.and_then(|list| lists.pages.get_mut(&list)) {
                pages.push(page_state(&row));
            }
        }
        lists.pages.retain(|_, pages| pages.iter().all(|page| i64::from(page.page) <= MAX_CACHED_PAGES));
        self.lists.projects().insert(project, lists);
        Ok(())
    }

    /// Drops what [`Relational::load_lists`] has cached.
    pub fn unload_lists(&self, project: i64) {
        self.lists.invalidate_project(project);
    }
}
