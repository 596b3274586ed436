//! The one writer: a thread that commits what many callers want in one durable transaction (group commit).
//!
//! Each job runs in its own savepoint, so that a refused one takes no other with it; nobody hears of a result before the
//! commit that makes it durable. In inline mode the job runs and commits on the calling thread, with a step of the
//! simulator before and behind it.
//!
//! *Invariant:* jobs never do I/O other than SQL, never wait, and never see a half-committed position.

use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::feed::Committed;
use super::state::WriterState;
use super::{StoreError, sqlite_error};
use crate::limits;

/// What a simulator does between two steps of the store: nothing, let others run, or never return (a crash).
pub type Step = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// Where the writer's work is done.
#[derive(Clone)]
pub(super) enum Writer {
    Thread(mpsc::UnboundedSender<Job>),
    Inline { shared: Arc<Mutex<Inline>>, step: Option<Step> },
}

/// The connection and the caches of an inline writer.
pub(super) struct Inline {
    pub(super) connection: Arc<Mutex<Connection>>,
    pub(super) state: WriterState,
    pub(super) publish: mpsc::UnboundedSender<Arc<Committed>>,
}

/// Runs in a savepoint and returns what to do with the outcome of the commit.
pub(super) type Job = Box<dyn FnOnce(&mut WriterState, &Connection) -> Done + Send>;

/// A job's end: whether its savepoint stays, and whom to tell once that is durable.
pub(super) struct Done {
    keep: bool,
    tell: Tell,
}

/// Hears whether the commit failed.
type Tell = Box<dyn FnOnce(Option<&StoreError>) + Send>;

impl Writer {
    /// Runs one intent as (part of) one transaction. The result is durable when it is returned.
    ///
    /// # Errors
    /// What the intent says, or that the commit failed; then nothing of it is in the database.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        intent: impl FnOnce(&mut WriterState, &Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |state, connection| {
            let result = intent(state, connection);
            Done {
                keep: result.is_ok(),
                tell: Box::new(move |failed| {
                    let result = failed.map_or(result, |error| Err(error.again()));
                    // A caller that went away does not hear of it; its work is done all the same.
                    drop(sender.send(result));
                }),
            }
        });
        match self {
            Self::Thread(queue) => queue.send(job).map_err(|_| StoreError::Closed)?,
            Self::Inline { shared, step } => {
                if let Some(step) = step {
                    step().await;
                }
                {
                    let mut inline = shared.lock().expect("the writer does not panic");
                    let inline = &mut *inline;
                    let connection = inline.connection.lock().expect("the writer does not panic");
                    commit_group(&connection, &mut inline.state, vec![job], &inline.publish);
                }
                if let Some(step) = step {
                    step().await;
                }
            }
        }
        receiver.await.map_err(|_| StoreError::Closed)?
    }
}

/// The writer thread: takes what has gathered while the last commit was under way.
pub(super) fn run_thread(
    connection: Connection,
    mut state: WriterState,
    mut queue: mpsc::UnboundedReceiver<Job>,
    publish: mpsc::UnboundedSender<Arc<Committed>>,
) {
    while let Some(first) = queue.blocking_recv() {
        let mut group = vec![first];
        while group.len() < limits::GROUP_COMMIT_MAX {
            match queue.try_recv() {
                Ok(job) => group.push(job),
                Err(_) => break,
            }
        }
        commit_group(&connection, &mut state, group, &publish);
    }
}

fn commit_group(
    connection: &Connection,
    state: &mut WriterState,
    group: Vec<Job>,
    publish: &mpsc::UnboundedSender<Arc<Committed>>,
) {
    let mut tell = Vec::with_capacity(group.len());
    let result = (|| {
        execute(connection, "BEGIN IMMEDIATE")?;
        for job in group {
            execute(connection, "SAVEPOINT intent")?;
            state.begin_intent();
            let done = job(state, connection);
            if done.keep {
                state.keep_intent();
                execute(connection, "RELEASE intent")?;
            } else {
                state.drop_intent();
                execute(connection, "ROLLBACK TO intent")?;
                execute(connection, "RELEASE intent")?;
            }
            tell.push(done.tell);
        }
        state.flush(connection)?;
        execute(connection, "COMMIT")
    })();
    match result {
        Ok(()) => {
            if let Some(committed) = state.take_published() {
                // Nobody listening (a tool that only opens the database) is not an error.
                drop(publish.send(Arc::new(committed)));
            }
            tell.into_iter().for_each(|tell| tell(None));
        }
        Err(error) => {
            tracing::error!(%error, "a commit failed; its callers are told");
            // Nothing of the group is in the database; what was cached on its behalf is forgotten.
            if !connection.is_autocommit() {
                drop(execute(connection, "ROLLBACK"));
            }
            state.forget(connection);
            tell.into_iter().for_each(|tell| tell(Some(&error)));
        }
    }
}

fn execute(connection: &Connection, sql: &str) -> Result<(), StoreError> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute([])).map(drop).map_err(sqlite_error)
}
