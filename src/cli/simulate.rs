//! `omctl device simulate`: a fleet by flags or by a scenario's file, and what is told of it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use omctl_protocol::ChannelName;
use omctl_protocol::admin::{AccountNew, AccountPatch, ChannelView};
use serde_json::{Map, Value, json};

use super::remote::{Remote, block_on};
use super::signals::Signals;
use super::spawn::Spawned;
use super::{Cli, CliError, Exit};
use crate::catalog::{Act, Catalog, Group, Link, Phase, Scenario, near, near_hint};
use crate::client::{Client, ClientError};
use crate::clock::Entropy;
use crate::simulate::{self, Crew, Deed, Plan, Progress, Report, Server, SimulateError, Step};

/// Most devices of one fleet: each is a client with threads and a file of its own.
const DEVICES_MAX: usize = 200;

/// The one crew of a fleet that is described by flags.
const FLEET: &str = "fleet";

/// Run a fleet of real device clients against the running server and prove that they converge
///
/// Every device is the client library with a SQLite file of its own. The fleet writes to the project's channels; the
/// verdict compares every device with the backend itself. Exit 20: devices diverged or lost data. Exit 21: an expectation
/// of the scenario does not hold. Exit 22: nothing was proved.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  omctl device simulate --devices 5 --duration 20s --offline 8s --network lossy\n  omctl device simulate rush-hour --spawn"
)]
pub(super) struct Args {
    /// A scenario of the project: its accounts, phases and expectations in place of the flags'
    #[arg(value_name = "SCENARIO", conflicts_with_all = ["devices", "accounts", "duration", "offline", "network", "rate"])]
    scenario: Option<String>,
    /// Start a server for the fleet, on an empty store of its own, and end it afterwards
    #[arg(long, conflicts_with_all = ["server", "data_dir"])]
    spawn: bool,
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
    #[arg(long, default_value = "wifi", value_parser = link())]
    network: Link,
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

/// The words of the networks, for `--help` and completions.
fn link() -> impl clap::builder::TypedValueParser<Value = Link> {
    use clap::builder::{PossibleValuesParser, TypedValueParser as _};
    let words = Link::ALL.map(|(word, _)| word);
    PossibleValuesParser::new(words)
        .map(|word| Link::ALL.into_iter().find(|(known, _)| *known == word).map_or(Link::Wifi, |(_, link)| link))
}

/// A server that somebody else runs.
struct Theirs {
    cli: Cli,
    remote: Remote,
}

impl Server for Theirs {
    fn connect(&self) -> Result<Client, ClientError> {
        // It may be restarted in between: then it is found anew, with the token of that start.
        self.remote.connect(&self.cli).map_err(|_| ClientError::NoServer { data_dir: PathBuf::new() })
    }

    fn restart(&self) -> Result<(), String> {
        Err("it is not the fleet's own".to_owned())
    }
}

pub(super) fn run(cli: &Cli, args: &Args) -> Result<Exit, CliError> {
    #[cfg(feature = "planted")]
    tell_of_bugs();
    if args.devices == 0 || args.devices > DEVICES_MAX {
        let text = format!("--devices must be from 1 to {DEVICES_MAX}");
        return Err(CliError::new(Exit::Usage, "usage", text));
    }
    if !args.rate.is_finite() || args.rate < 0.0 || args.rate > 1000.0 {
        return Err(CliError::new(Exit::Usage, "usage", "--rate must be from 0 to 1000"));
    }
    let env_name = args.remote.env_name();
    let catalog = match args.spawn || args.scenario.is_some() {
        // Its mistakes are told as any command tells them, before a server of the fleet's own could.
        true => Some(cli.load(&cli.root()?, env_name)?),
        false => None,
    };
    let scenario = match (&args.scenario, &catalog) {
        (Some(name), Some(catalog)) => Some(scenario(catalog, name, args)?),
        _ => None,
    };
    let server: Arc<dyn Server> = match args.spawn {
        true => Arc::new(Spawned::start(&cli.root()?, env_name)?),
        false => {
            args.remote.connect(cli)?;
            Arc::new(Theirs { cli: cli.clone(), remote: args.remote.clone() })
        }
    };
    let client = server.connect()?;
    let plan = block_on(async {
        match &scenario {
            Some(scenario) => plan_of(scenario, args, &client).await,
            None => plan(args, &client).await,
        }
    })?;
    let bars = Bars { cli: cli.clone(), bar: Mutex::new(None) };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::new(Exit::Failed, "io", format!("no async runtime: {error}")))?;
    let ended = runtime.block_on(async {
        // Whoever is ended by a signal takes the server along that is its own.
        let mut signals = Signals::listen()?;
        tokio::select! {
            report = simulate::run(server.clone(), &plan, &bars) => Ok(Ok(report)),
            exit = signals.next() => Ok::<_, CliError>(Err(exit)),
        }
    });
    bars.end();
    // They were made for this run. A server of the fleet's own takes them along.
    if scenario.is_some() && args.keep.is_none() && !args.spawn {
        let removed = block_on(async { remove_accounts(&server.connect()?, &plan).await });
        if let Err(error) = removed {
            cli.ui.warn(format!("the scenario's accounts stay: {}", error.message));
        }
    }
    match ended? {
        Ok(report) => tell(cli, args, &report?),
        Err(exit) => Ok(exit),
    }
}

/// A bug that is planted in the device library says so in the log, which a fleet does not have otherwise.
#[cfg(feature = "planted")]
fn tell_of_bugs() {
    use crate::telemetry::{self, Keep, LogFormat};
    let keep = Keep { events: 0, text_bytes: 0, now_ms: || crate::clock::Clock::System.now_ms() };
    // The filter is a constant, and has a meaning.
    drop(telemetry::start(Some("error,omctl_device::planted=warn"), LogFormat::Text, false, keep));
}

/// The scenario of this name, if this fleet can run it.
fn scenario(catalog: &Catalog, name: &str, args: &Args) -> Result<Arc<Scenario>, CliError> {
    let Some(scenario) = catalog.scenarios.get(name) else {
        let known = || catalog.scenarios.keys().map(String::as_str);
        let hint = near_hint(name, known()).unwrap_or_else(|| match catalog.scenarios.is_empty() {
            true => format!("write it: omctl new scenario {name}"),
            false => format!("there is {}", known().collect::<Vec<_>>().join(", ")),
        });
        return Err(CliError::new(Exit::NotFound, "not_found", format!("no scenario `{name}`")).hint(hint));
    };
    let restarts = |phase: &Phase| matches!(phase, Phase::Act { server: Some(_), .. });
    if scenario.phases.iter().any(restarts) && !args.spawn {
        let text = format!("scenario `{name}` restarts the server, and the one that runs is not the fleet's own");
        return Err(CliError::new(Exit::Usage, "usage", text)
            .hint(format!("let the fleet start one, on a store of its own: omctl device simulate {name} --spawn")));
    }
    let devices: usize = scenario.groups.iter().map(|group| group.devices as usize).sum();
    if devices > DEVICES_MAX {
        let text = format!("scenario `{name}` has {devices} devices; one process runs at most {DEVICES_MAX}");
        return Err(CliError::new(Exit::Usage, "usage", text).hint("say fewer `devices:`"));
    }
    Ok(scenario.clone())
}

/// The address of a group's account: under a domain that nobody can have (RFC 2606).
fn address(scenario: &Scenario, group: &Group) -> String {
    format!("{}@{}.test", group.name, scenario.name)
}

/// The scenario with an account for each group.
async fn plan_of(scenario: &Scenario, args: &Args, client: &Client) -> Result<Plan, CliError> {
    let channels = client.channels().await?.channels;
    let acts = scenario.phases.iter().filter_map(|phase| match phase {
        Phase::Act { acts, .. } => Some(acts.iter().map(|(_, act)| act)),
        Phase::Heal => None,
    });
    let written =
        |act: &Act| [&act.write, &act.create, &act.update, &act.delete].into_iter().flatten().cloned().collect();
    let written: Vec<ChannelName> = acts.flatten().flat_map(|act| -> Vec<ChannelName> { written(act) }).collect();
    may_write(args, channels.iter().filter(|channel| written.contains(&channel.name)))?;
    let mut crews = Vec::new();
    for group in &scenario.groups {
        let email = address(scenario, group);
        let claims: Map<String, Value> = (group.claims.iter())
            .map(|(name, values)| match values.as_slice() {
                [only] => (name.clone(), json!(only)),
                several => (name.clone(), json!(several)),
            })
            .collect();
        let known = client.accounts().await?.accounts.into_iter().any(|account| account.email == email);
        if known {
            let patch = AccountPatch {
                role: Some(group.role.clone()),
                claims: Some(claims),
                disabled: Some(false),
                ..AccountPatch::default()
            };
            client.change_account(&email, &patch).await?;
        } else {
            let new = AccountNew { email: email.clone(), role: group.role.clone(), claims, password: None };
            client.create_account(&new).await?;
        }
        let (name, devices) = (group.name.clone(), group.devices as usize);
        crews.push(Crew { name, devices, accounts: vec![email], link: group.link });
    }
    let deed = |act: &Act| Deed { act: act.clone(), offline_once: Duration::ZERO };
    let step = |phase: &Phase| match phase {
        Phase::Heal => Step::Heal,
        Phase::Act { lasts, server, acts } => Step::Act {
            lasts: *lasts,
            restart: server.is_some(),
            deeds: acts.iter().map(|(group, act)| (group.clone(), deed(act))).collect(),
        },
    };
    Ok(Plan {
        crews,
        steps: scenario.phases.iter().map(step).collect(),
        expect: scenario.expect.clone(),
        seed: args.seed.or(scenario.seed).unwrap_or_else(some_seed),
        keep: args.keep.clone(),
        capture: args.capture.clone(),
    })
}

async fn remove_accounts(client: &Client, plan: &Plan) -> Result<(), CliError> {
    for email in plan.crews.iter().flat_map(|crew| &crew.accounts) {
        client.remove_account(email).await?;
    }
    Ok(())
}

/// Small enough to be typed again.
fn some_seed() -> u64 {
    Entropy::System.u64() % 1_000_000
}

/// Somebody's own database is written only when that was said.
fn may_write<'c>(args: &Args, mut channels: impl Iterator<Item = &'c ChannelView>) -> Result<(), CliError> {
    let foreign = channels.find(|channel| channel.backend != crate::catalog::MANAGED);
    let Some(channel) = foreign.filter(|_| !args.allow_writes) else { return Ok(()) };
    let text = format!("the fleet would write to backend `{}` (table {})", channel.backend, channel.table);
    Err(CliError::new(Exit::NotAllowed, "writes_not_allowed", text)
        .hint("point the project at a copy, or add --allow-writes")
        .detail("backend", channel.backend.clone()))
}

async fn plan(args: &Args, client: &Client) -> Result<Plan, CliError> {
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
    may_write(args, channels.iter())?;
    let write = channels.into_iter().map(|channel| channel.name).collect();
    let act = Act { write, rate: Some(args.rate), ..Act::default() };
    let deed = Deed { act, offline_once: args.offline };
    Ok(Plan {
        crews: vec![Crew { name: FLEET.to_owned(), devices: args.devices, accounts, link: args.network }],
        steps: vec![Step::Act { lasts: args.duration, deeds: vec![(FLEET.to_owned(), deed)], restart: false }],
        expect: Vec::new(),
        seed: args.seed.unwrap_or_else(some_seed),
        keep: args.keep.clone(),
        capture: args.capture.clone(),
    })
}

fn tell(cli: &Cli, args: &Args, report: &Report) -> Result<Exit, CliError> {
    let verdict = &report.verdict;
    let bad = !verdict.converged || verdict.lost > 0 || verdict.duplicated > 0;
    let exit = match (&verdict.inconclusive, bad, report.breached.is_empty()) {
        (_, true, _) => Exit::Diverged,
        (Some(_), false, _) => Exit::Inconclusive,
        (None, false, false) => Exit::Breached,
        (None, false, true) => Exit::Ok,
    };
    for line in &verdict.story {
        cli.ui.warn(line);
    }
    if let Some(reason) = &verdict.inconclusive {
        cli.ui.warn(format!("nothing was proved: {reason}"));
    }
    for breach in &report.breached {
        cli.ui.warn(format!("expectation breached: {breach}"));
    }
    if bad {
        let what = match &args.scenario {
            Some(name) => name.clone(),
            None => format!("--devices {}", report.devices),
        };
        let spawn = if args.spawn { " --spawn" } else { "" };
        cli.ui.next(format!("omctl device simulate {what}{spawn} --seed {} --keep fleet", report.seed));
    }
    cli.ui.result(sentence(report), || json_of(args, report));
    Ok(exit)
}

fn sentence(report: &Report) -> String {
    let verdict = &report.verdict;
    let [p50, p95, p99] = [50, 95, 99].map(|percent| report.latency(percent));
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

fn json_of(args: &Args, report: &Report) -> Value {
    let verdict = &report.verdict;
    let applied = |word: &str| verdict.applied.get(word).copied().unwrap_or(0);
    json!({
        "type": "result", "schema": "omctl.simulate/1", "scenario": args.scenario,
        "converged": verdict.converged, "inconclusive": verdict.inconclusive, "devices": report.devices,
        "records": verdict.records, "rows_compared": verdict.rows_compared, "mutations": verdict.mutations,
        "applied": { "create": applied("create"), "update": applied("update"), "delete": applied("delete") },
        "conflicts": verdict.conflicts, "rejected": verdict.rejected, "lost": verdict.lost,
        "duplicated": verdict.duplicated, "unknown": verdict.unknown, "delivery": report.delivery,
        "latency_ms": {
            "p50": report.latency(50), "p95": report.latency(95),
            "p99": report.latency(99), "measured": report.latencies_ms.len(),
        },
        "cuts": report.cuts, "lost_requests": report.lost_requests, "lost_replies": report.lost_replies,
        "breached": report.breached, "seed": report.seed,
    })
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
}
