//! What `omctl new` and `omctl template` write, by the real binary: again, with differences, with templates of one's own.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::serve::omctl;

fn run(folder: &Path, args: &[&str]) -> Output {
    omctl(folder).args(args).stdin(Stdio::null()).output().unwrap()
}

/// Exit code, stdout and stderr.
fn told(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let output = run(folder, args);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn json(folder: &Path, args: &[&str]) -> Value {
    let output = run(folder, &[args, &["--json"]].concat());
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_project_is_made_once_and_never_overwritten_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("fieldwork");
    let (code, planned, _) = told(folder.path(), &["new", "fieldwork", "--dry-run"]);
    assert!(code == 0 && planned.contains("+++ channels/tickets.yaml") && !root.exists(), "{planned}");

    let (code, made, next) = told(folder.path(), &["new", "fieldwork"]);
    assert_eq!((code, made.lines().filter(|line| line.starts_with("create ")).count()), (0, 8), "{made}");
    assert_eq!(next, "next: cd fieldwork && omctl serve\n");
    let (code, made, _) = told(folder.path(), &["new", "fieldwork"]);
    assert!(code == 0 && made.lines().all(|line| line.starts_with("same ")), "{made}");

    let readme = root.join("README.md");
    std::fs::write(&readme, "mine\n").unwrap();
    std::fs::remove_file(root.join("seed/02-tickets.yaml")).unwrap();
    let (code, made, error) = told(folder.path(), &["new", "fieldwork"]);
    assert!(code == 7 && made.is_empty(), "{made}");
    assert!(error.contains("-mine\n+# fieldwork\n") && error.contains("hint: look at the differences"), "{error}");
    assert!(!root.join("seed/02-tickets.yaml").exists(), "nothing is written where one file is in the way");
    let (code, made, _) = told(folder.path(), &["new", "fieldwork", "--force"]);
    assert!(code == 0 && made.contains("replace README.md") && made.contains("create  seed/02"), "{made}");
    assert!(std::fs::read_to_string(&readme).unwrap().starts_with("# fieldwork\n"));
}

#[test]
fn every_name_is_taken_or_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    for (name, next) in [
        ("class", "cd class && omctl serve"),
        ("日本", "cd 日本 && omctl serve"),
        ("a b", "cd 'a b' && omctl serve"),
        ("../x", "cd ../x && omctl serve"),
        (".", "omctl serve"),
    ] {
        let (code, _, hint) = told(&inner, &["new", name]);
        assert_eq!((code, hint.as_str()), (0, format!("next: {next}\n").as_str()), "{name}");
        assert_eq!(told(&inner.join(name), &["check"]).0, 0, "{name}");
    }
    std::fs::write(inner.join("file"), "").unwrap();
    for (name, code, reason) in
        [("/", 2, "no name"), (" x", 2, "space"), ("a\tb", 2, "control"), ("file", 7, "no folder")]
    {
        let (exit, _, error) = told(&inner, &["new", name]);
        assert!(exit == code && error.contains(reason) && error.contains("hint: "), "{name}: {exit} {error}");
    }
    let (code, _, error) = told(&inner, &["new"]);
    assert!(code == 2 && error.contains("omctl new fieldwork"), "without a terminal nobody is asked: {error}");
}

#[test]
fn templates_of_ones_own_are_ejected_edited_and_used() {
    let folder = tempfile::tempdir().unwrap();
    let (code, made, next) = told(folder.path(), &["template", "eject", "house"]);
    assert!(code == 0 && made.contains("create  project/openmobster.yaml.tera"), "{made}");
    assert!(next.contains("omctl new NAME --template house"), "{next}");
    told(folder.path(), &["new", "a"]);
    told(folder.path(), &["new", "b", "--template", "house"]);
    let text = |path: &str| std::fs::read_to_string(folder.path().join(path)).unwrap();
    assert_eq!(text("a/channels/tickets.yaml"), text("b/channels/tickets.yaml"), "ejected ones are the built-in ones");

    let file = folder.path().join("house/project/openmobster.yaml.tera");
    std::fs::write(
        &file,
        "version: 1\nname: {{ name | yaml }}\n# {{ owner }} at {{ place | default(value=\"home\") }}\n",
    )
    .unwrap();
    let new = |name: &str, more: &[&str]| told(folder.path(), &[&["new", name, "--template", "house"], more].concat());
    let (code, _, error) = new("c", &[]);
    assert!(code == 2 && error.contains("`owner` has no value") && error.contains("--set owner=VALUE"), "{error}");
    let (code, _, error) = new("c", &["--set", "ownr=ana"]);
    assert!(code == 2 && error.contains("did you mean `owner`?"), "{error}");
    assert_eq!(new("c", &["--set", "owner=ana", "--set", "owner=bo"]).0, 2);
    assert!(!folder.path().join("c").exists());
    assert_eq!(new("c", &["--set", "owner=ana"]).0, 0);
    assert_eq!(text("c/openmobster.yaml"), "version: 1\nname: c\n# ana at home\n");
    assert_eq!(new("d", &["--set", "owner=ana", "--set", "place=work"]).0, 0);
    assert!(text("d/openmobster.yaml").ends_with("# ana at work\n"));
    assert!(!folder.path().join("d/.openmobster").exists(), "nothing of this project asks for the schemas");

    std::fs::write(&file, "name: {{ name \n").unwrap();
    let (code, _, error) = new("e", &[]);
    assert!(code == 3 && error.contains("openmobster.yaml"), "{error}");
    let (code, _, error) = told(folder.path(), &["new", "e", "--template", "nowhere"]);
    assert!(code != 0 && error.contains("nowhere"), "{error}");
    let (code, _, _) = told(folder.path(), &["template", "eject", "house"]);
    assert_eq!(code, 7, "what was edited is not overwritten");
}

#[test]
fn schemas_for_editors_follow_the_channels() {
    let folder = tempfile::tempdir().unwrap();
    told(folder.path(), &["new", "fieldwork"]);
    let root = folder.path().join("fieldwork");
    let schema = |name: &str| std::fs::read_to_string(root.join(".openmobster/schema").join(name));
    assert!(schema("seed/tickets.json").unwrap().contains("\"hours\""));
    // Every file says where its schema is, and there it is.
    for file in ["openmobster.yaml", "channels/tickets.yaml", "seed/01-customers.yaml", "scenarios/rush-hour.yaml"] {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        let path = text.lines().next().unwrap().strip_prefix("# yaml-language-server: $schema=").unwrap();
        let path = root.join(file).parent().unwrap().join(path);
        let json: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(json["$schema"], "http://json-schema.org/draft-07/schema#", "{file}");
    }
    let tickets = root.join("channels/tickets.yaml");
    let text = std::fs::read_to_string(&tickets).unwrap();
    std::fs::write(&tickets, text.replace("  hours:", "  minutes:")).unwrap();
    std::fs::remove_file(root.join("seed/02-tickets.yaml")).unwrap();
    told(&root, &["check"]);
    let after = schema("seed/tickets.json").unwrap();
    assert!(after.contains("\"minutes\"") && !after.contains("\"hours\""));
    told(&root, &["new", "channel", "notes", "--scope", "public"]);
    assert!(schema("seed/notes.json").is_ok());
    std::fs::remove_file(root.join("channels/notes.yaml")).unwrap();
    std::fs::remove_dir_all(root.join("scenarios")).unwrap();
    told(&root, &["check"]);
    assert!(schema("seed/notes.json").is_err(), "the schema of a channel that is gone goes too");
    // A project that never asked for them is left alone, unless it is said.
    let project = root.join("openmobster.yaml");
    std::fs::write(&project, "version: 1\nname: x\n").unwrap();
    std::fs::remove_dir_all(root.join(".openmobster")).unwrap();
    told(&root, &["check"]);
    assert!(schema("project.json").is_err());
    told(&root, &["check", "--write-schemas"]);
    assert!(schema("project.json").is_ok());
}

#[test]
fn a_new_scenario_is_one_that_checks() {
    let folder = tempfile::tempdir().unwrap();
    told(folder.path(), &["new", "fieldwork"]);
    let root = folder.path().join("fieldwork");
    let made = json(&root, &["new", "scenario", "monday-morning"]);
    assert_eq!((&made["scenario"], &made["schema"]), (&"monday-morning".into(), &"omctl.new.scenario/1".into()));
    let text = std::fs::read_to_string(root.join("scenarios/monday-morning.yaml")).unwrap();
    assert!(text.contains("write: customers"), "{text}");
    let (code, _, error) = told(&root, &["check"]);
    assert!(code == 0 && !error.contains("warning"), "{error}");
    let (code, _, error) = told(&root, &["new", "scenario", "Monday Morning"]);
    assert!(code == 2 && error.contains("lower-case"), "{error}");
    // Also where there is no channel yet.
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    std::fs::write(folder.path().join("empty/openmobster.yaml"), "version: 1\n").unwrap();
    assert_eq!(told(&folder.path().join("empty"), &["new", "scenario", "a"]).0, 0);
    assert_eq!(told(&folder.path().join("empty"), &["check"]).0, 0);
}
