//! The one writer: a thread that commits what many callers want in one durable transaction (group commit).
//!
//! Each job runs in its own savepoint, so that a refused one takes no other with it; nobody hears of a result before the
//! commit that makes it durable. In inline mode the job runs and commits on the calling thread, with a step of the
//! simulator before and behind it.
//!
//! *Invariant:* jobs never do I/O other than SQL, never wait, and never see a half-committed position.

use std::collections::VecDeque;
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

/// Runs in a savepoint and returns what to do with the outcome of the commit. Without a database it does nothing: its
/// commit failed before its turn came.
pub(super) type Job = Box<dyn FnOnce(Option<(&mut WriterState, &Connection)>) -> Done + Send>;

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
        let job: Job = Box::new(move |turn| {
            let result = turn.map(|(state, connection)| intent(state, connection));
            Done {
                keep: matches!(result, Some(Ok(_))),
                tell: Box::new(move |failed| {
                    let failed = failed.map(|error| Err(error.again()));
                    let result = failed.or(result).unwrap_or(Err(StoreError::Closed));
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
    let mut waiting = VecDeque::from(group);
    let result = (|| {
        execute(connection, "BEGIN IMMEDIATE")?;
        state.be_fresh(connection)?;
        while !waiting.is_empty() {
            execute(connection, "SAVEPOINT intent")?;
            state.begin_intent();
            let Some(job) = waiting.pop_front() else { break };
            let done = job(Some((state, connection)));
            // Noted before anything else can fail: a full disk takes the savepoint away with the whole transaction.
            tell.push(done.tell);
            if done.keep {
                state.keep_intent();
                execute(connection, "RELEASE intent")?;
            } else {
                state.drop_intent();
                execute(connection, "ROLLBACK TO intent")?;
                execute(connection, "RELEASE intent")?;
            }
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
            // Everybody hears of it, also those whose turn did not come: who is left without an answer takes the store for
            // closed.
            let unheard = waiting.into_iter().map(|job| job(None).tell);
            tell.into_iter().chain(unheard).for_each(|tell| tell(Some(&error)));
        }
    }
}

fn execute(connection: &Connection, sql: &str) -> Result<(), StoreError> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute([])).map(drop).map_err(sqlite_error)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::super::{Store, StoreError};
    use super::*;
    use crate::clock::{Clock, Entropy};

    /// Without a setting of its own, SQLite compiles a statement anew whenever its LIMIT is bound.
    #[test]
    fn a_kept_statement_with_a_limit_is_compiled_once() {
        let connection = Arc::new(Mutex::new(Connection::open_in_memory().unwrap()));
        drop(Store::inline(connection.clone(), Clock::manual(1_000), Entropy::seeded(1), None).unwrap());
        let connection = connection.lock().unwrap();
        let mut statement = connection.prepare("SELECT position FROM log ORDER BY position LIMIT ?1").unwrap();
        for limit in 1..5 {
            assert!(statement.query([limit]).unwrap().next().unwrap().is_none());
        }
        assert_eq!(statement.get_status(rusqlite::StatementStatus::RePrepare), 0);
    }

    /// A database that runs full in the middle of a group, and one that cannot even be read back afterwards: everybody is
    /// told what happened, nobody that the store is closed, and the next commit is as good as any.
    #[tokio::test]
    async fn a_disk_that_fails_ends_a_commit_and_not_the_store() {
        let connection = Arc::new(Mutex::new(Connection::open_in_memory().unwrap()));
        let inline = Store::inline(connection.clone(), Clock::manual(1_000), Entropy::seeded(1), None);
        let (store, _feed) = inline.unwrap();
        let fill = |store: &Store| {
            let writer = store.writer.clone();
            async move {
                let sql = "INSERT INTO meta (name, value) SELECT hex(randomblob(400)), 1 FROM pragma_function_list";
                writer.run(move |_, connection| connection.execute(sql, []).map_err(sqlite_error)).await
            }
        };
        let pages = |most: u32| {
            let connection = connection.lock().unwrap();
            connection.query_row(&format!("PRAGMA max_page_count = {most}"), [], |_| Ok(())).unwrap();
        };
        pages(1);
        let failed = fill(&store).await.unwrap_err();
        assert!(!matches!(failed, StoreError::Closed), "{failed:?}");
        pages(u32::MAX - 1);
        fill(&store).await.unwrap();

        // The commit fails, and so does the reading back that follows it.
        let left = Arc::new(AtomicI64::new(0));
        let count = left.clone();
        let fails = move || count.fetch_sub(1, Ordering::Relaxed) > 0;
        connection.lock().unwrap().progress_handler(1, Some(fails)).unwrap();
        left.store(200, Ordering::Relaxed);
        let failed = fill(&store).await.unwrap_err();
        assert!(!matches!(failed, StoreError::Closed), "{failed:?}");
        left.store(0, Ordering::Relaxed);
        fill(&store).await.unwrap();
    }

    #[test]
    fn a_group_that_breaks_in_its_middle_is_told_to_all_of_it() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t (x)").unwrap();
        super::super::migrate(&connection, std::path::Path::new(":memory:")).unwrap();
        let mut state = WriterState::load(&connection, Clock::manual(1_000)).unwrap();
        let (publish, _feed) = mpsc::unbounded_channel();
        let told = Arc::new(Mutex::new(Vec::new()));
        let job = |name: &'static str, sql: &'static str| -> Job {
            let told = told.clone();
            Box::new(move |turn| {
                let done = turn.map(|(_, connection)| connection.execute_batch(sql));
                Done {
                    keep: matches!(done, Some(Ok(()))),
                    tell: Box::new(move |failed| told.lock().unwrap().push((name, done.is_some(), failed.is_some()))),
                }
            })
        };
        let ok = "INSERT INTO t VALUES (1)";
        // What a full disk does: the whole transaction is gone, and its savepoints with it.
        let group = vec![job("one", ok), job("two", "ROLLBACK; SELECT nothing FROM nowhere"), job("three", ok)];
        commit_group(&connection, &mut state, group, &publish);
        let heard = std::mem::take(&mut *told.lock().unwrap());
        assert_eq!(heard, [("one", true, true), ("two", true, true), ("three", false, true)]);
        commit_group(&connection, &mut state, vec![job("four", ok)], &publish);
        assert_eq!(*told.lock().unwrap(), [("four", true, false)]);
    }
}
