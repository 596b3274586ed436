//! Snapshots of a data directory's store: where they are kept, what they are called, how one is put back.
//!
//! *Invariant:* [`Restoring`] holds the directory's lock from before the snapshot is examined until it is in place, so no
//! server can start in between.

use std::path::{Path, PathBuf};

use super::data_dir::make_private;
use super::{DataDir, DataDirError, STORE_FILE};
use crate::store::StoreError;
use crate::store::snapshot::{self, Contents, Staged};

/// Where snapshots are kept, in the data directory.
pub const SNAPSHOTS_DIR: &str = "snapshots";

/// How their names end.
pub const EXTENSION: &str = "omsnap";

/// Why a snapshot is not made or not put back.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The data directory is in use, or cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// There is nothing to save.
    #[error("there is no store in `{data_dir}`")]
    NoStore {
        /// The data directory.
        data_dir: PathBuf,
    },
    /// There is no such snapshot.
    #[error("there is no snapshot `{file}`")]
    NoSnapshot {
        /// As it was named.
        file: PathBuf,
    },
    /// A snapshot has this name.
    #[error("`{file}` exists")]
    Exists {
        /// The file.
        file: PathBuf,
    },
    /// The file is none, or a damaged one.
    #[error(transparent)]
    NotASnapshot(StoreError),
    /// A newer binary made it.
    #[error(transparent)]
    Newer(StoreError),
    /// Anything else about the store's files.
    #[error(transparent)]
    Store(StoreError),
}

impl SnapshotError {
    fn of(file: &Path) -> impl Fn(StoreError) -> Self {
        let file = file.to_owned();
        move |error| match error {
            StoreError::NotFound(_) => Self::NoSnapshot { file: file.clone() },
            StoreError::Exists(_) => Self::Exists { file: file.clone() },
            StoreError::NotASnapshot { .. } => Self::NotASnapshot(error),
            StoreError::Newer { .. } => Self::Newer(error),
            other => Self::Store(other),
        }
    }
}

/// A snapshot in the directory.
#[derive(Debug)]
pub struct Listed {
    /// Its file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was made (milliseconds since 1970).
    pub made_ms: i64,
    /// What it holds, or why it cannot be restored.
    pub contents: Result<Contents, StoreError>,
}

/// What became of the store that a snapshot has replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Before {
    /// There was none.
    Nothing,
    /// It is in this snapshot.
    Saved(PathBuf),
    /// It could not be read: this is a copy of its bytes.
    Damaged(PathBuf),
}

/// Where a snapshot of this name is, or is to be.
pub fn named(data_dir: &Path, name: &str) -> PathBuf {
    let file = if name.ends_with(&format!(".{EXTENSION}")) { name.to_owned() } else { format!("{name}.{EXTENSION}") };
    data_dir.join(SNAPSHOTS_DIR).join(file)
}

/// Saves the store of a data directory under this name; `None` makes one of project and time. A server may be running.
///
/// # Errors
/// [`SnapshotError::NoStore`]; [`SnapshotError::Exists`]; those of reading and writing.
pub fn take(data_dir: &Path, project: &str, name: Option<&str>, now_ms: i64) -> Result<PathBuf, SnapshotError> {
    let store = data_dir.join(STORE_FILE);
    if !store.exists() {
        return Err(SnapshotError::NoStore { data_dir: data_dir.to_owned() });
    }
    let folder = data_dir.join(SNAPSHOTS_DIR);
    make_private(&folder).map_err(|error| DataDirError::Io { path: folder.clone(), message: error.to_string() })?;
    if let Some(name) = name {
        let to = named(data_dir, name);
        snapshot::snapshot(&store, &to).map_err(SnapshotError::of(&to))?;
        return Ok(to);
    }
    // Two within a second are told apart by a number.
    for number in 1.. {
        let to = named(data_dir, &automatic(project, now_ms, number));
        match snapshot::snapshot(&store, &to) {
            Err(StoreError::Exists(_)) => {}
            made => return made.map(|()| to.clone()).map_err(SnapshotError::of(&to)),
        }
    }
    unreachable!("there are more numbers than files")
}

/// Saves the store of a data directory in a file anywhere, and examines what was written. A server may be running.
///
/// # Errors
/// As [`take`]; [`SnapshotError::NotASnapshot`] where the disk did not keep what was written: then there is no file.
pub fn backup(data_dir: &Path, to: &Path) -> Result<Contents, SnapshotError> {
    let store = data_dir.join(STORE_FILE);
    if !store.exists() {
        return Err(SnapshotError::NoStore { data_dir: data_dir.to_owned() });
    }
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        let message = "there is no such folder".to_owned();
        return Err(DataDirError::Io { path: folder.to_owned(), message }.into());
    }
    snapshot::snapshot(&store, to).map_err(SnapshotError::of(to))?;
    snapshot::examine(to).map_err(|error| {
        // Nobody must take it for a backup. That it cannot be removed changes nothing about the error.
        drop(std::fs::remove_file(to));
        SnapshotError::of(to)(error)
    })
}

/// The snapshots of a data directory, the newest first.
///
/// # Errors
/// [`DataDirError::Io`].
pub fn list(data_dir: &Path) -> Result<Vec<Listed>, SnapshotError> {
    let folder = data_dir.join(SNAPSHOTS_DIR);
    let io = |error: std::io::Error| DataDirError::Io { path: folder.clone(), message: error.to_string() };
    let entries = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(io)?.path();
        if path.extension().is_none_or(|extension| extension != EXTENSION) {
            continue;
        }
        let about = std::fs::metadata(&path).map_err(io)?;
        let made = about.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        found.push(Listed {
            bytes: about.len(),
            made_ms: made.map_or(0, |since| since.as_millis() as i64),
            contents: snapshot::contents(&path),
            path,
        });
    }
    found.sort_by(|a, b| (b.made_ms, &b.path).cmp(&(a.made_ms, &a.path)));
    Ok(found)
}

/// A snapshot that was found whole and waits for a yes. Dropping it changes nothing.
#[derive(Debug)]
pub struct Restoring {
    // First, because fields are dropped in their order and the lock is to be the last.
    staged: Staged,
    data_dir: DataDir,
}

impl Restoring {
    /// Locks the data directory and examines the snapshot.
    ///
    /// # Errors
    /// [`DataDirError::Locked`] while a server runs; [`SnapshotError::NotASnapshot`], [`SnapshotError::Newer`],
    /// [`SnapshotError::NoSnapshot`].
    pub fn begin(data_dir: &Path, file: &Path) -> Result<Self, SnapshotError> {
        // A directory is not made for a file that is not there.
        if !file.exists() {
            return Err(SnapshotError::NoSnapshot { file: file.to_owned() });
        }
        let data_dir = DataDir::lock(data_dir)?;
        let store = data_dir.path().join(STORE_FILE);
        let staged = snapshot::stage(file, &store).map_err(SnapshotError::of(file))?;
        Ok(Self { staged, data_dir })
    }

    /// What the store will hold.
    pub fn contents(&self) -> Contents {
        self.staged.contents()
    }

    /// Saves what is there and puts the snapshot in its place.
    ///
    /// # Errors
    /// Those of saving and of the file system; the store is then as it was.
    pub fn finish(self, project: &str, now_ms: i64) -> Result<Before, SnapshotError> {
        let before = save(self.data_dir.path(), project, now_ms)?;
        self.staged.put_in_place().map_err(SnapshotError::Store)?;
        Ok(before)
    }
}

/// A store that waits for a yes to its end. Dropping this changes nothing.
#[derive(Debug)]
pub struct Resetting {
    data_dir: DataDir,
}

impl Resetting {
    /// Locks the data directory.
    ///
    /// # Errors
    /// [`DataDirError::Locked`] while a server runs; [`SnapshotError::NoStore`].
    pub fn begin(data_dir: &Path) -> Result<Self, SnapshotError> {
        // A directory is not made to find nothing in it.
        if !data_dir.join(STORE_FILE).exists() {
            return Err(SnapshotError::NoStore { data_dir: data_dir.to_owned() });
        }
        Ok(Self { data_dir: DataDir::lock(data_dir)? })
    }

    /// What the store holds; `None` where it cannot be read.
    pub fn contents(&self) -> Option<Contents> {
        snapshot::contents_of_store(&self.data_dir.path().join(STORE_FILE)).ok()
    }

    /// Saves what is there and deletes it: the next start makes a fresh store.
    ///
    /// # Errors
    /// Those of saving and of the file system.
    pub fn finish(self, project: &str, now_ms: i64) -> Result<Before, SnapshotError> {
        let before = save(self.data_dir.path(), project, now_ms)?;
        snapshot::discard(&self.data_dir.path().join(STORE_FILE)).map_err(SnapshotError::Store)?;
        Ok(before)
    }
}

/// Saves what is there before something else takes its place.
fn save(data_dir: &Path, project: &str, now_ms: i64) -> Result<Before, SnapshotError> {
    match take(data_dir, project, None, now_ms) {
        Ok(path) => Ok(Before::Saved(path)),
        Err(SnapshotError::NoStore { .. }) => Ok(Before::Nothing),
        // Whoever restores or resets because the store is broken must be able to.
        Err(SnapshotError::Store(StoreError::Damaged(_) | StoreError::Sqlite(_))) => {
            Ok(Before::Damaged(keep_damaged(data_dir, project, now_ms)?))
        }
        Err(other) => Err(other),
    }
}

fn keep_damaged(data_dir: &Path, project: &str, now_ms: i64) -> Result<PathBuf, SnapshotError> {
    let name = automatic(project, now_ms, 1);
    let to = data_dir.join(SNAPSHOTS_DIR).join(format!("{name}.damaged.db"));
    snapshot::keep_damaged(&data_dir.join(STORE_FILE), &to).map_err(SnapshotError::of(&to))?;
    Ok(to)
}

/// `fieldwork-20260701-120005`, in UTC; the number tells two of one second apart.
pub fn automatic(project: &str, now_ms: i64, number: u32) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' };
    let project: String = project.chars().map(safe).take(64).collect();
    let at = jiff::Timestamp::from_millisecond(now_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let suffix = if number == 1 { String::new() } else { format!("-{number}") };
    format!("{project}-{}{suffix}", at.strftime("%Y%m%d-%H%M%S"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn automatic_names_are_plain_and_tell_the_time() {
        let at = 1_783_080_005_000;
        assert_eq!(automatic("fieldwork", at, 1), "fieldwork-20260703-120005");
        assert_eq!(automatic("../öl x", at, 2), "----l-x-20260703-120005-2");
    }

    #[test]
    fn a_store_that_cannot_be_read_is_kept_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (healthy, broken) = (folder.path().join("a"), folder.path().join("b"));
        for dir in [&healthy, &broken] {
            std::fs::create_dir(dir).unwrap();
        }
        let open = |path: &Path| {
            let system = (crate::clock::Clock::System, crate::clock::Entropy::System);
            crate::store::Store::open(path, system.0, system.1).map(drop)
        };
        open(&healthy.join(STORE_FILE)).unwrap();
        let saved = take(&healthy, "p", Some("good"), 0).unwrap();
        assert_eq!(list(&healthy).unwrap().len(), 1);
        std::fs::write(broken.join(STORE_FILE), "no database any more").unwrap();
        let restoring = Restoring::begin(&broken, &saved).unwrap();
        assert!(matches!(Restoring::begin(&broken, &saved), Err(SnapshotError::DataDir(DataDirError::Locked { .. }))));
        let Before::Damaged(kept) = restoring.finish("p", 0).unwrap() else { panic!("it was damaged") };
        assert_eq!(std::fs::read_to_string(kept).unwrap(), "no database any more");
        open(&broken.join(STORE_FILE)).unwrap();
    }
}
