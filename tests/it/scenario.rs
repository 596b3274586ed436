//! Scenarios by the real binary: a server of the fleet's own, killed in between, bad networks, devices that are killed and
//! set back, somebody else who writes; and what the files themselves say of the verdict.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use omctl::client::{Client, ClientError};
use omctl_protocol::admin::ForeignWrite;
use omctl_protocol::{ChannelName, Fields, Operation, RecordId};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::direct;
use crate::serve::{Project, omctl};

const HARD_TIMES: &str = "seed: 7
accounts:
  field:  { devices: 3, network: lossy }
  office: { role: chief, devices: 2 }
phases:
  - { for: 2s, field: { write: [tickets, customers], rate: 8/s, kills: 2 }, office: { update: tickets, hot_keys: 2, rate: 8/s } }
  - { for: 3s, field: { write: tickets, offline: 50% }, office: { create: tickets, network: captive-portal }, server: { restart: once } }
  - { heal: all }
  - { for: 1s, office: { delete: tickets, rate: 4/s, network: 4g } }
expect: { converged: true, lost: 0, duplicated: 0, stale: 0, conflicts: \"> 0\" }
";

#[test]
fn a_fleet_goes_through_its_scenario_and_proves_what_is_expected() {
    let project = Project::new();
    std::fs::write(project.root.join("scenarios/hard-times.yaml"), HARD_TIMES).expect("the folder is there");
    let (code, refused) = project.json(&["device", "simulate", "hard-times"]);
    let hint = refused["hint"].as_str().unwrap_or_default();
    assert!(code == 2 && hint.contains("--spawn"), "only a server of its own can be restarted: {refused}");

    let (code, report) = project.json(&["device", "simulate", "hard-times", "--spawn"]);
    assert_eq!((code, &report["lost"], &report["duplicated"]), (0, &json!(0), &json!(0)), "{report}");
    assert_eq!((&report["scenario"], &report["devices"]), (&json!("hard-times"), &json!(5)));
    assert!(report["mutations"].as_u64() > Some(20) && report["cuts"].as_u64() > Some(0), "{report}");
    let died = (&report["kills"], &report["dropped"], &report["server_kills"]);
    assert_eq!(died, (&json!(0), &json!(2), &json!(1)), "who is no process is dropped, and the report says so");
    assert!(!project.root.join(".openmobster/dev").exists(), "the project's own store is not touched");

    let demanding = HARD_TIMES.replace("conflicts: \"> 0\"", "conflicts: \"< 0\", latency_ms.p50: \"< 1\"");
    std::fs::write(project.root.join("scenarios/demanding.yaml"), demanding).expect("the folder is there");
    // A verdict is a result, whatever it is.
    let ended = project.run(&["device", "simulate", "demanding", "--spawn", "--json"]);
    let report: Value = serde_json::from_slice(&ended.stdout).expect("a report");
    assert_eq!((ended.status.code(), report["converged"].as_bool()), (Some(21), Some(true)), "{report}");
    let breached = report["breached"].as_array().expect("a list");
    assert!(breached[0].as_str().is_some_and(|text| text.starts_with("conflicts is ")), "{report}");
    assert_eq!(breached.len(), 2, "{report}");
}

#[test]
fn a_scenario_that_is_not_there_is_named_with_what_is_near() {
    let project = Project::new();
    let (code, refused) = project.json(&["device", "simulate", "rush-our", "--spawn"]);
    assert_eq!((code, &refused["hint"]), (6, &json!("did you mean `rush-hour`?")), "{refused}");
    let (code, refused) = project.json(&["device", "simulate", "rush-hour", "--devices", "3"]);
    assert_eq!((code, &refused["code"]), (2, &json!("usage")), "{refused}");
    let (code, refused) = project.json(&["test", "rush-our"]);
    assert_eq!((code, &refused["hint"]), (6, &json!("did you mean `rush-hour`?")), "{refused}");
}

/// A project over a database of its own: jobs with a key that the backend assigns, hours that add up, an owner each.
fn over_a_database() -> (Project, PathBuf) {
    let project = Project::new();
    for folder in ["channels", "seed", "scenarios"] {
        std::fs::remove_dir_all(project.root.join(folder)).expect("the folder is there");
        std::fs::create_dir(project.root.join(folder)).expect("it can be made");
    }
    let db = project.root.join("crm.db");
    let connection = Connection::open(&db).expect("a new file");
    let schema = "CREATE TABLE job (job_no INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT NOT NULL, hours NUMERIC NOT NULL
        DEFAULT 0, owner TEXT NOT NULL);
        WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 60)
        INSERT INTO job (title, hours, owner) SELECT 'Job ' || n, n % 7, iif(n % 2, 'ana', 'ben') || '@mix.test' FROM n;";
    connection.execute_batch(schema).expect("it is SQL");
    let put = |name: &str, text: &str| std::fs::write(project.root.join(name), text).expect("the folder is there");
    put(
        "openmobster.yaml",
        "version: 1\nname: jobs\nserver: { addr: 127.0.0.1:0, data_dir: .openmobster/dev }\nbackends: { crm: { kind: sqlite, path: crm.db } }\nenv: { prod: { server: { addr: 127.0.0.1:0 } } }\n",
    );
    put(
        "channels/job.yaml",
        "backend: crm\ntable: job\nkey: { columns: [job_no], assigned_by: backend }\nscope: { owner: account.claims.owner }
write: { create: any, update: any, delete: any }\nfields:\n  job_no: { type: int }\n  title: { type: text, required: true }
  hours: { type: decimal, conflict: sum, required: true, default: \"0\" }\n  owner: { type: text, required: true }\n",
    );
    put("scenarios/mix.yaml", MIX);
    let (code, installed) = project.json(&["channel", "install", "--all", "--yes"]);
    assert_eq!(code, 0, "{installed}");
    (project, db)
}

const MIX: &str = "seed: 3
accounts:
  ana: { claims: { owner: ana@mix.test }, devices: 3, network: lossy }
  ben: { claims: { owner: ben@mix.test }, devices: 2, network: 4g }
phases:
  - { for: 5s, ana: { write: job, rate: 5/s, offline: 2s, kills: 2, clock_skew: 2h, transactions: 20% }, ben: { write: job, rate: 5/s, hot_keys: 3, upgrades: 1, restores: 1 }, foreign: { table: job, rate: 5/s }, server: { restart: once } }
  - { heal: all }
expect: { converged: true, lost: 0, duplicated: 0, stale: 0 }
";

#[test]
fn everything_befalls_a_fleet_over_a_database_and_it_leaves_no_trace() {
    let (project, db) = over_a_database();
    let before = direct::dump(&db, "job");
    let (code, refused) = project.json(&["device", "simulate", "mix", "--spawn"]);
    assert_eq!((code, &refused["code"]), (4, &json!("writes_not_allowed")), "{refused}");
    let tape = project.root.join("mix.tape");
    let tape = tape.to_str().expect("a plain path");
    let all =
        ["device", "simulate", "mix", "--spawn", "--allow-writes", "--processes", "2", "--cleanup", "--record", tape];
    let (code, report) = project.json(&all);
    assert_eq!(code, 0, "{report}");
    for what in ["kills", "server_kills", "upgrades", "set_back"] {
        assert!(report[what].as_u64() > Some(0), "{what}: {report}");
    }
    assert!(report["foreign"]["written"].as_u64() > Some(5), "{report}");
    for what in ["create", "update", "delete"] {
        assert!(report["applied"][what].as_u64() > Some(0), "{what}: {report}");
    }
    assert_eq!(report["left"], json!({}), "{report}");
    assert_eq!(direct::dump(&db, "job"), before, "what was made is gone, what was changed is as it was");

    let (code, again) = project.json(&["device", "replay", tape, "--spawn", "--allow-writes", "--cleanup"]);
    assert_eq!(code, 0, "{again}");
    assert_eq!((&again["seed"], &again["scenario"]), (&json!(3), &json!("mix")));
    assert!(again["mutations"].as_u64() > Some(20) && again["kills"] == report["kills"], "{again}");
    std::fs::write(tape, "{\"schema\":\"omctl.tape/9\"}\n").expect("it can be written");
    let (code, refused) = project.json(&["device", "replay", tape, "--spawn"]);
    assert_eq!((code, &refused["code"]), (2, &json!("bad_tape")), "{refused}");
}

#[test]
fn the_verdict_is_what_the_files_say() {
    let (project, db) = over_a_database();
    let start = direct::rows(&db, "SELECT job_no, hours FROM job");
    let quiet = MIX.replace(", foreign: { table: job, rate: 5/s }", "").replace(", restores: 1", "");
    std::fs::write(project.root.join("scenarios/mix.yaml"), quiet).expect("the folder is there");
    let kept = project.root.join("kept");
    let keep = kept.to_str().expect("a plain path");
    let (code, report) =
        project.json(&["device", "simulate", "mix", "--spawn", "--allow-writes", "--processes", "5", "--keep", keep]);
    assert_eq!((code, &report["lost"], &report["duplicated"]), (0, &json!(0), &json!(0)), "{report}");
    let files: Vec<PathBuf> = (1..=5).map(|n| kept.join(format!("device-0{n}.db"))).collect();
    for (n, file) in files.iter().enumerate() {
        let owner = if n < 3 { "ana" } else { "ben" };
        let held = direct::rows(file, "SELECT job_no, title, hours, owner FROM job ORDER BY 1");
        let theirs = format!("SELECT job_no, title, hours, owner FROM job WHERE owner = '{owner}@mix.test' ORDER BY 1");
        assert_eq!(held, direct::rows(&db, &theirs), "device {}", n + 1);
    }
    let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    let settled: Vec<_> = files.iter().flat_map(|file| direct::settled(file)).collect();
    assert_eq!(report["mutations"], json!(settled.len()));
    // Every hour that was added is there once.
    let added = direct::added(&files, "hours");
    let mut judged = 0;
    for row in &start {
        let now = direct::rows(&db, &format!("SELECT hours FROM job WHERE job_no = {}", row[0]));
        let (Some(now), Some(more)) = (now.first(), added.get(&row[0])) else { continue };
        let number = |text: &String| text.parse::<f64>().expect("hours are numbers");
        assert_eq!(number(&now[0]), number(&row[1]) + more, "job {}", row[0]);
        judged += 1;
    }
    assert!(judged > 5, "sums were judged: {judged}");
    // Every record that was made and not removed has its row.
    let outcome = |op: &str| {
        let of_op =
            settled.iter().filter(move |(mutation, receipt)| mutation["op"] == op && receipt["outcome"] == "applied");
        of_op.map(|(mutation, _)| mutation["record"].as_str().expect("an id").to_owned()).collect::<Vec<_>>()
    };
    let (made, removed) = (outcome("create"), outcome("delete"));
    let there = made.iter().filter(|id| !removed.contains(id)).count();
    let of_start = start.iter().filter(|row| !removed.contains(&row[0])).count();
    assert_eq!(direct::rows(&db, "SELECT job_no FROM job").len(), of_start + there);
}

#[test]
fn a_project_is_tested_on_copies_and_junit_is_written() {
    let (project, db) = over_a_database();
    let hopeless = MIX.replace("converged: true", "converged: true, conflicts: \"> 1000000\"").replace("5s", "2s");
    std::fs::write(project.root.join("scenarios/hopeless.yaml"), hopeless).expect("the folder is there");
    let before = direct::dump(&db, "job");
    let xml = project.root.join("results.xml");
    let ended = project.run(&["test", "--json", "--junit", xml.to_str().expect("a plain path")]);
    let report: Value = serde_json::from_slice(&ended.stdout).expect("a report");
    assert_eq!(
        (ended.status.code(), &report["passed"], &report["failed"]),
        (Some(21), &json!(1), &json!(1)),
        "{report}"
    );
    assert_eq!((&report["scenarios"][0]["exit"], &report["scenarios"][1]["exit"]), (&json!(21), &json!(0)), "{report}");
    assert_eq!(direct::dump(&db, "job"), before, "the project's own database is not written");
    let xml = std::fs::read_to_string(xml).expect("it was written");
    assert!(xml.contains("tests=\"2\" failures=\"1\" errors=\"0\""), "{xml}");
    assert!(xml.contains("<failure type=\"breached\"") && xml.contains("expectation breached: conflicts is "), "{xml}");
}

#[tokio::test]
async fn only_a_developers_server_is_written_behind_syncs_back() {
    let (project, db) = over_a_database();
    let serving = project.serve();
    let client = Client::of_data_dir(&project.root.join(".openmobster/dev")).expect("it serves");
    let job = ChannelName::from("job");
    let write = |op: Operation, record: &str, set: Fields, add: Fields| ForeignWrite {
        op,
        record: Some(RecordId::from(record)),
        set,
        add,
    };
    let field = |name: &str, value: &str| Fields::from([(name.to_owned(), json!(value))]);
    let update = write(Operation::Update, "1", field("title", "theirs"), field("hours", "2.5"));
    let done = client.write_foreign(&job, &update).await.expect("it is done");
    assert_eq!((done.key.as_deref(), &done.wrote["hours"]), (Some("1"), &json!("3.5")));
    assert_eq!(direct::rows(&db, "SELECT title, hours FROM job WHERE job_no = 1"), [["theirs", "3.5"]]);
    assert_eq!(
        direct::rows(&db, "SELECT count(*) FROM om_applied WHERE op <> 'nothing'"),
        [["0"]],
        "it leaves no dedupe row"
    );
    let gone = write(Operation::Delete, "99999", Fields::new(), Fields::new());
    let refused = client.write_foreign(&job, &gone).await.expect("it is answered");
    assert_eq!((refused.refused.as_deref(), refused.key), (Some("gone"), None));
    drop(serving);

    let mut command = omctl(&project.root);
    command.args(["serve", "--env", "prod", "--addr", "127.0.0.1:0", "--json", "--data-dir", "prod"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("it is ready");
    let client = Client::of_data_dir(&project.root.join("prod")).expect("it serves");
    let refused = client.write_foreign(&job, &update).await;
    child.kill().and_then(|()| child.wait()).expect("it was alive");
    let Err(ClientError::Refused(problem)) = refused else { panic!("{refused:?}") };
    assert_eq!((problem.status, problem.code.as_str()), (403, "not_allowed"));
    assert_eq!(direct::rows(&db, "SELECT hours FROM job WHERE job_no = 1"), [["3.5"]]);
}
