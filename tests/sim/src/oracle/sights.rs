//! Who may ever have seen what: for each mark the accounts to which it was visible in some state of the log. Worked out
//! from everything that the log ever said, by a judgement of our own, and compared with the lines that devices got.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;
use serde_json::Value as Json;

use super::{Checked, is_mark, json_text, wrong};

/// Channels whose records not everybody sees.
pub(super) const GUARDED: [&str; 7] = ["own", "area", "job", "piece", "client", "bill", "rule"];

/// The channel whose every version is kept: everybody sees all of it.
pub(super) const VERSIONED: &str = "notes";

/// A record's fields as text.
pub(super) type Record = BTreeMap<String, String>;

/// An account, a channel and a mark in it.
type Sight = (usize, String, String);

/// What every account may see of one state of everything.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) emails: Vec<String>,
    /// By account.
    pub(super) regions: Vec<BTreeSet<String>>,
    pub(super) staff: Vec<String>,
    /// Whether the definitions show `rule` to everybody.
    pub(super) is_rule_open: bool,
    /// By channel and id.
    pub(super) records: BTreeMap<String, BTreeMap<String, Record>>,
}

impl State {
    fn record(&self, channel: &str, id: &str) -> Option<&Record> {
        self.records.get(channel)?.get(id)
    }

    /// Whether an account sees a record.
    pub(super) fn sees(&self, account: usize, channel: &str, record: &Record) -> bool {
        match channel {
            "own" => record["owner"] == self.emails[account],
            "client" => record["Rep"] == self.emails[account],
            "area" => self.regions[account].contains(&record["region"]),
            "job" => self.records.get("members").into_iter().flat_map(BTreeMap::values).any(|member| {
                member["who"] == self.staff[account]
                    && member["project"] == record["project"]
                    && member["project"] != "NULL"
            }),
            "rule" => self.is_rule_open || record["owner"] == self.staff[account],
            "piece" => self.record("own", &record["of"]).is_some_and(|own| self.sees(account, "own", own)),
            "bill" => {
                self.record("client", &record["client"]).is_some_and(|client| self.sees(account, "client", client))
            }
            _ => true,
        }
    }

    pub(super) fn set_claims(&mut self, account: usize, claims: &Json) {
        let words = claims["regions"].as_array().into_iter().flatten();
        self.regions[account] = words.filter_map(|word| word.as_str().map(str::to_owned)).collect();
        self.staff[account] = claims["staff"].as_str().unwrap_or_default().to_owned();
    }
}

/// What was visible so far, and what was shown.
#[derive(Debug, Default)]
pub(super) struct Sights {
    pub(super) state: State,
    /// The history is read up to here.
    read: i64,
    visible: BTreeSet<Sight>,
    shown: BTreeSet<Sight>,
    /// Every version of every record of `notes`, in the order of their positions.
    versions: Vec<Version>,
}

/// What a record was from a position on; `None`: gone.
#[derive(Clone, Debug)]
pub(super) struct Version {
    n: i64,
    pub(super) position: u64,
    pub(super) id: String,
    pub(super) record: Option<Record>,
}

impl Sights {
    pub(super) fn new(emails: Vec<String>) -> Self {
        let (regions, staff) = (vec![BTreeSet::new(); emails.len()], vec![String::new(); emails.len()]);
        let state = State { emails, regions, staff, ..State::default() };
        Self { state, ..Self::default() }
    }

    /// The last row of the history that was read.
    pub(super) fn read_up_to(&self) -> i64 {
        self.read
    }

    /// Goes on from an earlier state; what was visible since stays so.
    pub(super) fn go_back(&mut self, read: i64, state: State) {
        self.versions.retain(|version| version.n <= read);
        (self.read, self.state) = (read, state);
    }

    /// Notes which marks a line shows.
    pub(super) fn show(&mut self, account: usize, line: &str) {
        if !line.starts_with(r#"{"rows""#) {
            return;
        }
        let frame: Json = serde_json::from_str(line).expect("the device reads it too");
        let channel = frame["rows"]["channel"].as_str().unwrap_or_default().to_owned();
        if !GUARDED.contains(&&*channel) {
            return;
        }
        let bodies = frame["rows"]["rows"].as_array().into_iter().flatten().filter_map(|row| row[3].as_array());
        for mark in bodies.flatten().filter_map(Json::as_str).filter(|text| is_mark(text)) {
            self.shown.insert((account, channel.clone(), mark.to_owned()));
        }
    }

    /// Reads what happened since the last time.
    pub(super) fn read(&mut self, store: &Connection) {
        let mut statement = store
            .prepare_cached(
                "SELECT n, channel.name, id, history.version, body, schema_version.fields, position FROM temp.history
                    LEFT JOIN main.channel ON channel.number = history.channel
                    LEFT JOIN main.schema_version ON schema_version.channel = history.channel
                        AND schema_version.version = history.version
                    WHERE n > ?1 ORDER BY n",
            )
            .expect("a query");
        let mut rows = statement.query([self.read]).expect("a query");
        while let Some(row) = rows.next().expect("a row") {
            self.read = row.get(0).expect("a number");
            let (channel, id, body): (Option<String>, String, Option<String>) =
                (row.get(1).expect("text"), row.get(2).expect("text"), row.get(4).expect("text"));
            let body: Json = body.map_or(Json::Null, |body| serde_json::from_str(&body).expect("JSON"));
            let Some(channel) = channel else {
                let account = id.parse::<usize>().expect("a number") - 1;
                self.claims_change(account, &body);
                continue;
            };
            let fields: Json = serde_json::from_str(&row.get::<_, String>(5).expect("text")).expect("JSON");
            let record = record_of(&fields, &body);
            if channel == VERSIONED {
                let (n, position) = (self.read, row.get(6).expect("a number"));
                self.versions.push(Version { n, position, id: id.clone(), record: record.clone() });
            }
            self.record_changes(&channel, &id, record);
        }
    }

    /// The versions that are known by now, in the order of their positions.
    pub(super) fn versions(&self) -> &[Version] {
        &self.versions
    }

    pub(super) fn claims_change(&mut self, account: usize, claims: &Json) {
        self.state.set_claims(account, claims);
        self.see_all("area");
        self.see_all("job");
    }

    /// The definitions of `rule` change.
    pub(super) fn open_rule(&mut self, is_open: bool) {
        self.state.is_rule_open = is_open;
        self.see_all("rule");
    }

    fn record_changes(&mut self, channel: &str, id: &str, record: Option<Record>) {
        let records = self.state.records.entry(channel.to_owned()).or_default();
        match record {
            Some(record) => drop(records.insert(id.to_owned(), record.clone())),
            None => drop(records.remove(id)),
        }
        self.see_one(channel, id);
        match channel {
            "members" => self.see_all("job"),
            "own" => self.see_all("piece"),
            "client" => self.see_all("bill"),
            _ => {}
        }
    }

    fn see_all(&mut self, channel: &str) {
        let ids: Vec<String> = self.state.records.get(channel).into_iter().flat_map(BTreeMap::keys).cloned().collect();
        ids.iter().for_each(|id| self.see_one(channel, id));
    }

    fn see_one(&mut self, channel: &str, id: &str) {
        if !GUARDED.contains(&channel) {
            return;
        }
        let Some(record) = self.state.record(channel, id) else { return };
        let marks = record.values().filter(|text| is_mark(text));
        let accounts = (0..self.state.emails.len()).filter(|account| self.state.sees(*account, channel, record));
        let accounts: Vec<usize> = accounts.collect();
        let seen = marks.flat_map(|mark| accounts.iter().map(|one| (*one, channel.to_owned(), mark.clone())));
        self.visible.extend(seen.collect::<Vec<_>>());
    }

    /// Nothing was shown that was never visible.
    pub(super) fn check(&self) -> Checked {
        match self.shown.difference(&self.visible).next() {
            Some((account, channel, mark)) => {
                wrong(format!("account {account} was shown {mark} of `{channel}`, which it could never see"))
            }
            None => Ok(()),
        }
    }
}

/// A body of the log by its fields' names.
fn record_of(fields: &Json, body: &Json) -> Option<Record> {
    let names = fields["fields"].as_array()?.iter().filter_map(|field| field["name"].as_str());
    Some(names.map(str::to_owned).zip(body.as_array()?.iter().map(json_text)).collect())
}
