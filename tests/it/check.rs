//! `omctl check` under attack, by the real binary: files that editors, systems and slips leave behind.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;

use serde_json::Value;

use crate::serve::{Project, omctl};

const GOOD: &str = "scope: public\nfields:\n  title: { type: text }\n";

/// A project with one file in `channels/`, or none.
fn project(files: &[(&str, &[u8])]) -> (Project, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("p");
    std::fs::create_dir_all(root.join("channels")).unwrap();
    std::fs::write(root.join("openmobster.yaml"), "version: 1\nname: p\n").unwrap();
    for (path, bytes) in files {
        std::fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        std::fs::write(root.join(path), bytes).unwrap();
    }
    (Project::at(tempfile::tempdir().unwrap(), root), folder)
}

/// `FILE:LINE:COLUMN CODE MESSAGE` of every diagnostic.
fn told(project: &Project) -> Vec<String> {
    let (code, answer) = project.json(&["check"]);
    assert!(code == 0 || code == 3, "{answer}");
    if code == 3 {
        assert_eq!((&answer["code"], &answer["schema"]), (&"invalid_project".into(), &"omctl.check/1".into()));
    }
    let line = |one: &Value| {
        let text = |key: &str| one[key].as_str().unwrap().to_owned();
        format!("{}:{}:{} {} {}", text("file"), one["line"], one["column"], text("code"), text("message"))
    };
    answer["diagnostics"].as_array().unwrap().iter().map(line).collect()
}

#[test]
fn every_odd_file_is_read_or_named() {
    let big = vec![b'#'; 5 << 20];
    let cases: &[(&str, &[u8], &str)] = &[
        ("a.yaml", b"\xef\xbb\xbfscope: public\r\nfields:\r\n  title: { type: text }\r\n", ""),
        ("a.yaml", b"scope: public\nfields:\n  a: &x { type: text }\n  b: *x\n", ""),
        ("a.yaml", b"\xef\xbb\xbfscope: publik\nfields:\n  title: { type: text }\n", "a.yaml:1:8 bad_scope"),
        ("a.yaml", b"scope: public\r\nfields:\r\n  title: { type: txt }\r\n", "a.yaml:3:18 unknown_type"),
        ("a.yaml", b"scope: public\rfields:\r  title: { type: txt }\r", "a.yaml:3:18 unknown_type"),
        ("a.yaml", b"scope: public\nfields:\n\ttitle: { type: text }\n", "a.yaml:3:2 yaml_syntax a tab"),
        (
            "a.yaml",
            b"scope: { region: account.claims.regions\nwrite: {}\n",
            "a.yaml:2:6 yaml_syntax expected `,` or `}`: the `{` of line 1, column 8 is still open",
        ),
        ("a.yaml", b"scope: public\nscope: public\nfields: { a: { type: text } }\n", "a.yaml:2:1 duplicate_key"),
        ("a.yaml", b"scope: public\nfields:\n  a: { <<: *x }\n", "a.yaml:3:12 yaml_syntax `*x` repeats"),
        (
            "a.yaml",
            b"scope: public\nfields:\n  - a: { type: text }\n",
            "a.yaml:3:3 wrong_kind `fields` must be a map, not a list",
        ),
        ("a.yaml", b"scope: public\nfields:\n  a: {type:text}\n", "a.yaml:3:3 missing_key"),
        ("a.yaml", b"", "a.yaml:1:1 missing_key"),
        ("a.yaml", b"\x89PNG\r\n\x1a\n\x00\xff", "a.yaml:1:1 yaml_syntax the file is not UTF-8 text"),
        ("a.yaml", b"scope: public\0\n", "a.yaml:1:14 yaml_syntax a control character"),
        ("a.yaml", &big, "a.yaml:0:0 too_complex the file is larger than 1024 KiB"),
        ("My Tickets.yaml", GOOD.as_bytes(), "My Tickets.yaml:0:0 bad_file_name `My Tickets` cannot name a channel"),
        ("tickets.YAML", GOOD.as_bytes(), "tickets.YAML:0:0 bad_file_name a channel's file ends in `.yaml`"),
        ("tickets.yml", GOOD.as_bytes(), "tickets.yml:0:0 bad_file_name"),
        ("tickets.yaml/a.yaml", GOOD.as_bytes(), "tickets.yaml:0:0 unreadable this is a folder, not a file"),
        ("old/tickets.yaml", GOOD.as_bytes(), "old:0:0 ignored_folder"),
        ("tickets.yaml~", b"][", ""),
        (".tickets.yaml.swp", b"][", ""),
    ];
    for (name, bytes, expected) in cases {
        let (project, _folder) = project(&[(&format!("channels/{name}"), bytes)]);
        let told = told(&project);
        let errors: Vec<&String> = told.iter().filter(|one| !one.contains(" no_scope ")).collect();
        match *expected {
            "" => assert!(errors.is_empty(), "{name}: {errors:?}"),
            expected => {
                let expected = format!("channels/{expected}");
                assert!(errors.first().is_some_and(|one| one.starts_with(&expected)), "{expected}: {errors:?}");
            }
        }
    }
    let deep = format!("scope: public\nfields: {}{}\n", "{ a: ".repeat(60), "}".repeat(60));
    let (project, _folder) = project(&[("channels/a.yaml", deep.as_bytes())]);
    assert!(told(&project)[0].contains("too_complex lists and maps are nested deeper than 32"));
}

#[cfg(unix)]
#[test]
fn links_and_pipes_are_named_and_never_waited_for() {
    use std::os::unix::fs::symlink;
    let (project, _folder) = project(&[]);
    let channels = project.root.join("channels");
    symlink(channels.join("b.yaml"), channels.join("a.yaml")).unwrap();
    symlink(channels.join("a.yaml"), channels.join("b.yaml")).unwrap();
    symlink("nowhere", channels.join("c.yaml")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(channels.join("d.yaml")).status().unwrap().success());
    assert_eq!(
        told(&project),
        [
            "channels/a.yaml:0:0 unreadable the file cannot be read: it is a link that leads in a circle",
            "channels/b.yaml:0:0 unreadable the file cannot be read: it is a link that leads in a circle",
            "channels/c.yaml:0:0 unreadable the file cannot be read: it is a link to nothing",
            "channels/d.yaml:0:0 unreadable this is a device or pipe, not a file",
        ]
    );
}

#[test]
fn all_files_are_told_at_once_with_the_line_and_a_hint() {
    let (project, _folder) = project(&[
        ("channels/tickets.yaml", b"scope: publik\nfields:\n  title: { type: txet, requierd: true }\n"),
        ("channels/customers.yaml", GOOD.as_bytes()),
        (
            "scenarios/rush.yaml",
            b"accounts: { a: { devices: 2, netwrk: 3g } }\nphases: [{ for: 5s, a: { write: customer } }]\n",
        ),
        ("scenarios/Rush Hour.yaml", b""),
        ("seed/customers.yaml", b"[]\n"),
    ]);
    std::fs::write(project.root.join("openmobster.yaml"), "version: 1\nname: p\nserver: { adr: 127.0.0.1:1 }\n")
        .unwrap();
    let output = project.run(&["check"]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(3), &b""[..]));
    let text = String::from_utf8(output.stderr).unwrap();
    for part in [
        "error[unknown_type]: unknown type `txet`\n  --> channels/tickets.yaml:3:18\n 3 |   title: { type: txet, requierd: true }\n   |                  ^^^^\n  hint: did you mean `text`?\n",
        "hint: did you mean `required`?",
        "error[unknown_key]: unknown key `adr` in `server`\n  --> openmobster.yaml:3:11\n",
        "  --> scenarios/Rush Hour.yaml\n  hint: for example rush_hour.yaml",
        "error[unknown_key]: unknown key `netwrk` in a group\n  --> scenarios/rush.yaml:1:30\n",
        "error[unknown_channel]: there is no channel `customer`\n  --> scenarios/rush.yaml:2:33\n",
        "hint: did you mean `customers`?",
        "error: the project has 7 errors\n",
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
    let mut seeds = omctl(Path::new(&project.root));
    std::fs::write(project.root.join("channels/tickets.yaml"), GOOD).unwrap();
    let text = String::from_utf8(seeds.arg("check").output().unwrap().stderr).unwrap();
    assert!(text.contains("rename it, for example to 01-customers.yaml"), "{text}");
}
