-- What is known of an account's profile, beyond when it was read.
CREATE TABLE IF NOT EXISTS msght_profiles (
    user_id BIGINT NOT NULL PRIMARY KEY,
    -- The login that its document bears: the row may learn of a rename first.
    documents_as VARCHAR(255) COLLATE /*!80000 utf8mb4_0900_bin*/ /*M! utf8mb4_nopad_bin*/,
    -- Its entity tag, with the fingerprint of the token that it was given to.
    etag TEXT,
    token VARCHAR(64),
    -- Since when GitHub answers that there is none, and when it is asked again.
    missing_since VARCHAR(32),
    look_again_at VARCHAR(32),
    CONSTRAINT msght_profiles_user_id_fk FOREIGN KEY (user_id) REFERENCES users (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

INSERT INTO msght_profiles (user_id, documents_as)
    SELECT u.id, u.login FROM msght_users m JOIN users u ON u.id = m.user_id WHERE m.profile_at IS NOT NULL
    ON DUPLICATE KEY UPDATE documents_as = VALUES(documents_as);

-- Accounts that a repository's documents mention and that no row of the repository refers to: reviewers, further assignees,
-- contributors, actors of feed entries.
CREATE TABLE IF NOT EXISTS msght_mentions (
    project_id BIGINT NOT NULL,
    user_id BIGINT NOT NULL,
    PRIMARY KEY (project_id, user_id),
    KEY msght_mentions_user (user_id),
    CONSTRAINT msght_mentions_project_id_fk FOREIGN KEY (project_id) REFERENCES projects (id),
    CONSTRAINT msght_mentions_user_id_fk FOREIGN KEY (user_id) REFERENCES users (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

-- Whose token a list that doesn't show everybody the same was read with, so that what another one is not shown isn't taken
-- for gone.
CREATE TABLE IF NOT EXISTS msght_list_readers (
    list_id BIGINT NOT NULL PRIMARY KEY,
    token VARCHAR(64) NOT NULL,
    CONSTRAINT msght_list_readers_list_id_fk FOREIGN KEY (list_id) REFERENCES msght_lists (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

INSERT INTO msght_list_readers (list_id, token)
    SELECT l.id, p.token FROM msght_lists l JOIN msght_pages p ON p.list_id = l.id AND p.page = 1
    WHERE p.token IS NOT NULL AND (l.name = 'releases' OR l.name LIKE 'user/%/teams' OR l.name LIKE 'user/%/repositories'
        OR l.name LIKE 'user/%/members')
    ON DUPLICATE KEY UPDATE token = VALUES(token);

-- Since when somebody is a member of a project, as its feed told: it may do so before the list of members.
CREATE TABLE IF NOT EXISTS msght_member_dates (
    project_id BIGINT NOT NULL,
    user_id BIGINT NOT NULL,
    added_at VARCHAR(32) NOT NULL,
    PRIMARY KEY (project_id, user_id),
    KEY msght_member_dates_user (user_id),
    CONSTRAINT msght_member_dates_project_id_fk FOREIGN KEY (project_id) REFERENCES projects (id),
    CONSTRAINT msght_member_dates_user_id_fk FOREIGN KEY (user_id) REFERENCES users (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;
