//! The binary as people use it: a project is made, served, asked and ended, and the exit codes are those promised.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A project in a folder of its own.
pub(crate) struct Project {
    _folder: TempDir,
    pub(crate) root: PathBuf,
}

/// A server of a project; it ends with this.
pub(crate) struct Serving {
    pub(crate) child: Child,
    pub(crate) ready: Value,
}

impl Project {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("fieldwork");
        let made = omctl(folder.path()).args(["new", "fieldwork"]).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        Self { _folder: folder, root }
    }

    /// A project that is there already, in a folder that goes with it.
    pub(crate) fn at(folder: TempDir, root: PathBuf) -> Self {
        Self { _folder: folder, root }
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        omctl(&self.root).args(args).stdin(Stdio::null()).output().unwrap()
    }

    /// Exit code and, on success, the JSON on stdout; else the error on stderr.
    pub(crate) fn json(&self, args: &[&str]) -> (i32, Value) {
        let output = self.run(&[args, &["--json"]].concat());
        let code = output.status.code().unwrap();
        if code == 0 {
            return (code, serde_json::from_slice(&output.stdout).unwrap());
        }
        assert!(output.stdout.is_empty(), "a failure prints no data: {}", String::from_utf8_lossy(&output.stdout));
        let text = String::from_utf8(output.stderr).unwrap();
        (code, serde_json::from_str(text.lines().last().unwrap()).unwrap())
    }

    pub(crate) fn serve(&self) -> Serving {
        let mut command = omctl(&self.root);
        command.args(["serve", "--addr", "127.0.0.1:0", "--json"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Serving { ready: serde_json::from_str(&line).unwrap(), child }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // A test that failed must not leave a server behind; one that ended it already finds nothing to kill.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(crate) fn omctl(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_omctl"));
    command.current_dir(folder);
    for name in ["OMCTL_ADDR", "OMCTL_DATA_DIR", "OMCTL_ENV", "OMCTL_LOG", "OMCTL_TOKEN"] {
        command.env_remove(name);
    }
    command
}

#[cfg(unix)]
#[test]
fn a_project_is_served_asked_and_ended() {
    let project = Project::new();
    assert_eq!(project.json(&["account", "list"]).0, 5);
    let mut serving = project.serve();
    assert_eq!(serving.ready["schema"], "omctl.serve/1");
    assert_eq!(serving.ready["channels"].as_array().map(Vec::len), Some(2));

    let add = ["account", "add", "Ana@Example.com", "--role", "tech", "--claim", "regions=[north,south]"];
    let (code, added) = project.json(&add);
    assert_eq!((code, &added["account"]["email"]), (0, &"ana@example.com".into()));
    assert_eq!(project.json(&add).0, 7);
    let (_, list) = project.json(&["account", "list"]);
    assert_eq!(
        (&list["schema"], &list["accounts"][0]["claims"]["regions"][1]),
        (&"omctl.account.list/1".into(), &"south".into())
    );
    assert_eq!(project.json(&["account", "code", "ana@example.com"]).1["code"].as_str().map(str::len), Some(11));
    assert_eq!(project.json(&["account", "code", "bo@example.com"]).0, 6);
    assert_eq!(project.json(&["account", "add", "bo@example.com", "--claim", "nonsense"]).0, 2);
    assert_eq!(project.json(&["channel", "show", "tickets"]).1["channel"]["delivery"], "exactly_once");
    assert_eq!(project.json(&["channel", "show", "nothing"]).0, 6);

    let (code, second) = project.json(&["serve"]);
    assert_eq!((code, second["pid"].as_u64()), (7, Some(u64::from(serving.child.id()))));

    let url = serving.ready["url"].as_str().unwrap();
    let mut stranger = omctl(&project.root);
    stranger.args(["account", "list", "--server", url]).env("OMCTL_TOKEN", "omadm_guess");
    assert_eq!(stranger.output().unwrap().status.code(), Some(4));

    Command::new("kill").arg(serving.child.id().to_string()).status().unwrap();
    assert_eq!(serving.child.wait().unwrap().code(), Some(0), "a drained server ends well");
    assert_eq!(project.json(&["account", "list"]).0, 5);
}

#[test]
fn a_killed_server_leaves_no_lock_and_no_lost_account() {
    let project = Project::new();
    let mut serving = project.serve();
    assert_eq!(project.json(&["account", "add", "ana@example.com"]).0, 0);
    serving.child.kill().unwrap();
    serving.child.wait().unwrap();
    assert_eq!(project.json(&["account", "list"]).0, 5, "what the killed server wrote is not believed");
    let _again = project.serve();
    assert_eq!(project.json(&["account", "list"]).1["accounts"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_password_comes_by_stdin_and_is_never_shown() {
    let project = Project::new();
    let _serving = project.serve();
    let mut command = omctl(&project.root);
    command.args(["account", "add", "ana@example.com", "--password-stdin", "--json"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"canary horse\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let added: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(added["account"]["has_password"], true);
    assert!(!format!("{output:?}").contains("canary"));
    let store = std::fs::read(project.root.join(".openmobster/dev/store.db")).unwrap();
    assert!(!store.windows(6).any(|bytes| bytes == b"canary"));
}

#[test]
fn a_taken_port_is_named() {
    let (first, second) = (Project::new(), Project::new());
    let serving = first.serve();
    let addr = serving.ready["addr"].as_str().unwrap();
    let (code, error) = second.json(&["serve", "--addr", addr]);
    assert_eq!((code, &error["code"]), (1, &"port_taken".into()));
    assert!(error["message"].as_str().unwrap().contains(addr));
}

#[test]
fn a_foreign_database_is_changed_only_with_a_yes_and_changed_back() {
    let project = Project::new();
    let path = project.root.join("crm.db");
    let schema = || {
        let database = rusqlite::Connection::open(&path).unwrap();
        let mut statement = database.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?)));
        rows.unwrap().collect::<Result<Vec<_>, _>>().unwrap()
    };
    let database = rusqlite::Connection::open(&path).unwrap();
    database.execute_batch("CREATE TABLE Customer (Id INTEGER PRIMARY KEY, Name TEXT NOT NULL);").unwrap();
    drop(database);
    let before = schema();
    let from = ["new", "channel", "--from", "sqlite:crm.db#Customer", "--scope", "public", "--force"];
    assert_eq!(project.json(&from).0, 0);
    let name = "customer";
    let probe = |project: &Project| project.json(&["channel", "probe", name]).1["channels"][0]["delivery"].clone();
    assert_eq!(probe(&project), "best_effort");
    assert_eq!(project.json(&["channel", "probe", "CUSTOMER"]).0, 6);
    assert_eq!(project.json(&["channel", "install", name]).1["code"], "needs_yes");
    let (_, sql) = project.json(&["channel", "install", name, "--print-sql"]);
    assert!(sql["backends"][0]["sql"].as_str().unwrap().contains("om_applied"));
    assert_eq!(schema(), before, "neither a probe nor a question changes anything");
    assert_eq!(project.json(&["channel", "install", name, "--yes"]).0, 0);
    assert_eq!(probe(&project), "exactly_once");
    let serving = project.serve();
    let ready = serving.ready["channels"].as_array().unwrap();
    let of = ready.iter().find(|channel| channel["name"] == name).unwrap();
    assert_eq!(of["delivery"], "exactly_once");
    drop(serving);
    assert_eq!(project.json(&["channel", "install", name, "--remove", "--yes"]).0, 0);
    assert_eq!(schema(), before);
}
