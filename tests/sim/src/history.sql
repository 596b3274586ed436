-- What ever stood in a managed record, in the order in which it came there. Temporary: the store knows nothing of it.
CREATE TEMP TABLE history (n INTEGER PRIMARY KEY, channel INTEGER NOT NULL, id TEXT NOT NULL, body TEXT);
CREATE TEMP TRIGGER log_new AFTER INSERT ON main.log
    BEGIN INSERT INTO history (channel, id, body) VALUES (new.channel, new.id, new.body); END;
