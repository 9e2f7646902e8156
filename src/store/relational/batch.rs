//! A batch of rows of all kinds, as it goes into one transaction.

use super::rows::{
    Account, AccountRelation, Commit, CommitComment, DeletedRow, Issue, IssueComment, IssueEvent, Languages, Profile,
    Project, ProjectListing, ProjectUser, PullCommits, PullRequest, PullRequestHistory, ReviewComment, Team,
    TeamProject, Topics,
};
use super::sync_update::SyncUpdate;

/// A batch of rows of all kinds, with the sync state that becomes true once they are stored.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "each field is a list of the rows its type describes")]
pub struct RowBatch {
    pub accounts: Vec<Account>,
    /// Project and account that its documents mention.
    pub mentions: Vec<(i64, Account)>,
    pub profiles: Vec<Profile>,
    /// E-mail addresses of commits with the account that GitHub ties them to.
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
    /// Since when members are members, known only from the events feed: of those that there are.
    pub member_dates: Vec<ProjectUser>,
    pub watchers: Vec<ProjectUser>,
    /// Stars known only from the events feed: a list's answer has the better date.
    pub watchers_from_events: Vec<ProjectUser>,
    /// Project and row of members that are no longer.
    pub members_gone: Vec<(i64, i64)>,
    /// Project and row of those who took their star back.
    pub watchers_gone: Vec<(i64, i64)>,
    pub followers: Vec<AccountRelation>,
    /// Logins of the followed and of who follows no longer.
    pub followers_gone: Vec<(String, String)>,
    pub organization_members: Vec<AccountRelation>,
    /// Logins of the organisation and of who is no longer a member.
    pub organization_members_gone: Vec<(String, String)>,
    pub outside_collaborators: Vec<AccountRelation>,
    /// Logins of the organisation and of who has no access any more.
    pub outside_collaborators_gone: Vec<(String, String)>,
    pub listings: Vec<ProjectListing>,
    pub teams: Vec<Team>,
    /// GitHub's ids of teams that are no more.
    pub teams_gone: Vec<i64>,
    /// GitHub's id of the team, and a member.
    pub team_members: Vec<(i64, Account)>,
    /// GitHub's id of the team, and the row of who is no longer a member.
    pub team_members_gone: Vec<(i64, i64)>,
    pub team_projects: Vec<TeamProject>,
    /// GitHub's ids of the team and of a repository that it has no access to any more.
    pub team_projects_gone: Vec<(i64, i64)>,
    pub languages: Vec<Languages>,
    pub topics: Vec<Topics>,
    /// Rows to mark as gone.
    pub gone: Vec<DeletedRow>,
    /// Project, and all titles that its milestones have: others are of milestones that are gone or renamed.
    pub milestone_titles: Vec<(i64, Vec<String>)>,
    pub sync_updates: Vec<SyncUpdate>,
}

/// Calls a macro with the name of every field of [`RowBatch`], in the order in which rows are applied.
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
            members_gone,
            watchers_gone,
            followers,
            followers_gone,
            organization_members,
            organization_members_gone,
            outside_collaborators,
            outside_collaborators_gone,
            listings,
            teams,
            teams_gone,
            team_members,
            team_members_gone,
            team_projects,
            team_projects_gone,
            languages,
            topics,
            gone,
            milestone_titles,
            sync_updates
        )
    };
}
pub(super) use with_row_fields;

impl RowBatch {
    /// Moves everything of another batch behind this one's.
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
