//! Attacks in files, against the real binary: project files, and archives that are to be restored.

use std::path::Path;

use crate::serve::{Project, omctl};

#[test]
fn c26_an_archive_is_no_snapshot_and_extracts_nothing() {
    let project = Project::new();
    drop(project.serve());
    let store = project.root.join(".openmobster/dev/store.db");
    let before = std::fs::read(&store).unwrap();
    // A tar with one member, whose name leads out of the folder.
    let mut tar = vec![0u8; 1536];
    tar[..18].copy_from_slice(b"../extracted\0\0\0\0\0\0");
    tar[100..107].copy_from_slice(b"0000644");
    tar[124..135].copy_from_slice(b"00000000003");
    tar[257..263].copy_from_slice(b"ustar\0");
    tar[512..515].copy_from_slice(b"bad");
    let packed = zstd::bulk::compress(&tar, 1).unwrap();
    let zip = b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\x03\0\0\0\x03\0\0\0\x0c\0\0\0../extractedbad".to_vec();
    for (name, content) in [("a.tar", tar), ("a.omsnap", packed), ("a.zip", zip)] {
        std::fs::write(project.root.join(name), content).unwrap();
        let (code, error) = project.json(&["db", "restore", name, "--yes"]);
        assert_eq!((code, &error["code"]), (3, &"bad_snapshot".into()), "{name}: {error}");
    }
    fn holds(folder: &Path, name: &str) -> bool {
        std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .any(|path| path.file_name().is_some_and(|found| found == name) || (path.is_dir() && holds(&path, name)))
    }
    assert!(!holds(project.root.parent().unwrap(), "extracted"));
    assert!(!holds(&project.root.join(".openmobster"), "store.db.restoring"));
    assert_eq!(std::fs::read(&store).unwrap(), before);
}

#[test]
fn c38_project_files_are_refused_by_place() {
    let base = "version: 1\nname: t\n";
    let mut bomb = format!("{base}a: &a [x, x, x, x, x, x, x, x, x, x]\n");
    for (name, before) in "bcdefghijk".chars().zip("abcdefghij".chars()) {
        let ten = vec![format!("*{before}"); 10].join(", ");
        bomb.push_str(&format!("{name}: &{name} [{ten}]\n"));
    }
    let channel = |field: &str| format!("scope: public\nfields:\n  title: {{ type: text, {field} }}\n");
    let cases = [
        ("openmobster.yaml", format!("{base}serfer: {{ addr: 127.0.0.1:1 }}\n"), "openmobster.yaml:3:1", "serfer"),
        ("channels/tickets.yaml", channel("max_lenght: 5"), "channels/tickets.yaml:3:24", "max_lenght"),
        (
            "openmobster.yaml",
            format!("{base}backends:\n  crm: {{ kind: sqlite, path: \"https://u:canary-hunter2@h/x\" }}\n"),
            "openmobster.yaml:4:30",
            "",
        ),
        (
            "openmobster.yaml",
            format!("{base}backends:\n  crm: {{ kind: sqlite, path: \"${{env:PRESENT}}${{env:MISSING}}\" }}\n"),
            "openmobster.yaml:4:30",
            "MISSING",
        ),
        ("openmobster.yaml", bomb, "openmobster.yaml:", ""),
    ];
    for (file, text, place, key) in cases {
        let project = Project::new();
        std::fs::remove_dir_all(project.root.join("seed")).unwrap();
        std::fs::remove_dir_all(project.root.join("channels")).unwrap();
        std::fs::create_dir(project.root.join("channels")).unwrap();
        std::fs::write(project.root.join(file), &text).unwrap();
        let mut command = omctl(&project.root);
        command.arg("check").env_remove("MISSING").env("PRESENT", "canary").env("NO_COLOR", "1");
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains(&format!("--> {place}")) && said.contains(key), "{place}: {said}");
        assert!(!said.contains("canary"), "a value is never shown: {said}");
        assert!(said.len() < 10_000, "a bomb does not fill the terminal");
        let (code, error) = project.json(&["check"]);
        assert_eq!((code, &error["code"]), (3, &"invalid_project".into()));
        let first = &error["diagnostics"][0];
        assert!(first["line"].as_u64() > Some(0) && first["column"].as_u64() > Some(0), "{error}");
        assert!(!error.to_string().contains("canary"), "{error}");
    }
}
