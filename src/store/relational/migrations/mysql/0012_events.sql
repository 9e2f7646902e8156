-- How far each stored event has come: whether it is to be published, when it was, and when it was processed. Times are
-- Unix seconds.
CREATE TABLE IF NOT EXISTS msght_events (
    event_id VARCHAR(64) COLLATE /*!80000 utf8mb4_0900_bin*/ /*M! utf8mb4_nopad_bin*/ NOT NULL PRIMARY KEY,
    type VARCHAR(100) COLLATE /*!80000 utf8mb4_0900_bin*/ /*M! utf8mb4_nopad_bin*/ NOT NULL,
    -- OWNER/NAME, as the event has it, and GitHub's number of the repository.
    repository VARCHAR(512),
    repository_id BIGINT,
    -- What a delivery would announce it by.
    mark VARCHAR(255) COLLATE /*!80000 utf8mb4_0900_bin*/ /*M! utf8mb4_nopad_bin*/,
    created_at BIGINT,
    stored_at BIGINT NOT NULL,
    publish BIGINT NOT NULL,
    -- The process that is publishing it, and until when that is believed.
    publisher VARCHAR(255),
    publisher_until BIGINT,
    published_at BIGINT,
    -- When it was last put on msght's own queue.
    queued_at BIGINT,
    processed_at BIGINT,
    -- When it became a dead letter.
    dead_at BIGINT,
    attempts BIGINT NOT NULL DEFAULT 0,
    last_error TEXT,
    KEY msght_events_unpublished (publish, published_at, created_at),
    KEY msght_events_unprocessed (publish, processed_at, dead_at, queued_at),
    KEY msght_events_created (created_at),
    KEY msght_events_type (type),
    KEY msght_events_mark (mark)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

-- The events feeds of repositories and organizations that are pulled, and how far each is known.
CREATE TABLE IF NOT EXISTS msght_feeds (
    -- repo/NUMBER, repo/OWNER/NAME or org/LOGIN.
    feed VARCHAR(255) NOT NULL PRIMARY KEY,
    owner VARCHAR(255) NOT NULL,
    -- The repository's name; NULL for an organization.
    name VARCHAR(255),
    repository_id BIGINT,
    requested_at BIGINT NOT NULL,
    -- When it is pulled next; NULL: not before it is requested again.
    next_at BIGINT,
    pulled_at BIGINT,
    -- When a pull last showed anything new.
    changed_at BIGINT,
    -- Seconds that GitHub wants between two pulls.
    poll_interval BIGINT NOT NULL DEFAULT 60,
    etag TEXT COLLATE /*!80000 utf8mb4_0900_bin*/ /*M! utf8mb4_nopad_bin*/,
    token VARCHAR(64),
    -- The newest event that is known.
    newest_id VARCHAR(64),
    newest_at BIGINT,
    -- Pulls that failed in a row, and why the last one did.
    failures BIGINT NOT NULL DEFAULT 0,
    last_error TEXT,
    -- The process that pulls it, and until when that is believed.
    puller VARCHAR(255),
    puller_until BIGINT,
    KEY msght_feeds_next (next_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

-- Events that deliveries have announced and feeds have not shown yet.
CREATE TABLE IF NOT EXISTS msght_announcements (
    feed VARCHAR(255) NOT NULL,
    -- What tells the event from others.
    mark VARCHAR(255) COLLATE /*!80000 utf8mb4_0900_bin*/ /*M! utf8mb4_nopad_bin*/ NOT NULL,
    type VARCHAR(100) COLLATE /*!80000 utf8mb4_0900_bin*/ /*M! utf8mb4_nopad_bin*/ NOT NULL,
    announced_at BIGINT NOT NULL,
    PRIMARY KEY (feed, mark)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

-- Announced events that a feed has never shown, by type.
CREATE TABLE IF NOT EXISTS msght_feed_misses (
    feed VARCHAR(255) NOT NULL,
    type VARCHAR(100) COLLATE /*!80000 utf8mb4_0900_bin*/ /*M! utf8mb4_nopad_bin*/ NOT NULL,
    never_in_feed BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    PRIMARY KEY (feed, type)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

-- Feeds that no longer reached back to what was known of them.
CREATE TABLE IF NOT EXISTS msght_feed_gaps (
    feed VARCHAR(255) NOT NULL,
    found_at BIGINT NOT NULL,
    -- The time of the newest event known before the gap, and of the oldest behind it.
    after_at BIGINT,
    before_at BIGINT,
    closed_at BIGINT,
    PRIMARY KEY (feed, found_at),
    KEY msght_feed_gaps_closed (closed_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;

-- Moments that are remembered for good, such as the first start of the webhook server.
CREATE TABLE IF NOT EXISTS msght_moments (
    name VARCHAR(64) NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;
