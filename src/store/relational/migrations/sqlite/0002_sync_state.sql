-- What msght knows about its own work. Everything here can be lost without losing data: it would be read again.

-- Which document store all this speaks of, and how many changes it had when this was last true. Next to another one, or
-- to an older state of it, it would be untrue.
CREATE TABLE msght_document_store (
    id TEXT NOT NULL,
    generation INTEGER NOT NULL
);

-- Facts about a repository that GHTorrent's table has no column for.
CREATE TABLE msght_projects (
    project_id INTEGER PRIMARY KEY REFERENCES projects (id),
    github_id BIGINT NOT NULL UNIQUE,
    -- The name, OWNER/NAME, that its documents bear: its row may learn of a rename first.
    documents_as TEXT,
    retrieved_at TEXT
);

-- Facts about an account: GitHub's numeric id survives a rename; when its profile was read last.
CREATE TABLE msght_users (
    user_id INTEGER PRIMARY KEY REFERENCES users (id),
    github_id BIGINT UNIQUE,
    profile_at TEXT
);

-- Which account an e-mail address in commits belongs to.
CREATE TABLE msght_emails (
    email TEXT PRIMARY KEY,
    user_id INTEGER NOT NULL REFERENCES users (id)
) WITHOUT ROWID;
CREATE INDEX msght_emails_user ON msght_emails (user_id);

-- One row a list of GitHub's that is being or has been read.
CREATE TABLE msght_lists (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES projects (id),
    name TEXT NOT NULL,
    watermark TEXT,
    pending TEXT,
    completed_at TEXT,
    UNIQUE (project_id, name)
);

-- One row a page of such a list: its entity tag, where the list goes on, and fingerprints of the items it held.
CREATE TABLE msght_pages (
    list_id INTEGER NOT NULL REFERENCES msght_lists (id) ON DELETE CASCADE,
    page INTEGER NOT NULL,
    url TEXT NOT NULL,
    etag TEXT,
    token TEXT,
    last_page INTEGER,
    next TEXT,
    keys TEXT NOT NULL,
    PRIMARY KEY (list_id, page)
) WITHOUT ROWID;

-- For which state of a pull request its commits, details and reviews were read.
CREATE TABLE msght_pulls (
    pull_request_id INTEGER PRIMARY KEY REFERENCES pull_requests (id),
    updated_at TEXT,
    -- Its head commit and the branch that it is to be merged into: together they decide which commits it has.
    head TEXT,
    commits_of TEXT,
    detailed_of TEXT
);

-- Commits whose full form has been read, and what GitHub did not give of it.
CREATE TABLE msght_commit_details (
    commit_id INTEGER PRIMARY KEY REFERENCES commits (id),
    short TEXT
);
