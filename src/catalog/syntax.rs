//! What the YAML parser says, in the words of somebody who writes a file and not of somebody who writes a parser.
//!
//! A sentence of the parser that is not known here is passed on as it is: a new version may say new things.

use super::yaml::At;

/// What a message says instead, and what to do.
pub(super) struct Explained {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

/// Explains a mistake at `at`. `open` is where the innermost list or map that is not finished begins.
pub(super) fn explain(message: &str, text: &str, at: At, open: Option<At>) -> Explained {
    let says = |part: &str| message.contains(part);
    let (message, hint) = if says("tabs disallowed") {
        (
            "a tab stands where the line is indented".to_owned(),
            "indent with spaces: YAML takes no tabs there".to_owned(),
        )
    } else if says("did not find expected ',' or") || says("illegal placement of ':'") {
        in_brackets(text, open)
    } else if let Some(bracket) = quoted_after(message, "unclosed bracket ") {
        let closing = closing(bracket);
        (format!("`{bracket}` is never closed"), format!("add the `{closing}`"))
    } else if let Some(bracket) = quoted_after(message, "mismatched bracket ") {
        let closing = closing(bracket);
        (format!("`{bracket}` is closed by another bracket"), format!("close it with `{closing}`"))
    } else if says("misplaced bracket") {
        ("a closing bracket that nothing opens".to_owned(), "remove it".to_owned())
    } else if says("unclosed quote") {
        (
            "the quote is never closed".to_owned(),
            "add the second quote; a quote within the text is written twice".to_owned(),
        )
    } else if says("did not find expected key") || says("did not find expected '-' indicator") {
        let hint = "entries of one map, or of one list, begin in the same column";
        ("the line begins in a column that fits no line above it".to_owned(), hint.to_owned())
    } else if says("mapping values are not allowed") {
        let hint = "entries of one map begin in the same column; a text that contains `: ` is quoted";
        ("a second `: ` where a value was expected".to_owned(), hint.to_owned())
    } else if says("unknown anchor") {
        let name: String =
            rest_of(text, at).chars().skip(1).take_while(|c| c.is_alphanumeric() || "_-".contains(*c)).collect();
        let message = format!("`*{name}` repeats what is marked `&{name}`, and nothing is");
        (message, format!("a text that begins with `*` is quoted: \"*{name}\""))
    } else if says("unexpected character") {
        unexpected(rest_of(text, at).chars().next())
    } else {
        return Explained { message: lower(message), hint: None };
    };
    Explained { message, hint: Some(hint) }
}

/// Between brackets something else was expected, which the parser notices where it comes, often a line below.
fn in_brackets(text: &str, open: Option<At>) -> (String, String) {
    let begun = open.and_then(|open| Some((open, rest_of(text, open).chars().next()?)));
    match begun.filter(|(_, bracket)| "{[".contains(*bracket)) {
        Some((open, bracket)) => {
            let closing = closing(bracket);
            (
                format!(
                    "expected `,` or `{closing}`: the `{bracket}` of line {}, column {} is still open",
                    open.line, open.column
                ),
                format!("close it with `{closing}`, or add the `,`; a text that contains `: ` is quoted"),
            )
        }
        None => (
            "expected `,` or a closing bracket".to_owned(),
            "close the bracket, or add the `,`; a text that contains `: ` is quoted".to_owned(),
        ),
    }
}

fn unexpected(first: Option<char>) -> (String, String) {
    match first {
        Some(first) if first.is_control() => {
            ("a control character stands here".to_owned(), "remove it; the file must be plain text".to_owned())
        }
        Some(first) => (format!("a text cannot begin with `{first}`"), format!("quote it: \"{first}…\"")),
        None => ("the file ends too early".to_owned(), "finish the last line".to_owned()),
    }
}

fn closing(bracket: char) -> char {
    if bracket == '[' { ']' } else { '}' }
}

/// The character in quotes that follows these words.
fn quoted_after(message: &str, words: &str) -> Option<char> {
    message.split_once(words)?.1.trim_start_matches(['\'', '`']).chars().next()
}

/// The text from a place on.
fn rest_of(text: &str, at: At) -> &str {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let line = text.split_inclusive('\n').nth(at.line.saturating_sub(1)).unwrap_or_default();
    line.char_indices().nth(at.column.saturating_sub(1)).map_or("", |(byte, _)| &line[byte..])
}

/// The first letter of a foreign message in lower case.
fn lower(message: &str) -> String {
    let mut letters = message.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::super::yaml::{self, Report};

    #[test]
    fn mistakes_of_the_syntax_are_said_plainly() {
        for (text, said) in [
            ("a:\n\tb: 1\n", "2:2 a tab stands where the line is indented"),
            ("scope: { a: b\nwrite: { c: d }\n", "2:6 expected `,` or `}`: the `{` of line 1, column 8 is still open"),
            ("a: { b: c: d }\n", "1:10 expected `,` or `}`: the `{` of line 1, column 4 is still open"),
            ("a: [b, c\nd: e\n", "2:2 expected `,` or `]`: the `[` of line 1, column 4 is still open"),
            ("a: [b, c }\n", "1:4 `[` is closed by another bracket"),
            ("a: { b: c\n", "1:4 `{` is never closed"),
            ("a: { b: c }}\n", "1:12 a closing bracket that nothing opens"),
            ("a: \"b\n", "1:4 the quote is never closed"),
            ("a: 1\n  b: 2\n", "2:4 a second `: ` where a value was expected"),
            ("a:\n  b: 1\n c: 2\n", "3:2 the line begins in a column that fits no line above it"),
            ("a: @b\n", "1:4 a text cannot begin with `@`"),
            ("a: { b: > 0 }\n", "1:9 a text cannot begin with `>`"),
            ("a: *tech\n", "1:4 `*tech` repeats what is marked `&tech`, and nothing is"),
            ("a: b\u{0}\n", "1:5 a control character stands here"),
        ] {
            let mut report = Report::new("f.yaml");
            assert!(yaml::parse(text, &mut report).is_none(), "{text}");
            let one = &report.found[0];
            assert_eq!(format!("{}:{} {}", one.place.line, one.place.column, one.message), said);
        }
    }
}
