//! Resolution of an account: its profile, renames and deletion.
//!
//! GitHub's id identifies an account. GitHub redirects no logins, so an account whose login is not found is requested
//! by its id.

use std::sync::Arc;

use serde_json::Value;

use super::User;
use super::profiles::tombstone_profile;
use crate::mirror::context::read_now;
use crate::mirror::error::MirrorError;
use crate::mirror::event::MirrorEvent;
use crate::mirror::mapping::account::account;
use crate::mirror::mapping::item::JsonItem;
use crate::mirror::mapping::profile::{profile_document, profile_row};
use crate::mirror::session::Mirror;
use crate::mirror::stats::StageStats;
use crate::mirror::sync_keys::{PROFILE, account_list};

use crate::github::{ApiError, ApiUrl, Fetched, Request};
use crate::json;
use crate::mirror::writer::{WriteRequest, Writer};
use crate::store::documents::Collection;
use crate::store::relational::sync_state::PageState;
use crate::store::relational::{AccountRecord, NO_PROJECT, RowBatch, SyncUpdate};

/// Collections whose documents belong to an account by its login.
const ACCOUNT_COLLECTIONS: [Collection; 8] = [
    Collection::Followers,
    Collection::Following,
    Collection::UserOrgs,
    Collection::OrgMembers,
    Collection::Teams,
    Collection::TeamMembers,
    Collection::TeamRepos,
    Collection::OutsideCollaborators,
];

impl Mirror {
    /// Fetches an account's profile and follows a rename.
    ///
    /// # Errors
    /// [`MirrorError::Gone`] where GitHub has it no more and it is marked so; what else GitHub answers, or a store that can't
    /// be used.
    pub(in crate::mirror) async fn resolve_account(
        &self,
        login: &str,
        full: bool,
        stats: &StageStats,
        writer: &Writer,
    ) -> Result<User, MirrorError> {
        let relational = &self.stores.relational;
        let known = relational.find_account(login).await?;
        let login = known.as_ref().map_or(login, |known| &known.login);
        let mut url = ApiUrl::path(&["users", login]);
        let (mut validator, mut documents_name) = (None, login.to_owned());
        // Should one that was gone come back unchanged, a 304 would leave the mark.
        let current = known.as_ref().filter(|known| !full && !known.deleted);
        if let Some(github_id) = current.and_then(|known| known.github_id) {
            let list = relational.list(NO_PROJECT, &account_list(github_id, PROFILE)).await?;
            documents_name = list.watermark.unwrap_or(documents_name);
            let page = relational.pages(list.id).await?.into_iter().next().filter(|page| page.url == url.to_string());
            validator = page.and_then(|page| page.validator);
        }
        let request = Request::get(url.clone()).validator(validator.clone());
        let page = match self.get(&request, &stats.counter).await {
            Ok(Fetched::Page(page)) => *page,
            Ok(Fetched::NotModified) => {
                let stored = self.stores.documents.get(Collection::Users, &documents_name).await?;
                let json = stored.and_then(|json| json::parse::<Value>(&json).ok());
                match json.and_then(user) {
                    Some(user) => return Ok(user),
                    None => self.get_page(&Request::get(url.clone()), &stats.counter).await?,
                }
            }
            Err(MirrorError::Api(error @ ApiError::NotFound { .. })) => {
                let Some(known) = known.filter(|_| !self.github.has_disabled_token()) else { return Err(error.into()) };
                let by_github_id = known.github_id.map(|id| ApiUrl::path(&["user", &id.to_string()]));
                match by_github_id {
                    // Without an id a second run has to say so, too.
                    None if known.missing => return Err(self.tombstone_account(&known, error).await?),
                    None => {
                        self.record_missing(&known, false).await?;
                        return Err(error.into());
                    }
                    Some(by_github_id) => url = by_github_id,
                }
                match self.get_page(&Request::get(url.clone()), &stats.counter).await {
                    Err(MirrorError::Api(ApiError::NotFound { .. })) => {
                        return Err(self.tombstone_account(&known, error).await?);
                    }
                    page => page?,
                }
            }
            Err(error) => return Err(error),
        };
        let item = JsonItem::single(&page.body, read_now())?;
        let github_id = item.require_integer("id")?;
        let present = item.require_text("login")?;
        self.displace_account(&present, github_id, stats).await?;
        let name = account_list(github_id, PROFILE);
        let bore = relational.list(NO_PROJECT, &name).await?.watermark.filter(|bore| *bore != present);
        let former = relational.find_account_by_github_id(github_id).await?.and_then(|account| account.documents_name);
        if let Some(former) = former.filter(|former| *former != present) {
            tombstone_profile(&self.stores, &former, github_id).await?;
        }
        if let Some(bore) = &bore {
            MirrorEvent::AccountRenamed { from: bore, to: &present }.report(&self.console);
            self.tombstone_lists(bore, github_id).await?;
        }
        if full || bore.is_some() {
            relational.reset_lists(NO_PROJECT, &account_list(github_id, "%")).await?;
        }
        let list = relational.list(NO_PROJECT, &name).await?.id;
        let tag = page.validator.clone();
        let page = PageState::single(&url, tag.clone());
        let updates =
            vec![SyncUpdate::Page { list, page }, SyncUpdate::Completed { list, watermark: Some(present.clone()) }];
        let tag = tag.filter(|_| url == ApiUrl::path(&["users", &present]));
        let rows = RowBatch {
            profiles: profile_row(&item, tag).into_iter().collect(),
            sync_updates: updates,
            ..RowBatch::default()
        };
        let counts = Arc::clone(&stats.counts);
        writer.write(WriteRequest { counts, documents: vec![profile_document(&item)?], rows }).await?;
        writer.flush().await?;
        user(item.value().clone()).ok_or_else(|| MirrorError::Answer(format!("{present} came without a login")))
    }

    /// Marks an account's row and profile as deleted; all other data stay. Returns the error that ends the run.
    async fn tombstone_account(&self, known: &AccountRecord, error: ApiError) -> Result<MirrorError, MirrorError> {
        if !known.deleted {
            MirrorEvent::AccountDeleted { login: &known.login }.report(&self.console);
        }
        self.record_missing(known, true).await?;
        let bears = known.documents_name.clone().unwrap_or_else(|| known.login.clone());
        self.stores.documents.tombstone(Collection::Users, &[bears], read_now()).await?;
        Ok(MirrorError::Gone(error))
    }

    async fn record_missing(&self, known: &AccountRecord, certain: bool) -> Result<(), MirrorError> {
        let updates = vec![SyncUpdate::ProfileMissing { user: known.id, at: read_now(), certain }];
        self.save_sync_state(updates).await
    }

    /// Displaces the account that had a login before: it gets its present login, or, if deleted, one that
    /// no account can have.
    async fn displace_account(&self, login: &str, github_id: i64, stats: &StageStats) -> Result<(), MirrorError> {
        let relational = &self.stores.relational;
        let Some(other) = relational.find_account(login).await? else { return Ok(()) };
        let Some(other_id) = other.github_id.filter(|other_id| *other_id != github_id) else { return Ok(()) };
        let present =
            match self.get_page(&Request::get(ApiUrl::path(&["user", &other_id.to_string()])), &stats.counter).await {
                Ok(page) => Some(JsonItem::single(&page.body, read_now())?.require_text("login")?),
                Err(MirrorError::Api(ApiError::NotFound { .. })) => None,
                Err(error) => return Err(error),
            };
        let present = match present {
            // A row of that login that knows no id is the same account, which this one can't become.
            Some(present) if relational.find_account(&present).await?.is_none() => Some(present),
            _ => None,
        };
        let deleted = present.is_none();
        let present = present.unwrap_or_else(|| format!("{login}~{other_id}"));
        MirrorEvent::LoginReused { login, kept_as: &present }.report(&self.console);
        Ok(relational.displace_account(other.id, &present, deleted).await?)
    }

    /// Marks the profile and the lists under an account's former login as deleted, unless the login is another
    /// account's by now, whose own lists are authoritative.
    async fn tombstone_lists(&self, login: &str, github_id: i64) -> Result<(), MirrorError> {
        let taken = self.stores.relational.find_account(login).await?.and_then(|known| known.github_id);
        if taken.is_some_and(|taken| taken != github_id) {
            return Ok(());
        }
        let documents = &self.stores.documents;
        tombstone_profile(&self.stores, login, github_id).await?;
        for collection in ACCOUNT_COLLECTIONS {
            let key = [login];
            let mut pages = documents.id_pages(collection, &key);
            while let Some(ids) = pages.next().await? {
                documents.tombstone(collection, &ids, read_now()).await?;
            }
        }
        Ok(())
    }
}

/// Reads the account from a profile.
fn user(json: Value) -> Option<User> {
    let account = account(Some(&json))?;
    Some(User { github_id: account.github_id?, account, json, token: None })
}
