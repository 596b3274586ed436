//! Writes that are done whole or not at all: one transaction, and the first that cannot be done undoes it.

use std::sync::Arc;

use omctl_protocol::value::Value;
use rusqlite::{Connection, TransactionBehavior};

use super::fault::Fault;
use super::read::{APPLIED_ONE, applied_row};
use super::session::State;
use super::write::{NOTE, One, Stop, Warm, commit, note};
use crate::backend::{Borrow, Collection, Effect, Key, Slot, Whole, Write, Written};

pub(super) fn write_whole(
    connection: &mut Connection,
    state: &mut State,
    writes: &[(Arc<Collection>, Write)],
    now_ms: i64,
) -> Result<Whole, Fault> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    state.refresh(&transaction)?;
    let mut answers: Vec<Written> = Vec::with_capacity(writes.len());
    {
        let mut warm = Warm::default();
        let mut ledger = match state.ledger {
            true => Some((transaction.prepare_cached(APPLIED_ONE)?, transaction.prepare_cached(NOTE)?)),
            false => None,
        };
        for (at, (collection, write)) in writes.iter().enumerate() {
            if let Some((lookup, _)) = &mut ledger
                && let Some(applied) = applied_row(lookup, write.mutation)?
            {
                return Ok(Whole::Undone { at: Some(at), why: Written::Already(applied) });
            }
            let plan = state.plan(&transaction, collection)?;
            let effect = lend(collection, write, &answers)?;
            let mut one = One { connection: &transaction, warm: &mut warm, state, plan: &plan, collection };
            let answer = match one.effect(&effect) {
                Ok(answer) | Err(Stop::Answer(answer)) => answer,
                Err(Stop::Fault(fault)) => return Err(fault),
            };
            // A trigger's RAISE(ROLLBACK) has ended the transaction already.
            let (false, Written::Done { key, .. }) = (transaction.is_autocommit(), &answer) else {
                return Ok(Whole::Undone { at: Some(at), why: answer });
            };
            if let Some((_, statement)) = &mut ledger {
                note(statement, collection, &plan.kinds, write, key.as_ref(), now_ms)?;
            }
            answers.push(answer);
        }
        // What the triggers of a later write made of an earlier one's row belongs to it.
        for ((collection, _), answer) in writes.iter().zip(&mut answers) {
            let Written::Done { key: Some(key), row } = answer else { continue };
            let plan = state.plan(&transaction, collection)?;
            let mut one = One { connection: &transaction, warm: &mut warm, state, plan: &plan, collection };
            *row = one.find(key)?.and_then(|(row, matches)| row.ok().filter(|_| matches));
        }
    }
    match commit(&transaction, state.ledger)? {
        None => Ok(Whole::Done(answers)),
        Some(why) => Ok(Whole::Undone { at: None, why }),
    }
}

/// The effect of a write with the keys in it that earlier ones made.
fn lend(collection: &Collection, write: &Write, done: &[Written]) -> Result<Effect, Fault> {
    let mut effect = write.effect.clone();
    for Borrow { from, into } in &write.borrows {
        let Some(Written::Done { key: Some(lent), .. }) = done.get(*from) else {
            return Err(Fault::Bad("a write names a row that no earlier one made".to_owned()));
        };
        match into {
            Slot::Row => match &mut effect {
                Effect::Update { key, .. } | Effect::Delete { key, .. } => key.clone_from(lent),
                Effect::Nothing { key } => *key = Some(lent.clone()),
                Effect::Insert { .. } => {}
            },
            Slot::KeyColumn(place) => {
                if let Effect::Insert { key: Some(key), .. } = &mut effect {
                    key.0[*place] = single(collection, lent)?;
                }
            }
            Slot::Column(place) => {
                if let Effect::Insert { set, .. } | Effect::Update { set, .. } = &mut effect {
                    let value = single(collection, lent)?;
                    set.iter_mut().filter(|(one, _)| one == place).for_each(|(_, slot)| slot.clone_from(&value));
                }
            }
        }
    }
    Ok(effect)
}

fn single(collection: &Collection, key: &Key) -> Result<Value, Fault> {
    match key.0.as_slice() {
        [only] => Ok(only.clone()),
        _ => Err(Fault::Bad(format!("a reference in `{}` names a key of several columns", collection.table))),
    }
}
