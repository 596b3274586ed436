//! `scope:` of a channel, as it is written. What it means is `rule`'s.

use omctl_protocol::{ChannelName, Field, FieldType};

use super::keys;
use super::model::{ScopeDecl, ScopeEntry, ScopeRight};
use super::near;
use super::read::Entries;
use super::yaml::{At, Key, Kind, Node, Report};

/// What may stand on the left side beside fields.
const LEFT_WORDS: [&str; 4] = ["id", "via", "account.email", "account.role"];

pub(super) fn scope(entries: &Entries<'_>, fields: Option<&[Field]>, report: &mut Report) -> ScopeDecl {
    let Some((scope_at, node)) = entries.entry("scope") else {
        report
            .warning(At::FILE, "no_scope", "the channel has no `scope`: nobody sees anything")
            .with_hint("add `scope: public`, or for example `scope: { owner: account.email }`");
        return ScopeDecl::Nobody;
    };
    let alternatives: Vec<&Node> = match &node.kind {
        Kind::Text(text) if text == "public" => return ScopeDecl::Public,
        Kind::Text(text) => {
            report
                .error(node.at, "bad_scope", format!("unknown scope `{text}`"))
                .with_hint("write `public`, a map like `{ owner: account.email }`, or a list of such maps");
            return ScopeDecl::Nobody;
        }
        Kind::Map(_) => vec![node],
        Kind::List(items) => items.iter().collect(),
        _ => return report.wrong_kind(node, "`scope`", "`public`, a map or a list of maps").unwrap_or_default(),
    };
    if alternatives.is_empty() {
        report
            .error(scope_at, "bad_scope", "`scope` is an empty list")
            .with_hint("remove it: nobody sees anything then");
    }
    ScopeDecl::AnyOf(alternatives.into_iter().filter_map(|node| all_of(node, fields, report)).collect())
}

fn all_of(node: &Node, fields: Option<&[Field]>, report: &mut Report) -> Option<Vec<ScopeEntry>> {
    let entries = report.open_map(node, "an alternative of `scope`")?;
    if entries.is_empty() {
        // An empty conjunction would be true for everybody: that must be said in a word.
        report.error(node.at, "bad_scope", "an empty map in `scope`").with_hint("everybody is written `scope: public`");
    }
    let mut all = Vec::new();
    for (key, value) in entries {
        let right = match &value.kind {
            Kind::Map(_) => membership(key, value, report),
            _ => constant(&format!("the right side of `{}`", key.text), value, report).map(ScopeRight::Text),
        };
        let Some(right) = right else { continue };
        check_left(key, fields, report);
        if let (Some(fields), "via", ScopeRight::Text(field)) = (fields, key.text.as_str(), &right) {
            check_via(field, value.at, fields, report);
        }
        all.push(ScopeEntry { left: key.text.clone(), right, at: report.place(key.at) });
    }
    Some(all)
}

fn check_left(key: &Key, fields: Option<&[Field]>, report: &mut Report) {
    let Some(fields) = fields else { return };
    let is_word = key.text.starts_with("account.") || LEFT_WORDS.contains(&key.text.as_str());
    if !is_word && !fields.iter().any(|field| field.name == key.text) {
        let known = fields.iter().map(|field| field.name.as_str()).chain(LEFT_WORDS);
        report
            .error(key.at, "unknown_field", format!("`{}` is not a field of this channel", key.text))
            .maybe_hint(near::hint(&key.text, known));
    }
}

fn check_via(name: &str, at: At, fields: &[Field], report: &mut Report) {
    if !fields.iter().any(|field| field.name == name) {
        let references = fields.iter().filter(|field| field.kind == FieldType::Ref).map(|field| field.name.as_str());
        report
            .error(at, "unknown_field", format!("`{name}` is not a field of this channel"))
            .maybe_hint(near::hint(name, references));
    }
}

/// `{ in: CHANNEL.FIELD, where: { … } }`
fn membership(key: &Key, node: &Node, report: &mut Report) -> Option<ScopeRight> {
    let entries = report.map(node, &format!("`{}`", key.text), keys::MEMBERSHIP)?;
    let hint = "for example { in: project_members.project, where: { member: account.email } }";
    let Some(of) = entries.get("in") else {
        report.missing(node.at, "the membership", "in", hint);
        return None;
    };
    let text = report.text(of, "`in`")?;
    let Some((channel, field)) = text
        .split_once('.')
        .filter(|(channel, field)| ChannelName::is_valid(channel) && !field.is_empty() && !field.contains('.'))
    else {
        report.error(of.at, "bad_scope", format!("`{text}` is not CHANNEL.FIELD")).with_hint(hint);
        return None;
    };
    let Some(filter) = entries.get("where") else {
        report.missing(node.at, "the membership", "where", hint);
        return None;
    };
    let mut all = Vec::new();
    for (key, value) in report.open_map(filter, "`where`")? {
        let right = constant(&format!("the right side of `{}`", key.text), value, report)?;
        all.push((key.text.clone(), right));
    }
    Some(ScopeRight::In { channel: channel.into(), field: field.to_owned(), filter: all })
}

/// A text, a number or a truth value, as text.
fn constant(what: &str, node: &Node, report: &mut Report) -> Option<String> {
    match &node.kind {
        Kind::Text(text) => {
            if let Some(meant) = meant_attribute(text) {
                report
                    .warning(
                        node.at,
                        "constant",
                        format!("{what} is the text `{text}` itself, and no attribute of the account"),
                    )
                    .with_hint(format!("did you mean `{meant}`?"));
            }
            Some(text.clone())
        }
        Kind::Number(text) => Some(text.clone()),
        Kind::Bool(truth) => Some(truth.to_string()),
        _ => report.wrong_kind(node, what, "account.… or a constant"),
    }
}

/// The attribute of the account that a constant looks like.
fn meant_attribute(text: &str) -> Option<String> {
    let (head, rest) = text.split_once('.')?;
    match near::nearest(head, ["account", "claims"])? {
        "account" if head == "account" => None,
        "account" => Some(format!("account.{rest}")),
        _ => Some(format!("account.claims.{rest}")),
    }
}
