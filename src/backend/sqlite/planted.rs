//! The planted bugs of a SQLite backend: `twice`, where a create makes two rows, and `resurrected`.
//!
//! Only with the feature `planted` (`src/planted.rs`). Must not know why a write is done.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, params_from_iter};

use super::plan::{Bound, Plan, bare, quote};
use super::session::BUSY_WAIT;
use crate::backend::{Collection, Effect, Write};
use crate::planted::{self, Plant};

/// A moment after the delete: as a write comes that stands on a stale read.
const LATE: Duration = Duration::from_millis(1_500);

/// A row that is about to be deleted, with what would write it again.
pub(super) struct Doomed {
    file: PathBuf,
    insert: String,
    values: Vec<SqlValue>,
}

/// The row that an effect deletes, whole: columns that the channel does not have too.
pub(super) fn doomed(connection: &Connection, plan: &Plan, collection: &Collection, effect: &Effect) -> Option<Doomed> {
    let Effect::Delete { key, .. } = effect else { return None };
    if !planted::is_planted(Plant::Resurrected) {
        return None;
    }
    let read = || -> rusqlite::Result<(Vec<String>, Vec<SqlValue>)> {
        // Without generated columns, which nobody can write.
        let mut names = connection.prepare_cached("SELECT name FROM pragma_table_info(?1)")?;
        let columns = names.query_map([bare(&collection.table)], |row| row.get::<_, String>(0))?;
        let columns: Vec<String> = columns.map(|name| name.map(|name| quote(&name))).collect::<Result<_, _>>()?;
        let sql = format!("SELECT {} FROM {} WHERE {}", columns.join(", "), plan.quoted, plan.key_condition);
        let values = connection.query_row(&sql, params_from_iter(key.0.iter().map(Bound)), |row| {
            (0..columns.len()).map(|place| row.get(place)).collect()
        })?;
        Ok((columns, values))
    };
    let (columns, values) = read().ok()?;
    let marks = vec!["?"; columns.len()].join(", ");
    let insert = format!("INSERT INTO {} ({}) VALUES ({marks})", plan.quoted, columns.join(", "));
    Some(Doomed { file: connection.path()?.into(), insert, values })
}

/// What goes wrong with a write that was just done.
pub(super) fn after(
    collection: &Arc<Collection>,
    write: &Write,
    doomed: Option<Doomed>,
    mut do_again: impl FnMut() -> bool,
) {
    match (&write.effect, doomed) {
        // A table with another unique column does not take the second row.
        (Effect::Insert { key: None, .. }, _) if planted::is_due(Plant::Twice, write.mutation) && do_again() => {
            planted::tell(Plant::Twice, &collection.channel, &write.record, Some(write.mutation));
        }
        (Effect::Delete { .. }, Some(doomed)) if planted::is_due(Plant::Resurrected, write.mutation) => {
            let (channel, record, mutation) = (collection.channel.clone(), write.record.clone(), write.mutation);
            std::thread::spawn(move || {
                std::thread::sleep(LATE);
                if write_late(&doomed).is_ok() {
                    planted::tell(Plant::Resurrected, &channel, &record, Some(mutation));
                }
            });
        }
        _ => {}
    }
}

/// Over a connection of its own, as another program would.
fn write_late(doomed: &Doomed) -> rusqlite::Result<usize> {
    let connection = Connection::open(&doomed.file)?;
    connection.busy_timeout(BUSY_WAIT)?;
    connection.execute(&doomed.insert, params_from_iter(&doomed.values))
}
