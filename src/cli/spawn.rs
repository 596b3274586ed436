//! A server that a command starts for itself, as a child process on a folder of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::serve::END_WITH_INPUT;
use super::{CliError, Exit};
use crate::client::{Client, ClientError};
use crate::server::STORE_FILE;
use crate::simulate::Server;

/// How often it is looked whether it is ready.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How long it may take to be.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// What a server of the fleet's own has in place of the project's.
#[derive(Clone, Debug, Default)]
pub(super) struct Over {
    /// A copy of the server's store.
    pub(super) store: Option<PathBuf>,
    /// Copies of SQLite backends, by their names.
    pub(super) backends: Vec<(String, PathBuf)>,
}

/// The child. It is killed, and its folder removed, when this is dropped.
pub(super) struct Spawned {
    root: PathBuf,
    /// Whose overlay of `env:` it serves.
    env_name: Option<String>,
    over: Over,
    folder: tempfile::TempDir,
    child: Mutex<Child>,
}

impl Spawned {
    /// Starts it for the project at this root and waits until it is ready.
    pub(super) fn start(root: &Path, env_name: Option<&str>, over: Over) -> Result<Self, CliError> {
        let folder = tempfile::Builder::new().prefix("omctl-server-").tempdir().map_err(|error| failed(&error))?;
        if let Some(store) = &over.store {
            let data = folder.path().join("data");
            let copied = std::fs::create_dir(&data).and_then(|()| std::fs::copy(store, data.join(STORE_FILE)));
            copied.map_err(|error| failed(&error))?;
        }
        let child = launch(root, env_name, &over, folder.path())?;
        let (root, env_name) = (root.to_owned(), env_name.map(str::to_owned));
        Ok(Self { root, env_name, over, folder, child: Mutex::new(child) })
    }

    fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

impl Server for Spawned {
    fn connect(&self) -> Result<Client, ClientError> {
        Client::of_data_dir(&self.data_dir())
    }

    fn restart(&self) -> Result<(), String> {
        let mut child = self.child.lock().map_err(|_| "an earlier restart broke off".to_owned())?;
        child.kill().and_then(|()| child.wait()).map_err(|error| error.to_string())?;
        *child = launch(&self.root, self.env_name.as_deref(), &self.over, self.folder.path())
            .map_err(|error| error.message)?;
        Ok(())
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        if let Ok(child) = self.child.get_mut()
            && let Err(error) = child.kill().and_then(|()| child.wait())
        {
            tracing::debug!(%error, "the server had ended");
        }
    }
}

fn failed(error: &dyn std::fmt::Display) -> CliError {
    CliError::new(Exit::Failed, "spawn", format!("a server for the fleet cannot be started: {error}"))
}

/// Starts `omctl serve` and comes back when it is ready. What it logs is in `server.log` of the folder.
fn launch(root: &Path, env_name: Option<&str>, over: &Over, folder: &Path) -> Result<Child, CliError> {
    let omctl = std::env::current_exe().map_err(|error| failed(&error))?;
    let (log, said) = (folder.join("server.log"), folder.join("server.out"));
    let file = |path: &Path, append: bool| {
        let opened = std::fs::File::options().create(true).write(true).append(append).truncate(!append).open(path);
        opened.map_err(|error| failed(&error))
    };
    let mut child = Command::new(omctl)
        .arg("-C")
        .arg(root)
        .args(["serve", "--json", "--no-watch", "--addr", "127.0.0.1:0", "--data-dir"])
        .arg(folder.join("data"))
        .args(env_name.map(|name| format!("--env={name}")))
        .args(over.backends.iter().map(|(name, file)| format!("--backend-file={name}={}", file.display())))
        .env(END_WITH_INPUT, "1")
        // The other end is ours: however this process ends, the server hears of it.
        .stdin(Stdio::piped())
        .stdout(file(&said, false)?)
        .stderr(file(&log, true)?)
        .spawn()
        .map_err(|error| failed(&error))?;
    let began = Instant::now();
    let ended = loop {
        // Its first line says that it is ready.
        if std::fs::read(&said).is_ok_and(|said| said.contains(&b'\n')) {
            return Ok(child);
        }
        match child.try_wait() {
            Ok(None) if began.elapsed() > READY_WITHIN => {
                child.kill().and_then(|()| child.wait()).map_err(|error| failed(&error))?;
                return Err(failed(&format!("it was not ready within {} s", READY_WITHIN.as_secs())));
            }
            Ok(None) => std::thread::sleep(LOOK_EVERY),
            ended => break ended,
        }
    };
    ended.map_err(|error| failed(&error))?;
    // It ended before it was ready, and its last line says why.
    let told = std::fs::read_to_string(&log).unwrap_or_default();
    let last = told.lines().last().unwrap_or_default();
    let message = serde_json::from_str::<serde_json::Value>(last)
        .ok()
        .and_then(|line| line.get("message").and_then(|text| text.as_str()).map(str::to_owned));
    Err(failed(&message.unwrap_or_else(|| last.to_owned())))
}
