-- Deletes that a backend brought about, for the brake on mass deletes: it counts over a day, and a restart must not begin
-- anew. One row a commit; rows older than that day go with the next one, all of a channel's when an operator resumes it.
CREATE TABLE braked_delete (
    number  INTEGER PRIMARY KEY,
    channel INTEGER NOT NULL REFERENCES channel (number),
    kind    TEXT    NOT NULL,      -- inferred | told: a record was missing, or the change queue named it
    records INTEGER NOT NULL,
    at_ms   INTEGER NOT NULL
) STRICT;
CREATE INDEX braked_delete_channel ON braked_delete (channel, kind, at_ms);
