//! Looking into a running server by the real binary, and what becomes of its store: how sync stands, one write's story, the
//! log, seeds, backups, a reset.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::bad_input::World;
use crate::serve::{Project, omctl};
use crate::wire::{catalog, create, mutation};

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Runs a command against a world's server: its exit code, and its JSON from stdout or else from stderr.
async fn ask(world: &World, words: &[&str]) -> (i32, Value) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = omctl(folder.path());
    command.args(words).args(["--json", "--server", &format!("http://{}", world.addr())]);
    command.env("OMCTL_TOKEN", &world.running.admin_token);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let code = output.status.code().unwrap();
    let said = String::from_utf8(if code == 0 { output.stdout } else { output.stderr }).unwrap();
    (code, serde_json::from_str(said.lines().last().unwrap()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_traced_from_its_device_to_its_place_and_what_is_not_there_is_not_found() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::with(&catalog(folder.path())).await;
    let ana = world.phone_of("ana@example.com").await;
    let title = |text: &str| json!({ "title": text });
    let writes = vec![
        create(1, "notes", 1, title("first canary")),
        create(2, "own", 2, json!({ "title": "canary", "owner": "bo@example.com" })),
        mutation(3, "notes", "update", 1, title("first canary"), title("second canary")),
    ];
    let ids: Vec<String> = writes.iter().map(|write| text(&write["id"]).to_owned()).collect();
    let record = text(&writes[0]["record"]).to_owned();
    world.exchange(&ana, ana.hello(1, 3), writes).await;

    let (code, traced) = ask(&world, &["sync", "trace", &ids[2]]).await;
    assert_eq!((code, text(&traced["schema"])), (0, "omctl.sync.trace/1"), "{traced}");
    let steps = |traced: &Value| -> Vec<String> {
        traced["events"].as_array().unwrap().iter().map(|event| text(&event["step"]).to_owned()).collect()
    };
    let settled = traced["events"].as_array().unwrap().iter().find(|event| event["step"] == "settled").unwrap();
    assert_eq!((text(&settled["receipt"]["outcome"]), text(&settled["by"]["email"])), ("applied", "ana@example.com"));
    assert_eq!(traced["records"][0]["record"], record.as_str(), "the receipt's position leads to the record");
    let times: Vec<i64> =
        traced["events"].as_array().unwrap().iter().map(|one| one["at_ms"].as_i64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");

    let (_, rejected) = ask(&world, &["sync", "trace", &ids[1]]).await;
    assert!(steps(&rejected).contains(&"judged".to_owned()), "{rejected}");
    let judged = rejected["events"].as_array().unwrap().iter().find(|event| event["step"] == "judged").unwrap();
    assert_eq!(text(&judged["verdict"]["code"]), "scope_write");

    let (_, traced) = ask(&world, &["sync", "trace", &record, "--channel", "notes"]).await;
    let found = &traced["records"][0];
    assert_eq!((text(&found["channel"]), &found["deleted"], &found["life"]), ("notes", &json!(false), &json!(1)));
    assert_eq!(text(&found["writers"][0]["by"]["email"]), "ana@example.com");
    assert!(steps(&traced).contains(&"journaled".to_owned()));
    let settled = traced["events"].as_array().unwrap().iter().find(|event| event["step"] == "settled").unwrap();
    assert!(ids.contains(&text(&settled["mutation"]).to_owned()), "which write made it so: {traced}");

    for words in [&["sync", "trace", "nothing-here"][..], &["sync", "trace", &record, "--channel", "own"]] {
        let (code, unknown) = ask(&world, words).await;
        assert_eq!((code, text(&unknown["problem"])), (6, "not_found"), "{words:?}");
        assert!(!text(&unknown["hint"]).is_empty());
    }
    for words in [&["sync", "trace", &record, "--channel", "note"][..], &["sync", "rejected", "--channel", "note"]] {
        let (code, unknown) = ask(&world, words).await;
        assert_eq!((code, text(&unknown["hint"])), (6, "did you mean `notes`?"), "{words:?}");
    }
    assert_eq!(ask(&world, &["sync", "conflicts", "--account", "anna@example.com"]).await.0, 6);

    let (code, view) = ask(&world, &["sync", "inspect"]).await;
    assert_eq!((code, text(&view["schema"])), (0, "omctl.sync.inspect/1"));
    let notes = view["channels"].as_array().unwrap().iter().find(|one| one["name"] == "notes").unwrap();
    assert_eq!((&notes["records"], &notes["tombstones"], &notes["waiting"]), (&json!(1), &json!(0), &json!(0)));
    let outbox = &view["devices"][0]["outbox"];
    assert_eq!((&outbox["accepted"], &outbox["settled"]), (&json!(3), &json!(3)));
    assert_eq!(view["position"], notes["position"]);
    // Nobody else is told, and nobody else may write.
    let token = format!("Bearer {}", ana.tokens.access_token);
    for path in ["/v1/admin/sync", "/v1/admin/logs", &format!("/v1/admin/trace?id={record}")] {
        let answer = world.send("GET", path, &[("authorization", &token)], "").await;
        assert_eq!(answer.code(), (403, "forbidden"), "{path}");
    }
    let answer = world.send("POST", "/v1/admin/seed", &[("authorization", &token)], r#"{"channels":[]}"#).await;
    assert_eq!(answer.code(), (403, "forbidden"));
}

#[test]
fn a_log_is_shown_followed_and_ends_with_its_server() {
    let project = Project::new();
    let mut serving = project.serve();
    assert_eq!(project.json(&["account", "add", "ana@example.com"]).0, 0);
    let lines = |args: &[&str]| -> Vec<Value> {
        let output = project.run(&[args, &["--json"]].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let all = lines(&["logs"]);
    assert!(all.iter().all(|one| one["type"] == "event" && one["schema"] == "omctl.log/1"), "{all:?}");
    assert_eq!(all.last().unwrap()["message"], "created account `ana@example.com`");
    assert_eq!(lines(&["logs", "-n", "1"]).len(), 1);
    assert_eq!(lines(&["logs", "--level", "error"]), Vec::<Value>::new());
    assert_eq!(project.json(&["logs", "--level", "loud"]).0, 2);

    let mut command = omctl(&project.root);
    command.args(["logs", "-f", "--json", "-n", "1"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut following = command.spawn().unwrap();
    let mut told = BufReader::new(following.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&told.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["message"], "created account `ana@example.com`");
    assert_eq!(project.json(&["account", "disable", "ana@example.com"]).0, 0);
    let event = next();
    assert_eq!((&event["message"], &event["level"]), (&json!("changed account `ana@example.com`"), &json!("info")));
    // What it says while it stops may still come; then the end is said, with the exit code of a server that is not there.
    // Whoever follows does not keep the server from draining.
    let drained = cfg!(unix) && Command::new("kill").arg(serving.child.id().to_string()).status().unwrap().success();
    if !drained {
        serving.child.kill().unwrap();
    }
    assert_eq!(serving.child.wait().unwrap().success(), drained);
    while told.next().is_some() {}
    assert_eq!(following.wait().unwrap().code(), Some(5));
}

#[test]
fn what_waits_for_a_backend_is_shown_by_channel_and_device_and_goes_on_when_its_account_may_again() {
    let (project, database) = crate::operator::project();
    assert_eq!(project.json(&["channel", "install", "item", "--yes"]).0, 0);
    let serving = project.serve();
    crate::operator::wait_for(&project, &["channel", "show", "item"], |shown| shown["channel"]["synced"] == true);
    assert_eq!(project.json(&["account", "add", "ana@example.com"]).0, 0);
    let activate = || project.json(&["device", "activate", "--account", "ana@example.com", "--store", "ana.db"]);
    let (code, made) = activate();
    assert_eq!(code, 0, "{made}");
    // Somebody holds the database, so that the write is accepted and waits.
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    let app = rusqlite::Connection::open(project.root.join("ana.db")).unwrap();
    assert_eq!(app.execute("UPDATE item SET name = 'canary' WHERE id = '3'", []).unwrap(), 1);
    drop(app);
    let mut command = omctl(&project.root);
    command.args(["device", "activate", "--account", "ana@example.com", "--store", "ana.db", "--quiet"]);
    let mut syncing = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let waits = |view: &Value| view["waiting"].as_array().is_some_and(|waiting| waiting.len() == 1);
    let view = crate::operator::wait_for(&project, &["sync", "inspect"], waits);
    syncing.kill().unwrap();
    syncing.wait().unwrap();
    let waiting = &view["waiting"][0];
    assert_eq!((text(&waiting["channel"]), &waiting["mutations"]), ("item", &json!(1)));
    assert_eq!(waiting["device"], made["device"]);
    let item = view["channels"].as_array().unwrap().iter().find(|one| one["name"] == "item").unwrap();
    assert_eq!((&item["records"], &item["waiting"], &item["backend"]), (&json!(12), &json!(1), &waiting["backend"]));
    let outbox = &view["devices"][0]["outbox"];
    assert_eq!((&outbox["accepted"], &outbox["settled"]), (&json!(1), &json!(0)));
    let shown = String::from_utf8(project.run(&["device", "show", text(&made["device"])]).stdout).unwrap();
    assert!(shown.contains("waiting      1") && !shown.contains("canary"), "{shown}");
    let (_, traced) = project.json(&["sync", "trace", "3", "--channel", "item"]);
    let accepted = traced["events"].as_array().unwrap().iter().find(|event| event["step"] == "accepted").unwrap();
    assert_eq!((text(&accepted["op"]), text(&accepted["by"]["email"])), ("update", "ana@example.com"));
    let story = String::from_utf8(project.run(&["sync", "trace", "3"]).stdout).unwrap();
    assert!(story.contains("accepted as number 1: update item/3") && !story.contains("canary"), "{story}");
    let refused = project.run(&["device", "revoke", text(&made["device"])]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("1 of its writes are never settled"), "{said}");

    // A disabled account's writes wait when the backend is free too, and through a restart: until it may act again.
    assert_eq!(project.json(&["account", "disable", "ana@example.com"]).0, 0);
    drop(serving);
    database.execute_batch("ROLLBACK").unwrap();
    let _serving = project.serve();
    crate::operator::wait_for(&project, &["channel", "show", "item"], |shown| shown["channel"]["synced"] == true);
    assert!(waits(&project.json(&["sync", "inspect"]).1));
    assert_eq!(project.json(&["account", "enable", "ana@example.com"]).0, 0);
    let view = crate::operator::wait_for(&project, &["sync", "inspect"], |view| view["waiting"] == json!([]));
    assert_eq!(view["devices"][0]["outbox"]["settled"], 1);
    let name: String = database.query_row("SELECT Name FROM Item WHERE Id = 3", [], |row| row.get(0)).unwrap();
    assert_eq!(name, "canary");
}

#[test]
fn seeds_come_back_where_they_are_missing_and_overwrite_only_with_a_yes() {
    let project = Project::new();
    let serving = project.serve();
    assert_eq!(project.json(&["account", "add", "ana@example.com"]).0, 0);
    let activate = || project.json(&["device", "activate", "--account", "ana@example.com", "--store", "ana.db"]).0;
    assert_eq!(activate(), 0);
    let device = || rusqlite::Connection::open(project.root.join("ana.db")).unwrap();
    let title = || -> String {
        device().query_row("SELECT title FROM tickets WHERE id = 'ticket-oven'", [], |row| row.get(0)).unwrap()
    };
    let seeded = title();
    device().execute("UPDATE tickets SET title = 'mine' WHERE id = 'ticket-oven'", []).unwrap();
    device().execute("DELETE FROM tickets WHERE id = 'ticket-filter'", []).unwrap();
    assert_eq!(activate(), 0);

    let tickets = |answer: &Value| {
        answer["channels"].as_array().unwrap().iter().find(|one| one["channel"] == "tickets").unwrap().clone()
    };
    let (code, seed) = project.json(&["db", "seed"]);
    assert_eq!((code, text(&seed["schema"])), (0, "omctl.db.seed/1"));
    assert_eq!(tickets(&seed), json!({ "channel": "tickets", "added": 1, "changed": 0, "kept": 1, "unchanged": 1 }));
    assert_eq!(activate(), 0);
    assert_eq!(title(), "mine", "what looks otherwise is kept");
    let count = |sql: &str| -> u64 { device().query_row(sql, [], |row| row.get(0)).unwrap() };
    assert_eq!(count("SELECT count(*) FROM tickets"), 3, "and what was deleted is back");

    let (code, refused) = project.json(&["db", "seed", "--force"]);
    assert_eq!((code, text(&refused["message"])), (4, "this would overwrite 1 record of tickets"));
    let (code, forced) = project.json(&["db", "seed", "--force", "--yes"]);
    assert_eq!((code, tickets(&forced)["changed"].as_u64()), (0, Some(1)));
    assert_eq!(activate(), 0);
    assert_eq!(title(), seeded);
    drop(serving);
    let undo: Vec<&str> = text(&forced["undo"]).split(' ').skip(1).collect();
    assert_eq!(project.json(&[&undo[..], &["--yes"]].concat()).0, 0);
    let _serving = project.serve();
    assert_eq!(tickets(&project.json(&["db", "seed"]).1)["kept"], 1, "the snapshot has what was overwritten");
    std::fs::remove_dir_all(project.root.join("seed")).unwrap();
    assert_eq!(project.json(&["db", "seed"]).0, 6);
}

#[test]
fn a_store_is_backed_up_anywhere_deleted_and_brought_back() {
    let project = Project::new();
    assert_eq!(project.json(&["backup"]).0, 6, "there is nothing to save yet");
    assert_eq!(project.json(&["db", "reset", "--yes"]).0, 6);
    let mut serving = project.serve();
    assert_eq!(project.json(&["account", "add", "ana@example.com"]).0, 0);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("one");
    let (code, saved) = project.json(&["backup", file.to_str().unwrap()]);
    assert_eq!((code, text(&saved["schema"]), &saved["accounts"]), (0, "omctl.backup/1", &json!(1)));
    assert_eq!(project.json(&["backup", file.to_str().unwrap()]).0, 7, "a backup is never overwritten");
    assert_eq!(project.json(&["backup", folder.path().join("no/where").to_str().unwrap()]).0, 1);
    let (_, into) = project.json(&["backup", folder.path().to_str().unwrap()]);
    assert!(text(&into["path"]).contains("/fieldwork-20") && text(&into["path"]).ends_with(".omsnap"), "{into}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }

    let (code, locked) = project.json(&["db", "reset", "--yes"]);
    assert_eq!((code, locked["pid"].as_u64()), (7, Some(u64::from(serving.child.id()))));
    // A killed server leaves what it has committed in its log alone.
    serving.child.kill().unwrap();
    serving.child.wait().unwrap();
    let (code, refused) = project.json(&["db", "reset"]);
    assert_eq!((code, text(&refused["code"])), (4, "needs_yes"));
    let message = text(&refused["message"]);
    assert!(message.contains(".openmobster/dev` (6 records, 1 accounts)"), "the target is named: {message}");
    let (code, reset) = project.json(&["db", "reset", "--yes"]);
    assert_eq!((code, &reset["records"], &reset["accounts"]), (0, &json!(6), &json!(1)));
    let serving = project.serve();
    let fresh = project.json(&["account", "list"]).1;
    assert_eq!(fresh["accounts"], json!([]));
    let seeded = project.json(&["db", "seed"]).1;
    assert!(seeded["channels"].as_array().unwrap().iter().all(|one| one["unchanged"] == 3), "a fresh store is seeded");
    drop(serving);
    for back in [text(&reset["before"]), text(&saved["path"])] {
        assert_eq!(project.json(&["db", "restore", back, "--yes"]).1["accounts"], 1, "{back}");
    }
}
