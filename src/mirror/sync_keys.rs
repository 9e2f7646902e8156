//! Names of the sync state's lists that are no lists of GitHub's, and what their watermarks hold. A list of GitHub's is
//! named where it is synced; its watermark, if it has one, is the date from which changes are fetched.

/// List that holds the entity tag of an account's profile. Watermark: the login in the account's documents.
pub(super) const PROFILE: &str = "profile";
/// List of a repository whose id is not known. Watermark: the time at which it was first not found.
pub(super) const FIRST_MISSED: &str = "missed";
/// List of a repository's heads. Watermark: the fingerprint of the lists of branches and tags that were walked last.
pub(super) const WALKED_REFS: &str = "commits:refs";
/// List of a repository's open issues. Watermark: `STORED of COUNTED`, a difference that remains and is GitHub's own.
pub(super) const OPEN_ISSUES: &str = "issues:open";
/// List of a repository's issue events beyond GitHub's cap. Watermark: the text of the known gap.
pub(super) const ISSUE_EVENTS_CAP: &str = "issue-events:cap";
/// List of the labels embedded in issues and pull requests. Watermark: `checked`, or `unchecked` since one has changed.
pub(super) const EMBEDDED_LABELS: &str = "labels:embedded";
/// The same of milestones.
pub(super) const EMBEDDED_MILESTONES: &str = "milestones:embedded";

/// Returns the name of an account's list.
pub(super) fn account_list(github_id: i64, list: &str) -> String {
    format!("user/{github_id}/{list}")
}

/// Returns the list of an organization by the login in `orgs.txt`. Watermark: GitHub's id.
pub(super) fn organization_list(login: &str) -> String {
    format!("org/{}", login.to_lowercase())
}
