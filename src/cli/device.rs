//! `omctl device`: simulated ones in `simulate.rs`, real ones in `devices.rs`.

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
}

pub(super) fn run(cli: &Cli, args: Args) -> Result<Exit, CliError> {
    match args.what {
        What::Simulate(args) => simulate::run(cli, &args),
        What::Replay(args) => replay::run(cli, &args),
        What::List(args) => devices::list(cli, &args),
        What::Show(args) => devices::show(cli, &args),
        What::Activate(args) => devices::activate(cli, &args),
        What::Revoke(args) => devices::revoke(cli, &args),
    }
}
