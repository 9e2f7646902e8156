//! Profiles of the people that rows and documents mention: each is fetched once for everything that mentions it, and
//! again, conditionally, after a month.
//!
//! GitHub redirects no logins. An account whose login is not found, or belongs to another account, is requested by its
//! id: a renamed account is followed, and only one that is found under neither is marked as deleted. Without an id,
//! that takes two runs.

use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt};
use serde_json::Value;

use crate::github::{Accept, ApiError, ApiUrl, Fetched, Page};
use crate::mirror::context::{StageContext, read_now};
use crate::mirror::error::MirrorError;
use crate::mirror::mapping::item::JsonItem;
use crate::mirror::mapping::profile::{profile_document, profile_row};
use crate::mirror::resource::Resource;
use crate::store::Stores;
use crate::store::documents::Collection;
use crate::store::relational::{DueProfile, ProfileScope, RowBatch, SyncUpdate};

/// Age in days after which a profile is fetched again.
pub(in crate::mirror) const MAX_PROFILE_AGE_DAYS: i64 = 30;
/// Profiles requested concurrently.
const MAX_CONCURRENT_PROFILES: usize = 16;
/// Accounts read from the store per query.
const ACCOUNTS_PER_QUERY: u32 = 2000;

/// GitHub's answer for an account.
enum Answer {
    Unchanged,
    /// The profile.
    Found {
        page: Box<Page>,
        /// True if it was found by login, so that its entity tag can be used again.
        by_login: bool,
    },
    Missing,
    /// Not found while a token is disabled that might see it.
    Hidden(ApiError),
}

/// Fetches the profiles that were last fetched before `cutoff`, or never. One failure does not stop the others.
///
/// # Errors
/// An error that every profile would meet: a store that can't be used, the user's wish to stop, no token, an outage.
pub(in crate::mirror) async fn fetch_due_profiles<S: Resource>(
    ctx: &StageContext<S>,
    people: ProfileScope,
    cutoff: DateTime<Utc>,
) -> Result<(), MirrorError> {
    ctx.flush().await?;
    let unconfirmed = AtomicUsize::new(0);
    let mut after = 0;
    loop {
        let relational = &ctx.run.stores.relational;
        let due = relational.profiles_due(people, cutoff, after, ACCOUNTS_PER_QUERY).await?;
        let Some(last) = due.last() else { break };
        after = last.user;
        futures::stream::iter(due)
            .map(Ok)
            .try_for_each_concurrent(MAX_CONCURRENT_PROFILES, |due| Box::pin(sync_profile(ctx, due, &unconfirmed)))
            .await?;
    }
    let unconfirmed = unconfirmed.into_inner();
    if unconfirmed > 0 {
        ctx.record_incomplete(format!(
            "{unconfirmed} accounts without a known id are not found by login; a later run checks again before \
             they count as deleted"
        ));
    }
    Ok(())
}

async fn sync_profile<S: Resource>(
    ctx: &StageContext<S>,
    due: DueProfile,
    unconfirmed: &AtomicUsize,
) -> Result<(), MirrorError> {
    match look_up(ctx, &due).await {
        Ok(answer) => store_profile_answer(ctx, &due, answer, unconfirmed).await,
        Err(error) if error.concerns_all_items() || is_outage(ctx, &error) => Err(error),
        Err(error) => {
            ctx.record_incomplete(format!("the profile of {}: {error}", due.login));
            Ok(())
        }
    }
}

/// Returns whether GitHub is unavailable as a whole, and not only for one profile.
fn is_outage<S: Resource>(ctx: &StageContext<S>, error: &MirrorError) -> bool {
    matches!(error, MirrorError::Api(ApiError::Unavailable { .. })) && ctx.run.github.is_down()
}

async fn look_up<S: Resource>(ctx: &StageContext<S>, due: &DueProfile) -> Result<Answer, MirrorError> {
    // `~` marks a displaced login, which no account has.
    if !due.login.contains('~') {
        let validator = due.validator.as_ref().filter(|_| !ctx.run.options.full);
        let url = ApiUrl::path(&["users", &due.login]);
        match ctx.get_for(None, &url, Accept::Json, validator, false).await {
            Ok(Fetched::NotModified) => return Ok(Answer::Unchanged),
            Ok(Fetched::Page(page)) => {
                let github_id = JsonItem::single(&page.body, read_now())?.require_integer("id")?;
                if due.github_id.is_none_or(|own| own == github_id) {
                    return Ok(Answer::Found { page, by_login: true });
                }
            }
            Err(MirrorError::Api(ApiError::NotFound { .. })) => {}
            Err(error) => return Err(error),
        }
    }
    let Some(github_id) = due.github_id else { return Ok(Answer::Missing) };
    let url = ApiUrl::path(&["user", &github_id.to_string()]);
    match ctx.get_for(None, &url, Accept::Json, None, false).await {
        Ok(Fetched::Page(page)) => Ok(Answer::Found { page, by_login: false }),
        Ok(Fetched::NotModified) => Err(MirrorError::Answer(format!("{url} answered 304 to an unconditional request"))),
        // The token that could read it may be the one that GitHub refuses.
        Err(MirrorError::Api(error @ ApiError::NotFound { .. })) if ctx.run.github.has_disabled_token() => {
            Ok(Answer::Hidden(error))
        }
        Err(MirrorError::Api(ApiError::NotFound { .. })) => Ok(Answer::Missing),
        Err(error) => Err(error),
    }
}

async fn store_profile_answer<S: Resource>(
    ctx: &StageContext<S>,
    due: &DueProfile,
    answer: Answer,
    unconfirmed: &AtomicUsize,
) -> Result<(), MirrorError> {
    let rows_with = |update: SyncUpdate| RowBatch { sync_updates: vec![update], ..RowBatch::default() };
    let (user, at) = (due.user, read_now());
    match answer {
        Answer::Unchanged => ctx.write_rows(rows_with(SyncUpdate::ProfileUnchanged { user, at })).await,
        Answer::Found { page, by_login } => {
            let item = JsonItem::single(&page.body, at)?;
            let (github_id, present) = (item.require_integer("id")?, item.require_text("login")?);
            let validator = page.validator.clone().filter(|_| by_login);
            let rows =
                RowBatch { profiles: profile_row(&item, validator).into_iter().collect(), ..RowBatch::default() };
            // First, so that a run that is cut off in between does it again.
            if let Some(former) = due.documents_name.as_deref().filter(|former| *former != present) {
                tombstone_profile(&ctx.run.stores, former, github_id).await?;
            }
            ctx.write(vec![profile_document(&item)?], rows).await
        }
        // It stays due, so that every run asks for it again.
        Answer::Hidden(error) => {
            ctx.record_not_permitted(format!("the profile of {}: {error}", due.login));
            Ok(())
        }
        Answer::Missing => {
            let certain = due.github_id.is_some() || due.missing;
            if certain {
                let bears = due.documents_name.clone().unwrap_or_else(|| due.login.clone());
                ctx.tombstone(Collection::Users, &[bears]).await?;
            } else {
                unconfirmed.fetch_add(1, Ordering::Relaxed);
            }
            ctx.write_rows(rows_with(SyncUpdate::ProfileMissing { user, at, certain })).await
        }
    }
}

/// Marks the profile document under a former login as deleted, unless it belongs to another account by now.
pub(in crate::mirror) async fn tombstone_profile(
    stores: &Stores,
    former: &str,
    github_id: i64,
) -> Result<(), MirrorError> {
    let stored = stores.documents.get(Collection::Users, former).await?;
    let stored = stored.and_then(|json| serde_json::from_str::<Value>(&json).ok());
    if stored.and_then(|document| document.get("id")?.as_i64()) == Some(github_id) {
        stores.documents.tombstone(Collection::Users, &[former.to_owned()], read_now()).await?;
    }
    Ok(())
}
