//! `omctl db seed`: the project's seed files, put into the running server's store again.

use omctl_protocol::admin::{SeedChannel, SeedReply, SeedRequest};
use serde_json::json;

use super::db::absolute;
use super::remote::{Remote, block_on};
use super::{Cli, CliError, Exit, agree, columns};
use crate::catalog::{Catalog, SEED_DIR};
use crate::clock::Clock;
use crate::server::snapshots;

/// Put the project's seed files into the running server's store again
///
/// Records that are missing or deleted come back; those that look otherwise by now are kept. With --force these are
/// overwritten too, after a snapshot. Records that the files do not name stay. Devices see it as any other change.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl db seed")]
pub(super) struct SeedArgs {
    /// Overwrite records that look otherwise
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn run(cli: &Cli, args: &SeedArgs) -> Result<Exit, CliError> {
    let catalog = cli.load(&cli.root()?, args.remote.env_name())?;
    let channels = read(&catalog);
    if channels.is_empty() {
        return Err(CliError::new(Exit::NotFound, "not_found", format!("the project has no files in {SEED_DIR}/"))
            .hint(format!("for example {SEED_DIR}/01-customers.yaml: a list of `{{ id, fields }}`")));
    }
    let client = args.remote.connect(cli)?;
    let mut request = SeedRequest { channels, force: args.force, dry_run: args.force };
    let mut undo = None;
    if args.force {
        let would = block_on(async { Ok(client.seed(&request).await?) })?;
        let changed: u64 = would.channels.iter().map(|one| one.changed).sum();
        if changed > 0 {
            let names: Vec<String> =
                would.channels.iter().filter(|one| one.changed > 0).map(|one| one.channel.to_string()).collect();
            let records = if changed == 1 { "1 record".to_owned() } else { format!("{changed} records") };
            agree(cli, &format!("overwrite {records} of {}", names.join(", ")), "say --yes, or leave --force away")?;
            undo = save(cli, args, &catalog)?;
        }
        request.dry_run = false;
    }
    let reply = block_on(async { Ok(client.seed(&request).await?) })?;
    cli.ui.result(table(&reply), || {
        json!({
            "type": "result", "schema": "omctl.db.seed/1", "force": args.force, "channels": reply.channels,
            "undo": undo,
        })
    });
    if let (Some(undo), false) = (&undo, cli.ui.is_json()) {
        cli.ui.note(format!("undo, with the server stopped: {undo}"));
    }
    if reply.channels.iter().any(|one| one.kept > 0) {
        cli.ui.next("overwrite what was kept: omctl db seed --force");
    }
    Ok(Exit::Ok)
}

/// Takes a snapshot, where the store is on this machine, and returns the command that brings it back.
fn save(cli: &Cli, args: &SeedArgs, catalog: &Catalog) -> Result<Option<String>, CliError> {
    let Some(data_dir) = args.remote.local_dir(cli)? else {
        cli.ui.warn("the server is elsewhere: no snapshot was taken");
        return Ok(None);
    };
    let path = absolute(snapshots::take(&data_dir, &catalog.name, None, Clock::System.now_ms())?);
    Ok(Some(super::db::restoring(cli, &path, args.remote.flags())))
}

/// The seed files as the server takes them.
fn read(catalog: &Catalog) -> Vec<SeedChannel> {
    let files = catalog.seed.iter().filter_map(|file| {
        let fields = &catalog.channels.get(&file.channel)?.schema.fields;
        let records = file.records.iter().map(|record| {
            let named = fields.iter().zip(&record.values);
            (record.id.clone(), named.map(|(field, value)| (field.name.clone(), value.to_json())).collect())
        });
        Some(SeedChannel { channel: file.channel.clone(), records: records.collect() })
    });
    files.collect()
}

fn table(reply: &SeedReply) -> String {
    let head = ["CHANNEL", "ADDED", "CHANGED", "KEPT", "UNCHANGED"].map(str::to_owned);
    let rows = reply.channels.iter().map(|one| {
        let [added, changed, kept, unchanged] =
            [one.added, one.changed, one.kept, one.unchanged].map(|number| number.to_string());
        [one.channel.to_string(), added, changed, kept, unchanged]
    });
    columns(head, rows)
}
