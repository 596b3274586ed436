//! The examples as a reader runs them: checked, served, written to by simulated devices, and the same everywhere at the end.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;

use crate::serve::Project;
use crate::source;

/// A copy of an example, without what running it leaves behind.
fn copy_of(name: &str) -> Project {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join(name);
    copy(&source::root().join("examples").join(name), &root);
    Project::at(folder, root)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if name == ".openmobster" || name.to_string_lossy().ends_with(".db") {
            continue;
        }
        let target = to.join(&name);
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// Serves the project, lets three devices write for a moment, and expects the proof.
fn converges(project: &Project, more: &[&str]) {
    let _serving = project.serve();
    assert_eq!(project.json(&["account", "add", "ana@example.com"]).0, 0);
    let simulate = ["device", "simulate", "--devices", "3", "--duration", "2s", "--offline", "1s", "--seed", "7"];
    let (code, report) = project.json(&[&simulate, more].concat());
    assert_eq!((code, &report["converged"]), (0, &true.into()), "{report}");
    assert_eq!((&report["lost"], &report["duplicated"]), (&0.into(), &0.into()), "{report}");
    assert!(report["mutations"].as_u64().unwrap() > 0 && report["records"].as_u64().unwrap() > 0, "{report}");
}

#[test]
fn the_field_service_runs() {
    let project = copy_of("fieldwork");
    assert_eq!(project.json(&["check"]).1["channels"], 2);
    converges(&project, &[]);
}

#[test]
fn the_music_shop_runs_on_a_database_that_was_there_before() {
    let project = copy_of("musicshop");
    let path = project.root.join("shop.db");
    let made = std::fs::read_to_string(project.root.join("shop.sql")).unwrap();
    rusqlite::Connection::open(&path).unwrap().execute_batch(&made).unwrap();
    assert_eq!(project.json(&["check"]).1["channels"], 5);
    assert_eq!(project.json(&["channel", "install", "--all", "--yes"]).0, 0);
    converges(&project, &["--allow-writes"]);
    let database = rusqlite::Connection::open(&path).unwrap();
    let broken: Option<String> =
        database.query_row("SELECT \"table\" FROM pragma_foreign_key_check", [], |row| row.get(0)).ok();
    assert_eq!(broken, None, "devices leave every reference whole");
    drop(database);
    assert_eq!(project.json(&["channel", "install", "--all", "--remove", "--yes"]).0, 0);
}

#[test]
fn the_music_shops_channels_are_what_the_database_says() {
    let project = copy_of("musicshop");
    let made = std::fs::read_to_string(project.root.join("shop.sql")).unwrap();
    rusqlite::Connection::open(project.root.join("shop.db")).unwrap().execute_batch(&made).unwrap();
    let from = ["new", "channel", "--from", "sqlite:shop.db", "--all", "--scope", "public", "--write"];
    let (code, written) = project.json(&[&from[..], &["create,update,delete", "--force"]].concat());
    assert_eq!((code, &written["skipped"][0]["table"]), (0, &"stock_by_artist".into()), "{written}");
    for name in ["artist", "album", "customer", "sale", "sale_line"] {
        let file = format!("channels/{name}.yaml");
        let kept = std::fs::read_to_string(source::root().join("examples/musicshop").join(&file)).unwrap();
        let written = std::fs::read_to_string(project.root.join(&file)).unwrap();
        // The one word that the README says was added by hand.
        let kept = kept.replace(", conflict: sum }  # both devices' differences are added", " }");
        assert_eq!(kept, written, "{file}");
    }
}
