//! What is asked of the machine: room and rights on its disk, its clock, its limits.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::Check;
use crate::clock::Clock;
use crate::limits;
use crate::server::{STORE_FILE, health};

/// A store with less room than this fills up within a busy day.
const ROOM_BYTES_MIN: u64 = 1 << 30;

/// With less than this the next import may fail.
const ROOM_BYTES_FAIL: u64 = 64 << 20;

/// Files that a server needs beside one for each device: store, readers, backends, log.
const OWN_FILES: u64 = 64;

/// When this version was made, in milliseconds since 1970: 2026-01-01. No honest clock is before it.
const MADE_MS: i64 = 1_767_225_600_000;

/// How far a file's time may be ahead before the clock is suspected.
const AHEAD_MS: i64 = 5 * 60 * 1000;

/// The data directory may be written, and its disk has room. A missing one is judged by the folder it would be made in.
pub(super) fn data_dir(dir: &Path, checks: &mut Vec<Check>) {
    let Some(there) = dir.ancestors().find(|dir| dir.is_dir()) else {
        checks.push(Check::fail("data", format!("`{}` cannot be made", dir.display()), "choose another --data-dir"));
        return;
    };
    let probe = there.join(format!(".omctl-doctor-{}", std::process::id()));
    let written = std::fs::write(&probe, "x").and_then(|()| std::fs::remove_file(&probe));
    let state = if there == dir { "" } else { " (made by the first `omctl serve`)" };
    checks.push(match written {
        Ok(()) => Check::ok("data", format!("`{}`{state}", dir.display())),
        Err(error) => Check::fail(
            "data",
            format!("`{}` cannot be written: {error}", there.display()),
            "change its permissions, or choose another --data-dir",
        ),
    });
    if let Some(free) = free_bytes(there) {
        let text = format!("{} free", megabytes(free));
        let hint = "make room: a full disk stops all writes, and devices keep theirs until then";
        checks.push(match free {
            _ if free < ROOM_BYTES_FAIL => Check::fail("disk", text, hint),
            _ if free < ROOM_BYTES_MIN => Check::warn("disk", text, hint),
            _ => Check::ok("disk", text),
        });
    }
    ahead(&dir.join(STORE_FILE), checks);
}

/// A store that was written in the future: the clock was set back, or the file comes from a machine with another one.
fn ahead(store: &Path, checks: &mut Vec<Check>) {
    let written = std::fs::metadata(store).and_then(|file| file.modified()).ok();
    let written = written.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map(|at| at.as_millis() as i64);
    if let Some(by) = written.map(|at| at - Clock::System.now_ms()).filter(|by| *by > AHEAD_MS) {
        let text = format!("the store was written {:?} in the future", Duration::from_secs(by.unsigned_abs() / 1000));
        checks.push(Check::warn("clock", text, "set the clock: tokens and receipts are kept by it"));
    }
}

/// The clock is not before this version was made.
pub(super) fn clock(checks: &mut Vec<Check>) {
    let now = Clock::System.now_ms();
    let text = super::super::utc(now);
    checks.push(match now < MADE_MS {
        true => Check::fail("clock", text, "set the clock: it is before this omctl was made, and tokens go by it"),
        false => Check::ok("clock", text),
    });
}

/// Each connected device is an open file.
pub(super) fn open_files(checks: &mut Vec<Check>) {
    let Some(most) = open_files_max() else { return };
    let devices = most.saturating_sub(OWN_FILES);
    let text = format!("{most} open files, so {devices} devices at a time");
    checks.push(match most < 4096 {
        true => {
            Check::warn("files", text, format!("for more: ulimit -n {}", limits::CONNECTIONS_MAX as u64 + OWN_FILES))
        }
        false => Check::ok("files", text),
    });
}

pub(super) fn sqlite(checks: &mut Vec<Check>) {
    checks.push(Check::ok("sqlite", health::sqlite_version()));
}

fn megabytes(bytes: u64) -> String {
    match bytes >> 30 {
        0 => format!("{} MiB", bytes >> 20),
        gigabytes => format!("{gigabytes} GiB"),
    }
}

#[cfg(unix)]
fn free_bytes(dir: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(dir).ok()?;
    // What others than the superuser may use.
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(not(unix))]
fn free_bytes(_dir: &Path) -> Option<u64> {
    None
}

#[cfg(unix)]
fn open_files_max() -> Option<u64> {
    // No limit at all is more than anybody needs.
    Some(rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(1 << 20))
}

#[cfg(not(unix))]
fn open_files_max() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn a_folder_that_is_missing_is_judged_by_its_parent_and_stays_missing() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("a/b");
        let mut checks = Vec::new();
        data_dir(&dir, &mut checks);
        assert_eq!(checks[0].status, Status::Ok, "{checks:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
        std::fs::write(folder.path().join("file"), "x").unwrap();
        let mut checks = Vec::new();
        data_dir(Path::new(""), &mut checks);
        assert_eq!(checks[0].status, Status::Fail);
    }

    #[cfg(unix)]
    #[test]
    fn a_store_of_the_future_makes_the_clock_suspect() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(STORE_FILE);
        let file = std::fs::File::create(&path).unwrap();
        let mut checks = Vec::new();
        ahead(&path, &mut checks);
        assert!(checks.is_empty());
        let later = Duration::from_millis(Clock::System.now_ms() as u64) + Duration::from_secs(3600);
        file.set_modified(UNIX_EPOCH + later).unwrap();
        ahead(&path, &mut checks);
        assert_eq!((checks[0].name.as_str(), checks[0].status), ("clock", Status::Warn));
    }
}
