//! What a device's process was told, in a file of its own beside the device's.
//!
//! Each receipt is a line of JSON that is on the disk before the next one is looked for. Whoever compares these files with
//! devices and backend after many kills knows what had been promised, from nobody who has an interest in it.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};

use crate::tasks::Tasks;

/// How often it is looked whether receipts came.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A receipt that was heard.
#[derive(Serialize, Deserialize)]
struct Heard {
    /// Its place among those of the device's file.
    n: i64,
    mutation: String,
    receipt: serde_json::Value,
}

/// Logs the receipts of a device's file for ever.
pub(super) async fn keep(device: PathBuf) {
    let log = device.with_extension("receipts");
    let mut last = None;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let (device, log) = (device.clone(), log.clone());
        match Tasks::blocking(move || append(&device, &log, last)).await {
            Ok(logged) => last = Some(logged),
            Err(error) => tracing::debug!(%error, "receipts are logged at the next look"),
        }
    }
}

/// Logs what came behind the last one that is logged; answers with the new last one.
fn append(device: &Path, log: &Path, last: Option<i64>) -> io::Result<i64> {
    let last = match last {
        Some(last) => last,
        None => logged(log)?,
    };
    let news = news(device, last).map_err(io::Error::other)?;
    let Some(newest) = news.last().map(|heard| heard.n) else { return Ok(last) };
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
    // The line feed in front ends a line that a kill has cut off.
    let mut text = String::from("\n");
    for heard in &news {
        text += &serde_json::to_string(heard).map_err(io::Error::other)?;
        text.push('\n');
    }
    file.write_all(text.as_bytes())?;
    file.sync_data()?;
    Ok(newest)
}

/// The last one that an earlier process has logged; 0 where there was none.
fn logged(log: &Path) -> io::Result<i64> {
    match std::fs::read_to_string(log) {
        Ok(text) => {
            Ok(text.lines().filter_map(|line| Some(serde_json::from_str::<Heard>(line).ok()?.n)).max().unwrap_or(0))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

fn news(device: &Path, last: i64) -> rusqlite::Result<Vec<Heard>> {
    let connection = Connection::open_with_flags(device, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut statement = connection.prepare("SELECT n, mutation, receipt FROM om_settled WHERE n > ?1 ORDER BY n")?;
    let rows = statement.query_map([last], |row| {
        let receipt = serde_json::from_str(&row.get::<_, String>(2)?).unwrap_or_default();
        Ok(Heard { n: row.get(0)?, mutation: row.get(1)?, receipt })
    })?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_receipt_is_logged_once_whatever_a_kill_left_of_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let (device, log) = (folder.path().join("d.db"), folder.path().join("d.receipts"));
        let connection = Connection::open(&device).unwrap();
        connection.execute_batch("CREATE TABLE om_settled (n INTEGER, mutation TEXT, receipt TEXT)").unwrap();
        let settle = |n: i64| {
            connection
                .execute("INSERT INTO om_settled VALUES (?1, 'm' || ?1, '{\"outcome\":\"applied\"}')", [n])
                .unwrap()
        };
        assert_eq!(append(&device, &log, None).unwrap(), 0);
        settle(1);
        settle(2);
        assert_eq!(append(&device, &log, None).unwrap(), 2);
        // Killed in the midst of the next line.
        let cut = std::fs::read_to_string(&log).unwrap() + "\n{\"n\":3,\"mut";
        std::fs::write(&log, cut).unwrap();
        settle(3);
        assert_eq!(append(&device, &log, None).unwrap(), 3);
        assert_eq!(append(&device, &log, Some(3)).unwrap(), 3);
        let text = std::fs::read_to_string(&log).unwrap();
        let read: Vec<i64> =
            text.lines().filter_map(|line| serde_json::from_str::<Heard>(line).ok()).map(|heard| heard.n).collect();
        assert_eq!(read, [1, 2, 3]);
    }
}
