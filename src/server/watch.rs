//! Watches the project's files. What an editor does to one file within a moment is one change.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::reload::{ProjectFiles, Reload, Reloader};
use crate::catalog::{CHANNELS_DIR, PROJECT_FILE, SCENARIOS_DIR, SEED_DIR};
use crate::tasks::Tasks;

/// How long nothing may happen before the files are read.
const QUIET_FOR: Duration = Duration::from_millis(20);

/// How long it may go on happening before they are read all the same.
const QUIET_WITHIN: Duration = Duration::from_millis(300);

/// How long a mistake has to stand before it is one: many editors empty a file before they write it.
const MISTAKE_STANDS: Duration = Duration::from_millis(60);

/// How often the files are looked at though nothing was told of them.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A larger file is none that anybody writes by hand; `catalog` refuses it.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The folders whose files belong to the project.
const FOLDERS: [&str; 3] = [CHANNELS_DIR, SEED_DIR, SCENARIOS_DIR];

/// Reloads the project whenever its files change, and tells what became of it. Ends with the tasks.
///
/// # Errors
/// The system's, where it does not tell of changes.
pub fn watch(
    files: ProjectFiles,
    reloader: Reloader,
    tasks: &Tasks,
    tell: mpsc::UnboundedSender<Reload>,
) -> Result<(), notify::Error> {
    let (touched, touches) = mpsc::unbounded_channel();
    let first = touched.clone();
    let root = files.root.clone();
    let watcher = notify::recommended_watcher(move |event: Result<notify::Event, notify::Error>| {
        // Where events were lost, everything may have changed.
        let concerns =
            event.map_or(true, |event| !event.kind.is_access() && event.paths.iter().any(|path| is_ours(&root, path)));
        if concerns {
            // Where nobody listens any more, the server is stopping.
            let _told = touched.send(());
        }
    })?;
    let mut watching = Watching { watcher, files, reloader, touches, tell, seen: BTreeMap::new() };
    watching.watcher.watch(&watching.files.root, RecursiveMode::NonRecursive)?;
    watching.watch_folders();
    // What was saved after the server had read the files, and before this, is noticed too.
    let _listening = first.send(());
    tasks.start("watch", async move { watching.run().await });
    Ok(())
}

struct Watching {
    watcher: RecommendedWatcher,
    files: ProjectFiles,
    reloader: Reloader,
    touches: mpsc::UnboundedReceiver<()>,
    tell: mpsc::UnboundedSender<Reload>,
    /// The files as they were read last.
    seen: Files,
}

impl Watching {
    async fn run(&mut self) {
        loop {
            // The system tells nothing of files behind links, nor of a folder that was put in this one's place.
            match tokio::time::timeout(LOOK_EVERY, self.touches.recv()).await {
                Ok(Some(())) => self.quiet().await,
                Ok(None) => return,
                Err(_nothing_told) => {}
            }
            // One of them may have been made, or be another one by now.
            self.watch_folders();
            let now = self.look().await;
            if now == self.seen {
                continue;
            }
            if self.read(now).await.is_err() {
                return;
            }
        }
    }

    /// Waits until nothing happens for a moment.
    async fn quiet(&mut self) {
        let within = tokio::time::Instant::now() + QUIET_WITHIN;
        while tokio::time::Instant::now() < within {
            match tokio::time::timeout(QUIET_FOR, self.touches.recv()).await {
                Ok(Some(())) => {}
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// Reads until what is read is what is there, and tells what becomes of it. `Err`: nobody listens any more.
    async fn read(&mut self, mut files: Files) -> Result<(), mpsc::error::SendError<Reload>> {
        let had_trouble = self.reloader.has_trouble();
        loop {
            let reload = self.reloader.reload(&self.files).await;
            if let Reload::Refused { .. } = reload {
                tokio::time::sleep(MISTAKE_STANDS).await;
            }
            let now = self.look().await;
            let is_all = now == files;
            match reload {
                // What went live is told, though something else may follow at once.
                Reload::Live { .. } => self.tell.send(reload)?,
                Reload::Refused { .. } if is_all => self.tell.send(reload)?,
                // That a mistake was taken back is news, though nothing is other than before.
                Reload::Same if is_all && had_trouble => self.tell.send(self.reloader.well_again())?,
                Reload::Refused { .. } | Reload::Same => {}
            }
            if is_all {
                self.seen = files;
                return Ok(());
            }
            files = now;
        }
    }

    async fn look(&self) -> Files {
        let root = self.files.root.clone();
        Tasks::blocking(move || fingerprint(&root)).await
    }

    /// Folders that are not there are watched once they are: the root tells.
    fn watch_folders(&mut self) {
        for folder in FOLDERS {
            let path = self.files.root.join(folder);
            if path.is_dir()
                && let Err(error) = self.watcher.watch(&path, RecursiveMode::NonRecursive)
            {
                tracing::warn!(%error, folder, "changes of a folder are not noticed");
            }
        }
    }
}

/// Whether a path belongs to the project: much else may lie in its root, a database that is written all the time too.
fn is_ours(root: &Path, path: &Path) -> bool {
    let Ok(inside) = path.strip_prefix(root) else { return false };
    inside == Path::new(PROJECT_FILE) || FOLDERS.iter().any(|folder| inside.starts_with(folder))
}

/// Every file of the project with the hash of its content.
type Files = BTreeMap<PathBuf, [u8; 32]>;

/// A pipe would never end, and what is too large to be one of ours is told by its size: such a file, and one that cannot be
/// read, has the hash of what is known of it.
fn fingerprint(root: &Path) -> Files {
    let content = |path: &Path| {
        let Ok(about) = std::fs::metadata(path) else { return Vec::new() };
        let size = about.len().to_be_bytes().to_vec();
        if about.is_file() && about.len() <= FILE_BYTES_MAX { std::fs::read(path).unwrap_or_default() } else { size }
    };
    let in_folders = FOLDERS.iter().filter_map(|folder| std::fs::read_dir(root.join(folder)).ok());
    let files = in_folders.flat_map(|entries| entries.flatten().map(|entry| entry.path()));
    std::iter::once(root.join(PROJECT_FILE))
        .chain(files)
        .map(|path| {
            let hash = Sha256::digest(content(&path)).into();
            (path, hash)
        })
        .collect()
}
