-- What ever stood in a record of the log, and in the claims of an account (channel 0), in the order in which it came there.
-- Temporary: the store knows nothing of it.
CREATE TEMP TABLE history (n INTEGER PRIMARY KEY, channel INTEGER NOT NULL, id TEXT NOT NULL, version INTEGER, body TEXT,
    position INTEGER);
