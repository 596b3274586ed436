//! A device's app as the fleet drives it: the client library in this process, or in a child process that can be killed.
//!
//! Both take the same orders ([`Ask`]). A child reads them from its standard input, one JSON line each, and ends when that
//! closes, so that no child outlives its fleet.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use omctl_device::{ConnectionState, Credentials, Entropy, Mobster, MobsterError};
use omctl_protocol::{ChannelName, ChannelSchema};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::process::{Child as Process, ChildStdin, Command};
use tokio::sync::{mpsc, oneshot, watch};

use super::receipts;
use crate::tasks::Tasks;

/// How long a child may take to end when it was told to.
const END_WITHIN: std::time::Duration = std::time::Duration::from_secs(5);

const UNPOISONED: &str = "nobody panics while holding this lock";

/// What an app is told to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ask {
    /// Bind the file to a device.
    Activate { url: String, code: String },
    /// Go to the server by another way.
    UseServer { url: String },
    /// Whether it was activated before: [`Answer::Truth`].
    IsActivated,
    /// Which channels it has tables for: [`Answer::Channels`].
    Channels,
    /// Make the views that name the backend's columns.
    Views,
    /// How many writes have no receipt: [`Answer::Count`].
    Pending,
    /// Do these in one local transaction.
    Write { statements: Vec<Statement>, atomic: bool },
    /// Be so many milliseconds ahead of the system's clock.
    Ahead(i64),
}

/// A statement of an app, with its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Statement {
    pub(super) sql: String,
    pub(super) parameters: Vec<Parameter>,
}

/// A value as SQLite takes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Parameter {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

impl rusqlite::ToSql for Parameter {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        use rusqlite::types::{ToSqlOutput, ValueRef};
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// What an app answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Done,
    Truth(bool),
    Count(u64),
    Channels(Vec<ChannelName>),
    /// Of each statement, whether it met a row.
    Changed(Vec<bool>),
}

/// Why an app did not do it.
#[derive(Clone, Debug, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub(super) struct AppError {
    pub(super) message: String,
    /// The server was not reached.
    pub(super) unreachable: bool,
    /// The app ended before it answered: nobody can tell whether it was done.
    pub(super) gone: bool,
}

impl AppError {
    fn gone() -> Self {
        Self { message: "the app ended before it answered".to_owned(), unreachable: false, gone: true }
    }
}

impl From<MobsterError> for AppError {
    fn from(error: MobsterError) -> Self {
        let unreachable = matches!(error, MobsterError::Unreachable { .. });
        let mut message = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Self { message, unreachable, gone: false }
    }
}

impl From<io::Error> for AppError {
    fn from(error: io::Error) -> Self {
        Self { message: error.to_string(), unreachable: false, gone: false }
    }
}

/// An app with its file open.
pub(super) enum App {
    /// In this process.
    Here(Here),
    /// In a process of its own.
    There(Box<There>),
}

/// The client library, and how wrong its clock is.
pub(super) struct Here {
    app: Mobster,
    ahead_ms: Arc<AtomicI64>,
}

impl Here {
    fn open(path: &Path, name: &str) -> Result<Self, MobsterError> {
        let ahead_ms = Arc::new(AtomicI64::new(0));
        let entropy = Entropy::Shifted { ahead_ms: ahead_ms.clone() };
        let app = Mobster::builder(path).device(name, "simulated").entropy(entropy).open()?;
        Ok(Self { app, ahead_ms })
    }

    async fn obey(&self, ask: Ask) -> Result<Answer, AppError> {
        let app = &self.app;
        match ask {
            Ask::Activate { url, code } => app.activate(&url, Credentials::Code(code)).await?,
            Ask::UseServer { url } => app.use_server(&url).await?,
            Ask::IsActivated => return Ok(Answer::Truth(app.device().await?.is_some())),
            Ask::Channels => {
                let schemas: Vec<ChannelSchema> = app.schemas().await?;
                return Ok(Answer::Channels(schemas.into_iter().map(|schema| schema.channel).collect()));
            }
            Ask::Views => app.create_backend_views().await?,
            Ask::Pending => return Ok(Answer::Count(app.stats().await?.pending)),
            Ask::Write { statements, atomic } => {
                let run = move |tx: &rusqlite::Transaction<'_>| {
                    let execute = |Statement { sql, parameters }: &Statement| {
                        let changed = tx.prepare_cached(sql)?.execute(rusqlite::params_from_iter(parameters))?;
                        Ok(changed > 0)
                    };
                    statements.iter().map(execute).collect::<rusqlite::Result<Vec<bool>>>()
                };
                let (changed, _) = if atomic { app.atomic(run).await? } else { app.transaction(run).await? };
                return Ok(Answer::Changed(changed));
            }
            Ask::Ahead(ms) => self.ahead_ms.store(ms, Ordering::Relaxed),
        }
        Ok(Answer::Done)
    }
}

impl App {
    /// Opens the file in this process.
    pub(super) fn open_here(path: &Path, name: &str) -> Result<Self, AppError> {
        Ok(Self::Here(Here::open(path, name)?))
    }

    /// Starts a child that opens the file. `command` is a program with its first arguments.
    pub(super) fn open_there(command: &[OsString], path: &Path, name: &str, tasks: &Tasks) -> Result<Self, AppError> {
        Ok(Self::There(Box::new(There::start(command, path, name, tasks)?)))
    }

    pub(super) async fn ask(&self, ask: Ask) -> Result<Answer, AppError> {
        match self {
            Self::Here(here) => here.obey(ask).await,
            Self::There(there) => there.ask(ask).await,
        }
    }

    /// Does these in one local transaction, atomic or not; of each, whether it met a row.
    pub(super) async fn write(&self, statements: Vec<Statement>, atomic: bool) -> Result<Vec<bool>, AppError> {
        match self.ask(Ask::Write { statements, atomic }).await? {
            Answer::Changed(met) => Ok(met),
            _ => Ok(Vec::new()),
        }
    }

    /// How many writes have no receipt.
    pub(super) async fn pending(&self) -> Result<u64, AppError> {
        match self.ask(Ask::Pending).await? {
            Answer::Count(count) => Ok(count),
            _ => Ok(0),
        }
    }

    pub(super) fn state(&self) -> watch::Receiver<ConnectionState> {
        match self {
            Self::Here(here) => here.app.state(),
            Self::There(there) => there.state.subscribe(),
        }
    }

    /// Whether it can be killed as a phone kills it.
    pub(super) fn is_process(&self) -> bool {
        matches!(self, Self::There(_))
    }

    /// Ends it as its user would, and comes back when nothing of it runs any more.
    pub(super) async fn close(&self) {
        match self {
            Self::Here(here) => here.app.close(),
            Self::There(there) => there.end(false).await,
        }
    }

    /// Ends it without a word: by SIGKILL where it is a process of its own. In this process it is dropped, which is as
    /// sudden for the server and not for the file.
    pub(super) async fn kill(&self) {
        match self {
            Self::Here(here) => here.app.close(),
            Self::There(there) => there.end(true).await,
        }
    }
}

/// A child process with an app in it.
pub(super) struct There {
    process: tokio::sync::Mutex<Process>,
    orders: Mutex<Option<mpsc::UnboundedSender<String>>>,
    waiting: Arc<Mutex<Waiting>>,
    number: AtomicU64,
    state: watch::Sender<ConnectionState>,
}

/// Who waits for which answer; `None` once the child is gone.
type Waiting = Option<HashMap<u64, oneshot::Sender<Result<Answer, AppError>>>>;

/// A line to a child.
#[derive(Serialize, Deserialize)]
struct Order {
    n: u64,
    ask: Ask,
}

/// A line from a child.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Said {
    Answer { n: u64, result: Result<Answer, AppError> },
    State(String),
}

/// Every state with the word that a child says.
const STATES: [(&str, ConnectionState); 6] = [
    ("offline", ConnectionState::Offline),
    ("connecting", ConnectionState::Connecting),
    ("catching_up", ConnectionState::CatchingUp),
    ("live", ConnectionState::Live),
    ("held", ConnectionState::Held),
    ("needs_activation", ConnectionState::NeedsActivation),
];

impl There {
    fn start(command: &[OsString], path: &Path, name: &str, tasks: &Tasks) -> Result<Self, AppError> {
        let [program, first @ ..] = command else {
            return Err(io::Error::other("no command for a device's process").into());
        };
        let mut process = Command::new(program)
            .args(first)
            .arg(path)
            .arg(name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(io::Error::other("the child has no pipes").into());
        };
        let (orders, lines) = mpsc::unbounded_channel();
        let waiting: Arc<Mutex<Waiting>> = Arc::new(Mutex::new(Some(HashMap::new())));
        let state = watch::Sender::new(ConnectionState::Offline);
        tasks.start("device orders", write_lines(input, lines));
        let (answers, states) = (waiting.clone(), state.clone());
        tasks.start("device answers", async move {
            let mut said = BufReader::new(output).lines();
            while let Ok(Some(line)) = said.next_line().await {
                match serde_json::from_str(&line) {
                    Ok(Said::Answer { n, result }) => {
                        let asker = answers.lock().expect(UNPOISONED).as_mut().and_then(|all| all.remove(&n));
                        if let Some(asker) = asker {
                            // Whoever asked may have gone away.
                            drop(asker.send(result));
                        }
                    }
                    Ok(Said::State(word)) => {
                        if let Some((_, state)) = STATES.iter().find(|(known, _)| *known == word) {
                            states.send_replace(*state);
                        }
                    }
                    Err(error) => tracing::warn!(%error, "a device's process said something else"),
                }
            }
            // Dropping the askers tells them.
            answers.lock().expect(UNPOISONED).take();
            states.send_replace(ConnectionState::Offline);
        });
        Ok(Self {
            process: tokio::sync::Mutex::new(process),
            orders: Mutex::new(Some(orders)),
            waiting,
            number: AtomicU64::new(0),
            state,
        })
    }

    async fn ask(&self, ask: Ask) -> Result<Answer, AppError> {
        let n = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        let (asker, answer) = oneshot::channel();
        self.waiting.lock().expect(UNPOISONED).as_mut().ok_or_else(AppError::gone)?.insert(n, asker);
        let line = serde_json::to_string(&Order { n, ask }).map_err(io::Error::other)?;
        let orders = self.orders.lock().expect(UNPOISONED).clone();
        orders.ok_or_else(AppError::gone)?.send(line).map_err(|_| AppError::gone())?;
        answer.await.map_err(|_| AppError::gone())?
    }

    async fn end(&self, by_force: bool) {
        let mut process = self.process.lock().await;
        if by_force && let Err(error) = process.start_kill() {
            tracing::debug!(%error, "the device's process had ended");
        }
        self.orders.lock().expect(UNPOISONED).take();
        if tokio::time::timeout(END_WITHIN, process.wait()).await.is_err() {
            // It hangs.
            if let Err(error) = process.kill().await {
                tracing::debug!(%error, "the device's process had ended");
            }
        }
    }
}

async fn write_lines(mut input: ChildStdin, mut lines: mpsc::UnboundedReceiver<String>) {
    while let Some(line) = lines.recv().await {
        if input.write_all(format!("{line}\n").as_bytes()).await.is_err() {
            return;
        }
    }
}

/// What a child process does: opens the file and obeys until its input ends.
///
/// # Errors
/// Where the file cannot be opened, or the pipes break.
pub async fn obey(
    path: &Path,
    name: &str,
    input: impl AsyncBufRead + Unpin,
    output: impl AsyncWrite + Unpin + Send + 'static,
) -> io::Result<()> {
    let here = Arc::new(Here::open(path, name).map_err(io::Error::other)?);
    let (say, mut said) = mpsc::unbounded_channel::<Said>();
    let tasks = Tasks::new();
    let mut state = here.app.state();
    let tell = say.clone();
    tasks.start("state", async move {
        loop {
            let now = *state.borrow_and_update();
            let word = STATES.iter().find(|(_, known)| *known == now).map_or("offline", |(word, _)| word);
            if tell.send(Said::State(word.to_owned())).is_err() || state.changed().await.is_err() {
                return;
            }
        }
    });
    tasks.start("receipts", receipts::keep(path.to_owned()));
    let mut output = output;
    tasks.start("answers", async move {
        while let Some(line) = said.recv().await {
            let Ok(mut line) = serde_json::to_string(&line) else { continue };
            line.push('\n');
            if output.write_all(line.as_bytes()).await.is_err() || output.flush().await.is_err() {
                return;
            }
        }
    });
    let mut orders = input.lines();
    while let Some(line) = orders.next_line().await? {
        let Order { n, ask } = serde_json::from_str(&line).map_err(io::Error::other)?;
        let (here, say) = (here.clone(), say.clone());
        // An activation may take long; a write does not wait for it.
        tasks.start("order", async move {
            let result = here.obey(ask).await;
            drop(say.send(Said::Answer { n, result }));
        });
    }
    here.app.close();
    tasks.stop(std::time::Duration::from_millis(200)).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_keep_their_types_on_the_way_to_a_child() {
        let all = [
            Parameter::Null,
            Parameter::Integer(i64::MIN),
            Parameter::Real(1.0),
            Parameter::Text("1".into()),
            Parameter::Blob(vec![0, 255]),
        ];
        for one in all {
            let line = serde_json::to_string(&one).unwrap();
            assert_eq!(serde_json::from_str::<Parameter>(&line).unwrap(), one, "{line}");
        }
    }
}
