//! The collections and their natural keys (`docs/data-model.md`, "Collections").

/// The type of a key column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// UTF-8 text.
    Text,
    /// A 64-bit integer.
    Integer,
}

/// A column of a natural key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name in the embedded store.
    pub name: &'static str,
    /// Its type.
    pub kind: ColumnKind,
}

const fn text(name: &'static str) -> Column {
    Column { name, kind: ColumnKind::Text }
}

const fn integer(name: &'static str) -> Column {
    Column { name, kind: ColumnKind::Integer }
}

macro_rules! collections {
    ($($(#[$doc:meta])* $variant:ident = $name:literal [$($kind:ident $column:literal),+];)+) => {
        /// A collection of documents.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Collection {
            $($(#[$doc])* $variant,)+
        }

        impl Collection {
            /// Every collection.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the collection's name, as GHTorrent's users know it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// Returns the columns of its natural key, in order.
            pub const fn key(self) -> &'static [Column] {
                match self { $(Self::$variant => const { &[$($kind($column)),+] }),+ }
            }
        }
    };
}

collections! {
    /// Entries of a repository's events feed.
    Events = "events" [text "id"];
    /// `/users/{login}`: people and organizations.
    Users = "users" [text "login"];
    /// `/repos/{owner}/{repo}`.
    Repos = "repos" [text "owner_login", text "name"];
    /// Commits; one document per SHA for all repositories.
    Commits = "commits" [text "sha"];
    /// Comments on commits.
    CommitComments = "commit_comments" [text "owner", text "repo", text "commit_id", integer "id"];
    /// Pull requests.
    PullRequests = "pull_requests" [text "owner", text "repo", integer "number"];
    /// Review comments.
    PullRequestComments = "pull_request_comments" [text "owner", text "repo", integer "pullreq_id", integer "id"];
    /// Commits of pull requests; one document per SHA, tagged with the lowest-numbered pull request that has it.
    PullRequestCommits = "pull_request_commits" [text "sha"];
    /// Issues, and pull requests as issues.
    Issues = "issues" [text "owner", text "repo", integer "number"];
    /// Comments of issues and of pull requests' discussions.
    IssueComments = "issue_comments" [text "owner", text "repo", integer "issue_id", integer "id"];
    /// Events of issues and pull requests.
    IssueEvents = "issue_events" [text "owner", text "repo", integer "issue_id", integer "id"];
    /// Labels.
    RepoLabels = "repo_labels" [text "owner", text "repo", text "name"];
    /// Collaborators.
    RepoCollaborators = "repo_collaborators" [text "owner", text "repo", text "login"];
    /// Stargazers.
    Watchers = "watchers" [text "owner", text "repo", text "login"];
    /// Forks, tagged with their parent's owner and name.
    Forks = "forks" [text "owner", text "repo", integer "id"];
    /// Topics.
    Topics = "topics" [text "owner", text "repo", text "topic"];
    /// Reviews of pull requests (beyond GHTorrent).
    PullRequestReviews = "pull_request_reviews" [text "owner", text "repo", integer "pullreq_id", integer "id"];
    /// Releases (beyond GHTorrent).
    Releases = "releases" [text "owner", text "repo", integer "id"];
    /// Milestones (beyond GHTorrent).
    Milestones = "milestones" [text "owner", text "repo", integer "number"];
    /// Branches with their heads (beyond GHTorrent).
    Branches = "branches" [text "owner", text "repo", text "name"];
    /// Tags (beyond GHTorrent).
    Tags = "tags" [text "owner", text "repo", text "name"];
    /// Contributors as GitHub counts them (beyond GHTorrent).
    Contributors = "contributors" [text "owner", text "repo", text "login"];
    /// Bytes per language (beyond GHTorrent).
    RepoLanguages = "repo_languages" [text "owner", text "repo"];
    /// Followers of an account, tagged with the followed login.
    Followers = "followers" [text "follows", text "login"];
    /// Accounts followed by an account, tagged with its login (beyond GHTorrent).
    Following = "following" [text "follower", text "login"];
    /// Members of an organization, tagged with its login.
    OrgMembers = "org_members" [text "org", text "login"];
    /// Organizations that an account is a public member of, tagged with its login (beyond GHTorrent).
    UserOrgs = "user_orgs" [text "user", text "login"];
    /// Teams of an organization, tagged with its login (beyond GHTorrent).
    Teams = "teams" [text "org", integer "id"];
    /// Members of a team, tagged with the organization's login and the team's id (beyond GHTorrent).
    TeamMembers = "team_members" [text "org", integer "team_id", text "login"];
    /// Repositories that a team has access to, tagged in the same way (beyond GHTorrent).
    TeamRepos = "team_repos" [text "org", integer "team_id", integer "id"];
    /// Non-members with access to an organization's repositories (beyond GHTorrent).
    OutsideCollaborators = "outside_collaborators" [text "org", text "login"];
}

impl Collection {
    /// Returns whether the collection's documents belong to one repository and are tagged with it.
    pub fn is_repository_scoped(self) -> bool {
        self.key().first().is_some_and(|column| column.name == "owner")
    }

    /// Returns whether GitHub has a summary and a detailed representation, so that a list item must not overwrite the
    /// detailed one.
    pub(super) fn has_two_representations(self) -> bool {
        matches!(self, Self::Commits | Self::PullRequests | Self::Repos)
    }
}
