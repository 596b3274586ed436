//! `omctl channel`: what is live (asked of the server), and what its backends can do (looked at here, without one).

use std::collections::BTreeMap;
use std::sync::Arc;

use omctl_protocol::ChannelName;
use omctl_protocol::admin::ChannelView;
use serde_json::{Value, json};

use super::remote::{Remote, block_on};
use super::{Cli, CliError, Exit, agree, channel_read, channel_write};
use crate::backend::{Backend, BackendError, Collection, Delivery, Probe};
use crate::catalog::{Catalog, Channel, MANAGED, near_hint};
use crate::{live, server};

/// Look at channels and their records, and prepare their backends
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    List(ListArgs),
    Show(ShowArgs),
    Read(channel_read::Args),
    Create(channel_write::CreateArgs),
    Update(channel_write::UpdateArgs),
    Delete(channel_write::DeleteArgs),
    Probe(ProbeArgs),
    Diff(DiffArgs),
    Install(InstallArgs),
    Resume(ResumeArgs),
}

/// List the channels that a server has live
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl channel list")]
struct ListArgs {
    #[command(flatten)]
    remote: Remote,
}

/// Show one live channel with its fields
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl channel show tickets")]
struct ShowArgs {
    /// The channel
    name: String,
    #[command(flatten)]
    remote: Remote,
}

/// Let deletes through that are held because they are suspiciously many
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl channel resume tickets")]
struct ResumeArgs {
    /// The channel
    name: String,
    #[command(flatten)]
    remote: Remote,
}

/// Which channels of the project are meant.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Chosen {
    /// The channel
    name: Option<String>,
    /// Every channel
    #[arg(long)]
    all: bool,
}

/// Look at a channel's table, by reading only
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl channel probe --all")]
struct ProbeArgs {
    #[command(flatten)]
    chosen: Chosen,
    /// Whose overlay of `env:` to use
    #[arg(long = "env", value_name = "NAME")]
    env_name: Option<String>,
}

/// Show what a channel's file says otherwise than its live table
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl channel diff --all")]
struct DiffArgs {
    #[command(flatten)]
    chosen: Chosen,
    /// Whose overlay of `env:` to use
    #[arg(long = "env", value_name = "NAME")]
    env_name: Option<String>,
}

/// Create what exactly-once delivery needs in a channel's database
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  omctl channel install tickets --print-sql\n  omctl channel install --all --yes")]
struct InstallArgs {
    #[command(flatten)]
    chosen: Chosen,
    /// Print the statements and run none
    #[arg(long, conflicts_with = "remove")]
    print_sql: bool,
    /// Remove it again
    #[arg(long)]
    remove: bool,
    /// Whose overlay of `env:` to use
    #[arg(long = "env", value_name = "NAME")]
    env_name: Option<String>,
}

pub(super) fn run(cli: &Cli, args: Args) -> Result<Exit, CliError> {
    match args.what {
        What::List(args) => list(cli, &args),
        What::Show(args) => show(cli, &args),
        What::Read(args) => channel_read::run(cli, &args),
        What::Create(args) => channel_write::create(cli, args),
        What::Update(args) => channel_write::update(cli, args),
        What::Delete(args) => channel_write::delete(cli, args),
        What::Probe(args) => probe(cli, &args),
        What::Diff(args) => diff(cli, &args),
        What::Install(args) => install(cli, &args),
        What::Resume(args) => resume(cli, &args),
    }
}

fn list(cli: &Cli, args: &ListArgs) -> Result<Exit, CliError> {
    let client = args.remote.connect(cli)?;
    let list = block_on(async { Ok(client.channels().await?) })?;
    let head = ["CHANNEL", "BACKEND", "TABLE", "DELIVERY", "STATE", "SCOPE"].map(str::to_owned);
    let rows = list.channels.iter().map(|channel| {
        let state = match channel {
            ChannelView { paused: Some(_), .. } => "paused",
            ChannelView { unreachable: Some(_), closed: true, .. } => "closed, unreachable",
            ChannelView { unreachable: Some(_), .. } => "unreachable",
            ChannelView { closed: true, .. } => "closed",
            _ => "live",
        };
        let state = match channel.held_deletes {
            0 => state.to_owned(),
            held => format!("{state}, {} held", deletes(held)),
        };
        let delivery = channel.delivery.clone().unwrap_or_else(|| "-".to_owned());
        let (name, backend) = (channel.name.to_string(), channel.backend.clone());
        [name, backend, channel.table.clone(), delivery, state, channel.scope.clone()]
    });
    cli.ui.result(super::columns(head, rows), || {
        json!({
            "type": "result", "schema": "omctl.channel.list/1", "generation": list.generation,
            "channels": list.channels, "errors": list.errors,
        })
    });
    if !list.errors.is_empty() {
        let files = list.errors.join(", ");
        cli.ui.warn(format!("the files have mistakes ({files}): this is generation {} all the same", list.generation));
        cli.ui.note("  see them: omctl check");
    }
    Ok(Exit::Ok)
}

fn show(cli: &Cli, args: &ShowArgs) -> Result<Exit, CliError> {
    let client = args.remote.connect(cli)?;
    let channel = block_on(async { Ok(client.channel(&args.name).await?) })?;
    cli.ui.result(page(&channel), || json!({ "type": "result", "schema": "omctl.channel.show/1", "channel": channel }));
    Ok(Exit::Ok)
}

fn page(channel: &ChannelView) -> String {
    let mut text = format!("channel    {}\nbackend    {} {}\n", channel.name, channel.backend, channel.table);
    text.push_str(&format!("delivery   {}\n", channel.delivery.as_deref().unwrap_or("not known yet")));
    if let Some(detection) = &channel.detection {
        text.push_str(&format!("detection  {detection}\n"));
    }
    if let Some(rows) = channel.rows {
        text.push_str(&format!("rows       {rows}\n"));
    }
    if let Some(reason) = &channel.paused {
        text.push_str(&format!("paused     {reason}\n"));
    }
    if let Some(reason) = &channel.unreachable {
        text.push_str(&format!("unreachable {reason}\n"));
    }
    if channel.closed {
        text.push_str("closed     its records are placed by another rule, or read from another home\n");
    }
    if channel.held_deletes > 0 {
        let (held, name) = (deletes(channel.held_deletes), &channel.name);
        text.push_str(&format!("held       {held}; let them through: omctl channel resume {name}\n"));
    }
    text.push_str(&format!("scope      {}\nversion    {}\n", channel.scope, channel.schema.version));
    let head = ["FIELD", "TYPE", "COLUMN", "CONFLICT"].map(str::to_owned);
    let rows = channel.schema.fields.iter().map(|field| {
        let kind = serde_json::to_value(field.kind).ok().and_then(|kind| kind.as_str().map(str::to_owned));
        let kind = kind.unwrap_or_default();
        let kind = field.to.as_ref().map_or(kind.clone(), |to| format!("{kind} → {to}"));
        let kind = if field.required { format!("{kind}, required") } else { kind };
        [field.name.clone(), kind, field.column().to_owned(), field.conflict.word().to_owned()]
    });
    text.push_str(&super::columns(head, rows));
    text
}

fn resume(cli: &Cli, args: &ResumeArgs) -> Result<Exit, CliError> {
    let client = args.remote.connect(cli)?;
    block_on(async {
        let channel = client.channel(&args.name).await?;
        let held = channel.held_deletes;
        if held > 0 {
            let home = format!("backend `{}` (table {})", channel.backend, channel.table);
            let what =
                format!("delete {} of channel `{}` on every device: {home} has them no more", records(held), args.name);
            agree(cli, &what, "look at the table, then say --yes")?;
        }
        let deleted = if held > 0 { client.resume_channel(&args.name, held).await?.deleted } else { 0 };
        let text = match held {
            0 => format!("no deletes of channel `{}` are held", args.name),
            _ if deleted < held => {
                format!("deleted {} of channel `{}`; the backend has the others again", records(deleted), args.name)
            }
            _ => format!("deleted {} of channel `{}`", records(deleted), args.name),
        };
        cli.ui.result(text, || {
            json!({
                "type": "result", "schema": "omctl.channel.resume/1", "channel": channel.name, "held": held,
                "deleted": deleted,
            })
        });
        Ok(Exit::Ok)
    })
}

fn deletes(number: u64) -> String {
    format!("{number} delete{}", if number == 1 { "" } else { "s" })
}

fn records(number: u64) -> String {
    format!("{number} record{}", if number == 1 { "" } else { "s" })
}

/// What is to be done in one backend.
type Work<'a> = (&'a Arc<dyn Backend>, Vec<Arc<Collection>>);

/// The chosen channels of the project, with their backends opened.
struct Local {
    catalog: Catalog,
    backends: BTreeMap<String, Arc<dyn Backend>>,
    channels: Vec<Arc<Channel>>,
}

impl Local {
    async fn open(cli: &Cli, chosen: &Chosen, env_name: Option<&str>) -> Result<Self, CliError> {
        let root = cli.root()?;
        let mut catalog = cli.load(&root, env_name)?;
        let channels = self::chosen(&catalog, chosen)?;
        // A backend that is not asked about need not answer.
        catalog.backends.retain(|name, _| channels.iter().any(|channel| channel.backend == *name));
        let backends = server::open_backends(&catalog)
            .await
            .map_err(|error| CliError::new(Exit::Failed, "backend", error.to_string()))?;
        Ok(Self { catalog, backends, channels })
    }

    fn collection(&self, channel: &Channel) -> Arc<Collection> {
        Arc::new(live::collection(&self.catalog, channel))
    }

    /// The chosen collections of each backend; `managed` channels need nothing.
    fn by_backend(&self) -> Vec<Work<'_>> {
        let found = self.backends.iter().map(|(name, backend)| {
            let of = self.channels.iter().filter(|channel| channel.backend == *name);
            (backend, of.map(|channel| self.collection(channel)).collect::<Vec<_>>())
        });
        found.filter(|(_, collections)| !collections.is_empty()).collect()
    }

    async fn probe(&self, channel: &Channel) -> Result<Option<Probe>, CliError> {
        match self.backends.get(&channel.backend) {
            Some(backend) => Ok(Some(backend.probe(&self.collection(channel)).await?)),
            None => Ok(None),
        }
    }
}

fn probe(cli: &Cli, args: &ProbeArgs) -> Result<Exit, CliError> {
    block_on(async {
        let local = Local::open(cli, &args.chosen, args.env_name.as_deref()).await?;
        report(cli, &local, "omctl.channel.probe/1", false).await
    })
}

fn diff(cli: &Cli, args: &DiffArgs) -> Result<Exit, CliError> {
    let root = cli.root()?;
    let catalog = cli.load(&root, args.env_name.as_deref())?;
    let channels = chosen(&catalog, &args.chosen)?;
    super::channel_diff::report(cli, &catalog, &channels.iter().map(|channel| &**channel).collect::<Vec<_>>())
}

/// The channels that are meant.
fn chosen(catalog: &Catalog, chosen: &Chosen) -> Result<Vec<Arc<Channel>>, CliError> {
    let Some(name) = &chosen.name else { return Ok(catalog.channels.values().cloned().collect()) };
    let found = catalog.channels.get(name.as_str()).cloned().ok_or_else(|| {
        let hint = near_hint(name, catalog.channels.keys().map(ChannelName::as_str));
        CliError::new(Exit::NotFound, "not_found", format!("the project has no channel `{name}`"))
            .hint(hint.unwrap_or_else(|| "see them: omctl check".to_owned()))
    })?;
    Ok(vec![found])
}

/// Probes and prints; a channel that lacks something is a failure.
async fn report(cli: &Cli, local: &Local, schema: &str, removed: bool) -> Result<Exit, CliError> {
    let (mut lines, mut results, mut missing, mut weak) = (Vec::new(), Vec::new(), false, false);
    for channel in &local.channels {
        let Some(probe) = local.probe(channel).await? else {
            lines.push(format!("{:<24} {MANAGED}, {}", channel.name.as_str(), Delivery::ExactlyOnce.word()));
            results.push(json!({
                "name": channel.name, "backend": MANAGED, "table": channel.table,
                "delivery": Delivery::ExactlyOnce.word(), "missing": [], "notes": [],
            }));
            continue;
        };
        let (delivery, detection) = (probe.delivery.word(), probe.detection.word());
        lines.push(format!("{:<24} {} rows, {delivery}, changes by {detection}", channel.name.as_str(), probe.rows));
        lines.extend(probe.missing.iter().map(|what| format!("  missing: {what}")));
        lines.extend(probe.notes.iter().map(|note| format!("  {note}")));
        missing |= !probe.missing.is_empty();
        weak |= probe.delivery != Delivery::ExactlyOnce;
        results.push(json!({
            "name": channel.name, "backend": channel.backend, "table": channel.table, "rows": probe.rows,
            "delivery": delivery, "detection": detection, "missing": probe.missing, "notes": probe.notes,
        }));
    }
    if missing {
        let lacking = CliError::new(Exit::Failed, "missing", "a channel lacks what it declares")
            .hint("correct the channel's file, or the table")
            .detail("channels", results);
        lines.iter().for_each(|line| cli.ui.detail(line));
        return Err(lacking);
    }
    cli.ui.result(lines.join("\n"), || json!({ "type": "result", "schema": schema, "channels": results }));
    if !removed {
        cli.ui.next(if weak { "omctl channel install --all" } else { "omctl serve" });
    }
    Ok(Exit::Ok)
}

fn install(cli: &Cli, args: &InstallArgs) -> Result<Exit, CliError> {
    block_on(async {
        let local = Local::open(cli, &args.chosen, args.env_name.as_deref()).await?;
        if args.print_sql {
            return print_sql(cli, &local);
        }
        let work = local.by_backend();
        if work.is_empty() {
            cli.ui.note("managed channels need nothing installed");
        }
        for (backend, collections) in work {
            let tables: Vec<&str> = collections.iter().map(|collection| collection.table.as_str()).collect();
            consent(cli, backend.name(), &tables, args)?;
            match args.remove {
                true => backend.remove(&collections).await?,
                false => backend.install(&collections).await?,
            }
            let (done, at) = if args.remove { ("removed", "from") } else { ("installed", "in") };
            cli.ui.note(format!("{done} what exactly-once delivery needs, {at} backend `{}`", backend.name()));
        }
        let schema = if args.remove { "omctl.channel.remove/1" } else { "omctl.channel.install/1" };
        report(cli, &local, schema, args.remove).await
    })
}

fn print_sql(cli: &Cli, local: &Local) -> Result<Exit, CliError> {
    let work = local.by_backend();
    let sql: Vec<(String, String)> =
        work.iter().map(|(backend, all)| (backend.name().to_owned(), backend.install_sql(all))).collect();
    let text: Vec<String> = sql.iter().map(|(name, sql)| format!("-- backend {name}\n{}", sql.trim_end())).collect();
    cli.ui.result(text.join("\n\n"), || {
        let sql: Value = sql.iter().map(|(name, sql)| json!({ "backend": name, "sql": sql })).collect();
        json!({ "type": "result", "schema": "omctl.channel.install.sql/1", "backends": sql })
    });
    Ok(Exit::Ok)
}

/// Somebody's database is changed only with somebody's yes.
fn consent(cli: &Cli, backend: &str, tables: &[&str], args: &InstallArgs) -> Result<(), CliError> {
    let chosen = args.chosen.name.as_deref().unwrap_or("--all");
    let (verb, undo, hint) = match args.remove {
        true => (
            "remove om_applied, om_changes and their triggers from",
            format!("omctl channel install {chosen}"),
            "without them delivery is best_effort; if that is meant, say --yes",
        ),
        false => (
            "create om_applied, om_changes and triggers in",
            format!("omctl channel install {chosen} --remove"),
            "look at it with --print-sql, then say --yes",
        ),
    };
    let noun = if tables.len() == 1 { "table" } else { "tables" };
    let what = format!("{verb} backend `{backend}` ({noun} {})", tables.join(", "));
    if cli.globals.yes {
        cli.ui.note(format!("{what}; undo: {undo}"));
        return Ok(());
    }
    agree(cli, &what, hint)
}

impl From<BackendError> for CliError {
    fn from(error: BackendError) -> Self {
        let (code, exit) = match &error {
            BackendError::Missing { .. } => ("missing", Exit::NotFound),
            BackendError::Unavailable { .. } | BackendError::Replaced { .. } => ("backend_unavailable", Exit::Failed),
            BackendError::BadResponse { .. } => ("backend_bad_response", Exit::Failed),
            BackendError::Ambiguous { .. } => ("ambiguous", Exit::Failed),
        };
        Self::new(exit, code, error.to_string())
    }
}
