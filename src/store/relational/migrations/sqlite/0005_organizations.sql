-- What an organisation's lists say of its repositories; `projects` has no columns for it.
CREATE TABLE project_listings (
    project_id INTEGER PRIMARY KEY REFERENCES projects (id),
    -- listed: a list of its owner's holds it. unlisted: no list does, and it can be read. unreadable: no token can read it
    -- any more, and it is not known to be deleted.
    state VARCHAR(16) NOT NULL,
    visibility VARCHAR(16),
    archived BOOLEAN NOT NULL DEFAULT 0,
    fork BOOLEAN NOT NULL DEFAULT 0,
    disabled BOOLEAN NOT NULL DEFAULT 0,
    pushed_at TEXT,
    updated_at TEXT
);

-- Teams of organisations. A team is its number: its name and slug may change.
CREATE TABLE teams (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    github_id BIGINT NOT NULL UNIQUE,
    org_id INTEGER NOT NULL REFERENCES users (id),
    slug VARCHAR(255) NOT NULL,
    name VARCHAR(255) NOT NULL,
    description VARCHAR(255),
    privacy VARCHAR(16),
    permission VARCHAR(32),
    -- The number of the team that it is a part of.
    parent_github_id BIGINT,
    deleted BOOLEAN NOT NULL DEFAULT 0
);
CREATE INDEX teams_org ON teams (org_id);

CREATE TABLE team_members (
    team_id INTEGER NOT NULL REFERENCES teams (id),
    user_id INTEGER NOT NULL REFERENCES users (id),
    PRIMARY KEY (team_id, user_id)
) WITHOUT ROWID;

CREATE TABLE team_projects (
    team_id INTEGER NOT NULL REFERENCES teams (id),
    project_id INTEGER NOT NULL REFERENCES projects (id),
    -- The role that the team has there: pull, triage, push, maintain, admin, or one of the organisation's own.
    role VARCHAR(255),
    PRIMARY KEY (team_id, project_id)
) WITHOUT ROWID;

-- Who has access to repositories of an organisation without being a member of it.
CREATE TABLE outside_collaborators (
    org_id INTEGER NOT NULL REFERENCES users (id),
    user_id INTEGER NOT NULL REFERENCES users (id),
    PRIMARY KEY (org_id, user_id)
) WITHOUT ROWID;
