//! `omctl check`: everything that is wrong with the project's files, at once.

use serde_json::json;

use super::{Cli, CliError, Exit, diagnostic_json, editor};
use crate::catalog::SCHEMA_DIR;
use crate::live;

/// The result's schema.
pub(super) const SCHEMA: &str = "omctl.check/1";

/// Find every mistake in the project's files
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl check --json | jq .channels")]
pub(super) struct Args {
    /// Whose overlay of `env:` to check with
    #[arg(long = "env", value_name = "NAME")]
    env_name: Option<String>,
    /// Write the JSON Schemas that editors read, also where no file of the project asks for them
    #[arg(long)]
    write_schemas: bool,
}

pub(super) fn run(cli: &Cli, args: &Args) -> Result<Exit, CliError> {
    let root = cli.root()?;
    let (catalog, warnings) = cli.diagnose(&root, args.env_name.as_deref())?;
    cli.ui.diagnostics(&root, &warnings);
    if args.write_schemas {
        editor::write(&root, &catalog)?;
        cli.ui.note(format!("the schemas for editors are in {SCHEMA_DIR}/"));
    } else {
        editor::refresh(cli, &root);
    }
    let (channels, backends) = (catalog.channels.len(), catalog.backends.len());
    let mut text =
        format!("{}: {}, {}, no errors", catalog.name, count(channels, "channel"), count(backends, "backend"));
    // A rule that says something else than was meant is no error: only a sentence shows it.
    let scopes: Vec<(&str, String)> = catalog
        .channels
        .values()
        .filter_map(|channel| Some((channel.name.as_str(), live::explain_scope(&catalog, channel)?)))
        .collect();
    for (channel, sentence) in &scopes {
        text.push_str(&format!("\n  {channel:<24} {sentence}"));
    }
    cli.ui.result(text, || {
        json!({
            "type": "result", "schema": SCHEMA, "ok": true, "project": catalog.name, "channels": channels,
            "backends": backends, "scopes": scopes.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
            "diagnostics": warnings.iter().map(diagnostic_json).collect::<Vec<_>>(),
        })
    });
    cli.ui.next(match (channels, backends) {
        (0, _) => "omctl new channel --from 'sqlite:FILE' --all",
        (_, 0) => "omctl serve",
        // Files alone do not say whether a table and its columns are there.
        _ => "omctl channel probe --all, which looks at the backends, then omctl serve",
    });
    Ok(Exit::Ok)
}

fn count(number: usize, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}
