//! `sim run` tries many seeds, `sim one` shows a single one.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::{Parser, Subcommand};
use sim::Report;

#[derive(Parser)]
#[command(about = "Seeded simulation of devices, network and server in one thread")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs many seeds; ends with a line of JSON.
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
        /// Nothing but the line of JSON on stdout.
        #[arg(long)]
        json: bool,
    },
    /// Runs one seed and shows what happened.
    One {
        /// The seed.
        seed: u64,
    },
}

fn main() -> ExitCode {
    let mut out = std::io::stdout().lock();
    match Args::parse().command {
        Command::Run { seeds, from, threads, json } => {
            let next = AtomicU64::new(from);
            let reports = Mutex::new(Vec::new());
            std::thread::scope(|scope| {
                for _ in 0..threads.max(1) {
                    scope.spawn(|| {
                        loop {
                            let seed = next.fetch_add(1, Ordering::Relaxed);
                            if seed >= from + seeds {
                                return;
                            }
                            let report = sim::run(seed, false);
                            reports.lock().expect("no thread panics here").push(report);
                        }
                    });
                }
            });
            let reports = reports.into_inner().expect("no thread panics here");
            let failed: Vec<&Report> = reports.iter().filter(|report| report.failure.is_some()).collect();
            if !json {
                for report in &failed {
                    let why = report.failure.as_deref().unwrap_or_default();
                    drop(writeln!(
                        out,
                        "seed {} failed: {why}\n  replay: cargo run -p sim -- one {}",
                        report.seed, report.seed
                    ));
                }
            }
            let total = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
            let result = serde_json::json!({
                "type": "result", "schema": "omctl.sim/1", "seeds": seeds, "from": from,
                "failed": failed.iter().map(|report| report.seed).collect::<Vec<_>>(),
                "events": total(|r| r.events), "faults": total(|r| r.faults),
                "mutations": total(|r| r.mutations as u64), "conflicts": total(|r| r.conflicts as u64),
                "rejected": total(|r| r.rejected as u64),
            });
            drop(writeln!(out, "{result}"));
            if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Command::One { seed } => {
            let report = sim::run(seed, true);
            for line in &report.trace {
                drop(writeln!(out, "{line}"));
            }
            match report.failure {
                Some(why) => {
                    drop(writeln!(out, "seed {seed} failed: {why}"));
                    ExitCode::FAILURE
                }
                None => {
                    drop(writeln!(
                        out,
                        "seed {seed} is well: {} mutations, digest {}",
                        report.mutations, report.digest
                    ));
                    ExitCode::SUCCESS
                }
            }
        }
    }
}
