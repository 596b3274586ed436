//! A fleet at work on the command line, whoever asked for it: run with progress, judged by an exit code, told in a
//! sentence, in JSON or on a page.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::fleet_page::page;
use super::fleet_view::Screen;
use super::remote::block_on;
use super::signals::Signals;
use super::{Cli, CliError, Exit, obey};
use crate::catalog::{self, Act, Catalog, Group, Phase, Scenario};
use crate::client::Client;
use crate::clock::Entropy;
use crate::simulate::{self, Crew, Deed, Plan, Report, Script, Server, SimulateError, Step};
use omctl_protocol::ChannelName;
use omctl_protocol::admin::{AccountNew, AccountPatch, ChannelView};
use serde_json::Map;

/// Most devices of one fleet: each is a client with threads and a file of its own.
pub(super) const DEVICES_MAX: usize = 10_000;

/// Most devices that are processes of their own.
pub(super) const PROCESSES_MAX: usize = 64;

/// Flags of whatever runs a fleet.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Common {
    /// Make so many of the devices processes of their own: then they are really killed
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) processes: usize,
    /// Keep the devices' files in this folder
    #[arg(long, value_name = "DIR")]
    pub(super) keep: Option<PathBuf>,
    /// Keep everything that the server sends to each device, byte for byte, in this folder
    #[arg(long, value_name = "DIR")]
    pub(super) capture: Option<PathBuf>,
    /// Write everything that happens to this file, for `omctl device replay`
    #[arg(long, value_name = "FILE")]
    pub(super) record: Option<PathBuf>,
    /// Write the report as a page with plots to this file
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,
    /// Write to backends that are not the server's own
    #[arg(long)]
    pub(super) allow_writes: bool,
    /// Afterwards remove what the fleet made, and put back what it changed
    #[arg(long)]
    pub(super) cleanup: bool,
}

impl Common {
    /// # Errors
    /// Exit 2 for what cannot be, exit 1 for a page that could not be written.
    pub(super) fn check(&self) -> Result<(), CliError> {
        if self.processes > PROCESSES_MAX {
            let text = format!("--processes must be at most {PROCESSES_MAX}");
            return Err(CliError::new(Exit::Usage, "usage", text));
        }
        // After an hour of work it would be late to learn that.
        match self.html.as_deref().map(|path| (path, folder_of(path))) {
            Some((path, folder)) if !folder.is_dir() => Err(unwritten(path, &"there is no such folder")),
            Some((path, _)) if path.is_dir() => Err(unwritten(path, &"it is a folder")),
            _ => Ok(()),
        }
    }

    /// A plan with these flags; who takes part and what happens is still to be said.
    pub(super) fn plan(&self, script: Script, spawned: bool) -> Result<Plan, CliError> {
        let omctl = std::env::current_exe()
            .map_err(|error| CliError::new(Exit::Failed, "io", format!("this program has no path: {error}")))?;
        Ok(Plan {
            scenario: None,
            crews: Vec::new(),
            script,
            expect: Vec::new(),
            seed: some_seed(),
            processes: self.processes,
            command: [omctl.into_os_string(), obey::WORD.into()].into(),
            spawned,
            keep: self.keep.clone(),
            capture: self.capture.clone(),
            record: self.record.clone(),
            cleanup: self.cleanup,
        })
    }
}

/// Small enough to be typed again.
fn some_seed() -> u64 {
    Entropy::System.u64() % 1_000_000
}

/// Open files of one device: its database on three connections, its sockets, both ends of its network.
const FILES_EACH: u64 = 17;

/// Open files of everything else.
const FILES_MORE: u64 = 200;

/// Takes as many open files as the system lets this process have.
///
/// # Errors
/// Exit 2 where that is not enough for so many devices.
fn enough_files(devices: usize) -> Result<(), CliError> {
    let needed = devices as u64 * FILES_EACH + FILES_MORE;
    match open_files(needed) {
        Some(limit) if limit < needed => {
            let text = format!("{devices} devices need about {needed} open files, and this process may have {limit}");
            Err(CliError::new(Exit::Usage, "usage", text)
                .hint(format!("raise the limit, for example `ulimit -n {needed}`, or say fewer devices")))
        }
        _ => Ok(()),
    }
}

/// The limit of open files, raised as far as it can be; `None`: there is none.
#[cfg(unix)]
fn open_files(needed: u64) -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return limit.current;
    }
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

/// The limit of open files; `None`: there is none.
#[cfg(not(unix))]
fn open_files(_needed: u64) -> Option<u64> {
    None
}

/// What a fleet came to.
pub(super) struct Ended {
    pub(super) report: Report,
    pub(super) exit: Exit,
}

/// Runs a fleet with its progress on the screen. `Err(exit)` inside: a signal ended it.
pub(super) fn go(cli: &Cli, server: &Arc<dyn Server>, plan: &Plan) -> Result<Result<Ended, Exit>, CliError> {
    #[cfg(feature = "planted")]
    tell_of_bugs();
    enough_files(plan.crews.iter().map(|crew| crew.devices).sum())?;
    let screen = Screen::new(cli);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::new(Exit::Failed, "io", format!("no async runtime: {error}")))?;
    let ended = runtime.block_on(async {
        // Whoever is ended by a signal takes the server along that is its own.
        let mut signals = Signals::listen()?;
        tokio::select! {
            report = simulate::run(server.clone(), plan, &screen) => Ok(Ok(report)),
            exit = signals.next() => Ok::<_, CliError>(Err(exit)),
        }
    });
    screen.end();
    // Devices' threads may still be at work in it.
    runtime.shutdown_timeout(Duration::from_secs(2));
    match ended? {
        Ok(report) => {
            let report = report?;
            let exit = judge(&report);
            Ok(Ok(Ended { report, exit }))
        }
        Err(exit) => Ok(Err(exit)),
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

fn judge(report: &Report) -> Exit {
    let verdict = &report.verdict;
    let bad = !verdict.converged || verdict.lost > 0 || verdict.duplicated > 0 || verdict.stale + verdict.torn > 0;
    match (&verdict.inconclusive, bad, report.breached.is_empty()) {
        (_, true, _) => Exit::Diverged,
        (Some(_), false, _) => Exit::Inconclusive,
        (None, false, false) => Exit::Breached,
        (None, false, true) => Exit::Ok,
    }
}

/// A server of the fleet's own knows no devices of an earlier fleet.
///
/// # Errors
/// Exit 7 where the folder has such files.
pub(super) fn is_new(keep: Option<&Path>) -> Result<(), CliError> {
    match keep {
        Some(keep) if keep.join("device-01.db").exists() => {
            let text = format!("{} has the devices of an earlier fleet", keep.display());
            Err(CliError::new(Exit::Exists, "exists", text).hint("name another folder, or remove that one"))
        }
        _ => Ok(()),
    }
}

/// The folder that a file is in.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn unwritten(path: &Path, error: &dyn std::fmt::Display) -> CliError {
    CliError::new(Exit::Failed, "io", format!("cannot write {}: {error}", path.display()))
}

/// Writes a page under another name first, so that nobody finds half of it.
fn write_page(path: &Path, page: &str) -> Result<(), CliError> {
    // A pipe or a terminal is written as it is.
    if path.metadata().is_ok_and(|about| !about.is_file()) {
        return std::fs::write(path, page).map_err(|error| unwritten(path, &error));
    }
    let mut builder = tempfile::Builder::new();
    builder.prefix(".omctl-report-");
    // As any file of its owner's: it is made to be shown.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder_of(path)).map_err(|error| unwritten(path, &error))?;
    file.write_all(page.as_bytes()).map_err(|error| unwritten(path, &error))?;
    file.persist(path).map(drop).map_err(|error| unwritten(path, &error.error))
}

/// The command that makes the same choices again.
pub(super) fn repeat(plan: &Plan, report: &Report, again: &str) -> String {
    match &plan.script {
        Script::Steps(_) if plan.processes > 0 => {
            format!("{again} --processes {} --seed {}", plan.processes, report.seed)
        }
        Script::Steps(_) => format!("{again} --seed {}", report.seed),
        // A tape leaves nothing to chance.
        Script::Tape(_) => again.to_owned(),
    }
}

/// Tells what a fleet came to. `again` is the command that repeats it, without the seed.
pub(super) fn tell(cli: &Cli, common: &Common, plan: &Plan, ended: &Ended, again: &str) -> Result<Exit, CliError> {
    let Ended { report, exit } = ended;
    let verdict = &report.verdict;
    for line in &verdict.story {
        cli.ui.warn(line);
    }
    if let Some(reason) = &verdict.inconclusive {
        cli.ui.warn(format!("nothing was proved: {reason}"));
    }
    for breach in &report.breached {
        cli.ui.warn(format!("expectation breached: {breach}"));
    }
    if let (Script::Tape(_), 1..) = (&plan.script, report.unmet) {
        let text = "it plays best on a copy of the data that it was recorded on";
        cli.ui.warn(format!("{} writes of the tape met no record here: {text}", report.unmet));
    }
    if let Some(left) = told_of_left(plan, report) {
        cli.ui.note(left);
    }
    if *exit == Exit::Diverged {
        cli.ui.next(match &common.record {
            Some(tape) => {
                format!("omctl device replay {}{}", tape.display(), if plan.spawned { " --spawn" } else { "" })
            }
            None => format!("{} --keep fleet-{} --record fleet.tape", repeat(plan, report, again), report.seed),
        });
    }
    if let Some(path) = &common.html {
        write_page(path, &page(plan, report, *exit, again)?)?;
        cli.ui.note(format!("the report is {}", path.display()));
    }
    cli.ui.result(sentence(report, *exit), || json_of(plan, report));
    Ok(*exit)
}

/// How many records of the fleet's stay behind, by channel.
pub(super) fn left<'r>(plan: &Plan, report: &'r Report) -> impl Iterator<Item = (&'r ChannelName, usize)> {
    // A store of the fleet's own is gone with its server.
    let goes = |channel: &ChannelName| plan.spawned && report.managed.contains(channel);
    report
        .verdict
        .left
        .iter()
        .filter(move |(channel, _)| !goes(channel))
        .map(|(channel, records)| (channel, records.len()))
}

/// What stays behind, and how to remove it; `None` where nothing does.
fn told_of_left(plan: &Plan, report: &Report) -> Option<String> {
    let named: Vec<String> = left(plan, report).map(|(channel, records)| format!("{records} of {channel}")).collect();
    if named.is_empty() {
        return None;
    }
    let how = match plan.cleanup {
        true => "they could not be removed".to_owned(),
        false => {
            format!(
                "a run with --cleanup removes its own; --json lists these, and their marks begin with `{}`",
                report.mark
            )
        }
    };
    Some(format!("records that the fleet made are still there: {}; {how}", named.join(", ")))
}

pub(super) fn sentence(report: &Report, exit: Exit) -> String {
    let verdict = &report.verdict;
    let [p50, p95, p99] = [50.0, 95.0, 99.0].map(|percent| report.visible.percentile(percent));
    let latency = match (p50, p95, p99) {
        (Some(p50), Some(p95), Some(p99)) => format!("; write to visible p50 {p50} ms, p95 {p95} ms, p99 {p99} ms"),
        _ => String::new(),
    };
    let told = |count: u64, what: &str| if count > 0 { format!(", {count} {what}") } else { String::new() };
    let (stale, torn) = (told(verdict.stale, "stale reads"), told(verdict.torn, "torn reads"));
    format!(
        "{}: {} devices, {} records, {} rows compared; {} mutations settled ({} conflicts, {} rejected, {} unknown), \
         lost {}, duplicated {}{stale}{torn}, {}{latency}; seed {}",
        match exit {
            Exit::Diverged if verdict.converged => "FAILED, though converged",
            Exit::Diverged => "DIVERGED",
            Exit::Breached => "expectation breached, though converged",
            Exit::Inconclusive => "nothing proved",
            _ => "converged",
        },
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

pub(super) fn json_of(plan: &Plan, report: &Report) -> Value {
    let verdict = &report.verdict;
    let applied = |word: &str| verdict.applied.get(word).copied().unwrap_or(0);
    let spread = |spread: &simulate::Spread| {
        json!({
            "p50": spread.percentile(50.0), "p95": spread.percentile(95.0), "p99": spread.percentile(99.0),
            "max": spread.max(), "measured": spread.count(),
        })
    };
    json!({
        "type": "result", "schema": "omctl.simulate/1", "scenario": plan.scenario,
        "converged": verdict.converged, "inconclusive": verdict.inconclusive, "devices": report.devices,
        "processes": report.processes,
        "records": verdict.records, "rows_compared": verdict.rows_compared, "mutations": verdict.mutations,
        "applied": { "create": applied("create"), "update": applied("update"), "delete": applied("delete") },
        "conflicts": verdict.conflicts, "rejected": verdict.rejected, "rejected_by": verdict.rejected_by,
        "atomic": { "applied": verdict.atomic_applied, "rejected": verdict.atomic_rejected },
        "lost": verdict.lost, "duplicated": verdict.duplicated, "stale": verdict.stale, "torn": verdict.torn, "unknown": verdict.unknown,
        "delivery": report.delivery, "latency_ms": spread(&report.visible), "saved_ms": spread(&report.saved),
        "cuts": report.cuts, "lost_requests": report.lost_requests, "lost_replies": report.lost_replies,
        "kills": report.kills, "dropped": report.drops, "server_kills": report.restarts, "set_back": report.set_back,
        "upgrades": report.upgrades,
        "foreign": { "written": report.foreign, "refused": report.foreign_refused },
        "refused_on_devices": report.refused_on_devices, "unmet": report.unmet,
        "breached": report.breached, "story": verdict.story, "left": verdict.left, "mark": report.mark,
        "seed": report.seed,
    })
}

/// Somebody's own database is written only when that was said.
pub(super) fn may_write<'c>(
    allowed: bool,
    mut channels: impl Iterator<Item = &'c ChannelView>,
) -> Result<(), CliError> {
    let foreign = channels.find(|channel| channel.backend != catalog::MANAGED);
    let Some(channel) = foreign.filter(|_| !allowed) else { return Ok(()) };
    let text = format!("the fleet would write to backend `{}` (table {})", channel.backend, channel.table);
    Err(CliError::new(Exit::NotAllowed, "writes_not_allowed", text)
        .hint("point the project at a copy, or add --allow-writes")
        .detail("backend", channel.backend.clone()))
}

/// The address of a group's account: under a domain that nobody can have (RFC 2606).
fn address(scenario: &Scenario, group: &Group) -> String {
    format!("{}@{}.test", group.name, scenario.name)
}

/// Whether a scenario restarts the server, which only the fleet's own may suffer.
pub(super) fn restarts(scenario: &Scenario) -> bool {
    scenario.phases.iter().any(|phase| matches!(phase, Phase::Act { restarts: 1.., .. }))
}

/// # Errors
/// Exit 2 for more devices than a process runs.
pub(super) fn check_size(scenario: &Scenario) -> Result<(), CliError> {
    let devices: usize = scenario.groups.iter().map(|group| group.devices as usize).sum();
    if devices <= DEVICES_MAX {
        return Ok(());
    }
    let text = format!("scenario `{}` has {devices} devices; one process runs at most {DEVICES_MAX}", scenario.name);
    Err(CliError::new(Exit::Usage, "usage", text).hint("say fewer `devices:`"))
}

/// Which channels of backends a scenario writes, by anybody.
fn written(scenario: &Scenario) -> Vec<ChannelName> {
    let mut written: Vec<ChannelName> = Vec::new();
    for phase in &scenario.phases {
        let Phase::Act { acts, foreign, .. } = phase else { continue };
        for (_, act) in acts {
            written.extend([&act.write, &act.create, &act.update, &act.delete].into_iter().flatten().cloned());
        }
        written.extend(foreign.iter().map(|act| act.channel.clone()));
    }
    written
}

/// The plan of a scenario, with an account for each group.
pub(super) async fn plan_of(
    scenario: &Scenario,
    seed: Option<u64>,
    common: &Common,
    (client, spawned): (&Client, bool),
    allowed: bool,
) -> Result<Plan, CliError> {
    let channels = client.channels().await?.channels;
    let written = written(scenario);
    may_write(allowed, channels.iter().filter(|channel| written.contains(&channel.name)))?;
    let mut crews = Vec::new();
    for group in &scenario.groups {
        let email = address(scenario, group);
        let claims: Map<String, Value> = (group.claims.iter())
            .map(|(name, values)| match values.as_slice() {
                [only] => (name.clone(), json!(only)),
                several => (name.clone(), json!(several)),
            })
            .collect();
        ensure_account(client, AccountNew { email: email.clone(), role: group.role.clone(), claims, password: None })
            .await?;
        let (name, devices) = (group.name.clone(), group.devices as usize);
        crews.push(Crew { name, devices, accounts: vec![email], link: group.link });
    }
    let deed = |act: &Act| Deed { act: act.clone(), offline_once: act.away.unwrap_or_default() };
    let step = |phase: &Phase| match phase {
        Phase::Heal => Step::Heal,
        Phase::Act { lasts, restarts, foreign, acts } => Step::Act {
            lasts: *lasts,
            restarts: *restarts,
            foreign: foreign.clone(),
            deeds: acts.iter().map(|(group, act)| (group.clone(), deed(act))).collect(),
        },
    };
    let plan = common.plan(Script::Steps(scenario.phases.iter().map(step).collect()), spawned)?;
    Ok(Plan {
        scenario: Some(scenario.name.clone()),
        crews,
        expect: scenario.expect.clone(),
        seed: seed.or(scenario.seed).unwrap_or(plan.seed),
        ..plan
    })
}

/// Makes an account, or makes it what it is to be.
pub(super) async fn ensure_account(client: &Client, wanted: AccountNew) -> Result<(), CliError> {
    let known = client.accounts().await?.accounts.into_iter().any(|account| account.email == wanted.email);
    if known {
        let patch = AccountPatch {
            role: Some(wanted.role),
            claims: Some(wanted.claims),
            disabled: Some(false),
            ..AccountPatch::default()
        };
        client.change_account(&wanted.email, &patch).await?;
    } else {
        client.create_account(&wanted).await?;
    }
    Ok(())
}

/// Removes the accounts that were made for a run.
pub(super) fn remove_accounts(cli: &Cli, server: &Arc<dyn Server>, plan: &Plan) {
    let removed = block_on(async {
        let client = server.connect()?;
        for email in plan.crews.iter().flat_map(|crew| &crew.accounts) {
            client.remove_account(email).await?;
        }
        Ok::<_, CliError>(())
    });
    if let Err(error) = removed {
        cli.ui.warn(format!("the scenario's accounts stay: {}", error.message));
    }
}

/// The scenario of this name.
pub(super) fn scenario(catalog: &Catalog, name: &str) -> Result<Arc<Scenario>, CliError> {
    if let Some(scenario) = catalog.scenarios.get(name) {
        return Ok(scenario.clone());
    }
    let known = || catalog.scenarios.keys().map(String::as_str);
    let hint = catalog::near_hint(name, known()).unwrap_or_else(|| match catalog.scenarios.is_empty() {
        true => format!("write it: omctl new scenario {name}"),
        false => format!("there is {}", known().collect::<Vec<_>>().join(", ")),
    });
    Err(CliError::new(Exit::NotFound, "not_found", format!("no scenario `{name}`")).hint(hint))
}

impl From<SimulateError> for CliError {
    fn from(error: SimulateError) -> Self {
        match error {
            SimulateError::Client(error) => error.into(),
            SimulateError::Device { device, .. } => {
                Self::new(Exit::Failed, "device_failed", error.to_string()).detail("device", device.to_string())
            }
            SimulateError::Io { .. } => Self::new(Exit::Failed, "io", error.to_string()),
            SimulateError::Tape { .. } => Self::new(Exit::Usage, "bad_tape", error.to_string())
                .hint("`omctl device simulate --record FILE` writes one"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_written_whole_or_its_path_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet.html");
        for text in ["once", "again"] {
            write_page(&path, text).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
        for bad in [folder.path().join("gone/fleet.html"), folder.path().to_owned()] {
            let error = write_page(&bad, "text").unwrap_err();
            assert!((error.exit, error.code) == (Exit::Failed, "io") && error.message.contains(bad.to_str().unwrap()));
        }
        assert_eq!(folder_of(Path::new("fleet.html")), Path::new("."));
    }
}
