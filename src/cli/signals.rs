//! SIGINT and SIGTERM.

use super::{CliError, Exit};

/// The signals that end a server.
pub(super) struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    /// From now on they end nothing by themselves.
    ///
    /// # Errors
    /// Those of the system.
    #[cfg(unix)]
    pub(super) fn listen() -> Result<Self, CliError> {
        use tokio::signal::unix::{SignalKind, signal};
        let on = |kind| {
            signal(kind)
                .map_err(|error| CliError::new(Exit::Failed, "io", format!("cannot listen to signals: {error}")))
        };
        Ok(Self { terminate: on(SignalKind::terminate())?, interrupt: on(SignalKind::interrupt())? })
    }

    /// The next one, as the exit that it asks for.
    #[cfg(unix)]
    pub(super) async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.terminate.recv() => Exit::Terminated,
            _ = self.interrupt.recv() => Exit::Interrupted,
        }
    }

    /// From now on they end nothing by themselves.
    ///
    /// # Errors
    /// Those of the system.
    #[cfg(not(unix))]
    pub(super) fn listen() -> Result<Self, CliError> {
        Ok(Self {})
    }

    /// The next one, as the exit that it asks for.
    #[cfg(not(unix))]
    pub(super) async fn next(&mut self) -> Exit {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Exit::Interrupted,
            // Nothing can tell it to end but the system itself.
            Err(_) => std::future::pending().await,
        }
    }
}
