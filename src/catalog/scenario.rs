//! `scenarios/NAME.yaml`: groups of devices, what happens to them in phases, and what must hold at the end.
//!
//! Read and checked against the project's channels; nothing here runs anything.

use std::collections::BTreeMap;

use omctl_protocol::ChannelName;

use super::channel::{Loaded, duration};
use super::keys;
use super::model::{Act, Bound, Expectation, ForeignAct, Group, Link, MANAGED, Phase, Roles, Scenario, WriteDecl};
use super::near;
use super::read::Entries;
use super::yaml::{At, Key, Kind, Node, Report};

/// The folder of the scenarios' files.
pub const SCENARIOS_DIR: &str = "scenarios";

/// Most devices of one group: each is a client with a file of its own.
pub(super) const DEVICES_MAX: u64 = 1_000;

/// Most writes per second of one device: beyond it the machine is measured and not the system.
const RATE_MAX: f64 = 1_000.0;

/// What no group may be called: it would be a key of a phase.
pub(super) const RESERVED: [&str; 4] = ["for", "heal", "server", "foreign"];

/// Most restarts of the server in one phase, and most faults of a group's devices.
pub(super) const RESTARTS_MAX: u64 = 100;

/// The keys of a group's writes.
pub(super) const WRITES: [&str; 4] = ["write", "create", "update", "delete"];

/// The channels that are there; `None` where one has mistakes of its own.
type Channels = BTreeMap<ChannelName, Option<Loaded>>;

/// Whether the text may name a scenario: it is a file's name.
pub fn is_scenario_name(text: &str) -> bool {
    text.len() <= 63
        && text.starts_with(|letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit())
        && text.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-_".contains(letter))
}

/// Reads a scenario. `None` where groups or phases are missing; the report has the reasons.
pub(super) fn scenario(name: &str, node: &Node, channels: &Channels, report: &mut Report) -> Option<Scenario> {
    let entries = report.map(node, "a scenario", keys::SCENARIO)?;
    let seed = entries.get("seed").and_then(|node| whole(node, "`seed`", 0, u64::MAX, report));
    let groups = groups(&entries, report);
    let phases = phases(&entries, groups.as_deref(), channels, report);
    let expect = entries.get("expect").map(|node| expectations(node, report)).unwrap_or_default();
    let file = report.file.clone();
    Some(Scenario { name: name.to_owned(), seed, groups: groups?, phases: phases?, expect, file })
}

fn groups(entries: &Entries<'_>, report: &mut Report) -> Option<Vec<Group>> {
    let Some(node) = entries.get("accounts") else {
        report.missing(entries.at, "the scenario", "accounts", "for example `accounts: { north: { devices: 10 } }`");
        return None;
    };
    let map = report.open_map(node, "`accounts`")?;
    if map.is_empty() {
        report.error(node.at, "bad_value", "`accounts` is empty").with_hint("name a group: { north: { devices: 10 } }");
    }
    let mut all = Vec::new();
    for (key, node) in map {
        if RESERVED.contains(&key.text.as_str()) {
            report
                .error(key.at, "reserved_name", format!("a group cannot be named `{}`: phases have that key", key.text))
                .with_hint("choose another name");
        } else if !ChannelName::is_valid(&key.text) {
            report
                .error(key.at, "bad_name", format!("`{}` cannot name a group", key.text))
                .with_hint("lower-case letters, digits and `_`, beginning with a letter");
        }
        all.extend(group(key, node, report));
    }
    Some(all)
}

fn group(key: &Key, node: &Node, report: &mut Report) -> Option<Group> {
    let entries = report.map(node, "a group", keys::GROUP)?;
    let devices = match entries.get("devices") {
        Some(node) => whole(node, "`devices`", 1, DEVICES_MAX, report),
        None => {
            report.missing(key.at, &format!("group `{}`", key.text), "devices", "say how many: `devices: 10`");
            None
        }
    };
    let role = entries.get("role").and_then(|node| report.text(node, "`role`")).map(str::to_owned);
    let link = entries.get("network").and_then(|node| report.word(node, "network", "unknown_network", &Link::ALL));
    let claims = entries.get("claims").map(|node| claims(node, report)).unwrap_or_default();
    let devices = u32::try_from(devices.unwrap_or(1)).unwrap_or(1);
    Some(Group { name: key.text.clone(), role, claims, devices, link: link.unwrap_or_default() })
}

fn claims(node: &Node, report: &mut Report) -> BTreeMap<String, Vec<String>> {
    let Some(map) = report.open_map(node, "`claims`") else { return BTreeMap::new() };
    let mut claims = BTreeMap::new();
    for (key, node) in map {
        let values = match &node.kind {
            Kind::List(_) => report
                .texts(node, &format!("claim `{}`", key.text))
                .map(|all| all.into_iter().map(|(_, text)| text))
                .map(Iterator::collect),
            _ => report.text(node, &format!("claim `{}`", key.text)).map(|text| vec![text.to_owned()]),
        };
        claims.insert(key.text.clone(), values.unwrap_or_default());
    }
    claims
}

fn phases(
    entries: &Entries<'_>,
    groups: Option<&[Group]>,
    channels: &Channels,
    report: &mut Report,
) -> Option<Vec<Phase>> {
    let Some(node) = entries.get("phases") else {
        let hint = "for example `phases: [{ for: 30s, north: { write: tickets } }, { heal: all }]`";
        report.missing(entries.at, "the scenario", "phases", hint);
        return None;
    };
    let items = report.list(node, "`phases`")?;
    if items.is_empty() {
        report.error(node.at, "bad_value", "`phases` is empty").with_hint("for example `- { heal: all }`");
    }
    Some(items.iter().filter_map(|item| phase(item, groups, channels, report)).collect())
}

fn phase(node: &Node, groups: Option<&[Group]>, channels: &Channels, report: &mut Report) -> Option<Phase> {
    let map = report.open_map(node, "a phase")?;
    let entry = |name: &str| map.iter().find(|(key, _)| key.text == name).map(|(_, node)| node);
    if let Some(heal) = entry("heal") {
        report.word(heal, "word for `heal`", "bad_value", &[("all", ())]);
        for (key, _) in map.iter().filter(|(key, _)| key.text != "heal") {
            report
                .error(key.at, "bad_option", format!("a phase that heals has no `{}`", key.text))
                .with_hint("write two phases: one that acts, then `- { heal: all }`");
        }
        return Some(Phase::Heal);
    }
    let lasts = match entry("for") {
        Some(node) => lasts(node, "`for`", report),
        None => {
            report.missing(node.at, "the phase", "for", "say how long it lasts: `for: 30s`; or `heal: all`");
            None
        }
    };
    let restarts = entry("server").and_then(|node| server(node, report)).unwrap_or_default();
    let foreign = entry("foreign").map(|node| foreign(node, channels, report)).unwrap_or_default();
    let mut acts = Vec::new();
    for (key, node) in map.iter().filter(|(key, _)| !RESERVED.contains(&key.text.as_str())) {
        let group = groups.and_then(|groups| groups.iter().find(|one| one.name == key.text));
        if let (Some(groups), None) = (groups, group) {
            let known = groups.iter().map(|one| one.name.as_str()).chain(RESERVED);
            report
                .error(key.at, "unknown_group", format!("there is no group `{}` under `accounts`", key.text))
                .maybe_hint(near::hint(&key.text, known));
        }
        if let Some(act) = act(node, group, channels, report) {
            acts.push((key.text.clone(), act));
        }
    }
    Some(Phase::Act { lasts: lasts.unwrap_or_default(), restarts, foreign, acts })
}

fn lasts(node: &Node, what: &str, report: &mut Report) -> Option<std::time::Duration> {
    let text = report.text(node, what)?;
    let lasts = duration(text).filter(|lasts| !lasts.is_zero());
    if lasts.is_none() {
        report
            .error(node.at, "bad_value", format!("`{text}` is not a duration"))
            .with_hint("a number with ms, s, m or h: 30s");
    }
    lasts
}

fn server(node: &Node, report: &mut Report) -> Option<u32> {
    let entries = report.map(node, "`server`", keys::FAULT)?;
    let Some(restart) = entries.get("restart") else {
        report.missing(node.at, "`server`", "restart", "write `server: { restart: once }`");
        return None;
    };
    if let Kind::Number(_) = restart.kind {
        return whole(restart, "`restart`", 1, RESTARTS_MAX, report).and_then(|times| u32::try_from(times).ok());
    }
    report.word(restart, "word for `restart`", "bad_value", &[("once", 1)])
}

/// One entry, or a list of them.
fn foreign(node: &Node, channels: &Channels, report: &mut Report) -> Vec<ForeignAct> {
    let items = match &node.kind {
        Kind::List(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    items.iter().filter_map(|item| foreign_one(item, channels, report)).collect()
}

fn foreign_one(node: &Node, channels: &Channels, report: &mut Report) -> Option<ForeignAct> {
    let entries = report.map(node, "`foreign`", keys::FOREIGN)?;
    for key in ["table", "rate"] {
        if entries.get(key).is_none() {
            report.missing(node.at, "`foreign`", key, "write `foreign: { table: TABLE, rate: 2/s }`");
        }
    }
    let rate = entries.get("rate").and_then(|node| rate(node, report));
    let node = entries.get("table")?;
    let table = report.text(node, "`table`")?;
    let loaded = || channels.iter().filter_map(|(name, loaded)| Some((name, &loaded.as_ref()?.channel)));
    let by_name = loaded().find(|(name, _)| name.as_str() == table);
    let found = by_name.or_else(|| loaded().find(|(_, channel)| channel.table.eq_ignore_ascii_case(table)));
    let Some((name, channel)) = found else {
        // A channel with mistakes of its own may be the one.
        if channels.values().all(Option::is_some) {
            let known = loaded().flat_map(|(name, channel)| [name.as_str(), channel.table.as_str()]);
            report
                .error(node.at, "unknown_table", format!("no channel has the table `{table}`"))
                .maybe_hint(near::hint(table, known));
        }
        return None;
    };
    if channel.backend == MANAGED {
        report
            .error(
                node.at,
                "no_backend",
                format!("the records of `{name}` are the server's own: nobody else writes them"),
            )
            .with_hint("name the table of a channel with a backend");
        return None;
    }
    Some(ForeignAct { channel: name.clone(), rate: rate? })
}

fn act(node: &Node, group: Option<&Group>, channels: &Channels, report: &mut Report) -> Option<Act> {
    let entries = report.map(node, "what a group does", keys::ACT)?;
    let mut named = |key: &str| {
        let named = entries.get(key).map(|node| channel_names(node, key, channels, report)).unwrap_or_default();
        for (at, name) in &named {
            warn_of_rights(key, *at, name, group, channels, report);
        }
        named.into_iter().map(|(_, name)| name).collect::<Vec<ChannelName>>()
    };
    let [write, create, update, delete] = WRITES.map(&mut named);
    let writes = WRITES.iter().any(|key| entries.get(key).is_some());
    for key in ["rate", "hot_keys", "transactions"] {
        if let Some((at, _)) = entries.entry(key).filter(|_| !writes) {
            report
                .error(at, "bad_option", format!("`{key}` is for a group that writes"))
                .with_hint("add for example `write: CHANNEL`");
        }
    }
    let rate = entries.get("rate").and_then(|node| rate(node, report));
    let hot_keys = entries.get("hot_keys").and_then(|node| whole(node, "`hot_keys`", 1, 1_000_000, report));
    let (offline, away) = entries.get("offline").map(|node| offline(node, report)).unwrap_or_default();
    let transactions = entries.get("transactions").and_then(|node| percent(node, "`transactions`", "writes", report));
    let mut times = |key: &str| {
        let times = entries.get(key).and_then(|node| whole(node, &format!("`{key}`"), 1, RESTARTS_MAX, report));
        times.unwrap_or_default()
    };
    let [kills, restores, upgrades] = ["kills", "restores", "upgrades"].map(&mut times);
    let clock_skew = entries.get("clock_skew").and_then(|node| lasts(node, "`clock_skew`", report));
    let link = entries.get("network").and_then(|node| report.word(node, "network", "unknown_network", &Link::ALL));
    let befallen = ["offline", "network", "kills", "restores", "upgrades", "clock_skew"];
    if !writes && befallen.iter().all(|key| entries.get(key).is_none()) {
        report
            .error(node.at, "bad_value", "the group does nothing in this phase")
            .with_hint("remove it, or add `write: CHANNEL`");
    }
    Some(Act {
        write,
        create,
        update,
        delete,
        rate,
        hot_keys,
        transactions,
        offline,
        away,
        kills,
        restores,
        upgrades,
        clock_skew,
        link,
    })
}

/// One channel or a list of them; each must be there.
fn channel_names(node: &Node, key: &str, channels: &Channels, report: &mut Report) -> Vec<(At, ChannelName)> {
    let names = match &node.kind {
        Kind::List(_) => report.texts(node, &format!("`{key}`")).unwrap_or_default(),
        _ => report.text(node, &format!("`{key}`")).map(|text| (node.at, text.to_owned())).into_iter().collect(),
    };
    for (at, name) in &names {
        if !channels.contains_key(&ChannelName::from(name.as_str())) {
            report
                .error(*at, "unknown_channel", format!("there is no channel `{name}`"))
                .maybe_hint(near::hint(name, channels.keys().map(ChannelName::as_str)));
        }
    }
    names.into_iter().map(|(at, name)| (at, ChannelName::from(name.as_str()))).collect()
}

/// Writes that the channel refuses are allowed, they may be what is tested, but probably they are not meant.
fn warn_of_rights(
    key: &str,
    at: At,
    name: &ChannelName,
    group: Option<&Group>,
    channels: &Channels,
    report: &mut Report,
) {
    let (Some(group), Some(Some(loaded))) = (group, channels.get(name)) else { return };
    let WriteDecl { create, update, delete } = &loaded.channel.write;
    let may = |roles: &Roles| roles.contain(group.role.as_deref());
    let allowed = match key {
        "create" => may(create),
        "update" => may(update),
        "delete" => may(delete),
        _ => may(create) || may(update) || may(delete),
    };
    if !allowed {
        let who = group.role.as_ref().map_or_else(|| "without a role".to_owned(), |role| format!("of role `{role}`"));
        report
            .warning(at, "no_right", format!("accounts {who} may not {key} in `{name}`: everything will be rejected"))
            .with_hint(format!("see `write:` in {}", loaded.channel.file.display()));
    }
}

/// `2/s`, `30/m`, `0.5/s`: as writes per second.
fn rate(node: &Node, report: &mut Report) -> Option<f64> {
    let text = report.text(node, "`rate`")?;
    let rate = text.split_once('/').and_then(|(number, unit)| {
        let plain = number.chars().all(|c| c.is_ascii_digit() || c == '.');
        let number: f64 = number.parse().ok().filter(|_| plain)?;
        let seconds = match unit {
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            _ => return None,
        };
        Some(number / seconds)
    });
    let fits = rate.filter(|rate| *rate > 0.0 && *rate <= RATE_MAX);
    if fits.is_none() {
        report
            .error(node.at, "bad_value", format!("`{text}` is not a rate"))
            .with_hint(format!("writes of each device, at most {RATE_MAX} a second: 2/s, 30/m"));
    }
    fits
}

/// `60%` of the devices, or `8s` each.
fn offline(node: &Node, report: &mut Report) -> (Option<u8>, Option<std::time::Duration>) {
    match report.text(node, "`offline`") {
        Some(text) if text.ends_with('%') => (percent(node, "`offline`", "devices", report), None),
        Some(text) => {
            let away = duration(text).filter(|away| !away.is_zero());
            if away.is_none() {
                report
                    .error(node.at, "bad_value", format!("`{text}` is neither a part of the devices nor a time"))
                    .with_hint("60% of them for the whole phase, or each of them once for 8s");
            }
            (None, away)
        }
        None => (None, None),
    }
}

/// `60%`
fn percent(node: &Node, what: &str, of: &str, report: &mut Report) -> Option<u8> {
    let text = report.text(node, what)?;
    let percent = text.strip_suffix('%').and_then(|number| number.parse().ok()).filter(|part| (1..=100).contains(part));
    if percent.is_none() {
        report.error(node.at, "bad_value", format!("`{text}` is not a part of the {of}")).with_hint("from 1% to 100%");
    }
    percent
}

fn expectations(node: &Node, report: &mut Report) -> Vec<Expectation> {
    let Some(entries) = report.map(node, "`expect`", keys::EXPECT) else { return Vec::new() };
    let mut all = Vec::new();
    for key in keys::EXPECT {
        let Some(node) = entries.get(key.name) else { continue };
        let bound = match key.name {
            "converged" => report.truth(node, "`converged`").map(Bound::Is),
            name => bound(node, name, report),
        };
        all.extend(bound.map(|bound| Expectation { of: key.name, bound }));
    }
    all
}

/// A number, or a comparison as a text.
fn bound(node: &Node, name: &str, report: &mut Report) -> Option<Bound> {
    if let Kind::Number(_) = node.kind {
        return whole(node, &format!("`{name}`"), 0, u64::MAX, report).map(Bound::Exactly);
    }
    let text = report.text(node, &format!("`{name}`"))?;
    let digits = text.trim_start_matches(['<', '>', '=']);
    let (sign, number) = (&text[..text.len() - digits.len()], digits.trim_start().parse::<u64>());
    let bound = match (sign, number) {
        ("<", Ok(number)) => Some(Bound::Below(number)),
        ("<=", Ok(number)) => Some(Bound::AtMost(number)),
        (">", Ok(number)) => Some(Bound::Above(number)),
        (">=", Ok(number)) => Some(Bound::AtLeast(number)),
        ("=", Ok(number)) => Some(Bound::Exactly(number)),
        _ => None,
    };
    if bound.is_none() {
        report
            .error(node.at, "bad_value", format!("`{text}` is not a number or a comparison"))
            .with_hint(format!("for example `{name}: 0` or `{name}: \"< 800\"`"));
    }
    bound
}

fn whole(node: &Node, what: &str, least: u64, most: u64, report: &mut Report) -> Option<u64> {
    let Kind::Number(digits) = &node.kind else { return report.wrong_kind(node, what, "a number") };
    let number = digits.parse::<u64>().ok().filter(|number| (least..=most).contains(number));
    if number.is_none() {
        let range = if most > 1_000_000 { format!("from {least}") } else { format!("from {least} to {most}") };
        report.error(node.at, "bad_value", format!("{what} must be a whole number {range}"));
    }
    number
}
