-- What GitHub has no more keeps its row, marked; GHTorrent's own tables have no column for it but `users`, `projects` and
-- `project_topics`. MySQL can't add a column only where it is missing: each statement is made so that it can be repeated.
SET @add = IF((SELECT count(*) FROM information_schema.columns WHERE table_schema = DATABASE()
    AND table_name = 'issues' AND column_name = 'deleted') = 0, 'ALTER TABLE issues ADD COLUMN deleted BOOLEAN NOT NULL DEFAULT 0', 'DO 0');
PREPARE add_column FROM @add;
EXECUTE add_column;
DEALLOCATE PREPARE add_column;
SET @add = IF((SELECT count(*) FROM information_schema.columns WHERE table_schema = DATABASE()
    AND table_name = 'pull_requests' AND column_name = 'deleted') = 0, 'ALTER TABLE pull_requests ADD COLUMN deleted BOOLEAN NOT NULL DEFAULT 0', 'DO 0');
PREPARE add_column FROM @add;
EXECUTE add_column;
DEALLOCATE PREPARE add_column;
SET @add = IF((SELECT count(*) FROM information_schema.columns WHERE table_schema = DATABASE()
    AND table_name = 'issue_comments' AND column_name = 'deleted') = 0, 'ALTER TABLE issue_comments ADD COLUMN deleted BOOLEAN NOT NULL DEFAULT 0', 'DO 0');
PREPARE add_column FROM @add;
EXECUTE add_column;
DEALLOCATE PREPARE add_column;
SET @add = IF((SELECT count(*) FROM information_schema.columns WHERE table_schema = DATABASE()
    AND table_name = 'pull_request_comments' AND column_name = 'deleted') = 0, 'ALTER TABLE pull_request_comments ADD COLUMN deleted BOOLEAN NOT NULL DEFAULT 0', 'DO 0');
PREPARE add_column FROM @add;
EXECUTE add_column;
DEALLOCATE PREPARE add_column;
SET @add = IF((SELECT count(*) FROM information_schema.columns WHERE table_schema = DATABASE()
    AND table_name = 'commit_comments' AND column_name = 'deleted') = 0, 'ALTER TABLE commit_comments ADD COLUMN deleted BOOLEAN NOT NULL DEFAULT 0', 'DO 0');
PREPARE add_column FROM @add;
EXECUTE add_column;
DEALLOCATE PREPARE add_column;
SET @add = IF((SELECT count(*) FROM information_schema.columns WHERE table_schema = DATABASE()
    AND table_name = 'repo_labels' AND column_name = 'deleted') = 0, 'ALTER TABLE repo_labels ADD COLUMN deleted BOOLEAN NOT NULL DEFAULT 0', 'DO 0');
PREPARE add_column FROM @add;
EXECUTE add_column;
DEALLOCATE PREPARE add_column;
SET @add = IF((SELECT count(*) FROM information_schema.columns WHERE table_schema = DATABASE()
    AND table_name = 'repo_milestones' AND column_name = 'deleted') = 0, 'ALTER TABLE repo_milestones ADD COLUMN deleted BOOLEAN NOT NULL DEFAULT 0', 'DO 0');
PREPARE add_column FROM @add;
EXECUTE add_column;
DEALLOCATE PREPARE add_column;

-- When a page was last seen to be as it is here, for lists whose pages are looked at in turn. NULL: it has to be asked for
-- again.
SET @add = IF((SELECT count(*) FROM information_schema.columns WHERE table_schema = DATABASE()
    AND table_name = 'msght_pages' AND column_name = 'checked_at') = 0, 'ALTER TABLE msght_pages ADD COLUMN checked_at VARCHAR(32)', 'DO 0');
PREPARE add_column FROM @add;
EXECUTE add_column;
DEALLOCATE PREPARE add_column;

-- How many comments an issue says that it has, and for which such number they were read one by one.
CREATE TABLE IF NOT EXISTS msght_issues (
    issue_id BIGINT NOT NULL PRIMARY KEY,
    open BOOLEAN NOT NULL DEFAULT 0,
    comments BIGINT,
    comments_read_of BIGINT,
    CONSTRAINT msght_issues_issue_id_fk FOREIGN KEY (issue_id) REFERENCES issues (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

-- The same of a pull request's review comments.
SET @add = IF((SELECT count(*) FROM information_schema.columns WHERE table_schema = DATABASE()
    AND table_name = 'msght_pulls' AND column_name = 'review_comments') = 0, 'ALTER TABLE msght_pulls ADD COLUMN review_comments BIGINT', 'DO 0');
PREPARE add_column FROM @add;
EXECUTE add_column;
DEALLOCATE PREPARE add_column;
SET @add = IF((SELECT count(*) FROM information_schema.columns WHERE table_schema = DATABASE()
    AND table_name = 'msght_pulls' AND column_name = 'review_comments_read_of') = 0, 'ALTER TABLE msght_pulls ADD COLUMN review_comments_read_of BIGINT', 'DO 0');
PREPARE add_column FROM @add;
EXECUTE add_column;
DEALLOCATE PREPARE add_column;
