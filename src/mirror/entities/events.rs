//! The repository's events feed: at most 300 entries of the last 30 days.

use chrono::{DateTime, Utc};

use crate::mirror::context::StageContext;
use crate::mirror::error::MirrorError;
use crate::mirror::lists::{List, Reach, sync_newest_first};
use crate::mirror::mapping::feed::{has_gap, rows_of, stored_event};
use crate::mirror::mapping::item::JsonItem;
use crate::mirror::mapping::{ItemMapper, MappedPage};
use crate::mirror::resource::Repository;
use crate::store::documents::Collection;

/// Syncs the feed's new entries, with the facts that no list gives.
pub(crate) async fn sync_feed(ctx: &StageContext) -> Result<(), MirrorError> {
    let options = ctx.run.options.clone();
    let publishing = ctx.run.publishing;
    // Where the list of stars can be read it has the better date, and knows which stars were taken back.
    let relational = &ctx.run.stores.relational;
    let stars_listed = relational.list(ctx.project(), "stars").await?.completed;
    // Likewise the list of collaborators, which knows who has left.
    let members_listed = relational.list(ctx.project(), "collaborators").await?.completed;
    let map = move |repository: &Repository, item: &JsonItem<'_>, out: &mut MappedPage| {
        let id = item.require_text("id")?;
        let kind = item.text("type").unwrap_or_default();
        let number: Option<i64> = id.parse().ok();
        let too_old = options.events_after.is_some_and(|after| number.is_some_and(|id| id <= after));
        let too_new = options.events_before.is_some_and(|before| number.is_some_and(|id| id >= before));
        if too_old || too_new || options.exclude_events.contains(&kind) {
            return Ok(());
        }
        out.documents.push(item.document(Collection::Events, vec![id.as_str().into()], &[]));
        out.rows.events.push(stored_event(id, &kind, item, publishing));
        rows_of(repository, item, &kind, stars_listed, members_listed, out);
        Ok(())
    };
    let map: &ItemMapper = &map;
    let url = ctx.url(&["events"]);
    let list = |name| List::new(name, url.clone(), Collection::Events, map);
    let options = &ctx.run.options;
    let filtered =
        options.events_after.is_some() || options.events_before.is_some() || !options.exclude_events.is_empty();
    if !filtered {
        let reach = sync_newest_first(ctx, &list("events")).await?;
        if is_cut_off(&reach, Utc::now()) {
            ctx.record_incomplete(
                "older entries are lost: GitHub's feed no longer reaches back to those fetched before".to_owned(),
            );
        }
        return Ok(());
    }
    // A run that leaves events out says nothing about how far the feed is known: the next whole one reads all of it.
    ctx.run.stores.relational.reset_lists(ctx.project(), "events%").await?;
    sync_newest_first(ctx, &list("events:filtered")).await.map(drop)
}

/// Returns whether entries may have passed through the feed unseen between two runs.
fn is_cut_off(reach: &Reach, now: DateTime<Utc>) -> bool {
    reach.read_before.is_some_and(|read_before| !reach.joined && has_gap(read_before, reach.items, now))
}
