//! `omctl device`: simulated ones here, real ones in `devices.rs`.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::remote::{Remote, block_on};
use super::{Cli, CliError, Exit, devices};
use crate::catalog::near;
use crate::client::Client;
use crate::clock::Entropy;
use crate::simulate::network::{LOSSY, Profile, WIFI};
use crate::simulate::{self, Plan, Progress, Report, SimulateError};

/// Most devices of one fleet: each is a client with threads and a file of its own.
const DEVICES_MAX: usize = 200;

/// Look at devices, activate and revoke them, simulate fleets of them
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Simulate(SimulateArgs),
    List(devices::ListArgs),
    Show(devices::ShowArgs),
    Activate(devices::ActivateArgs),
    Revoke(devices::RevokeArgs),
}

/// Run a fleet of real device clients against the running server and prove that they converge
///
/// Every device is the client library with a SQLite file of its own. The fleet writes to the project's channels; the
/// verdict compares every device with the backend itself. Exit 20: devices diverged or lost data. Exit 22: nothing was
/// proved.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl device simulate --devices 5 --duration 20s --offline 8s --network lossy")]
struct SimulateArgs {
    /// How many devices
    #[arg(long, default_value_t = 3)]
    devices: usize,
    /// Whose devices they are, in turn; without it all enabled accounts
    #[arg(long = "account", value_name = "EMAIL")]
    accounts: Vec<String>,
    /// For how long they write
    #[arg(long, default_value = "15s", value_parser = duration, value_name = "TIME")]
    duration: Duration,
    /// For how long each of them is offline in that time
    #[arg(long, default_value = "0s", value_parser = duration, value_name = "TIME")]
    offline: Duration,
    /// What their connections are like
    #[arg(long, value_enum, default_value_t = NetworkArg::Wifi)]
    network: NetworkArg,
    /// Writes per second and device; 0: they only watch
    #[arg(long, default_value_t = 4.0)]
    rate: f64,
    /// Repeats the same choices
    #[arg(long)]
    seed: Option<u64>,
    /// Keep the devices' files in this folder
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Keep everything that the server sends to each device, byte for byte, in this folder
    #[arg(long, value_name = "DIR")]
    capture: Option<PathBuf>,
    /// Write to backends that are not the server's own
    #[arg(long)]
    allow_writes: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum NetworkArg {
    /// A quiet office
    Wifi,
    /// A train: slow, uneven, connections that end without a word
    Lossy,
}

impl NetworkArg {
    fn profile(self) -> Profile {
        match self {
            Self::Wifi => WIFI,
            Self::Lossy => LOSSY,
        }
    }
}

pub(super) fn run(cli: &Cli, args: Args) -> Result<Exit, CliError> {
    match args.what {
        What::Simulate(args) => simulate(cli, &args),
        What::List(args) => devices::list(cli, &args),
        What::Show(args) => devices::show(cli, &args),
        What::Activate(args) => devices::activate(cli, &args),
        What::Revoke(args) => devices::revoke(cli, &args),
    }
}

fn simulate(cli: &Cli, args: &SimulateArgs) -> Result<Exit, CliError> {
    if args.devices == 0 || args.devices > DEVICES_MAX {
        let text = format!("--devices must be from 1 to {DEVICES_MAX}");
        return Err(CliError::new(Exit::Usage, "usage", text));
    }
    if !args.rate.is_finite() || args.rate < 0.0 || args.rate > 1000.0 {
        return Err(CliError::new(Exit::Usage, "usage", "--rate must be from 0 to 1000"));
    }
    let client = args.remote.connect(cli)?;
    let plan = block_on(async { plan(args, &client).await })?;
    let bars = Bars { cli: cli.clone(), bar: Mutex::new(None) };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::new(Exit::Failed, "io", format!("no async runtime: {error}")))?;
    // The server may be restarted in between: then it is found anew, with the token of that start.
    let again = || match args.remote.connect(cli) {
        Ok(client) => Ok(client),
        Err(_) => Err(crate::client::ClientError::NoServer { data_dir: PathBuf::new() }),
    };
    let report = runtime.block_on(simulate::run(again, &plan, &bars));
    bars.end();
    tell(cli, &report?)
}

async fn plan(args: &SimulateArgs, client: &Client) -> Result<Plan, CliError> {
    let known = client.accounts().await?.accounts;
    let enabled: Vec<String> =
        known.iter().filter(|account| !account.disabled).map(|account| account.email.clone()).collect();
    for email in &args.accounts {
        if !enabled.iter().any(|known| known.eq_ignore_ascii_case(email)) {
            let text = format!("no enabled account `{email}`");
            let near = near::nearest_address(email, enabled.iter().map(String::as_str));
            let hint = near.map_or(format!("omctl account add {email}"), |near| format!("did you mean `{near}`?"));
            return Err(CliError::new(Exit::NotFound, "not_found", text).hint(hint));
        }
    }
    let accounts = if args.accounts.is_empty() { enabled } else { args.accounts.clone() };
    if accounts.is_empty() {
        return Err(CliError::new(Exit::NotFound, "no_account", "there is no enabled account for the devices")
            .hint("omctl account add ana@example.com"));
    }
    let channels = client.channels().await?.channels;
    let foreign = channels.iter().find(|channel| channel.backend != crate::catalog::MANAGED);
    if let Some(channel) = foreign.filter(|_| !args.allow_writes) {
        let text = format!("the fleet would write to backend `{}` (table {})", channel.backend, channel.table);
        return Err(CliError::new(Exit::NotAllowed, "writes_not_allowed", text)
            .hint("point the project at a copy, or add --allow-writes")
            .detail("backend", channel.backend.clone()));
    }
    Ok(Plan {
        devices: args.devices,
        accounts,
        duration: args.duration,
        offline: args.offline,
        profile: args.network.profile(),
        rate: args.rate,
        // Small enough to be typed again.
        seed: args.seed.unwrap_or_else(|| Entropy::System.u64() % 1_000_000),
        keep: args.keep.clone(),
        capture: args.capture.clone(),
    })
}

fn tell(cli: &Cli, report: &Report) -> Result<Exit, CliError> {
    let verdict = &report.verdict;
    let bad = !verdict.converged || verdict.lost > 0 || verdict.duplicated > 0;
    let exit = match (&verdict.inconclusive, bad) {
        (_, true) => Exit::Diverged,
        (Some(_), false) => Exit::Inconclusive,
        (None, false) => Exit::Ok,
    };
    for line in &verdict.story {
        cli.ui.warn(line);
    }
    if let Some(reason) = &verdict.inconclusive {
        cli.ui.warn(format!("nothing was proved: {reason}"));
    }
    if bad {
        cli.ui.next(format!("omctl device simulate --devices {} --seed {} --keep fleet", report.devices, report.seed));
    }
    cli.ui.result(sentence(report), || json_of(report));
    Ok(exit)
}

fn sentence(report: &Report) -> String {
    let verdict = &report.verdict;
    let [p50, p95, p99] = [50, 95, 99].map(|percent| percentile(&report.latencies_ms, percent));
    let latency = match (p50, p95, p99) {
        (Some(p50), Some(p95), Some(p99)) => format!("; write to visible p50 {p50} ms, p95 {p95} ms, p99 {p99} ms"),
        _ => String::new(),
    };
    format!(
        "{}: {} devices, {} records, {} rows compared; {} mutations settled ({} conflicts, {} rejected, {} unknown), \
         lost {}, duplicated {}, {}{latency}; seed {}",
        if verdict.converged { "converged" } else { "DIVERGED" },
        report.devices,
        verdict.records,
        verdict.rows_compared,
        verdict.mutations,
        verdict.conflicts,
        verdict.rejected,
        verdict.unknown,
        verdict.lost,
        verdict.duplicated,
        report.delivery,
        report.seed,
    )
}

fn json_of(report: &Report) -> Value {
    let verdict = &report.verdict;
    let applied = |word: &str| verdict.applied.get(word).copied().unwrap_or(0);
    json!({
        "type": "result", "schema": "omctl.simulate/1",
        "converged": verdict.converged, "inconclusive": verdict.inconclusive, "devices": report.devices,
        "records": verdict.records, "rows_compared": verdict.rows_compared, "mutations": verdict.mutations,
        "applied": { "create": applied("create"), "update": applied("update"), "delete": applied("delete") },
        "conflicts": verdict.conflicts, "rejected": verdict.rejected, "lost": verdict.lost,
        "duplicated": verdict.duplicated, "unknown": verdict.unknown, "delivery": report.delivery,
        "latency_ms": {
            "p50": percentile(&report.latencies_ms, 50), "p95": percentile(&report.latencies_ms, 95),
            "p99": percentile(&report.latencies_ms, 99), "measured": report.latencies_ms.len(),
        },
        "cuts": report.cuts, "seed": report.seed,
    })
}

/// Nearest-rank percentile of sorted values, to a tenth of a millisecond.
fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map(|value| (value * 10.0).round() / 10.0)
}

/// A time such as `20s`, `500ms` or `2m`.
fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or("say the unit: 20s, 500ms or 2m")?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| "begin with a number: 20s")?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" if number <= 24 * 3600 => Ok(Duration::from_secs(number)),
        "m" if number <= 24 * 60 => Ok(Duration::from_secs(60 * number)),
        _ => Err("the units are ms, s and m; the most is a day".into()),
    }
}

/// Progress: a bar on a terminal, a line a phase elsewhere.
struct Bars {
    cli: Cli,
    bar: Mutex<Option<ProgressBar>>,
}

impl Bars {
    fn end(&self) {
        if let Some(bar) = self.bar.lock().expect("nobody panics while drawing").take() {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Bars {
    fn phase(&self, what: &str, steps: u64) {
        self.end();
        if !self.cli.ui.can_ask() {
            self.cli.ui.note(what);
            return;
        }
        let bar = if steps == 0 { ProgressBar::new_spinner() } else { ProgressBar::new(steps) };
        if steps > 0 {
            let style = ProgressStyle::with_template("{msg:<20} {bar:30} {pos}/{len}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        bar.set_message(what.to_owned());
        *self.bar.lock().expect("nobody panics while drawing") = Some(bar);
    }

    fn step(&self, done: u64) {
        if let Some(bar) = &*self.bar.lock().expect("nobody panics while drawing") {
            bar.set_position(done);
        }
    }
}

impl From<SimulateError> for CliError {
    fn from(error: SimulateError) -> Self {
        match error {
            SimulateError::Client(error) => error.into(),
            SimulateError::Device { device, .. } => {
                Self::new(Exit::Failed, "device_failed", error.to_string()).detail("device", device.to_string())
            }
            SimulateError::Io { .. } => Self::new(Exit::Failed, "io", error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(duration("20s"), Ok(Duration::from_secs(20)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        for bad in ["20", "s", "-1s", "1h", "99999999999999999999s", ""] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((percentile(&values, 50), percentile(&values, 99)), (Some(50.0), Some(99.0)));
        assert_eq!((percentile(&[], 50), percentile(&[7.25], 99)), (None, Some(7.3)));
    }
}
