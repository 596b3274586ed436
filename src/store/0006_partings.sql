-- Starts of the server in histories that left this one: written by a restore, which knows both the copy that it puts in
-- place and the store that it replaces.
CREATE TABLE parting (
    boot     BLOB    NOT NULL PRIMARY KEY,
    position INTEGER NOT NULL                  -- the last one that both histories share
) STRICT, WITHOUT ROWID;
