//! Rows on their way into the tables. They refer to each other by natural keys (a login, a SHA, a number); the store
//! turns these into row ids.

use chrono::{DateTime, Utc};

use crate::store::documents::Collection;
use crate::validator::Validator;

/// An account on GitHub: a person, a bot or an organisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its login.
    pub login: String,
    /// GitHub's numeric id, which survives a rename.
    pub github_id: Option<i64>,
    /// Whether it is an organisation; everything else counts as a user (data model, §4).
    pub organization: bool,
    /// When its login was so, where that may be long ago, as in a feed; `None` in a live answer.
    pub as_of: Option<DateTime<Utc>>,
}

/// Whom a row refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Person {
    /// An account that GitHub knows.
    Account(Account),
    /// Somebody GitHub no longer knows: one row stands for all of them.
    Ghost,
    /// An author or committer without an account, known only from the git commit.
    Fake {
        /// The name in the commit.
        name: Option<String>,
        /// The e-mail address in the commit.
        email: Option<String>,
    },
}

/// What `/users/{login}` tells beyond a stub.
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
    /// When it was made.
    pub created_at: Option<DateTime<Utc>>,
    /// When the profile was read.
    pub read_at: DateTime<Utc>,
    /// The entity tag of the answer, where it was asked for by its login.
    pub validator: Option<Validator>,
}

/// Where a repository was forked from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// It is no fork.
    None,
    /// It is a fork, of a repository that is not known here.
    Unknown,
    /// It is a fork of this project.
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
    /// When it was made.
    pub created_at: Option<DateTime<Utc>>,
    /// Its parent.
    pub parent: Parent,
    /// Whether this answer is about the repository itself, so that it updates a row that is there; a mention inside
    /// another entity only makes a missing one.
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
    /// Whether a branch of the project reaches it.
    pub on_branch: bool,
}

/// A comment on a commit.
#[derive(Debug, Clone)]
pub struct CommitComment {
    /// The project.
    pub project: i64,
    /// The commit's SHA.
    pub sha: String,
    /// Who wrote it.
    pub user: Person,
    /// Its text.
    pub body: Option<String>,
    /// The line in the file.
    pub line: Option<i64>,
    /// The position in the diff.
    pub position: Option<i64>,
    /// GitHub's id.
    pub comment_id: i64,
    /// When it was written.
    pub created_at: Option<DateTime<Utc>>,
}

/// A pull request.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// The base repository's project.
    pub project: i64,
    /// Its number.
    pub number: i64,
    /// The head repository, unless it is gone.
    pub head_repo: Option<(String, String)>,
    /// The head commit.
    pub head_sha: Option<String>,
    /// The base commit.
    pub base_sha: Option<String>,
    /// The branch that it is to be merged into.
    pub base_ref: Option<String>,
    /// Whether head and base are branches of one repository.
    pub intra_branch: bool,
    /// Who opened it.
    pub user: Person,
    /// Its first assignee.
    pub assignee: Option<Person>,
    /// When it was opened.
    pub created_at: Option<DateTime<Utc>>,
    /// When it changed last.
    pub updated_at: Option<DateTime<Utc>>,
    /// Its labels, where no issue list tells them.
    pub labels: Option<Vec<String>>,
    /// How many review comments GitHub says that it has, where the answer tells.
    pub review_comments: Option<i64>,
}

/// Something that happened to a pull request.
#[derive(Debug, Clone)]
pub struct PullRequestHistory {
    /// The base repository's project.
    pub project: i64,
    /// The pull request's number.
    pub number: i64,
    /// `opened`, `closed`, `merged`, `reopened`, ...
    pub action: String,
    /// When.
    pub at: DateTime<Utc>,
    /// By whom, where this source tells.
    pub actor: Option<Person>,
}

/// The commits of a pull request.
#[derive(Debug, Clone)]
pub struct PullCommits {
    /// The base repository's project.
    pub project: i64,
    /// The pull request's number.
    pub number: i64,
    /// The state of the pull request that they were read for.
    pub head: String,
    /// Their SHAs.
    pub shas: Vec<String>,
    /// Whether these are all: then what else the tables have is no longer its own.
    pub complete: bool,
}

/// A review comment.
#[derive(Debug, Clone)]
pub struct ReviewComment {
    /// The base repository's project.
    pub project: i64,
    /// The pull request's number.
    pub number: i64,
    /// Who wrote it.
    pub user: Person,
    /// GitHub's id.
    pub comment_id: i64,
    /// The original position in the diff.
    pub position: Option<i64>,
    /// Its text.
    pub body: Option<String>,
    /// The original commit.
    pub sha: Option<String>,
    /// When it was written.
    pub created_at: Option<DateTime<Utc>>,
}

/// An issue, or a pull request in its shape as an issue.
#[derive(Debug, Clone)]
pub struct Issue {
    /// The project.
    pub project: i64,
    /// Its number.
    pub number: i64,
    /// Who opened it.
    pub reporter: Person,
    /// Its first assignee.
    pub assignee: Option<Person>,
    /// Whether it is a pull request.
    pub pull_request: bool,
    /// When it was opened.
    pub created_at: Option<DateTime<Utc>>,
    /// Its labels' names.
    pub labels: Vec<String>,
    /// Whether it is open.
    pub open: bool,
    /// How many comments GitHub says that it has.
    pub comments: Option<i64>,
}

/// A comment of an issue or of a pull request's discussion.
#[derive(Debug, Clone)]
pub struct IssueComment {
    /// The project.
    pub project: i64,
    /// The issue's number.
    pub number: i64,
    /// Who wrote it.
    pub user: Person,
    /// GitHub's id.
    pub comment_id: i64,
    /// When it was written.
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
    /// Who did it.
    pub actor: Person,
    /// What happened.
    pub action: String,
    /// The commit, for `referenced`, `merged` and `closed` (data model, §4).
    pub action_specific: Option<String>,
    /// When.
    pub created_at: Option<DateTime<Utc>>,
}

/// A person's tie to a project: a star or a membership.
#[derive(Debug, Clone)]
pub struct ProjectUser {
    /// The project.
    pub project: i64,
    /// Who.
    pub user: Person,
    /// Since when, where GitHub tells.
    pub since: Option<DateTime<Utc>>,
}

/// A tie between two accounts: one follows the other, or is a member of the other.
#[derive(Debug, Clone)]
pub struct AccountRelation {
    /// The followed account, or the organisation.
    pub to: Account,
    /// The follower, or the member.
    pub from: Account,
}

/// What its owner's list says of a repository.
#[derive(Debug, Clone)]
pub struct ProjectListing {
    /// GitHub's numeric id of it; its row is among those of the same batch, or there already.
    pub github_id: i64,
    /// The name that a document of the repository was stored under, where one was.
    pub documents_name: Option<String>,
    /// Where it was found.
    pub state: ListingState,
    /// `public`, `private` or `internal`.
    pub visibility: Option<String>,
    /// Whether it is read-only.
    pub archived: bool,
    /// Whether it is a fork.
    pub fork: bool,
    /// Whether GitHub has switched it off.
    pub disabled: bool,
    /// When something was pushed last.
    pub pushed_at: Option<DateTime<Utc>>,
    /// When something about the repository itself changed last.
    pub updated_at: Option<DateTime<Utc>>,
}

/// Where a repository was found that belongs to an organisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListingState {
    /// In a list of its owner's.
    ListingState,
    /// In no list, but it can be read.
    Unlisted,
    /// No token can read it any more, and it is not known to be deleted.
    Unreadable,
}

impl ListingState {
    /// As it stands in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::ListingState => "listed",
            Self::Unlisted => "unlisted",
            Self::Unreadable => "unreadable",
        }
    }
}

/// A team of an organisation.
#[derive(Debug, Clone)]
pub struct Team {
    /// GitHub's numeric id.
    pub github_id: i64,
    /// Its organisation.
    pub organization: Account,
    /// Its name in URLs.
    pub slug: String,
    /// Its name.
    pub name: String,
    /// What it says of itself.
    pub description: Option<String>,
    /// `closed` or `secret`.
    pub privacy: Option<String>,
    /// What its members may do by default.
    pub permission: Option<String>,
    /// The number of the team that it is a part of.
    pub parent: Option<i64>,
}

/// A repository that a team has access to.
#[derive(Debug, Clone)]
pub struct TeamProject {
    /// GitHub's numeric id of the team.
    pub team: i64,
    /// GitHub's numeric id of the repository, whose row is among those of the same batch.
    pub project: i64,
    /// The role that the team has there.
    pub role: Option<String>,
}

/// What a look at a project's languages showed.
#[derive(Debug, Clone)]
pub struct Languages {
    /// The project.
    pub project: i64,
    /// Lower-case name and bytes.
    pub bytes: Vec<(String, i64)>,
    /// When it was looked.
    pub at: DateTime<Utc>,
}

/// A project's topics, completely.
#[derive(Debug, Clone)]
pub struct Topics {
    /// The project.
    pub project: i64,
    /// Their names.
    pub names: Vec<String>,
    /// When it was looked.
    pub at: DateTime<Utc>,
}

/// A row whose origin GitHub has no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeletedRow {
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

impl DeletedRow {
    /// The row that was made from a document of a project, by the document's id behind the repository's name.
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
