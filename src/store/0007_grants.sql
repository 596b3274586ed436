-- Since which position an account may see a scope, as its sessions found: what left the scope or was deleted before then is
-- nothing that it may hear of.
CREATE TABLE granted (
    account INTEGER NOT NULL REFERENCES account (number),
    scope   INTEGER NOT NULL,
    since   INTEGER NOT NULL,
    PRIMARY KEY (account, scope)
) STRICT, WITHOUT ROWID;

-- When a session last began in it: histories that no device came back to are forgotten.
ALTER TABLE incarnation ADD COLUMN seen_ms INTEGER NOT NULL DEFAULT 0;
UPDATE incarnation SET seen_ms = started_ms;
