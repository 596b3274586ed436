-- Scopes that look further than their record: inherited ones, and those that membership rows open.

-- Records that are found by what they say: children by the record whose scopes they inherit, membership rows by the
-- account that they name. `key` is the first half of the SHA-256 of a text that only `sync` knows the meaning of.
CREATE TABLE link (
    key     BLOB    NOT NULL,
    channel INTEGER NOT NULL,
    id      TEXT    NOT NULL,
    PRIMARY KEY (key, channel, id)
) STRICT, WITHOUT ROWID;

ALTER TABLE log ADD COLUMN links BLOB;            -- the record's keys in `link`, 16 bytes each; NULL: none
ALTER TABLE log ADD COLUMN offered TEXT;          -- JSON {"field": position}: what offered mutations left there, and where
                                                  -- they stood in the history that was lost
ALTER TABLE log ADD COLUMN kept TEXT;             -- JSON {"field": value}: what the schema has no place for (any more)
ALTER TABLE channel ADD COLUMN placing TEXT;      -- how its records were last placed in scopes; NULL: not all of them
ALTER TABLE incarnation ADD COLUMN kept INTEGER;  -- begun after a reset: the last position that both histories share
