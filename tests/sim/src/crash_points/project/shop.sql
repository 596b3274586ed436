PRAGMA journal_mode = WAL;
CREATE TABLE Ware (WareId INTEGER PRIMARY KEY, Name TEXT, stock INTEGER);
INSERT INTO Ware VALUES (1, 'Bolt', 100), (2, 'Nut', 200), (3, 'Washer', 300);
