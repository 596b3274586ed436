//! What scripts rely on: the name and the shape of every command's JSON, as one snapshot. A member that goes, or is of
//! another kind, is a new version of its schema.
//!
//! `INSTA_UPDATE=always cargo test --test it contracts` writes it anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use crate::serve::{Project, omctl};

/// The shape of a value: names and kinds, without what differs from run to run.
fn shape(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "text".to_owned(),
        Value::Array(items) => {
            // What only some elements have counts, too, in whatever order they come.
            let whole = items.iter().cloned().reduce(merged);
            format!("[{}]", whole.as_ref().map(shape).unwrap_or_default())
        }
        Value::Object(members) => {
            let members: BTreeMap<_, _> = members.iter().collect();
            let members: Vec<String> =
                members.iter().map(|(name, value)| format!("{name}: {}", shape(value))).collect();
            format!("{{ {} }}", members.join(", "))
        }
    }
}

/// Everything that one of two values has.
fn merged(one: Value, other: Value) -> Value {
    match (one, other) {
        (Value::Null, other) => other,
        (Value::Object(mut one), Value::Object(other)) => {
            for (name, value) in other {
                let known = one.remove(&name).unwrap_or_default();
                one.insert(name, merged(known, value));
            }
            Value::Object(one)
        }
        (Value::Array(mut one), Value::Array(other)) => {
            one.extend(other);
            Value::Array(one)
        }
        (one, _) => one,
    }
}

#[test]
fn every_answer_has_a_version_and_keeps_its_shape() {
    let project = Project::new();
    let outside = tempfile::tempdir().unwrap();
    let mut found = String::new();
    let mut note = |args: &[&str], answer: &Value| {
        let schema = answer["schema"].as_str().unwrap_or_else(|| panic!("{args:?} has no schema: {answer}"));
        let (name, version) = schema.split_once('/').unwrap();
        assert!(name.starts_with("omctl.") && version.parse::<u32>().is_ok(), "{schema}");
        writeln!(found, "omctl {}\n  {schema}\n  {}\n", args.join(" "), shape(answer)).unwrap();
    };
    let made = omctl(outside.path()).args(["new", "fieldwork", "--json"]).output().unwrap();
    note(&["new", "fieldwork"], &serde_json::from_slice(&made.stdout).unwrap());
    let mut ask = |project: &Project, args: &[&str]| {
        let (code, answer) = project.json(args);
        assert!(code == 0, "{args:?} ended with {code}: {answer}");
        note(args, &answer);
        answer
    };
    for args in [
        &["check"][..],
        &["config", "show"],
        &["explain", "exists"],
        &["version"],
        &["channel", "probe", "--all"],
        &["channel", "diff", "--all"],
        &["new", "channel", "visits", "--dry-run"],
        &["db", "list"],
    ] {
        ask(&project, args);
    }
    let serving = project.serve();
    note(&["serve"], &serving.ready);
    let mut ask = |args: &[&str]| {
        let (code, answer) = project.json(args);
        assert!(code == 0, "{args:?} ended with {code}: {answer}");
        note(args, &answer);
        answer
    };
    ask(&["account", "add", "ana@example.com", "--role", "tech", "--claim", "regions=[north,south]"]);
    let made = ask(&["channel", "create", "customers", "--as", "ana@example.com", "--set", "name=Old Mill"]);
    let record = made["record"].as_str().or(made["receipt"]["record"].as_str()).map(str::to_owned);
    for args in [
        &["account", "list"][..],
        &["account", "show", "ana@example.com"],
        &["account", "code", "ana@example.com"],
        &["account", "set", "ana@example.com", "--role", "office"],
        &["channel", "list"],
        &["channel", "show", "tickets"],
        &["channel", "read", "customers"],
        &["channel", "resume", "customers"],
        &["device", "list"],
        &["sync", "inspect"],
        &["sync", "rejected"],
        &["sync", "conflicts"],
        &["db", "seed"],
        &["db", "snapshot", "one"],
        &["doctor"],
    ] {
        ask(args);
    }
    if let Some(record) = record {
        let (code, trace) = project.json(&["sync", "trace", &record]);
        assert_eq!(code, 0, "{trace}");
        note(&["sync", "trace", "RECORD"], &trace);
    }
    drop(serving);
    insta::assert_snapshot!("contracts", found);
}
