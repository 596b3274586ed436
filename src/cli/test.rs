//! `omctl test`: the project's scenarios, each against a fresh copy of the project's state. For the user's CI.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::fleet::{self, Common};
use super::junit::{self, Case};
use super::remote::block_on;
use super::spawn::{Over, Spawned};
use super::{Cli, CliError, Exit};
use crate::backend::sqlite;
use crate::catalog::{BackendDecl, Catalog, Scenario};
use crate::config::FromFlags;
use crate::server::STORE_FILE;
use crate::server::snapshots::{self, SnapshotError};
use crate::simulate::Server;

/// Run the project's scenarios against fresh copies of its state, and prove what they expect
///
/// Each scenario has a server of its own, on a copy of the project's store and of its SQLite backends: nothing of the
/// project changes. Exit 20: devices diverged or lost data. Exit 21: an expectation does not hold. Exit 22: nothing was
/// proved. Of several, the worst one.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  omctl test\n  omctl test rush-hour --junit target/omctl.xml")]
pub(super) struct Args {
    /// The scenarios; without any, all of them
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<String>,
    /// Write the results in JUnit's XML to this file
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Repeats the same choices
    #[arg(long)]
    seed: Option<u64>,
    /// Make so many of the devices processes of their own: then they are really killed
    #[arg(long, value_name = "N", default_value_t = 0)]
    processes: usize,
    /// Begin with an empty store in place of a copy of the project's
    #[arg(long)]
    fresh: bool,
    /// Keep the tapes and the devices' files in this folder, one folder for each scenario
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Whose overlay of `env:` to use
    #[arg(long = "env", value_name = "NAME")]
    env_name: Option<String>,
}

/// What one scenario came to.
struct Outcome {
    name: String,
    exit: Exit,
    took: Duration,
    /// Its sentence, or why it did not run.
    text: String,
    /// What is wrong, a line each.
    story: Vec<String>,
    report: Value,
}

pub(super) fn run(cli: &Cli, args: &Args) -> Result<Exit, CliError> {
    let root = cli.root()?;
    let catalog = cli.load(&root, args.env_name.as_deref())?;
    let scenarios: Vec<Arc<Scenario>> = match args.scenarios.is_empty() {
        true => catalog.scenarios.values().cloned().collect(),
        false => args.scenarios.iter().map(|name| fleet::scenario(&catalog, name)).collect::<Result<_, _>>()?,
    };
    if scenarios.is_empty() {
        return Err(CliError::new(Exit::NotFound, "not_found", "the project has no scenario")
            .hint("write one: omctl new scenario rush-hour"));
    }
    let common = Common { processes: args.processes, allow_writes: true, ..Common::default() };
    common.check()?;
    scenarios.iter().try_for_each(|scenario| fleet::check_size(scenario))?;
    let mut outcomes = Vec::new();
    for scenario in &scenarios {
        let began = Instant::now();
        let mut outcome = match one(cli, args, &catalog, scenario, &common) {
            Ok(Ok(outcome)) => outcome,
            // Whoever interrupts it wants nothing more of it.
            Ok(Err(exit)) => return Ok(exit),
            Err(error) => Outcome {
                name: scenario.name.clone(),
                exit: error.exit,
                took: Duration::ZERO,
                text: error.message.clone(),
                story: error.hint.iter().cloned().collect(),
                report: json!({ "scenario": scenario.name, "error": error.message, "code": error.code }),
            },
        };
        outcome.took = began.elapsed();
        tell(cli, &outcome);
        outcomes.push(outcome);
    }
    if let Some(path) = &args.junit {
        let cases: Vec<Case<'_>> = outcomes.iter().map(case).collect();
        let written = std::fs::write(path, junit::text("omctl", &cases));
        written
            .map_err(|error| CliError::new(Exit::Failed, "io", format!("cannot write {}: {error}", path.display())))?;
    }
    let worst = outcomes.iter().map(|outcome| outcome.exit).max_by_key(|exit| weight(*exit)).unwrap_or(Exit::Ok);
    let failed = outcomes.iter().filter(|outcome| outcome.exit != Exit::Ok).count();
    let text = format!("{} of {} scenarios passed", outcomes.len() - failed, outcomes.len());
    cli.ui.result(text, || {
        let scenarios = outcomes.iter().map(|outcome| {
            let mut report = outcome.report.clone();
            report["exit"] = outcome.exit.code().into();
            report["seconds"] = json!((outcome.took.as_secs_f64() * 10.0).round() / 10.0);
            report
        });
        json!({
            "type": "result", "schema": "omctl.test/1", "scenarios": scenarios.collect::<Vec<_>>(),
            "passed": outcomes.len() - failed, "failed": failed,
        })
    });
    Ok(worst)
}

/// How bad an exit is beside others: what did not run at all is worse than what ran and failed.
fn weight(exit: Exit) -> u8 {
    match exit {
        Exit::Ok => 0,
        Exit::Inconclusive => 1,
        Exit::Breached => 2,
        Exit::Diverged => 3,
        _ => 4,
    }
}

/// Runs one scenario. `Err(exit)` inside: a signal ended it.
fn one(
    cli: &Cli,
    args: &Args,
    catalog: &Catalog,
    scenario: &Scenario,
    common: &Common,
) -> Result<Result<Outcome, Exit>, CliError> {
    cli.ui.note(format!("scenario {}", scenario.name));
    let root = cli.root()?;
    let folder = tempfile::Builder::new().prefix("omctl-test-").tempdir();
    let folder = folder.map_err(|error| CliError::new(Exit::Failed, "io", format!("no temporary folder: {error}")))?;
    let over = copies(cli, args, catalog, folder.path())?;
    let server: Arc<dyn Server> = Arc::new(Spawned::start(&root, args.env_name.as_deref(), over)?);
    let client = server.connect()?;
    let kept = args.keep.as_ref().map(|keep| keep.join(&scenario.name));
    fleet::is_new(kept.as_deref())?;
    let common = Common { record: kept.as_ref().map(|kept| kept.join("fleet.tape")), keep: kept, ..common.clone() };
    let plan = block_on(fleet::plan_of(scenario, args.seed, &common, (&client, true), true))?;
    let ended = match fleet::go(cli, &server, &plan)? {
        Ok(ended) => ended,
        Err(exit) => return Ok(Err(exit)),
    };
    let verdict = &ended.report.verdict;
    let mut story = verdict.story.clone();
    story.extend(verdict.inconclusive.iter().map(|reason| format!("nothing was proved: {reason}")));
    story.extend(ended.report.breached.iter().map(|breach| format!("expectation breached: {breach}")));
    if ended.exit == Exit::Diverged {
        let processes = if args.processes > 0 { format!(" --processes {}", args.processes) } else { String::new() };
        let seed = ended.report.seed;
        story.push(format!("again: omctl test {} --seed {seed}{processes} --keep failed-{seed}", scenario.name));
    }
    Ok(Ok(Outcome {
        name: scenario.name.clone(),
        exit: ended.exit,
        took: Duration::ZERO,
        text: fleet::sentence(&ended.report, ended.exit),
        story,
        report: fleet::json_of(&plan, &ended.report),
    }))
}

/// Copies the project's state into a folder: the store, unless a fresh one is wanted, and every SQLite backend.
fn copies(cli: &Cli, args: &Args, catalog: &Catalog, folder: &Path) -> Result<Over, CliError> {
    let flags = FromFlags { env_name: args.env_name.clone(), ..FromFlags::default() };
    let data_dir = cli.settings(catalog, flags)?.data_dir.value;
    let mut over = Over::default();
    if !args.fresh {
        let store = folder.join(STORE_FILE);
        match snapshots::backup(&data_dir, &store) {
            Ok(_) => over.store = Some(store),
            // Nobody served the project yet: a fresh store has its seed.
            Err(SnapshotError::NoStore { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    for (name, BackendDecl::Sqlite { path }) in &catalog.backends {
        let copy = folder.join(format!("{name}.db"));
        sqlite::copy(name, path, &copy).map_err(|error| {
            CliError::new(Exit::Failed, "backend", format!("{} cannot be copied: {error}", path.display()))
        })?;
        over.backends.push((name.clone(), copy));
    }
    Ok(over)
}

fn tell(cli: &Cli, outcome: &Outcome) {
    let word = if outcome.exit == Exit::Ok { "ok" } else { "FAILED" };
    cli.ui.note(format!("{word} {} ({:.1} s): {}", outcome.name, outcome.took.as_secs_f64(), outcome.text));
    outcome.story.iter().for_each(|line| cli.ui.warn(line));
}

fn case(outcome: &Outcome) -> Case<'_> {
    let kind = match outcome.exit {
        Exit::Ok => None,
        Exit::Diverged => Some("diverged"),
        Exit::Breached => Some("breached"),
        Exit::Inconclusive => Some("inconclusive"),
        _ => Some("error"),
    };
    Case { name: &outcome.name, took: outcome.took, said: &outcome.text, failure: kind, details: &outcome.story }
}
