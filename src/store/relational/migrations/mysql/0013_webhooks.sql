-- What is known of each organization's webhook, and up to when the log of its deliveries was read. Times are Unix seconds by
-- GitHub's clock.
CREATE TABLE IF NOT EXISTS msght_webhooks (
    organization VARCHAR(255) NOT NULL PRIMARY KEY,
    -- The address that the rest is true of.
    url TEXT NOT NULL,
    -- GitHub's number of the webhook for that address; NULL if there is none.
    hook_id BIGINT,
    -- What is wrong with it; NULL if nothing is.
    problem TEXT,
    -- The list's ETag, and the token that it was issued to.
    etag VARCHAR(255),
    etag_scope VARCHAR(255),
    scanned_until BIGINT
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

-- Times whose deliveries the log could not tell.
CREATE TABLE IF NOT EXISTS msght_delivery_gaps (
    organization VARCHAR(255) NOT NULL,
    from_at BIGINT NOT NULL,
    until_at BIGINT NOT NULL,
    reason TEXT NOT NULL,
    -- How many repositories were queued to close it; NULL as long as it is open.
    repositories BIGINT,
    PRIMARY KEY (organization, from_at, until_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;
