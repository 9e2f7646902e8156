-- GHTorrent's schema, version 31, as the data model gives it (section 4). Identifiers from GitHub are 64-bit.
-- Dates are UTC, 'YYYY-MM-DD HH:MM:SS'. Logins and repository names compare without case, as on GitHub.

CREATE TABLE users (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    login VARCHAR(255) NOT NULL COLLATE NOCASE,
    name VARCHAR(255),
    company VARCHAR(255),
    location VARCHAR(255),
    email VARCHAR(255),
    created_at DATETIME,
    type VARCHAR(255) NOT NULL DEFAULT 'USR',
    fake BOOLEAN NOT NULL DEFAULT 0,
    deleted BOOLEAN NOT NULL DEFAULT 0,
    long DECIMAL(11,8),
    lat DECIMAL(10,8),
    country_code CHAR(3),
    state VARCHAR(255),
    city VARCHAR(255),
    updated_at DATETIME
);
CREATE UNIQUE INDEX users_login ON users (login);

CREATE TABLE projects (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    url VARCHAR(255),
    owner_id INTEGER NOT NULL REFERENCES users (id),
    name VARCHAR(255) NOT NULL COLLATE NOCASE,
    description VARCHAR(255),
    language VARCHAR(255),
    created_at DATETIME,
    forked_from INTEGER REFERENCES projects (id),
    deleted BOOLEAN NOT NULL DEFAULT 0,
    updated_at DATETIME,
    forked_commit_id INTEGER REFERENCES commits (id),
    etag VARCHAR(40)
);
CREATE UNIQUE INDEX projects_name_owner ON projects (name, owner_id);
CREATE INDEX projects_owner ON projects (owner_id);
CREATE INDEX projects_forked_from ON projects (forked_from);

CREATE TABLE commits (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sha CHAR(40) NOT NULL,
    author_id INTEGER REFERENCES users (id),
    committer_id INTEGER REFERENCES users (id),
    project_id INTEGER REFERENCES projects (id),
    created_at DATETIME
);
CREATE UNIQUE INDEX commits_sha ON commits (sha);
CREATE INDEX commits_author ON commits (author_id);
CREATE INDEX commits_committer ON commits (committer_id);

CREATE TABLE commit_parents (
    commit_id INTEGER NOT NULL REFERENCES commits (id),
    parent_id INTEGER NOT NULL REFERENCES commits (id),
    PRIMARY KEY (commit_id, parent_id)
) WITHOUT ROWID;
CREATE INDEX commit_parents_parent ON commit_parents (parent_id);

CREATE TABLE project_commits (
    project_id INTEGER NOT NULL REFERENCES projects (id),
    commit_id INTEGER NOT NULL REFERENCES commits (id),
    PRIMARY KEY (project_id, commit_id)
) WITHOUT ROWID;

CREATE TABLE commit_comments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    commit_id INTEGER NOT NULL REFERENCES commits (id),
    user_id INTEGER NOT NULL REFERENCES users (id),
    body VARCHAR(256),
    line INTEGER,
    position INTEGER,
    comment_id BIGINT NOT NULL,
    created_at DATETIME
);
CREATE UNIQUE INDEX commit_comments_comment ON commit_comments (comment_id);
CREATE INDEX commit_comments_commit ON commit_comments (commit_id);

CREATE TABLE followers (
    user_id INTEGER NOT NULL REFERENCES users (id),
    follower_id INTEGER NOT NULL REFERENCES users (id),
    created_at DATETIME,
    PRIMARY KEY (user_id, follower_id)
) WITHOUT ROWID;

CREATE TABLE organization_members (
    org_id INTEGER NOT NULL REFERENCES users (id),
    user_id INTEGER NOT NULL REFERENCES users (id),
    created_at DATETIME,
    PRIMARY KEY (org_id, user_id)
) WITHOUT ROWID;

CREATE TABLE project_members (
    repo_id INTEGER NOT NULL REFERENCES projects (id),
    user_id INTEGER NOT NULL REFERENCES users (id),
    created_at DATETIME,
    ext_ref_id VARCHAR(24) NOT NULL DEFAULT '0',
    PRIMARY KEY (repo_id, user_id)
) WITHOUT ROWID;

CREATE TABLE watchers (
    repo_id INTEGER NOT NULL REFERENCES projects (id),
    user_id INTEGER NOT NULL REFERENCES users (id),
    created_at DATETIME,
    PRIMARY KEY (repo_id, user_id)
) WITHOUT ROWID;

CREATE TABLE project_languages (
    project_id INTEGER NOT NULL REFERENCES projects (id),
    language VARCHAR(255) NOT NULL,
    bytes BIGINT NOT NULL,
    created_at DATETIME NOT NULL
);
CREATE INDEX project_languages_project ON project_languages (project_id);

CREATE TABLE project_topics (
    project_id INTEGER NOT NULL REFERENCES projects (id),
    topic_name VARCHAR(255) NOT NULL,
    created_at DATETIME,
    deleted BOOLEAN NOT NULL DEFAULT 0,
    PRIMARY KEY (project_id, topic_name)
) WITHOUT ROWID;

CREATE TABLE pull_requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    head_repo_id INTEGER REFERENCES projects (id),
    base_repo_id INTEGER NOT NULL REFERENCES projects (id),
    head_commit_id INTEGER REFERENCES commits (id),
    base_commit_id INTEGER REFERENCES commits (id),
    pullreq_id INTEGER NOT NULL,
    intra_branch BOOLEAN NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX pull_requests_number ON pull_requests (base_repo_id, pullreq_id);

CREATE TABLE pull_request_history (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    pull_request_id INTEGER NOT NULL REFERENCES pull_requests (id),
    created_at DATETIME NOT NULL,
    action VARCHAR(255) NOT NULL,
    actor_id INTEGER REFERENCES users (id)
);
CREATE UNIQUE INDEX pull_request_history_fact ON pull_request_history (pull_request_id, action, created_at);
CREATE UNIQUE INDEX pull_request_history_once ON pull_request_history (pull_request_id, action)
    WHERE action IN ('opened', 'merged');

CREATE TABLE pull_request_commits (
    pull_request_id INTEGER NOT NULL REFERENCES pull_requests (id),
    commit_id INTEGER NOT NULL REFERENCES commits (id),
    PRIMARY KEY (pull_request_id, commit_id)
) WITHOUT ROWID;

CREATE TABLE pull_request_comments (
    pull_request_id INTEGER NOT NULL REFERENCES pull_requests (id),
    user_id INTEGER NOT NULL REFERENCES users (id),
    comment_id BIGINT NOT NULL,
    position INTEGER,
    body VARCHAR(256),
    commit_id INTEGER REFERENCES commits (id),
    created_at DATETIME
);
CREATE UNIQUE INDEX pull_request_comments_comment ON pull_request_comments (comment_id);
CREATE INDEX pull_request_comments_pull_request ON pull_request_comments (pull_request_id);

CREATE TABLE issues (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    repo_id INTEGER NOT NULL REFERENCES projects (id),
    reporter_id INTEGER REFERENCES users (id),
    assignee_id INTEGER REFERENCES users (id),
    issue_id INTEGER NOT NULL,
    pull_request BOOLEAN NOT NULL DEFAULT 0,
    pull_request_id INTEGER REFERENCES pull_requests (id),
    created_at DATETIME
);
CREATE UNIQUE INDEX issues_number ON issues (repo_id, issue_id);
CREATE INDEX issues_pull_request ON issues (pull_request_id);

CREATE TABLE issue_comments (
    issue_id INTEGER NOT NULL REFERENCES issues (id),
    user_id INTEGER NOT NULL REFERENCES users (id),
    comment_id BIGINT NOT NULL,
    created_at DATETIME
);
CREATE UNIQUE INDEX issue_comments_comment ON issue_comments (comment_id);
CREATE INDEX issue_comments_issue ON issue_comments (issue_id);

CREATE TABLE issue_events (
    event_id BIGINT NOT NULL,
    issue_id INTEGER NOT NULL REFERENCES issues (id),
    actor_id INTEGER NOT NULL REFERENCES users (id),
    action VARCHAR(255) NOT NULL,
    action_specific VARCHAR(50),
    created_at DATETIME,
    PRIMARY KEY (event_id, issue_id)
) WITHOUT ROWID;
CREATE INDEX issue_events_issue ON issue_events (issue_id);

CREATE TABLE repo_labels (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    repo_id INTEGER NOT NULL REFERENCES projects (id),
    name VARCHAR(255) NOT NULL
);
CREATE UNIQUE INDEX repo_labels_name ON repo_labels (repo_id, name);

CREATE TABLE issue_labels (
    label_id INTEGER NOT NULL REFERENCES repo_labels (id),
    issue_id INTEGER NOT NULL REFERENCES issues (id),
    PRIMARY KEY (issue_id, label_id)
) WITHOUT ROWID;
CREATE INDEX issue_labels_label ON issue_labels (label_id);

CREATE TABLE repo_milestones (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    repo_id INTEGER NOT NULL REFERENCES projects (id),
    name VARCHAR(255) NOT NULL
);
CREATE UNIQUE INDEX repo_milestones_name ON repo_milestones (repo_id, name);

CREATE TABLE schema_info (version INTEGER NOT NULL DEFAULT 0);
INSERT INTO schema_info (version) VALUES (31);

-- GHTorrent's two reserved rows: who and what a reference points at when there is nobody and nothing.
INSERT INTO users (id, login) VALUES (-1, '0xnoone');
INSERT INTO projects (id, name, owner_id) VALUES (-1, 'noproject', -1);
