//! Atomic transactions: every mutation of one is refused, or none is; and no device stood at a position where the log
//! had a part of one.

use std::collections::BTreeMap;

use omctl_protocol::{MutationId, Receipt};
use rusqlite::Connection;
use serde_json::Value as Json;

use super::{Checked, Oracle, is_mark, wrong};

impl Oracle {
    pub(super) fn wholes_are_whole(&self, receipts: &BTreeMap<MutationId, Receipt>, store: &Connection) -> Checked {
        // What is offered again after a server was set back is a part of what it was before.
        if self.restores.any() {
            return Ok(());
        }
        let came = first_positions(store);
        for ((device, group), members) in &self.wholes {
            let answers: Vec<&Receipt> = members.iter().filter_map(|id| receipts.get(id)).collect();
            let refused = answers.iter().filter(|receipt| receipt.is_rejected()).count();
            if refused != 0 && refused != answers.len() {
                return wrong(format!("of transaction {group:?} of device {device} a part is refused: {answers:?}"));
            }
            let is_lost = self.set_back.contains_key(device) || self.out.contains(device);
            if answers.len() != members.len() && !answers.is_empty() && !is_lost {
                return wrong(format!("of transaction {group:?} of device {device} a part is answered: {answers:?}"));
            }
            let of_marks = |id: &MutationId| {
                let mutation = &self.sent[id].mutation;
                let marks = mutation.new.values().filter_map(Json::as_str).filter(|text| is_mark(text));
                marks.filter_map(|mark| came.get(mark)).copied().collect::<Vec<u64>>()
            };
            let positions: Vec<u64> = members.iter().flat_map(of_marks).collect();
            let (Some(first), Some(last)) = (positions.iter().min(), positions.iter().max()) else { continue };
            if let Some(between) = self.committed.range(first..last).next() {
                return wrong(format!(
                    "a device stood at {between}, in the midst of transaction {group:?} of device {device}, which is in the log at {positions:?}"
                ));
            }
            self.kept(5, usize::from(first < last));
        }
        Ok(())
    }
}

/// The position at which each mark came into the log.
fn first_positions(store: &Connection) -> BTreeMap<String, u64> {
    let mut came = BTreeMap::new();
    let sql = "SELECT body, position FROM temp.history WHERE position IS NOT NULL AND body IS NOT NULL ORDER BY n";
    let mut statement = store.prepare(sql).expect("a query");
    let mut rows = statement.query([]).expect("a query");
    while let Some(row) = rows.next().expect("a row") {
        let (body, position): (String, u64) = (row.get(0).expect("text"), row.get(1).expect("a number"));
        let body: Json = serde_json::from_str(&body).expect("JSON");
        for mark in body.as_array().into_iter().flatten().filter_map(Json::as_str).filter(|text| is_mark(text)) {
            came.entry(mark.to_owned()).or_insert(position);
        }
    }
    came
}
