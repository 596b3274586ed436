//! `sim run` tries many seeds, `sim one` shows a single one, `sim shrink` makes one that fails smaller.

use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::{Args, Parser, Subcommand};
use sim::{Fault, Plan, Sums, hunt, plant};

/// For Rust and, by the crate's feature `override`, for SQLite.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Seeded simulation of devices, network and server in one thread")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs many seeds; ends with a line of JSON. Exit 1 if one fails or is not the same twice.
    Run {
        /// How many.
        #[arg(long, default_value_t = 100)]
        seeds: u64,
        /// The first one.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// Threads; each runs one seed at a time.
        #[arg(long, default_value_t = 2)]
        threads: u64,
        /// Keeps the sums in this file after every thousand seeds, and goes on from what it says.
        #[arg(long, value_name = "FILE")]
        resume: Option<PathBuf>,
        /// Nothing but the line of JSON on stdout.
        #[arg(long)]
        json: bool,
    },
    /// Runs one seed and shows what happened.
    One {
        #[command(flatten)]
        plan: PlanArgs,
    },
    /// Plants a bug in the engine and looks for a seed that finds it. Exit 1 if none does.
    Plant {
        /// The bug; `list` names them.
        name: String,
        /// So many seeds at most.
        #[arg(long, default_value_t = 2_000)]
        max_seeds: u64,
        /// The first one.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// Threads; each runs one seed at a time.
        #[arg(long, default_value_t = 2)]
        threads: u64,
        /// Nothing but the line of JSON on stdout.
        #[arg(long)]
        json: bool,
    },
    /// Looks for the smallest form of a seed that fails.
    Shrink {
        #[command(flatten)]
        plan: PlanArgs,
    },
    /// Cuts the power behind every file operation that real processes did, and looks at what is left.
    CrashPoints(sim::crash_points::Args),
}

#[derive(Args)]
struct PlanArgs {
    /// The seed.
    seed: u64,
    /// Faults that do not happen.
    #[arg(long, value_delimiter = ',', value_parser = fault)]
    without: Vec<Fault>,
    /// So many devices at most.
    #[arg(long)]
    devices: Option<usize>,
    /// Users write for so many milliseconds at most.
    #[arg(long)]
    writing_ms: Option<u64>,
}

impl From<PlanArgs> for Plan {
    fn from(args: PlanArgs) -> Self {
        Self { seed: args.seed, without: args.without, devices: args.devices, writing_ms: args.writing_ms }
    }
}

fn fault(name: &str) -> Result<Fault, String> {
    let names = || Fault::ALL.iter().map(|fault| fault.name()).collect::<Vec<_>>().join(", ");
    Fault::ALL.iter().find(|fault| fault.name() == name).copied().ok_or_else(|| format!("one of {}", names()))
}

/// How to run it again.
fn replay(plan: &Plan) -> String {
    let mut line = format!("cargo run --profile sim -p sim -- one {}", plan.seed);
    if !plan.without.is_empty() {
        let names: Vec<&str> = plan.without.iter().map(|fault| fault.name()).collect();
        line += &format!(" --without {}", names.join(","));
    }
    if let Some(devices) = plan.devices {
        line += &format!(" --devices {devices}");
    }
    if let Some(writing_ms) = plan.writing_ms {
        line += &format!(" --writing-ms {writing_ms}");
    }
    line
}

/// A reader that is gone is no reason to stop.
fn tell(out: &mut dyn std::io::Write, line: &str) {
    drop(writeln!(out, "{line}"));
}

fn say(line: &str) {
    tell(&mut std::io::stdout(), line);
}

fn main() -> ExitCode {
    let is_well = match Cli::parse().command {
        Command::Run { seeds, from, threads, resume, json } => run(from, seeds, threads, resume.as_deref(), json),
        Command::Plant { name, max_seeds, from, threads, json } => plant(&name, from, max_seeds, threads, json),
        Command::One { plan } => one(&plan.into()),
        Command::Shrink { plan } => shrink(&plan.into()),
        Command::CrashPoints(args) => sim::crash_points::run(&args).unwrap_or_else(|why| {
            tell(&mut std::io::stderr(), &why);
            false
        }),
    };
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Seeds whose sums are kept at once.
const BATCH: u64 = 1_000;

fn run(from: u64, seeds: u64, threads: u64, resume: Option<&Path>, json: bool) -> bool {
    let began = Instant::now();
    let mut sums: Sums = resume
        .and_then(|file| std::fs::read_to_string(file).ok())
        .map(|text| serde_json::from_str(&text).expect("the file is one of an earlier run"))
        .unwrap_or_default();
    let before = sums.seeds;
    while sums.seeds < seeds {
        let count = BATCH.min(seeds - sums.seeds);
        let batch = hunt::seeds(from + sums.seeds, count, threads, |report| {
            let why = report.failure.as_deref().unwrap_or_default();
            let line = format!("seed {} failed: {why}\n  replay: {}", report.seed, replay(&Plan::of(report.seed)));
            if json {
                tell(&mut std::io::stderr(), &line)
            } else {
                say(&line)
            }
            true
        });
        sums.join(batch);
        if let Some(file) = resume {
            std::fs::write(file, serde_json::to_string(&sums).expect("sums are JSON"))
                .expect("the file can be written");
        }
    }
    let hours = began.elapsed().as_secs_f64() / 3600.0 * threads as f64;
    let mut result = serde_json::to_value(&sums).expect("sums are JSON");
    result["type"] = "result".into();
    result["schema"] = "omctl.sim/2".into();
    result["from"] = from.into();
    result["seeds_per_core_hour"] = (((sums.seeds - before) as f64 / hours) as u64).into();
    say(&result.to_string());
    sums.failed == 0 && sums.trace_mismatches == 0
}

/// A bug is planted by an environment variable in a build that has them; this may not be one.
fn plant(name: &str, from: u64, max_seeds: u64, threads: u64, json: bool) -> bool {
    if name == "list" {
        plant::ALL.iter().for_each(|(name, about)| say(&format!("{name}: {about}")));
        return true;
    }
    if !plant::is_known(name) {
        tell(&mut std::io::stderr(), &format!("no bug is called `{name}`: `sim plant list` names them"));
        return false;
    }
    #[expect(clippy::disallowed_methods, reason = "the bug is planted in the process as a whole")]
    let is_planted = cfg!(feature = "planted") && std::env::var(PLANT).is_ok_and(|planted| planted == name);
    if !is_planted {
        return plant_in_another(name);
    }
    let found = Mutex::new(None);
    let seeds = AtomicU64::new(0);
    hunt::seeds(from, max_seeds, threads, |report| {
        let why = report.failure.clone().unwrap_or_default();
        let mut found = found.lock().expect("nobody panics while it holds this lock");
        seeds.store(report.seed - from + 1, Ordering::Relaxed);
        *found = Some((report.seed, why));
        false
    });
    let found = found.into_inner().expect("nobody panics while it holds this lock");
    let (seed, why) = found.clone().unzip();
    if !json && let (Some(seed), Some(why)) = (&seed, &why) {
        say(&format!("seed {seed} finds `{name}`: {why}"));
    }
    let tried = if found.is_some() { seeds.load(Ordering::Relaxed) } else { max_seeds };
    let result = serde_json::json!({
        "type": "result", "schema": "omctl.sim-plant/1", "plant": name, "found": found.is_some(), "seeds": tried, "seed": seed,
        "why": why,
    });
    say(&result.to_string());
    found.is_some()
}

const PLANT: &str = "OMCTL_PLANT";

/// The same arguments, in a build that has the bugs.
fn plant_in_another(name: &str) -> bool {
    let arguments = || std::env::args_os().skip(1);
    let mut command = if cfg!(feature = "planted") {
        let own = std::env::current_exe().expect("this program has a path");
        let mut command = process::Command::new(own);
        command.args(arguments());
        command
    } else {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let target = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/planted");
        let mut command = process::Command::new("cargo");
        command.args(["run", "--quiet", "--profile", "sim", "--features", "planted"]);
        command.args(["--manifest-path", manifest, "--target-dir", target, "--"]).args(arguments());
        command
    };
    command.env(PLANT, name).status().is_ok_and(|status| status.success())
}

fn one(plan: &Plan) -> bool {
    let report = sim::run(plan, true);
    report.trace.iter().for_each(|line| say(line));
    let faults: Vec<String> = report.faults.iter().map(|(fault, count)| format!("{} {count}", fault.name())).collect();
    say(&format!("faults: {}", faults.join(", ")));
    match &report.failure {
        Some(why) => say(&format!("seed {} failed: {why}", plan.seed)),
        None => say(&format!("seed {} is well: {} mutations, digest {}", plan.seed, report.mutations, report.digest)),
    }
    report.failure.is_none()
}

fn shrink(plan: &Plan) -> bool {
    let report = sim::run(plan, false);
    let Some(why) = report.failure else {
        say(&format!("seed {} is well", plan.seed));
        return true;
    };
    say(&format!("seed {} failed: {why}", plan.seed));
    let best = hunt::shrink(plan, |_, report| {
        say(&format!("smaller: {} events, {} mutations", report.events, report.mutations));
    });
    let report = sim::run(&best, false);
    say(&report.failure.unwrap_or_default());
    say(&format!("  replay: {}", replay(&best)));
    false
}
