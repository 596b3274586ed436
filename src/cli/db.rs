//! `omctl db`: the server's own store in one file, and back. It works on the data directory, without a server; only
//! `seed` (in `db_seed.rs`) asks a running one.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::remote::Place;
use super::{Cli, CliError, Exit, agree, columns, db_seed};
use crate::clock::Clock;
use crate::server::DataDirError;
use crate::server::snapshots::{self, Before, EXTENSION, Listed, Resetting, Restoring, SnapshotError};

/// Save, restore, seed and reset the server's store: accounts, devices, state log
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Snapshot(SnapshotArgs),
    Restore(RestoreArgs),
    List(ListArgs),
    Seed(db_seed::SeedArgs),
    Reset(ResetArgs),
}

/// Save the store in one file; a server may be running
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl db snapshot before-import")]
struct SnapshotArgs {
    /// What to call it; else the project's name and the time
    name: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// Put a snapshot in the store's place; the server must be stopped
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl db restore before-import")]
struct RestoreArgs {
    /// The snapshot's file, or its name in the data directory
    file: PathBuf,
    #[command(flatten)]
    place: Place,
}

/// Delete the store, so that the next start begins a fresh one; the server must be stopped
///
/// Accounts, devices and the records of managed channels go; other backends keep theirs. A snapshot is taken first.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl db reset --yes")]
struct ResetArgs {
    #[command(flatten)]
    place: Place,
}

/// List the snapshots of the data directory
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl db list")]
struct ListArgs {
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(cli: &Cli, args: Args) -> Result<Exit, CliError> {
    match args.what {
        What::Snapshot(args) => snapshot(cli, &args),
        What::Restore(args) => restore(cli, &args),
        What::List(args) => list(cli, &args),
        What::Seed(args) => db_seed::run(cli, &args),
        What::Reset(args) => reset(cli, &args),
    }
}

fn snapshot(cli: &Cli, args: &SnapshotArgs) -> Result<Exit, CliError> {
    if let Some(name) = &args.name {
        plain(name)?;
    }
    let (data_dir, project) = args.place.resolve(cli)?;
    let path = snapshots::take(&data_dir, &project, args.name.as_deref(), Clock::System.now_ms())?;
    let path = absolute(path);
    let bytes = std::fs::metadata(&path).map_or(0, |about| about.len());
    let undo = command(cli, &args.place, &path);
    cli.ui.result(path.display().to_string(), || {
        json!({
            "type": "result", "schema": "omctl.db.snapshot/1", "path": path.display().to_string(), "bytes": bytes,
            "restore": undo,
        })
    });
    if !cli.ui.is_json() {
        cli.ui.note(format!("{}; keep it where only you can read it", size(bytes)));
    }
    cli.ui.next(format!("put it back one day, with the server stopped: {undo}"));
    Ok(Exit::Ok)
}

fn restore(cli: &Cli, args: &RestoreArgs) -> Result<Exit, CliError> {
    let (data_dir, project) = args.place.resolve(cli)?;
    let file = find(&data_dir, &args.file);
    let restoring = Restoring::begin(&data_dir, &file)?;
    let contents = restoring.contents();
    let (from, to) = (file.display(), data_dir.display());
    let holds = format!("{} records, {} accounts", contents.records, contents.accounts);
    agree(cli, &format!("replace the store in `{to}` by `{from}` ({holds})"), "say --yes")?;
    let before = restoring.finish(&project, Clock::System.now_ms())?;
    let (saved, undo) = undo_of(cli, &args.place, before);
    let text =
        format!("restored {} records and {} accounts from {}", contents.records, contents.accounts, file.display());
    cli.ui.result(text, || {
        json!({
            "type": "result", "schema": "omctl.db.restore/1", "from": file.display().to_string(),
            "data_dir": data_dir.display().to_string(), "records": contents.records, "accounts": contents.accounts,
            "position": contents.position, "before": saved.as_ref().map(|path| path.display().to_string()),
            "undo": undo,
        })
    });
    if let (Some(undo), false) = (&undo, cli.ui.is_json()) {
        cli.ui.note(format!("undo: {undo}"));
        cli.ui.note(
            "accounts, roles, claims and revoked devices are those of the snapshot again; devices that were activated since \
             must be activated again, and bring their changes then",
        );
    }
    cli.ui.next("omctl serve");
    Ok(Exit::Ok)
}

/// Where the store that was there is now, and the command that brings it back.
fn undo_of(cli: &Cli, place: &Place, before: Before) -> (Option<PathBuf>, Option<String>) {
    match before {
        Before::Nothing => (None, None),
        Before::Saved(path) => {
            let path = absolute(path);
            let undo = command(cli, place, &path);
            (Some(path), Some(undo))
        }
        Before::Damaged(path) => {
            cli.ui.warn(format!("the store that was there cannot be read; its bytes are in `{}`", path.display()));
            (Some(absolute(path)), None)
        }
    }
}

fn reset(cli: &Cli, args: &ResetArgs) -> Result<Exit, CliError> {
    let (data_dir, project) = args.place.resolve(cli)?;
    let resetting = Resetting::begin(&data_dir)?;
    let contents = resetting.contents();
    let holds = contents.map_or("it cannot be read".to_owned(), |contents| {
        format!("{} records, {} accounts", contents.records, contents.accounts)
    });
    agree(
        cli,
        &format!("delete the store in `{}` ({holds})", data_dir.display()),
        "say --yes; a snapshot is taken first",
    )?;
    let before = resetting.finish(&project, Clock::System.now_ms())?;
    let (saved, undo) = undo_of(cli, &args.place, before);
    cli.ui.result(format!("deleted the store in {} ({holds})", data_dir.display()), || {
        json!({
            "type": "result", "schema": "omctl.db.reset/1", "data_dir": data_dir.display().to_string(),
            "records": contents.map(|contents| contents.records), "accounts": contents.map(|contents| contents.accounts),
            "before": saved.as_ref().map(|path| path.display().to_string()), "undo": undo,
        })
    });
    if let (Some(undo), false) = (&undo, cli.ui.is_json()) {
        cli.ui.note(format!("undo: {undo}"));
    }
    cli.ui.next("omctl serve");
    Ok(Exit::Ok)
}

fn list(cli: &Cli, args: &ListArgs) -> Result<Exit, CliError> {
    let (data_dir, _) = args.place.resolve(cli)?;
    let found = snapshots::list(&data_dir)?;
    cli.ui.result(table(&found), || {
        let snapshots: Vec<Value> = found.iter().map(document).collect();
        json!({
            "type": "result", "schema": "omctl.db.list/1", "data_dir": data_dir.display().to_string(),
            "snapshots": snapshots,
        })
    });
    if found.is_empty() {
        cli.ui.next("omctl db snapshot");
    }
    Ok(Exit::Ok)
}

fn table(found: &[Listed]) -> String {
    let head = ["NAME", "MADE", "SIZE", "RECORDS", "ACCOUNTS", "STATE"].map(str::to_owned);
    let rows = found.iter().map(|one| {
        let (records, accounts, state) = match &one.contents {
            Ok(contents) => (contents.records.to_string(), contents.accounts.to_string(), "good".to_owned()),
            Err(error) => ("-".to_owned(), "-".to_owned(), error.to_string()),
        };
        [name_of(&one.path), super::utc(one.made_ms), size(one.bytes), records, accounts, state]
    });
    columns(head, rows)
}

fn document(one: &Listed) -> Value {
    let mut json = json!({
        "name": name_of(&one.path), "path": one.path.display().to_string(), "bytes": one.bytes,
        "made_ms": one.made_ms, "good": one.contents.is_ok(),
    });
    match &one.contents {
        Ok(contents) => {
            json["schema"] = contents.schema.into();
            json["records"] = contents.records.into();
            json["accounts"] = contents.accounts.into();
        }
        Err(error) => json["problem"] = error.to_string().into(),
    }
    json
}

fn name_of(path: &Path) -> String {
    path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A name is a file's name and never a way to another folder.
fn plain(name: &str) -> Result<(), CliError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !name.is_empty() && name.len() <= 100 && !name.starts_with('.') && name.chars().all(fits) {
        return Ok(());
    }
    Err(CliError::new(Exit::Usage, "bad_name", format!("`{name}` cannot name a snapshot"))
        .hint("use letters, digits, `-`, `_` and `.`: omctl db snapshot before-import"))
}

/// A file by its path, or a snapshot of the data directory by its name.
fn find(data_dir: &Path, given: &Path) -> PathBuf {
    match given.to_str() {
        Some(name) if !given.exists() && plain(name).is_ok() => snapshots::named(data_dir, name),
        _ => given.to_owned(),
    }
}

/// The command that puts a snapshot back, as it is typed.
pub(super) fn command(cli: &Cli, place: &Place, snapshot: &Path) -> String {
    restoring(cli, snapshot, place.flags())
}

/// The command that puts a snapshot back into the place that these flags name.
pub(super) fn restoring(cli: &Cli, snapshot: &Path, flags: Vec<String>) -> String {
    let mut words = vec!["omctl".to_owned()];
    if let Some(project) = &cli.globals.project {
        words.extend(["-C".to_owned(), project.display().to_string()]);
    }
    words.extend(["db".to_owned(), "restore".to_owned(), snapshot.display().to_string()]);
    words.extend(flags);
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// A word that a shell takes as one.
fn quoted(word: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || "-_./=:@,+".contains(c);
    if !word.is_empty() && word.chars().all(bare) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

pub(super) fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

impl From<SnapshotError> for CliError {
    fn from(error: SnapshotError) -> Self {
        let text = error.to_string();
        match error {
            SnapshotError::DataDir(DataDirError::Locked { pid, .. }) => {
                let stop = pid.map_or("stop the server".to_owned(), |pid| format!("stop the server: kill {pid}"));
                let locked = Self::new(Exit::Exists, "locked", text).hint(format!("{stop}, then run this again"));
                pid.map_or(locked.clone(), |pid| locked.detail("pid", pid))
            }
            SnapshotError::DataDir(DataDirError::Io { .. }) => Self::new(Exit::Failed, "io", text),
            SnapshotError::NoStore { .. } => {
                Self::new(Exit::NotFound, "not_found", text).hint("`omctl serve` makes one")
            }
            SnapshotError::NoSnapshot { .. } => {
                Self::new(Exit::NotFound, "not_found", text).hint("see what is there: omctl db list")
            }
            SnapshotError::Exists { .. } => Self::new(Exit::Exists, "exists", text).hint("choose another name"),
            SnapshotError::NotASnapshot(_) => Self::new(Exit::Invalid, "bad_snapshot", text)
                .hint(format!("`omctl db snapshot` makes them; their names end with .{EXTENSION}")),
            SnapshotError::Newer(_) => {
                Self::new(Exit::Exists, "newer_store", text).hint("use the omctl that made it, or a newer one")
            }
            SnapshotError::Store(_) => Self::new(Exit::Failed, "store", text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_nowhere_else() {
        for good in ["a", "before-import", "2026.07", "x_1.omsnap"] {
            assert!(plain(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "../x", "a/b", "a\\b", ".hidden", "ö", "a b", "a\0"] {
            assert_eq!(plain(bad).unwrap_err().exit, Exit::Usage, "{bad}");
        }
    }

    #[test]
    fn a_command_can_be_typed_again() {
        assert_eq!(quoted("/a/b-1.omsnap"), "/a/b-1.omsnap");
        assert_eq!(quoted("/Ana's data"), r"'/Ana'\''s data'");
        assert_eq!(quoted(""), "''");
    }
}
