//! Crash points: what real processes did to their files, and everything that a power cut in it could have left.
//!
//! `record` runs the server, or devices, under strace while devices write. `strace` reads the recording, `wire` what passed
//! over sockets in it. `disk` goes through the file operations once; after each of them it makes images: of everything
//! that was not synced nothing, all, a beginning, any part, or a part with torn sectors. `server` and `device` open each
//! image with the real code and judge it by what had been told until then.
//!
//! Unlike the rest of this package it works with files and processes and the system's time. All choices of one recording
//! come from its seed.

mod device;
mod disk;
mod record;
mod server;
mod strace;
mod wire;

use std::collections::HashSet;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use self::device::Device;
use self::disk::{Disk, Kind};
use self::record::{Recorder, Recording};
use self::server::Server;
use self::strace::{Call, Event};
use crate::rng::Rng;

/// Whose files are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The server's store and the SQLite backend beside it.
    Server,
    /// The files of devices.
    Device,
}

/// What `sim crash-points` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Whose files.
    #[arg(long, value_enum)]
    pub side: Side,
    /// The program; by default the one beside this.
    #[arg(long, value_name = "FILE")]
    pub omctl: Option<PathBuf>,
    /// A folder with a recording, or an empty one for a new recording that is kept.
    #[arg(long, value_name = "FOLDER")]
    pub recording: Option<PathBuf>,
    /// For how many seconds devices write in a new recording.
    #[arg(long, default_value_t = 15)]
    pub seconds: u64,
    /// Only every so manieth operation.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub sample: u64,
    /// What is by chance, comes from it.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Only the images behind this operation.
    #[arg(long, value_name = "N")]
    pub point: Option<u64>,
    /// Nothing but the line of JSON on stdout.
    #[arg(long)]
    pub json: bool,
    /// Behaves as if no sync of a file with this end had done anything: then images must fail.
    #[arg(long, hide = true, value_name = "END")]
    pub forget_syncs_of: Option<String>,
}

/// Failures after which there is nothing more to learn.
const FAILURES_MAX: u64 = 100;

/// Failed images that are kept.
const KEPT_MAX: u64 = 10;

/// Somebody whose disk is looked at.
trait Party {
    /// Takes notice of everything that was said up to this line of the recording; answers with how much that is.
    fn advance(&mut self, to: usize) -> Result<usize, String>;

    /// How many receipts bind it by now.
    fn told(&self) -> usize;

    /// Opens an image, which changes it, and says what is wrong.
    fn judge(&self, image: &Path) -> Result<(), String>;
}

/// What came out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Outcome {
    /// File operations in the recording, of those files.
    pub operations: u64,
    /// Of them: those behind which the power was cut.
    pub points: u64,
    /// Images that were opened and judged.
    pub images: u64,
    /// Images that would have been as one that was judged for the same promises.
    pub same: u64,
    /// Receipts that were told at the end.
    pub receipts: u64,
    /// Syncs among the operations,
    pub syncs: u64,
    /// and pages that were written from a WAL into its database.
    pub checkpointed: u64,
    /// Images that break a promise.
    pub failed: u64,
}

/// Runs it. `Err`: it could not be done.
///
/// # Errors
/// Where the recording fails or has what the model of the disk does not.
pub fn run(args: &Args) -> Result<bool, String> {
    let began = Instant::now();
    let scratch = Scratch::new()?;
    let folder = args.recording.clone().unwrap_or_else(|| scratch.0.join("recording"));
    let recording = if folder.join("recording.json").exists() {
        Recording::load(&folder)?
    } else {
        fs::create_dir_all(&folder).map_err(whole)?;
        let beside = || Ok::<_, String>(std::env::current_exe().map_err(whole)?.with_file_name("omctl"));
        let omctl = args.omctl.clone().map_or_else(beside, Ok)?;
        let folder = &folder.canonicalize().map_err(whole)?;
        say(&format!("recording {} s with {}", args.seconds, omctl.display()));
        Recorder { omctl: &omctl, folder, seconds: args.seconds }.record(args.side)?
    };
    if recording.side != args.side {
        return Err(format!("this is a recording of the {:?} side", recording.side));
    }
    let mut events = Vec::new();
    let mut line = 0;
    for trace in &recording.traces {
        let text = fs::read_to_string(trace).map_err(|error| format!("{}: {error}", trace.display()))?;
        events.extend(strace::parse(&text, line)?);
        line += text.lines().count();
    }
    let kept = Kept { folder: folder.join("failed"), args };
    let mut outcome = Outcome::default();
    match recording.side {
        Side::Server => {
            let party = Server::new(&recording, wire::lines(&events, wire::From::Server)?)?;
            let is_mine = |_: &Path| true;
            walk(args, &recording, &events, party, "server", &is_mine, (&scratch, &kept), &mut outcome)?;
        }
        Side::Device => {
            let lines = wire::lines(&events, wire::From::Device)?;
            for name in processes(&recording.root)? {
                let party = Device::new(&recording, &name, &lines, &events)?;
                if !party.has_spoken() {
                    return Err(format!("{name} was never activated"));
                }
                let prefix = format!("{name}.");
                let is_mine =
                    |path: &Path| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&prefix));
                walk(args, &recording, &events, party, &name, &is_mine, (&scratch, &kept), &mut outcome)?;
            }
        }
    }
    let mut result = serde_json::to_value(&outcome).map_err(whole)?;
    result["type"] = "result".into();
    result["schema"] = "omctl.crash-points/1".into();
    result["side"] = serde_json::to_value(recording.side).map_err(whole)?;
    result["seconds"] = (began.elapsed().as_secs_f64().round() as u64).into();
    drop(writeln!(std::io::stdout(), "{result}"));
    Ok(outcome.failed == 0 && outcome.points > 0)
}

/// The devices that were processes of their own: these write down what they are told.
fn processes(root: &Path) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root).map_err(whole)? {
        let name = entry.map_err(whole)?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".receipts").map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// Goes through the operations of one party and judges what a power cut behind each of them leaves.
#[expect(clippy::too_many_arguments, reason = "one caller, and each is another thing")]
fn walk(
    args: &Args,
    recording: &Recording,
    events: &[Event],
    mut party: impl Party,
    name: &str,
    is_mine: &dyn Fn(&Path) -> bool,
    (scratch, kept): (&Scratch, &Kept<'_>),
    outcome: &mut Outcome,
) -> Result<(), String> {
    let mut disk = Disk::load(&recording.root, &recording.start, args.forget_syncs_of.as_deref()).map_err(whole)?;
    let mut moments: Vec<(usize, bool, usize)> = Vec::new();
    for (n, event) in events.iter().enumerate() {
        let Some(path) = path_of(&event.call) else { continue };
        let is_folder = matches!(event.call, Call::Sync { .. }) && path == recording.root;
        if !disk.has(path) || !(is_folder || is_mine(path)) {
            continue;
        }
        if let Call::MapForWriting { .. } | Call::Unknown { .. } = event.call {
            return Err(format!("line {}: the model of the disk has no {:?}", event.begin + 1, event.call));
        }
        moments.push((event.begin, false, n));
        moments.extend(event.end.map(|end| (end, true, n)));
    }
    moments.sort_unstable();
    let total = moments.iter().filter(|(_, is_end, _)| *is_end).count();
    let mut numbers = vec![0; events.len()];
    let mut seen = HashSet::new();
    let (mut point, mut shown) = (0, Instant::now());
    for (at, is_end, n) in moments {
        let event = &events[n];
        if !is_end {
            numbers[n] = disk.begin(&event.call);
            continue;
        }
        disk.end(&event.call, numbers[n], (event.begin, at));
        outcome.operations += 1;
        outcome.syncs += u64::from(matches!(event.call, Call::Sync { .. }));
        let is_page = |path: &Path| path.extension().is_some_and(|end| end == "db");
        outcome.checkpointed += u64::from(matches!(&event.call, Call::Write { path, .. } if is_page(path)));
        point += 1;
        if point % args.sample != 0 || args.point.is_some_and(|only| only != point) {
            continue;
        }
        outcome.points += 1;
        let said = party.advance(at)?;
        for kind in kinds(&disk) {
            let mut hasher = DefaultHasher::new();
            (args.seed, name, point, kind).hash(&mut hasher);
            let image = disk.image(kind, &Rng::new(hasher.finish()));
            if !seen.insert((image.fingerprint, said)) {
                outcome.same += 1;
                continue;
            }
            outcome.images += 1;
            let folder = scratch.fresh()?;
            disk.write(&image, &folder).map_err(whole)?;
            if let Err(why) = party.judge(&folder) {
                outcome.failed += 1;
                let what = format!(
                    "{name}, behind operation {point} (line {}: {}), {}",
                    at + 1,
                    shown_call(&event.call),
                    kind.name()
                );
                say(&format!("{what}: {why}"));
                if outcome.failed <= KEPT_MAX {
                    kept.keep(&format!("{name}-{point}-{}", kind.name()), point, |to| disk.write(&image, to))?;
                }
                if outcome.failed >= FAILURES_MAX {
                    say("that is enough");
                    return Ok(());
                }
            }
            fs::remove_dir_all(&folder).map_err(whole)?;
        }
        if shown.elapsed() > Duration::from_secs(5) {
            shown = Instant::now();
            say(&format!(
                "{name}: {point} of {total} operations, {} images, {} failed",
                outcome.images, outcome.failed
            ));
        }
    }
    outcome.receipts += party.told() as u64;
    Ok(())
}

/// Which images can differ now.
fn kinds(disk: &Disk) -> impl Iterator<Item = Kind> {
    let (data, names) = disk.is_uncertain();
    Kind::ALL.into_iter().filter(move |kind| match kind {
        Kind::Lost => true,
        Kind::All | Kind::Prefix | Kind::Subset => data || names,
        Kind::Torn | Kind::TornSubset => data,
        Kind::Names | Kind::Data => names,
    })
}

fn path_of(call: &Call) -> Option<&Path> {
    match call {
        Call::Create { path, .. }
        | Call::Write { path, .. }
        | Call::Truncate { path, .. }
        | Call::Sync { path }
        | Call::Unlink { path }
        | Call::MakeDir { path }
        | Call::MapForWriting { path }
        | Call::Unknown { path, .. } => Some(path),
        Call::Rename { to, .. } => Some(to),
        Call::Send { .. } | Call::Receive { .. } => None,
    }
}

fn shown_call(call: &Call) -> String {
    match call {
        Call::Write { path, at, data } => format!("{} bytes at {at:?} of {}", data.len(), path.display()),
        other => format!("{other:?}"),
    }
}

/// Where failed images are kept.
struct Kept<'a> {
    folder: PathBuf,
    args: &'a Args,
}

impl Kept<'_> {
    fn keep(&self, name: &str, point: u64, write: impl Fn(&Path) -> std::io::Result<()>) -> Result<(), String> {
        let Some(recording) = &self.args.recording else {
            say("with --recording FOLDER the image is kept");
            return Ok(());
        };
        let to = self.folder.join(name);
        drop(fs::remove_dir_all(&to));
        fs::create_dir_all(&to).and_then(|()| write(&to)).map_err(whole)?;
        let side = if self.args.side == Side::Server { "server" } else { "device" };
        say(&format!(
            "  kept as {}\n  again: cargo run --profile sim -p sim -- crash-points --side {side} --recording {} --seed {} --point {point}",
            to.display(),
            recording.display(),
            self.args.seed,
        ));
        Ok(())
    }
}

/// A folder in memory where there is one: images live for milliseconds.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, String> {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = parent.join(format!("omctl-crash-points-{}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).map_err(whole)?;
        Ok(Self(folder))
    }

    /// An empty folder for one image.
    fn fresh(&self) -> Result<PathBuf, String> {
        let folder = self.0.join("image");
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).map_err(whole)?;
        Ok(folder)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// A number as it travels: int64 is a string in JSON.
fn number(value: &serde_json::Value) -> i64 {
    value.as_i64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_default()
}

/// An error with what is behind it.
fn whole(error: impl Into<Box<dyn std::error::Error>>) -> String {
    let error = error.into();
    let sources = std::iter::successors(error.source(), |source| source.source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}

fn say(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}
