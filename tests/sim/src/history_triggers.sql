-- Fills the history (history.sql) from what the store does.
CREATE TEMP TRIGGER log_new AFTER INSERT ON main.log
    BEGIN INSERT INTO history (channel, id, version, body, position)
        VALUES (new.channel, new.id, new.version, new.body, new.position); END;
CREATE TEMP TRIGGER claims_set AFTER UPDATE OF claims ON main.account
    BEGIN INSERT INTO history (channel, id, body) VALUES (0, new.number, new.claims); END;
