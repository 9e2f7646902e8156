//! Refusals of a whole stage that are no failures: features that the repository has disabled, and missing permissions.

use crate::github::{ApiError, ApiUrl};
use crate::mirror::context::StageContext;
use crate::mirror::error::MirrorError;
use crate::mirror::stage::Stage;

/// Key of the repository's JSON that tells whether it has pull requests; without them all their addresses answer 404.
pub(crate) const HAS_PULL_REQUESTS: &str = "has_pull_requests";

/// Records a refusal that is no failure of the stage; returns any other error. A refusal says nothing of what exists,
/// so that mirrored data stay as they are.
///
/// # Errors
/// The error that was given, where it is a failure.
pub(crate) fn record_refusal(stage: Stage, ctx: &StageContext, error: MirrorError) -> Result<(), MirrorError> {
    match error {
        // GitHub docs: 409 where a repository has no commits yet.
        MirrorError::Api(ApiError::EmptyRepository { .. }) => Ok(()),
        MirrorError::Api(ApiError::NotFound { path, .. })
            if matches!(stage, Stage::Pulls | Stage::ReviewComments)
                && !ctx.repository().may_have(HAS_PULL_REQUESTS) =>
        {
            ctx.record_disabled(format!(
                "pull requests are disabled in this repository (GET {path}: 404); what was mirrored of them stays"
            ));
            Ok(())
        }
        MirrorError::Api(error) if error.lacks_permission() && !is_within_a_list(&error) => {
            ctx.record_not_permitted(error.to_string());
            Ok(())
        }
        error => Err(error),
    }
}

/// Returns whether a later page of a list is refused, which is not a matter of permissions.
fn is_within_a_list(error: &ApiError) -> bool {
    let ApiError::Forbidden { path, .. } = error else { return false };
    path.parse::<ApiUrl>()
        .is_ok_and(|url| url.query_value("after").is_some() || url.query_value("page").is_some_and(|page| page != "1"))
}
