//! Random edits of the project's files, valid and broken, under a live fleet that writes all the time: each broken one is
//! reported with its file and line and changes nothing, each valid one goes live, nothing is lost, no socket drops.
//!
//! `OMCTL_EDITS=200 OMCTL_EDITS_DEVICES=20 OMCTL_EDITS_SEED=7` make it longer and other.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use omctl::clock::Entropy;
use omctl::server::{self, ProjectFiles, Reload};
use omctl_device::{Answer, ConnectionState, Mobster, Write};
use omctl_protocol::Value;
use tokio::sync::mpsc;

use crate::fleet::{device, serve};

/// The project as it is meant to be at the moment.
struct Project {
    dice: Entropy,
    edits: usize,
    scope: usize,
    delete: usize,
    /// Fields beside `title` and `owner`: name, type, and the column where the field was renamed.
    fields: Vec<(String, &'static str, Option<String>)>,
    others: BTreeSet<String>,
}

const SCOPES: [&str; 3] = ["public", "{ owner: account.email }", "[{ owner: account.email }, { title: welcome }]"];
const DELETES: [&str; 3] = ["any", "[tech]", "[office, tech]"];
const TYPES: [(&str, &str); 5] =
    [("text", "x"), ("int", "7"), ("decimal", "1.5"), ("bool", "true"), ("date", "2024-02-29")];

impl Project {
    fn new(seed: u64) -> Self {
        Self { dice: Entropy::seeded(seed), edits: 0, scope: 0, delete: 0, fields: Vec::new(), others: BTreeSet::new() }
    }

    fn roll(&self, sides: usize) -> usize {
        (self.dice.u64() % sides as u64) as usize
    }

    fn tickets(&self) -> String {
        let mut text = format!(
            "scope: {}\nwrite: {{ create: any, update: any, delete: {} }}\nfields:\n  title: {{ type: text }}\n  owner: {{ type: text }}\n",
            SCOPES[self.scope], DELETES[self.delete]
        );
        for (name, kind, column) in &self.fields {
            let column = column.as_ref().map(|column| format!("column: {column}, ")).unwrap_or_default();
            let (_, default) = TYPES.iter().find(|(word, _)| word == kind).unwrap();
            text.push_str(&format!("  {name}: {{ {column}type: {kind}, default: {default} }}\n"));
        }
        text
    }

    /// A file that means something else than before.
    fn valid(&mut self) -> (String, Option<String>) {
        self.edits += 1;
        let tickets = "channels/tickets.yaml".to_owned();
        match self.roll(8) {
            0 => self.scope = (self.scope + 1 + self.roll(2)) % 3,
            1 => self.delete = (self.delete + 1 + self.roll(2)) % 3,
            2 if !self.fields.is_empty() => drop(self.fields.remove(self.roll(self.fields.len()))),
            3 if !self.fields.is_empty() => {
                let (place, name) = (self.roll(self.fields.len()), format!("g{}", self.edits));
                let (old, _, column) = &mut self.fields[place];
                column.get_or_insert(old.clone());
                *old = name;
            }
            4 if !self.fields.is_empty() => {
                let (place, next) = (self.roll(self.fields.len()), 1 + self.roll(4));
                let now = TYPES.iter().position(|(kind, _)| *kind == self.fields[place].1).unwrap();
                self.fields[place].1 = TYPES[(now + next) % 5].0;
            }
            5 if self.others.len() < 3 => {
                let name = format!("other{}", self.edits);
                self.others.insert(name.clone());
                return (format!("channels/{name}.yaml"), Some("scope: public\nfields: { a: { type: int } }\n".into()));
            }
            6 if !self.others.is_empty() => {
                let name = self.others.pop_first().unwrap();
                return (format!("channels/{name}.yaml"), None);
            }
            _ => self.fields.push((format!("f{}", self.edits), TYPES[self.roll(5)].0, None)),
        }
        (tickets, Some(self.tickets()))
    }

    /// A file with a mistake, and the line where it must be found.
    fn broken(&mut self) -> (String, String, usize) {
        self.edits += 1;
        let tickets = "channels/tickets.yaml".to_owned();
        let text = self.tickets();
        let last = text.lines().count() + 1;
        let with = |line: &str| (tickets.clone(), format!("{text}{line}\n"), last);
        match self.roll(9) {
            0 => with("scop: public"),
            1 => with("  wrong: { type: texxt }"),
            2 => with("  title: { type: text }"),
            3 => with("  part: { type: ref, to: nowhere }"),
            4 => with("\tx: { type: text }"),
            5 => with("  x: { type: int, default: many }"),
            6 => with("  x: { type: text"),
            7 => (tickets, text.replacen(SCOPES[self.scope], "{ nobody: account.email }", 1), 1),
            _ => ("openmobster.yaml".into(), format!("{PROJECT}backend: {{}}\n"), 3),
        }
    }
}

const PROJECT: &str = "version: 1\nname: edits\n";

#[expect(clippy::disallowed_methods, reason = "how long the test is to be")]
fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().unwrap())
}

/// A device that writes until it is told to end. Returns its writes, and counts how often its connection was lost.
async fn worker(app: Mobster, me: usize, stop: Arc<AtomicBool>, dropped: Arc<AtomicUsize>) -> (Mobster, Vec<Write>) {
    app.set_online(true);
    let mut state = app.state();
    state.wait_for(|state| *state == ConnectionState::Live).await.unwrap();
    let mut writes = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let values = vec![Value::Text(format!("{me}/{}", writes.len())), Value::Text(address(me))];
        let saved = app.execute("INSERT INTO tickets (title, owner) VALUES (?1, ?2)", values).await.unwrap();
        writes.push(saved.write);
        if *state.borrow_and_update() == ConnectionState::Offline {
            dropped.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    (app, writes)
}

fn address(me: usize) -> String {
    format!("d{me}@example.com")
}

async fn titles(app: &Mobster) -> Vec<String> {
    let rows = app.query("SELECT title FROM tickets ORDER BY title", vec![]).await.unwrap().rows;
    rows.iter().map(|row| row[0].as_text().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_edits_lose_nothing_and_broken_ones_change_nothing() {
    let (edits, devices) = (number("OMCTL_EDITS", 40), number("OMCTL_EDITS_DEVICES", 5));
    let mut project = Project::new(number("OMCTL_EDITS_SEED", 1) as u64);
    let folder = tempfile::tempdir().unwrap();
    let root: PathBuf = folder.path().canonicalize().unwrap();
    std::fs::create_dir(root.join("channels")).unwrap();
    std::fs::write(root.join("openmobster.yaml"), PROJECT).unwrap();
    std::fs::write(root.join("channels/tickets.yaml"), project.tickets()).unwrap();
    let running = serve(&root, "data").await;
    let (tell, mut reloads) = mpsc::unbounded_channel();
    let files = ProjectFiles { root: root.clone(), env_name: "dev".into(), environment: Arc::new(|_| None) };
    server::watch(files, running.reloader.clone(), running.tasks(), tell).unwrap();
    let (stop, dropped) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut workers = tokio::task::JoinSet::new();
    for me in 0..devices {
        let app = device(&running, &root.join(format!("{me}.db")), &address(me)).await;
        workers.spawn(worker(app, me, stop.clone(), dropped.clone()));
    }

    let (mut went_live, mut refused) = (0, 0);
    let mut mend: Option<(String, String)> = None;
    for edit in 0..edits {
        let before = running.live.current().generation;
        let is_broken = mend.is_none() && project.roll(3) == 0;
        if is_broken {
            let (file, text, line) = project.broken();
            std::fs::write(root.join(&file), text).unwrap();
            let good = if file == "openmobster.yaml" { PROJECT.to_owned() } else { project.tickets() };
            match next(&mut reloads).await {
                Reload::Refused { generation, found } => {
                    assert_eq!(generation, before, "edit {edit}");
                    // An opened bracket is missed where the next line begins, or the file ends.
                    let is_there = |one: &omctl::catalog::Diagnostic| {
                        one.place.file.ends_with(&file) && (line..=line + 1).contains(&one.place.line)
                    };
                    assert!(found.iter().any(is_there), "edit {edit}: {file}:{line} is not in {found:?}");
                    refused += 1;
                }
                other => panic!("edit {edit} of {file}: {other:?}"),
            }
            assert_eq!(running.live.current().generation, before);
            mend = Some((file, good));
            continue;
        }
        if let Some((file, text)) = mend.take() {
            std::fs::write(root.join(file), text).unwrap();
            assert!(matches!(next(&mut reloads).await, Reload::Live { generation, .. } if generation == before));
        }
        let (file, text) = project.valid();
        match text {
            Some(text) => std::fs::write(root.join(&file), text).unwrap(),
            None => std::fs::remove_file(root.join(&file)).unwrap(),
        }
        match next(&mut reloads).await {
            Reload::Live { generation, .. } => assert_eq!(generation, before + 1, "edit {edit}"),
            other => panic!("edit {edit} of {file}: {other:?}"),
        }
        went_live += 1;
    }
    assert!(went_live > edits / 3 && refused > edits / 8, "{went_live} went live, {refused} were refused");
    if let Some((file, text)) = mend {
        std::fs::write(root.join(file), text).unwrap();
        next(&mut reloads).await;
    }
    project.scope = 0;
    std::fs::write(root.join("channels/tickets.yaml"), project.tickets()).unwrap();

    stop.store(true, Ordering::Relaxed);
    let mut expected = Vec::new();
    let mut apps = Vec::new();
    for (app, writes) in workers.join_all().await {
        for write in writes {
            for answer in app.settled(write).await.unwrap() {
                assert!(matches!(&answer, Answer::Receipt(receipt) if !receipt.is_rejected()), "{answer:?}");
                expected.push(());
            }
        }
        apps.push(app);
    }
    let view = running.sync.backend_view(&"tickets".into(), None).await.unwrap();
    let place = view.fields.iter().position(|field| field == "title").unwrap();
    let mut held: Vec<String> = view.rows.iter().map(|row| row.values[place].as_text().unwrap().to_owned()).collect();
    held.sort();
    assert_eq!(held.len(), expected.len(), "as many records as writes");
    assert_eq!(held.iter().collect::<BTreeSet<_>>().len(), held.len(), "none twice");
    for app in &apps {
        let mut found = Vec::new();
        for _ in 0..500 {
            found = titles(app).await;
            if found == held {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(found == held, "a device has {} records of {}", found.len(), held.len());
    }
    assert_eq!(dropped.load(Ordering::Relaxed), 0, "connections were lost");
    println!("{went_live} edits went live, {refused} were refused, {} writes are there once", held.len());
}

async fn next(reloads: &mut mpsc::UnboundedReceiver<Reload>) -> Reload {
    tokio::time::timeout(Duration::from_secs(20), reloads.recv()).await.expect("a change is noticed").unwrap()
}
