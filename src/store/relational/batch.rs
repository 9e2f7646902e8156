//! The unit of writing: rows of all kinds that are applied in one transaction.

use super::outbox::StoredEvent;
use super::rows::{
    Account, AccountRelation, Commit, CommitComment, DeletedItem, Issue, IssueComment, IssueEvent, Languages, Profile,
    Project, ProjectListing, ProjectUser, PullCommits, PullRequest, PullRequestHistory, ReviewComment, Team,
    TeamProject, Topics,
};
use super::sync_update::SyncUpdate;

/// A batch of rows of all kinds, with the sync updates that become true once they are stored.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "each field is a list of the rows its type describes")]
pub struct RowBatch {
    pub accounts: Vec<Account>,
    /// Project, and an account that its documents mention.
    pub mentions: Vec<(i64, Account)>,
    pub profiles: Vec<Profile>,
    /// E-mail address of commits, and the account that GitHub ties it to.
    pub emails: Vec<(String, Account)>,
    pub projects: Vec<Project>,
    pub commits: Vec<Commit>,
    pub commit_comments: Vec<CommitComment>,
    pub pulls: Vec<PullRequest>,
    pub pull_history: Vec<PullRequestHistory>,
    pub pull_commits: Vec<PullCommits>,
    pub review_comments: Vec<ReviewComment>,
    pub issues: Vec<Issue>,
    pub issue_comments: Vec<IssueComment>,
    pub issue_events: Vec<IssueEvent>,
    /// Project and name.
    pub labels: Vec<(i64, String)>,
    /// Project and title.
    pub milestones: Vec<(i64, String)>,
    pub members: Vec<ProjectUser>,
    /// Dates at which members were added, known only from the events feed. They apply to existing members.
    pub member_dates: Vec<ProjectUser>,
    pub watchers: Vec<ProjectUser>,
    /// Stars known only from the events feed. A list has the better date.
    pub watchers_from_events: Vec<ProjectUser>,
    /// Project, and the user row of a former member.
    pub removed_members: Vec<(i64, i64)>,
    /// Project, and the user row of a former stargazer.
    pub removed_watchers: Vec<(i64, i64)>,
    pub followers: Vec<AccountRelation>,
    /// Login of the followed account, and of a former follower.
    pub removed_followers: Vec<(String, String)>,
    pub organization_members: Vec<AccountRelation>,
    /// Login of the organization, and of a former member.
    pub removed_organization_members: Vec<(String, String)>,
    pub outside_collaborators: Vec<AccountRelation>,
    /// Login of the organization, and of a former collaborator.
    pub removed_outside_collaborators: Vec<(String, String)>,
    pub listings: Vec<ProjectListing>,
    pub teams: Vec<Team>,
    /// GitHub's ids of deleted teams.
    pub deleted_teams: Vec<i64>,
    /// GitHub's id of the team, and a member.
    pub team_members: Vec<(i64, Account)>,
    /// GitHub's id of the team, and the user row of a former member.
    pub removed_team_members: Vec<(i64, i64)>,
    pub team_projects: Vec<TeamProject>,
    /// GitHub's id of the team, and of a repository that it lost access to.
    pub removed_team_projects: Vec<(i64, i64)>,
    pub languages: Vec<Languages>,
    pub topics: Vec<Topics>,
    /// Rows to mark as deleted.
    pub deleted_items: Vec<DeletedItem>,
    /// Project, and the titles of all its milestones. Others are marked as deleted.
    pub milestone_titles: Vec<(i64, Vec<String>)>,
    /// Stored events. One that has a row keeps it.
    pub events: Vec<StoredEvent>,
    pub sync_updates: Vec<SyncUpdate>,
}

/// Calls a macro with the name of every field of [`RowBatch`], in the order in which rows are applied. A missing field
/// does not compile: `append` destructures.
macro_rules! with_row_fields {
    ($macro:ident) => {
        $macro!(
            accounts,
            mentions,
            profiles,
            emails,
            projects,
            commits,
            commit_comments,
            pulls,
            pull_history,
            pull_commits,
            review_comments,
            issues,
            issue_comments,
            issue_events,
            labels,
            milestones,
            members,
            member_dates,
            watchers,
            watchers_from_events,
            removed_members,
            removed_watchers,
            followers,
            removed_followers,
            organization_members,
            removed_organization_members,
            outside_collaborators,
            removed_outside_collaborators,
            listings,
            teams,
            deleted_teams,
            team_members,
            removed_team_members,
            team_projects,
            removed_team_projects,
            languages,
            topics,
            deleted_items,
            milestone_titles,
            events,
            sync_updates
        )
    };
}
pub(super) use with_row_fields;

impl RowBatch {
    /// Appends another batch to this one.
    pub fn append(&mut self, other: Self) {
        macro_rules! append {
            ($($field:ident),+) => {{
                let Self { $(mut $field),+ } = other;
                $(self.$field.append(&mut $field);)+
            }};
        }
        with_row_fields!(append);
    }
}
