//! The least that a mirror can cost: the pages that can carry the data.

use fake_github::FakeGitHub;

/// The lists that a run reads, without commits.
const LISTS: [&str; 16] = [
    "collaborators?affiliation=all",
    "contributors",
    "labels",
    "milestones?state=all",
    "releases",
    "branches",
    "tags",
    "comments",
    "pulls?state=all",
    "pulls/comments",
    "issues?state=all",
    "issues/comments",
    "issues/events",
    "stargazers",
    "forks",
    "events",
];

/// Pages of a repository's lists, without commits.
pub fn pages_of_lists(fake: &FakeGitHub, repository: &str) -> usize {
    LISTS.iter().map(|path| fake.all(&format!("/repos/{repository}/{path}")).len().div_ceil(100)).sum()
}
