//! The schemas against the loader: what it takes they take, what it refuses they refuse where a schema can tell.

use std::path::Path;

use serde_json::Value;

use super::super::tests::{BROKEN_PROJECTS, BROKEN_SCENARIOS, broken_channels};
use super::super::yaml::{self, Kind, Node, Report};
use super::*;

/// Codes of mistakes that a schema sees. The others need another file, the whole file, or what a value means.
const EXPRESSIBLE: [&str; 11] = [
    "unknown_key",
    "missing_key",
    "wrong_kind",
    "unknown_type",
    "unknown_kind",
    "unknown_policy",
    "unknown_network",
    "unsupported_version",
    "bad_policy",
    "bad_option",
    "reserved_name",
];

/// YAML as an editor hands it to its validator.
fn json_of(node: &Node) -> Value {
    match &node.kind {
        Kind::Null => Value::Null,
        Kind::Bool(truth) => (*truth).into(),
        Kind::Number(digits) => serde_json::from_str(digits).unwrap_or_else(|_| digits.parse::<f64>().unwrap().into()),
        Kind::Text(text) => text.as_str().into(),
        Kind::List(items) => items.iter().map(json_of).collect(),
        Kind::Map(entries) => {
            Value::Object(entries.iter().map(|(key, value)| (key.text.clone(), json_of(value))).collect())
        }
    }
}

/// What a schema has against a text; `None` where the text is no YAML at all.
fn against(schema: &Value, text: &str) -> Option<Vec<String>> {
    let node = yaml::parse(text, &mut Report::new("f.yaml"))?;
    let validator = jsonschema::draft7::new(schema).unwrap();
    Some(validator.iter_errors(&json_of(&node)).map(|error| format!("{} {error}", error.instance_path())).collect())
}

fn is_expressible(expected: &[&str]) -> bool {
    expected.iter().any(|one| EXPRESSIBLE.iter().any(|code| one.ends_with(&format!(" {code}"))))
}

#[test]
fn what_the_loader_refuses_the_schemas_refuse_where_they_can() {
    let channels = broken_channels();
    let channels = channels.iter().map(|(text, expected)| (channel(), text.as_str(), *expected));
    let projects = BROKEN_PROJECTS.iter().map(|(text, expected)| (project(), *text, *expected));
    let scenarios = BROKEN_SCENARIOS.iter().map(|(text, expected)| (scenario(), *text, *expected));
    let mut seen = 0;
    for (schema, text, expected) in channels.chain(projects).chain(scenarios).filter(|case| is_expressible(case.2)) {
        let Some(found) = against(&schema, text) else { continue };
        assert!(!found.is_empty(), "{expected:?} is not seen in\n{text}");
        seen += 1;
    }
    assert!(seen > 40, "only {seen} cases were tried");
}

#[test]
fn what_the_loader_accepts_the_schemas_accept() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for project_root in ["examples/fieldwork", "examples/musicshop", "tests/sim/project", "tests/sim/project-next"] {
        let root = root.join(project_root);
        let (catalog, _) = crate::catalog::load(&root, &|_| None, None).unwrap();
        let mut accept = |schema: &Value, file: &Path| {
            let text = std::fs::read_to_string(root.join(file)).unwrap();
            assert_eq!(against(schema, &text), Some(Vec::new()), "{project_root}: {}", file.display());
            seen += 1;
        };
        accept(&project(), Path::new("openmobster.yaml"));
        catalog.channels.values().for_each(|one| accept(&channel(), &one.file));
        catalog.scenarios.values().for_each(|one| accept(&scenario(), &one.file));
        for (n, one) in catalog.seed.iter().enumerate() {
            let file = format!("seed/{:02}-{}.yaml", n + 1, one.channel);
            accept(&seed(&catalog.channels[&one.channel]), Path::new(&file));
        }
    }
    assert!(seen > 20, "only {seen} files were tried");
}

/// Every key of the schemas is known to the parser (no `unknown_key`), and one that is not in them is unknown to it.
#[test]
fn schemas_and_parser_know_the_same_keys() {
    for keys in keys::ALL {
        let schema = map_of(keys, &[]);
        let listed: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
        let mut expected: Vec<&str> = keys.iter().map(|key| key.name).collect();
        expected.sort_unstable();
        assert_eq!(listed, expected, "a key stands twice");
        for key in keys {
            assert!(!key.help.is_empty() && !key.help.ends_with('.'), "{}", key.name);
        }
    }
}

/// A key that the parser knew and never read would be a promise that nobody keeps.
#[test]
fn the_parser_judges_every_key_that_it_knows() {
    // What the map needs besides, unless it is the key that is wrong.
    let with = |base: &str, bad: &str| match base.split(':').next() == bad.split(':').next() {
        true => bad.to_owned(),
        false => format!("{base}, {bad}"),
    };
    let channel = |rest: &str| format!("scope: public\n{rest}");
    let fields = "fields: { x: { type: text } }\n";
    let managed = |node: &str| channel(&format!("fields: {{ x: {{ {node} }} }}\n"));
    let scenario = |group: &str, phase: &str, rest: &str| {
        format!("accounts: {{ a: {{ {group} }} }}\nphases: [{{ {phase} }}]\n{rest}")
    };
    type Case<'c> = (&'c Keys, &'static str, Box<dyn Fn(&str) -> String + 'c>);
    let cases: Vec<Case<'_>> = vec![
        (keys::PROJECT, "openmobster.yaml", Box::new(|bad| format!("{bad}\n"))),
        (keys::SERVER, "openmobster.yaml", Box::new(|bad| format!("version: 1\nserver: {{ {bad} }}\n"))),
        (keys::DEVICES, "openmobster.yaml", Box::new(|bad| format!("version: 1\ndevices: {{ {bad} }}\n"))),
        (keys::OVERLAY, "openmobster.yaml", Box::new(|bad| format!("version: 1\nenv: {{ e: {{ {bad} }} }}\n"))),
        (
            keys::SQLITE,
            "openmobster.yaml",
            Box::new(|bad| format!("version: 1\nbackends: {{ b: {{ {} }} }}\n", with("kind: sqlite", bad))),
        ),
        (keys::CHANNEL, "channels/c.yaml", Box::new(|bad| format!("{bad}\n"))),
        (keys::KEY, "channels/c.yaml", Box::new(|bad| channel(&format!("{fields}key: {{ {bad} }}\n")))),
        (keys::WRITE, "channels/c.yaml", Box::new(|bad| channel(&format!("{fields}write: {{ {bad} }}\n")))),
        (keys::DETECT, "channels/c.yaml", Box::new(|bad| format!("backend: b\n{fields}detect: {{ {bad} }}\n"))),
        (
            keys::MEMBERSHIP,
            "channels/c.yaml",
            Box::new(|bad| format!("scope: {{ x: {{ {} }} }}\n{fields}", with("in: c.x", bad))),
        ),
        (keys::FIELD, "channels/c.yaml", Box::new(|bad| managed(&with("type: text", bad)))),
        (keys::SEED, "seed/01-d.yaml", Box::new(|bad| format!("- {{ {} }}\n", with("id: a", bad)))),
        (keys::SCENARIO, "scenarios/s.yaml", Box::new(|bad| format!("{bad}\n"))),
        (keys::GROUP, "scenarios/s.yaml", Box::new(|bad| scenario(bad, "heal: all", ""))),
        (keys::PHASE, "scenarios/s.yaml", Box::new(|bad| scenario("devices: 1", bad, ""))),
        (
            keys::FAULT,
            "scenarios/s.yaml",
            Box::new(|bad| scenario("devices: 1", &format!("for: 1s, server: {{ {bad} }}"), "")),
        ),
        (
            keys::FOREIGN,
            "scenarios/s.yaml",
            Box::new(|bad| scenario("devices: 1", &format!("for: 1s, foreign: {{ {bad} }}"), "")),
        ),
        (
            keys::ACT,
            "scenarios/s.yaml",
            Box::new(|bad| scenario("devices: 1", &format!("for: 1s, a: {{ {} }}", with("write: d", bad)), "")),
        ),
        (
            keys::EXPECT,
            "scenarios/s.yaml",
            Box::new(|bad| scenario("devices: 1", "heal: all", &format!("expect: {{ {bad} }}\n"))),
        ),
    ];
    assert_eq!(cases.len(), keys::ALL.len());
    for (keys, file, text) in cases {
        for key in keys {
            // A list of lists fits nowhere.
            let text = text(&format!("{}: [[]]", key.name));
            let folder = tempfile::tempdir().unwrap();
            let write = |path: &str, text: &str| {
                let path = folder.path().join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            };
            write("openmobster.yaml", "version: 1\nbackends: { b: { kind: sqlite, path: x } }\n");
            write("channels/d.yaml", "scope: public\nwrite: { create: any }\nfields: { x: { type: text } }\n");
            write(file, &text);
            let found = crate::catalog::tests::all_found(folder.path(), None);
            let at = text.find("[[]]").unwrap();
            let column = at - text[..at].rfind('\n').map_or(0, |line| line + 1);
            let line = text[..at].matches('\n').count() + 1;
            let from_key = column + 1 - format!("{}: ", key.name).len()..=column + 2;
            let is_it = |one: &super::super::Diagnostic| {
                one.place.file == Path::new(file)
                    && !["unknown_key", "missing_key"].contains(&one.code)
                    && one.place.line == line
                    && from_key.contains(&one.place.column)
            };
            assert!(found.iter().any(is_it), "`{}` is not judged: {found:#?}\n{text}", key.name);
        }
    }
}

#[test]
fn a_seed_is_judged_by_its_channels_fields() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("channels")).unwrap();
    std::fs::write(folder.path().join("openmobster.yaml"), "version: 1\n").unwrap();
    let fields = "scope: public\nfields:\n  t: { type: text, required: true }\n  n: { type: int }\n  d: { type: decimal }\n  \
        e: { type: enum, values: [x, y], default: x }\n  b: { type: bool }\n  day: { type: date }\n  r: { type: ref, to: c }\n  \
        a: { type: array }\n  j: { type: json }\n";
    std::fs::write(folder.path().join("channels/c.yaml"), fields).unwrap();
    let (catalog, _) = crate::catalog::load(folder.path(), &|_| None, None).unwrap();
    let schema = seed(&catalog.channels[&omctl_protocol::ChannelName::from("c")]);
    std::fs::create_dir(folder.path().join("seed")).unwrap();
    for (record, fits) in [
        ("t: x, n: 1, d: 1.50, e: y, b: true, day: 2020-02-29, r: a, a: [1], j: { x: 1 }", true),
        ("t: x, n: \"5\", d: \"0.1\", e: ~, b: 0, day: ~, r: ~, a: ~, j: text", true),
        ("n: 1", false),
        ("t: ~", false),
        ("t: 5", false),
        ("t: x, n: many", false),
        ("t: x, d: [1]", false),
        ("t: x, e: z", false),
        ("t: x, b: 2", false),
        ("t: x, day: tomorrow", false),
        ("t: x, a: { x: 1 }", false),
        ("t: x, other: 1", false),
    ] {
        let text = format!("- id: a\n  fields: {{ {record} }}\n");
        std::fs::write(folder.path().join("seed/01-c.yaml"), &text).unwrap();
        let taken = crate::catalog::tests::all_found(folder.path(), None).is_empty();
        let found = against(&schema, &text).unwrap();
        assert!(found.is_empty() == fits && taken == fits, "{record}: {found:?}, taken: {taken}");
    }
    assert!(!against(&schema, "- fields: {}\n").unwrap().is_empty());
    assert!(!against(&schema, "id: a\n").unwrap().is_empty());
}

#[test]
fn the_page_of_channels_names_every_key() {
    let page = include_str!("../../../docs/channels.md");
    let rows: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next()).collect();
    for keys in keys::ALL {
        for key in keys.iter().filter(|key| !["in", "where", "restart", "rate", "table"].contains(&key.name)) {
            let is_told = rows.iter().any(|row| row.split(", ").any(|one| one == format!("`{}`", key.name)));
            assert!(is_told, "docs/channels.md has no row for `{}`", key.name);
        }
    }
}

/// The examples of the page are what they say they are.
#[test]
fn the_examples_of_the_page_are_accepted() {
    let page = include_str!("../../../docs/channels.md");
    let example =
        |head: &str| page.split("```yaml\n").find(|block| block.starts_with(head)).unwrap().split("```").next();
    for (head, schema) in [
        ("# channels/tickets.yaml", channel()),
        ("# openmobster.yaml", project()),
        ("# scenarios/rush-hour.yaml", scenario()),
    ] {
        assert_eq!(against(&schema, example(head).unwrap()), Some(Vec::new()), "{head}");
    }
}

#[test]
fn an_editor_offers_what_the_project_has_and_takes_what_it_has_not_yet() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/musicshop");
    let (catalog, _) = crate::catalog::load(&root, &|_| None, None).unwrap();
    let schema = |name: &str| {
        let (_, text) = schemas(&catalog).into_iter().find(|(file, _)| file == name).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let channel = schema("channel.json");
    assert_eq!(channel["properties"]["backend"]["anyOf"][0]["enum"], json!(["managed", "shop"]));
    let to = &channel["properties"]["fields"]["additionalProperties"]["properties"]["to"]["anyOf"][0]["enum"];
    assert_eq!(*to, json!(["album", "artist", "customer", "sale", "sale_line"]));
    let new = "backend: later\ntable: t\nkey: { columns: [id], assigned_by: backend }\nfields: { a: { type: ref, to: later } }\n";
    assert_eq!(against(&channel, new), Some(Vec::new()));
    let acts = &schema("scenario.json")["properties"]["phases"]["items"]["else"]["additionalProperties"];
    assert_eq!(acts["properties"]["update"]["anyOf"][0]["enum"][0], "album");
    assert!(schemas(&catalog).iter().all(|(name, _)| !name.starts_with("seed/")), "only managed channels are seeded");
}
