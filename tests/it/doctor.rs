//! `omctl doctor`, `omctl man` and `omctl version`, by the real binary.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use serde_json::Value;

use crate::serve::{Project, omctl};

fn status<'a>(report: &'a Value, name: &str) -> (&'a str, &'a str) {
    let all = report["checks"].as_array().unwrap();
    let one = all.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("no `{name}`: {report}"));
    (one["status"].as_str().unwrap(), one["text"].as_str().unwrap())
}

/// A free port of this moment, so that tests beside this one are not in its way.
fn with_free_port(project: &Project) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = format!("version: 1\nname: fieldwork\nserver: {{ addr: \"127.0.0.1:{port}\" }}\n");
    std::fs::write(project.root.join("openmobster.yaml"), text).unwrap();
}

#[test]
fn a_fresh_project_is_well_and_nothing_is_made() {
    let project = Project::new();
    with_free_port(&project);
    let (code, report) = project.json(&["doctor"]);
    assert_eq!((code, &report["schema"]), (0, &"omctl.doctor/1".into()), "{report}");
    assert_eq!(status(&report, "store"), ("ok", "none yet"));
    assert_eq!(status(&report, "port").0, "ok");
    assert!(!project.root.join(".openmobster/dev").exists(), "doctor only looks");
}

#[test]
fn a_running_server_is_found_and_a_killed_one_is_noticed() {
    let project = Project::new();
    with_free_port(&project);
    let mut serving = project.serve();
    let (_, report) = project.json(&["doctor"]);
    let (server, text) = status(&report, "server");
    assert!(server == "ok" && text.contains(&format!("pid {}", serving.child.id())), "{report}");
    assert_eq!(status(&report, "store").0, "ok");
    serving.child.kill().unwrap();
    serving.child.wait().unwrap();
    let (code, report) = project.json(&["doctor"]);
    assert_eq!((code, status(&report, "server").0), (0, "warn"), "{report}");
    let _again = project.serve();
    assert_eq!(status(&project.json(&["doctor"]).1, "server").0, "ok");
}

#[test]
fn mistakes_a_taken_port_a_damaged_store_and_a_missing_table_fail() {
    let project = Project::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let text = format!(
        "version: 1\nserver: {{ addr: \"{addr}\" }}\nbackends:\n  crm: {{ kind: sqlite, path: crm.db }}\n  gone: {{ kind: \
         sqlite, path: gone.db }}\n"
    );
    std::fs::write(project.root.join("openmobster.yaml"), text).unwrap();
    let database = rusqlite::Connection::open(project.root.join("crm.db")).unwrap();
    database.execute_batch("CREATE TABLE Item (Id INTEGER PRIMARY KEY, Name TEXT)").unwrap();
    let channel = |table: &str, backend: &str| {
        format!(
            "backend: {backend}\ntable: {table}\nkey: {{ columns: [Id], assigned_by: backend }}\nscope: public\nfields:\n  \
             name: {{ column: Name, type: text }}\n"
        )
    };
    for (file, text) in
        [("item", channel("Item", "crm")), ("lost", channel("Lost", "crm")), ("far", channel("X", "gone"))]
    {
        std::fs::write(project.root.join(format!("channels/{file}.yaml")), text).unwrap();
    }
    let data = project.root.join(".openmobster/dev");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("store.db"), "no database at all, but long enough to be looked at").unwrap();
    let (code, report) = project.json(&["doctor"]);
    assert_eq!((code, &report["code"]), (1, &"unhealthy".into()));
    assert_eq!(status(&report, "store").0, "fail");
    let (port, text) = status(&report, "port");
    assert_eq!(port, "fail");
    if cfg!(target_os = "linux") {
        assert!(text.contains(&format!("pid {}", std::process::id())), "{text}");
    }
    assert_eq!(status(&report, "channel item").0, "warn", "{report}");
    assert_eq!(status(&report, "channel lost").0, "fail");
    assert_eq!(status(&report, "channel far").0, "fail");
    let text = String::from_utf8(project.run(&["doctor"]).stdout).unwrap();
    assert!(text.lines().any(|line| line.starts_with("fail  channel lost")), "{text}");

    std::fs::write(project.root.join("channels/item.yaml"), "backend: nothing\n").unwrap();
    assert_eq!(status(&project.json(&["doctor"]).1, "project").0, "fail");
    let outside = tempfile::tempdir().unwrap();
    let output = omctl(outside.path()).args(["doctor", "--json"]).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
}

#[test]
fn a_version_says_what_it_speaks_and_pages_are_written_where_they_are_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| omctl(folder.path()).args(args).output().unwrap();
    let version: Value = serde_json::from_slice(&run(&["version", "--json"]).stdout).unwrap();
    for member in ["version", "protocol", "store_schema", "sqlite", "target"] {
        assert!(!version[member].is_null(), "{version}");
    }
    assert!(String::from_utf8(run(&["man"]).stdout).unwrap().contains(".TH omctl 1"));
    let written: Value = serde_json::from_slice(&run(&["man", "--dir", "pages", "--json"]).stdout).unwrap();
    let files = std::fs::read_dir(folder.path().join("pages")).unwrap().count();
    assert_eq!(Some(files), written["files"].as_array().map(Vec::len));
    assert!(folder.path().join("pages/omctl-account-add.1").is_file());
}
