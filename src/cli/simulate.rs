//! `omctl device simulate`: a fleet by flags or by a scenario's file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use omctl_protocol::admin::AccountNew;

use super::fleet::{self, Common, DEVICES_MAX, may_write};
use super::new::shell_word;
use super::remote::{Remote, block_on};
use super::spawn::{Over, Spawned};
use super::{Cli, CliError, Exit};
use crate::catalog::{Act, Link, near};
use crate::client::{Client, ClientError};
use crate::simulate::{Crew, Deed, Plan, Script, Server, Step};

/// The one crew of a fleet that is described by flags.
const FLEET: &str = "fleet";

/// Run a fleet of real device clients against the running server and prove that they converge
///
/// Every device is the client library with a SQLite file of its own. The fleet writes to the project's channels; the
/// verdict compares every device with the backend itself. Exit 20: devices diverged or lost data. Exit 21: an expectation
/// of the scenario does not hold. Exit 22: nothing was proved.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  omctl device simulate --devices 5 --duration 20s --offline 8s --network lossy\n  omctl device simulate rush-hour --spawn --processes 4\n  omctl device simulate --devices 20 --cleanup"
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
    #[command(flatten)]
    common: Common,
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
pub(super) struct Theirs {
    cli: Cli,
    remote: Remote,
}

impl Theirs {
    /// Finds it.
    pub(super) fn find(cli: &Cli, remote: &Remote) -> Result<Self, CliError> {
        remote.connect(cli)?;
        Ok(Self { cli: cli.clone(), remote: remote.clone() })
    }
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
    args.common.check()?;
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
        (Some(name), Some(catalog)) => Some(fleet::scenario(catalog, name)?),
        _ => None,
    };
    if let Some(scenario) = &scenario {
        fleet::check_size(scenario)?;
        if fleet::restarts(scenario) && !args.spawn {
            let name = &scenario.name;
            let text = format!("scenario `{name}` restarts the server, and the one that runs is not the fleet's own");
            return Err(CliError::new(Exit::Usage, "usage", text).hint(format!(
                "let the fleet start one, on a store of its own: omctl device simulate {name} --spawn"
            )));
        }
    }
    if args.spawn {
        fleet::is_new(args.common.keep.as_deref())?;
    }
    let server: Arc<dyn Server> = match args.spawn {
        true => Arc::new(Spawned::start(&cli.root()?, env_name, Over::default())?),
        false => Arc::new(Theirs::find(cli, &args.remote)?),
    };
    let client = server.connect()?;
    let plan = block_on(async {
        match &scenario {
            Some(scenario) => {
                let allowed = args.common.allow_writes;
                fleet::plan_of(scenario, args.seed, &args.common, (&client, args.spawn), allowed).await
            }
            None => plan(args, &client).await,
        }
    })?;
    let ended = fleet::go(cli, &server, &plan);
    // They were made for this run. A server of the fleet's own takes them along.
    if scenario.is_some() && args.common.keep.is_none() && !args.spawn {
        fleet::remove_accounts(cli, &server, &plan);
    }
    let ended = match ended? {
        Ok(ended) => ended,
        Err(exit) => return Ok(exit),
    };
    let what = match &args.scenario {
        Some(name) => name.clone(),
        None => flags(args),
    };
    let spawn = if args.spawn { " --spawn" } else { "" };
    let allow = if args.common.allow_writes { " --allow-writes" } else { "" };
    fleet::tell(cli, &args.common, &plan, &ended, &format!("omctl device simulate {what}{spawn}{allow}"))
}

/// The flags that say what happens, where they are not the usual ones.
fn flags(args: &Args) -> String {
    let time = |time: Duration| match time.subsec_millis() {
        0 => format!("{}s", time.as_secs()),
        _ => format!("{}ms", time.as_millis()),
    };
    let mut flags = format!("--devices {} --duration {}", args.devices, time(args.duration));
    if !args.offline.is_zero() {
        flags.push_str(&format!(" --offline {}", time(args.offline)));
    }
    if let Some((word, _)) = Link::ALL.into_iter().find(|(_, link)| *link == args.network && *link != Link::Wifi) {
        flags.push_str(&format!(" --network {word}"));
    }
    flags.push_str(&format!(" --rate {}", args.rate));
    for email in &args.accounts {
        flags.push_str(&format!(" --account {}", shell_word(email)));
    }
    flags
}

async fn plan(args: &Args, client: &Client) -> Result<Plan, CliError> {
    if args.spawn {
        // A fresh store has no accounts.
        let wanted =
            if args.accounts.is_empty() { vec!["fleet@simulate.test".to_owned()] } else { args.accounts.clone() };
        for email in wanted {
            fleet::ensure_account(client, AccountNew { email, ..AccountNew::default() }).await?;
        }
    }
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
    may_write(args.common.allow_writes, channels.iter())?;
    let write = channels.into_iter().map(|channel| channel.name).collect();
    let act = Act { write, rate: Some(args.rate), ..Act::default() };
    let deed = Deed { act, offline_once: args.offline };
    let steps = vec![Step::Act {
        lasts: args.duration,
        deeds: vec![(FLEET.to_owned(), deed)],
        restarts: 0,
        foreign: Vec::new(),
    }];
    let plan = args.common.plan(Script::Steps(steps), args.spawn)?;
    Ok(Plan {
        crews: vec![Crew { name: FLEET.to_owned(), devices: args.devices, accounts, link: args.network }],
        seed: args.seed.unwrap_or(plan.seed),
        ..plan
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
