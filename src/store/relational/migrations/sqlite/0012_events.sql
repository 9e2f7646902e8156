-- How far each stored event has come: whether it is to be published, when it was, and when it was processed. Times are
-- Unix seconds.
CREATE TABLE msght_events (
    event_id TEXT NOT NULL PRIMARY KEY,
    type TEXT NOT NULL,
    -- OWNER/NAME, as the event has it, and GitHub's number of the repository.
    repository TEXT,
    repository_id INTEGER,
    -- What a delivery would announce it by.
    mark TEXT,
    created_at INTEGER,
    stored_at INTEGER NOT NULL,
    publish INTEGER NOT NULL,
    -- The process that is publishing it, and until when that is believed.
    publisher TEXT,
    publisher_until INTEGER,
    published_at INTEGER,
    -- When it was last put on msght's own queue.
    queued_at INTEGER,
    processed_at INTEGER,
    -- When it became a dead letter.
    dead_at INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0,
    last_error TEXT
) WITHOUT ROWID;
CREATE INDEX msght_events_unpublished ON msght_events (publish, published_at, created_at);
CREATE INDEX msght_events_unprocessed ON msght_events (publish, processed_at, dead_at, queued_at);
CREATE INDEX msght_events_created ON msght_events (created_at);
CREATE INDEX msght_events_type ON msght_events (type);
CREATE INDEX msght_events_mark ON msght_events (mark);

-- The events feeds of repositories and organizations that are pulled, and how far each is known.
CREATE TABLE msght_feeds (
    -- repo/NUMBER, repo/OWNER/NAME or org/LOGIN.
    feed TEXT NOT NULL PRIMARY KEY COLLATE NOCASE,
    owner TEXT NOT NULL,
    -- The repository's name; NULL for an organization.
    name TEXT,
    repository_id INTEGER,
    requested_at INTEGER NOT NULL,
    -- When it is pulled next; NULL: not before it is requested again.
    next_at INTEGER,
    pulled_at INTEGER,
    -- When a pull last showed anything new.
    changed_at INTEGER,
    -- Seconds that GitHub wants between two pulls.
    poll_interval INTEGER NOT NULL DEFAULT 60,
    etag TEXT,
    token TEXT,
    -- The newest event that is known.
    newest_id TEXT,
    newest_at INTEGER,
    -- Pulls that failed in a row, and why the last one did.
    failures INTEGER NOT NULL DEFAULT 0,
    last_error TEXT,
    -- The process that pulls it, and until when that is believed.
    puller TEXT,
    puller_until INTEGER
) WITHOUT ROWID;
CREATE INDEX msght_feeds_next ON msght_feeds (next_at);

-- Events that deliveries have announced and feeds have not shown yet.
CREATE TABLE msght_announcements (
    feed TEXT NOT NULL COLLATE NOCASE,
    -- What tells the event from others.
    mark TEXT NOT NULL,
    type TEXT NOT NULL,
    announced_at INTEGER NOT NULL,
    PRIMARY KEY (feed, mark)
) WITHOUT ROWID;

-- Announced events that a feed has never shown, by type.
CREATE TABLE msght_feed_misses (
    feed TEXT NOT NULL COLLATE NOCASE,
    type TEXT NOT NULL,
    never_in_feed INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    PRIMARY KEY (feed, type)
) WITHOUT ROWID;

-- Feeds that no longer reached back to what was known of them.
CREATE TABLE msght_feed_gaps (
    feed TEXT NOT NULL COLLATE NOCASE,
    found_at INTEGER NOT NULL,
    -- The time of the newest event known before the gap, and of the oldest behind it.
    after_at INTEGER,
    before_at INTEGER,
    closed_at INTEGER,
    PRIMARY KEY (feed, found_at)
) WITHOUT ROWID;
CREATE INDEX msght_feed_gaps_closed ON msght_feed_gaps (closed_at);

-- Moments that are remembered for good, such as the first start of the webhook server.
CREATE TABLE msght_moments (
    name TEXT NOT NULL PRIMARY KEY,
    at INTEGER NOT NULL
) WITHOUT ROWID;
