//! Names of lists in the sync state that several files use.

/// List that holds the entity tag of an account's profile, and as its watermark the login in the account's documents.
pub(super) const PROFILE: &str = "profile";

/// Returns the name of an account's list.
pub(super) fn account_list(github_id: i64, list: &str) -> String {
    format!("user/{github_id}/{list}")
}
