-- The database of a small record shop: what a company already has, and nobody made for OpenMobster.
--   sqlite3 shop.db < shop.sql
CREATE TABLE artist (
    artist_id INTEGER PRIMARY KEY,
    name      VARCHAR(120) NOT NULL,
    member_of INTEGER REFERENCES artist (artist_id)
);
CREATE TABLE album (
    album_id  INTEGER PRIMARY KEY,
    title     VARCHAR(160) NOT NULL,
    artist_id INTEGER NOT NULL REFERENCES artist (artist_id),
    format    TEXT NOT NULL DEFAULT 'lp' CHECK (format IN ('lp', 'cd', 'tape')),
    price     NUMERIC(10, 2) NOT NULL DEFAULT 0 CHECK (price >= 0),
    in_stock  INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE customer (
    email TEXT NOT NULL PRIMARY KEY,
    name  VARCHAR(80) NOT NULL,
    city  VARCHAR(80)
);
CREATE TABLE sale (
    sale_id  INTEGER PRIMARY KEY,
    customer TEXT NOT NULL REFERENCES customer (email),
    sold_on  DATE,
    note     TEXT
);
-- A line has no number of its own: sale and album are its key.
CREATE TABLE sale_line (
    sale_id  INTEGER NOT NULL REFERENCES sale (sale_id),
    album_id INTEGER NOT NULL REFERENCES album (album_id),
    quantity INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (sale_id, album_id)
) WITHOUT ROWID;
CREATE INDEX album_artist ON album (artist_id);
CREATE VIEW stock_by_artist AS
    SELECT artist.name AS artist, sum(album.in_stock) AS in_stock FROM album JOIN artist USING (artist_id) GROUP BY artist_id;

INSERT INTO artist VALUES
    (1, 'Ensemble Nordlys', NULL), (2, 'Ingrid Voss', 1), (3, 'Los Faroleros', NULL), (4, '山田トリオ', NULL);
INSERT INTO album VALUES
    (1, 'Winter Harbour', 1, 'lp', 24.90, 6), (2, 'Second Light', 1, 'cd', 14.50, 12), (3, 'Alone at Last', 2, 'lp', 22, 3),
    (4, 'Calle sin Nombre', 3, 'tape', 9.90, 20), (5, '夜の電車', 4, 'lp', 31, 2);
INSERT INTO customer VALUES
    ('ana@example.com', 'Ana Ruiz', 'Vigo'), ('bo@example.com', 'Bo Lindqvist', 'Malmö'), ('kim@example.com', 'Kim Weiß', NULL);
INSERT INTO sale VALUES
    (1, 'ana@example.com', '2026-09-14', NULL), (2, 'bo@example.com', '2026-10-02', 'gift wrapped'), (3, 'ana@example.com', NULL, NULL);
INSERT INTO sale_line VALUES (1, 1, 1), (1, 4, 2), (2, 3, 1), (3, 5, 1), (3, 2, 1);
