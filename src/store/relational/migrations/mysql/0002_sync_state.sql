-- What msght knows about its own work. Everything here can be lost without losing data: it would be read again.

-- Which document store all this speaks of, and how many changes it had when this was last true. Next to another one, or
-- to an older state of it, it would be untrue.
CREATE TABLE IF NOT EXISTS msght_document_store (
    id VARCHAR(64) NOT NULL,
    generation BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

-- Facts about a repository that GHTorrent's table has no column for.
CREATE TABLE IF NOT EXISTS msght_projects (
    project_id BIGINT NOT NULL PRIMARY KEY,
    github_id BIGINT NOT NULL,
    -- The name, OWNER/NAME, that its documents bear: its row may learn of a rename first.
    documents_as VARCHAR(512) COLLATE /*!80000 utf8mb4_0900_bin*/ /*M! utf8mb4_nopad_bin*/,
    retrieved_at VARCHAR(32),
    UNIQUE KEY msght_projects_github (github_id),
    CONSTRAINT msght_projects_project_id_fk FOREIGN KEY (project_id) REFERENCES projects (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

-- Facts about an account: GitHub's numeric id survives a rename; when its profile was read last.
CREATE TABLE IF NOT EXISTS msght_users (
    user_id BIGINT NOT NULL PRIMARY KEY,
    github_id BIGINT,
    profile_at VARCHAR(32),
    UNIQUE KEY msght_users_github (github_id),
    CONSTRAINT msght_users_user_id_fk FOREIGN KEY (user_id) REFERENCES users (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

-- Which account an e-mail address in commits belongs to.
CREATE TABLE IF NOT EXISTS msght_emails (
    email VARCHAR(255) COLLATE /*!80000 utf8mb4_0900_bin*/ /*M! utf8mb4_nopad_bin*/ NOT NULL PRIMARY KEY,
    user_id BIGINT NOT NULL,
    KEY msght_emails_user (user_id),
    CONSTRAINT msght_emails_user_id_fk FOREIGN KEY (user_id) REFERENCES users (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

-- One row a list of GitHub's that is being or has been read.
CREATE TABLE IF NOT EXISTS msght_lists (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    project_id BIGINT NOT NULL,
    name VARCHAR(255) COLLATE /*!80000 utf8mb4_0900_bin*/ /*M! utf8mb4_nopad_bin*/ NOT NULL,
    watermark TEXT COLLATE /*!80000 utf8mb4_0900_bin*/ /*M! utf8mb4_nopad_bin*/,
    pending TEXT COLLATE /*!80000 utf8mb4_0900_bin*/ /*M! utf8mb4_nopad_bin*/,
    completed_at VARCHAR(32),
    UNIQUE KEY msght_lists_name (project_id, name),
    CONSTRAINT msght_lists_project_id_fk FOREIGN KEY (project_id) REFERENCES projects (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

-- One row a page of such a list: its entity tag, where the list goes on, and fingerprints of the items it held.
CREATE TABLE IF NOT EXISTS msght_pages (
    list_id BIGINT NOT NULL,
    page BIGINT NOT NULL,
    url TEXT COLLATE /*!80000 utf8mb4_0900_bin*/ /*M! utf8mb4_nopad_bin*/ NOT NULL,
    etag TEXT COLLATE /*!80000 utf8mb4_0900_bin*/ /*M! utf8mb4_nopad_bin*/,
    token VARCHAR(64),
    last_page BIGINT,
    next TEXT COLLATE /*!80000 utf8mb4_0900_bin*/ /*M! utf8mb4_nopad_bin*/,
    `keys` MEDIUMTEXT NOT NULL,
    PRIMARY KEY (list_id, page),
    CONSTRAINT msght_pages_list_id_fk FOREIGN KEY (list_id) REFERENCES msght_lists (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

-- For which state of a pull request its commits, details and reviews were read.
CREATE TABLE IF NOT EXISTS msght_pulls (
    pull_request_id BIGINT NOT NULL PRIMARY KEY,
    updated_at VARCHAR(32),
    -- Its head commit and the branch that it is to be merged into: together they decide which commits it has.
    head TEXT COLLATE /*!80000 utf8mb4_0900_bin*/ /*M! utf8mb4_nopad_bin*/,
    commits_of TEXT COLLATE /*!80000 utf8mb4_0900_bin*/ /*M! utf8mb4_nopad_bin*/,
    detailed_of VARCHAR(32),
    CONSTRAINT msght_pulls_pull_request_id_fk FOREIGN KEY (pull_request_id) REFERENCES pull_requests (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

-- Commits whose full form has been read, and what GitHub did not give of it.
CREATE TABLE IF NOT EXISTS msght_commit_details (
    commit_id BIGINT NOT NULL PRIMARY KEY,
    short TEXT,
    CONSTRAINT msght_commit_details_commit_id_fk FOREIGN KEY (commit_id) REFERENCES commits (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;
