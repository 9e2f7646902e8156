//! The sync state of a repository's lists, read with two statements when its run begins: most runs find nothing changed, and
//! spent themselves in asking for one list after the other.
//!
//! What is written here leaves the cache before it is written: a list is read from the tables again then.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use super::Relational;
use super::batch::RowBatch;
use super::sync_state::{ListState, PageState, list_state, page_state};
use super::sync_update::SyncUpdate;
use crate::store::BackendError;

/// Pages of a list that are kept: one that has more is asked for by itself, for its fingerprints take memory.
const MAX_PAGES: i64 = 8;

/// What is known of the lists of repositories that are being mirrored.
#[derive(Debug, Default)]
pub(super) struct ListCache(Mutex<HashMap<i64, Lists>>);

/// The lists of one project.
#[derive(Debug, Default)]
struct Lists {
    states: HashMap<String, ListState>,
    pages: HashMap<i64, Vec<PageState>>,
}

impl ListCache {
    fn projects(&self) -> std::sync::MutexGuard<'_, HashMap<i64, Lists>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A list's state; `None` where it has to be asked for.
    pub(super) fn state(&self, project: i64, name: &str) -> Option<ListState> {
        self.projects().get(&project)?.states.get(name).cloned()
    }

    /// A list's pages; `None` where they have to be asked for.
    pub(super) fn pages(&self, list: i64) -> Option<Vec<PageState>> {
        self.projects().values().find_map(|lists| lists.pages.get(&list).cloned())
    }

    /// Forgets what is about to change of a list.
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

    /// Forgets the lists that these rows' steps are about.
    pub(super) fn invalidate_changed(&self, rows: &RowBatch) {
        let list = |step: &SyncUpdate| match step {
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
    /// Reads what is known of all lists of a project at once, for a run that is the only one to change it. To be followed
    /// by [`Relational::unload_lists`] when the run ends.
    ///
    /// # Errors
    /// The store could not be read.
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
        for mut row in self.read(sql, vec![project.into(), (MAX_PAGES + 1).into()]).await? {
            let list = row.pop().and_then(|list| list.as_i64());
            if let Some(pages) = list.and_then(|list| lists.pages.get_mut(&list)) {
                pages.push(page_state(&row));
            }
        }
        lists.pages.retain(|_, pages| pages.iter().all(|page| i64::from(page.page) <= MAX_PAGES));
        self.lists.projects().insert(project, lists);
        Ok(())
    }

    /// Forgets what [`Relational::load_lists`] has read.
    pub fn unload_lists(&self, project: i64) {
        self.lists.invalidate_project(project);
    }
}
