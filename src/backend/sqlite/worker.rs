//! A thread with one connection, answering through channels: SQLite never runs on the async threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use futures_util::future::BoxFuture;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{mpsc, oneshot};

use super::fault::Fault;
use super::session::{State, configure};
use crate::backend::BackendError;

/// Calls that wait for one connection; further callers wait in their own tasks.
const JOBS_MAX: usize = 64;

/// Some work, with the connection or with why there is none.
type Job = Box<dyn FnOnce(Result<(&mut Connection, &mut State), Fault>) -> Verdict + Send>;

/// Whether the connection is kept after a job.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Keep,
    Reopen,
}

/// Which file stands at a path: an open one stays open when another is put in its place.
#[cfg(unix)]
fn identity_of(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// Where files have no number, an open one cannot be replaced.
#[cfg(not(unix))]
fn identity_of(_path: &Path) -> Option<(u64, u64)> {
    None
}

/// A thread with one connection.
pub(super) struct Worker {
    backend: Arc<str>,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the thread. It opens the file with the first job.
    pub(super) fn start(backend: Arc<str>, path: PathBuf, writes: bool) -> std::io::Result<Self> {
        let (jobs, mut waiting) = mpsc::channel::<Job>(JOBS_MAX);
        let name = format!("{backend}-{}", if writes { "write" } else { "read" });
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let mut connection = None;
            let mut identity = None;
            let mut state = State::default();
            while let Some(job) = waiting.blocking_recv() {
                let is_replaced = connection.is_some() && identity_of(&path) != identity;
                if is_replaced {
                    connection = None;
                }
                if connection.is_none() {
                    state = state.reopened();
                }
                let opened = match &mut connection {
                    _ if is_replaced => Err(Fault::Replaced),
                    Some(connection) => Ok(connection),
                    none => {
                        // Looked at first: a file that is put in its place meanwhile is then found at the next job.
                        identity = identity_of(&path);
                        open(&path, writes).map(|opened| none.insert(opened))
                    }
                };
                let job = AssertUnwindSafe(|| job(opened.map(|connection| (connection, &mut state))));
                // A panic costs its caller the answer (a dropped channel), and everybody the connection, but no more.
                if catch_unwind(job).unwrap_or(Verdict::Reopen) == Verdict::Reopen {
                    connection = None;
                }
            }
        })?;
        Ok(Self { backend, jobs: Some(jobs), thread: Some(thread) })
    }

    /// Runs some work on the thread.
    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection, &mut State) -> Result<T, Fault> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, BackendError>> {
        let (answer, answered) = oneshot::channel();
        let backend = Arc::clone(&self.backend);
        let job: Job = Box::new(move |connection| {
            let result = connection.and_then(|(connection, state)| work(connection, state));
            let verdict = match &result {
                Err(fault) if fault.spoils_connection() => Verdict::Reopen,
                _ => Verdict::Keep,
            };
            // Nobody may be waiting any more: a dropped future leaves its effect done.
            let _unwanted = answer.send(result.map_err(|fault| fault.into_error(&backend)));
            verdict
        });
        Box::pin(async move {
            let gone = |message: &str| BackendError::Unavailable {
                backend: self.backend.to_string(),
                message: message.to_owned(),
            };
            let jobs = self.jobs.as_ref().expect("it is taken away by drop only");
            jobs.send(job).await.map_err(|_| gone("its thread has ended"))?;
            answered.await.map_err(|_| gone("its thread failed at this work"))?
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The thread ends when the last sender is gone. What it has begun is finished first.
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

fn open(path: &Path, writes: bool) -> Result<Connection, Fault> {
    // Read-write for the reader too: it may have to roll back the journal that a killed program left behind.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    configure(&connection)?;
    if !writes {
        connection.pragma_update(None, "query_only", true)?;
    }
    Ok(connection)
}
