//! The tape of a run: who took part, what was there, everything that happened with its time, and the verdict. One JSON
//! line each, so that a run that broke off can still be played.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use omctl_protocol::ChannelName;
use omctl_protocol::admin::AccountNew;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::stage::Happening;
use super::workload::Run;
use super::{Crew, SimulateError, io};

/// The form of the lines.
const SCHEMA: &str = "omctl.tape/1";

/// The latest that something may happen.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The first line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Head {
    schema: String,
    /// The scenario's name, where there was one.
    pub scenario: Option<String>,
    /// The seed of the run.
    pub seed: u64,
    /// What its marks begin with.
    pub(super) run: u16,
    /// How many devices were processes.
    pub processes: usize,
    /// Who took part.
    pub crews: Vec<Crew>,
    /// Whose the devices were.
    pub accounts: Vec<AccountNew>,
    /// The records that were there, by channel: id and values. Where the same rows have other ids now, they are met by
    /// their values.
    pub(super) records: Vec<(ChannelName, Vec<Record>)>,
}

/// An id with its values.
pub(super) type Record = (String, Vec<serde_json::Value>);

/// One line of what happened.
#[derive(Serialize, Deserialize)]
struct Line {
    at_ms: u64,
    #[serde(flatten)]
    what: Happening,
}

/// A tape that is being written.
#[derive(Debug)]
pub(super) struct Tape {
    file: Mutex<BufWriter<File>>,
}

impl Tape {
    pub(super) fn begin(path: &Path, head: &Head) -> Result<Self, SimulateError> {
        let failed = |error: &dyn std::fmt::Display| io("write its tape", error);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| failed(&error))?;
        }
        let mut file = BufWriter::new(File::create(path).map_err(|error| failed(&error))?);
        let line = serde_json::to_string(head).map_err(|error| failed(&error))?;
        writeln!(file, "{line}").map_err(|error| failed(&error))?;
        Ok(Self { file: Mutex::new(file) })
    }

    pub(super) fn note(&self, at: Duration, what: &Happening) {
        let line = Line { at_ms: at.as_millis() as u64, what: what.clone() };
        let line = serde_json::to_string(&line).expect("what happens always has a JSON form");
        let mut file = self.file.lock().expect("nobody panics while writing a line");
        // At once: a run that is killed leaves what happened.
        if let Err(error) = writeln!(file, "{line}").and_then(|()| file.flush()) {
            tracing::error!(%error, "the tape is incomplete");
        }
    }

    pub(super) fn end(&self) {
        if let Err(error) = self.file.lock().expect("nobody panics while writing a line").flush() {
            tracing::error!(%error, "the tape is incomplete");
        }
    }
}

impl Head {
    pub(super) fn new(
        scenario: Option<String>,
        (seed, run): (u64, u16),
        processes: usize,
        crews: Vec<Crew>,
        accounts: Vec<AccountNew>,
        records: Vec<(ChannelName, Vec<Record>)>,
    ) -> Self {
        Self { schema: SCHEMA.to_owned(), scenario, seed, run, processes, crews, accounts, records }
    }
}

/// A tape that was read.
#[derive(Clone, Debug)]
pub struct Recording {
    /// Its first line.
    pub head: Head,
    /// What happened, with the time since the start.
    pub(super) happenings: Vec<(Duration, Happening)>,
}

impl Recording {
    /// Reads a tape.
    ///
    /// # Errors
    /// [`SimulateError::Tape`], with the line.
    pub fn read(path: &Path) -> Result<Self, SimulateError> {
        let bad = |line: usize, message: String| SimulateError::Tape { path: path.to_owned(), line, message };
        let file = File::open(path).map_err(|error| bad(0, error.to_string()))?;
        let mut lines = BufReader::new(file).lines().enumerate();
        let (_, first) = lines.next().ok_or_else(|| bad(1, "it is empty".to_owned()))?;
        let first = first.map_err(|error| bad(1, error.to_string()))?;
        let head: Head = serde_json::from_str(&first).map_err(|error| bad(1, format!("it is no tape: {error}")))?;
        if head.schema != SCHEMA {
            return Err(bad(1, format!("it is of the form `{}`, and this omctl knows {SCHEMA}", head.schema)));
        }
        let mut happenings = Vec::new();
        let devices: usize = head.crews.iter().map(|crew| crew.devices).sum();
        if head.crews.iter().any(|crew| crew.accounts.is_empty()) {
            return Err(bad(1, "a crew has no account".to_owned()));
        }
        let mut broken = None;
        for (n, line) in lines {
            let line = line.map_err(|error| bad(n + 1, error.to_string()))?;
            if let Some(error) = broken.take() {
                return Err(error);
            }
            let Line { at_ms, what } = match serde_json::from_str(&line) {
                Ok(line) => line,
                // The last line of a run that broke off may be a piece of one.
                Err(error) => {
                    broken = Some(bad(n + 1, format!("no happening: {error}")));
                    continue;
                }
            };
            let at = Duration::from_millis(at_ms);
            if at > LONGEST {
                return Err(bad(n + 1, "it happens after more than a day".to_owned()));
            }
            if what.device().is_some_and(|device| device == 0 || device > devices) {
                return Err(bad(n + 1, format!("the fleet has {devices} devices")));
            }
            happenings.push((at, what));
        }
        happenings.sort_by_key(|(at, _)| *at);
        Ok(Self { head, happenings })
    }

    /// Whether the server was killed in it.
    pub fn restarts(&self) -> bool {
        self.happenings.iter().any(|(_, what)| *what == Happening::Restart)
    }

    /// The channels that somebody wrote.
    pub fn written(&self) -> BTreeSet<ChannelName> {
        let mut written = BTreeSet::new();
        for (_, what) in &self.happenings {
            match what {
                Happening::Write { lines, .. } => written.extend(lines.iter().map(|line| line.channel.clone())),
                Happening::Foreign { channel, .. } => drop(written.insert(channel.clone())),
                _ => {}
            }
        }
        written
    }

    /// The same with the ids that the same rows have now, and with the marks of `run`, since those of the first time may be
    /// there still. Rows are met by their values, references by the rows they name; what has no partner keeps its id.
    pub(super) fn meet(&mut self, now: &[(ChannelName, Vec<Record>)], run: Run) {
        let mut aliases: HashMap<String, String> = HashMap::new();
        // Rows that refer to others have equal values only once those are met.
        for _ in 0..REFERENCES {
            for (channel, then) in &self.head.records {
                let Some((_, now)) = now.iter().find(|(name, _)| name == channel) else { continue };
                let mut by_values: HashMap<String, Vec<&str>> = HashMap::new();
                for (id, values) in now {
                    by_values.entry(serde_json::json!(values).to_string()).or_default().push(id);
                }
                for (id, values) in then {
                    let mut values = serde_json::json!(values);
                    each(&mut values, &mut |value| rename(value, &aliases));
                    if let Some([only]) = by_values.get(&values.to_string()).map(Vec::as_slice)
                        && *only != id
                    {
                        aliases.insert(id.clone(), (*only).to_owned());
                    }
                }
            }
        }
        let then = Run(self.head.run);
        for (_, happening) in &mut self.happenings {
            let mut json = serde_json::to_value(&*happening).expect("what happens always has a JSON form");
            each(&mut json, &mut |value| {
                rename(value, &aliases);
                then.renew(value, run);
            });
            if let Ok(other) = serde_json::from_value(json) {
                *happening = other;
            }
        }
    }
}

/// References to references to references are met; what is deeper keeps its id.
const REFERENCES: usize = 3;

/// Another id, where the value is one.
fn rename(value: &mut Value, aliases: &HashMap<String, String>) {
    if let Value::String(text) = value
        && let Some(other) = aliases.get(text)
    {
        text.clone_from(other);
    }
}

/// Every value in a tree that has no others in it.
fn each(value: &mut Value, change: &mut impl FnMut(&mut Value)) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| each(item, change)),
        Value::Object(map) => map.values_mut().for_each(|item| each(item, change)),
        _ => change(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(record: &str, title: &str) -> Happening {
        let happening = serde_json::json!({
            "do": "write", "device": 1,
            "lines": [{ "channel": "jobs", "record": record, "op": "update", "new": { "title": title, "of": "7" } }],
        });
        serde_json::from_value(happening).unwrap()
    }

    #[test]
    fn a_tape_meets_rows_by_their_values_and_has_marks_of_its_own() {
        let (then, now) = (Run(1), Run(2));
        let jobs = |id: &str| vec![("jobs".into(), vec![(id.to_owned(), vec![serde_json::json!("the only one")])])];
        let head = Head::new(None, (1, then.0), 0, Vec::new(), Vec::new(), jobs("7"));
        let mut recording = Recording { head, happenings: vec![(Duration::ZERO, write("7", &then.text(3, 4)))] };
        recording.meet(&jobs("8"), now);
        let Happening::Write { lines, .. } = &recording.happenings[0].1 else { panic!("it was a write") };
        assert_eq!((lines[0].record.as_str(), &lines[0].new["of"]), ("8", &serde_json::json!("8")));
        assert_eq!(lines[0].new["title"], now.text(3, 4));
        let mut number = serde_json::json!("100010003000004");
        then.renew(&mut number, now);
        assert_eq!(number, "100020003000004");
    }

    #[test]
    fn odd_tapes_are_refused_with_their_line_and_a_piece_of_a_last_line_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet.tape");
        let crews =
            vec![Crew { name: "a".into(), devices: 2, accounts: vec!["a@b.test".into()], link: Default::default() }];
        let head = Head::new(None, (1, 2), 0, crews, Vec::new(), Vec::new());
        let read = |rest: &str| {
            std::fs::write(&path, format!("{}\n{rest}", serde_json::to_string(&head).unwrap())).unwrap();
            Recording::read(&path).map(|recording| recording.happenings.len()).map_err(|error| error.to_string())
        };
        let offline =
            |at: u64, device: u64| format!("{{\"at_ms\":{at},\"do\":\"offline\",\"device\":{device},\"dark\":true}}\n");
        assert_eq!(read(&(offline(500, 1) + &offline(3, 2))), Ok(2));
        assert_eq!(read(&(offline(5, 1) + "{\"at_ms\":")), Ok(1));
        for (rest, why) in [
            (offline(5, 3), "fleet.tape:2: the fleet has 2 devices"),
            (offline(5, 0), "fleet.tape:2: the fleet has 2 devices"),
            (offline(u64::MAX, 1), "more than a day"),
            ("nonsense\n".to_owned() + &offline(5, 1), "fleet.tape:2: no happening"),
            (
                offline(5, 1).replace("offline", "network").replace("\"dark\":true", "\"link\":\"5g\"")
                    + &offline(6, 1),
                "no network `5g`",
            ),
        ] {
            let refused = read(&rest).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }
}
