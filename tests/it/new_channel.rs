//! `omctl new channel`, by the real binary: from scratch, and from every odd table that a SQLite file may have.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use crate::serve::Project;

/// A project whose `odd.db` has these tables.
fn project(schema: &str) -> Project {
    let project = Project::new();
    rusqlite::Connection::open(project.root.join("odd.db")).unwrap().execute_batch(schema).unwrap();
    project
}

/// The lines of a channel's file below `fields:`, without comments.
fn fields(project: &Project, channel: &str) -> Vec<String> {
    let text = std::fs::read_to_string(project.root.join(format!("channels/{channel}.yaml"))).unwrap();
    let below = text.split_once("\nfields:\n").unwrap().1;
    below.lines().map(|line| line.split("  # ").next().unwrap().trim().to_owned()).collect()
}

fn key(project: &Project, channel: &str) -> String {
    let text = std::fs::read_to_string(project.root.join(format!("channels/{channel}.yaml"))).unwrap();
    text.lines().find_map(|line| line.strip_prefix("key: ")).unwrap().to_owned()
}

const ODD: &str = "
    CREATE TABLE \"Straße und \"\"Nr.\"\"\" (\"Haus Nr\" INTEGER PRIMARY KEY, \"Größe (m²)\" REAL, \"order\" TEXT, id TEXT,
        om_note TEXT, \"日本\" TEXT NOT NULL DEFAULT 'it''s: {odd}');
    CREATE TABLE without (code TEXT NOT NULL, day DATE NOT NULL, n INTEGER DEFAULT -3, PRIMARY KEY (code, day)) WITHOUT ROWID;
    CREATE TABLE made (id INTEGER PRIMARY KEY, net NUMERIC NOT NULL, vat NUMERIC AS (net * 0.2) STORED, gross AS (net * 1.2));
    CREATE TABLE person (id INTEGER PRIMARY KEY, boss INTEGER REFERENCES person, mentor REFERENCES PERSON (ID));
    CREATE TABLE checked (id INTEGER PRIMARY KEY, state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'on hold')),
        level TEXT DEFAULT 'low', amount INT CHECK (amount > 0), CHECK (level IN ('low', 'high') OR level IS NULL));
    CREATE TABLE cased (id INTEGER PRIMARY KEY, mood TEXT COLLATE NOCASE CHECK (mood IN ('good', 'bad')));
    CREATE TABLE broken_check (id INTEGER PRIMARY KEY, state TEXT CHECK (state IN ('a')));
    CREATE TABLE blob_key (k BLOB PRIMARY KEY, v TEXT);
    CREATE TABLE \"true\" (id INTEGER PRIMARY KEY, url TEXT DEFAULT 'https://ana:hunter2@example.com', short VARCHAR(3) DEFAULT 'long',
        om TEXT, \"om-\" TEXT, self INTEGER REFERENCES \"true\");
    CREATE TABLE keyless (a, b);
    CREATE TABLE \"CAMELCase\" (k TEXT UNIQUE NOT NULL, v ANY);
    CREATE VIEW seen AS SELECT id FROM made;
    CREATE VIRTUAL TABLE search USING fts5(body);
    CREATE TABLE empty_name (id INTEGER PRIMARY KEY, \"\" TEXT);
    PRAGMA ignore_check_constraints = ON;
    INSERT INTO broken_check VALUES (1, 'z');
    INSERT INTO person VALUES (1, NULL, NULL), (2, 1, 1);
    INSERT INTO without VALUES ('x', '2026-01-01', NULL);";

#[test]
fn every_odd_table_becomes_a_channel_or_says_why_not() {
    let project = project(ODD);
    let all =
        ["new", "channel", "--from", "sqlite:odd.db", "--all", "--scope", "public", "--write", "create,update,delete"];
    let (code, made) = project.json(&all);
    assert_eq!(code, 0, "{made}");
    let skipped: Vec<(&str, &str)> = made["skipped"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["table"].as_str().unwrap(), one["reason"].as_str().unwrap()))
        .collect();
    assert!(
        skipped.contains(&("keyless", "it has no key")) && skipped.contains(&("seen", "it is a view")),
        "{skipped:?}"
    );
    assert!(
        skipped.iter().all(|(table, _)| !table.starts_with("search_")),
        "tables of an index are nobody's: {skipped:?}"
    );

    assert_eq!(
        fields(&project, "stra_e_und_nr"),
        [
            "Haus_Nr: { column: \"Haus Nr\", type: int }",
            "Größe_m²: { column: \"Größe (m²)\", type: float }",
            "order_: { column: order, type: text }",
            "row_id: { column: id, type: text }",
            "row_om_note: { column: om_note, type: text }",
            "日本: { type: text, required: true, default: \"it's: {odd}\" }",
        ]
    );
    assert_eq!(key(&project, "stra_e_und_nr"), "{ columns: [\"Haus Nr\"], assigned_by: backend }");
    assert_eq!(key(&project, "without"), "{ columns: [code, day], assigned_by: app }");
    assert!(fields(&project, "without").contains(&"n: { type: int, default: -3 }".to_owned()));
    let made = fields(&project, "made");
    assert!(made.contains(&"vat: { type: decimal, read_only: true }".to_owned()), "{made:?}");
    assert!(made.iter().any(|line| line.starts_with("gross: ") && line.contains("read_only: true")), "{made:?}");
    let person = fields(&project, "person");
    assert!(person.contains(&"boss: { type: ref, to: person }".to_owned()), "{person:?}");
    assert!(person.contains(&"mentor: { type: ref, to: person }".to_owned()), "{person:?}");
    assert_eq!(
        fields(&project, "checked")[1..],
        [
            "state: { type: enum, required: true, values: [open, \"on hold\"], default: open }",
            "level: { type: enum, values: [low, high], default: low }",
            "amount: { type: int }",
        ]
    );
    assert_eq!(fields(&project, "cased")[1], "mood: { type: text }", "where case is ignored no list is closed");
    assert_eq!(fields(&project, "broken_check")[1], "state: { type: text }", "the data knows better");
    assert_eq!(key(&project, "camel_case"), "{ columns: [k], assigned_by: app }");

    assert!(skipped.contains(&("blob_key", "its key is of a type that cannot identify a record")), "{skipped:?}");
    assert_eq!(
        fields(&project, "true")[1..],
        [
            "url: { type: text }",
            "short: { type: text, default: long }",
            "om: { type: text }",
            "row_om_2: { column: om-, type: text }",
            "self: { type: ref, to: \"true\" }",
        ]
    );
    let text = std::fs::read_to_string(project.root.join("channels/true.yaml")).unwrap();
    assert!(text.contains("its default holds a password") && !text.contains("hunter2"), "{text}");

    // What was written is what the catalog and the backend take.
    assert_eq!(project.json(&["check"]).0, 0);
    let (code, probe) = project.json(&["channel", "probe", "--all"]);
    assert_eq!(code, 0, "{probe}");
    assert_eq!(project.json(&["channel", "install", "--all", "--yes"]).0, 0);
    let _serving = project.serve();
    assert_eq!(project.json(&["account", "add", "ana@example.com"]).0, 0);
    let simulate = ["device", "simulate", "--devices", "2", "--duration", "2s", "--allow-writes", "--seed", "3"];
    let (code, report) = project.json(&simulate);
    assert_eq!((code, &report["converged"]), (0, &true.into()), "{report}");
}

#[test]
fn what_cannot_be_a_channel_is_refused_with_a_reason() {
    let project = project(ODD);
    for (from, code, reason) in [
        ("sqlite:odd.db#keyless", 1, "it has no key"),
        ("sqlite:odd.db#seen", 1, "it is a view"),
        ("sqlite:odd.db#gone", 6, "no table `gone`"),
        ("sqlite:gone.db#made", 6, "no file `gone.db`"),
        ("sqlite:openmobster.yaml#made", 1, "not a database"),
        ("sqlite:odd.db", 2, "no table was said"),
        ("odd", 6, "no backend `odd`"),
    ] {
        let (exit, error) = project.json(&["new", "channel", "--from", from]);
        assert!(exit == code && error["message"].as_str().unwrap().contains(reason), "{from}: {exit} {error}");
    }
    assert_eq!(project.json(&["check"]).1["channels"], 2, "nothing was written");
}

#[test]
fn a_channel_that_nobody_sees_says_so_loudly() {
    let project = project(ODD);
    let told = |args: &[&str]| String::from_utf8(project.run(&[&["new", "channel"], args].concat()).stderr).unwrap();
    let from = ["--from", "sqlite:odd.db#person"];
    let silent = told(&from);
    assert!(silent.contains("NOBODY SEES ANYTHING YET of person: no --scope was said"), "{silent}");
    assert!(silent.contains("devices may only read: no --write was said"), "{silent}");
    for (scope, why) in [("owner=account.email", "there is no column `owner`"), ("via:id", "`id` is no reference")] {
        let (code, refused) = project.json(&[&["new", "channel"], &from[..], &["--force", "--scope", scope]].concat());
        assert!(code == 2 && refused["message"].as_str().unwrap().contains(why), "{refused}");
    }
    let loud = told(&[&from[..], &["--force", "--scope", "boss=account.email", "--write", "create"]].concat());
    assert!(!loud.contains("NOBODY") && !loud.contains("only read"), "{loud}");
    assert!(told(&["notes"]).contains("NOBODY SEES ANYTHING YET of notes"));
    // The backend is in the project by now, and can be named.
    let (code, planned) = project.json(&["new", "channel", "--from", "odd#made", "--scope", "public", "--dry-run"]);
    assert_eq!((code, &planned["files"][0]["action"]), (0, &"create".into()), "{planned}");
    assert!(!project.root.join("channels/made.yaml").exists());
}

#[test]
fn a_channel_from_scratch_is_written_as_it_was_said() {
    let project = Project::new();
    let new = |args: &[&str]| project.json(&[&["new", "channel"], args].concat());
    let (code, made) = new(&[
        "visits",
        "--field",
        "note:text:required:200",
        "--field",
        "customer:ref:customers",
        "--field",
        "state:enum:open,done:default=open",
        "--scope",
        "via:customer",
        "--write",
        "update,create",
    ]);
    assert_eq!((code, &made["backend"], &made["visible"]), (0, &"managed".into(), &true.into()), "{made}");
    let text = std::fs::read_to_string(project.root.join("channels/visits.yaml")).unwrap();
    let expected = "# yaml-language-server: $schema=../.openmobster/schema/channel.json\n\
        # A channel: a table `visits` on each device.\nbackend: managed\nscope: { via: customer }\n\
        write: { create: any, update: any }\nfields:\n  note: { type: text, required: true, max_length: 200 }\n\
        \x20 customer: { type: ref, to: customers }\n  state: { type: enum, values: [open, done], default: open }\n";
    assert_eq!(text, expected);
    assert_eq!(new(&["notes", "--scope", "public"]).0, 0);
    assert_eq!(fields(&project, "notes"), ["title: { type: text, required: true }"]);
    assert_eq!(project.json(&["check"]).1["channels"], 4);

    for (args, code, reason) in [
        (&["Bad"][..], 2, "cannot name a channel"),
        (&[], 2, "name was not said"),
        (&["a", "--field", "id:text"], 2, "cannot be named `id`"),
        (&["a", "--field", "x:ref:nobody"], 2, "no channel `nobody`"),
        (&["a", "--field", "x:enum"], 2, "has no `values`"),
        (&["a", "--field", "x:int:default=many"], 2, "default"),
        (&["a", "--field", "x:txet"], 2, "txet"),
        (&["a", "--backend", "crm"], 6, "no backend `crm`"),
        (&["tickets", "--scope", "public"], 7, "already with another content"),
    ] {
        let (exit, error) = new(args);
        assert!(exit == code && error["message"].as_str().unwrap().contains(reason), "{args:?}: {exit} {error}");
    }
    assert_eq!(project.json(&["check"]).1["channels"], 4, "what was refused was not written");
}
