//! What operators see and let through, by the real binary: held deletes, rejected writes, values that lost.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bad_input::World;
use crate::serve::{Project, omctl};
use crate::wire::{catalog, create, mutation};

/// A project with one channel over a database that somebody else owns, looked at every second.
pub(crate) fn project() -> (Project, rusqlite::Connection) {
    let project = Project::new();
    let database = rusqlite::Connection::open(project.root.join("crm.db")).unwrap();
    database
        .execute_batch(
            "CREATE TABLE Item (Id INTEGER PRIMARY KEY, Name TEXT);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12)
                INSERT INTO Item SELECT i, 'item ' || i FROM n;",
        )
        .unwrap();
    let from = ["new", "channel", "--from", "sqlite:crm.db#Item", "--scope", "public", "--write", "create,update"];
    assert_eq!(project.json(&from).0, 0);
    let file = project.root.join("channels/item.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}\ndetect: {{ every: 1s }}\n")).unwrap();
    (project, database)
}

/// Asks until the answer is as wanted: a running server has its own pace.
pub(crate) fn wait_for(project: &Project, args: &[&str], wanted: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let (code, answer) = project.json(args);
        if code == 0 && wanted(&answer) {
            return answer;
        }
        assert!(Instant::now() < until, "{args:?} never came: {answer}");
    }
}

#[test]
fn held_deletes_are_shown_and_let_through_by_a_yes() {
    let (project, database) = project();
    let _serving = project.serve();
    wait_for(&project, &["channel", "show", "item"], |shown| shown["channel"]["synced"] == true);
    let (code, resumed) = project.json(&["channel", "resume", "item"]);
    assert_eq!((code, &resumed["held"], &resumed["deleted"]), (0, &0.into(), &0.into()), "nothing is held");

    database.execute_batch("DELETE FROM Item").unwrap();
    wait_for(&project, &["channel", "show", "item"], |shown| shown["channel"]["held_deletes"] == 12);
    let list = String::from_utf8(project.run(&["channel", "list"]).stdout).unwrap();
    assert!(list.contains("live, 12 deletes held"), "{list}");
    let show = String::from_utf8(project.run(&["channel", "show", "item"]).stdout).unwrap();
    assert!(show.contains("12 deletes; let them through: omctl channel resume item"), "{show}");

    let (code, refused) = project.json(&["channel", "resume", "item"]);
    assert_eq!((code, &refused["code"]), (4, &"needs_yes".into()));
    assert!(refused["message"].as_str().unwrap().contains("12 records of channel `item`"), "{refused}");
    let (code, resumed) = project.json(&["channel", "resume", "item", "--yes"]);
    assert_eq!((code, &resumed["schema"]), (0, &"omctl.channel.resume/1".into()));
    assert_eq!((&resumed["held"], &resumed["deleted"]), (&12.into(), &12.into()));
    assert_eq!(project.json(&["channel", "show", "item"]).1["channel"]["held_deletes"], 0);
    assert_eq!(project.json(&["channel", "resume", "nothing"]).0, 6);
}

#[test]
fn a_server_says_on_its_own_output_what_it_holds() {
    let (project, database) = project();
    let mut command = omctl(&project.root);
    command.args(["serve", "--addr", "127.0.0.1:0"]).stdout(std::process::Stdio::null());
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    let mut until = |wanted: &str| loop {
        // The end of the output fails the test here; a hanging one is ended by the harness.
        let line = lines.next().unwrap().unwrap();
        if line.contains(wanted) {
            return line;
        }
    };
    until("`item` is synced");
    database.execute_batch("DELETE FROM Item").unwrap();
    let line = until("their deletes are held");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.contains("12 records of `item`") && line.contains("omctl channel resume item"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_writes_and_lost_values_are_listed_newest_first_and_their_values_only_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::with(&catalog(folder.path())).await;
    let made = world.admin("POST", "/v1/admin/accounts", json!({ "email": "bo@example.com" })).await;
    assert_eq!(made.status, 201);
    let asked = async |words: &[&str]| {
        let mut command = omctl(folder.path());
        command.args(words).args(["--server", &format!("http://{}", world.addr())]);
        command.env("OMCTL_TOKEN", &world.running.admin_token);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    };
    let json_of = async |words: &[&str]| -> Value {
        let output = asked(&[words, &["--json"]].concat()).await;
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{words:?}: {output:?}"))
    };
    let none = json!({ "type": "result", "schema": "omctl.sync.rejected/1", "rejected": [] });
    assert_eq!(json_of(&["sync", "rejected"]).await, none);

    let (ana, bo) = (world.phone_of("ana@example.com").await, world.phone_of("bo@example.com").await);
    let title = |text: &str| json!({ "title": text });
    let writes = vec![
        create(1, "notes", 1, title("first canary")),
        create(2, "own", 2, json!({ "title": "canary", "owner": "bo@example.com" })),
        mutation(3, "notes", "update", 1, title("first canary"), title("old canary")),
    ];
    world.exchange(&ana, ana.hello(1, 3), writes).await;
    let writes = vec![
        create(1, "own", 3, json!({ "owner": "ana@example.com" })),
        create(2, "nothing", 4, json!({})),
        mutation(3, "notes", "update", 1, title("first canary"), title("lost canary")),
    ];
    world.exchange(&bo, bo.hello(1, 3), writes).await;

    let codes = async |more: &[&str]| {
        let listed = json_of(&[&["sync", "rejected"], more].concat()).await;
        let all = listed["rejected"].as_array().unwrap().clone();
        all.iter().map(|one| format!("{} {}", one["email"], one["code"]).replace('"', "")).collect::<Vec<_>>()
    };
    let [first, second, third] =
        ["bo@example.com unknown_channel", "bo@example.com scope_write", "ana@example.com scope_write"];
    assert_eq!(codes(&[]).await, [first, second, third]);
    assert_eq!(codes(&["--channel", "own"]).await, [second, third]);
    assert_eq!(codes(&["--account", "Bo@Example.com"]).await, [first, second]);
    assert_eq!(codes(&["--channel", "own", "--account", "ana@example.com"]).await, [third]);
    assert_eq!(codes(&["--limit", "1"]).await, [first]);
    assert_eq!(asked(&["sync", "rejected", "--limit", "0"]).await.status.code(), Some(2));
    assert_eq!(asked(&["sync", "rejected", "--account", "cy@example.com"]).await.status.code(), Some(6));
    for query in ["limit=0", "limit=1001", "limit=x", "chanel=own"] {
        let answer = world.admin("GET", &format!("/v1/admin/rejected?{query}"), Value::Null).await;
        assert_eq!(answer.code(), (422, "bad_value"), "{query}");
    }

    let conflicts = json_of(&["sync", "conflicts"]).await;
    assert_eq!(conflicts["schema"], "omctl.sync.conflicts/1");
    let one = &conflicts["conflicts"][0];
    assert_eq!((&one["losing"], &one["mutation"]["old"]), (&title("lost canary"), &title("first canary")));
    assert_eq!((&one["email"], &one["device_name"]), (&"bo@example.com".into(), &"a phone".into()));
    let shown = String::from_utf8(asked(&["sync", "conflicts"]).await.stdout).unwrap();
    let row = shown.lines().nth(1).unwrap();
    assert!(row.contains("a phone  bo@example.com  notes") && row.ends_with("lost: title"), "{shown}");
    let shown = format!("{shown}{:?}", asked(&["sync", "rejected"]).await);
    assert!(!shown.contains("canary"), "{shown}");
    // Nobody else is told.
    let token = format!("Bearer {}", ana.tokens.access_token);
    for path in ["/v1/admin/rejected", "/v1/admin/conflicts"] {
        let answer = world.send("GET", path, &[("authorization", &token)], "").await;
        assert_eq!(answer.code(), (403, "forbidden"));
    }
    let answer = world.send("POST", "/v1/admin/channels/own/resume", &[("authorization", &token)], "{}").await;
    assert_eq!(answer.code(), (403, "forbidden"));
}
