-- What is known of each organization's webhook, and up to when the log of its deliveries was read. Times are Unix seconds by
-- GitHub's clock.
CREATE TABLE msght_webhooks (
    organization TEXT PRIMARY KEY COLLATE NOCASE,
    -- The address that the rest is true of.
    url TEXT NOT NULL,
    -- GitHub's number of the webhook for that address; NULL if there is none.
    hook_id INTEGER,
    -- What is wrong with it; NULL if nothing is.
    problem TEXT,
    -- The list's ETag, and the token that it was issued to.
    etag TEXT,
    etag_scope TEXT,
    scanned_until INTEGER
) WITHOUT ROWID;

-- Times whose deliveries the log could not tell.
CREATE TABLE msght_delivery_gaps (
    organization TEXT NOT NULL COLLATE NOCASE,
    from_at INTEGER NOT NULL,
    until_at INTEGER NOT NULL,
    reason TEXT NOT NULL,
    -- How many repositories were queued to close it; NULL as long as it is open.
    repositories INTEGER,
    PRIMARY KEY (organization, from_at, until_at)
) WITHOUT ROWID;
