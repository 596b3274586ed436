//! `omctl channel create|update|delete`, by the real binary: an operator's writes are a device's, once each.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::Write as _;
use std::process::Stdio;

use serde_json::Value;

use crate::serve::{Project, omctl};

const AS: [&str; 2] = ["--as", "ana@example.com"];

/// A managed channel with a sum, of which accounts see their own, and a table in a database that is somebody else's.
fn project() -> (Project, rusqlite::Connection) {
    let project = Project::new();
    let own = "backend: managed\nscope: [{ owner: account.email }]\nwrite: { create: any, update: any, delete: [boss] }\n\
               fields:\n  owner: { type: text }\n  title: { type: text, max_length: 10 }\n  hours: { type: decimal, conflict: sum }\n  \
               tags: { type: array }\n  done: { type: bool }\n";
    std::fs::write(project.root.join("channels/own.yaml"), own).unwrap();
    let database = rusqlite::Connection::open(project.root.join("crm.db")).unwrap();
    database
        .execute_batch(
            "CREATE TABLE Item (Id INTEGER PRIMARY KEY, Name TEXT NOT NULL, Price INTEGER CHECK (Price > 0))",
        )
        .unwrap();
    database.execute_batch("INSERT INTO Item VALUES (1, 'one', 10)").unwrap();
    let from =
        ["new", "channel", "--from", "sqlite:crm.db#Item", "--scope", "public", "--write", "create,update,delete"];
    assert_eq!(project.json(&from).0, 0);
    (project, database)
}

fn typed(project: &Project, args: &[&str]) -> (i32, Value) {
    project.json(&[&["channel"], args, &AS].concat())
}

#[test]
fn a_write_is_judged_as_the_accounts_own_and_done_once() {
    let (project, _database) = project();
    let serving = project.serve();
    assert_eq!(project.json(&["account", "add", "ana@example.com"]).0, 0);
    let made = ["create", "own", "--set", "owner=ana@example.com", "--set", "hours=1.5", "--set", "tags=[\"a\"]"];
    let made = [&made[..], &["--set", "done=true", "--key", "first"]].concat();
    let (code, first) = typed(&project, &made);
    assert_eq!((code, &first["receipt"]["outcome"]), (0, &"applied".into()), "{first}");
    assert_eq!(typed(&project, &made), (0, first.clone()), "the same receipt, and no second record");
    let id = first["record"].as_str().unwrap().to_owned();
    let read = |id: &str| project.json(&["channel", "read", "own", id]).1["records"][0]["values"].clone();
    assert_eq!(project.json(&["channel", "read", "own"]).1["total"], 1);

    let raise = ["update", "own", &id, "--set", "hours=4", "--set", "title=raised", "--key", "raise"];
    let (_, raised) = typed(&project, &raise);
    assert_eq!(read(&id)["hours"], "4");
    // Something else is written in between: a second effect would show in the sum.
    assert_eq!(typed(&project, &["update", "own", &id, "--set", "hours=5"]).0, 0);
    drop(serving);
    let _again = project.serve();
    assert_eq!(typed(&project, &raise), (0, raised), "a restarted server knows it too");
    assert_eq!(read(&id)["hours"], "5");

    let refused = |args: &[&str], code: &str, field: Option<&str>| {
        let (exit, error) = typed(&project, args);
        assert_eq!((exit, &error["code"], &error["receipt"]["code"]), (1, &"rejected".into(), &code.into()), "{error}");
        assert_eq!(error["field"].as_str(), field, "{error}");
    };
    refused(&["update", "own", &id, "--set", "title=much too long"], "too_long", Some("title"));
    refused(&["update", "own", &id, "--set", "hours=many"], "bad_value", Some("hours"));
    refused(&["update", "own", &id, "--set", "owner=bo@example.com"], "scope_write", None);
    refused(&["delete", "own", &id, "--yes"], "not_allowed", None);
    refused(&["create", "own", "no-uuid", "--set", "owner=ana@example.com"], "bad_id", None);
    assert_eq!(read(&id)["title"], "raised");
    let listed = project.json(&["sync", "rejected"]).1;
    assert_eq!(listed["rejected"][0]["device_name"], "omctl", "it is kept like any other");
}

#[test]
fn a_foreign_database_is_written_and_its_own_rules_are_told() {
    let (project, database) = project();
    assert_eq!(project.json(&["channel", "install", "item", "--yes"]).0, 0);
    let _serving = project.serve();
    assert_eq!(project.json(&["account", "add", "ana@example.com"]).0, 0);
    let name = || database.query_row("SELECT Name FROM Item WHERE Id = 1", [], |row| row.get::<_, String>(0));
    let rename = ["update", "item", "1", "--set", "Name=uno", "--key", "k"];
    let (code, renamed) = typed(&project, &rename);
    assert_eq!((code, name().unwrap().as_str()), (0, "uno"), "{renamed}");
    database.execute_batch("UPDATE Item SET Name = 'eins'").unwrap();
    assert_eq!(typed(&project, &rename), (0, renamed));
    assert_eq!(name().unwrap(), "eins", "it is not done again");
    let (code, error) = typed(&project, &["update", "item", "1", "--set", "Price=-1"]);
    assert_eq!((code, &error["receipt"]["code"]), (1, &"constraint".into()), "{error}");

    let (code, asked) = typed(&project, &["delete", "item", "1"]);
    assert_eq!((code, &asked["code"]), (4, &"needs_yes".into()));
    assert_eq!(typed(&project, &["delete", "item", "1", "--yes"]).0, 0);
    assert!(name().is_err(), "the row is gone");
    assert_eq!(typed(&project, &["delete", "item", "1", "--yes"]).0, 6);
}

#[test]
fn many_at_a_time_are_all_done_and_values_come_from_stdin_too() {
    let (project, _database) = project();
    let _serving = project.serve();
    assert_eq!(project.json(&["account", "add", "ana@example.com"]).0, 0);
    let children: Vec<_> = (0..8)
        .map(|number| {
            let mut command = omctl(&project.root);
            command.args(["channel", "create", "own", "--data", "-", "--json"]).args(AS);
            let mut child =
                command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let data = format!(r#"{{"owner":"ana@example.com","title":"n{number}"}}"#);
            child.stdin.take().unwrap().write_all(data.as_bytes()).unwrap();
            child
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(project.json(&["channel", "read", "own"]).1["total"], 8);

    let wrong = |args: &[&str], code: i32, text: &str| {
        let (exit, error) = typed(&project, args);
        assert!(exit == code && error.to_string().contains(text), "{args:?}: {exit} {error}");
    };
    wrong(&["create", "own", "--set", "titel=x"], 2, "did you mean `title`?");
    wrong(&["create", "own", "--data", "[1]"], 2, "not a JSON object");
    wrong(&["create", "own", "--data", "@nowhere.json"], 1, "cannot be read");
    wrong(&["update", "own", "x"], 2, "--set FIELD=VALUE");
    wrong(&["update", "own", "x", "--set", "title=y"], 6, "no record");
    let (code, error) = project.json(&["channel", "create", "own", "--as", "cy@example.com", "--set", "title=x"]);
    assert_eq!((code, &error["problem"]), (6, &"not_found".into()));
}
