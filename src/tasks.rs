//! Every spawned task: it has a name, watches a token and is waited for at the end. No orphans.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

/// The tasks of one server (or one fleet). Cheap to clone; clones share the tasks.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    token: CancellationToken,
}

impl Tasks {
    /// No tasks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tasks that end with these, or earlier by their own [`Tasks::stop`].
    pub fn child(&self) -> Self {
        Self { tracker: TaskTracker::new(), token: self.token.child_token() }
    }

    /// Spawns a task that is dropped at its next await once [`Tasks::stop`] was called. What must not be dropped
    /// half-way watches [`Tasks::token`] itself: use [`Tasks::start_draining`].
    pub fn start(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let token = self.token.clone();
        self.start_draining(name, async move {
            let _ended = token.run_until_cancelled(task).await;
        });
    }

    /// Spawns a task that ends by itself some time after the token was cancelled.
    pub fn start_draining(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        // No parent: a task outlives whoever started it.
        let span = tracing::info_span!(parent: None, "task", task = name);
        #[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
        let _handle = tokio::spawn(self.tracker.track_future(task.instrument(span)));
    }

    /// Runs blocking work off the async threads.
    ///
    /// # Panics
    /// If the work panics: the panic goes on in the caller.
    pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        match tokio::task::spawn_blocking(work).await {
            Ok(value) => value,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Cancelled when everything is to end.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Asks all tasks to end and waits for them, at most this long. Returns whether all ended.
    pub async fn stop(&self, at_most: Duration) -> bool {
        self.token.cancel();
        self.tracker.close();
        tokio::time::timeout(at_most, self.tracker.wait()).await.is_ok()
    }
}
