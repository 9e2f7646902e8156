-- Names that repositories had before: renamed, transferred, or with an owner who was renamed. The present name is in
-- `projects`.
CREATE TABLE IF NOT EXISTS project_names (
    project_id BIGINT NOT NULL,
    owner VARCHAR(255) NOT NULL,
    name VARCHAR(255) NOT NULL,
    -- When msght saw that it had another one.
    renamed_at DATETIME NOT NULL,
    PRIMARY KEY (project_id, owner, name),
    KEY project_names_name (name, owner),
    CONSTRAINT project_names_project_id_fk FOREIGN KEY (project_id) REFERENCES projects (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;
