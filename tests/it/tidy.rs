//! Keeps the house in order: who may import whom, where SQL, printing and spawning live, what the phone's library drags
//! in. Each rule is a function over sources, and each has a small sample that breaks it, so that it can fail.
//!
//! `ARCHITECTURE.md` has the reasons. Whoever changes [`ROOMS`] changes the table there too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::source::{self, Source};

/// Rooms that every room may import, and that import nothing.
const GROUND: [&str; 5] = ["clock", "telemetry", "tasks", "limits", "planted"];

/// Every room with its floor and the rooms that it may import, besides [`GROUND`] and the protocol crate.
const ROOMS: &[(&str, u8, &[&str])] = &[
    ("clock", 0, &[]),
    ("telemetry", 0, &[]),
    ("tasks", 0, &[]),
    ("limits", 0, &[]),
    ("planted", 0, &[]),
    ("catalog", 0, &[]),
    ("rule", 0, &[]),
    ("script", 0, &[]),
    ("egress", 0, &[]),
    ("config", 0, &[]),
    ("scaffold", 0, &[]),
    ("client", 0, &["omctl_device"]),
    ("store", 1, &[]),
    ("backend", 1, &["catalog", "script", "rule", "egress"]),
    ("identity", 2, &["store", "egress"]),
    ("live", 2, &["catalog", "script", "backend", "rule"]),
    ("sync", 3, &["store", "live", "backend", "catalog", "identity", "script", "rule"]),
    ("push", 3, &["store", "identity", "egress", "live", "catalog", "rule", "script"]),
    ("rpc", 4, &["sync", "push", "store", "live", "catalog", "script", "identity", "egress"]),
    ("admin", 4, &["store", "live", "identity", "push", "sync", "backend", "catalog", "rule"]),
    ("http", 5, &["sync", "rpc", "push", "admin", "identity", "live", "catalog"]),
    ("server", 6, &[ALL_BELOW]),
    ("simulate", 7, &["omctl_device", "client", "catalog", "config"]),
    ("cli", 7, &["server", "live", "simulate", "omctl_device", "client", "scaffold", "catalog", "backend", "config"]),
];

/// In [`ROOMS`]: every room of a lower floor.
const ALL_BELOW: &str = "*";

/// Foreign crates that a room must never meet.
const STRANGERS: &[(&str, &[&str])] = &[
    ("store", &["axum", "hyper", "hyper_util", "tower_http"]),
    ("http", &["rusqlite"]),
    ("rule", &["rusqlite", "tokio"]),
];

/// The rooms with SQL in them: ours, that of the systems that records live in, and an app's own on its device.
const SQL_ROOMS: [&str; 3] = ["store", "backend", "simulate"];

/// How SQL statements begin.
const SQL: [&str; 11] = [
    "SELECT ",
    "INSERT INTO",
    "INSERT OR ",
    "REPLACE INTO",
    "DELETE FROM",
    "CREATE TABLE",
    "CREATE INDEX",
    "CREATE TRIGGER",
    "ALTER TABLE",
    "DROP TABLE",
    "PRAGMA ",
];

/// Packages that must never reach a phone.
const SERVER_PACKAGES: [&str; 10] =
    ["omctl", "axum", "axum-core", "tower-http", "argon2", "tera", "clap", "clap_builder", "serde-saphyr", "indicatif"];

/// Packages that the protocol crate must stay without: it does no I/O.
const IO_PACKAGES: [&str; 4] = ["tokio", "hyper", "rusqlite", "mio"];

/// Places that exist on one machine only. Written in pieces, or this file would break its own rule.
const MACHINE_PATHS: [&str; 3] = [concat!("/wo", "rk/"), concat!("/tmp", "/wt"), concat!("/ro", "ot/")];

#[test]
fn rooms_import_only_what_the_table_allows() {
    check(|source| if source.path.starts_with("src/") { bad_imports(source) } else { Vec::new() });
}

#[test]
fn import_rule_can_fail() {
    let bad = |path: &str, text: &str| bad_imports(&Source::new(path, text));
    assert_eq!(bad("src/store/mod.rs", "use crate::http::Router;").len(), 1);
    assert_eq!(bad("src/http/mod.rs", "use crate::{limits, sync::{Sync, store}, store::Store};").len(), 1);
    assert_eq!(bad("src/sync/plan.rs", "fn f() { super::super::server::start() }").len(), 1);
    assert_eq!(bad("src/rule/mod.rs", "use super::catalog::Channel;").len(), 1);
    assert_eq!(bad("src/server/mod.rs", "use crate::cli::Ui;").len(), 1);
    assert_eq!(bad("src/sync/mod.rs", "use omctl_device::Device;").len(), 1);
    assert_eq!(bad("src/store/mod.rs", "use axum::Router;").len(), 1);
    assert_eq!(bad("src/cellar/mod.rs", "").len(), 1, "a room without a line in the table");
    assert_eq!(bad("src/clock.rs", "use crate::tasks::Tasks;").len(), 1, "the ground stands on nothing");
    for (path, good) in [
        (
            "src/store/log.rs",
            "use super::inbox; use crate::store::feed; use crate::limits::DRAIN; pub(crate) fn f() {}",
        ),
        ("src/server/mod.rs", "use crate::{http, push::Push, store};"),
        ("src/simulate/mod.rs", "use omctl_device::Device; use omctl_protocol::Value;"),
        (
            "src/rule/mod.rs",
            "// use crate::store;\nconst S: &str = \"crate::store::X\"; #[cfg(test)] mod t { use crate::store; }",
        ),
    ] {
        assert_eq!(bad(path, good), Vec::<String>::new());
    }
}

#[test]
fn floors_only_look_down() {
    let floor: BTreeMap<&str, u8> = ROOMS.iter().map(|(room, floor, _)| (*room, *floor)).collect();
    for (room, own, may) in ROOMS {
        for other in may.iter().filter(|other| floor.contains_key(*other)) {
            assert!(floor[other] <= *own, "`{room}` on floor {own} may not look up to `{other}`");
        }
    }
    assert_eq!(floor.len(), ROOMS.len(), "a room has one line in the table");
}

#[test]
fn architecture_names_every_room() {
    let text =
        fs::read_to_string(source::root().join("ARCHITECTURE.md")).expect("the repository has an ARCHITECTURE.md");
    let missing: Vec<&str> =
        ROOMS.iter().map(|(room, ..)| *room).filter(|room| !text.contains(&format!("`{room}`"))).collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn every_source_opens_with_its_task() {
    check(no_header);
    assert_eq!(no_header(&Source::new("src/x.rs", "use std::fmt;\n//! late")).len(), 1);
    assert_eq!(no_header(&Source::new("src/x.rs", "//! Its task.\n")).len(), 0);
}

#[test]
fn only_the_cli_prints() {
    check(prints);
    assert_eq!(prints(&Source::new("src/sync/mod.rs", "fn f() { println!(\"x\") }")).len(), 1);
    assert_eq!(prints(&Source::new("crates/device/src/a.rs", "fn f() { std::eprint!(\"x\") }")).len(), 1);
    assert_eq!(prints(&Source::new("src/cli/ui.rs", "fn f() { println!(\"x\") }")).len(), 0);
    assert_eq!(
        prints(&Source::new("src/sync/mod.rs", "/// println!()\nfn f() { writeln!(s, \"println!\") }")).len(),
        0
    );
}

#[test]
fn sql_lives_in_its_rooms() {
    check(stray_sql);
    assert_eq!(stray_sql(&Source::new("src/http/mod.rs", "const Q: &str = \"SELECT id FROM log\";")).len(), 1);
    assert_eq!(stray_sql(&Source::new("src/sync/mod.rs", "const Q: &str = r#\"\nDELETE FROM log\"#;")).len(), 1);
    assert_eq!(stray_sql(&Source::new("src/store/log.rs", "const Q: &str = \"SELECT id FROM log\";")).len(), 0);
    assert_eq!(stray_sql(&Source::new("src/http/mod.rs", "// SELECT nothing\n")).len(), 0);
}

#[test]
fn tasks_are_spawned_in_one_place() {
    check(stray_spawn);
    assert_eq!(stray_spawn(&Source::new("src/push/mod.rs", "fn f() { tokio::spawn(g()); }")).len(), 1);
    assert_eq!(stray_spawn(&Source::new("src/push/mod.rs", "fn f() { tokio::task::spawn(g()); }")).len(), 1);
    assert_eq!(stray_spawn(&Source::new("src/push/mod.rs", "fn f() { tokio::task::spawn_blocking(g); }")).len(), 0);
    assert_eq!(stray_spawn(&Source::new("src/tasks.rs", "fn f() { tokio::spawn(g()); }")).len(), 0);
}

#[test]
fn phones_get_no_server_package() {
    let lock = fs::read_to_string(source::root().join("Cargo.lock")).expect("the repository has a Cargo.lock");
    assert_eq!(dragged_in(&lock, "omctl-device", &SERVER_PACKAGES), Vec::<String>::new());
    assert_eq!(dragged_in(&lock, "omctl-protocol", &IO_PACKAGES), Vec::<String>::new());
    assert_eq!(dragged_in(&lock, "omctl", &["axum"]), ["axum"], "the lock file is read at all");
    let sample = "[[package]]\nname = \"omctl-device\"\ndependencies = [\n \"a 1.0.0\",\n]\n\n\
                  [[package]]\nname = \"a\"\nversion = \"1.0.0\"\ndependencies = [\n \"axum\",\n]\n\n[[package]]\nname = \"axum\"\n";
    assert_eq!(dragged_in(sample, "omctl-device", &SERVER_PACKAGES), ["axum"]);
}

#[test]
fn nothing_names_one_machine() {
    let mut found = Vec::new();
    for path in source::files() {
        // What is not text (an image, a database) names no path that anybody follows.
        if let Ok(text) = fs::read_to_string(source::root().join(&path)) {
            found.extend(machine_paths(&source::slashes(&path), &text));
        }
    }
    assert_eq!(found, Vec::<String>::new());
    for bad in MACHINE_PATHS {
        assert_eq!(machine_paths("x", &format!("see `{bad}x`")).len(), 1);
        assert_eq!(machine_paths("x", &format!("https://example.com{bad}x")).len(), 0, "a part of another path");
    }
}

#[test]
fn every_integration_test_is_run() {
    let paths: Vec<String> = source::files().iter().map(|path| source::slashes(path)).collect();
    let sources = source::sources();
    let code = |path: &str| sources.iter().find(|source| source.path == path).map(|source| source.code.clone());
    assert_eq!(forgotten(&paths, code), Vec::<String>::new());

    let sample = ["tests/it/main.rs", "tests/it/a.rs", "tests/it/b.rs", "tests/it/a/deep.rs", "tests/it/c/mod.rs"];
    let sample: Vec<String> = sample.iter().map(ToString::to_string).collect();
    let declared = |path: &str| Some(if path == "tests/it/main.rs" { "mod a;\nmod c;" } else { "" }.to_owned());
    assert_eq!(forgotten(&sample, declared), ["tests/it/a/deep.rs", "tests/it/b.rs"]);
}

/// Runs one rule over every source and shows all that it finds at once.
fn check(rule: impl Fn(&Source) -> Vec<String>) {
    let found: Vec<String> = source::sources().iter().flat_map(rule).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Imports that [`ROOMS`] or [`STRANGERS`] does not allow.
fn bad_imports(source: &Source) -> Vec<String> {
    let module = source.module();
    let room = module[0];
    if ["lib", "main"].contains(&room) {
        return Vec::new();
    }
    let Some((_, floor, may)) = ROOMS.iter().find(|(name, ..)| *name == room) else {
        return vec![format!("{}: the room `{room}` has no line in the table of tests/it/tidy.rs", source.path)];
    };
    let allowed = |other: &str| {
        let below = may.contains(&ALL_BELOW) && ROOMS.iter().any(|(name, its, _)| *name == other && its < floor);
        let ground = GROUND.contains(&other) && !GROUND.contains(&room);
        other == room || below || ground || may.contains(&other)
    };
    let mut found = Vec::new();
    for (offset, other) in rooms_named(source) {
        if !allowed(&other) {
            found.push(format!("{}: `{room}` may not import `{other}`", source.at(offset)));
        }
    }
    for stranger in STRANGERS.iter().filter(|(name, _)| *name == room).flat_map(|(_, strangers)| *strangers) {
        for offset in paths_of(&source.code, stranger) {
            found.push(format!("{}: `{room}` must not meet the crate `{stranger}`", source.at(offset)));
        }
    }
    found
}

/// Every room that the code names by a path from the crate's root, with its place.
fn rooms_named(source: &Source) -> Vec<(usize, String)> {
    let depth = source.module().len();
    let from_root = "super::".repeat(depth);
    let mut named = Vec::new();
    for (prefix, begins) in
        [("crate::", paths_of(&source.code, "crate")), (&from_root, paths_of(&source.code, "super"))]
    {
        for offset in begins {
            if let Some(rest) = source.code[offset..].strip_prefix(prefix) {
                named.extend(first_words(rest).into_iter().map(|word| (offset, word)));
            }
        }
    }
    let device = paths_of(&source.code, "omctl_device");
    named.extend(device.into_iter().map(|offset| (offset, "omctl_device".to_owned())));
    // Only rooms: a macro or a re-export of the crate's root is none. Words in capitals are types and constants.
    named.retain(|(_, word)| {
        word.starts_with(|first: char| first.is_ascii_lowercase()) && word != "super" && word != "self"
    });
    named
}

/// Where `word::` begins as the first part of a path.
fn paths_of(code: &str, word: &str) -> Vec<usize> {
    let needle = format!("{word}::");
    code.match_indices(&needle)
        .map(|(offset, _)| offset)
        .filter(|offset| !code[..*offset].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
        .collect()
}

/// The first word of a path, or of each path of a `{…}` group.
fn first_words(rest: &str) -> Vec<String> {
    let word = |text: &str| text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = rest.strip_prefix('{') else { return vec![word(rest)] };
    let (mut words, mut depth, mut begin) = (Vec::new(), 1, 0);
    for (i, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && c == ',') {
            words.push(word(&group[begin..i]));
            begin = i + 1;
        }
        if depth == 0 {
            break;
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn no_header(source: &Source) -> Vec<String> {
    if source.text.starts_with("//!") {
        return Vec::new();
    }
    vec![format!("{}: a file opens with `//!`: its task, and what it must not know", source.path)]
}

/// Whether the file ships: tests, benches and examples may print.
fn ships(source: &Source) -> bool {
    source.path.starts_with("src/") || (source.path.starts_with("crates/") && source.path.contains("/src/"))
}

fn prints(source: &Source) -> Vec<String> {
    if !ships(source) || source.path.starts_with("src/cli/") {
        return Vec::new();
    }
    let found = ["println!", "eprintln!", "print!", "eprint!"].iter().flat_map(|name| {
        source
            .code
            .match_indices(name)
            .filter(|(offset, _)| !source.code[..*offset].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
    });
    found.map(|(offset, name)| format!("{}: `{name}` outside of src/cli", source.at(offset))).collect()
}

fn stray_sql(source: &Source) -> Vec<String> {
    if !source.path.starts_with("src/") || SQL_ROOMS.contains(&source.module()[0]) {
        return Vec::new();
    }
    let found = SQL.iter().flat_map(|word| source.strings.match_indices(word));
    found.map(|(offset, word)| format!("{}: SQL (`{}`) outside of its rooms", source.at(offset), word.trim())).collect()
}

fn stray_spawn(source: &Source) -> Vec<String> {
    // The device library runs inside an app, without our tasks; its driver answers for its own.
    if !source.path.starts_with("src/") || source.path == "src/tasks.rs" {
        return Vec::new();
    }
    let found =
        ["tokio::spawn(", "task::spawn(", "spawn_local("].iter().flat_map(|call| source.code.match_indices(call));
    found.map(|(offset, call)| format!("{}: `{call}…)` outside of src/tasks.rs", source.at(offset))).collect()
}

/// Which of these packages a package of the lock file depends on, directly or not. Development dependencies count: the
/// lock file does not tell them apart, and none of them may be a server either.
fn dragged_in(lock: &str, package: &str, banned: &[&str]) -> Vec<String> {
    let mut needs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for entry in lock.split("[[package]]").skip(1) {
        let Some(name) = entry.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')) else {
            continue;
        };
        // `name`, or `name version` where several versions are in the lock file: their needs are joined.
        let listed = entry.lines().filter_map(|line| line.strip_prefix(" \"")?.split(['"', ' ']).next());
        needs.entry(name).or_default().extend(listed);
    }
    let (mut seen, mut next) = (BTreeSet::new(), vec![package]);
    while let Some(name) = next.pop() {
        if seen.insert(name) {
            next.extend(needs.get(name).into_iter().flatten());
        }
    }
    banned.iter().filter(|name| **name != package && seen.contains(*name)).map(ToString::to_string).collect()
}

fn machine_paths(path: &str, text: &str) -> Vec<String> {
    let starts_a_path = |offset: usize| {
        !text[..offset].ends_with(|c: char| c.is_alphanumeric() || ['.', '-', '_', '/', '}', '*'].contains(&c))
    };
    let found = MACHINE_PATHS.iter().flat_map(|needle| text.match_indices(needle));
    let found = found.filter(|(offset, _)| starts_a_path(*offset));
    found
        .map(|(offset, needle)| format!("{path}:{}: names `{needle}`", text[..offset].matches('\n').count() + 1))
        .collect()
}

/// Files of `tests/it` that their parent does not declare as a module.
fn forgotten(paths: &[String], code: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut found = Vec::new();
    for path in paths.iter().filter(|path| path.starts_with("tests/it/") && path.ends_with(".rs")) {
        let stem = path.trim_end_matches(".rs").trim_end_matches("/mod");
        let Some((folder, name)) = stem.rsplit_once('/').filter(|(_, name)| *name != "main") else { continue };
        let parents = if folder == "tests/it" {
            vec!["tests/it/main.rs".into()]
        } else {
            vec![format!("{folder}.rs"), format!("{folder}/mod.rs")]
        };
        let declared =
            parents.iter().filter_map(|parent| code(parent)).any(|code| code.contains(&format!("mod {name};")));
        if !declared {
            found.push(path.clone());
        }
    }
    found.sort();
    found
}
