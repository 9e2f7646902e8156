-- What GitHub has no more keeps its row, marked; GHTorrent's own tables have no column for it but `users`, `projects` and
-- `project_topics`.
ALTER TABLE issues ADD COLUMN deleted BOOLEAN NOT NULL DEFAULT 0;
ALTER TABLE pull_requests ADD COLUMN deleted BOOLEAN NOT NULL DEFAULT 0;
ALTER TABLE issue_comments ADD COLUMN deleted BOOLEAN NOT NULL DEFAULT 0;
ALTER TABLE pull_request_comments ADD COLUMN deleted BOOLEAN NOT NULL DEFAULT 0;
ALTER TABLE commit_comments ADD COLUMN deleted BOOLEAN NOT NULL DEFAULT 0;
ALTER TABLE repo_labels ADD COLUMN deleted BOOLEAN NOT NULL DEFAULT 0;
ALTER TABLE repo_milestones ADD COLUMN deleted BOOLEAN NOT NULL DEFAULT 0;

-- When a page was last seen to be as it is here, for lists whose pages are looked at in turn. NULL: it has to be asked for
-- again.
ALTER TABLE msght_pages ADD COLUMN checked_at TEXT;

-- How many comments an issue says that it has, and for which such number they were read one by one.
CREATE TABLE msght_issues (
    issue_id INTEGER PRIMARY KEY REFERENCES issues (id),
    open BOOLEAN NOT NULL DEFAULT 0,
    comments INTEGER,
    comments_read_of INTEGER
);

-- The same of a pull request's review comments.
ALTER TABLE msght_pulls ADD COLUMN review_comments INTEGER;
ALTER TABLE msght_pulls ADD COLUMN review_comments_read_of INTEGER;
