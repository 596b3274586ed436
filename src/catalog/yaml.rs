//! YAML text as a tree in which every key and every value knows its line and column.
//!
//! Built from the parser's events and not by a `Deserialize` type: only so are all mistakes of a file reported at once,
//! each where it stands, a second key of the same name among them. Knows nothing of what the keys mean.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_yaml::granit_parser::{Event, Marker, Parser, ScalarStyle};

use super::model::{Diagnostic, Place, Severity};
use super::secret::has_literal_password;
use super::syntax::{Explained, explain};

/// Stands for a message that would repeat a password.
const REDACTED: &str = "a value that does not belong here; it contains a password and is not repeated";

/// Deepest nesting: no file of a project needs ten.
const DEPTH_MAX: usize = 32;

/// Most values of one file, those that aliases repeat counted each time: a channel of a thousand fields has ten thousand.
const NODES_MAX: usize = 50_000;

/// Largest file in bytes: people write it by hand.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where something begins; both count from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct At {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl At {
    /// The whole file.
    pub(super) const FILE: Self = Self { line: 0, column: 0 };
}

/// One value.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: At,
    pub(super) kind: Kind,
    /// Values below and including this one.
    size: usize,
}

/// What a value is. Numbers keep their digits, so that a decimal is never rounded.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// One key of a map.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) at: At,
    pub(super) text: String,
}

impl Node {
    /// How a message names it; never the value.
    pub(super) fn word(&self) -> &'static str {
        match self.kind {
            Kind::Null => "nothing",
            Kind::Bool(_) => "a truth value",
            Kind::Number(_) => "a number",
            Kind::Text(_) => "text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map",
        }
    }
}

/// The diagnostics of one file.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) file: PathBuf,
    pub(super) found: Vec<Diagnostic>,
}

impl Report {
    pub(super) fn new(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), found: Vec::new() }
    }

    pub(super) fn place(&self, at: At) -> Place {
        Place { file: self.file.clone(), line: at.line, column: at.column }
    }

    /// Notes an error; a hint follows with [`Diagnostic::with_hint`].
    pub(super) fn error(&mut self, at: At, code: &'static str, message: impl Into<String>) -> &mut Diagnostic {
        self.add(Severity::Error, at, code, message.into())
    }

    pub(super) fn warning(&mut self, at: At, code: &'static str, message: impl Into<String>) -> &mut Diagnostic {
        self.add(Severity::Warning, at, code, message.into())
    }

    fn add(&mut self, severity: Severity, at: At, code: &'static str, message: String) -> &mut Diagnostic {
        let place = self.place(at);
        // What was written is repeated in many messages; a password is not.
        let message = if has_literal_password(&message) { REDACTED.to_owned() } else { message };
        self.found.push(Diagnostic { severity, code, place, message, hint: None });
        self.found.last_mut().expect("one was pushed just now")
    }

    pub(super) fn has_errors(&self) -> bool {
        self.found.iter().any(|one| one.severity == Severity::Error)
    }
}

/// Reads a file below the root and parses it; what is wrong is in the report.
pub(super) fn read(root: &Path, report: &mut Report) -> Option<Node> {
    let path = root.join(&report.file);
    let about = std::fs::metadata(&path);
    // A pipe would be waited for.
    if let Some(what) = about.as_ref().ok().filter(|about| !about.is_file()) {
        let what = if what.is_dir() { "a folder" } else { "a device or pipe" };
        report
            .error(At::FILE, "unreadable", format!("this is {what}, not a file"))
            .with_hint("rename it, or remove it");
        return None;
    }
    if about.is_ok_and(|file| file.len() > FILE_BYTES_MAX) {
        report
            .error(At::FILE, "too_complex", format!("the file is larger than {} KiB", FILE_BYTES_MAX >> 10))
            .with_hint("split it: one channel a file");
        return None;
    }
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let reason = match error.kind() {
                std::io::ErrorKind::NotFound => "it is a link to nothing".to_owned(),
                // The kind has no stable name.
                kind if kind.to_string().contains("loop") => "it is a link that leads in a circle".to_owned(),
                kind => kind.to_string(),
            };
            report.error(At::FILE, "unreadable", format!("the file cannot be read: {reason}"));
            return None;
        }
    };
    match String::from_utf8(bytes) {
        Ok(text) => parse(&text, report),
        Err(error) => {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            report
                .error(At { line, column: 1 }, "yaml_syntax", "the file is not UTF-8 text")
                .with_hint("save it as UTF-8");
            None
        }
    }
}

/// Parses one document. `None` where nothing can be made of it; the report then says why.
pub(super) fn parse(text: &str, report: &mut Report) -> Option<Node> {
    let mut builder = Builder { report, open: Vec::new(), anchors: HashMap::new(), root: None, nodes: 0 };
    for event in Parser::new_from_str(text) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                let place = at(error.marker());
                let open = builder.open.last().map(|open| open.at);
                let Explained { message, hint } = explain(&error.info(), text, place, open);
                builder.report.error(place, "yaml_syntax", message).maybe_hint(hint);
                return None;
            }
        };
        if !builder.take(event, at(&span.start)) {
            return None;
        }
    }
    let root = builder.root;
    Some(root.unwrap_or(Node { at: At { line: 1, column: 1 }, kind: Kind::Map(Vec::new()), size: 1 }))
}

/// A tree in the making.
struct Builder<'r> {
    report: &'r mut Report,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    root: Option<Node>,
    nodes: usize,
}

/// A list or map that has begun and not ended.
struct Open {
    at: At,
    anchor: usize,
    size: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<(Key, Node)>, key: Option<Key>, seen: HashMap<String, At> },
}

impl Builder<'_> {
    /// Takes one event; false ends the parsing.
    fn take(&mut self, event: Event<'_>, at: At) -> bool {
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                self.report
                    .error(at, "yaml_syntax", "a second document begins here")
                    .with_hint("one document a file: remove the `---`");
                false
            }
            Event::Scalar(text, style, anchor, tag) => {
                if tag.is_some() {
                    return self.refuse_tag(at);
                }
                let kind = match style {
                    ScalarStyle::Plain => plain(text),
                    _ => Kind::Text(text.into_owned()),
                };
                self.finish(Node { at, kind, size: 1 }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => match tag {
                Some(_) => self.refuse_tag(at),
                None => self.begin(Open { at, anchor, size: 1, content: Content::List(Vec::new()) }),
            },
            Event::MappingStart(_, anchor, tag) => match tag {
                Some(_) => self.refuse_tag(at),
                None => {
                    let content = Content::Map { entries: Vec::new(), key: None, seen: HashMap::new() };
                    self.begin(Open { at, anchor, size: 1, content })
                }
            },
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else { return true };
                let kind = match open.content {
                    Content::List(items) => Kind::List(items),
                    Content::Map { entries, .. } => Kind::Map(entries),
                };
                self.finish(Node { at: open.at, kind, size: open.size }, open.anchor)
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                // The copy is counted before it is made, so that a bomb costs nothing.
                Some(node) if self.nodes + node.size > NODES_MAX => self.too_complex(at),
                Some(node) => {
                    let mut node = node.clone();
                    node.at = at;
                    self.nodes += node.size;
                    self.finish(node, 0)
                }
                None => {
                    self.report.error(at, "yaml_syntax", "the alias names a value that contains it");
                    false
                }
            },
            _ => true,
        }
    }

    fn begin(&mut self, open: Open) -> bool {
        if self.open.len() >= DEPTH_MAX {
            let message = format!("lists and maps are nested deeper than {DEPTH_MAX}");
            self.report.error(open.at, "too_complex", message).with_hint("no file of a project needs that depth");
            return false;
        }
        if self.expects_key() {
            self.report.error(open.at, "yaml_syntax", "a key must be text");
            return false;
        }
        self.open.push(open);
        true
    }

    fn expects_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { content: Content::Map { key: None, .. }, .. }))
    }

    fn finish(&mut self, node: Node, anchor: usize) -> bool {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return self.too_complex(node.at);
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return true;
        };
        open.size += node.size;
        match &mut open.content {
            Content::List(items) => items.push(node),
            Content::Map { entries, key, seen } => match key.take() {
                Some(known) => entries.push((known, node)),
                None => {
                    let text = match node.kind {
                        Kind::Text(text) | Kind::Number(text) => text,
                        Kind::Bool(truth) => truth.to_string(),
                        Kind::Null => "null".to_owned(),
                        Kind::List(_) | Kind::Map(_) => {
                            self.report.error(node.at, "yaml_syntax", "a key must be text");
                            return false;
                        }
                    };
                    if let Some(first) = seen.get(&text) {
                        let message = format!("`{text}` is already on line {}", first.line);
                        self.report.error(node.at, "duplicate_key", message).with_hint("keep one of the two");
                    } else {
                        seen.insert(text.clone(), node.at);
                    }
                    *key = Some(Key { at: node.at, text });
                }
            },
        }
        true
    }

    fn refuse_tag(&mut self, at: At) -> bool {
        self.report.error(at, "yaml_syntax", "tags (`!…`) are not used here").with_hint("remove the tag");
        false
    }

    fn too_complex(&mut self, at: At) -> bool {
        self.report
            .error(at, "too_complex", format!("the file has more than {NODES_MAX} values"))
            .with_hint("make it smaller; what an alias (`*name`) repeats counts each time");
        false
    }
}

fn at(marker: &Marker) -> At {
    At { line: marker.line(), column: marker.col() + 1 }
}

/// An unquoted scalar by the core schema of YAML 1.2 (<https://yaml.org/spec/1.2.2/#103-core-schema>). Infinities and
/// NaN stay text: no field can hold them.
fn plain(text: Cow<'_, str>) -> Kind {
    match &*text {
        "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
        "true" | "True" | "TRUE" => return Kind::Bool(true),
        "false" | "False" | "FALSE" => return Kind::Bool(false),
        _ => {}
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(Ok(number)) = text.strip_prefix(prefix).map(|digits| u64::from_str_radix(digits, radix)) {
            return Kind::Number(number.to_string());
        }
    }
    if is_decimal(&text) { Kind::Number(text.into_owned()) } else { Kind::Text(text.into_owned()) }
}

/// `[-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`
fn is_decimal(text: &str) -> bool {
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    digits(whole)
        && digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|exponent| !exponent.is_empty() && digits(exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Option<Node>, Vec<String>) {
        let mut report = Report::new("f.yaml");
        let node = parse(text, &mut report);
        (node, report.found.iter().map(|one| format!("{} {}", one.place, one.code)).collect())
    }

    #[test]
    fn mistakes_of_the_syntax_are_placed() {
        for (text, expected) in [
            ("a: [1, 2\nb: 3\n", "f.yaml:2:2 yaml_syntax"),
            ("a: 1\n---\nb: 2\n", "f.yaml:2:1 yaml_syntax"),
            ("a: !!str 1\n", "f.yaml:1:10 yaml_syntax"),
            ("a: 1\nb: 2\na: 3\n", "f.yaml:3:1 duplicate_key"),
            ("ä: { b: 1, ü: 2, b: 3 }\n", "f.yaml:1:18 duplicate_key"),
            ("? [a, b]\n: 1\n", "f.yaml:1:3 yaml_syntax"),
            ("a: *b\n", "f.yaml:1:4 yaml_syntax"),
        ] {
            assert_eq!(parsed(text).1, [expected], "{text}");
        }
    }

    #[test]
    fn an_alias_bomb_is_refused_at_once() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..12 {
            let aliases = vec![format!("*a{}", n - 1); 10].join(", ");
            text.push_str(&format!("a{n}: &a{n} [{aliases}]\n"));
        }
        let (node, found) = parsed(&text);
        assert!(node.is_none() && found.len() == 1 && found[0].ends_with("too_complex"), "{found:?}");
        let deep = "[".repeat(40) + &"]".repeat(40);
        assert_eq!(parsed(&deep).1, ["f.yaml:1:33 too_complex"]);
    }

    #[test]
    fn scalars_follow_the_core_schema() {
        let (node, _) = parsed("[~, yes, 1.10, -3, 0x1f, '5', 2020-01-01, 1e3, ., .nan, true]");
        let Some(Node { kind: Kind::List(items), .. }) = node else { panic!("a list was written") };
        let words: Vec<String> = items.iter().map(|item| format!("{:?}", item.kind)).collect();
        assert_eq!(
            words,
            [
                "Null",
                "Text(\"yes\")",
                "Number(\"1.10\")",
                "Number(\"-3\")",
                "Number(\"31\")",
                "Text(\"5\")",
                "Text(\"2020-01-01\")",
                "Number(\"1e3\")",
                "Text(\".\")",
                "Text(\".nan\")",
                "Bool(true)",
            ]
        );
    }
}
