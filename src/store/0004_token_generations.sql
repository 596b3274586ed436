-- Refresh tokens count their rotations, so that one which was given in a history that this store has lost can be told from
-- one that never was: it counts higher, and carries the server's own mark.
ALTER TABLE refresh_token ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
