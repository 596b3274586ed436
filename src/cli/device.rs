//! `omctl device`: simulated ones in `simulate.rs`, real ones in `devices.rs`.

use std::path::PathBuf;

use super::remote::block_on;
use super::{Cli, CliError, Exit, devices, replay, simulate};

/// Look at devices, activate and revoke them, simulate fleets of them
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Simulate(simulate::Args),
    Replay(replay::Args),
    List(devices::ListArgs),
    Show(devices::ShowArgs),
    Activate(devices::ActivateArgs),
    Revoke(devices::RevokeArgs),
    #[command(hide = true)]
    Obey(ObeyArgs),
}

/// Be one device of a fleet that another process runs: it says on standard input what to do
#[derive(Debug, clap::Args)]
struct ObeyArgs {
    /// The device's file
    file: PathBuf,
    /// The device's name
    name: String,
}

pub(super) fn run(cli: &Cli, args: Args) -> Result<Exit, CliError> {
    match args.what {
        What::Simulate(args) => simulate::run(cli, &args),
        What::Replay(args) => replay::run(cli, &args),
        What::List(args) => devices::list(cli, &args),
        What::Show(args) => devices::show(cli, &args),
        What::Activate(args) => devices::activate(cli, &args),
        What::Revoke(args) => devices::revoke(cli, &args),
        What::Obey(args) => {
            block_on(async {
                let input = tokio::io::BufReader::new(tokio::io::stdin());
                let obeyed = crate::simulate::obey(&args.file, &args.name, input, tokio::io::stdout()).await;
                obeyed.map_err(|error| CliError::new(Exit::Failed, "io", error.to_string()))
            })?;
            Ok(Exit::Ok)
        }
    }
}
