//! Every key of every map that people write, said once: the parser knows its keys from here, and so do the schemas that
//! editors are given ([`super::editor`]). A key that is added here is known to both.

use serde_json::Value;

use super::editor as form;

/// One key of a map.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyDecl {
    pub(super) name: &'static str,
    /// What an editor shows for it.
    pub(super) help: &'static str,
    /// The JSON Schema of its value.
    pub(super) form: fn() -> Value,
}

/// The keys of one map, in the order in which people write them.
pub(super) type Keys = [KeyDecl];

const fn key(name: &'static str, help: &'static str, form: fn() -> Value) -> KeyDecl {
    KeyDecl { name, help, form }
}

/// `openmobster.yaml`
pub(super) static PROJECT: &Keys = &[
    key("version", "Version of this file's form: 1", form::version),
    key("name", "The project's name; without it, the folder's", form::text),
    key("server", "Where the server listens and keeps its data", form::server),
    key("backends", "The databases that channels live in, by names of your own", form::backends),
    key("devices", "What holds for every device", form::all_devices),
    key("env", "What differs in an environment: `omctl serve --env NAME`", form::overlays),
];

/// `server:`
pub(super) static SERVER: &Keys = &[
    key("addr", "Address and port, for example 127.0.0.1:7400", form::address),
    key("data_dir", "Folder of the server's own data, relative to the project", form::text),
    key("hosts", "Names beside the loopback ones that the server answers to: its public ones", form::texts),
    key("trusted_proxies", "Addresses or networks whose X-Forwarded-For is believed", form::texts),
];

/// `devices:`
pub(super) static DEVICES: &Keys = &[key(
    "lease",
    "After so long without a word from the server a device locks itself until the next one: 30d",
    form::duration,
)];

/// One environment of `env:`
pub(super) static OVERLAY: &Keys = &[key("server", "What replaces the entries of `server:` there", form::server)];

/// One entry of `backends:`
pub(super) static SQLITE: &Keys = &[
    key("kind", "What kind of system it is", form::backend_kind),
    key("path", "The database file, relative to the project; may hold ${env:NAME}", form::text),
];

/// `channels/NAME.yaml`
pub(super) static CHANNEL: &Keys = &[
    key("backend", "Where the records live: `managed` (OpenMobster's own store), or a name of `backends:`", form::text),
    key("table", "The backend's table", form::text),
    key("where", "Column and value that every synced row has; set on every insert", form::constants),
    key("key", "The table's key, and who makes it for a new record", form::channel_key),
    key(
        "scope",
        "Who sees a record: `public`, or rules such as { owner: account.email }; without it, nobody",
        form::scope,
    ),
    key("write", "Who may create, update and delete: roles, or `any`; what is not named is refused", form::write),
    key("atomic", "Whether apps may write it in transactions that are applied whole or not at all", form::truth),
    key("fields", "The columns of the table on devices", form::fields),
    key("delete_vs_update", "Who wins where one side deleted what the other changed", form::delete_vs_update),
    key("detect", "How edits behind OpenMobster's back are found", form::detect),
];

/// `key:`
pub(super) static KEY: &Keys = &[
    key("columns", "The key's columns in the table", form::columns),
    key(
        "assigned_by",
        "Who makes a new record's key: backend (it counts), device (a UUID), app (natural and composite keys)",
        form::assigned_by,
    ),
];

/// `write:`
pub(super) static WRITE: &Keys = &[
    key("create", "Roles that may create, or `any`", form::roles),
    key("update", "Roles that may update, or `any`", form::roles),
    key("delete", "Roles that may delete, or `any`", form::roles),
];

/// `detect:`
pub(super) static DETECT: &Keys = &[
    key("by", "By which means: `auto`, the best one that the backend has", form::detect_by),
    key("every", "How often the table is compared where triggers do not tell, for example 20s", form::duration),
];

/// The right side of a scope by membership.
pub(super) static MEMBERSHIP: &Keys = &[
    key("in", "CHANNEL.FIELD of the membership rows", form::channel_field),
    key("where", "Which rows are the account's, for example { member: account.email }", form::scope_constants),
];

/// One entry of `fields:`
pub(super) static FIELD: &Keys = &[
    key("type", "What it holds", form::field_type),
    key("column", "The table's column, where it has another name", form::text),
    key("required", "Whether a record must have a value; the server judges it", form::truth),
    key("max_length", "Longest text in characters; the server judges it", form::whole_from_1),
    key("values", "The words that an enum may have", form::words),
    key("default", "What a new record has without being told", form::anything),
    key("to", "The channel that a ref points to", form::channel_name),
    key("conflict", "What happens where both sides changed it", form::policy),
    key("read_only", "Whether devices may not write it", form::truth),
];

/// One record of a seed file.
pub(super) static SEED: &Keys = &[
    key("id", "The record's id: any text that no other record of the channel has; a ref names it", form::record_id),
    key("fields", "Its values", form::map),
];

/// `scenarios/NAME.yaml`
pub(super) static SCENARIO: &Keys = &[
    key("seed", "Repeats the same choices", form::whole_from_0),
    key("accounts", "Groups of like devices, by names of your own", form::groups),
    key("phases", "What happens, one after the other", form::phases),
    key("expect", "What must hold at the end", form::expectations),
];

/// One entry of `accounts:` of a scenario.
pub(super) static GROUP: &Keys = &[
    key("role", "The accounts' role", form::text),
    key("claims", "The accounts' claims: a text, or a list of texts each", form::claims),
    key("devices", "How many devices; all of one account, which the group names", form::devices),
    key("network", "What their connections are like", form::network),
];

/// One phase of a scenario; beside these keys stand the names of groups.
pub(super) static PHASE: &Keys = &[
    key("for", "How long it lasts, for example 30s", form::duration),
    key("heal", "`all`: everything is put right, and the fleet waits until nothing is left to do", form::heal),
    key("server", "What happens to the server", form::server_fault),
    key("foreign", "Who else writes to the backends, past the server", form::foreign),
];

/// `server:` of a phase.
pub(super) static FAULT: &Keys =
    &[key("restart", "How many times it is killed and started again; `once` is 1", form::restart)];

/// One entry of `foreign:` of a phase.
pub(super) static FOREIGN: &Keys = &[
    key("table", "The table, or the channel that it is", form::text),
    key("rate", "Writes, for example 2/s or 30/m", form::rate),
];

/// What a group does in a phase.
pub(super) static ACT: &Keys = &[
    key("write", "Creates, updates and deletes records of these channels", form::channels),
    key("create", "Creates records of these channels", form::channels),
    key("update", "Updates records of these channels", form::channels),
    key("delete", "Deletes records of these channels", form::channels),
    key("rate", "Writes of each device, for example 2/s or 30/m", form::rate),
    key("hot_keys", "All write to this many records, so that they meet", form::whole_from_1),
    key("transactions", "How many of the writes change several records at once, for example 20%", form::percent),
    key(
        "offline",
        "How many of the devices are offline, for example 60%; or for how long each is once: 8s",
        form::offline,
    ),
    key("kills", "How many times one of the devices is killed and started again", form::times),
    key("restores", "How many times one of the devices is set back to a backup of its own", form::times),
    key("upgrades", "How many times one of the devices has its app closed and opened again", form::times),
    key("clock_skew", "By how much the devices' clocks are wrong, at most: 2h", form::duration),
    key("network", "What their connections are like in this phase", form::network),
];

/// `expect:`
pub(super) static EXPECT: &Keys = &[
    key("stale", "Reads that went back, or did not show what the device itself had written", form::bound),
    key("converged", "Whether all devices end as the backend is", form::truth),
    key("lost", "Writes that were accepted and are gone", form::bound),
    key("duplicated", "Writes that took effect more than once", form::bound),
    key("torn", "Reads that showed a part of an atomic transaction", form::bound),
    key("unknown", "Writes of which nobody can tell", form::bound),
    key("conflicts", "Writes that met another one", form::bound),
    key("rejected", "Writes that were refused", form::bound),
    key("latency_ms.p50", "Half of the writes were seen by the others within these milliseconds", form::bound),
    key("latency_ms.p95", "19 of 20 writes were seen by the others within these milliseconds", form::bound),
    key("latency_ms.p99", "99 of 100 writes were seen by the others within these milliseconds", form::bound),
];

/// All maps, for tests.
#[cfg(test)]
pub(super) static ALL: [&Keys; 19] = [
    PROJECT, SERVER, DEVICES, OVERLAY, SQLITE, CHANNEL, KEY, WRITE, DETECT, MEMBERSHIP, FIELD, SEED, SCENARIO, GROUP,
    PHASE, FAULT, FOREIGN, ACT, EXPECT,
];
