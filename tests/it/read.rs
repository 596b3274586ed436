//! `omctl channel read`, and how a misspelt name is met, by the real binary.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use serde_json::{Value, json};

use crate::serve::Project;

/// Records in `tickets` of a fresh project, and one channel of which accounts see their own.
fn project() -> Project {
    let project = Project::new();
    let channel = "backend: managed\nscope: [{ owner: account.email }]\nfields:\n  owner: { type: text }\n  open: { type: bool }\n  \
                   note: { type: text }\n";
    std::fs::write(project.root.join("channels/own.yaml"), channel).unwrap();
    let seed = "- { id: 0197a1b2-0000-7000-8000-00000000a001, fields: { owner: ana@example.com, open: true, note: first } }\n\
                - { id: 0197a1b2-0000-7000-8000-00000000a002, fields: { owner: bo@example.com, open: false } }\n\
                - { id: 0197a1b2-0000-7000-8000-00000000a003, fields: { owner: ana@example.com, open: false, note: last } }\n";
    std::fs::write(project.root.join("seed/03-own.yaml"), seed).unwrap();
    project
}

#[test]
fn records_are_read_whole_as_somebody_by_field_and_by_id() {
    let project = project();
    let _serving = project.serve();
    assert_eq!(project.json(&["account", "add", "ana@example.com"]).0, 0);
    let ids = |args: &[&str]| -> Vec<String> {
        let (code, read) = project.json(&[&["channel", "read", "own"], args].concat());
        assert_eq!((code, &read["schema"]), (0, &"omctl.channel.read/1".into()), "{read}");
        let all = read["records"].as_array().unwrap().clone();
        all.iter().map(|one| one["id"].as_str().unwrap()[32..].to_owned()).collect()
    };
    assert_eq!(ids(&[]), ["a001", "a002", "a003"]);
    assert_eq!(ids(&["--as", "ana@example.com"]), ["a001", "a003"]);
    assert_eq!(ids(&["--as", "ana@example.com", "--where", "open=false"]), ["a003"]);
    assert_eq!(ids(&["--where", "note="]), ["a002"]);
    let (_, some) = project.json(&["channel", "read", "own", "--limit", "2"]);
    assert_eq!((some["records"].as_array().map(Vec::len), &some["total"]), (Some(2), &json!(3)));
    let output = project.run(&["channel", "read", "own", "--limit", "2"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("2 of 3 records"), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("ID "), "{output:?}");

    let of_bo = "0197a1b2-0000-7000-8000-00000000a002";
    let (code, one) = project.json(&["channel", "read", "own", of_bo]);
    assert_eq!((code, &one["records"][0]["values"]["owner"]), (0, &"bo@example.com".into()));
    let (code, hidden) = project.json(&["channel", "read", "own", of_bo, "--as", "ana@example.com"]);
    assert_eq!((code, &hidden["code"]), (6, &"not_found".into()));
}

#[test]
fn a_misspelt_name_gets_the_nearest_one() {
    let project = project();
    let _serving = project.serve();
    let wrong = |args: &[&str], code: i32, hint: &str| {
        let (exit, error) = project.json(args);
        assert!(exit == code && error.to_string().contains(hint), "{args:?}: {exit} {error}");
    };
    for command in ["show", "read", "resume", "probe"] {
        wrong(&["channel", command, "tikets"], 6, "did you mean `tickets`?");
    }
    wrong(&["channel", "read", "own", "--where", "onwer=x"], 1, "did you mean `owner`?");
    wrong(&["channel", "read", "own", "--where", "owner"], 2, "FIELD=TEXT");
    wrong(&["channel", "read", "own", "--as", "cy@example.com"], 6, "omctl account list");
    wrong(&["account", "code", "cy@example.com"], 6, "omctl account list");
    let none: Value = project.json(&["device", "revoke", "0197a1b2-0000-7000-8000-000000000001"]).1;
    assert!(none["code"].is_string(), "{none}");
}
