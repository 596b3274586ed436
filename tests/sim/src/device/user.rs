//! What a user does with an app: statements on its tables, whatever the connection does.

use omctl_device::StoreError;
use omctl_protocol::FieldType;

use super::{Device, uuid_v7};
use crate::oracle::LocalWrite;

/// What a user may change on the screens of the app, and how often.
const SCREENS: [(&str, u64); 15] = [
    ("notes", 28),
    ("own", 8),
    ("area", 9),
    ("artist", 14),
    ("album", 14),
    ("tag", 11),
    ("memo", 7),
    ("members", 7),
    ("job", 9),
    ("piece", 9),
    ("client", 4),
    ("bill", 6),
    ("form", 14),
    ("ware", 8),
    ("rule", 7),
];

/// Where each channel's marks are: fields in which every value is written once only, by
/// their columns.
pub(crate) const MARKED: [(&str, &str); 17] = [
    ("notes", "title"),
    ("notes", "body"),
    ("notes", "strict"),
    ("own", "title"),
    ("area", "title"),
    ("artist", "Name"),
    ("album", "Title"),
    ("tag", "note"),
    ("memo", "line"),
    ("job", "title"),
    ("piece", "title"),
    ("client", "Name"),
    ("bill", "Note"),
    ("form", "title"),
    ("form", "note"),
    ("ware", "Label"),
    ("rule", "title"),
];

/// Words by which accounts are named in membership rows: never an address.
const STAFF: [&str; 3] = ["s1", "s2", "s3"];

const PROJECTS: [&str; 4] = ["p1", "p2", "p3", "p4"];

/// A statement, and what is written by it, if it meets a row.
type Statement = (String, Vec<LocalWrite>);

impl Device {
    /// The user does something: one local transaction. `None`: there was nothing to be done. `Some(None)`: the app died
    /// in it.
    pub(crate) fn use_app(&mut self, emails: &[String]) -> Option<Option<Vec<LocalWrite>>> {
        let mut statements: Vec<Statement> = Vec::new();
        let mut screens: Vec<(&str, u64)> =
            SCREENS.into_iter().filter(|(channel, _)| self.has_table(channel)).collect();
        let count = if self.rng.percent(20) { self.rng.between(2, 4) } else { 1 };
        // All in one home: what an atomic transaction is made of.
        let home = *self.rng.pick(&["managed", "shop"]);
        let is_atomic = count > 1 && self.rng.percent(60);
        if is_atomic {
            screens.retain(|(channel, _)| self.home(channel).as_deref() == Some(home));
        }
        if screens.is_empty() {
            return None;
        }
        for _ in 0..count {
            let mut dice = self.rng.below(screens.iter().map(|(_, weight)| weight).sum());
            let mut screens = screens.iter();
            let channel = loop {
                let (channel, weight) = screens.next().expect("the dice stay below the sum of the weights");
                if dice < *weight {
                    break *channel;
                }
                dice -= weight;
            };
            statements.extend(self.statements(channel, emails));
        }
        let store = self.engine().store_mut();
        let execute = |tx: &rusqlite::Transaction<'_>| {
            statements.iter().map(|(sql, _)| tx.execute(sql, [])).collect::<Result<Vec<_>, _>>()
        };
        let written = if is_atomic { store.write_atomic(execute) } else { store.write(execute) };
        if let Err(StoreError::Locked(_)) = written {
            self.refusals += 1;
            return None;
        }
        // One that met no row (an earlier one of the same transaction deleted it) wrote nothing.
        Some(written.ok().map(|(rows, _)| {
            let hit = statements.into_iter().zip(rows).filter(|(_, rows)| *rows > 0);
            hit.flat_map(|((_, writes), _)| writes).collect()
        }))
    }

    /// Where a channel's records live, if it may be written in atomic transactions.
    fn home(&self, channel: &str) -> Option<String> {
        self.store().schemas().find(|schema| schema.channel.as_str() == channel)?.atomic.clone()
    }

    fn has_table(&self, channel: &str) -> bool {
        self.store().schemas().any(|schema| schema.channel.as_str() == channel)
    }

    /// What this device calls the field of a column, if it has it: the fields of some channels come and go.
    pub(crate) fn field(&self, channel: &str, column: &str) -> Option<String> {
        let schema = self.store().schemas().find(|schema| schema.channel.as_str() == channel)?;
        let of = |field: &&omctl_protocol::Field| field.column.as_deref().unwrap_or(&field.name) == column;
        schema.fields.iter().find(of).map(|field| field.name.clone())
    }

    pub(super) fn one(&self, sql: &str) -> Option<String> {
        self.one_of(sql, [])
    }

    fn one_of(&self, sql: &str, values: impl rusqlite::Params) -> Option<String> {
        self.store().reader().prepare_cached(sql).ok()?.query_row(values, |row| row.get(0)).ok()
    }

    /// Some record of a table.
    fn any(&self, table: &str) -> Option<String> {
        let count: u64 = self.one(&format!("SELECT CAST(count(*) AS TEXT) FROM {table}"))?.parse().ok()?;
        // A few records are everybody's favourites: that is where conflicts come from.
        let place = if self.rng.percent(60) { self.rng.below(count.min(3)) } else { self.rng.below(count) };
        self.one_of(&format!("SELECT id FROM {table} ORDER BY id LIMIT 1 OFFSET ?1"), [place])
    }

    /// Some record of a table as a literal, or NULL.
    fn reference(&self, table: &str) -> String {
        self.any(table).map_or("NULL".into(), |id| quote(&id))
    }

    /// A new value for a field, and the note that it was written.
    fn say(&mut self, channel: &str, record: &str, field: &str, writes: &mut Vec<LocalWrite>) -> String {
        self.marks += 1;
        let mark = format!("m{}.{}", self.index + 1, self.marks);
        writes.push(LocalWrite {
            device: self.index,
            channel: channel.to_owned(),
            record: record.to_owned(),
            field: field.to_owned(),
            mark: mark.clone(),
        });
        mark
    }

    fn statements(&mut self, channel: &str, emails: &[String]) -> Vec<Statement> {
        let dice = self.rng.below(100);
        match self.any(channel) {
            Some(id) if dice >= 90 => vec![self.deletion(channel, id)],
            Some(id) if dice >= 35 => vec![self.change(channel, &id, emails)],
            _ if channel == "piece" && dice < 20 && self.has_table("own") => self.pieces(emails),
            _ => vec![self.creation(channel, emails)],
        }
    }

    fn deletion(&self, channel: &str, id: String) -> Statement {
        let sql = format!("DELETE FROM {channel} WHERE id = {}", quote(&id));
        let (field, mark) = (String::new(), String::new());
        (sql, vec![LocalWrite { device: self.index, channel: channel.to_owned(), record: id, field, mark }])
    }

    fn change(&mut self, channel: &str, id: &str, emails: &[String]) -> Statement {
        let mut writes = Vec::new();
        let mut say = |device: &mut Self, field: &str| device.say(channel, id, field, &mut writes);
        let set = match (channel, self.rng.below(8)) {
            ("notes", 0) => format!("hours = coalesce(hours, 0) + {}", self.rng.between(1, 9)),
            ("notes", 1) => format!("best = coalesce(best, 0) + {}", self.rng.between(1, 50)),
            ("notes", 2) => {
                format!("tags = json_insert(coalesce(tags, '[]'), '$[#]', 't{}')", say(self, "tags"))
            }
            ("notes", 3) => format!("body = '{}', hours = coalesce(hours, 0) + 1", say(self, "body")),
            ("notes", 4) => format!("strict = '{}'", say(self, "strict")),
            ("notes", 5) => format!("title = '{}', body = '{}'", say(self, "title"), say(self, "body")),
            ("own", 0) => format!("owner = '{}'", self.rng.pick(emails)),
            ("area", 0 | 1) => format!("region = '{}'", self.rng.pick(&["north", "south"])),
            ("artist", 0 | 1) => format!("fans = coalesce(fans, 0) + {}", self.rng.between(1, 9)),
            ("album", 0 | 1) => format!("stock = coalesce(stock, 0) - {}", self.rng.between(1, 9)),
            ("album", 2) => format!("price = '{}.{}5'", self.rng.below(90), self.rng.below(9)),
            ("tag", 0 | 1) => format!("weight = coalesce(weight, 0) + {}", self.rng.between(1, 50)),
            ("members", 0..=3) => format!("who = '{}'", self.rng.pick(&STAFF)),
            ("members", _) => format!("project = '{}'", self.rng.pick(&PROJECTS)),
            ("job", 0..=2) => format!("project = '{}'", self.rng.pick(&PROJECTS)),
            ("piece", 0) => format!("of = {}", self.reference("own")),
            ("piece", 1) => format!("next = {}", self.reference("piece")),
            // Refused: the record would be another's.
            ("client", 0) => format!("Rep = '{}'", self.rng.pick(emails)),
            ("bill", 0 | 1) => format!("client = {}", self.reference("client")),
            ("rule", 0 | 1) => format!("owner = '{}'", self.rng.pick(&STAFF)),
            ("form", 0) if self.field(channel, "note").is_some() => {
                let field = self.field(channel, "note").unwrap_or_default();
                format!("{field} = '{}'", say(self, &field))
            }
            ("form" | "ware", dice @ 1..=5) if self.plain_field(channel, dice).is_some() => {
                self.plain_field(channel, dice).map(|(field, value)| format!("{field} = {value}")).unwrap_or_default()
            }
            _ => {
                let field = self.main_field(channel);
                format!("{field} = '{}'", say(self, &field))
            }
        };
        (format!("UPDATE {channel} SET {set} WHERE id = {}", quote(id)), writes)
    }

    /// A field without marks, of those that only some versions of a channel have or that change their type, and a value.
    fn plain_field(&self, channel: &str, dice: u64) -> Option<(String, String)> {
        let column = match channel {
            "form" => *self.rng.pick(&["hours", "code", "state", "old", "must", "extra", "grade"]),
            _ => *self.rng.pick(&["Size", "Hint", "Must", "Extra"]),
        };
        let field = self.field(channel, column)?;
        let schema = self.store().schemas().find(|schema| schema.channel.as_str() == channel)?;
        let (_, kind) = schema.field(&field).map(|(place, field)| (place, field.kind))?;
        let number = self.rng.below(90);
        let value = match (column, kind) {
            // What is no whole number any more cannot stay when the field becomes one again.
            ("hours", FieldType::Decimal) if dice == 1 => format!("'{number}.5'"),
            ("code", FieldType::Text) if dice < 4 => format!("'A{number}'"),
            ("state", _) => format!("'{}'", self.rng.pick(&["open", "done", "odd"])),
            (_, FieldType::Int) => number.to_string(),
            (_, FieldType::Decimal) => format!("'{number}'"),
            _ if number == 0 => "NULL".into(),
            ("code", _) => format!("'{number}'"),
            _ => format!("'w{number}'"),
        };
        Some((field, value))
    }

    fn creation(&mut self, channel: &str, emails: &[String]) -> Statement {
        let more = match channel {
            "notes" => {
                let parent = if self.rng.percent(40) { self.reference("notes") } else { "NULL".into() };
                vec![("hours", self.rng.below(9).to_string()), ("parent", parent)]
            }
            "own" => vec![("owner", self.owner(emails))],
            "area" => vec![("region", format!("'{}'", self.rng.pick(&["north", "north", "south"])))],
            "artist" => vec![("fans", self.rng.below(9).to_string())],
            "album" => vec![("stock", self.rng.below(9).to_string()), ("artist", self.reference("artist"))],
            "tag" => {
                let word = *self.rng.pick(&["loud", "quiet", "red", "blue", "old"]);
                vec![("AlbumId", self.reference("album")), ("Word", format!("'{word}'"))]
            }
            "members" => {
                // Mostly of oneself: else the jobs stay empty for long.
                let who = if self.rng.percent(60) { STAFF[self.account] } else { *self.rng.pick(&STAFF) };
                vec![("who", format!("'{who}'")), ("project", format!("'{}'", self.rng.pick(&PROJECTS)))]
            }
            "job" => vec![("project", self.project())],
            "piece" => vec![("of", self.reference("own")), ("next", self.reference("piece"))],
            "client" => vec![("Rep", self.owner(emails))],
            "bill" => vec![("client", self.reference("client"))],
            "rule" => {
                let owner = if self.rng.percent(80) { STAFF[self.account] } else { *self.rng.pick(&STAFF) };
                vec![("owner", format!("'{owner}'"))]
            }
            // Mostly with the value that only one version asks for.
            "form" if self.rng.percent(80) => vec![("must", "'y'".into()), ("hours", self.rng.below(9).to_string())],
            "ware" if self.rng.percent(80) => vec![("Must", "'y'".into()), ("Size", self.rng.below(9).to_string())],
            _ => Vec::new(),
        };
        let id = uuid_v7(&self.rng);
        self.insertion(channel, &id, &more)
    }

    fn insertion(&mut self, channel: &str, id: &str, more: &[(&str, String)]) -> Statement {
        let mut writes = Vec::new();
        let mut columns: Vec<(String, String)> = vec![("id".into(), format!("'{id}'"))];
        if channel != "members" {
            let field = self.main_field(channel);
            let mark = self.say(channel, id, &field, &mut writes);
            columns.push((field, format!("'{mark}'")));
        }
        columns.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        let (names, values): (Vec<String>, Vec<String>) = columns.into_iter().unzip();
        (format!("INSERT INTO {channel} ({}) VALUES ({})", names.join(", "), values.join(", ")), writes)
    }

    /// The field of a channel that carries its first mark.
    fn main_field(&self, channel: &str) -> String {
        let column =
            MARKED.iter().find(|(name, _)| *name == channel).expect("what has no marks is changed otherwise").1;
        self.field(channel, column).expect("every version has it")
    }

    /// Somebody whose record it will be: mostly oneself.
    fn owner(&self, emails: &[String]) -> String {
        let owner = if self.rng.percent(90) { &emails[self.account] } else { self.rng.pick(emails) };
        format!("'{owner}'")
    }

    /// A project to put a job into: mostly one whose jobs the user sees.
    fn project(&self) -> String {
        let own = format!("members WHERE who = '{}'", STAFF[self.account]);
        let mine = self.any(&own).filter(|_| self.has_table("members") && self.rng.percent(80));
        let mine = mine.and_then(|id| self.one_of("SELECT project FROM members WHERE id = ?1", [id]));
        let any = *self.rng.pick(&PROJECTS);
        format!("'{}'", mine.as_deref().unwrap_or(any))
    }

    /// Pieces in one transaction with the record that they are of, in any order, and sometimes naming each other.
    fn pieces(&mut self, emails: &[String]) -> Vec<Statement> {
        let (own, one, two) = (uuid_v7(&self.rng), uuid_v7(&self.rng), uuid_v7(&self.rng));
        let of = ("of", format!("'{own}'"));
        let next = |id: &str| ("next", format!("'{id}'"));
        let owner = self.owner(emails);
        let parent = self.insertion("own", &own, &[("owner", owner)]);
        let mut statements = match self.rng.below(3) {
            0 => vec![self.insertion("piece", &one, &[of])],
            1 => vec![self.insertion("piece", &one, &[of, next(&one)])],
            _ => vec![
                self.insertion("piece", &one, &[of.clone(), next(&two)]),
                self.insertion("piece", &two, &[of, next(&one)]),
            ],
        };
        let place = self.rng.below(statements.len() as u64 + 1) as usize;
        statements.insert(place, parent);
        statements
    }
}

fn quote(id: &str) -> String {
    format!("'{}'", id.replace('\'', "''"))
}
