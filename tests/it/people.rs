//! Accounts and devices by the real binary against a real server: shown, disabled, removed, imported, activated, revoked.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::Write as _;
use std::process::{Output, Stdio};
use std::time::Duration;

use omctl_device::{ConnectionState, Credentials, Mobster, MobsterError};
use serde_json::{Value, json};

use crate::serve::{Project, Serving, omctl};

/// Longer than a refusal may take, shorter than anybody's patience.
const WITHIN: Duration = Duration::from_secs(20);

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A connected device of this account.
async fn device(project: &Project, serving: &Serving, email: &str, file: &str) -> Mobster {
    let app = Mobster::builder(&project.root.join(file)).device("a phone", "android").open().unwrap();
    let code = project.json(&["account", "code", email]).1["code"].as_str().unwrap().to_owned();
    app.activate(text(&serving.ready["url"]), Credentials::Code(code)).await.unwrap();
    app.sync_now().await.unwrap();
    app
}

/// A device's session ends within the five seconds that are promised, and the server takes it no longer.
async fn is_out(app: &Mobster) {
    let mut state = app.state();
    let ended = state.wait_for(|state| *state != ConnectionState::Live);
    tokio::time::timeout(Duration::from_secs(5), ended).await.expect("its session ends within 5 s").unwrap();
    // Asked again: whoever asks in the very moment in which a session ends is answered with the next connection only.
    let refused = async {
        loop {
            if let Ok(refused) = tokio::time::timeout(Duration::from_secs(1), app.sync_now()).await {
                return refused;
            }
        }
    };
    let refused = tokio::time::timeout(WITHIN, refused).await.unwrap();
    assert!(matches!(refused, Err(MobsterError::NeedsActivation { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_account_is_out_and_comes_back_and_a_removed_one_does_not() {
    let project = Project::new();
    let serving = project.serve();
    assert_eq!(project.json(&["account", "add", "ana@example.com", "--claim", "regions=[north]"]).0, 0);
    let app = device(&project, &serving, "ana@example.com", "ana.db").await;
    let id = app.device().await.unwrap().unwrap();

    let (code, shown) = project.json(&["account", "show", "Ana@Example.com"]);
    assert_eq!((code, text(&shown["schema"])), (0, "omctl.account.show/1"));
    assert_eq!((&shown["account"]["claims"]["regions"][0], &shown["account"]["devices"]), (&json!("north"), &json!(1)));
    assert_eq!(shown["devices"][0]["id"], id.to_string());
    let page = stdout(&project.run(&["account", "show", "ana@example.com"]));
    assert!(page.contains("state      active") && page.contains("a phone"), "{page}");

    let (code, disabled) = project.json(&["account", "disable", "ana@example.com"]);
    assert_eq!((code, &disabled["account"]["disabled"]), (0, &json!(true)));
    is_out(&app).await;
    assert_eq!(project.json(&["account", "code", "ana@example.com"]).0, 4, "no new devices either");
    assert_eq!(project.json(&["account", "enable", "ana@example.com"]).1["account"]["disabled"], false);
    tokio::time::timeout(WITHIN, app.sync_now()).await.unwrap().unwrap();
    assert_eq!(app.device().await.unwrap(), Some(id), "it is the same device again");

    let refused = project.run(&["account", "remove", "ana@example.com"]);
    let said = stderr(&refused);
    assert_eq!(refused.status.code(), Some(4));
    assert!(said.contains("ana@example.com") && said.contains("its 1 device;"), "target and number are named: {said}");
    assert!(said.contains("account disable ana@example.com"), "{said}");
    let (code, removed) = project.json(&["account", "remove", "ana@example.com", "--yes"]);
    assert_eq!((code, &removed["revoked"]), (0, &json!(1)));
    is_out(&app).await;
    assert_eq!(project.json(&["account", "show", "ana@example.com"]).0, 6);
    assert_eq!(project.json(&["account", "list"]).1["accounts"], json!([]));
    let listed = project.json(&["device", "list"]).1["devices"][0].clone();
    assert_eq!(text(&listed["state"]), "revoked");
    assert!(text(&listed["email"]).starts_with("removed:"), "nothing names the person: {listed}");
    // The address is free, and means another account.
    let (code, again) = project.json(&["account", "add", "ana@example.com"]);
    assert_eq!((code, &again["account"]["devices"], &again["account"]["claims"]), (0, &json!(0), &json!({})));
    assert_ne!(again["account"]["id"], removed["account"]["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_device_is_out_within_seconds_and_others_go_on() {
    let project = Project::new();
    let serving = project.serve();
    assert_eq!(project.json(&["account", "add", "ana@example.com"]).0, 0);
    let phone = device(&project, &serving, "ana@example.com", "phone.db").await;
    let tablet = device(&project, &serving, "ana@example.com", "tablet.db").await;
    let id = phone.device().await.unwrap().unwrap().to_string();

    let (code, shown) = project.json(&["device", "show", &id[..id.len() - 1]]);
    assert_eq!((code, text(&shown["schema"])), (0, "omctl.device.show/1"));
    let shown = &shown["device"];
    assert_eq!((text(&shown["id"]), text(&shown["email"])), (id.as_str(), "ana@example.com"));
    assert_eq!(
        (&shown["connected"], &shown["waiting"], &shown["outbox"]["accepted"]),
        (&json!(true), &json!([]), &json!(0))
    );
    let (code, several) = project.json(&["device", "show", &id[..4]]);
    assert_eq!((code, text(&several["code"])), (2, "ambiguous"));
    assert!(several["devices"].as_array().unwrap().iter().any(|one| *one == id), "{several}");
    let (code, unknown) = project.json(&["device", "show", "ffff"]);
    assert_eq!((code, text(&unknown["hint"])), (6, "see them: omctl device list"));

    let refused = project.run(&["device", "revoke", &id]);
    assert_eq!(refused.status.code(), Some(4));
    let said = stderr(&refused);
    assert!(said.contains(&id) && said.contains("a phone") && said.contains("ana@example.com"), "{said}");
    assert_eq!(*phone.state().borrow(), ConnectionState::Live, "without a yes nothing is done");
    assert_eq!(project.json(&["device", "revoke", &id, "--yes"]).0, 0);
    is_out(&phone).await;
    tablet.sync_now().await.unwrap();
    assert_eq!(project.json(&["device", "revoke", &id, "--yes"]).1["was"], "revoked", "twice is as once");
    let states = project.json(&["device", "list", "--account", "ana@example.com"]).1["devices"].clone();
    let states: Vec<&str> = states.as_array().unwrap().iter().map(|one| text(&one["state"])).collect();
    assert_eq!(states.iter().filter(|state| **state == "active").count(), 1, "{states:?}");
    let (code, unknown) = project.json(&["device", "list", "--account", "anna@example.com"]);
    assert_eq!((code, text(&unknown["hint"])), (6, "did you mean `ana@example.com`?"));
}

#[test]
fn a_file_becomes_a_device_stays_one_and_brings_what_other_tools_wrote() {
    let project = Project::new();
    let _serving = project.serve();
    assert_eq!(project.json(&["account", "add", "ana@example.com"]).0, 0);
    assert_eq!(project.json(&["account", "add", "bo@example.com"]).0, 0);
    let activate = |email: &str, file: &str| project.json(&["device", "activate", "--account", email, "--store", file]);
    let (code, made) = activate("ana@example.com", "ana.db");
    assert_eq!((code, text(&made["schema"]), &made["activated"]), (0, "omctl.device.activate/1", &json!(true)));
    assert_eq!(made["channels"], json!(["customers", "tickets"]));
    let app = rusqlite::Connection::open(project.root.join("ana.db")).unwrap();
    let changed = app.execute("UPDATE tickets SET title = 'from a tool' WHERE id = 'ticket-oven'", []).unwrap();
    assert_eq!(changed, 1, "the seed is here");
    drop(app);
    let (_, again) = activate("ana@example.com", "ana.db");
    assert_eq!((&again["activated"], &again["device"]), (&json!(false), &made["device"]));
    assert_eq!(activate("bo@example.com", "bo.db").0, 0);
    let other = rusqlite::Connection::open(project.root.join("bo.db")).unwrap();
    let title: String =
        other.query_row("SELECT title FROM tickets WHERE id = 'ticket-oven'", [], |row| row.get(0)).unwrap();
    assert_eq!(title, "from a tool");

    assert_eq!(activate("bo@example.com", "ana.db").1["code"], "other_account");
    std::fs::write(project.root.join("notes.txt"), "mine").unwrap();
    assert_eq!(activate("ana@example.com", "notes.txt").0, 7);
    assert_eq!(std::fs::read_to_string(project.root.join("notes.txt")).unwrap(), "mine");
    assert_eq!(activate("anna@example.com", "x.db").0, 6);
    assert!(!project.root.join("x.db").exists(), "no file for an account that is not there");
    // A revoked device's file is activated anew, as another device.
    let id = text(&made["device"]);
    assert_eq!(project.json(&["device", "revoke", id, "--yes"]).0, 0);
    let (_, anew) = activate("ana@example.com", "ana.db");
    assert_eq!(anew["activated"], true);
    assert_ne!(anew["device"], made["device"]);
}

#[test]
fn a_password_is_generated_piped_or_taken_away_and_never_asked_for_without_a_terminal() {
    let project = Project::new();
    let _serving = project.serve();
    assert_eq!(project.json(&["account", "add", "ana@example.com"]).0, 0);
    let (code, error) = project.json(&["account", "passwd", "ana@example.com"]);
    assert_eq!((code, text(&error["code"])), (2, "no_terminal"));
    assert!(text(&error["hint"]).contains("--password-stdin"), "{error}");
    assert_eq!(project.json(&["account", "passwd", "anna@example.com", "--generate"]).0, 6);
    let shown = project.run(&["account", "passwd", "ana@example.com", "--generate"]);
    assert_eq!(stdout(&shown).trim().len(), 20, "stdout is the password and nothing else");
    let (_, made) = project.json(&["account", "passwd", "ana@example.com", "--generate"]);
    assert_eq!((text(&made["generated"]).len(), &made["account"]["has_password"]), (20, &json!(true)));
    assert_ne!(stdout(&shown).trim(), text(&made["generated"]));
    let (_, none) = project.json(&["account", "passwd", "ana@example.com", "--none"]);
    assert_eq!((&none["account"]["has_password"], &none["generated"]), (&json!(false), &Value::Null));
    let mut command = omctl(&project.root);
    command.args(["account", "passwd", "ana@example.com", "--password-stdin", "--json"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"canary horse\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && !format!("{output:?}").contains("canary"), "{output:?}");
    let logs = format!("{:?}", project.run(&["logs", "--last", "1000"]));
    assert!(logs.contains("changed account") && !logs.contains("canary") && !logs.contains(text(&made["generated"])));
}

#[test]
fn accounts_are_imported_all_or_none_and_every_bad_line_is_named_at_once() {
    let project = Project::new();
    let _serving = project.serve();
    assert_eq!(project.json(&["account", "add", "ana@example.com", "--role", "tech", "--claim", "team=a"]).0, 0);
    let import = |content: &str, more: &[&str]| {
        std::fs::write(project.root.join("team.csv"), content).unwrap();
        project.json(&[&["account", "import", "team.csv"], more].concat())
    };
    let good = "email,role,claims.regions\nana@example.com,office,\"[north,south]\"\nBo@Example.com,tech,north\ncy@example.com,,\n";
    let (code, tried) = import(good, &["--dry-run", "--codes"]);
    assert_eq!((code, &tried["added"], &tried["changed"], &tried["dry_run"]), (0, &json!(2), &json!(1), &json!(true)));
    assert!(tried["rows"].as_array().unwrap().iter().all(|row| row["code"].is_null()), "{tried}");
    assert_eq!(project.json(&["account", "list"]).1["accounts"].as_array().unwrap().len(), 1);

    let bad = "email,role,claims.regions\ndi@example.com,tech,north\nno address,any,\ndi@EXAMPLE.com,,\nel@example.com,tech\n";
    // What was not done is not counted; what would be is.
    for (more, added) in [(&[][..], json!(null)), (&["--dry-run"], json!(1))] {
        let (code, refused) = import(bad, more);
        assert_eq!((code, text(&refused["code"]), &refused["added"]), (3, "bad_import", &added), "{refused}");
        let problems = refused["problems"].as_array().unwrap();
        let lines: Vec<u64> = problems.iter().map(|one| one["line"].as_u64().unwrap()).collect();
        assert_eq!(lines, [3, 4, 5], "{refused}");
        let first = text(&problems[0]["message"]);
        assert!(first.contains("not an e-mail address") && first.contains("a role is a word"), "{first}");
    }
    assert_eq!(project.json(&["account", "show", "di@example.com"]).0, 6, "none of a file with bad lines");
    assert_eq!(import("email,password\na@example.com,secret123\n", &[]).0, 3);
    assert_eq!(import("email,rolle\na@example.com,tech\n", &[]).1["hint"], "did you mean `role`?");
    assert_eq!(project.json(&["account", "import", "nothing.csv"]).0, 6);

    let (code, done) = import(good, &["--codes"]);
    assert_eq!((code, text(&done["schema"]), &done["added"]), (0, "omctl.account.import/1", &json!(2)));
    let codes: Vec<&Value> = done["rows"].as_array().unwrap().iter().map(|row| &row["code"]).collect();
    assert_eq!((codes[0], text(codes[1]).len(), text(codes[2]).len()), (&Value::Null, 11, 11));
    let (_, ana) = project.json(&["account", "show", "ana@example.com"]);
    let claims = json!({ "team": "a", "regions": ["north", "south"] });
    assert_eq!((text(&ana["account"]["role"]), &ana["account"]["claims"]), ("office", &claims));
    assert_eq!(import(good, &[]).1["unchanged"], 3, "a second time changes nothing");
    let taken = "email,role,claims.team\nana@example.com,,\n";
    assert_eq!(import(taken, &[]).1["changed"], 1);
    let (_, ana) = project.json(&["account", "show", "ana@example.com"]);
    assert_eq!(
        (&ana["account"]["role"], &ana["account"]["claims"]),
        (&Value::Null, &json!({ "regions": ["north", "south"] }))
    );
}

#[test]
fn a_claim_that_is_none_is_refused_with_how_it_is_written() {
    let project = Project::new();
    for wrong in [&["--claim"][..], &["--claim", "region"], &["--claim", "region="], &["--claim", "--role", "tech"]] {
        let (code, error) = project.json(&[&["account", "add", "ana@example.com"], wrong].concat());
        assert_eq!((code, text(&error["code"])), (2, "bad_claim"), "{wrong:?}: {error}");
        assert!(text(&error["hint"]).contains("--claim region=north"), "{error}");
    }
}
