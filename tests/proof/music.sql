-- A database of a shop for music: eleven tables with composite keys, decimals, dates, self references and NULLs.
-- The shape is that of the Chinook sample database; the rows are made here, by arithmetic.
CREATE TABLE Artist (ArtistId INTEGER NOT NULL, Name NVARCHAR(120), CONSTRAINT PK_Artist PRIMARY KEY (ArtistId));
CREATE TABLE Album (
    AlbumId INTEGER NOT NULL, Title NVARCHAR(160) NOT NULL, ArtistId INTEGER NOT NULL,
    CONSTRAINT PK_Album PRIMARY KEY (AlbumId),
    FOREIGN KEY (ArtistId) REFERENCES Artist (ArtistId) ON DELETE NO ACTION ON UPDATE NO ACTION);
CREATE TABLE Employee (
    EmployeeId INTEGER NOT NULL, LastName NVARCHAR(20) NOT NULL, FirstName NVARCHAR(20) NOT NULL, Title NVARCHAR(30),
    ReportsTo INTEGER, BirthDate DATETIME, HireDate DATETIME, City NVARCHAR(40), Email NVARCHAR(60),
    CONSTRAINT PK_Employee PRIMARY KEY (EmployeeId),
    FOREIGN KEY (ReportsTo) REFERENCES Employee (EmployeeId) ON DELETE NO ACTION ON UPDATE NO ACTION);
CREATE TABLE Customer (
    CustomerId INTEGER NOT NULL, FirstName NVARCHAR(40) NOT NULL, LastName NVARCHAR(20) NOT NULL, Company NVARCHAR(80),
    City NVARCHAR(40), Country NVARCHAR(40), Email NVARCHAR(60) NOT NULL, SupportRepId INTEGER,
    CONSTRAINT PK_Customer PRIMARY KEY (CustomerId),
    FOREIGN KEY (SupportRepId) REFERENCES Employee (EmployeeId) ON DELETE NO ACTION ON UPDATE NO ACTION);
CREATE TABLE Genre (GenreId INTEGER NOT NULL, Name NVARCHAR(120), CONSTRAINT PK_Genre PRIMARY KEY (GenreId));
CREATE TABLE MediaType (MediaTypeId INTEGER NOT NULL, Name NVARCHAR(120), CONSTRAINT PK_MediaType PRIMARY KEY (MediaTypeId));
CREATE TABLE Playlist (PlaylistId INTEGER NOT NULL, Name NVARCHAR(120), CONSTRAINT PK_Playlist PRIMARY KEY (PlaylistId));
CREATE TABLE Track (
    TrackId INTEGER NOT NULL, Name NVARCHAR(200) NOT NULL, AlbumId INTEGER, MediaTypeId INTEGER NOT NULL, GenreId INTEGER,
    Composer NVARCHAR(220), Milliseconds INTEGER NOT NULL, Bytes INTEGER, UnitPrice NUMERIC(10, 2) NOT NULL,
    CONSTRAINT PK_Track PRIMARY KEY (TrackId),
    FOREIGN KEY (AlbumId) REFERENCES Album (AlbumId) ON DELETE NO ACTION ON UPDATE NO ACTION,
    FOREIGN KEY (GenreId) REFERENCES Genre (GenreId) ON DELETE NO ACTION ON UPDATE NO ACTION,
    FOREIGN KEY (MediaTypeId) REFERENCES MediaType (MediaTypeId) ON DELETE NO ACTION ON UPDATE NO ACTION);
CREATE TABLE Invoice (
    InvoiceId INTEGER NOT NULL, CustomerId INTEGER NOT NULL, InvoiceDate DATETIME NOT NULL, BillingCity NVARCHAR(40),
    BillingState NVARCHAR(40), Total NUMERIC(10, 2) NOT NULL,
    CONSTRAINT PK_Invoice PRIMARY KEY (InvoiceId),
    FOREIGN KEY (CustomerId) REFERENCES Customer (CustomerId) ON DELETE NO ACTION ON UPDATE NO ACTION);
CREATE TABLE InvoiceLine (
    InvoiceLineId INTEGER NOT NULL, InvoiceId INTEGER NOT NULL, TrackId INTEGER NOT NULL,
    UnitPrice NUMERIC(10, 2) NOT NULL, Quantity INTEGER NOT NULL,
    CONSTRAINT PK_InvoiceLine PRIMARY KEY (InvoiceLineId),
    FOREIGN KEY (InvoiceId) REFERENCES Invoice (InvoiceId) ON DELETE NO ACTION ON UPDATE NO ACTION,
    FOREIGN KEY (TrackId) REFERENCES Track (TrackId) ON DELETE NO ACTION ON UPDATE NO ACTION);
CREATE TABLE PlaylistTrack (
    PlaylistId INTEGER NOT NULL, TrackId INTEGER NOT NULL,
    CONSTRAINT PK_PlaylistTrack PRIMARY KEY (PlaylistId, TrackId),
    FOREIGN KEY (PlaylistId) REFERENCES Playlist (PlaylistId) ON DELETE NO ACTION ON UPDATE NO ACTION,
    FOREIGN KEY (TrackId) REFERENCES Track (TrackId) ON DELETE NO ACTION ON UPDATE NO ACTION);
CREATE INDEX AlbumArtist ON Album (ArtistId);
CREATE INDEX TrackAlbum ON Track (AlbumId);
CREATE INDEX InvoiceCustomer ON Invoice (CustomerId);
CREATE INDEX LineInvoice ON InvoiceLine (InvoiceId);

BEGIN;
INSERT INTO Artist SELECT value, 'Ensemble ' || value || CASE value % 3 WHEN 0 THEN ' & Søn' ELSE '' END FROM generate_series(1, 60);
INSERT INTO Album SELECT value, 'Recording no. ' || value, 1 + value % 60 FROM generate_series(1, 120);
INSERT INTO Employee VALUES
    (1, 'Lindqvist', 'Maja', 'Manager', NULL, '1961-02-03 00:00:00', '2002-08-14 00:00:00', 'Malmö', 'maja@shop.example'),
    (2, 'Ortega', 'Luis', 'Sales', 1, '1970-11-30 00:00:00', '2003-05-01 00:00:00', 'Vigo', 'luis@shop.example'),
    (3, 'Watanabe', 'Rin', 'Sales', 1, '1985-07-19 00:00:00', '2010-01-11 00:00:00', '大阪', 'rin@shop.example'),
    (4, 'Weiß', 'Anna', NULL, 2, NULL, '2019-09-02 00:00:00', NULL, NULL);
INSERT INTO Customer SELECT value, 'First' || value, 'Last' || value, CASE value % 4 WHEN 0 THEN 'Company ' || value END,
    'City ' || value % 9, 'Land ' || value % 5, 'c' || value || '@example.com', CASE value % 5 WHEN 0 THEN NULL ELSE 1 + value % 4 END
    FROM generate_series(1, 59);
INSERT INTO Genre SELECT value, 'Genre ' || value FROM generate_series(1, 25);
INSERT INTO MediaType SELECT value, 'Medium ' || value FROM generate_series(1, 5);
INSERT INTO Playlist SELECT value, CASE value WHEN 7 THEN NULL ELSE 'List ' || value END FROM generate_series(1, 18);
INSERT INTO Track SELECT value, 'Piece "' || value || '", ''live''', CASE value % 11 WHEN 0 THEN NULL ELSE 1 + value % 120 END,
    1 + value % 5, CASE value % 13 WHEN 0 THEN NULL ELSE 1 + value % 25 END, CASE value % 3 WHEN 0 THEN 'Composer ' || value % 40 END,
    120000 + value * 137, 4000000 + value * 1009, CASE value % 7 WHEN 0 THEN 1.99 ELSE 0.99 END FROM generate_series(1, 1200);
INSERT INTO Invoice SELECT value, 1 + value % 59, datetime('2021-01-01', '+' || value || ' days'), 'City ' || value % 9,
    CASE value % 2 WHEN 0 THEN 'State' END, 0.99 * (1 + value % 14) FROM generate_series(1, 200);
UPDATE Invoice SET Total = round(Total, 2);
INSERT INTO InvoiceLine SELECT value, 1 + value % 200, 1 + (value * 7) % 1200, 0.99, 1 + value % 3 FROM generate_series(1, 800);
INSERT INTO PlaylistTrack SELECT 1 + value % 18, 1 + value % 1200 FROM generate_series(1, 2400);
COMMIT;
