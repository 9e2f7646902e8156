-- What is known of an account's profile, beyond when it was read.
CREATE TABLE msght_profiles (
    user_id INTEGER PRIMARY KEY REFERENCES users (id),
    -- The login that its document bears: the row may learn of a rename first.
    documents_as TEXT,
    -- Its entity tag, with the fingerprint of the token that it was given to.
    etag TEXT,
    token TEXT,
    -- Since when GitHub answers that there is none, and when it is asked again.
    missing_since TEXT,
    look_again_at TEXT
);
INSERT INTO msght_profiles (user_id, documents_as)
    SELECT u.id, u.login FROM msght_users m JOIN users u ON u.id = m.user_id WHERE m.profile_at IS NOT NULL;

-- Accounts that a repository's documents mention and that no row of the repository refers to: reviewers, further assignees,
-- contributors, actors of feed entries.
CREATE TABLE msght_mentions (
    project_id INTEGER NOT NULL REFERENCES projects (id),
    user_id INTEGER NOT NULL REFERENCES users (id),
    PRIMARY KEY (project_id, user_id)
) WITHOUT ROWID;
CREATE INDEX msght_mentions_user ON msght_mentions (user_id);

-- Whose token a list that doesn't show everybody the same was read with, so that what another one is not shown isn't taken
-- for gone.
CREATE TABLE msght_list_readers (
    list_id INTEGER PRIMARY KEY REFERENCES msght_lists (id) ON DELETE CASCADE,
    token TEXT NOT NULL
);
INSERT INTO msght_list_readers (list_id, token)
    SELECT l.id, p.token FROM msght_lists l JOIN msght_pages p ON p.list_id = l.id AND p.page = 1
    WHERE p.token IS NOT NULL AND (l.name = 'releases' OR l.name LIKE 'user/%/teams' OR l.name LIKE 'user/%/repositories'
        OR l.name LIKE 'user/%/members');

-- Since when somebody is a member of a project, as its feed told: it may do so before the list of members.
CREATE TABLE msght_member_dates (
    project_id INTEGER NOT NULL REFERENCES projects (id),
    user_id INTEGER NOT NULL REFERENCES users (id),
    added_at TEXT NOT NULL,
    PRIMARY KEY (project_id, user_id)
) WITHOUT ROWID;
CREATE INDEX msght_member_dates_user ON msght_member_dates (user_id);
