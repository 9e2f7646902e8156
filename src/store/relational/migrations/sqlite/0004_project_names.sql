-- Names that repositories had before: renamed, transferred, or with an owner who was renamed. The present name is in
-- `projects`.
CREATE TABLE project_names (
    project_id INTEGER NOT NULL REFERENCES projects (id),
    owner TEXT NOT NULL COLLATE NOCASE,
    name TEXT NOT NULL COLLATE NOCASE,
    -- When msght saw that it had another one.
    renamed_at TEXT NOT NULL,
    PRIMARY KEY (project_id, owner, name)
) WITHOUT ROWID;
CREATE INDEX project_names_name ON project_names (name, owner);
