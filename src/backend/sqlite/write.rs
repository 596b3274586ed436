//! Writing: conditional effects and their dedupe rows, many in one transaction, none taking another with it.
//!
//! Whether a row still is as it was read is compared in canonical terms, in Rust and inside the transaction: in SQL,
//! REAL 0.99 and the decimal text `0.99` are different, and so are two spellings of one date.

use std::sync::Arc;

use omctl_protocol::value::Value;
use rusqlite::{
    CachedStatement, Connection, ErrorCode, OptionalExtension as _, Statement, TransactionBehavior, params_from_iter,
};

use super::fault::{Fault, is_key_conflict, message, refusal};
use super::plan::{Affinity, Bound, Plan, quote};
use super::read::{APPLIED_ONE, Found, applied_row, find};
use super::session::State;
use crate::backend::{Collection, Column, Effect, Key, Write, Written};

const SAVEPOINT: &str = "SAVEPOINT om_write";
const RELEASE: &str = "RELEASE om_write";
const ROLL_BACK: &str = "ROLLBACK TO om_write";
/// A key's latest birth stands at the latest time, whatever the clock says and however close they are.
pub(super) const NOTE: &str = "INSERT INTO main.om_applied (mutation, digest, channel, record, key, key_kinds, op, outcome, at) \
                    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, CASE ?7 WHEN 'insert' THEN max(?9, coalesce((SELECT max(at) + 1 \
                    FROM main.om_applied WHERE op = 'insert' AND channel = ?3 AND key = ?5), 0)) ELSE ?9 END)";

/// How a transaction of several writes ended.
enum Batch {
    /// Committed, with these answers.
    Done(Vec<Written>),
    /// Something has to be undone for one write alone: again, with a savepoint for each.
    NeedsSavepoints,
    /// One write took the whole transaction with it, by a trigger's `RAISE(ROLLBACK)` or by a constraint that is only
    /// checked at the commit. Nothing was done. This would be the answer if it was the only one.
    Broken(Written),
}

/// Does the writes in one transaction; if one of them would take the others with it, in one transaction each.
pub(super) fn write(
    connection: &mut Connection,
    state: &mut State,
    writes: &[(Arc<Collection>, Write)],
    now_ms: i64,
) -> Result<Vec<Written>, Fault> {
    // Nearly always nothing has to be undone: a statement that fails undoes itself. A savepoint for each write would
    // copy every page that is touched, which is a quarter of the time.
    let first = match batch(connection, state, writes, now_ms, Savepoints::None)? {
        Batch::NeedsSavepoints => batch(connection, state, writes, now_ms, Savepoints::Each)?,
        other => other,
    };
    match first {
        Batch::Done(written) => Ok(written),
        Batch::Broken(alone) if writes.len() == 1 => Ok(vec![alone]),
        Batch::Broken(_) | Batch::NeedsSavepoints => writes
            .iter()
            .map(|one| match batch(connection, state, std::slice::from_ref(one), now_ms, Savepoints::Each)? {
                Batch::Done(mut written) => Ok(written.pop().expect("one write has one answer")),
                Batch::Broken(alone) => Ok(alone),
                Batch::NeedsSavepoints => Err(Fault::Bad("a savepoint did not undo a write".to_owned())),
            })
            .collect(),
    }
}

/// Does one effect as somebody would who knows nothing of us. Whatever goes wrong undoes all of it.
pub(super) fn write_foreign(
    connection: &mut Connection,
    state: &mut State,
    collection: &Arc<Collection>,
    effect: &Effect,
) -> Result<Written, Fault> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    state.refresh(&transaction)?;
    let plan = state.plan(&transaction, collection)?;
    let mut warm = Warm::default();
    let mut one = One { connection: &transaction, warm: &mut warm, state, plan: &plan, collection };
    let answer = match one.effect(effect) {
        Ok(answer) => answer,
        Err(Stop::Answer(answer)) => return Ok(answer),
        Err(Stop::Fault(fault)) => return Err(fault),
    };
    drop(warm);
    match transaction.commit() {
        Ok(()) => Ok(answer),
        Err(error) => refusal(&error).ok_or(Fault::Sql(error)),
    }
}

/// Whether each write of a batch has a savepoint of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Savepoints {
    None,
    Each,
}

fn batch(
    connection: &mut Connection,
    state: &mut State,
    writes: &[(Arc<Collection>, Write)],
    now_ms: i64,
    savepoints: Savepoints,
) -> Result<Batch, Fault> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // The schema may have changed until the lock was had; from here on it stays.
    state.refresh(&transaction)?;
    let mut answers = Vec::with_capacity(writes.len());
    {
        // Taken from the cache once a batch: at these rates even a look-up by text is felt.
        let mut savepoint = transaction.prepare_cached(SAVEPOINT)?;
        let mut warm = Warm::default();
        let mut release = transaction.prepare_cached(RELEASE)?;
        let mut ledger = match state.ledger {
            true => Some((transaction.prepare_cached(APPLIED_ONE)?, transaction.prepare_cached(NOTE)?)),
            false => None,
        };
        for (collection, write) in writes {
            if let Some((lookup, _)) = &mut ledger
                && let Some(applied) = applied_row(lookup, write.mutation)?
            {
                answers.push(Written::Already(applied));
                continue;
            }
            let plan = state.plan(&transaction, collection)?;
            let changes_before = transaction.total_changes();
            if savepoints == Savepoints::Each {
                savepoint.execute([])?;
            }
            #[cfg(feature = "planted")]
            let doomed = super::planted::doomed(&transaction, &plan, collection, &write.effect);
            let mut one = One { connection: &transaction, warm: &mut warm, state, plan: &plan, collection };
            let answer = match one.effect(&write.effect) {
                Ok(answer) => answer,
                Err(Stop::Answer(answer)) => answer,
                Err(Stop::Fault(fault)) => return Err(fault),
            };
            #[cfg(feature = "planted")]
            if matches!(answer, Written::Done { .. }) {
                super::planted::after(collection, write, doomed, || one.effect(&write.effect).is_ok());
            }
            if transaction.is_autocommit() {
                return Ok(Batch::Broken(answer));
            }
            match (&answer, &mut ledger) {
                #[cfg(feature = "planted")]
                (Written::Done { key, .. }, Some(_)) if crate::planted::has("dedupe_row_apart") => {
                    state.late.push((collection.clone(), write.clone(), key.clone()));
                }
                (Written::Done { key, .. }, Some((_, statement))) => {
                    note(statement, collection, &plan.kinds, write, key.as_ref(), now_ms)?;
                }
                (Written::Done { .. }, None) => {}
                _ if savepoints == Savepoints::Each => {
                    transaction.prepare_cached(ROLL_BACK)?.execute([])?;
                }
                // RAISE(FAIL) leaves what the triggers before it did, and the count of changes does not always tell.
                (Written::Refused { .. }, _) => return Ok(Batch::NeedsSavepoints),
                _ if transaction.total_changes() != changes_before => return Ok(Batch::NeedsSavepoints),
                _ => {}
            }
            if savepoints == Savepoints::Each {
                release.execute([])?;
            }
            answers.push(answer);
        }
        #[cfg(feature = "planted")]
        if let Some((_, statement)) = &mut ledger {
            let new = answers.iter().filter(|answer| matches!(answer, Written::Done { .. })).count();
            let late: Vec<_> = state.late.drain(..state.late.len().saturating_sub(new)).collect();
            for (collection, write, key) in late {
                let plan = state.plan(&transaction, &collection)?;
                drop(note(statement, &collection, &plan.kinds, &write, key.as_ref(), now_ms));
            }
        }
    }
    Ok(match commit(&transaction, state.ledger)? {
        None => Batch::Done(answers),
        Some(refused) => Batch::Broken(refused),
    })
}

/// Commits; answers with the refusal of a constraint that is only checked now.
pub(super) fn commit(transaction: &Connection, has_ledger: bool) -> Result<Option<Written>, Fault> {
    match transaction.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([])) {
        Ok(_) => Ok(None),
        Err(error) => match (refusal(&error), error.sqlite_error_code()) {
            (Some(refused), _) => Ok(Some(refused)),
            // Others read it: nothing was written.
            (None, Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)) => Err(Fault::Sql(error)),
            (None, _) if has_ledger => Err(Fault::Sql(error)),
            (None, _) => Err(Fault::Ambiguous(message(&error))),
        },
    }
}

/// Writes the dedupe row of a write that was done.
pub(super) fn note(
    statement: &mut Statement<'_>,
    collection: &Collection,
    kinds: &str,
    write: &Write,
    key: Option<&Key>,
    now_ms: i64,
) -> Result<(), rusqlite::Error> {
    let op = match write.effect {
        Effect::Insert { .. } => "insert",
        Effect::Update { .. } => "update",
        Effect::Delete { .. } => "delete",
        Effect::Nothing { .. } => "nothing",
    };
    statement.execute((
        write.mutation.0.as_bytes().as_slice(),
        write.digest.as_slice(),
        collection.channel.as_str(),
        write.record.as_str(),
        key.map(Key::to_text),
        kinds,
        op,
        &write.outcome,
        now_ms,
    ))?;
    Ok(())
}

/// Ends one write early: with its answer, or with the whole call.
pub(super) enum Stop {
    Answer(Written),
    Fault(Fault),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Fault(Fault::Sql(error))
    }
}

fn bad_value(column: &str, message: &str) -> Stop {
    refused("bad_value", Some(column), message)
}

fn refused(code: &'static str, column: Option<&str>, message: &str) -> Stop {
    Stop::Answer(Written::Refused { code, column: column.map(str::to_owned), message: message.to_owned() })
}

/// The statements of the last write: a batch is mostly one kind of write to one collection.
#[derive(Default)]
pub(super) struct Warm<'c> {
    find: Option<(Arc<Collection>, CachedStatement<'c>)>,
    insert: Option<(Arc<Collection>, Vec<String>, CachedStatement<'c>)>,
}

/// One write of a batch.
pub(super) struct One<'a, 'c> {
    pub(super) connection: &'c Connection,
    pub(super) warm: &'a mut Warm<'c>,
    pub(super) state: &'a mut State,
    pub(super) plan: &'a Plan,
    pub(super) collection: &'a Arc<Collection>,
}

impl One<'_, '_> {
    pub(super) fn effect(&mut self, effect: &Effect) -> Result<Written, Stop> {
        match effect {
            Effect::Insert { key, set } => self.insert(key.as_ref(), set),
            Effect::Update { key, expect, set } => self.update(key, expect, set),
            Effect::Delete { key, expect } => self.delete(key, expect),
            Effect::Nothing { key } => {
                let found = match key {
                    Some(key) => self.find(key)?,
                    None => None,
                };
                let row = found.and_then(|(row, matches)| row.ok().filter(|_| matches));
                Ok(Written::Done { key: key.clone(), row })
            }
        }
    }

    fn insert(&mut self, key: Option<&Key>, set: &[(usize, Value)]) -> Result<Written, Stop> {
        let collection = Arc::clone(self.collection);
        let mut columns: Vec<(&str, &Value)> = Vec::with_capacity(set.len() + 2);
        if let Some(key) = key {
            columns.extend(collection.key.iter().zip(&key.0).map(|(column, value)| (column.name.as_str(), value)));
        }
        for (n, value) in set {
            let column = &collection.columns[*n];
            // What is nowhere named yet: the key was named first, and what the backend makes is left to it.
            let is_key = collection.key.iter().any(|one| one.name.eq_ignore_ascii_case(&column.name));
            let left_to_backend = value.is_null() && (is_key || column.read_only || is_filtered(&collection, column));
            if left_to_backend || (is_key && key.is_some()) {
                continue;
            }
            if column.read_only {
                return Err(refused("not_allowed", Some(&column.name), "the column is only written by the backend"));
            }
            columns.push((&column.name, value));
        }
        for (name, value) in &collection.filter {
            if !columns.iter().any(|(one, _)| one.eq_ignore_ascii_case(name)) {
                columns.push((name, value));
            }
        }
        for (name, value) in &columns {
            check_text(name, value)?;
        }
        if let Some(key) = key
            && self.plan.has_conflict_clause
            && self.exists(key)?
        {
            return Err(Stop::Answer(Written::Exists));
        }
        let key = self.run_insert(key, &columns)?;
        self.read_back(&key, set)
    }

    pub(super) fn find(&mut self, key: &Key) -> Result<Found, Fault> {
        let statement = match &mut self.warm.find {
            Some((known, statement)) if Arc::ptr_eq(known, self.collection) => statement,
            other => {
                let statement = self.connection.prepare_cached(&self.plan.by_key)?;
                &mut other.insert((Arc::clone(self.collection), statement)).1
            }
        };
        find(statement, self.plan, self.collection, key)
    }

    /// Runs the statement; answers the new row's key.
    fn run_insert(&mut self, key: Option<&Key>, columns: &[(&str, &Value)]) -> Result<Key, Stop> {
        // RETURNING makes a table for its answer each time: half of the cost of a small insert.
        let outcome = match key {
            Some(key) => self.execute_insert(columns).map(|rows| (rows > 0).then(|| Ok(key.clone()))),
            None if self.plan.key_is_rowid => self
                .execute_insert(columns)
                .map(|rows| (rows > 0).then(|| Ok(Key(vec![Value::Int(self.connection.last_insert_rowid())])))),
            None => {
                let sql = format!("{} RETURNING {}", self.insert_sql(columns), self.plan.key_list);
                self.returned_key(&sql, params_from_iter(columns.iter().map(|(_, value)| Bound(value))))
            }
        };
        match outcome {
            Ok(Some(Ok(key))) => Ok(key),
            Ok(Some(Err(column))) => Err(bad_value(&column, "the backend assigned a key that is not of its type")),
            Ok(None) => Err(refused("constraint", None, "the backend left the row out without saying why")),
            Err(Stop::Fault(Fault::Sql(error))) => {
                if let Some(key) = key
                    && is_key_conflict(&error)
                    && !self.connection.is_autocommit()
                    && self.exists(key)?
                {
                    return Err(Stop::Answer(Written::Exists));
                }
                Err(stop(error))
            }
            Err(other) => Err(other),
        }
    }

    fn insert_sql(&self, columns: &[(&str, &Value)]) -> String {
        let names = columns.iter().map(|(name, _)| quote(name)).collect::<Vec<_>>().join(", ");
        match columns.len() {
            0 => format!("INSERT INTO {} DEFAULT VALUES", self.plan.quoted),
            n => format!("INSERT INTO {} ({names}) VALUES ({})", self.plan.quoted, vec!["?"; n].join(", ")),
        }
    }

    fn execute_insert(&mut self, columns: &[(&str, &Value)]) -> Result<usize, Stop> {
        let is_same = |known: &[String]| known.iter().map(String::as_str).eq(columns.iter().map(|(name, _)| *name));
        let known = match &self.warm.insert {
            Some((known, names, _)) => Arc::ptr_eq(known, self.collection) && is_same(names),
            None => false,
        };
        if !known {
            let statement = self.connection.prepare_cached(&self.insert_sql(columns))?;
            let names = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
            self.warm.insert = Some((Arc::clone(self.collection), names, statement));
        }
        let (_, _, statement) = self.warm.insert.as_mut().expect("it was put there if it was not");
        Ok(statement.execute(params_from_iter(columns.iter().map(|(_, value)| Bound(value))))?)
    }

    fn returned_key(&self, sql: &str, values: impl rusqlite::Params) -> Result<Option<Result<Key, String>>, Stop> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(values)?;
        let key = match rows.next()? {
            Some(row) => self.plan.key(self.collection, row)?.map_err(|bad| bad.column),
            None => return Ok(None),
        };
        // The statement is done when it has no more rows, not before.
        while rows.next()?.is_some() {}
        Ok(Some(key))
    }

    fn update(&mut self, key: &Key, expect: &[(usize, Value)], set: &[(usize, Value)]) -> Result<Written, Stop> {
        self.check(key, expect)?;
        let collection = Arc::clone(self.collection);
        for (n, value) in set {
            let column = &collection.columns[*n];
            if column.read_only {
                return Err(refused("not_allowed", Some(&column.name), "the column is only written by the backend"));
            }
            if collection.key.iter().any(|one| one.name.eq_ignore_ascii_case(&column.name)) {
                return Err(refused("not_allowed", Some(&column.name), "a key is never changed"));
            }
            check_text(&column.name, value)?;
        }
        if !set.is_empty() {
            let columns =
                set.iter().map(|(n, _)| format!("{} = ?", quote(&collection.columns[*n].name))).collect::<Vec<_>>();
            let sql =
                format!("UPDATE {} SET {} WHERE {}", self.plan.quoted, columns.join(", "), self.plan.key_condition);
            let values = set.iter().map(|(_, value)| value).chain(&key.0).map(Bound);
            let changed = self
                .connection
                .prepare_cached(&sql)
                .and_then(|mut statement| statement.execute(params_from_iter(values)))
                .map_err(stop)?;
            if changed == 0 {
                return Err(refused("constraint", None, "the backend left the row as it was without saying why"));
            }
        }
        self.read_back(key, set)
    }

    fn delete(&mut self, key: &Key, expect: &[(usize, Value)]) -> Result<Written, Stop> {
        self.check(key, expect)?;
        let sql = format!("DELETE FROM {} WHERE {}", self.plan.quoted, self.plan.key_condition);
        let deleted = self
            .connection
            .prepare_cached(&sql)
            .and_then(|mut statement| statement.execute(params_from_iter(key.0.iter().map(Bound))))
            .map_err(stop)?;
        // A trigger may have left it in place, or marked it as deleted instead.
        match (deleted, self.find(key)?) {
            (_, None | Some((_, false))) => Ok(Written::Done { key: Some(key.clone()), row: None }),
            (_, Some((_, true))) => Err(refused("constraint", None, "the backend did not delete the row")),
        }
    }

    /// Stops with [`Written::Lost`] unless the row is there, matches the filter and is as expected.
    fn check(&mut self, key: &Key, expect: &[(usize, Value)]) -> Result<(), Stop> {
        let as_expected = match self.find(key)? {
            Some((Ok(row), true)) => expect.iter().all(|(n, value)| row.values[*n] == *value),
            _ => false,
        };
        if as_expected { Ok(()) } else { Err(Stop::Answer(Written::Lost)) }
    }

    fn exists(&self, key: &Key) -> Result<bool, Stop> {
        let mut statement = self.connection.prepare_cached(&self.plan.exists)?;
        let found: Option<i64> =
            statement.query_row(params_from_iter(key.0.iter().map(Bound)), |row| row.get(0)).optional()?;
        Ok(found.is_some())
    }

    /// Reads the row that was written. What the column could not keep exactly is refused; what a trigger made of it is
    /// the backend's right.
    fn read_back(&mut self, key: &Key, set: &[(usize, Value)]) -> Result<Written, Stop> {
        let collection = Arc::clone(self.collection);
        let found = self.find(key)?;
        let kept = |n: usize| found.as_ref().and_then(|(row, _)| row.as_ref().ok()).map(|row| &row.values[n]);
        for (n, value) in set {
            let column = &collection.columns[*n];
            if column.read_only || kept(*n) == Some(value) {
                continue;
            }
            if !self.survives(self.plan.affinity[*n], column, value)? {
                return Err(bad_value(&column.name, "the column cannot keep this value exactly"));
            }
        }
        match found {
            Some((Ok(row), true)) => Ok(Written::Done { key: Some(key.clone()), row: Some(row) }),
            Some((Ok(_), false)) => Ok(Written::Done { key: Some(key.clone()), row: None }),
            Some((Err(bad), _)) => Err(bad_value(&bad.column, &bad.message)),
            None => {
                let column = collection.key.first().map_or("", |column| column.name.as_str());
                Err(bad_value(column, "the backend did not keep the row under this key"))
            }
        }
    }

    fn survives(&mut self, affinity: Affinity, column: &Column, value: &Value) -> Result<bool, Stop> {
        Ok(self.state.survives(affinity, column, value)?)
    }
}

/// The answer that an error of one statement is, or the end of the call.
fn stop(error: rusqlite::Error) -> Stop {
    match refusal(&error) {
        Some(refused) => Stop::Answer(refused),
        None => Stop::Fault(Fault::Sql(error)),
    }
}

fn is_filtered(collection: &Collection, column: &Column) -> bool {
    collection.filter.iter().any(|(name, _)| name.eq_ignore_ascii_case(&column.name))
}

/// SQLite keeps text with U+0000 inside and most of its own functions stop there: two values would look like one.
fn check_text(column: &str, value: &Value) -> Result<(), Stop> {
    match value {
        Value::Text(text) if text.contains('\0') => Err(bad_value(column, "text with U+0000")),
        _ => Ok(()),
    }
}
