//! `omctl backup`: the server's store in a file that is kept elsewhere.

use std::path::PathBuf;

use serde_json::json;

use super::db::{absolute, command, size};
use super::remote::Place;
use super::{Cli, CliError, Exit};
use crate::clock::Clock;
use crate::server::snapshots::{self, EXTENSION};

/// Save the store in a file of your choice and examine it; a server may be running
///
/// It holds accounts, devices, the state log and the records of managed channels. The project's files belong into version
/// control, other backends' records into their own backups. `omctl db restore FILE` takes it back.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl backup /mnt/backups/fieldwork.omsnap")]
pub(super) struct Args {
    /// The file, or a folder; else one in this folder, called after the project and the time
    file: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(cli: &Cli, args: &Args) -> Result<Exit, CliError> {
    let (data_dir, project) = args.place.resolve(cli)?;
    let automatic = format!("{}.{EXTENSION}", snapshots::automatic(&project, Clock::System.now_ms(), 1));
    let path = match &args.file {
        Some(folder) if folder.is_dir() => folder.join(automatic),
        Some(file) => file.clone(),
        None => automatic.into(),
    };
    let path = absolute(path);
    let contents = snapshots::backup(&data_dir, &path)?;
    let bytes = std::fs::metadata(&path).map_or(0, |about| about.len());
    let restore = command(cli, &args.place, &path);
    cli.ui.result(path.display().to_string(), || {
        json!({
            "type": "result", "schema": "omctl.backup/1", "path": path.display().to_string(), "bytes": bytes,
            "records": contents.records, "accounts": contents.accounts, "position": contents.position,
            "restore": restore,
        })
    });
    if !cli.ui.is_json() {
        let (records, accounts) = (contents.records, contents.accounts);
        let holds = format!("{records} records, {accounts} accounts, {}", size(bytes));
        cli.ui.note(format!("{holds}; it was read back and is whole; keep it where only you can read it"));
    }
    cli.ui.next(format!("put it back one day, with the server stopped: {restore}"));
    Ok(Exit::Ok)
}
