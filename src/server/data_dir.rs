//! The data directory: locked by one server at a time, and the place where it says where it is.
//!
//! The lock is the operating system's, on a file that is never deleted: a killed server's lock frees itself, and the
//! process id in the file is only for people.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use omctl_protocol::admin::{SERVER_FILE, ServerFile};

const LOCK_FILE: &str = "lock";

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it.
    #[error("`{path}` is in use by another process{}", .pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The process, where it could be read.
        pid: Option<u32>,
    },
    /// The file system refuses it.
    #[error("cannot use `{path}`: {message}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        message: String,
    },
}

/// A locked data directory; dropping it frees the lock.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory where it is missing, for its owner alone, and locks it.
    ///
    /// # Errors
    /// [`DataDirError::Locked`], [`DataDirError::Io`].
    pub fn lock(path: &Path) -> Result<Self, DataDirError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error: std::io::Error| DataDirError::Io { path, message: error.to_string() }
        };
        make_private(path).map_err(io(path))?;
        let file = path.join(LOCK_FILE);
        let mut lock =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&file).map_err(io(&file))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let pid = lock.read_to_string(&mut holder).ok().and_then(|_| holder.trim().parse().ok());
                return Err(DataDirError::Locked { path: path.to_owned(), pid });
            }
            Err(TryLockError::Error(error)) => return Err(io(&file)(error)),
        }
        let noted =
            lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| writeln!(lock, "{}", std::process::id()));
        noted.map_err(io(&file))?;
        let dir = Self { path: path.to_owned(), _lock: lock };
        // What a killed server left: its port may be somebody else's by now.
        dir.forget_server();
        Ok(dir)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tells the command line where the server is: readable by the owner alone, and never half-written.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn tell_server(&self, file: &ServerFile) -> Result<(), DataDirError> {
        let (path, new) = (self.path.join(SERVER_FILE), self.path.join(format!("{SERVER_FILE}.new")));
        let text = serde_json::to_vec_pretty(file).expect("the file always has a JSON form");
        let told = write_private(&path, &new, &text);
        told.map_err(|error| DataDirError::Io { path: path.clone(), message: error.to_string() })
    }

    /// Removes what [`DataDir::tell_server`] wrote.
    pub fn forget_server(&self) {
        let path = self.path.join(SERVER_FILE);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "cannot remove the server's file");
            }
            _ => {}
        }
    }
}

/// Writes a file that only its owner reads, under the name `new` first: what a crash leaves half-written is not it.
pub(super) fn write_private(path: &Path, new: &Path, content: &[u8]) -> std::io::Result<()> {
    // A left-over may have other permissions: those of an existing file are kept by the system.
    if new.exists() {
        std::fs::remove_file(new)?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(new)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(new, path)?;
    path.parent().map_or(Ok(()), sync_folder)
}

pub(super) fn make_private(path: &Path) -> std::io::Result<()> {
    if path.is_dir() {
        // Whoever made it may have been killed before the names above it were synced; then it had put nothing into it.
        let is_young = std::fs::read_dir(path)?.next().is_none();
        return if is_young { sync_all_above(path) } else { Ok(()) };
    }
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let missing: Vec<&Path> =
        path.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()).collect();
    builder.create(path)?;
    // The name of a new folder is on the disk only when the one above it is synced. SQLite syncs the folder of its files
    // and knows nothing of those above: without this, a power cut in the first days could take the whole store.
    missing.iter().filter_map(|folder| folder.parent()).try_for_each(sync_folder)
}

/// Makes the names of a folder and of those above it durable, as far up as this process may look.
fn sync_all_above(path: &Path) -> std::io::Result<()> {
    for folder in path.ancestors().skip(1) {
        match sync_folder(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => break,
            synced => synced?,
        }
    }
    Ok(())
}

/// Makes the names in a folder durable. Elsewhere a folder cannot be opened, and its file system sees to it.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        std::fs::File::open(folder)?.sync_all()?;
    }
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}
