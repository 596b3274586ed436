//! What is asked of the project: its files, its store, its server, its backends.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::super::holder::holder_of;
use super::super::remote::from_project;
use super::super::serve::stopping;
use super::super::{Cli, environment, judge};
use super::Check;
use crate::backend::{Backend, Delivery};
use crate::catalog::{self, Catalog, ServerDecl, Severity};
use crate::client::{self, Client, ClientError};
use crate::config::{FromFlags, Settings, env_name};
use crate::{live, server};

/// How long one backend may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A project and its settings.
pub(super) struct Found {
    settings: Settings,
    /// `None` where its files have mistakes.
    catalog: Option<Catalog>,
}

impl Found {
    pub(super) fn data_dir(&self) -> &Path {
        &self.settings.data_dir.value
    }
}

/// Finds the project and loads it. `None` where there is nothing further to look at.
pub(super) fn find(cli: &Cli, env: Option<&str>, checks: &mut Vec<Check>) -> Option<Found> {
    let root = match cli.root() {
        Ok(root) => root,
        Err(error) => {
            checks.push(Check::fail("project", error.message, error.hint.unwrap_or_default()));
            return None;
        }
    };
    let catalog = load(&root, env, checks);
    let declared = catalog.as_ref().map_or_else(ServerDecl::default, |catalog| catalog.server.clone());
    let flags = FromFlags { env_name: env.map(str::to_owned), ..FromFlags::default() };
    match Settings::resolve(&root, from_project(declared), &environment, flags) {
        Ok(settings) => Some(Found { settings, catalog }),
        Err(error) => {
            checks.push(Check::fail("settings", error.to_string(), error.hint()));
            None
        }
    }
}

fn load(root: &Path, env: Option<&str>, checks: &mut Vec<Check>) -> Option<Catalog> {
    let chosen = env_name(&environment, env).value;
    let loaded = catalog::load(root, &environment, Some(&chosen)).and_then(|(catalog, warnings)| {
        let wrong = live::diagnose(&catalog);
        judge(catalog, warnings, wrong)
    });
    match loaded {
        Ok((catalog, warnings)) => {
            let text = format!("{} in `{}`, {} channels", catalog.name, root.display(), catalog.channels.len());
            checks.push(match warnings.len() {
                0 => Check::ok("project", text),
                many => Check::warn("project", format!("{text}, {many} warnings"), "see them: omctl check"),
            });
            Some(catalog)
        }
        Err(found) => {
            let errors = found.iter().filter(|one| one.severity == Severity::Error);
            let first = found.first().map(|one| format!("{}: {}", one.place, one.message)).unwrap_or_default();
            let text = format!("{} errors; the first: {first}", errors.count());
            checks.push(Check::fail("project", text, "see all: omctl check"));
            None
        }
    }
}

/// The store opens and its pages are sound.
pub(super) fn store(data_dir: &Path, checks: &mut Vec<Check>) {
    checks.push(match server::health::examine_store(data_dir) {
        Ok(None) => Check::ok("store", "none yet"),
        Ok(Some(found)) => match found.damage {
            None => Check::ok("store", format!("sound, schema {} of {}", found.schema, server::health::STORE_SCHEMA)),
            Some(damage) => Check::fail(
                "store",
                format!("damaged: {damage}"),
                "put a snapshot back: omctl db list, omctl db restore",
            ),
        },
        Err(error @ server::ServerError::Newer(_)) => {
            Check::fail("store", error.to_string(), "use the newer omctl, or another --data-dir")
        }
        Err(error) => Check::fail("store", error.to_string(), "put a snapshot back: omctl db list, omctl db restore"),
    });
}

/// A server runs and is well, or could start.
pub(super) async fn server(found: &Found, checks: &mut Vec<Check>) {
    let file = match client::server_file(found.data_dir()) {
        Ok(file) => file,
        Err(ClientError::NoServer { .. }) => {
            checks.push(Check::ok("server", "none runs; start one: omctl serve"));
            return port(&found.settings, checks);
        }
        Err(error) => {
            checks.push(Check::warn("server", error.to_string(), "start the server again: omctl serve"));
            return;
        }
    };
    let place = format!("pid {} at {}, version {}", file.pid, file.addr, file.version);
    let asked = match Client::of_data_dir(found.data_dir()) {
        Ok(client) => client.ready().await,
        Err(error) => Err(error),
    };
    checks.push(match asked {
        Ok(health) if health.status == "ok" && file.version == env!("CARGO_PKG_VERSION") => Check::ok("server", place),
        Ok(health) if health.status == "ok" => {
            Check::warn("server", format!("{place}; this is another version"), "start it again with this omctl")
        }
        Ok(health) => Check::warn("server", format!("{place}: {}", health.status), "wait until it has stopped"),
        Err(ClientError::Unreachable { .. }) => Check::warn(
            "server",
            format!("{place} does not answer: it was killed, or hangs"),
            format!("look whether it lives: ps -p {}; then start one: omctl serve", file.pid),
        ),
        Err(error) => Check::fail("server", format!("{place}: {error}"), "look at its log"),
    });
}

/// Nobody else listens where the server would.
fn port(settings: &Settings, checks: &mut Vec<Check>) {
    let addr = settings.addr.value;
    if let Err(error) = settings.may_be_plain() {
        checks.push(Check::warn("port", error.to_string(), error.hint()));
    }
    let other = "take another port: omctl serve --addr 127.0.0.1:0";
    checks.push(match server::health::try_port(addr) {
        Ok(()) => Check::ok("port", format!("{addr} is free")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => match holder_of(addr) {
            Some(holder) => Check::fail(
                "port",
                format!("{addr} is taken by `{}` (pid {})", holder.program, holder.pid),
                stopping(holder.pid, &holder.program, other),
            ),
            None => Check::fail("port", format!("{addr} is taken by another program"), other),
        },
        Err(error) => Check::fail("port", format!("nobody can listen on {addr}: {error}"), other),
    });
}

/// Every backend answers, and its channels find what they declare.
pub(super) async fn backends(found: &Found, checks: &mut Vec<Check>) {
    let Some(catalog) = &found.catalog else { return };
    for (name, decl) in &catalog.backends {
        let label = format!("backend {name}");
        let hint = "correct `backends:` in openmobster.yaml, or start what it names";
        match server::health::backend(name, decl) {
            Ok(backend) => {
                let before = checks.len();
                channels(catalog, name, &backend, checks).await;
                let failed = checks[before..].iter().any(|check| check.status == super::Status::Fail);
                let answer = if failed { "opened; see its channels" } else { "reachable" };
                checks.insert(before, Check::ok(label, answer));
            }
            Err(error) => checks.push(Check::fail(label, error.to_string(), hint)),
        }
    }
}

async fn channels(catalog: &Catalog, name: &str, backend: &Arc<dyn Backend>, checks: &mut Vec<Check>) {
    for channel in catalog.channels.values().filter(|channel| channel.backend == name) {
        let label = format!("channel {}", channel.name);
        let collection = live::collection(catalog, channel);
        let probed = tokio::time::timeout(ANSWER_WITHIN, backend.probe(&collection)).await;
        checks.push(match probed {
            Ok(Ok(probe)) if !probe.missing.is_empty() => Check::fail(
                label,
                format!("lacks {}", probe.missing.join(", ")),
                format!("correct {} or the table", channel.file.display()),
            ),
            Ok(Ok(probe)) => {
                let text =
                    format!("{} rows, {}, changes by {}", probe.rows, probe.delivery.word(), probe.detection.word());
                match probe.delivery {
                    Delivery::ExactlyOnce => Check::ok(label, text),
                    Delivery::BestEffort => {
                        Check::warn(label, text, format!("for exactly_once: omctl channel install {}", channel.name))
                    }
                }
            }
            Ok(Err(error)) => {
                Check::fail(label, error.to_string(), "correct `backends:` in openmobster.yaml, or start what it names")
            }
            Err(_) => Check::fail(label, format!("no answer within {ANSWER_WITHIN:?}"), "look at the backend itself"),
        });
    }
}
