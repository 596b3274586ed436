//! The command line: parses, calls a room, prints. One file per command.
//!
//! This is the only room that prints (`ui.rs`), prompts and reads the environment ([`environment`]). A new command is
//! one `mod` line, one variant of [`Command`] and one arm of [`dispatch`]; its file has an `Args` struct and
//! `run(&Cli, Args) -> Result<Exit, CliError>`.

mod account;
mod account_import;
mod backup;
mod channel;
mod channel_diff;
mod channel_draft;
mod channel_fresh;
mod channel_read;
mod channel_write;
mod check;
mod completions;
mod config;
mod db;
mod db_seed;
mod device;
mod devices;
mod doctor;
mod editor;
mod error;
mod exit;
mod explain;
mod fleet;
mod fleet_page;
mod fleet_view;
mod holder;
mod junit;
mod keyboard;
mod keys;
mod lan;
mod logs;
mod man;
mod new;
mod new_channel;
mod new_scenario;
mod obey;
mod password;
mod plot;
mod reloads;
mod remote;
mod replay;
mod serve;
mod signals;
mod simulate;
mod spawn;
mod sync;
mod sync_inspect;
mod template;
mod test;
mod ui;
mod version;

use std::ffi::OsString;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

pub use error::CliError;
pub use exit::Exit;
pub use ui::{Ui, diagnostic_json};

use crate::catalog::{self, Catalog, Diagnostic, PROJECT_FILE, Severity};
use crate::config::{FromFlags, Settings, env_name as chosen_env};
use crate::live;

/// Offline-first mobile sync with the systems a company already has.
#[derive(Debug, Parser)]
#[command(name = "omctl", version, propagate_version = false, disable_help_subcommand = true)]
#[command(
    after_help = "Example:\n  omctl new fieldwork && cd fieldwork && omctl check\n\nExit codes:\n  0 done, 1 failed, 2 wrong command line, 3 wrong project or settings, 4 not allowed, 5 no server,\n  6 not found, 7 exists or locked, 9 took too long, 20 devices diverged, 21 expectation breached,\n  22 nothing proved, 70 our bug, 130 and 143 ended by a signal"
)]
struct Arguments {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// Flags that every command has.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Globals {
    /// Print JSON for scripts; implies no questions
    #[arg(long, global = true)]
    pub json: bool,
    /// The project folder; else the nearest one upwards from here
    #[arg(short = 'C', long = "project", value_name = "DIR", global = true)]
    pub project: Option<PathBuf>,
    /// Answer every question with yes
    #[arg(long, global = true)]
    pub yes: bool,
    /// Print results, warnings and errors only
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    New(new::Args),
    Check(check::Args),
    Serve(serve::Args),
    Account(account::Args),
    Channel(channel::Args),
    Device(device::Args),
    Sync(sync::Args),
    Logs(logs::Args),
    Db(db::Args),
    Backup(backup::Args),
    Config(config::Args),
    Doctor(doctor::Args),
    Test(test::Args),
    Explain(explain::Args),
    Template(template::Args),
    Completions(completions::Args),
    Man(man::Args),
    Version(version::Args),
}

fn dispatch(cli: &Cli, command: Command) -> Result<Exit, CliError> {
    match command {
        Command::New(args) => new::run(cli, args),
        Command::Check(args) => check::run(cli, &args),
        Command::Serve(args) => serve::run(cli, args),
        Command::Account(args) => account::run(cli, args),
        Command::Channel(args) => channel::run(cli, args),
        Command::Device(args) => device::run(cli, args),
        Command::Sync(args) => sync::run(cli, args),
        Command::Logs(args) => logs::run(cli, &args),
        Command::Db(args) => db::run(cli, args),
        Command::Backup(args) => backup::run(cli, &args),
        Command::Config(args) => config::run(cli, args),
        Command::Doctor(args) => doctor::run(cli, &args),
        Command::Test(args) => test::run(cli, &args),
        Command::Explain(args) => explain::run(cli, &args),
        Command::Template(args) => template::run(cli, &args),
        Command::Completions(args) => completions::run(cli, &args),
        Command::Man(args) => man::run(cli, &args),
        Command::Version(args) => version::run(cli, &args),
    }
}

/// What a command is given beside its own arguments.
#[derive(Clone, Debug)]
pub struct Cli {
    /// How to talk.
    pub ui: Ui,
    /// The flags that every command has.
    pub globals: Globals,
}

impl Cli {
    /// Whether somebody can and wants to be asked.
    fn can_ask(&self) -> bool {
        self.ui.can_ask() && !self.globals.yes
    }

    /// The project's root: `--project`, or the nearest folder upwards with an `openmobster.yaml`. Absolute.
    ///
    /// # Errors
    /// Exit 3 where there is none.
    pub fn root(&self) -> Result<PathBuf, CliError> {
        let here = std::env::current_dir()
            .map_err(|error| CliError::new(Exit::Failed, "io", format!("no current folder: {error}")))?;
        let missing = |place: &Path| {
            CliError::new(Exit::Invalid, "no_project", format!("no {PROJECT_FILE} in `{}`", place.display()))
                .hint("make a project: omctl new NAME, or name its folder: -C DIR")
        };
        match &self.globals.project {
            Some(dir) => {
                let root = here.join(dir);
                if root.join(PROJECT_FILE).is_file() { Ok(root) } else { Err(missing(&root)) }
            }
            None => here
                .ancestors()
                .find(|dir| dir.join(PROJECT_FILE).is_file())
                .map(Path::to_owned)
                .ok_or_else(|| missing(&here)),
        }
    }

    /// Loads the project; its warnings are printed, its errors too, and then they are the failure (exit 3).
    ///
    /// # Errors
    /// Exit 3 with all diagnostics.
    pub fn load(&self, root: &Path, env_name: Option<&str>) -> Result<Catalog, CliError> {
        let (catalog, warnings) = self.diagnose(root, env_name)?;
        self.ui.diagnostics(root, &warnings);
        Ok(catalog)
    }

    /// The settings of this process for a loaded project.
    ///
    /// # Errors
    /// Exit 3 where they cannot be used.
    pub fn settings(&self, catalog: &Catalog, flags: FromFlags) -> Result<Settings, CliError> {
        let project = remote::from_project(catalog.server.clone());
        Ok(Settings::resolve(&catalog.root, project, &environment, flags)?)
    }

    /// As [`Cli::load`], but the warnings are handed back unprinted.
    fn diagnose(&self, root: &Path, env_name: Option<&str>) -> Result<(Catalog, Vec<Diagnostic>), CliError> {
        let chosen = chosen_env(&environment, env_name).value;
        let loaded = catalog::load(root, &environment, Some(&chosen)).and_then(|(catalog, found)| {
            let of_rules = live::diagnose(&catalog);
            judge(catalog, found, of_rules)
        });
        loaded.map_err(|found| {
            self.ui.diagnostics(root, &found);
            let errors = found.iter().filter(|one| one.severity == Severity::Error).count();
            let message = format!("the project has {errors} error{}", if errors == 1 { "" } else { "s" });
            let found: Vec<_> = found.iter().map(diagnostic_json).collect();
            CliError::new(Exit::Invalid, "invalid_project", message)
                .hint("correct the files and run: omctl check")
                .detail("schema", check::SCHEMA)
                .detail("diagnostics", found)
        })
    }
}

/// A catalog with an error in `more` is none.
fn judge(
    catalog: Catalog,
    mut found: Vec<Diagnostic>,
    more: Vec<Diagnostic>,
) -> Result<(Catalog, Vec<Diagnostic>), Vec<Diagnostic>> {
    found.extend(more);
    found.sort_by(|a, b| a.place.cmp(&b.place));
    if found.iter().any(|one| one.severity == Severity::Error) { Err(found) } else { Ok((catalog, found)) }
}

/// Parses and runs one command line; the arguments include the program's name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    // No command of anybody's: how a fleet starts the processes of its devices.
    if let Some(exit) = obey::asked(&args) {
        return exit.into();
    }
    let arguments = match Arguments::try_parse_from(&args) {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error, &args).into(),
    };
    let globals = arguments.globals;
    let cli = Cli { ui: talk(globals.json, globals.quiet), globals };
    // A panic is our bug, and even then a script gets its JSON error.
    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| dispatch(&cli, arguments.command)));
    let result = ended.unwrap_or_else(|_| {
        Err(CliError::new(Exit::Bug, "bug", "omctl ended in a way it never should")
            .hint("please report it, with the lines above"))
    });
    match result {
        Ok(exit) => exit,
        Err(error) => {
            cli.ui.error(&error);
            error.exit
        }
    }
    .into()
}

/// Help is a result; everything else that clap says is a wrong command line.
fn usage(error: &clap::Error, args: &[OsString]) -> Exit {
    if !error.use_stderr() {
        // The reader may be gone (`omctl --help | head -1`).
        drop(error.print());
        return Exit::Ok;
    }
    if args.iter().any(|arg| arg == "--json") {
        talk(true, false).error(&usage_error(&error.render().to_string()));
    } else {
        drop(error.print());
    }
    Exit::Usage
}

/// What clap writes in paragraphs, as one error: what is wrong, and its first tip.
fn usage_error(text: &str) -> CliError {
    let mut parts = text.split("\n\n").map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
    let message = parts.next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    let tip = parts
        .find_map(|part| part.strip_prefix("tip: ").map(|tip| tip.split(" tip: ").next().unwrap_or(tip).to_owned()));
    CliError::new(Exit::Usage, "usage", message)
        .hint(tip.unwrap_or_else(|| "see the commands: omctl --help".to_owned()))
}

/// How to talk, by flags and environment: `NO_COLOR` is stronger than `CLICOLOR_FORCE`.
fn talk(json: bool, quiet: bool) -> Ui {
    let set = |name: &str| environment(name).is_some_and(|value| !value.is_empty());
    let forced = set("CLICOLOR_FORCE") && environment("CLICOLOR_FORCE").is_some_and(|value| value != "0");
    let ui = Ui::new(json, quiet, set("NO_COLOR"));
    if forced && !set("NO_COLOR") { ui.coloured() } else { ui }
}

/// One variable of the process's environment.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The whole command tree, for completions.
fn command_tree() -> clap::Command {
    Arguments::command()
}

/// What destroys or spreads is done only with somebody's yes; nobody at a terminal means no.
fn agree(cli: &Cli, what: &str, hint: &str) -> Result<(), CliError> {
    if cli.globals.yes {
        return Ok(());
    }
    if !cli.ui.can_ask() {
        return Err(CliError::new(Exit::NotAllowed, "needs_yes", format!("this would {what}")).hint(hint));
    }
    match cli.ui.confirm(&format!("{what}?")) {
        true => Ok(()),
        false => Err(CliError::new(Exit::NotAllowed, "declined", "nothing was changed")),
    }
}

/// A moment for people: to the second, in UTC.
fn utc(ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// What a device sends must neither drive the terminal nor look like another row.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if ui::drives(c) { '\u{fffd}' } else { c }).collect()
}

/// A table for people: columns as wide as their widest cell, the last one as it is.
fn columns<const N: usize>(head: [String; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = std::iter::once(head).chain(rows).collect();
    let width = |n: usize| rows.iter().map(|row| row[n].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_command_line_is_told_to_scripts_in_full() {
        let told = |line: &str| {
            let error = Arguments::try_parse_from(line.split(' ')).map(|_| ()).unwrap_err();
            let error = usage_error(&error.render().to_string());
            (error.message, error.hint.unwrap_or_default())
        };
        let (message, hint) = told("omctl chek");
        assert!(message.contains("'chek'") && hint.contains("'check'"), "{message} / {hint}");
        let (message, _) = told("omctl channel create tickets");
        assert!(message.contains("not provided") && message.contains("--as"), "{message}");
    }

    #[test]
    fn the_command_tree_is_sound_and_each_command_shows_an_example() {
        fn visit(command: &clap::Command) {
            if command.get_subcommands().next().is_none() || command.get_name() == "omctl" {
                let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(after.contains("Example"), "`{}` has no example", command.get_name());
            }
            command.get_subcommands().for_each(visit);
        }
        command_tree().debug_assert();
        visit(&command_tree());
    }
}
