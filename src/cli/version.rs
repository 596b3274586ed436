//! `omctl version`.

use serde_json::json;

use super::{Cli, CliError, Exit};
use crate::server::health;

/// Print the version; with --json also what it speaks and reads
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl version --json")]
pub(super) struct Args {}

pub(super) fn run(cli: &Cli, _args: &Args) -> Result<Exit, CliError> {
    let version = env!("CARGO_PKG_VERSION");
    let protocol = omctl_protocol::PROTOCOL;
    let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    cli.ui.result(format!("omctl {version} (protocol {protocol})"), || {
        json!({
            "type": "result", "schema": "omctl.version/1", "version": version, "protocol": protocol,
            "store_schema": health::STORE_SCHEMA, "sqlite": health::sqlite_version(), "target": target,
        })
    });
    Ok(Exit::Ok)
}
