-- By what a backend is recognised that was set back to an old copy of itself: of each of our commits there, one mutation
-- whose dedupe row was part of it. What is missing there later, somebody has taken back.
CREATE TABLE witness (
    number   INTEGER PRIMARY KEY,
    backend  TEXT    NOT NULL,
    ledger   BLOB    NOT NULL,                 -- which table of dedupe rows: one that was made anew knows nothing
    mutation BLOB    NOT NULL,
    position INTEGER,                          -- the newest of the log before it was written; NULL: nobody knows
    batch    INTEGER,                          -- the newest batch of receipts before that
    at_ms    INTEGER NOT NULL
) STRICT;
CREATE INDEX witness_backend ON witness (backend, number);

-- Backends that were set back, each time.
CREATE TABLE set_back (
    number      INTEGER PRIMARY KEY,
    backend     TEXT    NOT NULL,
    kept        INTEGER NOT NULL,              -- what was settled up to this position is there
    first_batch INTEGER NOT NULL,              -- receipts in these batches may tell of what is not there any more
    last_batch  INTEGER NOT NULL,
    resumed     INTEGER                        -- the log agreed with the backend again here; NULL: not yet
) STRICT;

-- At which position a pair was learnt: one whose row is younger than the copy may be another record's by now.
ALTER TABLE id_map ADD COLUMN position INTEGER NOT NULL DEFAULT 0;

-- A tombstone of a record that its backend lost when it was set back: nobody deleted it, and it may be offered again.
ALTER TABLE log ADD COLUMN lost INTEGER NOT NULL DEFAULT 0;
