//! Snapshots: the whole store in one file, made while a server runs or not, and put back in one step.
//!
//! A snapshot is a plain SQLite database without a log beside it. It holds password hashes, token hashes and the server's
//! key, so it is its owner's alone. These are free functions over paths: whoever restores has no open [`super::Store`].
//!
//! *Invariant:* until [`Staged::put_in_place`] nothing of the store has changed, and after it the store is the snapshot;
//! a crash in between leaves one of the two, whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use omctl_protocol::Position;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use super::{MIGRATIONS, SCHEMA, StoreError, sqlite_error};

/// How long a snapshot waits for somebody who recovers the store's log just now.
const BUSY_WITHIN: Duration = Duration::from_secs(5);

/// How every SQLite database begins (<https://sqlite.org/fileformat.html#the_database_header>).
const HEAD: &[u8] = b"SQLite format 3\0";

/// What a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The shape of its tables.
    pub schema: i64,
    /// The newest position of its log.
    pub position: Position,
    /// Live records.
    pub records: u64,
    /// Accounts.
    pub accounts: u64,
}

/// Copies the store into a new file, as of one moment. A server may be writing meanwhile; it does not wait.
///
/// # Errors
/// [`StoreError::Exists`] where the file is there; [`StoreError::Open`], [`StoreError::Full`], [`StoreError::Damaged`].
pub fn snapshot(store: &Path, to: &Path) -> Result<(), StoreError> {
    // An empty file under the final name: of two that want it, one is refused.
    match private_file().create_new(true).open(to) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(StoreError::Exists("the snapshot")),
        Err(error) => return Err(cannot_open(to, &error)),
    }
    let partial = with_suffix(to, ".partial");
    let made = copy_into(store, &partial).and_then(|()| move_over(&partial, to));
    if made.is_err() {
        remove_all(&[&partial, to]);
    }
    made
}

/// Looks whether a file is a whole snapshot that this binary can read, without touching it.
///
/// # Errors
/// As [`stage`].
pub fn contents(file: &Path) -> Result<Contents, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    only_a_file(file)?;
    let connection = Connection::open_with_flags(file, flags).map_err(|error| not_a_snapshot(file, &error))?;
    describe(&connection, file)
}

/// As [`contents`], and every page of the file is read and found whole.
///
/// # Errors
/// As [`stage`].
pub fn examine(file: &Path) -> Result<Contents, StoreError> {
    let found = contents(file)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags).map_err(|error| not_a_snapshot(file, &error))?;
    is_whole(&connection, file)?;
    Ok(found)
}

/// What a store itself holds, by reading only. The caller holds the data directory's lock.
///
/// # Errors
/// As [`stage`].
pub fn contents_of_store(store: &Path) -> Result<Contents, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(store, flags).map_err(|error| not_a_snapshot(store, &error))?;
    describe(&connection, store)
}

/// Deletes a store, so that the next start makes a fresh one. What was there must have been saved before; the caller
/// holds the data directory's lock.
///
/// # Errors
/// Those of the file system.
pub fn discard(store: &Path) -> Result<(), StoreError> {
    // The log first: what it held is in the database, and beside a fresh one it would be replayed into that.
    remove_all(&sidecars(store));
    fs::remove_file(store).map_err(|error| file_error(store, &error))?;
    sync_folder(store)
}

/// A snapshot that was copied beside the store and found whole. Dropping it leaves the store as it was.
#[derive(Debug)]
pub struct Staged {
    copy: PathBuf,
    store: PathBuf,
    contents: Contents,
}

/// Copies a snapshot beside the store and examines the copy: the file that was named is only read. The caller holds the
/// data directory's lock.
///
/// # Errors
/// [`StoreError::NotASnapshot`] for everything that is none, or is damaged; [`StoreError::Newer`]; those of copying.
pub fn stage(file: &Path, store: &Path) -> Result<Staged, StoreError> {
    only_a_file(file)?;
    let copy = with_suffix(store, ".restoring");
    remove_all(&sidecars(&copy));
    remove_all(&[&copy]);
    // From here on, whatever fails takes the copy with it.
    let mut staged = Staged {
        copy: copy.clone(),
        store: store.to_owned(),
        contents: Contents { schema: 0, position: Position(0), records: 0, accounts: 0 },
    };
    let mut from = File::open(file).map_err(|error| cannot_open(file, &error))?;
    let mut to = private_file().create_new(true).open(&copy).map_err(|error| cannot_open(&copy, &error))?;
    io::copy(&mut from, &mut to).and_then(|_| to.sync_all()).map_err(|error| file_error(&copy, &error))?;
    let connection =
        Connection::open_with_flags(&copy, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .map_err(|error| not_a_snapshot(file, &error))?;
    staged.contents = describe(&connection, file)?;
    is_whole(&connection, file)?;
    connection.close().map_err(|(_, error)| not_a_snapshot(file, &error))?;
    Ok(staged)
}

impl Staged {
    /// What will be there.
    pub fn contents(&self) -> Contents {
        self.contents
    }

    /// Makes the snapshot the store. What was there must have been saved before.
    ///
    /// # Errors
    /// Those of the file system; the store is then as it was.
    pub fn put_in_place(self) -> Result<(), StoreError> {
        if let Err(error) = self.note_partings() {
            // Without it, where the histories parted is told by the clocks of their starts.
            tracing::warn!(%error, "the replaced store does not say where its history parted from the snapshot's");
        }
        // The old log must be gone before the new database has the name: SQLite would replay it into that. Whoever
        // saved the old store has merged it (closing the last connection does).
        remove_all(&sidecars(&self.store));
        sync_folder(&self.store)?;
        move_over(&self.copy, &self.store)
    }
}

impl Staged {
    fn note_partings(&self) -> Result<(), StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if !self.store.exists() {
            return Ok(());
        }
        let copy = Connection::open_with_flags(&self.copy, flags).map_err(sqlite_error)?;
        super::migrate(&copy, &self.copy)?;
        let replaced = Connection::open_with_flags(&self.store, flags).map_err(sqlite_error)?;
        let is_of_one = |sql: &str| -> rusqlite::Result<bool> {
            let value = |connection: &Connection| connection.query_row(sql, [], |row| row.get::<_, Vec<u8>>(0));
            Ok(value(&copy)? == value(&replaced)?)
        };
        if !is_of_one("SELECT value FROM meta WHERE name = 'epoch'").map_err(sqlite_error)? {
            return Ok(());
        }
        let transaction = copy.unchecked_transaction().map_err(sqlite_error)?;
        super::boots::note_partings(&transaction, &replaced).map_err(sqlite_error)?;
        transaction.commit().map_err(sqlite_error)?;
        // What was written lies in the file itself before that gets its name.
        copy.close().map_err(|(_, error)| sqlite_error(error))?;
        replaced.close().map_err(|(_, error)| sqlite_error(error))?;
        File::open(&self.copy).and_then(|file| file.sync_all()).map_err(|error| file_error(&self.copy, &error))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        remove_all(&sidecars(&self.copy));
        remove_all(&[&self.copy]);
    }
}

/// Keeps a store that cannot be snapshotted (it is damaged) byte for byte, with what belongs to it.
///
/// # Errors
/// Those of copying.
pub fn keep_damaged(store: &Path, to: &Path) -> Result<(), StoreError> {
    let pairs = std::iter::once((store.to_owned(), to.to_owned())).chain(sidecars(store).into_iter().zip(sidecars(to)));
    for (from, to) in pairs.filter(|(from, _)| from.exists()) {
        let mut source = File::open(&from).map_err(|error| cannot_open(&from, &error))?;
        let mut kept = private_file().create_new(true).open(&to).map_err(|error| cannot_open(&to, &error))?;
        io::copy(&mut source, &mut kept).and_then(|_| kept.sync_all()).map_err(|error| file_error(&to, &error))?;
    }
    sync_folder(to)
}

fn copy_into(store: &Path, partial: &Path) -> Result<(), StoreError> {
    // SQLite removes the log of a database that it cannot read: what is damaged is not opened at all.
    let mut head = Vec::with_capacity(HEAD.len());
    let read = File::open(store).and_then(|file| file.take(HEAD.len() as u64).read_to_end(&mut head));
    read.map_err(|error| cannot_open(store, &error))?;
    if head != HEAD {
        return Err(StoreError::Damaged(format!("`{}` is not a SQLite database", store.display())));
    }
    // Not read-only: the log of a server that was killed is merged by whoever opens the store next.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = |error: rusqlite::Error| match sqlite_error(error) {
        StoreError::Sqlite(message) => StoreError::Open { path: store.to_owned(), message },
        other => other,
    };
    let connection = Connection::open_with_flags(store, flags).map_err(open)?;
    connection.busy_timeout(BUSY_WITHIN).map_err(sqlite_error)?;
    let name = partial
        .to_str()
        .ok_or_else(|| StoreError::Open { path: partial.to_owned(), message: "its name is not UTF-8".to_owned() })?;
    // An empty file of ours, so that nobody else can read what comes into it.
    private_file().create(true).truncate(true).open(partial).map_err(|error| cannot_open(partial, &error))?;
    // One read transaction, however long it takes, and nothing in it but live pages.
    connection.execute("VACUUM INTO ?1", [name]).map_err(sqlite_error)?;
    File::open(partial).and_then(|file| file.sync_all()).map_err(|error| file_error(partial, &error))
}

/// Says what a database holds, or why it is no store.
fn describe(connection: &Connection, file: &Path) -> Result<Contents, StoreError> {
    let no = |error: rusqlite::Error| not_a_snapshot(file, &error);
    // Nothing in a file of strangers may run when it is read.
    connection.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;").map_err(no)?;
    let ours: Option<i64> = connection
        .query_row("SELECT length(value) FROM meta WHERE name = 'epoch'", [], |row| row.get(0))
        .optional()
        .map_err(no)?;
    if ours != Some(16) {
        return Err(no_store(file, "it names no epoch"));
    }
    let schema: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(no)?;
    if schema > SCHEMA {
        return Err(StoreError::Newer { path: file.to_owned(), found: schema, known: SCHEMA });
    }
    let migrations = usize::try_from(schema).ok().filter(|schema| *schema > 0);
    let migrations = migrations.ok_or_else(|| no_store(file, "it names no schema"))?;
    if shape(connection).map_err(no)? != expected_shape(&MIGRATIONS[..migrations])? {
        return Err(no_store(file, &format!("its tables are not those of schema {schema}")));
    }
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get(0)).map_err(no);
    Ok(Contents {
        schema,
        position: super::catch_up::newest(connection).map_err(|error| no_store(file, &error.to_string()))?,
        records: count("SELECT count(*) FROM log WHERE hash IS NOT NULL")?,
        accounts: count("SELECT count(*) FROM account WHERE email NOT LIKE 'removed:%'")?,
    })
}

fn is_whole(connection: &Connection, file: &Path) -> Result<(), StoreError> {
    let found: String = connection
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(|error| not_a_snapshot(file, &error))?;
    if found == "ok" { Ok(()) } else { Err(no_store(file, "it is damaged")) }
}

/// Every table, index, trigger and view, as it was declared. SQLite's own are left out.
fn shape(connection: &Connection) -> rusqlite::Result<Vec<(String, String, Option<String>)>> {
    const SELECT: &str = "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite!_%' ESCAPE '!'
        ORDER BY type, name";
    let mut statement = connection.prepare(SELECT)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    rows.collect()
}

/// What these migrations make: a trigger or a view that somebody put into a snapshot would run in the server.
fn expected_shape(migrations: &[&str]) -> Result<Vec<(String, String, Option<String>)>, StoreError> {
    let fresh = Connection::open_in_memory().map_err(sqlite_error)?;
    for sql in migrations {
        fresh.execute_batch(sql).map_err(sqlite_error)?;
    }
    shape(&fresh).map_err(sqlite_error)
}

/// A directory, a pipe or a live database is no snapshot.
fn only_a_file(file: &Path) -> Result<(), StoreError> {
    let found = fs::metadata(file).map_err(|error| cannot_open(file, &error))?;
    if !found.is_file() {
        return Err(no_store(file, "it is not a file"));
    }
    let log = with_suffix(file, "-wal");
    if fs::metadata(log).is_ok_and(|log| log.len() > 0) {
        return Err(no_store(file, "it is a live database with a log beside it"));
    }
    Ok(())
}

fn move_over(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(|error| file_error(to, &error))?;
    sync_folder(to)
}

/// Makes a rename or a removal survive a power cut.
fn sync_folder(file: &Path) -> Result<(), StoreError> {
    // Only Unix can open a folder to sync it; elsewhere the file system journals its names.
    if !cfg!(unix) {
        return Ok(());
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| file_error(folder, &error))
}

fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// What SQLite keeps beside a database.
fn sidecars(file: &Path) -> [PathBuf; 3] {
    ["-wal", "-shm", "-journal"].map(|suffix| with_suffix(file, suffix))
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn remove_all(files: &[impl AsRef<Path>]) {
    for file in files {
        match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %file.as_ref().display(), %error, "a file of ours cannot be removed");
            }
            _ => {}
        }
    }
}

fn cannot_open(path: &Path, error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::NotFound => StoreError::NotFound("file"),
        _ => file_error(path, error),
    }
}

fn file_error(path: &Path, error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full,
        _ => StoreError::Open { path: path.to_owned(), message: error.to_string() },
    }
}

fn not_a_snapshot(file: &Path, error: &rusqlite::Error) -> StoreError {
    let reason = match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => "it is not a SQLite database".to_owned(),
        Some(rusqlite::ErrorCode::DatabaseCorrupt) => "it is damaged".to_owned(),
        Some(rusqlite::ErrorCode::DiskFull) => return StoreError::Full,
        _ => format!("it cannot be read: {error}"),
    };
    no_store(file, &reason)
}

fn no_store(file: &Path, reason: &str) -> StoreError {
    StoreError::NotASnapshot { path: file.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests;
