//! `omctl new scenario`: a file that says what a fleet of simulated devices goes through.

use std::path::PathBuf;

use serde_json::json;

use super::new::{Source, Writing, write};
use super::{Cli, CliError, Exit, editor};
use crate::catalog::{MANAGED, SCENARIOS_DIR, is_scenario_name};
use crate::scaffold::{Content, Plan, Wanted};

/// Write a scenario for a fleet of simulated devices
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl new scenario monday-morning")]
pub(super) struct Args {
    /// The scenario's name
    name: String,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    writing: Writing,
}

pub(super) fn run(cli: &Cli, args: &Args) -> Result<Exit, CliError> {
    let name = &args.name;
    if !is_scenario_name(name) {
        return Err(CliError::new(Exit::Usage, "bad_name", format!("`{name}` cannot name a scenario"))
            .hint("lower-case letters, digits, `-` and `_`, beginning with a letter or digit"));
    }
    let root = cli.root()?;
    let (catalog, _warnings) = cli.diagnose(&root, None)?;
    // A channel that anybody may write to, and rather one of ours: a scenario should do something as it is.
    let open = || {
        catalog
            .channels
            .values()
            .filter(|channel| [&channel.write.create, &channel.write.update].iter().any(|roles| roles.contain(None)))
    };
    let channel = open().find(|channel| channel.backend == MANAGED).or_else(|| open().next());
    let mut context = tera::Context::new();
    context.insert("name", name);
    context.insert("channel", &channel.map(|channel| channel.name.to_string()));
    let path = PathBuf::from(SCENARIOS_DIR).join(format!("{name}.yaml"));
    let content = Content::Template("scenario/scenario.yaml".to_owned(), context);
    let plan = Plan::new(&args.source.load()?, &root, vec![Wanted { path, content }])?;
    write(cli, &plan, args.writing, "omctl.new.scenario/1", json!({ "scenario": name }))?;
    if !args.writing.dry_run {
        editor::refresh(cli, &root);
        cli.ui.next("omctl check");
    }
    Ok(Exit::Ok)
}
