-- Orders to devices. Each says what the device is to be from then on: only the newest one of a device counts, those before
-- it are its history.
CREATE TABLE command (
    device       INTEGER NOT NULL REFERENCES device (number),
    n            INTEGER NOT NULL,
    kind         TEXT    NOT NULL,   -- lock | unlock | wipe
    ordered_ms   INTEGER NOT NULL,
    delivered_ms INTEGER,            -- it was sent to the device
    confirmed_ms INTEGER,            -- the device says that it is done
    PRIMARY KEY (device, n)
) STRICT, WITHOUT ROWID;
