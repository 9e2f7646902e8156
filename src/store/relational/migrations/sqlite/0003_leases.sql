-- Who works on what at the moment. A lease that is not renewed ends by itself; times are Unix seconds by the database's clock.
CREATE TABLE msght_leases (
    name TEXT PRIMARY KEY COLLATE NOCASE,
    holder TEXT NOT NULL,
    since INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;
