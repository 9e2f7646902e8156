//! Stars and forks.

use serde_json::Value;

use crate::github::Accept;
use crate::mirror::context::{StageContext, read_now};
use crate::mirror::error::MirrorError;
use crate::mirror::lists::unlisted_users::rows_of_gone_documents;
use crate::mirror::lists::{DEEP_PAGE, Expected, List, PER_PAGE, revalidate_expecting, tombstone};
use crate::mirror::mapping::MappedPage;
use crate::mirror::mapping::account::account;
use crate::mirror::mapping::project_user::STARGAZER;
use crate::mirror::mapping::repository::FORK;
use crate::store::documents::Collection;
use crate::store::relational::RowBatch;

/// Maximum number of pages of stargazers that GitHub gives: 40,000 of them.
const MAX_STARGAZER_PAGES: u32 = 400;

/// Syncs the stargazers. Since 2026 GitHub shows them to a repository's admins and collaborators only; if it refuses,
/// the stage is not permitted, and the feed's WatchEvents still count.
pub(crate) async fn sync_stars(ctx: &StageContext) -> Result<(), MirrorError> {
    let url = ctx.url(&["stargazers"]);
    let list = List::new("stars", url, Collection::Watchers, STARGAZER).accept(Accept::StarJson);
    let expected = Expected::exactly(ctx.repository().count("stargazers_count"));
    let listing = match revalidate_expecting(ctx, &list, expected).await {
        Err(MirrorError::Api(error)) if error.is_access_denied() => {
            ctx.record_not_permitted(format!("stargazers: {error}"));
            // What was listed once goes stale: from here on the feed's stars count.
            ctx.run.stores.relational.reset_lists(ctx.project(), list.name).await?;
            return Ok(());
        }
        listing => listing?,
    };
    let stars = ctx.repository().count("stargazers_count").unwrap_or(0);
    if listing.last_page >= MAX_STARGAZER_PAGES && stars > listing.ids.len() as u64 {
        let seen = listing.ids.len();
        ctx.record_final_gap(format!("{seen} of {stars} stars: GitHub's list ends at page {MAX_STARGAZER_PAGES}"));
    }
    if listing.unidentified > 0 {
        ctx.record_final_gap(format!("{} stars belong to deleted accounts", listing.unidentified));
    }
    let project = ctx.project();
    let gone = rows_of_gone_documents(ctx, list.collection, &listing).await?;
    let gone = gone.into_iter().map(|user| (project, user)).collect();
    ctx.write_rows(RowBatch { removed_watchers: gone, ..RowBatch::default() }).await?;
    tombstone(ctx, Collection::Watchers, &listing.gone).await
}

/// Stores a star that a delivery tells of, `{starred_at, user}` as in the list.
pub(crate) async fn record_star(ctx: &StageContext, star: &Value) -> Result<(), MirrorError> {
    let raw = serde_json::value::to_raw_value(star)
        .map_err(|error| MirrorError::Answer(format!("a star can't be stored: {error}")))?;
    let MappedPage { documents, rows, .. } = ctx.map(STARGAZER, &[&raw], read_now());
    ctx.write(documents, rows).await
}

/// Marks a star as taken back that a delivery tells of.
pub(crate) async fn record_unstar(ctx: &StageContext, star: &Value) -> Result<(), MirrorError> {
    let Some(user) = account(star.get("user")) else { return Ok(()) };
    ctx.flush().await?;
    let relational = &ctx.run.stores.relational;
    let known = match user.github_id {
        Some(number) => relational.find_account_by_github_id(number).await?,
        None => relational.find_account(&user.login).await?,
    };
    let gone = known.map(|known| (ctx.project(), known.id)).into_iter().collect();
    ctx.write_rows(RowBatch { removed_watchers: gone, ..RowBatch::default() }).await?;
    tombstone(ctx, Collection::Watchers, &[format!("{}/{}", ctx.repository().name, user.login)]).await
}

/// Syncs the forks, with a project row each, oldest first, so that pages change only where a fork changed.
pub(crate) async fn sync_forks(ctx: &StageContext) -> Result<(), MirrorError> {
    let url = ctx.url(&["forks"]).query("sort", "oldest");
    let list = List::new("forks", url, Collection::Forks, FORK);
    let expected = Expected::exactly(ctx.repository().count("forks_count"));
    let listing = revalidate_expecting(ctx, &list, expected).await?;
    tombstone(ctx, Collection::Forks, &listing.gone).await?;
    let forks = ctx.repository().count("forks_count").unwrap_or(0);
    let seen = listing.ids.len();
    if listing.last_page >= DEEP_PAGE && forks > seen as u64 && seen % PER_PAGE == 0 {
        ctx.record_final_gap(format!("{seen} of {forks} forks: GitHub's list ends at page {}", listing.last_page));
    }
    Ok(())
}
