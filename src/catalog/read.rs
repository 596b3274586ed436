//! Typed access to a YAML tree: each getter reports what does not fit, and the caller goes on with the next key.

use super::keys::Keys;
use super::model::Diagnostic;
use super::near;
use super::secret::has_literal_password;
use super::yaml::{At, Key, Kind, Node, Report};

impl Diagnostic {
    /// Adds what to do next.
    pub(super) fn with_hint(&mut self, hint: impl Into<String>) {
        self.hint = Some(hint.into()).filter(|hint| !has_literal_password(hint));
    }

    pub(super) fn maybe_hint(&mut self, hint: Option<String>) {
        self.hint = hint;
    }
}

/// The entries of a map whose keys are all known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entries<'n> {
    pub(super) at: At,
    entries: &'n [(Key, Node)],
}

impl<'n> Entries<'n> {
    /// The value of a key, with the key's own place.
    pub(super) fn entry(&self, key: &str) -> Option<(At, &'n Node)> {
        self.entries.iter().find(|(known, _)| known.text == key).map(|(known, node)| (known.at, node))
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&'n Node> {
        self.entry(key).map(|(_, node)| node)
    }
}

impl Report {
    /// A map of which only these keys are known.
    pub(super) fn map<'n>(&mut self, node: &'n Node, what: &str, known: &Keys) -> Option<Entries<'n>> {
        let entries = self.open_map(node, what)?;
        for (key, _) in entries {
            if !known.iter().any(|one| one.name == key.text) {
                self.error(key.at, "unknown_key", format!("unknown key `{}` in {what}", key.text))
                    .maybe_hint(meant_key(&key.text, known));
            }
        }
        Some(Entries { at: node.at, entries })
    }

    /// A map with keys of the developer's own.
    pub(super) fn open_map<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [(Key, Node)]> {
        match &node.kind {
            Kind::Map(entries) => Some(entries),
            _ => self.wrong_kind(node, what, "a map"),
        }
    }

    pub(super) fn list<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Node]> {
        match &node.kind {
            Kind::List(items) => Some(items),
            _ => self.wrong_kind(node, what, "a list"),
        }
    }

    /// Text; a number or truth value where text is wanted must be quoted.
    pub(super) fn text<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        match &node.kind {
            Kind::Text(text) if !text.is_empty() => Some(text),
            Kind::Text(_) => {
                self.error(node.at, "bad_value", format!("{what} is empty"));
                None
            }
            _ => self.wrong_kind(node, what, "text"),
        }
    }

    pub(super) fn truth(&mut self, node: &Node, what: &str) -> Option<bool> {
        match &node.kind {
            Kind::Bool(truth) => Some(*truth),
            _ => self.wrong_kind(node, what, "`true` or `false`"),
        }
    }

    /// A list of texts; each item that is none is reported.
    pub(super) fn texts(&mut self, node: &Node, what: &str) -> Option<Vec<(At, String)>> {
        let items = self.list(node, what)?;
        let what = format!("an item of {what}");
        Some(items.iter().filter_map(|item| Some((item.at, self.text(item, &what)?.to_owned()))).collect())
    }

    /// One of a closed list of words.
    pub(super) fn word<T: Copy>(
        &mut self,
        node: &Node,
        what: &str,
        code: &'static str,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        let text = self.text(node, what)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        self.error(node.at, code, format!("unknown {what} `{text}`"))
            .maybe_hint(near::hint(text, words.iter().map(|(word, _)| *word)));
        None
    }

    pub(super) fn missing(&mut self, at: At, what: &str, key: &str, hint: &str) {
        self.error(at, "missing_key", format!("{what} has no `{key}`")).with_hint(hint);
    }

    pub(super) fn wrong_kind<T>(&mut self, node: &Node, what: &str, expected: &str) -> Option<T> {
        let hint = match (&node.kind, expected) {
            (Kind::Null, _) => Some("give it a value, or remove the key"),
            (Kind::List(_), "a map") => Some("entries of a map are lines `key: value`, without `- `"),
            (Kind::Text(_), "a list") => Some("a list is written `[one, two]`"),
            (Kind::Text(_) | Kind::Number(_), "`true` or `false`") => Some("YAML knows only these two words"),
            (Kind::Number(_) | Kind::Bool(_), "text") => Some("quote it to make it text"),
            (Kind::Text(_), "a number") => Some("write it without quotes"),
            _ => None,
        };
        self.error(node.at, "wrong_kind", format!("{what} must be {expected}, not {}", node.word()))
            .maybe_hint(hint.map(str::to_owned));
        None
    }
}

/// What somebody meant who wrote a key that is none.
fn meant_key(key: &str, known: &Keys) -> Option<String> {
    if let Some((name, value)) = key.split_once(':')
        && known.iter().any(|one| one.name == name)
    {
        return Some(format!("a space is missing: `{name}: {value}`"));
    }
    if key == "<<" {
        return Some("there are no merge keys here: write the entries out".to_owned());
    }
    near::hint(key, known.iter().map(|one| one.name))
}
