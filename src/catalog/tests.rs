//! Whole folders, good and bad: what they load as, and where exactly each mistake is reported.

use std::path::Path;

use omctl_protocol::{AssignedBy, ChannelName, FieldType, Value};

use super::*;
use proptest::prelude::*;

const PROJECT: &str = "version: 1\nname: t\nbackends:\n  crm: { kind: sqlite, path: crm.db }\n";
const CUSTOMERS: &str = "scope: public\nfields:\n  name: { type: text }\n";

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join(CHANNELS_DIR)).unwrap();
    for (path, text) in files {
        std::fs::write(folder.path().join(path), text).unwrap();
    }
    folder
}

fn env(name: &str) -> Option<String> {
    (name == "DB").then(|| "/data/secret-place.db".to_owned())
}

fn loaded(files: &[(&str, &str)]) -> (Catalog, Vec<String>) {
    let folder = folder(files);
    let (catalog, warnings) = load(folder.path(), &env, None).unwrap_or_else(|found| panic!("{:#?}", found));
    (catalog, warnings.iter().map(|one| format!("{} {}", one.place, one.code)).collect())
}

/// Everything that is said of a folder, whether or not it holds the rest up.
pub(super) fn all_found(root: &Path, env_name: Option<&str>) -> Vec<Diagnostic> {
    match load(root, &env, env_name) {
        Ok((_, found)) | Err(found) => found,
    }
}

/// Places and codes of the errors of a folder.
fn errors(root: &Path, env_name: Option<&str>) -> Vec<String> {
    all_found(root, env_name)
        .iter()
        .filter(|one| one.severity == Severity::Error)
        .map(|one| format!("{} {}", one.place, one.code))
        .collect()
}

fn channel(catalog: &Catalog, name: &str) -> std::sync::Arc<Channel> {
    catalog.channels[&ChannelName::from(name)].clone()
}

/// Channels with mistakes: their places and codes.
pub(super) fn broken_channels() -> Vec<(String, &'static [&'static str])> {
    let ok = "backend: crm\ntable: t\nkey: { columns: [id], assigned_by: backend }\nscope: public\n";
    let managed = "scope: public\n";
    let fields = "fields:\n  a: { type: text }\n";
    vec![
        ("scope: public\nfeilds:\n  a: { type: text }\n".into(), &["1:1 missing_key", "2:1 unknown_key"]),
        (format!("{ok}{fields}  a: {{ type: int }}\n"), &["7:3 duplicate_key"]),
        (format!("{managed}fields:\n  a: {{ typ: text }}\n"), &["3:3 missing_key", "3:8 unknown_key"]),
        (format!("{managed}fields:\n  a: {{ type: txt }}\n"), &["3:14 unknown_type"]),
        (format!("{managed}fields:\n  a: text\n"), &["3:6 wrong_kind"]),
        (format!("{managed}fields:\n  a: {{ type: text, conflict: sum }}\n"), &["3:30 bad_policy"]),
        (format!("{managed}fields:\n  a: {{ type: text, conflict: set_union }}\n"), &["3:30 bad_policy"]),
        (format!("{managed}fields:\n  a: {{ type: bool, conflict: max }}\n"), &["3:30 bad_policy"]),
        (format!("{managed}fields:\n  a: {{ type: text, conflict: servr_wins }}\n"), &["3:30 unknown_policy"]),
        (format!("{managed}fields:\n  a: {{ type: enum }}\n"), &["3:3 missing_key"]),
        (format!("{managed}fields:\n  a: {{ type: enum, values: [x, x] }}\n"), &["3:32 bad_value"]),
        (format!("{managed}fields:\n  a: {{ type: enum, values: [x], default: y }}\n"), &["3:42 bad_default"]),
        (format!("{managed}fields:\n  a: {{ type: date, default: 2024-02-30 }}\n"), &["3:29 bad_default"]),
        (format!("{managed}fields:\n  a: {{ type: text, default: 5 }}\n"), &["3:29 bad_default"]),
        (format!("{managed}fields:\n  a: {{ type: text, max_length: 0 }}\n"), &["3:32 bad_value"]),
        (format!("{managed}fields:\n  a: {{ type: int, max_length: 3 }}\n"), &["3:19 bad_option"]),
        (format!("{managed}fields:\n  a: {{ type: text, required: yes }}\n"), &["3:30 wrong_kind"]),
        (format!("{managed}fields:\n  a: {{ type: ref }}\n"), &["3:3 missing_key"]),
        (format!("{managed}fields:\n  a: {{ type: ref, to: customer }}\n"), &["3:23 unknown_channel"]),
        (format!("{managed}fields:\n  a: {{ type: ref, to: pairs }}\n"), &["3:23 bad_reference"]),
        (
            format!("{managed}fields:\n  ID: {{ type: text }}\n  om_x: {{ type: text }}\n"),
            &["3:3 reserved_name", "4:3 reserved_name"],
        ),
        (format!("{managed}fields:\n  a b: {{ type: text }}\n"), &["3:3 bad_name"]),
        (format!("{managed}fields:\n  a: {{ type: text }}\n  A: {{ type: text }}\n"), &["4:3 duplicate_field"]),
        (
            format!("{managed}fields:\n  a: {{ type: text, column: b }}\n  b: {{ type: text }}\n"),
            &["4:3 duplicate_field"],
        ),
        (format!("{managed}table: x\n{fields}"), &["2:1 bad_option"]),
        (format!("{managed}key: {{ columns: [n], assigned_by: app }}\n{fields}"), &["2:1 bad_key"]),
        (
            format!("backend: crn\ntable: t\nkey: {{ columns: [id], assigned_by: backend }}\nscope: public\n{fields}"),
            &["1:10 unknown_backend"],
        ),
        (format!("backend: crm\nscope: public\n{fields}"), &["1:1 missing_key", "1:1 missing_key"]),
        (
            format!(
                "backend: crm\ntable: t\nkey: {{ columns: [a, b], assigned_by: backend }}\nscope: public\n{fields}"
            ),
            &["3:1 bad_key"],
        ),
        (
            format!("backend: crm\ntable: t\nkey: {{ columns: [a], assigned_by: device }}\nscope: public\n{fields}"),
            &["3:18 bad_key"],
        ),
        (
            format!("backend: crm\ntable: t\nkey: {{ columns: [n], assigned_by: app }}\nscope: public\n{fields}"),
            &["3:18 bad_key"],
        ),
        (
            format!("backend: crm\ntable: t\nkey: {{ columns: [n], assigned_by: bakend }}\nscope: public\n{fields}"),
            &["3:35 bad_key"],
        ),
        (format!("{ok}where: {{ a: [1] }}\n{fields}"), &["5:13 bad_value"]),
        (format!("{ok}detect: {{ every: soon }}\n{fields}"), &["5:18 bad_value"]),
        (format!("{ok}delete_vs_update: update_win\n{fields}"), &["5:19 unknown_policy"]),
        (format!("{ok}write: {{ insert: any }}\n{fields}"), &["5:10 unknown_key"]),
        (format!("scope: publik\n{fields}"), &["1:8 bad_scope"]),
        (format!("scope: {{ b: account.email }}\n{fields}"), &["1:10 unknown_field"]),
        (format!("scope:\n  - a: account.email\n  - via: a\n  - {{}}\n{fields}"), &["4:5 bad_scope"]),
        (format!("scope: {{ a: {{ in: x.y }} }}\n{fields}"), &["1:13 missing_key"]),
        (format!("scope: {{ a: {{ in: x, where: {{ b: account.email }} }} }}\n{fields}"), &["1:19 bad_scope"]),
        (format!("scope: {{ a: {{ in: x.y, were: {{}} }} }}\n{fields}"), &["1:13 missing_key", "1:24 unknown_key"]),
        (format!("scope: {{ via: b }}\n{fields}"), &["1:15 unknown_field"]),
        (
            format!("{managed}fields:\n  a: {{ type: text, default: \"https://u:hunter2@h\" }}\n"),
            &["3:29 secret_literal"],
        ),
        ("scope: public\nfields: [a\n".into(), &["2:9 yaml_syntax"]),
        ("- 1\n".into(), &["1:1 wrong_kind"]),
    ]
}

#[test]
fn every_mistake_of_a_channel_is_placed() {
    let pairs = "backend: crm\ntable: p\nkey: { columns: [x, y], assigned_by: app }\nscope: public\nfields: { x: { type: int }, y: { type: int } }\n";
    let mut wrong = Vec::new();
    for (text, expected) in broken_channels() {
        let folder = folder(&[
            (PROJECT_FILE, PROJECT),
            ("channels/customers.yaml", CUSTOMERS),
            ("channels/pairs.yaml", pairs),
            ("channels/tickets.yaml", &text),
        ]);
        let expected: Vec<String> = expected.iter().map(|one| format!("channels/tickets.yaml:{one}")).collect();
        let found = errors(folder.path(), None);
        if found != expected {
            wrong.push(format!("{text}found {found:?}\nnot {expected:?}\n"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Project files with mistakes.
pub(super) const BROKEN_PROJECTS: &[(&str, &[&str])] = &[
    ("name: t\n", &["1:1 missing_key"]),
    ("version: 2\n", &["1:10 unsupported_version"]),
    ("version: one\n", &["1:10 wrong_kind"]),
    ("version: 1\nserver: { adr: 1 }\n", &["2:11 unknown_key"]),
    ("version: 1\nserver: { addr: localhost }\n", &["2:17 bad_value"]),
    ("version: 1\nserver: { trusted_proxies: [10.0.0.0/8, 10.0.0.0/40] }\n", &["2:41 bad_value"]),
    ("version: 1\nbackends: { managed: { kind: sqlite, path: x } }\n", &["2:13 reserved_name"]),
    ("version: 1\nbackends: { crm: { kind: postgres, url: x } }\n", &["2:26 unknown_kind"]),
    ("version: 1\nbackends: { crm: { kind: sqlite } }\n", &["2:13 missing_key"]),
    ("version: 1\nbackends: { crm: { kind: sqlite, pth: x } }\n", &["2:13 missing_key", "2:34 unknown_key"]),
    ("version: 1\nbackends: { crm: { kind: sqlite, path: \"${env:NOPE}\" } }\n", &["2:40 missing_env"]),
    ("version: 1\nbackends: { crm: { kind: sqlite, path: \"${file:nope}\" } }\n", &["2:40 missing_file"]),
    ("version: 1\nbackends: { crm: { kind: sqlite, path: \"${NOPE}\" } }\n", &["2:40 bad_value"]),
    ("version: 1\nbackends: { crm: { kind: sqlite, path: \"x://a:b@c\" } }\n", &["2:40 secret_literal"]),
    ("version: 1\nenv: { prod: { sever: {} } }\n", &["2:16 unknown_key"]),
];

#[test]
fn every_mistake_of_the_project_file_is_placed() {
    for (text, expected) in BROKEN_PROJECTS {
        let folder = folder(&[(PROJECT_FILE, text)]);
        let expected: Vec<String> = expected.iter().map(|one| format!("{PROJECT_FILE}:{one}")).collect();
        assert_eq!(errors(folder.path(), None), expected, "\n{text}");
    }
}

#[test]
fn all_files_are_reported_at_once_in_order() {
    let folder = folder(&[
        (PROJECT_FILE, "version: 1\ncolour: red\n"),
        ("channels/Bad.yaml", ""),
        ("channels/b.yml", ""),
        ("channels/a.yaml", "scope: public\nfields: { x: { type: nope } }\n"),
        ("channels/.hidden.yaml", "]["),
        ("channels/notes.md", "]["),
    ]);
    assert_eq!(
        errors(folder.path(), None),
        [
            "channels/Bad.yaml bad_file_name",
            "channels/a.yaml:2:22 unknown_type",
            "channels/b.yml bad_file_name",
            "openmobster.yaml:2:1 unknown_key",
        ]
    );
}

#[test]
fn hints_say_what_was_meant() {
    let folder = folder(&[
        (PROJECT_FILE, PROJECT),
        (
            "channels/a.yaml",
            "backend: cmr\ntable: t\nkey: { columns: [k], assigned_by: backend }\nscope: { ownr: account.email }\nfields: { owner: { type: txet, requierd: true } }\n",
        ),
        ("channels/b.yaml", "scope: { ownr: account.email }\nfields: { owner: { type: text } }\n"),
    ]);
    let found = load(folder.path(), &env, None).unwrap_err();
    let hints: Vec<&str> = found.iter().map(|one| one.hint.as_deref().unwrap_or("-")).collect();
    assert_eq!(
        hints,
        ["did you mean `crm`?", "did you mean `text`?", "did you mean `required`?", "did you mean `owner`?"]
    );
}

#[test]
fn a_folder_that_is_no_project_says_how_to_make_one() {
    let folder = tempfile::tempdir().unwrap();
    let found = load(folder.path(), &env, None).unwrap_err();
    assert_eq!((found[0].code, found[0].place.to_string()), ("no_project", PROJECT_FILE.to_owned()));
}

#[test]
fn no_message_contains_a_secret() {
    let text = "version: 1\nbackends:\n  a: { kind: sqlite, path: \"${env:DB}${env:NOPE}\" }\n  b: { kind: sqlite, path: \"x://u:hunter2@h\", password: hunter2 }\n";
    let channel = "scope: x://u:hunter2@h\nfields:\n  a: x://u:hunter2@h\n  b: { type: x://u:hunter2@h }\n";
    let folder = folder(&[(PROJECT_FILE, text), ("channels/a.yaml", channel)]);
    let found = format!("{:?}", load(folder.path(), &env, None).unwrap_err());
    assert!(found.contains("`NOPE`") && !found.contains("hunter2") && !found.contains("secret-place"), "{found}");
}

#[test]
fn a_whole_channel_loads_as_written() {
    let text = "backend: crm\ntable: support.tickets\nwhere: { archived: false, kind: 7, rate: 1.50 }\n\
        key: { columns: [id], assigned_by: backend }\n\
        scope: [{ assignee: account.email, open: true }, { account.role: office }]\n\
        write: { create: [tech], update: any, delete: [] }\n\
        fields:\n  title: { type: text, required: true, max_length: 200 }\n  assignee: { type: text }\n  open: { type: bool, default: true }\n\
        \x20 rate: { type: decimal, default: 0.10, conflict: sum }\n  tags: { type: array, default: [b, a], conflict: set_union }\n\
        \x20 customer: { column: customer_id, type: ref, to: customers }\n\
        delete_vs_update: delete_wins\ndetect: { every: 5s }\n";
    let (catalog, warnings) =
        loaded(&[(PROJECT_FILE, PROJECT), ("channels/customers.yaml", CUSTOMERS), ("channels/tickets.yaml", text)]);
    assert!(warnings.is_empty(), "{warnings:?}");
    let tickets = channel(&catalog, "tickets");
    assert_eq!(tickets.schema.fields[0].name, "key");
    assert_eq!((tickets.schema.fields[0].kind, tickets.schema.fields[0].column()), (FieldType::Int, "id"));
    assert_eq!(tickets.schema.key.columns[0].field.as_deref(), Some("key"));
    assert_eq!(
        tickets.filter,
        [
            ("archived".to_owned(), Value::Bool(false)),
            ("kind".to_owned(), Value::Int(7)),
            ("rate".to_owned(), Value::Text("1.5".to_owned())),
        ]
    );
    let defaults: Vec<String> =
        tickets.schema.fields.iter().filter_map(|field| Some(field.default.as_ref()?.to_string())).collect();
    assert_eq!(defaults, ["true", "\"0.1\"", r#""[\"b\",\"a\"]""#]);
    let ScopeDecl::AnyOf(scope) = &tickets.scope else { panic!("two alternatives were written") };
    assert_eq!((scope[0][1].left.as_str(), &scope[0][1].right), ("open", &ScopeRight::Text("true".into())));
    assert_eq!(scope[1][0].at.to_string(), "channels/tickets.yaml:5:52");
    assert_eq!(tickets.write.create, Roles::Only(vec!["tech".into()]));
    assert_eq!((&tickets.write.update, &tickets.write.delete), (&Roles::Any, &Roles::Nobody));
    assert_eq!(tickets.poll_every, Some(std::time::Duration::from_secs(5)));
    assert!(tickets.schema.writable && tickets.delete_vs_update == DeleteVsUpdate::DeleteWins);
    let customers = channel(&catalog, "customers");
    assert!(customers.schema.key_is_id() && !customers.schema.writable);
    assert_eq!((customers.backend.as_str(), customers.table.as_str()), (MANAGED, "customers"));
}

#[test]
fn keys_of_the_app_and_of_the_device() {
    let pairs = "backend: crm\ntable: p\nkey: { columns: [x, Y], assigned_by: app }\nscope: public\nfields: { x: { type: int }, y: { column: Y, type: text } }\n";
    let devices =
        "backend: crm\ntable: d\nkey: { columns: [uid], assigned_by: device }\nfields: { x: { type: int } }\n";
    let (catalog, warnings) =
        loaded(&[(PROJECT_FILE, PROJECT), ("channels/pairs.yaml", pairs), ("channels/d.yaml", devices)]);
    let key = channel(&catalog, "pairs").schema.key.clone();
    let shown: Vec<_> = key.columns.iter().map(|one| (one.column.as_str(), one.field.as_deref())).collect();
    assert_eq!(shown, [("x", Some("x")), ("Y", Some("y"))]);
    let key = channel(&catalog, "d").schema.key.clone();
    assert_eq!((key.assigned_by, key.columns[0].column.as_str()), (AssignedBy::Device, "uid"));
    assert!(key.columns[0].field.is_none());
    assert_eq!(warnings, ["channels/d.yaml no_scope"]);
}

#[test]
fn a_slip_in_an_attribute_is_not_taken_for_a_constant_in_silence() {
    let fields = "fields: { a: { type: text } }\n";
    let project = (PROJECT_FILE, "version: 1\nname: t\n");
    let warned = |scope: &str| {
        let text = format!("scope: {scope}\n{fields}");
        let folder = folder(&[project, ("channels/c.yaml", &text)]);
        let (_, warnings) = load(folder.path(), &env, None).unwrap();
        warnings.into_iter().filter_map(|warning| warning.hint).collect::<Vec<_>>()
    };
    assert_eq!(warned("{ a: acount.email }"), ["did you mean `account.email`?"]);
    assert_eq!(warned("{ a: claims.region }"), ["did you mean `account.claims.region`?"]);
    assert!(warned("[{ a: account.email }, { a: ana@example.com }, { a: v1.2 }]").is_empty());
}

#[test]
fn the_chosen_environment_lies_on_top() {
    let text = "version: 1\nname: t\nserver: { addr: 127.0.0.1:1, data_dir: d }\nbackends: { a: { kind: sqlite, path: \"${env:DB}\" }, b: { kind: sqlite, path: x/y.db } }\nenv:\n  prod: { server: { addr: 0.0.0.0:2, trusted_proxies: [10.0.0.0/8] } }\n";
    let folder = folder(&[(PROJECT_FILE, text)]);
    let (catalog, _) = load(folder.path(), &env, Some("prod")).unwrap();
    assert_eq!(
        (catalog.server.addr.as_deref(), catalog.server.data_dir.as_deref()),
        (Some("0.0.0.0:2"), Some(Path::new("d")))
    );
    assert_eq!(catalog.server.trusted_proxies, ["10.0.0.0/8"]);
    assert_eq!(catalog.backends["a"], BackendDecl::Sqlite { path: "/data/secret-place.db".into() });
    assert_eq!(catalog.backends["b"], BackendDecl::Sqlite { path: folder.path().join("x/y.db") });
    let (catalog, _) = load(folder.path(), &env, Some("dev")).unwrap();
    assert_eq!(catalog.server.addr.as_deref(), Some("127.0.0.1:1"));
    assert_eq!(errors(folder.path(), Some("prd")), ["openmobster.yaml:5:1 unknown_env"]);
}

proptest! {
    /// Made of what the files are made of, so that the readers behind the parser are reached.
    #[test]
    fn no_text_makes_the_loader_panic(
        words in prop::collection::vec(prop::sample::select(vec![
            "scope", "fields", "key", "columns", "where", "write", "type", "enum", "values", "default", "to", "ref",
            "a", "id", ": ", ": ", ": ", "\n", "\n  ", "\n    ", "- ", "{", "}", "[", "]", ", ", "1", "1.5", "true", "~",
            "\"", "'", "&x ", "*x", "|", ">", "#", "${env:X}", "ü", "x://u:p@h", "backends", "version", "\t", "!",
        ]), 0..40),
    ) {
        let text = words.concat();
        let folder = folder(&[(PROJECT_FILE, &text), ("channels/a.yaml", &text)]);
        let found = load(folder.path(), &env, Some("dev")).err().unwrap_or_default();
        for one in found {
            prop_assert!(!one.message.contains("u:p@h"), "{one:?}");
        }
        let _edited = with_sqlite_backend(&text, "db", "x");
    }

    #[test]
    fn every_mistake_has_a_place_in_the_text(
        words in prop::collection::vec(prop::sample::select(vec![
            "scope: ", "scope: public\n", "fields:\n", "  a: { type: text }\n", "  b: { type: ref, to: x }\n", "key", "write: ",
            "{ owner: account.email }", "[{ via: a }]", "{ create: [tech], update: any }", "{ in: x.y, where: { a: b } }",
            "\n", "\r\n", "  ", "- ", "{", "}", "[", "]", ", ", ": ", "1", "~", "\"", "'", "&x ", "*x", "|\n", "#", "ü", "\t", "\u{2028}",
        ]), 0..24),
    ) {
        let text = words.concat();
        let (channel, found) = read_channel(&Catalog::default(), &"a".into(), &text);
        prop_assert!(channel.is_some() || found.iter().any(|one| one.severity == Severity::Error));
        let lines: Vec<&str> = text.split('\n').collect();
        for Diagnostic { place, message, .. } in found.iter().filter(|one| one.place.line > 0) {
            let line = lines.get(place.line - 1).map(|line| line.chars().count());
            prop_assert!(line.is_some_and(|most| (1..=most + 1).contains(&place.column)), "{place} {message}: {text:?}");
        }
    }

    #[test]
    fn roles_admit_whom_they_name(
        named in prop::collection::vec(prop::sample::select(vec!["tech", "office", "sales"]), 0..3),
        which in prop::sample::select(vec!["create", "update", "delete"]), any: bool,
    ) {
        let value = if any { "any".to_owned() } else { format!("[{}]", named.join(", ")) };
        let text = format!("scope: public\nwrite: {{ {which}: {value} }}\nfields:\n  a: {{ type: text }}\n");
        let (channel, _) = read_channel(&Catalog::default(), &"a".into(), &text);
        let write = channel.unwrap().write;
        for (word, roles) in [("create", &write.create), ("update", &write.update), ("delete", &write.delete)] {
            for role in [None, Some("tech"), Some("office"), Some("sales"), Some("any"), Some("")] {
                let admits = word == which && (any || role.is_some_and(|role| named.contains(&role)));
                prop_assert_eq!(roles.contain(role), admits, "{} {:?}", word, role);
            }
        }
    }

    #[test]
    fn a_scalar_reads_back_as_the_same_text(text in "\\PC{0,24}") {
        let project = format!("version: 1\nname: {}\n", scalar(&text));
        let folder = folder(&[(PROJECT_FILE, &project)]);
        if !text.is_empty() && !text.contains("://") {
            let name = load(folder.path(), &env, None).map(|(catalog, _)| catalog.name);
            prop_assert_eq!(name, Ok(text));
        }
    }
}

#[test]
fn seeds_are_read_and_their_mistakes_are_all_told() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let write = |name: &str, text: &str| {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("openmobster.yaml", "version: 1\nname: x\n");
    write(
        "channels/notes.yaml",
        "backend: managed\nscope: public\nfields:\n  title: { type: text, required: true }\n  hours: { type: decimal }\n",
    );
    write("seed/01-notes.yaml", "- id: a\n  fields: { title: one, hours: 1.50 }\n");
    let load = || super::load(root, &|_| None, None);
    let (catalog, _) = load().unwrap();
    let record = &catalog.seed[0].records[0];
    assert_eq!(record.values, [Value::Text("one".into()), Value::Text("1.5".into())]);
    write("seed/02-nots.yaml", "[]\n");
    write(
        "seed/01-notes.yaml",
        "- id: a\n  fields: { titel: one }\n- id: a\n  fields: { title: two, hours: many }\n- id: c\n",
    );
    let found = load().unwrap().1;
    let told: Vec<(&str, usize)> = found.iter().map(|one| (one.code, one.place.line)).collect();
    assert!(told.contains(&("unknown_field", 2)) && told.contains(&("bad_id", 3)), "{told:?}");
    assert!(told.contains(&("unknown_channel", 0)) && told.contains(&("missing_field", 1)), "{told:?}");
    assert!(told.contains(&("missing_key", 5)), "{told:?}");
}

/// Scenarios with mistakes.
pub(super) const BROKEN_SCENARIOS: &[(&str, &[&str])] = &[
    ("seed: 1\n", &["1:1 missing_key", "1:1 missing_key"]),
    ("accounts: { a: { devices: 1 } }\nphases: []\n", &["2:9 bad_value"]),
    ("accounts: { a: { device: 1 } }\nphases: [{ heal: all }]\n", &["1:13 missing_key", "1:18 unknown_key"]),
    ("accounts: { a: { devices: 0 } }\nphases: [{ heal: all }]\n", &["1:27 bad_value"]),
    ("accounts: { a: { devices: many } }\nphases: [{ heal: all }]\n", &["1:27 wrong_kind"]),
    ("accounts: { server: { devices: 1 } }\nphases: [{ heal: all }]\n", &["1:13 reserved_name"]),
    ("accounts: { A b: { devices: 1 } }\nphases: [{ heal: all }]\n", &["1:13 bad_name"]),
    ("accounts: { a: { devices: 1, network: 2g } }\nphases: [{ heal: all }]\n", &["1:39 unknown_network"]),
    ("accounts: { a: { devices: 1, claims: { r: [[x]] } } }\nphases: [{ heal: all }]\n", &["1:44 wrong_kind"]),
    ("accounts: { a: { devices: 1 } }\nphases: [{ heal: all, a: { write: c } }]\n", &["2:23 bad_option"]),
    ("accounts: { a: { devices: 1 } }\nphases: [{ a: { write: c } }]\n", &["2:10 missing_key"]),
    ("accounts: { a: { devices: 1 } }\nphases: [{ for: long, a: { write: c } }]\n", &["2:17 bad_value"]),
    ("accounts: { a: { devices: 1 } }\nphases: [{ for: 1s, aa: { write: c } }]\n", &["2:21 unknown_group"]),
    ("accounts: { a: { devices: 1 } }\nphases: [{ for: 1s, a: { write: cc } }]\n", &["2:33 unknown_channel"]),
    ("accounts: { a: { devices: 1 } }\nphases: [{ for: 1s, a: {} }]\n", &["2:24 bad_value"]),
    ("accounts: { a: { devices: 1 } }\nphases: [{ for: 1s, a: { write: c, rate: fast } }]\n", &["2:42 bad_value"]),
    ("accounts: { a: { devices: 1 } }\nphases: [{ for: 1s, a: { offline: 60%, rate: 1/s } }]\n", &["2:40 bad_option"]),
    ("accounts: { a: { devices: 1 } }\nphases: [{ for: 1s, a: { offline: 160% } }]\n", &["2:35 bad_value"]),
    ("accounts: { a: { devices: 1 } }\nphases: [{ for: 1s, server: { restart: twice } }]\n", &["2:40 bad_value"]),
    ("accounts: { a: { devices: 1 } }\nphases: [{ for: 1s, server: {} }]\n", &["2:29 missing_key"]),
    ("accounts: { a: { devices: 1 } }\nphases: [{ heal: all }]\nexpect: { lots: 0 }\n", &["3:11 unknown_key"]),
    ("accounts: { a: { devices: 1 } }\nphases: [{ heal: all }]\nexpect: { lost: none }\n", &["3:17 bad_value"]),
    ("accounts: { a: { devices: 1 } }\nphases: [{ heal: all }]\nexpect: { converged: 1 }\n", &["3:22 wrong_kind"]),
];

#[test]
fn every_mistake_of_a_scenario_is_placed() {
    for (text, expected) in BROKEN_SCENARIOS {
        let writable = "scope: public\nwrite: { create: any }\nfields: { a: { type: text } }\n";
        let folder = folder(&[(PROJECT_FILE, PROJECT), ("channels/c.yaml", writable)]);
        std::fs::create_dir(folder.path().join(SCENARIOS_DIR)).unwrap();
        std::fs::write(folder.path().join("scenarios/s.yaml"), text).unwrap();
        let expected: Vec<String> = expected.iter().map(|one| format!("scenarios/s.yaml:{one}")).collect();
        assert_eq!(errors(folder.path(), None), expected, "\n{text}");
    }
}

#[test]
fn a_whole_scenario_loads_as_written() {
    let writable = "scope: public\nwrite: { create: any, update: [boss] }\nfields: { a: { type: text } }\n";
    let folder = folder(&[(PROJECT_FILE, PROJECT), ("channels/c.yaml", writable)]);
    std::fs::create_dir(folder.path().join(SCENARIOS_DIR)).unwrap();
    let text = "seed: 7\naccounts:\n  a: { role: tech, claims: { r: [n, s], z: x }, devices: 10, network: 3g }\n  b: { devices: 2 }\n\
        phases:\n  - { for: 90s, a: { create: [c], rate: 30/m }, b: { update: c, hot_keys: 3, network: lossy } }\n\
        \x20 - { for: 1m, a: { offline: 60% }, server: { restart: once } }\n  - heal: all\n\
        expect: { converged: true, lost: 0, latency_ms.p95: \"< 800\", conflicts: \">= 1\" }\n";
    std::fs::write(folder.path().join("scenarios/rush-hour.yaml"), text).unwrap();
    let (catalog, warnings) = load(folder.path(), &env, None).unwrap();
    let told: Vec<String> = warnings.iter().map(|one| format!("{} {}", one.place, one.code)).collect();
    assert_eq!(told, ["scenarios/rush-hour.yaml:6:62 no_right"], "accounts of `b` may not update");
    let scenario = &catalog.scenarios["rush-hour"];
    let group = &scenario.groups[0];
    assert_eq!(
        (scenario.seed, group.devices, group.link, group.role.as_deref()),
        (Some(7), 10, Link::ThreeG, Some("tech"))
    );
    assert_eq!((&*group.claims["r"], &*group.claims["z"]), (&["n".into(), "s".into()][..], &["x".into()][..]));
    let Phase::Act { lasts, acts, .. } = &scenario.phases[0] else { panic!("it acts") };
    assert_eq!(
        (lasts.as_secs(), acts[0].1.rate, acts[1].1.hot_keys, acts[1].1.link),
        (90, Some(0.5), Some(3), Some(Link::Lossy))
    );
    let Phase::Act { restarts, acts, .. } = &scenario.phases[1] else { panic!("it acts") };
    assert_eq!((*restarts, acts[0].1.offline), (1, Some(60)));
    assert_eq!(scenario.phases[2], Phase::Heal);
    let bounds: Vec<_> = scenario.expect.iter().map(|one| (one.of, one.bound)).collect();
    assert_eq!(
        bounds,
        [
            ("converged", Bound::Is(true)),
            ("lost", Bound::Exactly(0)),
            ("conflicts", Bound::AtLeast(1)),
            ("latency_ms.p95", Bound::Below(800)),
        ]
    );
}
