//! Records what real processes do to their files: `omctl` under strace, with real devices that write.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::{Side, strace};

/// How long a program may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a recording is of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Recording {
    pub(super) side: Side,
    /// What strace wrote, one file after the other in time.
    pub(super) traces: Vec<PathBuf>,
    /// The files whose fate is looked at were under this folder,
    pub(super) root: PathBuf,
    /// and this is a copy of it as it was, and was on the disk, before.
    pub(super) start: PathBuf,
    /// When it ended, by the system's clock.
    pub(super) ended_ms: i64,
}

impl Recording {
    pub(super) fn load(folder: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(folder.join("recording.json")).map_err(|e| format!("no recording: {e}"))?;
        serde_json::from_str(&text).map_err(|error| format!("recording.json: {error}"))
    }
}

/// The programs and how much they shall do.
pub(super) struct Recorder<'a> {
    pub(super) omctl: &'a Path,
    pub(super) folder: &'a Path,
    pub(super) seconds: u64,
}

impl Recorder<'_> {
    pub(super) fn record(&self, side: Side) -> Result<Recording, String> {
        let project = self.folder.join("project");
        self.make_project(&project, side)?;
        let devices = self.folder.join("devices");
        fs::create_dir_all(&devices).map_err(text)?;
        let root = if side == Side::Server { &project } else { &devices };
        let start = self.folder.join("start");
        copy(root, &start)?;
        let traces = match side {
            Side::Server => self.server(&project, &devices)?,
            Side::Device => self.devices(&project, &devices)?,
        };
        let modified =
            fs::metadata(traces.last().expect("there is one")).and_then(|meta| meta.modified()).map_err(text)?;
        let ended = modified.duration_since(std::time::UNIX_EPOCH).map_err(text)?;
        let recording = Recording { side, traces, root: root.clone(), start, ended_ms: ended.as_millis() as i64 };
        let json = serde_json::to_string_pretty(&recording).map_err(text)?;
        fs::write(self.folder.join("recording.json"), json).map_err(text)?;
        Ok(recording)
    }

    /// The server in three lives: it is ended as one ends a service, then killed, and both times started again while
    /// devices write.
    fn server(&self, project: &Path, devices: &Path) -> Result<Vec<PathBuf>, String> {
        let traces: Vec<PathBuf> = (1..=3).map(|life| self.folder.join(format!("server-{life}.trace"))).collect();
        let mut server = self.serve(project, Some(&traces[0]), "127.0.0.1:0")?;
        let address = server.address.clone();
        let fleet = self.fleet(project, devices, None)?;
        let third = Duration::from_secs(self.seconds) / 3;
        sleep(third);
        server.end("TERM")?;
        server = self.serve(project, Some(&traces[1]), &address)?;
        sleep(third);
        server.end("KILL")?;
        server = self.serve(project, Some(&traces[2]), &address)?;
        wait(fleet, Duration::from_secs(self.seconds) + PATIENCE, "the fleet")?;
        server.end("TERM")?;
        Ok(traces)
    }

    fn devices(&self, project: &Path, devices: &Path) -> Result<Vec<PathBuf>, String> {
        let trace = self.folder.join("devices.trace");
        let server = self.serve(project, None, "127.0.0.1:0")?;
        let fleet = self.fleet(project, devices, Some(&trace))?;
        wait(fleet, Duration::from_secs(self.seconds) + PATIENCE, "the fleet")?;
        server.end("TERM")?;
        Ok(vec![trace])
    }

    fn make_project(&self, project: &Path, side: Side) -> Result<(), String> {
        let write = |name: &str, content: &str| -> Result<(), String> {
            let path = project.join(name);
            fs::create_dir_all(path.parent().expect("a folder is named")).map_err(text)?;
            fs::write(path, content).map_err(text)
        };
        write("openmobster.yaml", include_str!("project/openmobster.yaml"))?;
        write("channels/notes.yaml", include_str!("project/notes.yaml"))?;
        write("channels/wares.yaml", include_str!("project/wares.yaml"))?;
        // One device whose file is looked at writes as fast as three do together: its WAL is to be checkpointed, too.
        let (devices, rate, faults) = match side {
            Side::Server => ("2", "4", ""),
            Side::Device => ("1", "12", "kills: 2, upgrades: 2, "),
        };
        let scenario = include_str!("project/scenario.yaml").replace("SECONDS", &self.seconds.to_string());
        let scenario = scenario.replace("DEVICES", devices).replace("RATE", rate).replace("FAULTS", faults);
        write("scenarios/crash.yaml", &scenario)?;
        let shop = Connection::open(project.join("shop.db")).map_err(text)?;
        shop.execute_batch(include_str!("project/shop.sql")).map_err(text)?;
        shop.close().map_err(|(_, error)| text(error))?;
        let mut install = Command::new(self.omctl);
        install.args(["channel", "install", "--all", "--yes", "--json", "-C"]).arg(project);
        let done = install.output().map_err(text)?;
        if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
    }

    fn serve(&self, project: &Path, trace: Option<&Path>, address: &str) -> Result<Server, String> {
        let said = project.join(".openmobster/dev/server.json");
        let before = fs::read_to_string(&said).unwrap_or_default();
        let mut command = self.command(trace);
        command.args(["serve", "--no-watch", "--addr", address, "-C"]).arg(project);
        let process = start(&mut command, &self.folder.join("serve.log"))?;
        let mut server = Server { process, pid: 0, address: String::new() };
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let now = fs::read_to_string(&said).unwrap_or_default();
            if now != before
                && let Ok(json) = serde_json::from_str::<serde_json::Value>(&now)
            {
                server.pid = json["pid"].as_u64().unwrap_or_default();
                server.address = json["addr"].as_str().unwrap_or_default().to_owned();
                return Ok(server);
            }
            sleep(Duration::from_millis(20));
        }
        Err("the server did not start; see serve.log".into())
    }

    fn fleet(&self, project: &Path, devices: &Path, trace: Option<&Path>) -> Result<Child, String> {
        let mut command = self.command(trace);
        command.args(["device", "simulate", "crash", "--allow-writes", "--processes", "1", "--seed", "7", "--yes"]);
        command.arg("--json").arg("--keep").arg(devices).arg("-C").arg(project);
        start(&mut command, &self.folder.join("fleet.log"))
    }

    fn command(&self, trace: Option<&Path>) -> Command {
        let Some(trace) = trace else { return Command::new(self.omctl) };
        let mut command = Command::new("strace");
        // Only what is traced is stopped; strings are whole, and in hexadecimal, and each file has its path.
        command.args(["-f", "--seccomp-bpf", "-yy", "-xx", "-s", "67108864", "-e"]);
        command.arg(format!("trace={}", strace::CALLS)).arg("-o").arg(trace).arg(self.omctl);
        command
    }
}

struct Server {
    process: Child,
    pid: u64,
    address: String,
}

impl Server {
    /// Ends the server itself, which strace is not.
    fn end(self, signal: &str) -> Result<(), String> {
        let sent = Command::new("kill").arg(format!("-{signal}")).arg(self.pid.to_string()).status().map_err(text)?;
        if !sent.success() {
            return Err("the server is gone; see serve.log".into());
        }
        wait(self.process, PATIENCE, "the server")
            .map(drop)
            .or_else(|error| if signal == "KILL" { Ok(()) } else { Err(error) })
    }
}

fn start(command: &mut Command, log: &Path) -> Result<Child, String> {
    let log = File::options().create(true).append(true).open(log).map_err(text)?;
    let out = log.try_clone().map_err(text)?;
    command.stdin(Stdio::null()).stdout(out).stderr(log).spawn().map_err(|error| format!("{command:?}: {error}"))
}

fn wait(mut child: Child, patience: Duration, who: &str) -> Result<(), String> {
    let began = Instant::now();
    while began.elapsed() < patience {
        if let Some(status) = child.try_wait().map_err(text)? {
            return if status.success() { Ok(()) } else { Err(format!("{who} ended with {status}; see its log")) };
        }
        sleep(Duration::from_millis(20));
    }
    drop(child.kill());
    Err(format!("{who} did not end"))
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    fs::create_dir_all(to).map_err(text)?;
    for entry in fs::read_dir(from).map_err(text)? {
        let entry = entry.map_err(text)?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to)?;
        } else {
            fs::copy(&from, &to).map_err(text)?;
        }
    }
    Ok(())
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
