//! `omctl device list|show|activate|revoke`: the devices that a server knows, and a real one on this machine.

use std::path::{Path, PathBuf};

use omctl_device::{Credentials, Mobster, MobsterError};
use omctl_protocol::DeviceId;
use omctl_protocol::admin::{DeviceQuery, DeviceView};
use omctl_protocol::inspect::{DeviceDetail, WaitingView};
use serde_json::json;

use super::remote::{Remote, block_on};
use super::{Cli, CliError, Exit, agree, columns, one_line, utc};
use crate::client::Client;

/// How many devices are named where one name fits several.
const NAMED: usize = 5;

/// List devices, the latest seen first
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl device list --account ana@example.com")]
pub(super) struct ListArgs {
    /// Of this account only
    #[arg(long, value_name = "EMAIL")]
    account: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

/// Show one device: its account, its outbox as the server knows it, what waits
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl device show 0197a1b2")]
pub(super) struct ShowArgs {
    /// Its id, or the beginning of it
    device: String,
    #[command(flatten)]
    remote: Remote,
}

/// Take a device out of service for good; a connected one is out within 5 seconds
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl device revoke 0197a1b2 --yes")]
pub(super) struct RevokeArgs {
    /// Its id, or the beginning of it
    device: String,
    #[command(flatten)]
    remote: Remote,
}

/// Make a file on this machine a device of an account, and sync it
///
/// The file is an app's own SQLite database: query it and write to it with any tool, then run this again to sync. A file
/// that is a device of the account already stays that device.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl device activate --account ana@example.com --store ana.db")]
pub(super) struct ActivateArgs {
    /// Whom the device acts for
    #[arg(long, value_name = "EMAIL")]
    account: String,
    /// The device's file
    #[arg(long, value_name = "FILE", default_value = "device.db")]
    store: PathBuf,
    /// What the device is called; else as its file
    #[arg(long)]
    name: Option<String>,
    /// Look at every row first, and fetch again what is not as the server sent it
    #[arg(long)]
    verify: bool,
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn list(cli: &Cli, args: &ListArgs) -> Result<Exit, CliError> {
    let client = args.remote.connect(cli)?;
    let query = DeviceQuery { account: args.account.clone() };
    let found = block_on(async { Ok(client.devices_of(&query).await?) })?.devices;
    cli.ui.result(table(&found), || json!({ "type": "result", "schema": "omctl.device.list/1", "devices": found }));
    if found.is_empty() {
        let account = args.account.as_deref().unwrap_or("ana@example.com");
        cli.ui.next(format!("omctl device activate --account {account}"));
    }
    Ok(Exit::Ok)
}

/// Devices for people.
pub(super) fn table(found: &[DeviceView]) -> String {
    let head = ["DEVICE", "NAME", "ACCOUNT", "PLATFORM", "STATE", "LAST SEEN"].map(str::to_owned);
    let rows = found.iter().map(|one| {
        let (name, platform) = (one_line(&one.name), one_line(&one.platform));
        [one.id.to_string(), name, one.email.clone(), platform, one.state.clone(), utc(one.seen_ms)]
    });
    columns(head, rows)
}

pub(super) fn show(cli: &Cli, args: &ShowArgs) -> Result<Exit, CliError> {
    let client = args.remote.connect(cli)?;
    let detail = block_on(async {
        let device = find(&client, &args.device).await?;
        Ok(client.device(device.id).await?)
    })?;
    cli.ui.result(page(&detail), || json!({ "type": "result", "schema": "omctl.device.show/1", "device": detail }));
    Ok(Exit::Ok)
}

fn page(detail: &DeviceDetail) -> String {
    let DeviceDetail { device, connected, outbox, waiting } = detail;
    let seen = if *connected { "connected now".to_owned() } else { utc(device.seen_ms) };
    let mut text = format!(
        "device       {}\nname         {}\naccount      {}\nplatform     {}\nstate        {}\nactivated    {}\n\
         last seen    {seen}",
        device.id,
        one_line(&device.name),
        device.email,
        one_line(&device.platform),
        device.state,
        utc(device.created_ms),
    );
    match outbox {
        None => text.push_str("\noutbox       no session yet"),
        Some(outbox) => text.push_str(&format!(
            "\nincarnation  {} ({} in all)\naccepted     {}\nsettled      {}\nacknowledged {}",
            outbox.incarnation, outbox.incarnations, outbox.accepted, outbox.settled, outbox.acked
        )),
    }
    let waits: u64 = waiting.iter().map(|one| one.mutations).sum();
    text.push_str(&format!("\nwaiting      {waits}"));
    if !waiting.is_empty() {
        text.push('\n');
        text.push_str(&waiting_table(waiting));
    }
    text
}

/// What waits, for people.
pub(super) fn waiting_table(waiting: &[WaitingView]) -> String {
    let head = ["DEVICE", "NAME", "CHANNEL", "BACKEND", "WAITING", "SINCE", "TRIES"].map(str::to_owned);
    let rows = waiting.iter().map(|one| {
        let (number, tries) = (one.mutations.to_string(), one.tries.to_string());
        let channel = one_line(one.channel.as_str());
        let cells = [one.device.to_string(), one_line(&one.device_name), channel, one.backend.clone()];
        let [device, name, channel, backend] = cells;
        [device, name, channel, backend, number, utc(one.oldest_ms), tries]
    });
    columns(head, rows)
}

pub(super) fn revoke(cli: &Cli, args: &RevokeArgs) -> Result<Exit, CliError> {
    let client = args.remote.connect(cli)?;
    block_on(async {
        let DeviceDetail { device, waiting, .. } = {
            let found = find(&client, &args.device).await?;
            client.device(found.id).await?
        };
        let waits: u64 = waiting.iter().map(|one| one.mutations).sum();
        if device.state == "active" {
            let lost = if waits == 0 { String::new() } else { format!("; {waits} of its writes are never settled") };
            let name = one_line(&device.name);
            let what = format!("revoke device {} (\"{name}\" of {}) for good{lost}", device.id, device.email);
            agree(cli, &what, "say --yes; it can only be activated anew, as another device")?;
            client.revoke_device(device.id).await?;
        }
        let text = match device.state.as_str() {
            "active" => format!("device {} of {} is revoked; it is out within 5 s", device.id, device.email),
            state => format!("device {} of {} was {state} before", device.id, device.email),
        };
        cli.ui.result(text, || {
            json!({
                "type": "result", "schema": "omctl.device.revoke/1", "device": device.id, "email": device.email,
                "was": device.state, "waiting": waits,
            })
        });
        Ok(Exit::Ok)
    })
}

/// The one device that is called so.
async fn find(client: &Client, given: &str) -> Result<DeviceView, CliError> {
    let all = client.devices().await?.devices;
    let wanted = given.trim().to_lowercase();
    let fits = |device: &&DeviceView| !wanted.is_empty() && device.id.to_string().starts_with(&wanted);
    let found: Vec<&DeviceView> = all.iter().filter(fits).collect();
    match found[..] {
        [one] => Ok(one.clone()),
        [] => Err(CliError::new(Exit::NotFound, "not_found", format!("no device `{given}`"))
            .hint("see them: omctl device list")),
        [..] => {
            let ids: Vec<String> = found.iter().take(NAMED).map(|device| device.id.to_string()).collect();
            let text = format!("`{given}` is the beginning of {} devices", found.len());
            Err(CliError::new(Exit::Usage, "ambiguous", text)
                .hint(format!("say more of it: {}", ids.join(", ")))
                .detail("devices", ids))
        }
    }
}

pub(super) fn activate(cli: &Cli, args: &ActivateArgs) -> Result<Exit, CliError> {
    let client = args.remote.connect(cli)?;
    let store = std::path::absolute(&args.store).unwrap_or_else(|_| args.store.clone());
    let stem = store.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let name = args.name.clone().unwrap_or(stem);
    only_a_device(&store)?;
    let (email, before, device, channels, rejected, audit) = block_on(async {
        let email = client.account(&args.account).await?.email;
        let app = Mobster::builder(&store).device(&name, "omctl").background(false).open()?;
        let before = app.device().await?;
        // A file that was never filled has nothing to be looked at.
        let audit = if args.verify && before.is_some() { Some(app.verify().await?) } else { None };
        let device = activated(&client, &app, &email).await?;
        let channels: Vec<String> = app.schemas().await?.iter().map(|schema| schema.channel.to_string()).collect();
        let rejected = app.stats().await?.rejected;
        app.close();
        Ok((email, before, device, channels, rejected, audit))
    })?;
    let is_new = before != Some(device);
    let verb = if is_new { "activated" } else { "synced" };
    if let Some(before) = before.filter(|_| is_new) {
        cli.ui.note(format!("the device that this file was, {before}, is active no longer; this is a new one"));
    }
    if rejected > 0 {
        let are = if rejected == 1 { "write of this device is" } else { "writes of this device are" };
        cli.ui.warn(format!("{rejected} {are} rejected; see why: omctl sync rejected"));
    }
    if let Some(audit) = audit.as_ref().filter(|audit| audit.needs_repair() || audit.foreign > 0) {
        let (wrong, foreign) = (audit.damaged + audit.missing, audit.foreign);
        cli.ui.warn(format!(
            "{wrong} records were not as the server sent them and {foreign} rows were nobody's; it is mended"
        ));
    }
    let audit = audit.map(|audit| {
        json!({ "checked": audit.checked, "skipped": audit.skipped, "damaged": audit.damaged, "missing": audit.missing,
            "foreign": audit.foreign, "miscounted": audit.miscounted })
    });
    let tables =
        if channels.is_empty() { "no tables: the account sees no channel".to_owned() } else { channels.join(", ") };
    let text = format!("{verb} device {device} of {} in {} ({tables})", email, store.display());
    cli.ui.result(text, || {
        json!({
            "type": "result", "schema": "omctl.device.activate/1", "device": device, "email": email,
            "name": name, "store": store.display().to_string(), "activated": is_new, "channels": channels,
            "rejected": rejected, "audit": audit,
        })
    });
    if let Some(table) = channels.first() {
        cli.ui.next(format!("sqlite3 {} 'select * from \"{table}\"'; run this again to sync", store.display()));
    }
    Ok(Exit::Ok)
}

/// Activates the file unless it is a device that the server still takes, and syncs it. Returns the device that it is now.
async fn activated(client: &Client, app: &Mobster, email: &str) -> Result<DeviceId, CliError> {
    let known = app.device().await?;
    if known.is_some() {
        app.use_server(client.url()).await?;
    }
    let is_new = match known {
        None => true,
        Some(device) => match client.device(device).await {
            // Another account's file is refused by the library, which knows whose it is.
            Ok(detail) => detail.device.state != "active" || detail.device.email != email,
            Err(crate::client::ClientError::Refused(problem)) if problem.status == 404 => true,
            Err(error) => return Err(error.into()),
        },
    };
    if is_new {
        let code = client.create_code(email).await?.code;
        app.activate(client.url(), Credentials::Code(code)).await?;
    }
    app.sync_now().await?;
    Ok(app.device().await?.ok_or(MobsterError::NotActivated)?)
}

/// A file that is there and was never a device's is not made one unasked: the library keeps a lock beside each of its own.
fn only_a_device(store: &Path) -> Result<(), CliError> {
    let mut lock = store.as_os_str().to_owned();
    lock.push(".lock");
    let is_empty = std::fs::metadata(store).map_or(true, |about| about.is_file() && about.len() == 0);
    if is_empty || Path::new(&lock).exists() {
        return Ok(());
    }
    let text = format!("`{}` exists and is no device's file", store.display());
    Err(CliError::new(Exit::Exists, "exists", text).hint("name another file: --store FILE"))
}

impl From<MobsterError> for CliError {
    fn from(error: MobsterError) -> Self {
        let text = error.to_string();
        match error {
            MobsterError::OtherAccount { .. } => {
                Self::new(Exit::Exists, "other_account", text).hint("name another file: --store FILE")
            }
            MobsterError::EngineElsewhere | MobsterError::Fenced => {
                Self::new(Exit::Exists, "locked", text).hint("end the program that has the file open")
            }
            MobsterError::Unreachable { .. } | MobsterError::Offline => {
                Self::new(Exit::Unreachable, "unreachable", text).hint("start it: omctl serve")
            }
            MobsterError::Refused { status, code, hint, .. } => {
                let exit = if matches!(status, 401 | 403) { Exit::NotAllowed } else { Exit::Failed };
                let mut refused = Self::new(exit, "refused", text).detail("problem", code);
                refused.hint = hint;
                refused
            }
            MobsterError::Unsettled { .. } => Self::new(Exit::Timeout, "unsettled", text)
                .hint("see what holds them up: omctl sync inspect, omctl channel list"),
            MobsterError::NeedsActivation { .. } => Self::new(Exit::NotAllowed, "needs_activation", text),
            MobsterError::BadUrl(_) => Self::new(Exit::Usage, "bad_url", text),
            MobsterError::Io(source) => Self::new(Exit::Failed, "io", format!("{text}: {source}")),
            MobsterError::Store(source) => Self::new(Exit::Failed, "device_store", format!("{text}: {source}")),
            MobsterError::NotActivated | MobsterError::Unsent { .. } | MobsterError::Closed => {
                Self::new(Exit::Failed, "device_failed", text)
            }
        }
    }
}
