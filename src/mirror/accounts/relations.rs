//! Relations of an account: followers, followed accounts, organizations and members.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use futures::future::join_all;
use serde_json::Value;

use super::User;
use super::profiles::{self, MAX_PROFILE_AGE_DAYS};
use crate::github::ApiUrl;
use crate::mirror::context::{RunContext, StageContext};
use crate::mirror::error::MirrorError;
use crate::mirror::lists::{DEEP_PAGE, List, PER_PAGE, revalidate, tombstone};
use crate::mirror::mapping::account::account;
use crate::mirror::mapping::item::JsonItem;
use crate::mirror::mapping::{ItemMapper, MappedPage};
use crate::mirror::options::Options;
use crate::mirror::report::{Report, StageEnd, StageReport};
use crate::mirror::session::Mirror;
use crate::mirror::stats::StageStats;
use crate::mirror::sync_keys::account_list;
use crate::mirror::writer::Writer;
use crate::store::documents::Collection;
use crate::store::relational::rows::{Account, AccountRelation};
use crate::store::relational::sync_state::fingerprint;
use crate::store::relational::{NO_PROJECT, ProfileScope, RelationKind, RowBatch};

/// Name of the profile's line in the report.
const PROFILE: &str = "profile";
/// Name of the line of the related accounts' profiles.
const PROFILES: &str = "profiles";

/// A list of accounts that an account is related to.
pub(in crate::mirror) struct Relation {
    /// Name in the report.
    pub name: &'static str,
    /// Name in the sync state.
    list: &'static str,
    /// Address: `/users/LOGIN/followers`.
    path: [&'static str; 2],
    collection: Collection,
    /// Tag that holds the login whose list it is.
    tag: &'static str,
    /// Relation in the tables.
    tied: RelationKind,
    /// True if some of them are visible to members only.
    hides: bool,
    /// Key of their number in the profile.
    count: &'static str,
    /// Adds the relation to another account to the rows.
    add: fn(&mut RowBatch, Account, Account),
    /// Adds the end of the relation to an unlisted login to the rows.
    remove: fn(&mut RowBatch, String, String),
}

const FOLLOWERS: Relation = Relation {
    name: "followers",
    list: "followers",
    path: ["users", "followers"],
    collection: Collection::Followers,
    tag: "follows",
    tied: RelationKind::Followers,
    hides: false,
    count: "followers",
    add: |rows, own, other| rows.followers.push(AccountRelation { to: own, from: other }),
    remove: |rows, own, other| rows.removed_followers.push((own, other)),
};

const FOLLOWING: Relation = Relation {
    name: "following",
    list: "following",
    path: ["users", "following"],
    collection: Collection::Following,
    tag: "follower",
    tied: RelationKind::Following,
    hides: false,
    count: "following",
    add: |rows, own, other| rows.followers.push(AccountRelation { to: other, from: own }),
    remove: |rows, own, other| rows.removed_followers.push((other, own)),
};

/// People with access to an organization's repositories who are not its members.
pub(in crate::mirror) const OUTSIDE_COLLABORATORS: Relation = Relation {
    name: "outside_collaborators",
    list: "outside_collaborators",
    path: ["orgs", "outside_collaborators"],
    collection: Collection::OutsideCollaborators,
    tag: "org",
    tied: RelationKind::OutsideCollaborators,
    hides: false,
    count: "",
    add: |rows, own, other| rows.outside_collaborators.push(AccountRelation { to: own, from: other }),
    remove: |rows, own, other| rows.removed_outside_collaborators.push((own, other)),
};

const ORGANIZATIONS: Relation = Relation {
    name: "organizations",
    // The list's name in stored sync state stays as it was first written.
    list: "organisations",
    path: ["users", "orgs"],
    collection: Collection::UserOrgs,
    tag: "user",
    tied: RelationKind::Organizations,
    hides: false,
    count: "",
    add: |rows, own, other| {
        let to = Account { organization: true, ..other };
        rows.organization_members.push(AccountRelation { to, from: own });
    },
    remove: |rows, own, other| rows.removed_organization_members.push((other, own)),
};

pub(in crate::mirror) const MEMBERS: Relation = Relation {
    name: "members",
    list: "members",
    path: ["orgs", "members"],
    collection: Collection::OrgMembers,
    tag: "org",
    tied: RelationKind::Members,
    hides: true,
    count: "",
    add: |rows, own, other| rows.organization_members.push(AccountRelation { to: own, from: other }),
    remove: |rows, own, other| rows.removed_organization_members.push((own, other)),
};

impl Mirror {
    /// Mirrors one account and reports on each of its lists. `full` discards the sync state and fetches everything
    /// again.
    ///
    /// # Errors
    /// [`MirrorError::Gone`] where GitHub has an account no more that was known, which is then marked so; GitHub does not
    /// answer for it otherwise, or a store can't be used. What goes wrong within a list is in the report.
    pub async fn sync_account(&self, login: &str, full: bool) -> Result<Report, MirrorError> {
        let (writer, tasks) = Writer::start(&self.stores);
        let report = Box::pin(self.sync_account_with(login, full, &writer)).await;
        // The writer ends with its last sender.
        drop(writer);
        tasks.finished().await;
        report
    }

    async fn sync_account_with(&self, login: &str, full: bool, writer: &Writer) -> Result<Report, MirrorError> {
        let started = Instant::now();
        let stats = StageStats::default();
        let mut resource = Box::pin(self.resolve_account(login, full, &stats, writer)).await?;
        if resource.account.organization {
            // Where the App is installed, it is shown the members; elsewhere it is an outsider.
            let login = resource.account.login.as_str();
            let tokens = self.github.tokens_for(login);
            resource.token = tokens.into_iter().find(|token| token.is_installed_on(login));
        }
        writer.flush().await?;
        let opened = StageEnd { result: &Ok(()), aborted_by: None, time: started.elapsed() };
        let mut stages = vec![StageReport::of(PROFILE, &stats, Some(&opened))];
        let mut relations = vec![&FOLLOWERS, &FOLLOWING, &ORGANIZATIONS];
        relations.extend(resource.account.organization.then_some(&MEMBERS));
        let options = Options { full, ..Options::of(Vec::new()) };
        let run = Arc::new(self.run_context(resource, options, writer.clone()));
        let lists = relations.into_iter().map(|relation| {
            let ctx = StageContext::new(&run, Arc::default(), relation.name);
            async move {
                let (result, time) = run_list(&ctx, relation).await;
                (relation.name, ctx.stats, result, time)
            }
        });
        let mut fatal = None;
        let mut done = join_all(lists).await;
        let broken = |result: &Result<(), MirrorError>| result.as_ref().is_err_and(MirrorError::is_fatal);
        if !done.iter().any(|(_, _, result, _)| broken(result)) {
            done.push(Box::pin(self.sync_related_profiles(&run)).await);
        }
        for (name, stats, result, time) in done {
            let aborted_by = result.as_ref().err().filter(|error| error.is_fatal()).map(ToString::to_string);
            let end = StageEnd { result: &result, aborted_by: aborted_by.as_deref(), time };
            stages.push(StageReport::of(name, &stats, Some(&end)));
            match result {
                // The store's own error says more than that the writer has stopped.
                Err(error @ MirrorError::Store(_)) => fatal = Some(error),
                Err(error @ MirrorError::WriterStopped) => _ = fatal.get_or_insert(error),
                _ => {}
            }
        }
        match fatal {
            Some(error) => Err(error),
            None => Ok(Report { resource: run.resource.to_string(), stages, time: started.elapsed() }),
        }
    }
}

impl Mirror {
    /// Fetches the profiles of the accounts that the lists relate to this one.
    async fn sync_related_profiles(&self, run: &Arc<RunContext<User>>) -> RelationResult {
        let started = Instant::now();
        let ctx = StageContext::new(run, Arc::default(), PROFILES);
        let result = async {
            let known = ctx.run.stores.relational.find_account_by_github_id(ctx.resource().github_id).await?;
            let Some(known) = known else { return Ok(()) };
            let cutoff = Utc::now() - TimeDelta::days(MAX_PROFILE_AGE_DAYS);
            profiles::fetch_due_profiles(&ctx, ProfileScope::Account(known.id), cutoff).await?;
            ctx.flush().await
        }
        .await;
        ctx.progress.finish();
        (PROFILES, ctx.stats, result, started.elapsed())
    }
}

/// The result of one list: its name, statistics, result and duration.
type RelationResult = (&'static str, Arc<StageStats>, Result<(), MirrorError>, Duration);

/// Syncs one list, and waits until it is stored.
async fn run_list(ctx: &StageContext<User>, relation: &'static Relation) -> (Result<(), MirrorError>, Duration) {
    let started = Instant::now();
    let mut result = sync_or_record_refusal(ctx, relation).await;
    if result.is_ok() {
        result = ctx.flush().await;
    }
    ctx.progress.finish();
    let (user, list) = (ctx.resource(), relation.name);
    match &result {
        Ok(()) => tracing::info!(%user, list, seconds = started.elapsed().as_secs_f64(), "list done"),
        Err(error) => tracing::warn!(%user, list, %error, "list failed"),
    }
    (result, started.elapsed())
}

/// Syncs one list; a refusal is recorded, and is no failure.
async fn sync_or_record_refusal(ctx: &StageContext<User>, relation: &'static Relation) -> Result<(), MirrorError> {
    match sync_relation(ctx, relation).await {
        Err(MirrorError::Api(error)) if error.is_access_denied() => {
            ctx.record_not_permitted(format!("{}: {error}", relation.name));
            Ok(())
        }
        done => done,
    }
}

/// Syncs one list of an account.
///
/// # Errors
/// The list could not be had; what was read of it is stored.
pub(in crate::mirror) async fn sync_relation(
    ctx: &StageContext<User>,
    relation: &'static Relation,
) -> Result<(), MirrorError> {
    let map = move |user: &User, item: &JsonItem<'_>, out: &mut MappedPage| {
        let Some(other) = account(Some(item.value())) else {
            return Err(MirrorError::Answer("an account came without a login".to_owned()));
        };
        let own = user.account.login.as_str();
        let key = vec![own.into(), other.login.as_str().into()];
        out.documents.push(item.document(relation.collection, key, &[(relation.tag, own.into())]));
        (relation.add)(&mut out.rows, user.account.clone(), other);
        Ok(())
    };
    let map: &ItemMapper<User> = &map;
    let own = ctx.resource().account.login.as_str();
    let [of, what] = relation.path;
    let url = ApiUrl::path(&[of, own, what]);
    let list = List::new(relation.list, url, relation.collection, map);
    let listing = revalidate(ctx, &list).await?;
    let (seen, said) = (listing.ids.len() as u64, ctx.resource().json.get(relation.count).and_then(Value::as_u64));
    if let Some(said) = said.filter(|said| *said > seen)
        && listing.last_page >= DEEP_PAGE
        && seen.is_multiple_of(PER_PAGE as u64)
    {
        ctx.record_final_gap(format!("{seen} of {said}: GitHub's list ends at page {}", listing.last_page));
    }
    let relational = &ctx.run.stores.relational;
    if listing.redirected {
        // GitHub sends outsiders on to those members who want to be seen: who is not among them may be one all the same.
        return Ok(());
    }
    if relation.hides {
        let id = ctx.list_state(relation.list).await?.id;
        let before = relational.list_reader(id).await?;
        if listing.changed {
            if let Some(reader) = listing.reader.as_ref().filter(|reader| before.as_ref() != Some(reader)) {
                relational.set_list_reader(id, reader).await?;
            }
        } else if before != listing.reader {
            // Nothing has changed in what an outsider was sent on to.
            return Ok(());
        }
    }
    if listing.complete {
        let mut rows = RowBatch::default();
        for other in removed_logins(ctx, relation, &listing.ids).await? {
            (relation.remove)(&mut rows, own.to_owned(), other);
        }
        ctx.write_rows(rows).await?;
    }
    tombstone(ctx, relation.collection, &listing.gone).await
}

/// Returns the logins that the tables relate to the account and that the list no longer holds. (Documents can't tell:
/// they hold the logins as they were when listed.)
async fn removed_logins(
    ctx: &StageContext<User>,
    relation: &Relation,
    listed: &HashSet<i64>,
) -> Result<Vec<String>, MirrorError> {
    let own = ctx.resource().account.login.as_str();
    let stores = &ctx.run.stores;
    let mut logins = stores.relational.related_logins(own, relation.tied).await?;
    logins.retain(|login| !listed.contains(&fingerprint(&format!("{own}/{login}"))));
    if logins.is_empty() {
        return Ok(logins);
    }
    // A row keeps its login where only capitals have changed.
    let key = [own];
    let (mut spelled, mut pages) = (HashSet::new(), stores.documents.id_pages(relation.collection, &key));
    while let Some(ids) = pages.next().await? {
        let listed = ids.iter().filter(|id| listed.contains(&fingerprint(id)));
        spelled.extend(listed.filter_map(|id| Some(id.split_once('/')?.1.to_lowercase())));
    }
    logins.retain(|login| !spelled.contains(&login.to_lowercase()));
    let mut removed_logins = Vec::new();
    for login in logins {
        if relation.tied != RelationKind::Organizations || !has_members_listed(ctx, &login).await? {
            removed_logins.push(login);
        }
    }
    Ok(removed_logins)
}

/// Returns whether the organization's own list of members is synced. That list is authoritative on who has left: a
/// membership may just have become private.
async fn has_members_listed(ctx: &StageContext<User>, organization: &str) -> Result<bool, MirrorError> {
    let relational = &ctx.run.stores.relational;
    let known = relational.find_account(organization).await?;
    let Some(github_id) = known.and_then(|known| known.github_id) else { return Ok(false) };
    Ok(relational.list(NO_PROJECT, &account_list(github_id, MEMBERS.list)).await?.completed)
}
