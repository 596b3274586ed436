//! `omctl device replay`: what a fleet did, once more.

use std::path::PathBuf;
use std::sync::Arc;

use super::fleet::{self, Common};
use super::new::shell_word;
use super::remote::{Remote, block_on};
use super::simulate::Theirs;
use super::spawn::{Over, Spawned};
use super::{Cli, CliError, Exit};
use crate::simulate::{Plan, Recording, Script, Server};

/// Play the tape of a fleet again: the same writes and faults at the same times, then the same verdict
///
/// The tape is what `omctl device simulate --record FILE` writes. Records that were there are met again by their values, so
/// that a tape can be played on another copy of the data. Exit codes are those of `simulate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl device replay fleet.tape --spawn")]
pub(super) struct Args {
    /// The tape
    #[arg(value_name = "FILE")]
    tape: PathBuf,
    /// Start a server for the fleet, on an empty store of its own, and end it afterwards
    #[arg(long, conflicts_with_all = ["server", "data_dir"])]
    spawn: bool,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn run(cli: &Cli, args: &Args) -> Result<Exit, CliError> {
    args.common.check()?;
    let recording = Recording::read(&args.tape)?;
    if recording.restarts() && !args.spawn {
        let text = format!("{} restarts the server, and the one that runs is not the fleet's own", args.tape.display());
        return Err(CliError::new(Exit::Usage, "usage", text)
            .hint(format!("let the fleet start one: omctl device replay {} --spawn", args.tape.display())));
    }
    let env_name = args.remote.env_name();
    let server: Arc<dyn Server> = match args.spawn {
        true => {
            cli.load(&cli.root()?, env_name)?;
            Arc::new(Spawned::start(&cli.root()?, env_name, Over::default())?)
        }
        false => Arc::new(Theirs::find(cli, &args.remote)?),
    };
    let head = recording.head.clone();
    block_on(async {
        let client = server.connect()?;
        let channels = client.channels().await?.channels;
        let written = recording.written();
        let written = channels.iter().filter(|channel| written.contains(&channel.name));
        fleet::may_write(args.common.allow_writes, written)?;
        for account in head.accounts.clone() {
            fleet::ensure_account(&client, account).await?;
        }
        Ok::<_, CliError>(())
    })?;
    let plan = args.common.plan(Script::Tape(Box::new(recording)), args.spawn)?;
    let plan = Plan {
        scenario: head.scenario,
        crews: head.crews,
        seed: head.seed,
        processes: plan.processes.max(head.processes),
        ..plan
    };
    let ended = match fleet::go(cli, &server, &plan)? {
        Ok(ended) => ended,
        Err(exit) => return Ok(exit),
    };
    let spawn = if args.spawn { " --spawn" } else { "" };
    let allow = if args.common.allow_writes { " --allow-writes" } else { "" };
    let again = format!("omctl device replay {}{spawn}{allow}", shell_word(&args.tape.display().to_string()));
    fleet::tell(cli, &args.common, &plan, &ended, &again)
}
