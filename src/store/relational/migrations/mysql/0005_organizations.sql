-- What an organisation's lists say of its repositories; `projects` has no columns for it.
CREATE TABLE IF NOT EXISTS project_listings (
    project_id BIGINT NOT NULL PRIMARY KEY,
    -- listed: a list of its owner's holds it. unlisted: no list does, and it can be read. unreadable: no token can read it
    -- any more, and it is not known to be deleted.
    state VARCHAR(16) NOT NULL,
    visibility VARCHAR(16),
    archived BOOLEAN NOT NULL DEFAULT 0,
    fork BOOLEAN NOT NULL DEFAULT 0,
    disabled BOOLEAN NOT NULL DEFAULT 0,
    pushed_at DATETIME,
    updated_at DATETIME,
    CONSTRAINT project_listings_project_id_fk FOREIGN KEY (project_id) REFERENCES projects (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

-- Teams of organisations. A team is its number: its name and slug may change.
CREATE TABLE IF NOT EXISTS teams (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    github_id BIGINT NOT NULL,
    org_id BIGINT NOT NULL,
    slug VARCHAR(255) NOT NULL,
    name VARCHAR(255) NOT NULL,
    description VARCHAR(255),
    privacy VARCHAR(16),
    permission VARCHAR(32),
    -- The number of the team that it is a part of.
    parent_github_id BIGINT,
    deleted BOOLEAN NOT NULL DEFAULT 0,
    UNIQUE KEY teams_github_id (github_id),
    KEY teams_org (org_id),
    CONSTRAINT teams_org_id_fk FOREIGN KEY (org_id) REFERENCES users (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS team_members (
    team_id BIGINT NOT NULL,
    user_id BIGINT NOT NULL,
    PRIMARY KEY (team_id, user_id),
    CONSTRAINT team_members_team_id_fk FOREIGN KEY (team_id) REFERENCES teams (id),
    CONSTRAINT team_members_user_id_fk FOREIGN KEY (user_id) REFERENCES users (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS team_projects (
    team_id BIGINT NOT NULL,
    project_id BIGINT NOT NULL,
    -- The role that the team has there: pull, triage, push, maintain, admin, or one of the organisation's own.
    role VARCHAR(255),
    PRIMARY KEY (team_id, project_id),
    CONSTRAINT team_projects_team_id_fk FOREIGN KEY (team_id) REFERENCES teams (id),
    CONSTRAINT team_projects_project_id_fk FOREIGN KEY (project_id) REFERENCES projects (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

-- Who has access to repositories of an organisation without being a member of it.
CREATE TABLE IF NOT EXISTS outside_collaborators (
    org_id BIGINT NOT NULL,
    user_id BIGINT NOT NULL,
    PRIMARY KEY (org_id, user_id),
    CONSTRAINT outside_collaborators_org_id_fk FOREIGN KEY (org_id) REFERENCES users (id),
    CONSTRAINT outside_collaborators_user_id_fk FOREIGN KEY (user_id) REFERENCES users (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;
