-- Layout 1 of the embedded queue. docs/queue.md explains it to other programs. Times are milliseconds since 1970 in UTC.

CREATE TABLE queues (
    name TEXT NOT NULL PRIMARY KEY
) WITHOUT ROWID;

-- Which queues get what is published: a pattern's words are separated by dots, * is one word, # is any number of them.
CREATE TABLE bindings (
    exchange TEXT NOT NULL,
    pattern TEXT NOT NULL,
    queue TEXT NOT NULL REFERENCES queues (name) ON DELETE CASCADE,
    PRIMARY KEY (exchange, pattern, queue)
) WITHOUT ROWID;

-- Who holds messages, and until when at the latest. The holder renews its lease; one that is over counts as dead.
CREATE TABLE consumers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL REFERENCES queues (name) ON DELETE CASCADE,
    holder TEXT,
    expires_at INTEGER NOT NULL
);

-- One row a message and queue. An id is never used twice, and the lowest ready one is the next.
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL REFERENCES queues (name) ON DELETE CASCADE,
    routing_key TEXT NOT NULL,
    body TEXT NOT NULL,
    published_at INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'ready' CHECK (state IN ('ready', 'leased', 'waiting', 'dead')),
    consumer INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0,
    available_at INTEGER,
    reason TEXT,
    CHECK ((state = 'leased') = (consumer IS NOT NULL)),
    CHECK ((state = 'waiting') = (available_at IS NOT NULL))
);

CREATE INDEX messages_next ON messages (queue, state, id);
CREATE INDEX messages_held ON messages (consumer) WHERE consumer IS NOT NULL;
CREATE INDEX messages_due ON messages (queue, available_at) WHERE available_at IS NOT NULL;
