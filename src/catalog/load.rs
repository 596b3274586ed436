//! Reads a project folder: every file, every mistake, at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use omctl_protocol::{ChannelName, FieldType};

use super::channel::{Loaded, channel};
use super::model::{Catalog, Channel, Diagnostic, Scenario};
use super::near;
use super::project::{PROJECT_FILE, Project, project};
use super::scenario::{self, SCENARIOS_DIR, is_scenario_name};
use super::secret::Sources;
use super::yaml::{self, At, Report};

/// The folder of the channels' files.
pub const CHANNELS_DIR: &str = "channels";

/// Loads the project at `root`. `env` looks up the variables that `${env:NAME}` names; `env_name` chooses the overlay.
/// With the catalog come its warnings, and the mistakes in seeds and scenarios, which are left out of it.
///
/// # Errors
/// Every diagnostic of every file, warnings too, in the order of files and places, when at least one of them
/// [holds up](Diagnostic::holds_up) the rest.
pub fn load(
    root: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    env_name: Option<&str>,
) -> Result<(Catalog, Vec<Diagnostic>), Vec<Diagnostic>> {
    let sources = Sources { root, env };
    let mut report = Report::new(PROJECT_FILE);
    if !root.join(PROJECT_FILE).is_file() {
        report
            .error(At::FILE, "no_project", format!("there is no {PROJECT_FILE} in `{}`", root.display()))
            .with_hint("make one: omctl new NAME");
        return Err(report.found);
    }
    let project = match yaml::read(root, &mut report) {
        Some(node) => project(&node, &sources, env_name, &mut report),
        None => Project::default(),
    };
    // What an unreadable project file declares is unknown: channels are not blamed for it.
    let backends_known = !report.has_errors() || !project.backend_names.is_empty();
    let mut found = report.found;

    let files = channel_files(root, &mut found);
    let files = files.into_iter().map(|(stem, file)| (ChannelName::from(stem), file)).collect::<Vec<_>>();
    let mut channels = BTreeMap::new();
    for (name, file) in &files {
        let mut report = Report::new(file);
        let loaded = yaml::read(root, &mut report)
            .and_then(|node| channel(name, &node, backends_known.then_some(&project.backend_names), &mut report));
        found.append(&mut report.found);
        channels.insert(name.clone(), loaded);
    }
    check_references(&channels, &mut found);
    let scenarios = scenarios(root, &channels, &mut found);

    let complete: BTreeMap<ChannelName, Arc<Channel>> = (channels.iter())
        .filter_map(|(name, loaded)| Some((name.clone(), Arc::new(loaded.as_ref()?.channel.clone()))))
        .collect();
    // A channel with mistakes would make its seed look wrong too.
    let whole = complete.len() == channels.len();
    let seed = if whole { super::seed::load(root, &complete, &mut found) } else { Vec::new() };

    found.sort_by(|a, b| a.place.cmp(&b.place));
    if found.iter().any(Diagnostic::holds_up) {
        return Err(found);
    }
    let Project { name, server, devices, backends, .. } = project;
    Ok((Catalog { root: root.to_owned(), name, backends, channels: complete, seed, scenarios, server, devices }, found))
}

/// What is wrong with the text of a channel that would join the catalog.
pub fn judge_channel(catalog: &Catalog, name: &ChannelName, text: &str) -> Vec<Diagnostic> {
    read_channel(catalog, name, text).1
}

/// A channel that would join the catalog, of its text, and what is wrong with that. No channel, where key or fields cannot
/// be told; one with mistakes is not to be served.
pub fn read_channel(catalog: &Catalog, name: &ChannelName, text: &str) -> (Option<Channel>, Vec<Diagnostic>) {
    let mut report = Report::new(Path::new(CHANNELS_DIR).join(format!("{name}.yaml")));
    let backends: Vec<String> = catalog.backends.keys().cloned().collect();
    let loaded = yaml::parse(text, &mut report).and_then(|node| channel(name, &node, Some(&backends), &mut report));
    let mut found = report.found;
    let known = |one: &Arc<Channel>| Some(Loaded { channel: Channel::clone(one), references: Vec::new() });
    let mut channels: BTreeMap<_, _> = catalog.channels.iter().map(|(name, one)| (name.clone(), known(one))).collect();
    channels.insert(name.clone(), loaded);
    check_references(&channels, &mut found);
    (channels.remove(name).flatten().map(|loaded| loaded.channel), found)
}

/// The channels' names and files, in the order of their names.
fn channel_files(root: &Path, found: &mut Vec<Diagnostic>) -> Vec<(String, PathBuf)> {
    let rule = "lower-case letters, digits and `_`, beginning with a letter, not with om_, backend_ or sqlite_";
    files(root, CHANNELS_DIR, "channel", (ChannelName::is_valid, rule), found)
}

fn scenarios(
    root: &Path,
    channels: &BTreeMap<ChannelName, Option<Loaded>>,
    found: &mut Vec<Diagnostic>,
) -> BTreeMap<String, Arc<Scenario>> {
    let rule = "lower-case letters, digits, `-` and `_`, beginning with a letter or digit";
    let mut scenarios = BTreeMap::new();
    for (name, file) in files(root, SCENARIOS_DIR, "scenario", (is_scenario_name, rule), found) {
        let mut report = Report::new(&file);
        let read = yaml::read(root, &mut report);
        if let Some(scenario) = read.and_then(|node| scenario::scenario(&name, &node, channels, &mut report)) {
            scenarios.insert(name, Arc::new(scenario));
        }
        found.append(&mut report.found);
    }
    scenarios
}

/// The names and files of a folder of which each file is a `what`, in the order of the names.
fn files(
    root: &Path,
    folder: &str,
    what: &str,
    (is_name, rule): (fn(&str) -> bool, &str),
    found: &mut Vec<Diagnostic>,
) -> Vec<(String, PathBuf)> {
    let mut report = Report::new(folder);
    let mut files = Vec::new();
    let entries = match std::fs::read_dir(root.join(folder)) {
        Ok(entries) => entries,
        // A project without channels is a young one.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return files,
        Err(error) => {
            report.error(At::FILE, "unreadable", format!("the folder cannot be read: {}", error.kind()));
            found.append(&mut report.found);
            return files;
        }
    };
    for entry in entries.flatten() {
        let file = Path::new(folder).join(entry.file_name());
        let text = entry.file_name().to_string_lossy().into_owned();
        // Editors leave hidden files and backups beside the real ones.
        if text.starts_with('.') {
            continue;
        }
        let mut report = Report::new(&file);
        match text.rsplit_once('.') {
            Some((stem, "yaml")) if is_name(stem) => files.push((stem.to_owned(), file)),
            Some((stem, "yaml")) => report
                .error(At::FILE, "bad_file_name", format!("`{stem}` cannot name a {what}"))
                .with_hint(format!("{}{rule}", near_name(stem, is_name))),
            Some((stem, extension)) if ["yaml", "yml"].contains(&extension.to_lowercase().as_str()) => report
                .error(At::FILE, "bad_file_name", format!("a {what}'s file ends in `.yaml`"))
                .with_hint(format!("rename it to {stem}.yaml")),
            _ if entry.path().is_dir() => report
                .warning(At::FILE, "ignored_folder", format!("folders within {folder}/ are not read"))
                .with_hint(format!("put the files into {folder}/ itself")),
            _ => {}
        }
        found.append(&mut report.found);
    }
    files.sort();
    files
}

/// A valid name that is like an invalid one, as the beginning of a hint.
fn near_name(stem: &str, is_name: fn(&str) -> bool) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let near: String = stem.chars().map(letter).collect();
    if is_name(&near) { format!("for example {near}.yaml: ") } else { String::new() }
}

/// Every `to:` must name a channel whose key is one column.
fn check_references(channels: &BTreeMap<ChannelName, Option<Loaded>>, found: &mut Vec<Diagnostic>) {
    for loaded in channels.values().flatten() {
        let mut report = Report::new(&loaded.channel.file);
        for (at, field) in &loaded.references {
            let Some((_, field)) = loaded.channel.schema.field(field) else { continue };
            let Some(to) = field.to.as_ref().filter(|_| field.kind == FieldType::Ref) else { continue };
            match channels.get(to) {
                None => {
                    report
                        .error(*at, "unknown_channel", format!("there is no channel `{to}`"))
                        .maybe_hint(near::hint(to.as_str(), channels.keys().map(ChannelName::as_str)));
                }
                Some(Some(target)) if target.channel.schema.key.columns.len() > 1 => {
                    report
                        .error(*at, "bad_reference", format!("the key of `{to}` has several columns"))
                        .with_hint("a ref points to a single-column key: use the column's plain type instead");
                }
                // A target with mistakes of its own has said so already.
                Some(_) => {}
            }
        }
        found.append(&mut report.found);
    }
}
