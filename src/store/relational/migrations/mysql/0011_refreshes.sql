-- What is to be read again because a delivery or an event told of it. A row goes when the stores have what it asks for.
-- Times are Unix seconds by the database's clock.
CREATE TABLE IF NOT EXISTS msght_refreshes (
    -- `repo/NUMBER`, `name/OWNER/REPO` where no number is known, or `org/LOGIN`.
    target VARCHAR(255) NOT NULL,
    -- Key of the entity within its target, as in its document's id; empty for the whole kind.
    entity VARCHAR(255) NOT NULL,
    kind VARCHAR(32) NOT NULL,
    repository_id BIGINT,
    owner VARCHAR(255) NOT NULL,
    repo VARCHAR(255) NOT NULL,
    -- updated, commit, present, gone or read; `value` is the date or the SHA.
    wanted VARCHAR(16) NOT NULL,
    value VARCHAR(255),
    -- Facts of the payload, as JSON: what the API may not tell, or what the entity is to look like.
    facts MEDIUMTEXT,
    -- When the payload was true, if it says so: decides between contradicting wishes.
    as_of VARCHAR(32),
    -- pending or failed.
    state VARCHAR(16) NOT NULL,
    -- Counts the wishes, so that one that comes while its entity is read is not lost.
    version BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    requested_at BIGINT NOT NULL,
    next_at BIGINT NOT NULL,
    claimed_until BIGINT NOT NULL,
    last_error TEXT,
    PRIMARY KEY (target, entity, kind),
    KEY msght_refreshes_due (state, next_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- When a kind was read last for the sake of such wishes, and when it may be again: many wishes share one reading.
CREATE TABLE IF NOT EXISTS msght_refresh_paces (
    target VARCHAR(255) NOT NULL,
    kind VARCHAR(32) NOT NULL,
    read_at BIGINT NOT NULL,
    next_at BIGINT NOT NULL,
    PRIMARY KEY (target, kind),
    KEY msght_refresh_paces_read (read_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
