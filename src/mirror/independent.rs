//! Work on independent items: the failure of one does not stop the others.

use std::future::Future;

use futures::{StreamExt, TryStreamExt};

use super::context::StageContext;
use super::error::MirrorError;
use crate::github::{Accept, ApiError, ApiUrl};

/// Runs `run` on all items, at most `limit` concurrently. A failed item is recorded as incomplete under its name, and
/// the others continue. Work that needs all of them checks [`StageContext::is_incomplete`] afterwards.
///
/// # Errors
/// An error that the other items would meet as well: the stores fail, the run is canceled, no token is left, GitHub is
/// down.
pub(super) async fn for_each_independent<T, F>(
    ctx: &StageContext,
    limit: usize,
    items: impl IntoIterator<Item = T>,
    name: impl Fn(&T) -> String,
    run: impl Fn(T) -> F,
) -> Result<(), MirrorError>
where
    F: Future<Output = Result<(), MirrorError>>,
{
    futures::stream::iter(items)
        .map(Ok)
        .try_for_each_concurrent(limit, |item| {
            let (name, done) = (name(&item), run(item));
            async move { record_failure(ctx, &name, done.await).await }
        })
        .await
}

/// Records a failed item as incomplete under its name.
///
/// # Errors
/// An error that other items would meet as well.
pub(super) async fn record_failure(
    ctx: &StageContext,
    name: &str,
    done: Result<(), MirrorError>,
) -> Result<(), MirrorError> {
    match done {
        Ok(()) => Ok(()),
        Err(error) if error.concerns_all_of_a_kind() => Err(error),
        Err(error) if is_outage(ctx, &error).await? => Err(error),
        Err(error) => {
            ctx.record_incomplete(format!("{name}: {error}"));
            Ok(())
        }
    }
}

/// Returns whether GitHub is unavailable as a whole: then not even the repository itself answers.
async fn is_outage(ctx: &StageContext, error: &MirrorError) -> Result<bool, MirrorError> {
    if !matches!(error, MirrorError::Api(ApiError::Unavailable { .. })) || !ctx.run.github.is_down() {
        return Ok(false);
    }
    Ok(!is_repository_reachable(ctx).await?)
}

/// Returns whether GitHub answers for the repository itself; otherwise its answers for the repository's items mean
/// nothing.
///
/// # Errors
/// The run ends.
pub(super) async fn is_repository_reachable(ctx: &StageContext) -> Result<bool, MirrorError> {
    match ctx.get_page(&ApiUrl::repo(&ctx.repository().name, &[]), Accept::Json).await {
        Ok(page) => {
            let id = |value: &serde_json::Value| value.get("id").and_then(serde_json::Value::as_i64);
            let answer = crate::json::parse_bytes(&page.body).unwrap_or_default();
            Ok(id(&answer).is_some() && id(&answer) == id(&ctx.repository().json))
        }
        Err(error) if error.is_fatal() => Err(error),
        Err(_) => Ok(false),
    }
}
