-- Items that GitHub says it doesn't have though others refer to them: when that was first said, and how often. They are
-- asked for again, at growing distances; a row goes when its item comes.
CREATE TABLE IF NOT EXISTS msght_missing_items (
    project_id BIGINT NOT NULL,
    -- commit or pull.
    kind VARCHAR(16) NOT NULL,
    -- The commit's SHA, the pull request's number.
    item VARCHAR(64) NOT NULL,
    -- GitHub's last answer.
    answer TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    first_at DATETIME NOT NULL,
    last_at DATETIME NOT NULL,
    PRIMARY KEY (project_id, kind, item),
    CONSTRAINT msght_missing_items_project_id_fk FOREIGN KEY (project_id) REFERENCES projects (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;
