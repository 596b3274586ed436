-- Two files with one identity (a phone and its restored backup) are in one incarnation until they part. Once one of them
-- has taken a waiting mutation along into its next incarnation, the other would wait in the old one for ever.
ALTER TABLE incarnation ADD COLUMN left_behind INTEGER NOT NULL DEFAULT 0;
