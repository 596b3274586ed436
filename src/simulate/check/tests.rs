//! The checker over histories that are made by hand: each mistake is found, and what may be so is no mistake.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use omctl_protocol::admin::ChannelView;
use omctl_protocol::{ChannelName, Fields, Mutation, MutationId, Operation, Outcome, Position, Receipt, RecordId, Seq};
use serde_json::{Value, json};

use super::{Finding, Kind, Known, Table, effects, reads, story, wholes};
use crate::client::{Client, ClientError};
use crate::simulate::Server;
use crate::simulate::log::{Entry, Fate, ForeignNote, Line, Saved, Settled, What};
use crate::simulate::stage::Stage;
use crate::simulate::workload::Run;

struct Nobody;

impl Server for Nobody {
    fn connect(&self) -> Result<Client, ClientError> {
        Err(ClientError::NoServer { data_dir: "nowhere".into() })
    }

    fn restart(&self) -> Result<(), String> {
        Err("nobody".to_owned())
    }
}

const RUN: Run = Run(0x1a2b);

/// The mark of a device's n-th write.
fn mark(device: usize, n: u64) -> String {
    RUN.text(device, n)
}

fn channel() -> ChannelView {
    serde_json::from_value(json!({
        "name": "jobs", "backend": "crm", "table": "job", "scope": "public",
        "schema": {
            "channel": "jobs", "version": 1, "key": { "assigned_by": "device", "columns": [{ "column": "id" }] },
            "fields": [{ "name": "title", "type": "text" }, { "name": "hours", "type": "decimal", "conflict": "sum" }],
        },
    }))
    .unwrap()
}

/// A run that is told entry by entry.
struct Told {
    stage: Stage,
    logs: Vec<Vec<Entry>>,
    settled: Vec<Settled>,
    foreign: Vec<ForeignNote>,
    before: Table,
    rows: Table,
    kept: Vec<Position>,
    clock: u64,
}

impl Told {
    fn new(before: &[(&str, &str, &str)]) -> Self {
        let stage = Stage::new(Arc::new(Nobody), Vec::new(), vec![channel()], (RUN, Instant::now()), None);
        let before: Table =
            before.iter().map(|(id, title, hours)| (id.to_string(), vec![json!(title), json!(hours)])).collect();
        let (logs, rows) = (vec![Vec::new(), Vec::new()], before.clone());
        Self { stage, logs, settled: Vec::new(), foreign: Vec::new(), before, rows, kept: Vec::new(), clock: 0 }
    }

    fn note(&mut self, device: usize, what: What) {
        self.clock += 100;
        self.logs[device - 1].push(Entry { at: Duration::from_millis(self.clock), what });
    }

    fn wrote(&mut self, device: usize, record: &str, op: Operation, new: Fields) {
        let line = Line { channel: "jobs".into(), record: record.to_owned(), op, new };
        self.note(device, What::Wrote { line, saved: Saved::Yes });
    }

    fn saw(&mut self, device: usize, record: &str, row: Option<(&str, &str)>) {
        let row = row.map(|(title, hours)| vec![json!(title), json!(hours)]);
        let began = Duration::from_millis(self.clock + 50);
        self.note(device, What::Saw { channel: "jobs".into(), record: record.to_owned(), began, row });
    }

    fn settle(
        &mut self,
        device: usize,
        record: &str,
        op: Operation,
        (old, new): (Fields, Fields),
        end: (Outcome, u64),
    ) {
        let n = self.settled.len() as u64 + 1;
        let id = MutationId(uuid::Uuid::from_u128(n.into()));
        let mutation = Mutation {
            seq: Seq(n),
            id,
            channel: "jobs".into(),
            v: serde_json::from_value(json!(1)).unwrap(),
            op,
            record: RecordId::from(record),
            old,
            new,
            at: None,
            group: None,
            atomic: None,
            again: None,
        };
        let receipt = Receipt {
            seq: Seq(n),
            id,
            outcome: end.0,
            code: None,
            message: None,
            field: None,
            position: Some(Position(end.1)),
        };
        let settled = Settled { device, mutation, receipt };
        self.settled.push(settled.clone());
        self.note(device, What::Settled(Box::new(settled)));
    }

    /// A write of one field, with its receipt.
    fn update(&mut self, device: usize, record: &str, field: &str, (old, new): (&str, &str), end: (Outcome, u64)) {
        let fields = |value: &str| Fields::from([(field.to_owned(), json!(value))]);
        self.wrote(device, record, Operation::Update, fields(new));
        self.settle(device, record, Operation::Update, (fields(old), fields(new)), end);
    }

    fn row(&mut self, record: &str, title: &str, hours: &str) {
        self.rows.insert(record.to_owned(), vec![json!(title), json!(hours)]);
    }

    fn judge(&self) -> (Vec<Kind>, Vec<String>) {
        let known = Known {
            stage: &self.stage,
            logs: self.logs.clone(),
            settled: super::by_record(self.settled.iter().cloned()),
            kept: self.kept.clone(),
            foreign: self.foreign.clone(),
        };
        let all = BTreeMap::from([(ChannelName::from("jobs"), self.rows.clone())]);
        let mut findings: Vec<Finding> = effects::judge(&known, &channel(), &self.before, &all);
        findings.extend(reads::judge(&known, &channel()));
        findings.extend(wholes::judge(&known));
        (findings.iter().map(|finding| finding.kind).collect(), story::tell(&known, findings))
    }
}

#[test]
fn a_part_of_an_atomic_transaction_that_is_shown_alone_is_torn() {
    use crate::simulate::wholes::{Part, Shown, Whole};
    let part =
        |record: &str, n| Part { channel: "jobs".into(), record: record.into(), field: 0, mark: json!(mark(1, n)) };
    let whole = Arc::new(Whole { number: 0, parts: vec![part("a", 1), part("b", 2)] });
    let told = |looks: &[[Shown; 2]], before_last: &[What]| {
        let mut told = Told::new(&[]);
        for (n, shown) in looks.iter().enumerate() {
            if n + 1 == looks.len() {
                before_last.iter().for_each(|what| told.note(2, what.clone()));
            }
            told.note(2, What::SawWhole { whole: whole.clone(), shown: shown.to_vec() });
        }
        told.judge()
    };
    use Shown::{Mark, Other, Own};
    let (kinds, story) = told(&[[Mark, Other], [Mark, Mark]], &[]);
    assert_eq!(kinds, [Kind::Torn]);
    assert!(
        story[0].starts_with("jobs/b was not yet") && story[0].ends_with("`jobs/a` of the same atomic transaction")
    );
    assert!(story[1].contains("device 2 sees 1 of 2 records of its atomic transaction"), "{story:?}");
    // Somebody wrote over the other one before it was looked at, this device wrote it itself, it was set back.
    assert_eq!(told(&[[Mark, Mark], [Mark, Other], [Mark, Mark]], &[]).0, []);
    assert_eq!(told(&[[Mark, Other], [Other, Other]], &[]).0, []);
    assert_eq!(told(&[[Mark, Own], [Mark, Mark]], &[]).0, []);
    assert_eq!(told(&[[Mark, Other], [Mark, Mark]], &[What::Went(Fate::SetBack)]).0, []);
    let delete = Line { channel: "jobs".into(), record: "b".into(), op: Operation::Delete, new: Fields::new() };
    let deletes = What::Wrote { line: delete, saved: Saved::Yes };
    let (kinds, _) = told(&[[Other, Other], [Mark, Other], [Mark, Mark]], &[deletes]);
    assert!(kinds.contains(&Kind::Torn), "that came too late");
}

fn title(value: &str) -> Fields {
    Fields::from([("title".to_owned(), json!(value))])
}

const APPLIED: Outcome = Outcome::Applied;

#[test]
fn a_history_without_a_mistake_has_none() {
    let mut told = Told::new(&[("a", "first", "1")]);
    let (one, two) = (mark(1, 1), mark(2, 1));
    told.update(1, "a", "title", ("first", &one), (APPLIED, 10));
    told.saw(1, "a", Some((&one, "1")));
    told.update(2, "a", "title", (&one, &two), (APPLIED, 11));
    told.update(2, "a", "hours", ("1", "3"), (APPLIED, 12));
    told.saw(1, "a", Some((&two, "3")));
    told.row("a", &two, "3.0");
    // A write that met another one and lost shows for a while, and then what was there again.
    told.update(1, "a", "title", (&one, &mark(1, 2)), (Outcome::Conflict, 12));
    told.saw(1, "a", Some((&two, "3")));
    assert_eq!(told.judge(), (vec![], vec![]));
}

#[test]
fn a_settled_write_that_is_not_there_is_lost() {
    let mut told = Told::new(&[("a", "first", "1")]);
    told.update(1, "a", "title", ("first", &mark(1, 1)), (APPLIED, 10));
    let (kinds, story) = told.judge();
    assert_eq!(kinds, [Kind::Lost]);
    assert!(story[0].starts_with("jobs/a has `title` \"first\", and the last settled write was"), "{story:?}");
    assert!(story[1].contains("device 1 writes title") && story.len() == 3, "{story:?}");
    // Somebody else wrote later, as far as anybody can tell.
    told.foreign.push(ForeignNote {
        at: Duration::ZERO,
        channel: "jobs".into(),
        op: Operation::Update,
        record: Some("a".into()),
        wrote: title("first"),
        add: Fields::new(),
        sure: true,
    });
    assert_eq!(told.judge().0, []);
}

#[test]
fn a_created_record_that_is_gone_and_a_deleted_one_that_is_back_are_lost() {
    let mut told = Told::new(&[("a", "first", "1")]);
    let created = title(&mark(1, 1));
    told.wrote(1, "b", Operation::Create, created.clone());
    told.settle(1, "b", Operation::Create, (Fields::new(), created), (APPLIED, 10));
    told.wrote(2, "a", Operation::Delete, Fields::new());
    told.settle(2, "a", Operation::Delete, (Fields::new(), Fields::new()), (APPLIED, 11));
    assert_eq!(told.judge().0, [Kind::Lost, Kind::Lost]);
    told.rows.remove("a");
    told.row("b", &mark(1, 1), "0");
    assert_eq!(told.judge().0, []);
}

#[test]
fn what_was_added_twice_or_stands_in_two_rows_is_doubled() {
    let mut told = Told::new(&[("a", "first", "1")]);
    told.update(1, "a", "hours", ("1", "4"), (APPLIED, 10));
    told.row("a", "first", "7");
    assert_eq!(told.judge().0, [Kind::Duplicated]);
    told.row("a", "first", "4");
    assert_eq!(told.judge().0, []);
    told.row("a", "first", "1");
    assert_eq!(told.judge().0, [Kind::Lost]);

    let mut told = Told::new(&[]);
    let created = title(&mark(1, 1));
    told.wrote(1, "b", Operation::Create, created.clone());
    told.settle(1, "b", Operation::Create, (Fields::new(), created), (APPLIED, 10));
    told.row("b", &mark(1, 1), "0");
    told.row("77", &mark(1, 1), "0");
    assert_eq!(told.judge().0, [Kind::Duplicated]);
    // Its twin was changed meanwhile, but somebody had seen it.
    told.row("77", &mark(2, 9), "0");
    told.saw(2, "77", Some((&mark(1, 1), "0")));
    assert_eq!(told.judge().0, [Kind::Duplicated]);
}

#[test]
fn a_write_without_a_receipt_is_lost_unless_its_device_was_set_back() {
    let mut told = Told::new(&[("a", "first", "1")]);
    told.wrote(1, "a", Operation::Update, title(&mark(1, 1)));
    assert_eq!(told.judge().0, [Kind::Lost]);
    told.note(1, What::Went(Fate::SetBack));
    assert_eq!(told.judge().0, []);
}

#[test]
fn an_app_reads_what_it_wrote_until_its_receipt() {
    let mut told = Told::new(&[("a", "first", "1")]);
    let new = mark(1, 1);
    told.wrote(1, "a", Operation::Update, title(&new));
    told.saw(1, "a", Some(("first", "1")));
    told.settle(1, "a", Operation::Update, (title("first"), title(&new)), (APPLIED, 10));
    told.saw(1, "a", Some((&new, "1")));
    told.row("a", &new, "1");
    let (kinds, story) = told.judge();
    assert_eq!(kinds, [Kind::Stale]);
    assert!(story[0].contains("has no receipt yet"), "{story:?}");
}

#[test]
fn nobody_sees_a_value_again_after_a_newer_one() {
    let mut told = Told::new(&[("a", "first", "1")]);
    let (one, two) = (mark(2, 1), mark(2, 2));
    told.update(2, "a", "title", ("first", &one), (APPLIED, 10));
    told.update(2, "a", "title", (&one, &two), (APPLIED, 11));
    told.row("a", &two, "1");
    for seen in [&one, &two, &one, &two] {
        told.saw(1, "a", Some((seen, "1")));
    }
    assert!(told.judge().0.contains(&Kind::Stale));
    // What a settled write replaced does not come back either, even where nobody had looked before.
    let mut told = Told::new(&[("a", "first", "1")]);
    told.update(1, "a", "title", ("first", &one), (APPLIED, 10));
    told.row("a", &one, "1");
    told.saw(1, "a", Some((&one, "1")));
    told.saw(1, "a", Some(("first", "1")));
    assert_eq!(told.judge().0, [Kind::Stale]);
}

#[test]
fn a_write_over_another_one_that_was_not_seen_is_a_conflict_or_lost() {
    let mut told = Told::new(&[("a", "first", "1")]);
    let (one, two) = (mark(1, 1), mark(2, 1));
    told.update(1, "a", "title", ("first", &one), (APPLIED, 10));
    told.update(2, "a", "title", ("first", &two), (APPLIED, 11));
    told.row("a", &two, "1");
    let (kinds, story) = told.judge();
    assert_eq!(kinds, [Kind::Lost]);
    assert!(story[0].contains("which had not seen it"), "{story:?}");
}

#[test]
fn numbers_are_marks_of_one_run_and_of_no_other() {
    let number = |run: u16, n: i64| json!((i64::from(run % 10_000) + 10_000) * 10_000_000_000 + n);
    assert!(RUN.owns(&number(RUN.0, 5)) && RUN.owns(&json!(number(RUN.0, 5).to_string())));
    assert!(!RUN.owns(&number(RUN.0 + 1, 5)) && !RUN.owns(&Value::Null) && !RUN.owns(&json!("om")));
    assert!(RUN.owns(&json!(format!("Ana Novak {}", mark(3, 7)))));
}

#[test]
fn what_only_has_a_new_answer_after_a_restore_stands_nowhere_for_sure() {
    let mut told = Told::new(&[]);
    let (made, later) = (title(&mark(1, 1)), mark(2, 1));
    // The update was answered in the lost history and offered again; the create had no answer yet, and was in the backend.
    told.update(2, "b", "title", (&mark(1, 1), &later), (APPLIED, 14));
    told.settled[0].mutation.again = Some(Position(12));
    told.wrote(1, "b", Operation::Create, made.clone());
    told.settle(1, "b", Operation::Create, (Fields::new(), made), (APPLIED, 15));
    told.kept = vec![Position(10)];
    told.row("b", &later, "0");
    assert_eq!(told.judge().0, []);
    // What was offered again, and is neither there nor followed, is lost as ever.
    told.row("b", "somebody's", "0");
    assert_eq!(told.judge().0, []);
    told.before.insert("b".to_owned(), vec![json!("first"), json!("0")]);
    told.row("b", "first", "0");
    assert_eq!(told.judge().0, [Kind::Lost]);
}
