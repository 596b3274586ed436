//! Scenarios by the real binary: a server of the fleet's own, killed in between, bad networks, and what is expected of it.

use serde_json::json;

use crate::serve::Project;

const HARD_TIMES: &str = "seed: 7
accounts:
  field:  { devices: 3, network: lossy }
  office: { role: chief, devices: 2 }
phases:
  - { for: 2s, field: { write: [tickets, customers], rate: 8/s }, office: { update: tickets, hot_keys: 2, rate: 8/s } }
  - { for: 3s, field: { write: tickets, offline: 50% }, office: { create: tickets, network: captive-portal }, server: { restart: once } }
  - { heal: all }
  - { for: 1s, office: { delete: tickets, rate: 4/s, network: 4g } }
expect: { converged: true, lost: 0, duplicated: 0, conflicts: \"> 0\" }
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
    assert!(!project.root.join(".openmobster/dev").exists(), "the project's own store is not touched");

    let demanding = HARD_TIMES.replace("conflicts: \"> 0\"", "conflicts: \"< 0\", latency_ms.p50: \"< 1\"");
    std::fs::write(project.root.join("scenarios/demanding.yaml"), demanding).expect("the folder is there");
    // A verdict is a result, whatever it is.
    let ended = project.run(&["device", "simulate", "demanding", "--spawn", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&ended.stdout).expect("a report");
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
}
