//! Readers of the files themselves, by plain SQL: what checks the checker. Nothing here asks a server, the client library
//! or the simulation.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};

/// The rows of a query, each value as SQLite's own text of it.
pub(crate) fn rows(file: &Path, sql: &str) -> Vec<Vec<String>> {
    let connection = open(file);
    let mut statement = connection.prepare(sql).expect("the query fits the file");
    let columns = statement.column_count();
    let read = |row: &rusqlite::Row<'_>| (0..columns).map(|n| Ok(text(row.get(n)?))).collect();
    statement.query_map([], read).expect("the file is read").collect::<Result<_, _>>().expect("the file is read")
}

/// A table as a text, to be compared before and after.
pub(crate) fn dump(file: &Path, table: &str) -> String {
    let rows = rows(file, &format!("SELECT * FROM \"{table}\" ORDER BY 1"));
    rows.into_iter().map(|row| row.join("|") + "\n").collect()
}

/// Every mutation that a device's file holds a receipt for: payload and receipt.
pub(crate) fn settled(device: &Path) -> Vec<(serde_json::Value, serde_json::Value)> {
    let json = |text: &String| serde_json::from_str(text).expect("payloads and receipts are JSON");
    rows(device, "SELECT payload, receipt FROM om_settled").iter().map(|row| (json(&row[0]), json(&row[1]))).collect()
}

/// By record, what all updates that took effect of these devices added to a field: the sum of new − old.
pub(crate) fn added(devices: &[&Path], field: &str) -> BTreeMap<String, f64> {
    let mut added = BTreeMap::new();
    for (mutation, receipt) in devices.iter().flat_map(|device| settled(device)) {
        // A conflict of another field takes the difference all the same; one with a code (`gone`, …) took nothing.
        let applied = match receipt["outcome"].as_str() {
            Some("applied" | "merged") => true,
            Some("conflict") => receipt["code"].is_null(),
            _ => false,
        };
        let number = |value: &serde_json::Value| value.as_str().and_then(|text| text.parse::<f64>().ok());
        let (old, new) = (number(&mutation["old"][field]), number(&mutation["new"][field]));
        if let (true, Some("update"), Some(new)) = (applied, mutation["op"].as_str(), new) {
            let record = mutation["record"].as_str().expect("a mutation names its record").to_owned();
            *added.entry(record).or_default() += new - old.unwrap_or_default();
        }
    }
    added
}

fn open(file: &Path) -> Connection {
    let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE).expect("the file is there");
    connection.busy_timeout(Duration::from_secs(10)).expect("a time is taken");
    connection
}

fn text(value: Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => text,
        Value::Blob(bytes) => format!("{bytes:?}"),
    }
}
