//! Lists of an owner's repositories.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::{Inventory, OrganizationReport, OrganizationSync, with_token};
use crate::github::{Accept, ApiError, ApiUrl, TokenRef};
use crate::mirror::Update;
use crate::mirror::accounts::User;
use crate::mirror::error::MirrorError;
use crate::mirror::lists::{DEEP_PAGE, Expected, List, PER_PAGE, revalidate_expecting};
use crate::mirror::mapping::item::JsonItem;
use crate::mirror::mapping::repository::listing;
use crate::mirror::mapping::repository::{project_row, unknown_parent};
use crate::mirror::mapping::{ItemMapper, MappedPage};
use crate::mirror::session::repository_lease_name;
use crate::mirror::stats::StageStats;
use crate::names::RepoName;
use crate::store::documents::Collection;
use crate::store::relational::RowBatch;
use crate::store::relational::rows::{ListingState, ProjectListing};
use crate::store::relational::sync_state::fingerprint;

/// A listed repository that was renamed, or whose name was another repository's.
struct RenamedRepository {
    name: RepoName,
    /// Former name.
    from: Option<String>,
    listing: ProjectListing,
}

/// The state of the store before the lists were synced.
struct KnownState {
    by_github_id: Inventory,
    /// Lower-case `owner/name` of the owner's own projects, to GitHub's ids.
    github_ids: HashMap<String, Option<i64>>,
}

/// Differences that the lists showed.
#[derive(Default)]
struct ListingDiff {
    new: Vec<String>,
    moved: HashMap<i64, RenamedRepository>,
}

impl OrganizationSync<'_> {
    /// Syncs the list with every token: each may see other private repositories.
    pub(super) async fn repositories(
        &self,
        own: &User,
        before: &Inventory,
        process: &str,
        stats: &Arc<StageStats>,
        found: &mut OrganizationReport,
    ) -> Result<(), MirrorError> {
        let github_ids = self.mirror.stores.relational.github_ids_of_owner(&own.account.login).await?;
        let before = KnownState { by_github_id: Arc::clone(before), github_ids };
        let before = Arc::new(before);
        let shown: Arc<Mutex<ListingDiff>> = Arc::default();
        let login = own.account.login.as_str();
        let github = &self.mirror.github;
        let tokens = github.tokens_for(login);
        let mut refused = Vec::new();
        for token in &tokens {
            let Some(url) = self.list_url(own, token, found.listed, stats).await? else { continue };
            match self.list_with(own, token, url, &before, &shown, stats).await {
                Ok(ids) => {
                    self.record_readers(token, &ids, &before);
                    found.seen.extend(ids);
                    found.listed = true;
                }
                Err(error) if error.is_fatal() => return Err(error),
                // What one token is refused, another may be shown.
                Err(MirrorError::Api(error))
                    if error.is_access_denied() || matches!(error, ApiError::SsoRequired { .. }) =>
                {
                    refused.push(error);
                }
                Err(error) => found.record_problem(error.to_string()),
            }
        }
        for (hint, why) in github.disabled_for(login) {
            found
                .record_problem(format!("{hint} is disabled ({why}): repositories that only it can see are not known"));
        }
        self.note_app_access(login, &tokens, found);
        for error in refused {
            if found.listed {
                found.notes.push(format!("not listed with every token: {error}"));
            } else {
                found.record_problem(error.to_string());
            }
        }
        let incomplete = std::mem::take(&mut *stats.incomplete.lock().unwrap_or_else(PoisonError::into_inner));
        for reason in incomplete {
            found.record_problem(reason);
        }
        let shown = std::mem::take(&mut *shown.lock().unwrap_or_else(PoisonError::into_inner));
        found.new = shown.new;
        let revived = before.marked_and_listed(found, &shown.moved);
        for moved in shown.moved.into_values().chain(revived) {
            self.apply_rename(moved, process, found).await?;
        }
        Ok(())
    }

    /// Notes what the App can't see: its owner decides which repositories it covers.
    fn note_app_access(&self, login: &str, tokens: &[TokenRef], found: &mut OrganizationReport) {
        let own = self.mirror.github.installations().iter().find(|on| on.account.eq_ignore_ascii_case(login));
        if tokens.iter().all(|token| token.is_installed_elsewhere(login)) && own.is_none_or(|own| !own.suspended) {
            found.record_problem(
                "the App is not installed there, and there is no other token: only public repositories are listed, and \
                 what is not listed stays as it was"
                    .to_owned(),
            );
        }
        let Some(own) = own else { return };
        if own.selected {
            found
                .notes
                .push("the App is installed on selected repositories only: it can't see other private ones".to_owned());
        }
        if !own.organization {
            found
                .notes
                .push("GitHub lists a person's private repositories to that person alone, not to the App".to_owned());
        }
    }

    /// Returns the URL by which a token lists the owner's repositories. A person's private ones are visible to that
    /// person only, and the public ones need to be listed only once.
    async fn list_url(
        &self,
        own: &User,
        token: &TokenRef,
        listed: bool,
        stats: &Arc<StageStats>,
    ) -> Result<Option<ApiUrl>, MirrorError> {
        let login = own.account.login.as_str();
        let sorted = |url: ApiUrl| url.query("sort", "full_name").query("direction", "asc");
        if own.account.organization {
            return Ok(Some(sorted(ApiUrl::path(&["orgs", login, "repos"]).query("type", "all"))));
        }
        if token.installed_on.is_some() {
            return Ok((!listed).then(|| sorted(ApiUrl::path(&["users", login, "repos"]).query("type", "owner"))));
        }
        let ctx = self.context(with_token(own, token), stats);
        let whose = match ctx.get_page(&ApiUrl::path(&["user"]), Accept::Json).await {
            Ok(page) => JsonItem::single(&page.body, crate::mirror::context::read_now())?.integer("id"),
            Err(error) if error.is_fatal() => return Err(error),
            // Without a token.
            Err(_) => None,
        };
        if whose == Some(own.github_id) {
            return Ok(Some(sorted(ApiUrl::path(&["user", "repos"]).query("affiliation", "owner"))));
        }
        Ok((!listed).then(|| sorted(ApiUrl::path(&["users", login, "repos"]).query("type", "owner"))))
    }

    async fn list_with(
        &self,
        own: &User,
        token: &TokenRef,
        url: ApiUrl,
        before: &Arc<KnownState>,
        shown: &Arc<Mutex<ListingDiff>>,
        stats: &Arc<StageStats>,
    ) -> Result<HashSet<i64>, MirrorError> {
        let (github, reader) = (self.mirror.github.clone(), token.clone());
        let (before, shown) = (Arc::clone(before), Arc::clone(shown));
        let map = move |own: &User, item: &JsonItem<'_>, out: &mut MappedPage| {
            let name = RepoName::new(&item.require_text("owner.login")?, &item.require_text("name")?)
                .map_err(|error| MirrorError::Answer(error.to_string()))?;
            // A list of a person's own holds nobody else's; what else comes is not this owner's.
            if !name.owner().eq_ignore_ascii_case(&own.account.login) {
                return Ok(());
            }
            let private = item.get_path("private").and_then(Value::as_bool).unwrap_or(true);
            github.record_access(&reader, &name, !private);
            before.detect_rename_or_map(&name, item, out, &mut shown.lock().unwrap_or_else(PoisonError::into_inner))
        };
        let map: &ItemMapper<User> = &map;
        let ctx = self.context(with_token(own, token), stats);
        let name = format!("repositories/{}", token.fingerprint);
        let list = List::new(&name, url, Collection::Repos, map);
        let listing = revalidate_expecting(&ctx, &list, Expected::Irrelevant).await?;
        ctx.flush().await?;
        let shown = listing.ids.len();
        if listing.last_page >= DEEP_PAGE && shown.is_multiple_of(PER_PAGE) {
            ctx.record_incomplete(format!(
                "{shown} repositories and no more: GitHub's list ends at page {}",
                listing.last_page
            ));
        }
        Ok(listing.ids)
    }

    /// Records the repositories that a token can read, also those on unchanged pages, so that the entity tags it got
    /// for their lists are used.
    fn record_readers(&self, token: &TokenRef, shown: &HashSet<i64>, before: &KnownState) {
        let own = before.github_ids.values().flatten().filter_map(|github_id| before.by_github_id.get(github_id));
        for known in own {
            let Ok(name) = RepoName::new(&known.owner, &known.name) else { continue };
            if shown.contains(&fingerprint(&name.to_string())) {
                self.mirror.github.record_access(token, &name, known.visibility.as_deref() == Some("public"));
            }
        }
    }

    /// Updates a renamed repository, or one whose name was another's: that moves the data of both.
    async fn apply_rename(
        &self,
        moved: RenamedRepository,
        process: &str,
        found: &mut OrganizationReport,
    ) -> Result<(), MirrorError> {
        let RenamedRepository { name, from, listing } = moved;
        let relational = &self.mirror.stores.relational;
        let mut leases = Vec::new();
        let former = from.as_deref().and_then(|from| from.parse::<RepoName>().ok());
        for name in former.iter().chain([&name]) {
            match relational.try_lease(&repository_lease_name(name), process).await? {
                Ok(lease) => leases.push(lease),
                Err(holder) => {
                    found.record_problem(format!("{name} was renamed, and {holder}; the next run updates it"));
                    return Ok(());
                }
            }
        }
        match self.mirror.update_repository(&name).await {
            Ok((present, update)) => {
                relational.apply(RowBatch { listings: vec![listing], ..RowBatch::default() }).await?;
                match (from, update) {
                    (_, Update::Gone) => {}
                    (Some(from), _) => found.renamed.push((from, present)),
                    (None, _) => found.new.push(present),
                }
            }
            Err(error) if error.is_fatal() => return Err(error),
            Err(error) => found.record_problem(format!("{name} was renamed: {error}")),
        }
        for lease in leases {
            lease.release().await?;
        }
        Ok(())
    }
}

impl KnownState {
    /// Returns repositories that are marked as deleted although an unchanged page lists them.
    fn marked_and_listed(
        &self,
        found: &OrganizationReport,
        moved: &HashMap<i64, RenamedRepository>,
    ) -> Vec<RenamedRepository> {
        let own = self.github_ids.values().flatten().filter_map(|github_id| self.by_github_id.get(github_id));
        let marked = own.filter(|known| known.deleted && !moved.contains_key(&known.github_id));
        let listed = marked.filter_map(|known| {
            let name = RepoName::new(&known.owner, &known.name).ok()?;
            let text = name.to_string();
            let unseen = found.seen.contains(&fingerprint(&text)) && !found.new.contains(&text);
            unseen.then(|| RenamedRepository { name, from: None, listing: known.listing(ListingState::Listed) })
        });
        listed.collect()
    }

    /// Maps a listed repository, unless a rename has to be handled first.
    fn detect_rename_or_map(
        &self,
        name: &RepoName,
        item: &JsonItem<'_>,
        out: &mut MappedPage,
        shown: &mut ListingDiff,
    ) -> Result<(), MirrorError> {
        let github_id = item.require_integer("id")?;
        let listing =
            ProjectListing { documents_name: Some(name.to_string()), ..listing(github_id, item, ListingState::Listed) };
        let known = self.by_github_id.get(&github_id);
        let from = known
            .map(|known| known.documents_name.clone().unwrap_or_else(|| format!("{}/{}", known.owner, known.name)))
            .filter(|before| *before != name.to_string());
        let holder = self.github_ids.get(&name.to_string().to_lowercase()).copied().flatten();
        if from.is_some() || holder.is_some_and(|holder| holder != github_id) {
            shown.moved.entry(github_id).or_insert_with(|| RenamedRepository { name: name.clone(), from, listing });
            return Ok(());
        }
        if known.is_none_or(|known| known.listed.is_none() || known.deleted) && !shown.new.contains(&name.to_string()) {
            shown.new.push(name.to_string());
        }
        let key = vec![name.owner().into(), name.name().into()];
        out.documents.push(item.document(Collection::Repos, key, &[]));
        out.rows.projects.extend(project_row(item.value(), unknown_parent(item.value()), true));
        out.rows.listings.push(listing);
        Ok(())
    }
}

impl OrganizationReport {
    /// Returns whether any list held the repository.
    pub(super) fn lists_repository(&self, name: &str) -> bool {
        self.seen.contains(&fingerprint(name))
            || self.renamed.iter().any(|(_, present)| present == name)
            || self.new.iter().any(|new| new == name)
    }
}

/// Returns whether an answer means that no token has access, which does not tell whether the repository exists.
pub(super) fn is_unreadable(error: &MirrorError) -> bool {
    matches!(
        error,
        MirrorError::Api(
            ApiError::NoAccess { .. }
                | ApiError::NotFound { .. }
                | ApiError::Forbidden { .. }
                | ApiError::SsoRequired { .. }
        )
    )
}
