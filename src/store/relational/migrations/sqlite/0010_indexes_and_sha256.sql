-- Every column that refers to another table has an index, as InnoDB makes one by itself: without it, looking up what
-- belongs to a repository or a person, and SQLite's own checks of its foreign keys, read whole tables.
--
-- SQLite holds to no length: `commits.sha` takes the 64 digits of git's SHA-256 repositories as it is.

CREATE INDEX projects_forked_commit ON projects (forked_commit_id);
CREATE INDEX commits_project ON commits (project_id);
CREATE INDEX project_commits_commit ON project_commits (commit_id);
CREATE INDEX commit_comments_user ON commit_comments (user_id);
CREATE INDEX followers_follower ON followers (follower_id);
CREATE INDEX organization_members_user ON organization_members (user_id);
CREATE INDEX project_members_user ON project_members (user_id);
CREATE INDEX watchers_user ON watchers (user_id);
CREATE INDEX pull_requests_head_repo ON pull_requests (head_repo_id);
CREATE INDEX pull_requests_head_commit ON pull_requests (head_commit_id);
CREATE INDEX pull_requests_base_commit ON pull_requests (base_commit_id);
CREATE INDEX pull_request_history_actor ON pull_request_history (actor_id);
CREATE INDEX pull_request_commits_commit ON pull_request_commits (commit_id);
CREATE INDEX pull_request_comments_user ON pull_request_comments (user_id);
CREATE INDEX pull_request_comments_commit ON pull_request_comments (commit_id);
CREATE INDEX issues_reporter ON issues (reporter_id);
CREATE INDEX issues_assignee ON issues (assignee_id);
CREATE INDEX issue_comments_user ON issue_comments (user_id);
CREATE INDEX issue_events_actor ON issue_events (actor_id);
CREATE INDEX team_members_user ON team_members (user_id);
CREATE INDEX team_projects_project ON team_projects (project_id);
CREATE INDEX outside_collaborators_user ON outside_collaborators (user_id);
