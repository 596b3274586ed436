-- The first shape of our own database. Forward-only: this file is never edited after a release.
-- Times are milliseconds since 1970-01-01 UTC by the server's clock. Uuids and hashes are 16-byte blobs.

-- Facts about this database as a whole: `epoch`, `server_secret`, `server_key` (bytes); `position`, `expired` (numbers,
-- kept by pruning).
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- Each start writes its id and the first position that it may give, before it serves. A cursor names its boot.
CREATE TABLE boot (
    number         INTEGER PRIMARY KEY,
    id             BLOB NOT NULL UNIQUE,
    first_position INTEGER NOT NULL,
    started_ms     INTEGER NOT NULL
) STRICT;

-- Channels by a small number, for ever. `epoch` rises when backend or table change: then its scope keys are new.
CREATE TABLE channel (
    number INTEGER PRIMARY KEY,
    name   TEXT NOT NULL UNIQUE,
    home   TEXT NOT NULL,          -- backend and table, as one text: a change of it is a new epoch
    epoch  INTEGER NOT NULL
) STRICT;

-- Every version of a channel's fields that any device or mutation may still name.
CREATE TABLE schema_version (
    channel INTEGER NOT NULL REFERENCES channel (number),
    version INTEGER NOT NULL,
    fields  TEXT    NOT NULL,      -- canonical JSON of the schema with version 0, by which it is recognised
    PRIMARY KEY (channel, version)
) STRICT, WITHOUT ROWID;

-- Scopes by a small number. `sum` adds up (modulo 2^128) the hashes of the live rows in it, `live` counts them.
CREATE TABLE scope (
    number  INTEGER PRIMARY KEY,
    key     TEXT    NOT NULL UNIQUE,
    channel INTEGER NOT NULL REFERENCES channel (number),
    sum     BLOB    NOT NULL,
    live    INTEGER NOT NULL
) STRICT;

-- The state log: every record once, at the position of its latest change. The position is the rowid, so that catching
-- up reads in the order of the file.
CREATE TABLE log (
    position INTEGER PRIMARY KEY,
    channel  INTEGER NOT NULL,
    id       TEXT    NOT NULL,
    life     INTEGER NOT NULL,
    version  INTEGER NOT NULL,     -- schema version of the body
    body     TEXT,                 -- canonical body as it goes over the wire; NULL: a tombstone
    hash     BLOB,                 -- 128-bit row hash; NULL: a tombstone
    writers  TEXT,                 -- last writer per field, where it was a device: JSON {"field": incarnation}
    scopes   BLOB    NOT NULL,     -- numbers of the scopes it is in, 8 bytes each, little-endian
    at_ms    INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX log_record ON log (channel, id);

-- Who may see what: one small row a scope for each record, at the record's position. The log row has the rest.
CREATE TABLE member (
    scope    INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (scope, position)
) STRICT, WITHOUT ROWID;

-- Records that left a scope without being deleted, at the position of that change.
CREATE TABLE departed (
    scope    INTEGER NOT NULL,
    position INTEGER NOT NULL,
    channel  INTEGER NOT NULL,
    id       TEXT    NOT NULL,
    at_ms    INTEGER NOT NULL,
    PRIMARY KEY (scope, position)
) STRICT, WITHOUT ROWID;

-- Identity of records in their backends, where the id is not the key's own text: those that devices created.
CREATE TABLE id_map (
    channel INTEGER NOT NULL,
    id      TEXT    NOT NULL,
    key     TEXT    NOT NULL,
    PRIMARY KEY (channel, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX id_map_key ON id_map (channel, key);

CREATE TABLE account (
    number      INTEGER PRIMARY KEY,
    id          BLOB NOT NULL UNIQUE,
    email       TEXT NOT NULL UNIQUE,          -- lower-cased
    role        TEXT,
    claims      TEXT NOT NULL,                 -- a JSON object
    password    TEXT,                          -- Argon2id in PHC form; NULL: codes only
    disabled    INTEGER NOT NULL DEFAULT 0,
    created_ms  INTEGER NOT NULL
) STRICT;

CREATE TABLE device (
    number      INTEGER PRIMARY KEY,
    id          BLOB    NOT NULL UNIQUE,
    account     INTEGER NOT NULL REFERENCES account (number),
    name        TEXT    NOT NULL,
    platform    TEXT    NOT NULL,
    public_key  BLOB    NOT NULL,              -- P-256, SEC 1 uncompressed, 65 bytes
    state       TEXT    NOT NULL DEFAULT 'active',   -- active | revoked | wiped
    fence       INTEGER NOT NULL DEFAULT 0,    -- rises with every session: the newest one alone may write
    created_ms  INTEGER NOT NULL,
    seen_ms     INTEGER NOT NULL
) STRICT;
CREATE INDEX device_account ON device (account);

-- Activation codes: only their hashes. Used at most once, by one conditional UPDATE.
CREATE TABLE activation_code (
    hash       BLOB    NOT NULL PRIMARY KEY,
    account    INTEGER NOT NULL REFERENCES account (number),
    expires_ms INTEGER NOT NULL,
    used_ms    INTEGER
) STRICT, WITHOUT ROWID;

-- Access and refresh tokens: only their hashes.
CREATE TABLE access_token (
    hash       BLOB    NOT NULL PRIMARY KEY,
    device     INTEGER NOT NULL REFERENCES device (number),
    expires_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX access_token_device ON access_token (device);
CREATE TABLE refresh_token (
    hash       BLOB    NOT NULL PRIMARY KEY,
    device     INTEGER NOT NULL REFERENCES device (number),
    expires_ms INTEGER NOT NULL,
    rotated_ms INTEGER                         -- NULL: the current one of its family
) STRICT, WITHOUT ROWID;
CREATE INDEX refresh_token_device ON refresh_token (device);

-- Unbroken histories of devices' outboxes. `accepted` is the watermark, `acked` what the device holds receipts up to.
CREATE TABLE incarnation (
    number     INTEGER PRIMARY KEY,
    device     INTEGER NOT NULL REFERENCES device (number),
    id         BLOB    NOT NULL,
    accepted   INTEGER NOT NULL DEFAULT 0,
    acked      INTEGER NOT NULL DEFAULT 0,
    started_ms INTEGER NOT NULL,
    UNIQUE (device, id)
) STRICT;

-- Accepted and not yet settled.
CREATE TABLE inbox (
    incarnation INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    mutation    BLOB    NOT NULL,              -- the id it is settled under (see `mutation`)
    backend     TEXT    NOT NULL,
    payload     TEXT    NOT NULL,              -- the mutation as it was sent
    tries       INTEGER NOT NULL DEFAULT 0,
    at_ms       INTEGER NOT NULL,
    PRIMARY KEY (incarnation, seq)
) STRICT, WITHOUT ROWID;

-- Every mutation ever accepted within the restore window, by its id. `batch` is NULL while it waits in the inbox.
CREATE TABLE mutation (
    id          BLOB    NOT NULL PRIMARY KEY,
    digest      BLOB    NOT NULL,
    incarnation INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    batch       INTEGER
) STRICT, WITHOUT ROWID;

-- Receipts, as they were sent: one row for all of a batch. A record's canonical answer is here byte for byte.
CREATE TABLE receipt_batch (
    number      INTEGER PRIMARY KEY,
    incarnation INTEGER NOT NULL,
    last_seq    INTEGER NOT NULL,              -- highest seq in it
    body        TEXT    NOT NULL,              -- JSON array of receipts
    at_ms       INTEGER NOT NULL
) STRICT;
CREATE INDEX receipt_batch_incarnation ON receipt_batch (incarnation, last_seq);

-- What lost in conflicts, and what was rejected, for audit and for people who want to know why.
CREATE TABLE verdict (
    number      INTEGER PRIMARY KEY,
    mutation    BLOB    NOT NULL,
    device      INTEGER NOT NULL,
    channel     TEXT    NOT NULL,
    id          TEXT    NOT NULL,
    outcome     TEXT    NOT NULL,
    code        TEXT,
    detail      TEXT    NOT NULL,              -- JSON: losing values, message, the mutation itself
    at_ms       INTEGER NOT NULL
) STRICT;

CREATE INDEX verdict_record ON verdict (channel, id);

-- Locks that others rely on. `token` rises with each new holder.
CREATE TABLE lease (
    name       TEXT PRIMARY KEY,
    holder     TEXT    NOT NULL,
    token      INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
