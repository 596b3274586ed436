-- Keys of artists are never given twice; those of albums and memos are, when the newest row was deleted.
CREATE TABLE Artist (ArtistId INTEGER PRIMARY KEY AUTOINCREMENT, Name TEXT, fans INTEGER);
CREATE TABLE Album (AlbumId INTEGER PRIMARY KEY, Title TEXT NOT NULL, price NUMERIC(10,2), stock INTEGER,
    ArtistId INTEGER NOT NULL REFERENCES Artist);
CREATE TABLE Tag (AlbumId INTEGER NOT NULL REFERENCES Album ON DELETE CASCADE, Word TEXT NOT NULL, note TEXT,
    weight INTEGER, PRIMARY KEY (AlbumId, Word));
CREATE TABLE Memo (MemoId INTEGER PRIMARY KEY, line TEXT);
CREATE TABLE Client (ClientId INTEGER PRIMARY KEY AUTOINCREMENT, Name TEXT, Rep TEXT);
CREATE TABLE Bill (BillId INTEGER PRIMARY KEY AUTOINCREMENT, Note TEXT,
    ClientId INTEGER NOT NULL REFERENCES Client ON DELETE CASCADE);
CREATE TABLE Ware (WareId INTEGER PRIMARY KEY AUTOINCREMENT, Label TEXT, Size INTEGER, Hint TEXT, Must TEXT, Extra TEXT);

-- What ever stood in a field that carries marks, in the order in which it came there.
CREATE TABLE history (n INTEGER PRIMARY KEY, place TEXT NOT NULL, mark TEXT NOT NULL);
CREATE TRIGGER artist_new AFTER INSERT ON Artist WHEN new.Name IS NOT NULL
    BEGIN INSERT INTO history (place, mark) VALUES ('artist', new.Name); END;
CREATE TRIGGER artist_set AFTER UPDATE ON Artist WHEN new.Name IS NOT old.Name AND new.Name IS NOT NULL
    BEGIN INSERT INTO history (place, mark) VALUES ('artist', new.Name); END;
CREATE TRIGGER album_new AFTER INSERT ON Album
    BEGIN INSERT INTO history (place, mark) VALUES ('album', new.Title); END;
CREATE TRIGGER album_set AFTER UPDATE ON Album WHEN new.Title IS NOT old.Title
    BEGIN INSERT INTO history (place, mark) VALUES ('album', new.Title); END;
CREATE TRIGGER tag_new AFTER INSERT ON Tag WHEN new.note IS NOT NULL
    BEGIN INSERT INTO history (place, mark) VALUES ('tag', new.note); END;
CREATE TRIGGER tag_set AFTER UPDATE ON Tag WHEN new.note IS NOT old.note AND new.note IS NOT NULL
    BEGIN INSERT INTO history (place, mark) VALUES ('tag', new.note); END;
CREATE TRIGGER memo_new AFTER INSERT ON Memo WHEN new.line IS NOT NULL
    BEGIN INSERT INTO history (place, mark) VALUES ('memo', new.line); END;
CREATE TRIGGER memo_set AFTER UPDATE ON Memo WHEN new.line IS NOT old.line AND new.line IS NOT NULL
    BEGIN INSERT INTO history (place, mark) VALUES ('memo', new.line); END;
CREATE TRIGGER client_new AFTER INSERT ON Client WHEN new.Name IS NOT NULL
    BEGIN INSERT INTO history (place, mark) VALUES ('client', new.Name); END;
CREATE TRIGGER client_set AFTER UPDATE ON Client WHEN new.Name IS NOT old.Name AND new.Name IS NOT NULL
    BEGIN INSERT INTO history (place, mark) VALUES ('client', new.Name); END;
CREATE TRIGGER bill_new AFTER INSERT ON Bill WHEN new.Note IS NOT NULL
    BEGIN INSERT INTO history (place, mark) VALUES ('bill', new.Note); END;
CREATE TRIGGER bill_set AFTER UPDATE ON Bill WHEN new.Note IS NOT old.Note AND new.Note IS NOT NULL
    BEGIN INSERT INTO history (place, mark) VALUES ('bill', new.Note); END;
CREATE TRIGGER ware_new AFTER INSERT ON Ware WHEN new.Label IS NOT NULL
    BEGIN INSERT INTO history (place, mark) VALUES ('ware', new.Label); END;
CREATE TRIGGER ware_set AFTER UPDATE ON Ware WHEN new.Label IS NOT old.Label AND new.Label IS NOT NULL
    BEGIN INSERT INTO history (place, mark) VALUES ('ware', new.Label); END;

INSERT INTO Artist VALUES (1, 'm0.artist1', 10), (2, 'm0.artist2', 20), (3, NULL, NULL);
INSERT INTO Album VALUES (10, 'm0.album10', 0.99, 100, 1), (11, 'm0.album11', 12.5, NULL, 2);
INSERT INTO Tag VALUES (10, 'loud', 'm0.tag1', 1), (11, 'quiet', NULL, NULL);
INSERT INTO Memo VALUES (1, 'm0.memo1'), (2, 'm0.memo2'), (3, 'm0.memo3');
INSERT INTO Client VALUES (1, 'm0.client1', 'ana@example.com'), (2, 'm0.client2', 'ben@example.com'), (3, NULL, NULL);
INSERT INTO Bill VALUES (1, 'm0.bill1', 1), (2, 'm0.bill2', 1), (3, 'm0.bill3', 2);
INSERT INTO Ware VALUES (1, 'm0.ware1', 4, 'h', 'x', 'e'), (2, 'm0.ware2', NULL, 'h', NULL, 'e'), (3, NULL, 7, NULL, 'x', NULL);
