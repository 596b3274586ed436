//! `openmobster.yaml`: version, name, server, backends and the overlays of `env:`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::channel::duration;
use super::keys;
use super::model::{BackendDecl, DevicesDecl, MANAGED, ServerDecl};
use super::near;
use super::read::Entries;
use super::secret::{self, Sources};
use super::yaml::{At, Kind, Node, Report};

/// The file that marks a project's root.
pub const PROJECT_FILE: &str = "openmobster.yaml";

/// The kinds of backends that are built.
pub(super) const BACKEND_KINDS: [&str; 1] = ["sqlite"];

/// The environment that needs no declaration.
const DEV: &str = "dev";

/// What the file says.
#[derive(Debug, Default)]
pub(super) struct Project {
    pub(super) name: String,
    pub(super) server: ServerDecl,
    pub(super) devices: DevicesDecl,
    /// Declared correctly.
    pub(super) backends: BTreeMap<String, BackendDecl>,
    /// Declared at all: a channel that names a faulty backend is not wrong for that.
    pub(super) backend_names: Vec<String>,
}

pub(super) fn project(node: &Node, sources: &Sources<'_>, env_name: Option<&str>, report: &mut Report) -> Project {
    let mut project = Project::default();
    secret::refuse_literals(node, report);
    let Some(entries) = report.map(node, "a project", keys::PROJECT) else { return project };
    version(&entries, report);
    project.name = match entries.get("name") {
        Some(node) => report.text(node, "`name`").unwrap_or_default().to_owned(),
        None => sources.root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
    };
    if let Some(node) = entries.get("server") {
        server(node, &mut project.server, report);
    }
    if let Some(node) = entries.get("devices") {
        project.devices.lease = lease(node, report);
    }
    if let Some(node) = entries.get("backends") {
        backends(node, sources, &mut project, report);
    }
    overlays(entries.entry("env"), env_name, &mut project.server, report);
    project
}

fn version(entries: &Entries<'_>, report: &mut Report) {
    let Some(node) = entries.get("version") else {
        return report.missing(entries.at, "the project", "version", "add `version: 1`");
    };
    match &node.kind {
        Kind::Number(number) if number == "1" => {}
        Kind::Number(number) => {
            let message = format!("this omctl reads version 1 of the project file, not {number}");
            report.error(node.at, "unsupported_version", message).with_hint("use a newer omctl, or `version: 1`");
        }
        _ => {
            let _none: Option<()> = report.wrong_kind(node, "`version`", "a number");
        }
    }
}

fn server(node: &Node, server: &mut ServerDecl, report: &mut Report) {
    let Some(entries) = report.map(node, "`server`", keys::SERVER) else { return };
    if let Some(node) = entries.get("addr")
        && let Some(text) = report.text(node, "`addr`")
    {
        if text.parse::<SocketAddr>().is_err() {
            report
                .error(node.at, "bad_value", format!("`{text}` is not an address with a port"))
                .with_hint("for example 127.0.0.1:7400");
        }
        server.addr = Some(text.to_owned());
    }
    if let Some(node) = entries.get("data_dir") {
        server.data_dir = report.text(node, "`data_dir`").map(PathBuf::from);
    }
    if let Some(node) = entries.get("hosts")
        && let Some(hosts) = report.texts(node, "`hosts`")
    {
        for (at, host) in &hosts {
            if !is_host(host) {
                report
                    .error(*at, "bad_value", format!("`{host}` is not the name of a host"))
                    .with_hint("the name alone, as in app.example.com: no scheme, no port");
            }
        }
        server.hosts = hosts.into_iter().map(|(_, host)| host).collect();
    }
    if let Some(node) = entries.get("trusted_proxies")
        && let Some(proxies) = report.texts(node, "`trusted_proxies`")
    {
        for (at, proxy) in &proxies {
            if !is_network(proxy) {
                report
                    .error(*at, "bad_value", format!("`{proxy}` is not an address or network"))
                    .with_hint("for example 10.0.0.0/8");
            }
        }
        server.trusted_proxies = proxies.into_iter().map(|(_, proxy)| proxy).collect();
    }
}

/// A device must be able to hear from its server well within it.
const LEASE_MIN: Duration = Duration::from_secs(60);

fn lease(node: &Node, report: &mut Report) -> Option<Duration> {
    let entries = report.map(node, "`devices`", keys::DEVICES)?;
    let node = entries.get("lease")?;
    let text = report.text(node, "`lease`")?;
    match duration(text) {
        Some(lease) if lease >= LEASE_MIN => Some(lease),
        Some(_) => {
            report
                .error(node.at, "bad_value", "`lease` is shorter than a minute")
                .with_hint("days are usual: a device that is offline for longer locks itself");
            None
        }
        None => {
            report
                .error(node.at, "bad_value", format!("`{text}` is not a duration"))
                .with_hint("a number with s, m, h or d: 30d");
            None
        }
    }
}

fn is_host(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.len() <= 63 && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

fn is_network(text: &str) -> bool {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let most = if address.is_ipv4() { 32 } else { 128 };
    bits.is_none_or(|bits| bits.parse::<u8>().is_ok_and(|bits| bits <= most))
}

fn backends(node: &Node, sources: &Sources<'_>, project: &mut Project, report: &mut Report) {
    let Some(entries) = report.open_map(node, "`backends`") else { return };
    for (key, node) in entries {
        if key.text == MANAGED {
            report
                .error(key.at, "reserved_name", "`managed` is always there and is not declared")
                .with_hint("choose another name, or remove it: channels may say `backend: managed` without it");
            continue;
        }
        if !is_name(&key.text) {
            report
                .error(key.at, "bad_name", format!("`{}` cannot name a backend", key.text))
                .with_hint("letters, digits, `_` and `-`, beginning with a letter");
        }
        project.backend_names.push(key.text.clone());
        if let Some(backend) = backend(node, key.at, sources, report) {
            project.backends.insert(key.text.clone(), backend);
        }
    }
}

fn is_name(text: &str) -> bool {
    text.len() <= 63
        && text.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-')
}

fn backend(node: &Node, at: At, sources: &Sources<'_>, report: &mut Report) -> Option<BackendDecl> {
    let entries = report.open_map(node, "a backend")?;
    let Some((_, kind)) = entries.iter().find(|(key, _)| key.text == "kind") else {
        report.missing(at, "the backend", "kind", "add `kind: sqlite`");
        return None;
    };
    // The kind decides which other keys there are, so it is read before they are judged.
    report.word(kind, "backend kind", "unknown_kind", &BACKEND_KINDS.map(|kind| (kind, ())))?;
    let entries = report.map(node, "an sqlite backend", keys::SQLITE)?;
    let Some(path) = entries.get("path") else {
        report.missing(at, "the backend", "path", "add `path: data/file.db`");
        return None;
    };
    let text = report.text(path, "`path`")?;
    let filled = sources.fill(text, path.at, report)?;
    Some(BackendDecl::Sqlite { path: sources.root.join(filled) })
}

/// Checks every overlay, applies the chosen one.
fn overlays(env: Option<(At, &Node)>, chosen: Option<&str>, server_decl: &mut ServerDecl, report: &mut Report) {
    let mut names = vec![DEV];
    if let Some((_, node)) = env
        && let Some(entries) = report.open_map(node, "`env`")
    {
        for (key, node) in entries {
            names.push(&key.text);
            let Some(overlay) = report.map(node, "an environment", keys::OVERLAY) else { continue };
            let Some(node) = overlay.get("server") else { continue };
            let mut unused = ServerDecl::default();
            server(node, if chosen == Some(&*key.text) { server_decl } else { &mut unused }, report);
        }
    }
    if let Some(chosen) = chosen
        && !names.contains(&chosen)
    {
        let at = env.map_or(At::FILE, |(at, _)| at);
        report
            .error(at, "unknown_env", format!("no environment `{chosen}` is declared"))
            .maybe_hint(near::hint(chosen, names.iter().copied()));
    }
}
