-- GHTorrent's schema, version 31, as the data model gives it (section 4), for MySQL 8 and MariaDB 10.6 or later.
-- Row ids and identifiers from GitHub are 64-bit: upserts use ids up, and GitHub's have outgrown 32 bits.
-- Dates are UTC. Texts compare without case, as in GHTorrent; names that differ only in case or in blanks at their end are
-- different labels and milestones, so that those have a binary collation, which the two products name differently.
-- Every statement can be repeated: a migration that was cut off is run again.

SET FOREIGN_KEY_CHECKS = 0;

CREATE TABLE IF NOT EXISTS users (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    login VARCHAR(255) NOT NULL,
    name VARCHAR(255),
    company VARCHAR(255),
    location VARCHAR(255),
    email VARCHAR(255),
    created_at DATETIME,
    type VARCHAR(255) NOT NULL DEFAULT 'USR',
    fake BOOLEAN NOT NULL DEFAULT 0,
    deleted BOOLEAN NOT NULL DEFAULT 0,
    `long` DECIMAL(11,8),
    lat DECIMAL(10,8),
    country_code CHAR(3),
    state VARCHAR(255),
    city VARCHAR(255),
    updated_at DATETIME,
    UNIQUE KEY users_login (login)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS projects (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    url VARCHAR(255),
    owner_id BIGINT NOT NULL,
    name VARCHAR(255) NOT NULL,
    description VARCHAR(255),
    language VARCHAR(255),
    created_at DATETIME,
    forked_from BIGINT,
    deleted BOOLEAN NOT NULL DEFAULT 0,
    updated_at DATETIME,
    forked_commit_id BIGINT,
    etag VARCHAR(40),
    UNIQUE KEY projects_name_owner (name, owner_id),
    KEY projects_owner (owner_id),
    KEY projects_forked_from (forked_from),
    KEY projects_forked_commit (forked_commit_id),
    CONSTRAINT projects_owner_id_fk FOREIGN KEY (owner_id) REFERENCES users (id),
    CONSTRAINT projects_forked_from_fk FOREIGN KEY (forked_from) REFERENCES projects (id),
    CONSTRAINT projects_forked_commit_id_fk FOREIGN KEY (forked_commit_id) REFERENCES commits (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS commits (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    sha CHAR(40) COLLATE /*!80000 utf8mb4_0900_bin*/ /*M! utf8mb4_nopad_bin*/ NOT NULL,
    author_id BIGINT,
    committer_id BIGINT,
    project_id BIGINT,
    created_at DATETIME,
    UNIQUE KEY commits_sha (sha),
    KEY commits_author (author_id),
    KEY commits_committer (committer_id),
    KEY commits_project (project_id),
    CONSTRAINT commits_author_id_fk FOREIGN KEY (author_id) REFERENCES users (id),
    CONSTRAINT commits_committer_id_fk FOREIGN KEY (committer_id) REFERENCES users (id),
    CONSTRAINT commits_project_id_fk FOREIGN KEY (project_id) REFERENCES projects (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS commit_parents (
    commit_id BIGINT NOT NULL,
    parent_id BIGINT NOT NULL,
    PRIMARY KEY (commit_id, parent_id),
    KEY commit_parents_parent (parent_id),
    CONSTRAINT commit_parents_commit_id_fk FOREIGN KEY (commit_id) REFERENCES commits (id),
    CONSTRAINT commit_parents_parent_id_fk FOREIGN KEY (parent_id) REFERENCES commits (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS project_commits (
    project_id BIGINT NOT NULL,
    commit_id BIGINT NOT NULL,
    PRIMARY KEY (project_id, commit_id),
    KEY project_commits_commit (commit_id),
    CONSTRAINT project_commits_project_id_fk FOREIGN KEY (project_id) REFERENCES projects (id),
    CONSTRAINT project_commits_commit_id_fk FOREIGN KEY (commit_id) REFERENCES commits (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS commit_comments (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    commit_id BIGINT NOT NULL,
    user_id BIGINT NOT NULL,
    body VARCHAR(256),
    line BIGINT,
    position BIGINT,
    comment_id BIGINT NOT NULL,
    created_at DATETIME,
    UNIQUE KEY commit_comments_comment (comment_id),
    KEY commit_comments_commit (commit_id),
    KEY commit_comments_user (user_id),
    CONSTRAINT commit_comments_commit_id_fk FOREIGN KEY (commit_id) REFERENCES commits (id),
    CONSTRAINT commit_comments_user_id_fk FOREIGN KEY (user_id) REFERENCES users (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS followers (
    user_id BIGINT NOT NULL,
    follower_id BIGINT NOT NULL,
    created_at DATETIME,
    PRIMARY KEY (user_id, follower_id),
    KEY followers_follower (follower_id),
    CONSTRAINT followers_user_id_fk FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT followers_follower_id_fk FOREIGN KEY (follower_id) REFERENCES users (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS organization_members (
    org_id BIGINT NOT NULL,
    user_id BIGINT NOT NULL,
    created_at DATETIME,
    PRIMARY KEY (org_id, user_id),
    KEY organization_members_user (user_id),
    CONSTRAINT organization_members_org_id_fk FOREIGN KEY (org_id) REFERENCES users (id),
    CONSTRAINT organization_members_user_id_fk FOREIGN KEY (user_id) REFERENCES users (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS project_members (
    repo_id BIGINT NOT NULL,
    user_id BIGINT NOT NULL,
    created_at DATETIME,
    ext_ref_id VARCHAR(24) NOT NULL DEFAULT '0',
    PRIMARY KEY (repo_id, user_id),
    KEY project_members_user (user_id),
    CONSTRAINT project_members_repo_id_fk FOREIGN KEY (repo_id) REFERENCES projects (id),
    CONSTRAINT project_members_user_id_fk FOREIGN KEY (user_id) REFERENCES users (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS watchers (
    repo_id BIGINT NOT NULL,
    user_id BIGINT NOT NULL,
    created_at DATETIME,
    PRIMARY KEY (repo_id, user_id),
    KEY watchers_user (user_id),
    CONSTRAINT watchers_repo_id_fk FOREIGN KEY (repo_id) REFERENCES projects (id),
    CONSTRAINT watchers_user_id_fk FOREIGN KEY (user_id) REFERENCES users (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS project_languages (
    project_id BIGINT NOT NULL,
    language VARCHAR(255) NOT NULL,
    bytes BIGINT NOT NULL,
    created_at DATETIME NOT NULL,
    KEY project_languages_project (project_id),
    CONSTRAINT project_languages_project_id_fk FOREIGN KEY (project_id) REFERENCES projects (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS project_topics (
    project_id BIGINT NOT NULL,
    topic_name VARCHAR(255) COLLATE /*!80000 utf8mb4_0900_bin*/ /*M! utf8mb4_nopad_bin*/ NOT NULL,
    created_at DATETIME,
    deleted BOOLEAN NOT NULL DEFAULT 0,
    PRIMARY KEY (project_id, topic_name),
    CONSTRAINT project_topics_project_id_fk FOREIGN KEY (project_id) REFERENCES projects (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS pull_requests (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    head_repo_id BIGINT,
    base_repo_id BIGINT NOT NULL,
    head_commit_id BIGINT,
    base_commit_id BIGINT,
    pullreq_id BIGINT NOT NULL,
    intra_branch BOOLEAN NOT NULL DEFAULT 0,
    UNIQUE KEY pull_requests_number (base_repo_id, pullreq_id),
    KEY pull_requests_head_repo (head_repo_id),
    KEY pull_requests_head_commit (head_commit_id),
    KEY pull_requests_base_commit (base_commit_id),
    CONSTRAINT pull_requests_head_repo_id_fk FOREIGN KEY (head_repo_id) REFERENCES projects (id),
    CONSTRAINT pull_requests_base_repo_id_fk FOREIGN KEY (base_repo_id) REFERENCES projects (id),
    CONSTRAINT pull_requests_head_commit_id_fk FOREIGN KEY (head_commit_id) REFERENCES commits (id),
    CONSTRAINT pull_requests_base_commit_id_fk FOREIGN KEY (base_commit_id) REFERENCES commits (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS pull_request_history (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    pull_request_id BIGINT NOT NULL,
    created_at DATETIME NOT NULL,
    action VARCHAR(255) COLLATE /*!80000 utf8mb4_0900_bin*/ /*M! utf8mb4_nopad_bin*/ NOT NULL,
    actor_id BIGINT,
    once_only VARCHAR(16) COLLATE /*!80000 utf8mb4_0900_bin*/ /*M! utf8mb4_nopad_bin*/ GENERATED ALWAYS AS (CASE WHEN action IN ('opened', 'merged') THEN action END) VIRTUAL
        /*!80023 INVISIBLE*/ /*M! INVISIBLE*/,
    UNIQUE KEY pull_request_history_fact (pull_request_id, action, created_at),
    UNIQUE KEY pull_request_history_once (pull_request_id, once_only),
    KEY pull_request_history_actor (actor_id),
    CONSTRAINT pull_request_history_pull_request_id_fk FOREIGN KEY (pull_request_id) REFERENCES pull_requests (id),
    CONSTRAINT pull_request_history_actor_id_fk FOREIGN KEY (actor_id) REFERENCES users (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS pull_request_commits (
    pull_request_id BIGINT NOT NULL,
    commit_id BIGINT NOT NULL,
    PRIMARY KEY (pull_request_id, commit_id),
    KEY pull_request_commits_commit (commit_id),
    CONSTRAINT pull_request_commits_pull_request_id_fk FOREIGN KEY (pull_request_id) REFERENCES pull_requests (id),
    CONSTRAINT pull_request_commits_commit_id_fk FOREIGN KEY (commit_id) REFERENCES commits (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS pull_request_comments (
    pull_request_id BIGINT NOT NULL,
    user_id BIGINT NOT NULL,
    comment_id BIGINT NOT NULL,
    position BIGINT,
    body VARCHAR(256),
    commit_id BIGINT,
    created_at DATETIME,
    UNIQUE KEY pull_request_comments_comment (comment_id),
    KEY pull_request_comments_pull_request (pull_request_id),
    KEY pull_request_comments_user (user_id),
    KEY pull_request_comments_commit (commit_id),
    CONSTRAINT pull_request_comments_pull_request_id_fk FOREIGN KEY (pull_request_id) REFERENCES pull_requests (id),
    CONSTRAINT pull_request_comments_user_id_fk FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT pull_request_comments_commit_id_fk FOREIGN KEY (commit_id) REFERENCES commits (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS issues (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    repo_id BIGINT NOT NULL,
    reporter_id BIGINT,
    assignee_id BIGINT,
    issue_id BIGINT NOT NULL,
    pull_request BOOLEAN NOT NULL DEFAULT 0,
    pull_request_id BIGINT,
    created_at DATETIME,
    UNIQUE KEY issues_number (repo_id, issue_id),
    KEY issues_reporter (reporter_id),
    KEY issues_assignee (assignee_id),
    KEY issues_pull_request (pull_request_id),
    CONSTRAINT issues_repo_id_fk FOREIGN KEY (repo_id) REFERENCES projects (id),
    CONSTRAINT issues_reporter_id_fk FOREIGN KEY (reporter_id) REFERENCES users (id),
    CONSTRAINT issues_assignee_id_fk FOREIGN KEY (assignee_id) REFERENCES users (id),
    CONSTRAINT issues_pull_request_id_fk FOREIGN KEY (pull_request_id) REFERENCES pull_requests (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS issue_comments (
    issue_id BIGINT NOT NULL,
    user_id BIGINT NOT NULL,
    comment_id BIGINT NOT NULL,
    created_at DATETIME,
    UNIQUE KEY issue_comments_comment (comment_id),
    KEY issue_comments_issue (issue_id),
    KEY issue_comments_user (user_id),
    CONSTRAINT issue_comments_issue_id_fk FOREIGN KEY (issue_id) REFERENCES issues (id),
    CONSTRAINT issue_comments_user_id_fk FOREIGN KEY (user_id) REFERENCES users (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS issue_events (
    event_id BIGINT NOT NULL,
    issue_id BIGINT NOT NULL,
    actor_id BIGINT NOT NULL,
    action VARCHAR(255) NOT NULL,
    action_specific VARCHAR(50),
    created_at DATETIME,
    PRIMARY KEY (event_id, issue_id),
    KEY issue_events_issue (issue_id),
    KEY issue_events_actor (actor_id),
    CONSTRAINT issue_events_issue_id_fk FOREIGN KEY (issue_id) REFERENCES issues (id),
    CONSTRAINT issue_events_actor_id_fk FOREIGN KEY (actor_id) REFERENCES users (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS repo_labels (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    repo_id BIGINT NOT NULL,
    name VARCHAR(255) COLLATE /*!80000 utf8mb4_0900_bin*/ /*M! utf8mb4_nopad_bin*/ NOT NULL,
    UNIQUE KEY repo_labels_name (repo_id, name),
    CONSTRAINT repo_labels_repo_id_fk FOREIGN KEY (repo_id) REFERENCES projects (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS issue_labels (
    label_id BIGINT NOT NULL,
    issue_id BIGINT NOT NULL,
    PRIMARY KEY (issue_id, label_id),
    KEY issue_labels_label (label_id),
    CONSTRAINT issue_labels_label_id_fk FOREIGN KEY (label_id) REFERENCES repo_labels (id),
    CONSTRAINT issue_labels_issue_id_fk FOREIGN KEY (issue_id) REFERENCES issues (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS repo_milestones (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    repo_id BIGINT NOT NULL,
    name VARCHAR(255) COLLATE /*!80000 utf8mb4_0900_bin*/ /*M! utf8mb4_nopad_bin*/ NOT NULL,
    UNIQUE KEY repo_milestones_name (repo_id, name),
    CONSTRAINT repo_milestones_repo_id_fk FOREIGN KEY (repo_id) REFERENCES projects (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS schema_info (
    version BIGINT NOT NULL DEFAULT 0
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

SET FOREIGN_KEY_CHECKS = 1;

INSERT INTO schema_info (version) SELECT 31 FROM (SELECT 1) one WHERE NOT EXISTS (SELECT 1 FROM schema_info);

-- GHTorrent's two reserved rows: who and what a reference points at when there is nobody and nothing.
INSERT INTO users (id, login) VALUES (-1, '0xnoone') ON DUPLICATE KEY UPDATE login = users.login;
INSERT INTO projects (id, name, owner_id) VALUES (-1, 'noproject', -1) ON DUPLICATE KEY UPDATE name = projects.name;
