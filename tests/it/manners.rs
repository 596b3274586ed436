//! How the command line behaves towards people and scripts: the help of every command, its likeliest errors, what goes
//! to which stream, colour, and readers that go away.
//!
//! The texts are snapshots, so that a change of what a newcomer reads is seen by whoever makes it:
//! `INSTA_UPDATE=always cargo test --test it manners` writes them anew.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::serve::{Project, Serving, omctl};

/// Where a command is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// In a folder without a project.
    Outside,
    /// In a project whose server does not run.
    Project,
    /// In a project with mistakes.
    Broken,
    /// In a project whose server runs.
    Served,
}

/// One command line, and where it is typed.
type Line = (At, &'static [&'static str]);

/// What is typed, group by group; each group is a snapshot.
const TYPED: &[(&str, &[Line])] = &[
    (
        "general",
        &[
            (At::Outside, &[]),
            (At::Outside, &["chanel", "list"]),
            (At::Outside, &["check", "--evn", "prod"]),
            (At::Outside, &["check", "-C", "nowhere"]),
            (At::Project, &["account", "list"]),
            (At::Outside, &["account", "list", "--server", "http://127.0.0.1:1"]),
            (At::Outside, &["account", "list", "--server", "localhost:7400"]),
        ],
    ),
    (
        "new",
        &[
            (At::Outside, &["new"]),
            (At::Outside, &["new", "channel", "--from", "sqlite:none.db#Item"]),
            (At::Project, &["new", "channel", "--from", "sqlite:none.db#Item"]),
            (At::Project, &["new", "channel", "--from", "nonsense"]),
        ],
    ),
    (
        "check",
        &[
            (At::Project, &["check"]),
            (At::Outside, &["check"]),
            (At::Broken, &["check"]),
            (At::Project, &["check", "--env", "prd"]),
        ],
    ),
    (
        "serve",
        &[
            (At::Outside, &["serve"]),
            (At::Broken, &["serve"]),
            (At::Project, &["serve", "--addr", "localhost"]),
            (At::Project, &["serve", "--addr", "0.0.0.0:7400"]),
            (At::Project, &["serve", "--log", "warn,omctl=loud"]),
            (At::Served, &["serve"]),
        ],
    ),
    (
        "account",
        &[
            (At::Served, &["account", "list"]),
            (At::Served, &["account", "add", "no-address"]),
            (At::Served, &["account", "add", "bo@example.com", "--claim", "regions"]),
            (At::Served, &["account", "code", "nobody@example.com"]),
            (At::Served, &["account", "set", "nobody@example.com", "--role", "tech"]),
            (At::Served, &["account", "set", "nobody@example.com"]),
        ],
    ),
    (
        "channel",
        &[
            (At::Served, &["channel", "list"]),
            (At::Served, &["channel", "show", "customers"]),
            (At::Served, &["channel", "read", "customers"]),
            (At::Served, &["channel", "read", "customers", "nobody"]),
            (At::Served, &["channel", "read", "costumers"]),
            (At::Served, &["channel", "read", "customers", "--where", "town=Graz"]),
            (At::Served, &["channel", "create", "customers", "--set", "name=Old Mill"]),
            (At::Served, &["channel", "create", "customers", "--as", "nobody@example.com", "--set", "name=Old Mill"]),
            (At::Served, &["channel", "update", "customers", "x", "--as", "nobody@example.com", "--set", "town=Graz"]),
            (At::Served, &["channel", "update", "customers", "x", "--as", "nobody@example.com"]),
            (At::Served, &["channel", "show", "nothing"]),
            (At::Served, &["channel", "resume", "customers"]),
            (At::Project, &["channel", "probe"]),
            (At::Project, &["channel", "probe", "costumers"]),
            (At::Project, &["channel", "probe", "--all"]),
            (At::Project, &["channel", "install", "--all"]),
            (At::Project, &["channel", "install", "item"]),
            (At::Project, &["channel", "install", "item", "--remove"]),
            (At::Project, &["channel", "install", "item", "--print-sql", "--remove"]),
        ],
    ),
    (
        "device",
        &[
            (At::Served, &["device", "simulate"]),
            (At::Served, &["device", "simulate", "--devices", "0"]),
            (At::Served, &["device", "simulate", "--network", "5g"]),
            (At::Project, &["device", "simulate"]),
        ],
    ),
    (
        "sync",
        &[
            (At::Served, &["sync", "rejected"]),
            (At::Served, &["sync", "conflicts", "--limit", "0"]),
            (At::Served, &["sync", "conflicts", "--account", "nobody@example.com"]),
            (At::Project, &["sync", "rejected"]),
        ],
    ),
    (
        "db",
        &[
            (At::Project, &["db", "list"]),
            (At::Project, &["db", "snapshot"]),
            (At::Project, &["db", "restore", "nothing"]),
            (At::Served, &["db", "restore", "openmobster.yaml", "--yes"]),
            (At::Served, &["db", "snapshot", "../x"]),
        ],
    ),
    ("config", &[(At::Outside, &["config", "show"]), (At::Broken, &["config", "show"]), (At::Project, &["config"])]),
    (
        "explain",
        &[
            (At::Outside, &["explain", "scope_write"]),
            (At::Outside, &["explain", "not_fuond"]),
            (At::Outside, &["explain", "E0308"]),
        ],
    ),
    ("doctor", &[(At::Outside, &["doctor", "--env"])]),
    ("man", &[(At::Project, &["man", "--dir", "openmobster.yaml"])]),
    ("completions", &[(At::Outside, &["completions"]), (At::Outside, &["completions", "cmd"])]),
];

/// A folder for each place, and a server in one of them.
struct World {
    outside: TempDir,
    project: Project,
    broken: Project,
    served: Project,
    serving: Serving,
}

impl World {
    fn new() -> Self {
        let (project, broken, served) = (Project::new(), Project::new(), Project::new());
        std::fs::write(broken.root.join("channels/tickets.yaml"), "scope: pubic\nfileds:\n  title: { type: txt }\n")
            .unwrap();
        let database = rusqlite::Connection::open(project.root.join("crm.db")).unwrap();
        database.execute_batch("CREATE TABLE Item (Id INTEGER PRIMARY KEY, Name TEXT)").unwrap();
        let from = ["new", "channel", "--from", "sqlite:crm.db#Item", "--scope", "public"];
        assert_eq!(project.json(&from).0, 0);
        let serving = served.serve();
        Self { outside: tempfile::tempdir().unwrap(), project, broken, served, serving }
    }

    fn folder(&self, at: At) -> PathBuf {
        match at {
            At::Outside => self.outside.path().to_owned(),
            At::Project => self.project.root.clone(),
            At::Broken => self.broken.root.clone(),
            At::Served => self.served.root.clone(),
        }
    }

    fn typed(&self, at: At, args: &[&str]) -> Output {
        let mut command = omctl(&self.folder(at));
        command.args(args).env("OMCTL_TOKEN", "omadm_x").stdin(Stdio::null()).output().unwrap()
    }

    /// The same text on every machine and at every time.
    fn settled(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for at in [At::Outside, At::Project, At::Broken, At::Served] {
            text = text.replace(&self.folder(at).display().to_string(), "[folder]");
        }
        let addr = self.serving.ready["addr"].as_str().unwrap();
        let pid = self.serving.child.id().to_string();
        text = text.replace(addr, "[addr]").replace(&format!("pid {pid}"), "pid [pid]");
        text = text.replace(&format!("kill {pid}"), "kill [pid]").replace(env!("CARGO_PKG_VERSION"), "[version]");
        text.replace('\\', "/").replace("omctl.exe", "omctl")
    }
}

#[test]
fn the_likeliest_words_are_met_with_the_next_step() {
    let world = World::new();
    for (group, all) in TYPED {
        let mut shown = String::new();
        for (at, args) in *all {
            let output = world.typed(*at, args);
            let code = output.status.code().unwrap();
            shown.push_str(&format!("({at:?}) $ omctl {}\n", args.join(" ")));
            for stream in [&output.stdout, &output.stderr] {
                shown.push_str(&world.settled(std::str::from_utf8(stream).unwrap()));
            }
            shown.push_str(&format!("[exit {code}]\n\n"));
            if code != 0 {
                assert!(output.stdout.is_empty(), "{args:?} failed and printed data: {output:?}");
            }
        }
        insta::assert_snapshot!(*group, shown);
    }
}

#[test]
fn a_failure_is_one_json_error_behind_everything_else_and_its_code_is_explained() {
    let world = World::new();
    for (at, args) in TYPED.iter().flat_map(|(_, all)| *all) {
        let plain = world.typed(*at, args).status.code().unwrap();
        let output = world.typed(*at, &[*args, &["--json"]].concat());
        // Without a command there is only help, which is nothing for scripts.
        assert_eq!(output.status.code(), Some(plain), "{args:?}: {output:?}");
        if plain == 0 {
            let result: Value =
                serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{args:?}: {output:?}"));
            assert!(result["schema"].as_str().unwrap().starts_with("omctl."), "{result}");
            continue;
        }
        assert!(output.stdout.is_empty(), "{args:?}: {output:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        let error: Value = serde_json::from_str(stderr.lines().last().unwrap()).unwrap_or_else(|_| panic!("{stderr}"));
        assert_eq!((&error["type"], error["exit"].as_i64()), (&"error".into(), Some(i64::from(plain))), "{error}");
        let explained = world.typed(At::Outside, &["explain", error["code"].as_str().unwrap()]);
        assert!(explained.status.success(), "{args:?}: {error}");
        assert!(!stderr.contains('\u{1b}'), "{stderr}");
    }
}

#[test]
fn the_help_of_every_command_is_read_before_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let mut waiting: Vec<Vec<String>> = vec![Vec::new()];
    while let Some(command) = waiting.pop() {
        let output = omctl(folder.path()).args(&command).arg("--help").output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && help.contains("Usage:"), "{command:?}");
        let below = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
        for name in below.filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
            let name = name.split_whitespace().next().unwrap().to_owned();
            waiting.push([command.clone(), vec![name]].concat());
        }
        let name = format!("help-{}", [vec!["omctl".to_owned()], command].concat().join("-"));
        insta::assert_snapshot!(name, help.replace("omctl.exe", "omctl"));
    }
}

#[test]
fn colour_is_for_terminals_unless_somebody_says_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let coloured = |set: &[(&str, &str)]| {
        let mut command = omctl(folder.path());
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").arg("check").envs(set.iter().copied());
        command.output().unwrap().stderr.contains(&0x1b)
    };
    assert!(!coloured(&[]), "a pipe is no terminal");
    assert!(coloured(&[("CLICOLOR_FORCE", "1")]));
    assert!(!coloured(&[("CLICOLOR_FORCE", "0")]));
    assert!(!coloured(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let gone = |args: &[&str]| {
        let mut command: Command = omctl(folder.path());
        let mut child = command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut reader = BufReader::with_capacity(16, child.stdout.take().unwrap());
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        drop(reader);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{args:?}: {output:?}");
    };
    // More than a pipe holds, so that the writer meets the closed end.
    gone(&["completions", "bash"]);
    gone(&["man"]);
    gone(&["explain", "--json"]);
    gone(&["--help"]);
}
