//! Row types as the mirror produces them. They refer to each other by natural keys (login, SHA, number), which the
//! store resolves to row ids.

use chrono::{DateTime, Utc};

use crate::store::documents::Collection;
use crate::validator::Validator;

/// An account on GitHub: a person, a bot or an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its login.
    pub login: String,
    /// GitHub's numeric id, which survives renames.
    pub github_id: Option<i64>,
    /// An organization; everything else counts as a user (`docs/data-model.md`, "users").
    pub organization: bool,
    /// Date of the login, if it may be out of date, as in a feed; `None` in a live response.
    pub as_of: Option<DateTime<Utc>>,
}

/// The person that a row refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Person {
    /// An account that GitHub knows.
    Account(Account),
    /// Somebody whom GitHub no longer knows: one row stands for all of them.
    Ghost,
    /// An author or committer without an account, known only from the git commit.
    Fake {
        /// The name in the commit.
        name: Option<String>,
        /// The e-mail address in the commit.
        email: Option<String>,
    },
}

/// An account's profile, from `/users/{login}`.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The account.
    pub account: Account,
    /// Its display name.
    pub name: Option<String>,
    /// Its company, as the user wrote it.
    pub company: Option<String>,
    /// Its location, as the user wrote it.
    pub location: Option<String>,
    /// Its public e-mail address.
    pub email: Option<String>,
    /// Creation time.
    pub created_at: Option<DateTime<Utc>>,
    /// Time at which the profile was read.
    pub read_at: DateTime<Utc>,
    /// The response's ETag, if the profile was requested by login.
    pub validator: Option<Validator>,
}

/// A repository's parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// Not a fork.
    None,
    /// A fork of a repository that is not known here.
    Unknown,
    /// A fork of this project.
    Project(i64),
}

/// A repository.
#[derive(Debug, Clone)]
pub struct Project {
    /// GitHub's numeric id, which survives renames and transfers.
    pub github_id: Option<i64>,
    /// Its owner.
    pub owner: Account,
    /// Its name.
    pub name: String,
    /// Its API URL.
    pub url: Option<String>,
    /// Its description.
    pub description: Option<String>,
    /// Its main language.
    pub language: Option<String>,
    /// Creation time.
    pub created_at: Option<DateTime<Utc>>,
    /// Its parent.
    pub parent: Parent,
    /// The repository's own response, which updates an existing row. A mention inside another entity only creates a
    /// missing one.
    pub refresh: bool,
}

/// A commit.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The project it is seen in.
    pub project: i64,
    /// Its SHA.
    pub sha: String,
    /// Its author.
    pub author: Person,
    /// Its committer.
    pub committer: Person,
    /// The author date.
    pub created_at: Option<DateTime<Utc>>,
    /// Its parents' SHAs.
    pub parents: Vec<String>,
    /// Reachable from a branch of the project.
    pub on_branch: bool,
}

/// A comment on a commit.
#[derive(Debug, Clone)]
pub struct CommitComment {
    /// The project.
    pub project: i64,
    /// The commit's SHA.
    pub sha: String,
    /// The author.
    pub user: Person,
    /// Its text.
    pub body: Option<String>,
    /// The line in the file.
    pub line: Option<i64>,
    /// The position in the diff.
    pub position: Option<i64>,
    /// GitHub's id.
    pub comment_id: i64,
    /// Creation time.
    pub created_at: Option<DateTime<Utc>>,
}

/// A pull request.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// The base repository's project.
    pub project: i64,
    /// Its number.
    pub number: i64,
    /// The head repository, unless it is deleted.
    pub head_repo: Option<(String, String)>,
    /// The head commit.
    pub head_sha: Option<String>,
    /// The base commit.
    pub base_sha: Option<String>,
    /// The base branch.
    pub base_ref: Option<String>,
    /// Head and base are branches of one repository.
    pub intra_branch: bool,
    /// The author.
    pub user: Person,
    /// Its first assignee.
    pub assignee: Option<Person>,
    /// Creation time.
    pub created_at: Option<DateTime<Utc>>,
    /// Time of the last change.
    pub updated_at: Option<DateTime<Utc>>,
    /// Labels, if no issue list tells them.
    pub labels: Option<Vec<String>>,
    /// Number of review comments according to GitHub, if given.
    pub review_comments: Option<i64>,
}

/// An event in a pull request's history.
#[derive(Debug, Clone)]
pub struct PullRequestHistory {
    /// The base repository's project.
    pub project: i64,
    /// The pull request's number.
    pub number: i64,
    /// `opened`, `closed`, `merged`, `reopened`, ...
    pub action: String,
    /// Event time.
    pub at: DateTime<Utc>,
    /// The actor, if this source tells.
    pub actor: Option<Person>,
}

/// The commits of a pull request.
#[derive(Debug, Clone)]
pub struct PullCommits {
    /// The base repository's project.
    pub project: i64,
    /// The pull request's number.
    pub number: i64,
    /// The head that the commits were read for.
    pub head: String,
    /// Their SHAs.
    pub shas: Vec<String>,
    /// Complete: other stored commits no longer belong to the pull request.
    pub complete: bool,
}

/// A review comment.
#[derive(Debug, Clone)]
pub struct ReviewComment {
    /// The base repository's project.
    pub project: i64,
    /// The pull request's number.
    pub number: i64,
    /// The author.
    pub user: Person,
    /// GitHub's id.
    pub comment_id: i64,
    /// The original position in the diff.
    pub position: Option<i64>,
    /// Its text.
    pub body: Option<String>,
    /// The original commit.
    pub sha: Option<String>,
    /// Creation time.
    pub created_at: Option<DateTime<Utc>>,
}

/// An issue, or a pull request as an issue.
#[derive(Debug, Clone)]
pub struct Issue {
    /// The project.
    pub project: i64,
    /// Its number.
    pub number: i64,
    /// The author.
    pub reporter: Person,
    /// Its first assignee.
    pub assignee: Option<Person>,
    /// A pull request.
    pub pull_request: bool,
    /// Creation time.
    pub created_at: Option<DateTime<Utc>>,
    /// Its labels' names.
    pub labels: Vec<String>,
    /// Open.
    pub open: bool,
    /// Number of comments according to GitHub.
    pub comments: Option<i64>,
}

/// A comment of an issue or of a pull request's discussion.
#[derive(Debug, Clone)]
pub struct IssueComment {
    /// The project.
    pub project: i64,
    /// The issue's number.
    pub number: i64,
    /// The author.
    pub user: Person,
    /// GitHub's id.
    pub comment_id: i64,
    /// Creation time.
    pub created_at: Option<DateTime<Utc>>,
}

/// An event of an issue or pull request.
#[derive(Debug, Clone)]
pub struct IssueEvent {
    /// The project.
    pub project: i64,
    /// The issue's number.
    pub number: i64,
    /// GitHub's id.
    pub event_id: i64,
    /// The actor.
    pub actor: Person,
    /// The kind of event.
    pub action: String,
    /// The commit, for `referenced`, `merged` and `closed` (`docs/data-model.md`, "issue_events").
    pub action_specific: Option<String>,
    /// Event time.
    pub created_at: Option<DateTime<Utc>>,
}

/// A person's relation to a project: a star or a membership.
#[derive(Debug, Clone)]
pub struct ProjectUser {
    /// The project.
    pub project: i64,
    /// The account.
    pub user: Person,
    /// Start of the relation, if GitHub tells.
    pub since: Option<DateTime<Utc>>,
}

/// A relation between two accounts: a follower or a member.
#[derive(Debug, Clone)]
pub struct AccountRelation {
    /// The followed account, or the organization.
    pub to: Account,
    /// The follower, or the member.
    pub from: Account,
}

/// A repository's entry in its owner's list.
#[derive(Debug, Clone)]
pub struct ProjectListing {
    /// GitHub's numeric id. The repository's row is in the same batch or exists already.
    pub github_id: i64,
    /// The name under which a document of the repository was stored, if any.
    pub documents_name: Option<String>,
    /// Its state in the listing.
    pub state: ListingState,
    /// `public`, `private` or `internal`.
    pub visibility: Option<String>,
    /// Archived: read-only.
    pub archived: bool,
    /// A fork.
    pub fork: bool,
    /// Disabled by GitHub.
    pub disabled: bool,
    /// Time of the last push.
    pub pushed_at: Option<DateTime<Utc>>,
    /// Time of the last change to the repository itself.
    pub updated_at: Option<DateTime<Utc>>,
}

/// The state of a repository in its organization's listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListingState {
    /// In its owner's list.
    Listed,
    /// In no list, but readable.
    Unlisted,
    /// Not readable by any token, and not known to be deleted.
    Unreadable,
}

impl ListingState {
    /// Returns the name stored in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Listed => "listed",
            Self::Unlisted => "unlisted",
            Self::Unreadable => "unreadable",
        }
    }
}

/// A team of an organization.
#[derive(Debug, Clone)]
pub struct Team {
    /// GitHub's numeric id.
    pub github_id: i64,
    /// The organization.
    pub organization: Account,
    /// The name in URLs.
    pub slug: String,
    /// Its name.
    pub name: String,
    /// The description.
    pub description: Option<String>,
    /// `closed` or `secret`.
    pub privacy: Option<String>,
    /// The members' default permission.
    pub permission: Option<String>,
    /// GitHub's id of the parent team.
    pub parent: Option<i64>,
}

/// A team's access to a repository.
#[derive(Debug, Clone)]
pub struct TeamProject {
    /// GitHub's numeric id of the team.
    pub team: i64,
    /// GitHub's numeric id of the repository, which has a row in the same batch.
    pub project: i64,
    /// The team's role.
    pub role: Option<String>,
}

/// A project's languages at one time.
#[derive(Debug, Clone)]
pub struct Languages {
    /// The project.
    pub project: i64,
    /// Lower-case name and bytes.
    pub bytes: Vec<(String, i64)>,
    /// Time of the request.
    pub at: DateTime<Utc>,
}

/// All topics of a project.
#[derive(Debug, Clone)]
pub struct Topics {
    /// The project.
    pub project: i64,
    /// Their names.
    pub names: Vec<String>,
    /// Time of the request.
    pub at: DateTime<Utc>,
}

/// An item that GitHub has deleted, whose row is to be tombstoned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeletedItem {
    /// An issue of a project, by its number.
    Issue(i64, i64),
    /// A pull request of a project, by its number.
    PullRequest(i64, i64),
    /// A comment of an issue, by GitHub's id.
    IssueComment(i64),
    /// A review comment, by GitHub's id.
    ReviewComment(i64),
    /// A comment on a commit, by GitHub's id.
    CommitComment(i64),
    /// A label of a project.
    Label(i64, String),
}

impl DeletedItem {
    /// Returns the row of a project's document, by the document's id without the repository's name.
    pub fn of(collection: Collection, project: i64, id: &str) -> Option<Self> {
        let number = || id.rsplit('/').next()?.parse().ok();
        match collection {
            Collection::Issues => Some(Self::Issue(project, number()?)),
            Collection::PullRequests => Some(Self::PullRequest(project, number()?)),
            Collection::IssueComments => Some(Self::IssueComment(number()?)),
            Collection::PullRequestComments => Some(Self::ReviewComment(number()?)),
            Collection::CommitComments => Some(Self::CommitComment(number()?)),
            Collection::RepoLabels => Some(Self::Label(project, id.to_owned())),
            _ => None,
        }
    }
}
