//! `omctl config show`: each value with whoever gave it.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use serde_json::{Value, json};

use crate::serve::{Project, omctl};

const FILE: &str = "version: 1
name: fieldwork
server: { addr: 127.0.0.1:7411 }
backends:
  crm: { kind: sqlite, path: \"${env:CRM_FILE}\" }
env:
  prod:
    server: { addr: 0.0.0.0:7412, trusted_proxies: [10.0.0.0/8] }
";

fn origin(shown: &Value, name: &str) -> (Value, Value) {
    let all = shown["settings"].as_array().unwrap();
    let one = all.iter().find(|one| one["name"] == name).unwrap();
    (one["value"].clone(), one["origin"].clone())
}

#[test]
fn every_setting_names_its_origin_and_secrets_stay_references() {
    let project = Project::new();
    std::fs::write(project.root.join("openmobster.yaml"), FILE).unwrap();
    let show = |more: &[&str]| {
        let mut command = omctl(&project.root);
        command.args(["config", "show", "--json"]).args(more);
        command.env("CRM_FILE", "canary.db").env("OMCTL_TOKEN", "canary").env("OMCTL_LOG", "debug");
        let output = command.output().unwrap();
        assert!(!String::from_utf8_lossy(&output.stdout).contains("canary"), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let at = |line: u64| json!({ "kind": "project", "file": "openmobster.yaml", "line": line });
    let shown = show(&[]);
    assert_eq!(shown["schema"], "omctl.config/1");
    assert_eq!(origin(&shown, "server.addr"), ("127.0.0.1:7411".into(), at(3)));
    assert_eq!(origin(&shown, "backends.crm.path"), ("${env:CRM_FILE}".into(), at(5)));
    assert_eq!(origin(&shown, "server.trusted_proxies"), (json!([]), json!({ "kind": "default" })));
    assert_eq!(origin(&shown, "log"), ("debug".into(), json!({ "kind": "env", "name": "OMCTL_LOG" })));
    assert_eq!(origin(&shown, "token").0, "${env:OMCTL_TOKEN}");
    let shown = show(&["--env", "prod", "--data-dir", "/d"]);
    assert_eq!(origin(&shown, "server.addr"), ("0.0.0.0:7412".into(), at(8)));
    assert_eq!(origin(&shown, "server.trusted_proxies"), (json!(["10.0.0.0/8"]), at(8)));
    assert_eq!(origin(&shown, "server.data_dir"), ("/d".into(), json!({ "kind": "flag", "name": "--data-dir" })));
    assert_eq!(origin(&shown, "env"), ("prod".into(), json!({ "kind": "flag", "name": "--env" })));

    let mut command = omctl(&project.root);
    let output = command.args(["config", "show", "--origin"]).env("CRM_FILE", "x.db").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.starts_with("server.addr")).unwrap();
    assert!(line.contains("127.0.0.1:7411 ") && line.ends_with("  openmobster.yaml:3"), "{text}");
    assert_eq!(project.json(&["config", "show"]).1["code"], "invalid_project", "CRM_FILE is not set");
}
