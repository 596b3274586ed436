//! `omctl template`: the built-in templates as files of one's own.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::new::{Source, Writing, shell_word, write};
use super::{Cli, CliError, Exit};
use crate::scaffold::{Content, Plan, Templates, Wanted};

/// Change what `omctl new` writes
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Eject(EjectArgs),
}

/// Write the built-in templates to a folder, to be edited and used with --template
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl template eject house && omctl new fieldwork --template house")]
struct EjectArgs {
    /// The folder
    #[arg(default_value = "templates")]
    folder: PathBuf,
    #[command(flatten)]
    writing: Writing,
}

pub(super) fn run(cli: &Cli, args: &Args) -> Result<Exit, CliError> {
    let What::Eject(args) = &args.what;
    let wanted = |(path, text): (PathBuf, &str)| Wanted { path, content: Content::Text(text.to_owned()) };
    let plan = plan(&args.folder, Templates::embedded().map(wanted).collect())?;
    let folder = args.folder.display().to_string();
    write(cli, &plan, args.writing, "omctl.template.eject/1", json!({ "folder": folder }))?;
    if !args.writing.dry_run {
        cli.ui.next(format!("edit them, then: omctl new NAME --template {}", shell_word(&folder)));
    }
    Ok(Exit::Ok)
}

fn plan(folder: &Path, wanted: Vec<Wanted>) -> Result<Plan, CliError> {
    Ok(Plan::new(&Source::default().load()?, folder, wanted)?)
}
