//! Edits of the project file that keep its comments: text goes in at the place that the tree names.

use std::net::SocketAddrV4;

use super::yaml::{self, At, Kind, Node, Report};

/// The project file's text with one more sqlite backend; `None` where the text has no form that can be edited so.
pub fn with_sqlite_backend(text: &str, name: &str, path: &str) -> Option<String> {
    let mut report = Report::new("");
    let root = yaml::parse(text, &mut report).filter(|_| !report.has_errors())?;
    let Kind::Map(entries) = &root.kind else { return None };
    let declaration = format!("{}: {{ kind: sqlite, path: {} }}", scalar(name), scalar(path));
    let edited = match entries.iter().find(|(key, _)| key.text == "backends") {
        None => {
            let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
            format!("{text}{gap}backends:\n  {declaration}\n")
        }
        Some((key, Node { kind: Kind::Null, .. })) => insert_line(text, key.at.line + 1, &format!("  {declaration}"))?,
        Some((key, Node { kind: Kind::Map(known), at, .. })) => {
            let offset = offset(text, *at)?;
            match (text[offset..].starts_with('{'), known.first()) {
                (true, None) => {
                    format!("{}{{ {declaration} {}", &text[..offset], text[offset + 1..].trim_start_matches(' '))
                }
                (true, Some(_)) => format!("{}{{ {declaration}, {}", &text[..offset], text[offset + 1..].trim_start()),
                (false, Some((first, _))) => {
                    let indent = " ".repeat(first.at.column - 1);
                    insert_line(text, key.at.line + 1, &format!("{indent}{declaration}"))?
                }
                (false, None) => return None,
            }
        }
        Some(_) => return None,
    };
    // The proof that the text still is what it was, and one entry more.
    yaml::parse(&edited, &mut report).filter(|_| !report.has_errors()).map(|_| edited)
}

/// A text as a YAML scalar within braces: plain where it can stand so, else quoted.
pub fn scalar(text: &str) -> String {
    let plain = text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '/' | '@'))
        && text.starts_with(|c: char| c.is_alphabetic() || matches!(c, '_' | '.' | '/'));
    // An address is written plain everywhere, and so by us.
    let plain = plain || text.parse::<SocketAddrV4>().is_ok();
    let mut report = Report::new("");
    let mut reads_back = || {
        let node = yaml::parse(text, &mut report);
        matches!(node, Some(Node { kind: Kind::Text(read), .. }) if read == text)
    };
    if plain && reads_back() { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

fn insert_line(text: &str, line: usize, new: &str) -> Option<String> {
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    let new = format!("{new}\n");
    if line > lines.len() + 1 {
        return None;
    }
    let gap = if line > lines.len() && !text.ends_with('\n') { "\n" } else { "" };
    let new = format!("{gap}{new}");
    lines.insert(line - 1, &new);
    Some(lines.concat())
}

fn offset(text: &str, at: At) -> Option<usize> {
    let before: usize = text.split_inclusive('\n').take(at.line.checked_sub(1)?).map(str::len).sum();
    let line = &text[before..];
    Some(before + line.char_indices().nth(at.column - 1)?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_neighbours_stay() {
        for (before, after) in [
            ("version: 1 # a\n", "version: 1 # a\nbackends:\n  db: { kind: sqlite, path: x.db }\n"),
            ("version: 1", "version: 1\nbackends:\n  db: { kind: sqlite, path: x.db }\n"),
            ("backends: # c\nname: x\n", "backends: # c\n  db: { kind: sqlite, path: x.db }\nname: x\n"),
            ("backends: {}  # c\n", "backends: { db: { kind: sqlite, path: x.db } }  # c\n"),
            (
                "backends: { ä: { kind: sqlite, path: y } } # c\n",
                "backends: { db: { kind: sqlite, path: x.db }, ä: { kind: sqlite, path: y } } # c\n",
            ),
            (
                "backends:\n    # c\n    a:\n        kind: sqlite\nname: x\n",
                "backends:\n    db: { kind: sqlite, path: x.db }\n    # c\n    a:\n        kind: sqlite\nname: x\n",
            ),
        ] {
            assert_eq!(with_sqlite_backend(before, "db", "x.db").as_deref(), Some(after), "{before}");
        }
        assert_eq!(with_sqlite_backend("backends: [a]\n", "db", "x.db"), None);
    }

    #[test]
    fn scalars_read_back_as_text() {
        for (text, yaml) in [
            ("support.tickets", "support.tickets"),
            ("true", "\"true\""),
            ("1e3", "\"1e3\""),
            ("a: b", "\"a: b\""),
            ("null", "\"null\""),
            ("Order Details", "\"Order Details\""),
            ("../a.db", "../a.db"),
            ("127.0.0.1:7400", "127.0.0.1:7400"),
            ("12:30", "\"12:30\""),
        ] {
            assert_eq!(scalar(text), yaml);
        }
    }
}
