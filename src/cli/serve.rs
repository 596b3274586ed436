//! `omctl serve`: the server, until it is told to end.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use omctl_protocol::ChannelName;
use serde_json::json;
use tokio::sync::mpsc;

use super::holder::{Holder, holder_of};
use super::keys::{self, Key};
use super::lan::{Lan, show_code};
use super::reloads::Reminder;
use super::remote::from_project;
use super::signals::Signals;
use super::{Cli, CliError, Exit, environment, reloads};
use crate::backend::Delivery;
use crate::catalog::{self, BackendDecl, MANAGED};
use crate::clock::{Clock, Entropy};
use crate::config::{self, FromFlags, Settings};
use crate::limits;
use crate::live::{Home, Live, LiveChannel};
use crate::server::tls::TlsError;
use crate::server::{self, DataDirError, ProjectFiles, Running, ServerError, ServerSettings};
use crate::telemetry::{self, Keep, LogFormat};

/// The variable by which a fleet's own server is told to end when its standard input does: it must not outlive the fleet.
pub(super) const END_WITH_INPUT: &str = "OMCTL_END_WITH_INPUT";

/// How long the announcement waits for backends that are slow to say what they promise.
const PROBE_WITHIN: Duration = Duration::from_secs(2);

/// Serve the project to devices
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  omctl serve --addr 127.0.0.1:7400\n  omctl serve --lan")]
pub(super) struct Args {
    /// Where to listen
    #[arg(long, value_name = "ADDR:PORT")]
    addr: Option<String>,
    /// Where to keep accounts, devices and the state log
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Whose overlay of `env:` to use
    #[arg(long = "env", value_name = "NAME")]
    env_name: Option<String>,
    /// Do not make changes of the project's files live
    #[arg(long)]
    no_watch: bool,
    /// Use this file in place of a SQLite backend's own, for example a copy
    #[arg(long = "backend-file", value_name = "NAME=FILE", requires = "no_watch", value_parser = backend_file)]
    backend_files: Vec<(String, PathBuf)>,
    /// Let phones on this network in: TLS with a certificate of its own, whose pin is printed
    #[arg(long)]
    lan: bool,
    /// What to log, as `warn,omctl=debug`
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

/// `NAME=FILE`
fn backend_file(text: &str) -> Result<(String, PathBuf), String> {
    let (name, file) =
        text.split_once('=').filter(|(name, file)| !name.is_empty() && !file.is_empty()).ok_or("write NAME=FILE")?;
    let file = std::path::absolute(file).map_err(|error| error.to_string())?;
    Ok((name.to_owned(), file))
}

pub(super) fn run(cli: &Cli, args: Args) -> Result<Exit, CliError> {
    let root = cli.root()?;
    let mut catalog = cli.load(&root, args.env_name.as_deref())?;
    let Args { addr, data_dir, env_name, no_watch, backend_files, lan, log } = args;
    for (name, file) in backend_files {
        let known: Vec<String> = catalog.backends.keys().cloned().collect();
        let near = catalog::near_hint(&name, known.iter().map(String::as_str));
        match catalog.backends.get_mut(&name) {
            Some(BackendDecl::Sqlite { path }) => *path = file,
            None => {
                let hint = near.unwrap_or_else(|| format!("there is {}", known.join(", ")));
                let text = format!("--backend-file names no SQLite backend: `{name}`");
                return Err(CliError::new(Exit::Usage, "usage", text).hint(hint));
            }
        }
    }
    let files = ProjectFiles {
        root: root.clone(),
        env_name: config::env_name(&environment, env_name.as_deref()).value,
        environment: Arc::new(environment),
    };
    let flags = FromFlags { addr, data_dir, env_name, log };
    let settings = Settings::resolve(&root, from_project(catalog.server.clone()), &environment, flags)?;
    let lan = match lan {
        true => Some(Lan::choose(&settings)?),
        false => None,
    };
    if lan.is_none() {
        settings.may_be_plain()?;
    }
    let format = if cli.ui.is_json() { LogFormat::Json } else { LogFormat::Text };
    let keep = Keep {
        events: limits::LOG_EVENTS_KEPT,
        text_bytes: limits::LOG_TEXT_BYTES_MAX,
        now_ms: || Clock::System.now_ms(),
    };
    telemetry::start(Some(&settings.log.value), format, cli.ui.has_colour(), keep).map_err(|error| {
        CliError::new(Exit::Invalid, "bad_log", error.to_string()).hint("for example --log warn,omctl=debug")
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::new(Exit::Failed, "io", format!("no async runtime: {error}")))?;
    runtime.block_on(async {
        // Before the start, so that a signal during it is not lost.
        let signal = Signals::listen()?;
        let server = ServerSettings {
            addr: lan.map_or(settings.addr.value, |lan| lan.listen),
            data_dir: settings.data_dir.value.clone(),
            hosts: settings.hosts.value.iter().cloned().chain(lan.iter().map(|lan| host(lan.shown))).collect(),
            trusted_proxies: settings.trusted_proxies.value.clone(),
            tls: lan.map(Lan::addresses),
            in_development: files.env_name == config::DEFAULT_ENV
                && lan.is_none()
                && settings.addr.value.ip().is_loopback(),
        };
        let started = server::start(server, &catalog, Clock::System, Entropy::System).await;
        let running = started.map_err(|error| refused(cli, &root, error))?;
        announce(cli, &catalog.name, &running, &settings, lan).await;
        Ok(go_on(cli, &files, running, signal, (!no_watch, environment(END_WITH_INPUT).is_some())).await)
    })
}

/// What is live, where, what it promises, and what to do next. The server is ready before this looks.
async fn announce(cli: &Cli, name: &str, running: &Running, settings: &Settings, lan: Option<Lan>) {
    let live = running.live.current();
    let port = running.addr.port();
    let phone = lan.zip(running.pin);
    let url = match &phone {
        Some((lan, _)) => format!("https://{}", SocketAddr::new(lan.shown, port)),
        None => format!("http://{}", running.addr),
    };
    let probed = tokio::time::timeout(PROBE_WITHIN, deliveries(&live)).await.unwrap_or_default();
    let delivery = |channel: &LiveChannel| match channel.backend_name() {
        MANAGED => Some(Delivery::ExactlyOnce),
        _ => probed.get(channel.name()).copied(),
    };
    let mut text = format!("{name} is live at {url}");
    for channel in live.channels.values() {
        let home = match channel.backend_name() {
            MANAGED => MANAGED.to_owned(),
            backend => format!("{backend} {}", channel.decl.table),
        };
        let promise = delivery(channel).map_or("delivery not known yet", Delivery::word);
        text.push_str(&format!("\n  {:<24} {home}, {promise}; {}", channel.name().as_str(), channel.rule));
    }
    if let Some((lan, pin)) = &phone {
        text.push_str(&format!("\n{}", lan.text(port, pin)));
    }
    cli.ui.result(text, || {
        json!({
            "type": "ready", "lan": phone.as_ref().map(|(lan, pin)| lan.json(port, pin)), "schema": "omctl.serve/1", "project": name, "url": url, "pid": std::process::id(),
            "addr": running.addr.to_string(), "addr_origin": settings.addr.origin.to_string(),
            "data_dir": settings.data_dir.value.display().to_string(), "generation": live.generation,
            "channels": live.channels.values().map(|channel| json!({
                "name": channel.name(), "backend": channel.backend_name(), "table": channel.decl.table,
                "delivery": delivery(channel).map(Delivery::word), "scope": channel.rule.to_string(),
            })).collect::<Vec<_>>(),
        })
    });
    if let Some((lan, pin)) = &phone {
        show_code(cli, &lan.url(port, pin));
    }
    let weak = live.channels.values().filter(|channel| delivery(channel) == Some(Delivery::BestEffort)).count();
    if weak > 0 && !cli.ui.is_json() {
        cli.ui.warn(format!(
            "{weak} of {} channels are best_effort: a write may need to be compared after a crash",
            live.channels.len()
        ));
        cli.ui.note("exactly_once needs two tables in the database: omctl channel install --all");
    }
    cli.ui.next("in another terminal: omctl account add you@example.com");
}

/// What each channel's backend promises, as far as it answers.
async fn deliveries(live: &Live) -> BTreeMap<ChannelName, Delivery> {
    let mut found = BTreeMap::new();
    for channel in live.channels.values() {
        if let Home::Backend(backend, collection) = &channel.home
            && let Ok(probe) = backend.probe(collection).await
        {
            found.insert(channel.name().clone(), probe.delivery);
        }
    }
    found
}

/// Says what becomes of the project's files and does what keys ask for, until a signal; then drains. A second signal ends it
/// at once.
async fn go_on(
    cli: &Cli,
    files: &ProjectFiles,
    running: Running,
    mut signal: Signals,
    (watched, by_input): (bool, bool),
) -> Exit {
    let mut reloads = if watched { reloads::watch(cli, files, &running) } else { None };
    let mut keys = if by_input { keys::until_input_ends() } else { keys::listen(cli) };
    let (mut reminder, mut remind) = (Reminder::default(), tokio::time::interval(Reminder::EVERY));
    let first = loop {
        // All arms are cancel-safe.
        tokio::select! {
            first = signal.next() => break first,
            reload = next(&mut reloads) => {
                reloads::say(cli, &files.root, &reload);
                reminder.shown();
            }
            _ = remind.tick() => reminder.remind(cli, &running),
            key = next(&mut keys) => match key {
                Key::Quit => break Exit::Ok,
                Key::Reload => reloads::say(cli, &files.root, &running.reloader.reload(files).await),
                Key::Show => keys::show(cli, &running),
                Key::Help => keys::help(cli),
            },
        }
    };
    if !cli.ui.is_json() {
        cli.ui.note("stopping; once more to stop at once");
    }
    // Both arms are cancel-safe: an unfinished drain leaves what a crash would leave, and that is recovered.
    tokio::select! {
        drained = running.stop() => if drained { Exit::Ok } else { first },
        second = signal.next() => second,
    }
}

/// The next one, as long as any come.
async fn next<T>(from: &mut Option<mpsc::UnboundedReceiver<T>>) -> T {
    if let Some(receiver) = from {
        if let Some(one) = receiver.recv().await {
            return one;
        }
        *from = None;
    }
    std::future::pending().await
}

/// Only one of ours is known to end well.
pub(super) fn stopping(pid: u32, program: &str, other: &str) -> String {
    if program == "omctl" { format!("stop it: kill {pid}; or {other}") } else { other.to_owned() }
}

/// An address as `Host` names it.
fn host(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// Names whoever has the port, where the system tells.
fn port_taken(addr: SocketAddr) -> CliError {
    let taken = |message| CliError::new(Exit::Failed, "port_taken", message);
    let other = "choose another port: omctl serve --addr 127.0.0.1:0 takes a free one";
    match holder_of(addr) {
        Some(Holder { pid, program }) => taken(format!("{addr} is taken by `{program}` (pid {pid})"))
            .hint(stopping(pid, &program, other))
            .detail("pid", pid)
            .detail("program", program),
        None => taken(format!("another program listens on {addr}")).hint(other),
    }
}

fn refused(cli: &Cli, root: &Path, error: ServerError) -> CliError {
    let text = error.to_string();
    match error {
        ServerError::DataDir(DataDirError::Locked { pid, .. }) => {
            let stop =
                pid.map_or("stop the other server".to_owned(), |pid| format!("stop the other server: kill {pid}"));
            let locked =
                CliError::new(Exit::Exists, "locked", text).hint(format!("{stop}, or choose another --data-dir"));
            pid.map_or(locked.clone(), |pid| locked.detail("pid", pid))
        }
        ServerError::DataDir(DataDirError::Io { .. }) => CliError::new(Exit::Failed, "io", text),
        ServerError::Listen { addr, taken: true, .. } => port_taken(addr),
        ServerError::Listen { .. } => CliError::new(Exit::Failed, "cannot_listen", text),
        ServerError::Tls(TlsError::Key { .. }) => {
            CliError::new(Exit::Failed, "tls", text).hint("remove it to get a new one: phones then need the new pin")
        }
        ServerError::Tls(_) => CliError::new(Exit::Bug, "tls", text),
        ServerError::BadProxy(_) => CliError::new(Exit::Invalid, "bad_proxy", text)
            .hint("for example server: { trusted_proxies: [10.0.0.0/8] }"),
        ServerError::Newer(_) => {
            CliError::new(Exit::Exists, "newer_store", text).hint("use the newer omctl, or another --data-dir")
        }
        ServerError::Project(found) => {
            cli.ui.diagnostics(root, &found);
            let found: Vec<_> = found.iter().map(super::diagnostic_json).collect();
            CliError::new(Exit::Invalid, "invalid_project", text)
                .hint("correct the files and run: omctl check")
                .detail("diagnostics", found)
        }
        ServerError::Backend(_) => {
            CliError::new(Exit::Failed, "backend", text).hint("look at it: omctl channel probe --all")
        }
        ServerError::Store(_) | ServerError::Identity(_) | ServerError::Sync(_) => {
            CliError::new(Exit::Failed, "store", text)
        }
    }
}
