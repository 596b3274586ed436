//! A channel's file: whatever is written there, it is a channel or its mistakes have a place in the text.

use std::sync::LazyLock;

use omctl::catalog::{BackendDecl, Catalog, Diagnostic, Severity, judge_channel, read_channel};

/// A project that the channel joins.
pub(crate) static PROJECT: LazyLock<Catalog> = LazyLock::new(|| {
    let mut catalog = Catalog { name: "fuzz".into(), ..Catalog::default() };
    catalog.backends.insert("shop".into(), BackendDecl::Sqlite { path: "shop.db".into() });
    for (name, text) in [
        ("areas", "scope: [{ boss: account.email }, { account.role: office }]\nfields:\n  boss: { type: text }\n"),
        (
            "customers",
            "scope: { rep: account.email }\nfields:\n  rep: { type: text }\n  area: { type: ref, to: areas }\n",
        ),
        ("staff", "scope: public\nfields:\n  who: { type: text }\n  customer: { type: ref, to: customers }\n"),
    ] {
        let (channel, found) = read_channel(&catalog, &name.into(), text);
        let channel = channel.unwrap_or_else(|| panic!("{name} is a channel: {found:?}"));
        catalog.channels.insert(name.into(), channel.into());
    }
    catalog
});

/// The text of `channels/fuzzed.yaml`.
pub fn channel_yaml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let name = "fuzzed".into();
    let found = judge_channel(&PROJECT, &name, text);
    found.iter().for_each(|one| has_a_place(one, text));
    let (channel, again) = read_channel(&PROJECT, &name, text);
    assert_eq!(again, found, "who reads twice finds the same");
    let is_refused = found.iter().any(|one| one.severity == Severity::Error);
    assert!(channel.is_some() || is_refused, "what is no channel has a mistake");
    let Some(channel) = channel.filter(|_| !is_refused) else { return };
    // Devices make a table of it.
    let mut names: Vec<String> = channel.schema.fields.iter().map(|field| field.name.to_lowercase()).collect();
    names.sort();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    for field in &channel.schema.fields {
        if let Some(default) = &field.default {
            field.kind.from_json(default).expect("a default is a value of its field");
        }
    }
    let json = serde_json::to_string(&channel.schema).expect("a schema has a JSON form");
    assert_eq!(serde_json::from_str::<omctl_protocol::ChannelSchema>(&json).expect("and reads back"), channel.schema);
}

pub(crate) fn has_a_place(one: &Diagnostic, text: &str) {
    let place = &one.place;
    assert!(!one.message.is_empty(), "{one:?}");
    if (place.line, place.column) == (0, 0) {
        return;
    }
    // A carriage return alone breaks a line, too (<https://yaml.org/spec/1.2.2/#54-line-break-characters>).
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let lines = text.split('\n').count();
    assert!((1..=lines).contains(&place.line), "{one:?} of {lines} lines");
    let line = text.split('\n').nth(place.line - 1).unwrap_or_default();
    assert!((1..=line.chars().count() + 1).contains(&place.column), "{one:?}: {line:?}");
}
