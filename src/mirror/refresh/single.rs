//! Entities that are read one by one: what seems to be deleted, what its list doesn't show, and what has no list of the
//! whole repository.

use std::collections::{BTreeSet, HashMap, HashSet};

use futures::StreamExt;
use futures::stream;
use serde_json::Value;

use super::check::{Checker, Stored, collection_of};
use super::{stage_of, stages_of};
use crate::github::ApiError;
use crate::mirror::context::StageContext;
use crate::mirror::entities::{commits, details, issues, pulls, stars};
use crate::mirror::error::MirrorError;
use crate::mirror::run::RepositoryRun;
use crate::store::relational::refreshes::{Refresh, RefreshKind, RefreshRequest, Wanted};

/// Entities read concurrently.
const MAX_CONCURRENT_ITEMS: usize = 8;
/// Maximum number of entities per visit that are asked for because their list doesn't show them.
const MAX_UNLISTED_ITEMS: usize = 50;

/// One thing to read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Reading {
    /// The reviews of a pull request.
    Reviews(i64),
    /// The comments of an issue.
    CommentsOf(i64),
    /// The commits that a push has brought, by its head.
    Pushed(String),
    /// An entity that is said to be gone: marked as deleted if it is not found.
    Deleted(RefreshKind, String),
    /// An entity that its list doesn't show. Not found, it may be gone, or not be shown yet.
    Unlisted(RefreshKind, String),
}

/// What came of the entities that were read one by one, by the wish's position.
#[derive(Default)]
pub(super) struct Singles {
    /// Failures and their reasons.
    pub failures: HashMap<usize, String>,
    /// Those that GitHub does not find.
    pub not_found: HashSet<usize>,
}

/// Reads what wishes name beyond their lists.
///
/// # Errors
/// A store that can't be used, the end of the run, or an error that affects every request.
pub(super) async fn read(
    run: &mut RepositoryRun,
    checker: &Checker<'_>,
    refreshes: &[Refresh],
    left: &[usize],
) -> Result<Singles, MirrorError> {
    let mut readings: BTreeSet<(Reading, usize)> = BTreeSet::new();
    for at in left {
        let refresh = &refreshes[*at];
        if refresh.request.kind == RefreshKind::Stars && run.is_refused(stage_of(RefreshKind::Stars)) {
            let ctx = run.stage_context(stage_of(RefreshKind::Stars));
            record_star(&ctx, &refresh.request).await?;
            continue;
        }
        if stages_of(refresh.request.kind).iter().any(|stage| run.is_refused(*stage)) {
            continue;
        }
        if let Some(reading) = reading_of(checker, refresh).await? {
            readings.insert((reading, *at));
        }
    }
    let unlisted =
        readings.iter().filter(|(reading, _)| matches!(reading, Reading::Unlisted(..))).skip(MAX_UNLISTED_ITEMS);
    let postponed: Vec<(Reading, usize)> = unlisted.cloned().collect();
    readings.retain(|reading| !postponed.contains(reading));
    let mut tasks: Vec<(StageContext, Reading, Vec<usize>)> = Vec::new();
    for (reading, at) in readings {
        match tasks.last_mut() {
            // One reading serves all reviews of a pull request.
            Some((_, last, positions)) if *last == reading => positions.push(at),
            _ => tasks.push((run.stage_context(stage_of(refreshes[at].request.kind)), reading, vec![at])),
        }
    }
    let mut singles = Singles::default();
    let mut done = stream::iter(tasks)
        .map(|(ctx, reading, positions)| async move { (perform(&ctx, checker, reading).await, positions) })
        .buffer_unordered(MAX_CONCURRENT_ITEMS);
    while let Some((result, positions)) = done.next().await {
        match result {
            Ok(()) => {}
            Err(error) if error.concerns_all_items() => return Err(error),
            Err(error) => {
                if matches!(error, MirrorError::Api(ApiError::NotFound { .. } | ApiError::Gone { .. })) {
                    singles.not_found.extend(&positions);
                }
                singles.failures.extend(positions.into_iter().map(|at| (at, error.to_string())));
            }
        }
    }
    Ok(singles)
}

async fn reading_of(checker: &Checker<'_>, refresh: &Refresh) -> Result<Option<Reading>, MirrorError> {
    let RefreshRequest { kind, entity, wanted, .. } = &refresh.request;
    let Some(entity) = entity else { return Ok(None) };
    let number = entity.split('/').next().and_then(|number| number.parse().ok());
    Ok(match (kind, wanted, number) {
        (RefreshKind::Reviews, _, Some(number)) => Some(Reading::Reviews(number)),
        // No branch leads to it any more: it was pushed over, or its branch deleted.
        (RefreshKind::Commits, Wanted::Commit(sha), _) if !checker.is_fulfilled(&refresh.request).await? => {
            Some(Reading::Pushed(sha.clone()))
        }
        (RefreshKind::IssueComments, Wanted::Read, Some(number)) => Some(Reading::CommentsOf(number)),
        (
            RefreshKind::Issues | RefreshKind::Pulls | RefreshKind::IssueComments | RefreshKind::ReviewComments,
            wanted,
            Some(_),
        ) => {
            if *wanted == Wanted::Gone {
                let stored = match collection_of(*kind) {
                    Some(collection) => checker.stored(collection, entity).await?,
                    None => Stored::Missing,
                };
                // One that was never stored, and that its list doesn't show, is not to be stored.
                matches!(stored, Stored::Live(_)).then(|| Reading::Deleted(*kind, entity.clone()))
            } else if refresh.attempts > 0 && !checker.is_fulfilled(&refresh.request).await? {
                Some(Reading::Unlisted(*kind, entity.clone()))
            } else {
                None
            }
        }
        _ => None,
    })
}

async fn perform(ctx: &StageContext, checker: &Checker<'_>, reading: Reading) -> Result<(), MirrorError> {
    match reading {
        Reading::Reviews(number) => details::sync_reviews_of(ctx, number).await,
        Reading::Pushed(head) => commits::sync_pushed(ctx, &head).await,
        Reading::CommentsOf(number) => issues::sync_comments_of(ctx, number).await.map(drop),
        Reading::Deleted(kind, entity) => fetch_or_tombstone(ctx, checker, kind, &entity).await,
        Reading::Unlisted(kind, entity) => {
            let stored = match collection_of(kind) {
                Some(collection) => checker.stored(collection, &entity).await?,
                None => Stored::Missing,
            };
            match stored {
                Stored::Live(_) => fetch_or_tombstone(ctx, checker, kind, &entity).await,
                Stored::Missing | Stored::Deleted => fetch(ctx, kind, &entity).await,
            }
        }
    }
}

/// Fetches an entity, and marks it as deleted if it is not found.
async fn fetch_or_tombstone(
    ctx: &StageContext,
    checker: &Checker<'_>,
    kind: RefreshKind,
    entity: &str,
) -> Result<(), MirrorError> {
    let id = checker.document_id(entity);
    match kind {
        RefreshKind::IssueComments => issues::tombstone_comment(ctx, &issues::comment_list(ctx), &id).await,
        RefreshKind::ReviewComments => issues::tombstone_comment(ctx, &pulls::review_comments(ctx), &id).await,
        RefreshKind::Issues => issues::refresh_or_tombstone(ctx, number(entity)?).await,
        _ => match pulls::refresh_one(ctx, number(entity)?).await {
            Err(MirrorError::Api(ApiError::NotFound { .. } | ApiError::Gone { .. })) => {
                issues::tombstone_issue(ctx, number(entity)?).await
            }
            done => done,
        },
    }
}

async fn fetch(ctx: &StageContext, kind: RefreshKind, entity: &str) -> Result<(), MirrorError> {
    let id = entity.rsplit('/').next().unwrap_or_default();
    match kind {
        RefreshKind::IssueComments => issues::fetch_comment(ctx, &issues::comment_list(ctx), id).await,
        RefreshKind::ReviewComments => issues::fetch_comment(ctx, &pulls::review_comments(ctx), id).await,
        RefreshKind::Issues => issues::refresh_one(ctx, number(entity)?).await,
        _ => pulls::refresh_one(ctx, number(entity)?).await,
    }
}

fn number(entity: &str) -> Result<i64, MirrorError> {
    entity.parse().map_err(|_| MirrorError::Answer(format!("{entity:?} is not a number")))
}

/// Stores a star by what its delivery tells, where GitHub refuses the list.
async fn record_star(ctx: &StageContext, request: &RefreshRequest) -> Result<(), MirrorError> {
    let facts = request.facts.as_deref().and_then(|facts| serde_json::from_str::<Value>(facts).ok());
    match (facts, &request.wanted) {
        (Some(facts), Wanted::Present) => stars::record_star(ctx, &facts).await,
        (Some(facts), Wanted::Gone) => stars::record_unstar(ctx, &facts).await,
        _ => Ok(()),
    }
}
