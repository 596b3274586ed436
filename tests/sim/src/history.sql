-- What ever stood in a record of the log, and in the claims of an account (channel 0), in the order in which it came there.
-- Temporary: the store knows nothing of it.
CREATE TEMP TABLE history (n INTEGER PRIMARY KEY, channel INTEGER NOT NULL, id TEXT NOT NULL, version INTEGER, body TEXT,
    position INTEGER);
CREATE TEMP TRIGGER log_new AFTER INSERT ON main.log
    BEGIN INSERT INTO history (channel, id, version, body, position)
        VALUES (new.channel, new.id, new.version, new.body, new.position); END;
CREATE TEMP TRIGGER claims_set AFTER UPDATE OF claims ON main.account
    BEGIN INSERT INTO history (channel, id, body) VALUES (0, new.number, new.claims); END;
