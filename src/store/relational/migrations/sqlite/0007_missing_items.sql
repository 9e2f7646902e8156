-- Items that GitHub says it doesn't have though others refer to them: when that was first said, and how often. They are
-- asked for again, at growing distances; a row goes when its item comes.
CREATE TABLE msght_missing_items (
    project_id INTEGER NOT NULL REFERENCES projects (id),
    -- commit or pull.
    kind VARCHAR(16) NOT NULL,
    -- The commit's SHA, the pull request's number.
    item VARCHAR(64) NOT NULL,
    -- GitHub's last answer.
    answer TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    first_at DATETIME NOT NULL,
    last_at DATETIME NOT NULL,
    PRIMARY KEY (project_id, kind, item)
) WITHOUT ROWID;

-- Commits that are known by mention alone have no date yet.
CREATE INDEX commits_mentioned ON commits (project_id) WHERE created_at IS NULL;
