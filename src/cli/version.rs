//! `omctl version`.

use serde_json::json;

use super::{Cli, CliError, Exit};

/// Print the version
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl version --json")]
pub(super) struct Args {}

pub(super) fn run(cli: &Cli, _args: &Args) -> Result<Exit, CliError> {
    let version = env!("CARGO_PKG_VERSION");
    let protocol = omctl_protocol::PROTOCOL;
    cli.ui.result(
        format!("omctl {version} (protocol {protocol})"),
        || json!({ "type": "result", "schema": "omctl.version/1", "version": version, "protocol": protocol }),
    );
    Ok(Exit::Ok)
}
