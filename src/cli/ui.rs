//! The only place that prints. stdout is data; everything else is stderr.
//!
//! A reader that went away (`omctl … | head`) is not an error: what it does not read is dropped.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use serde_json::{Value, json};

use super::error::CliError;
use super::explain;
use crate::catalog::{Diagnostic, Severity};

/// Longest part of a line that is shown beside a diagnostic.
const LINE_CHARS_MAX: usize = 160;

/// How this process talks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ui {
    json: bool,
    quiet: bool,
    colour: bool,
}

/// The colours that stderr knows; meaning never hangs on them alone.
#[derive(Clone, Copy, Debug)]
enum Ink {
    Red,
    Yellow,
    Blue,
    Bold,
    Dim,
}

impl Ui {
    /// `no_colour`: whether `NO_COLOR` is set to anything (<https://no-color.org>).
    pub fn new(json: bool, quiet: bool, no_colour: bool) -> Self {
        Self { json, quiet, colour: !no_colour && std::io::stderr().is_terminal() }
    }

    /// In colour, whatever stderr is: `CLICOLOR_FORCE` (<https://bixense.com/clicolors>), for logs that show colours.
    #[must_use]
    pub fn coloured(self) -> Self {
        Self { colour: true, ..self }
    }

    /// Whether output is for scripts.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// Whether somebody sees stderr.
    pub fn is_terminal(self) -> bool {
        !self.json && std::io::stderr().is_terminal()
    }

    /// Whether stderr shows colours.
    pub fn has_colour(self) -> bool {
        self.colour
    }

    /// Whether somebody can be asked: a person at a terminal who did not say `--json`.
    pub fn can_ask(self) -> bool {
        !self.json && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// The result: `json` for scripts, `text` for people, on stdout.
    pub fn result(self, text: impl AsRef<str>, json: impl FnOnce() -> Value) {
        if self.json { self.out(&json().to_string()) } else { self.out(text.as_ref()) }
    }

    /// A line of data on stdout, whatever the mode.
    pub fn out(self, line: &str) {
        ignore_closed(writeln!(std::io::stdout().lock(), "{line}"));
    }

    /// As [`Ui::out`], for what has no end of its own. Returns whether anybody still reads.
    pub fn out_while_read(self, line: &str) -> bool {
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{line}").and_then(|()| stdout.flush()).is_ok()
    }

    /// A line on stderr, unless `--quiet`.
    pub fn note(self, line: impl AsRef<str>) {
        if !self.quiet {
            err(line.as_ref());
        }
    }

    /// A warning on stderr; `--quiet` does not silence it.
    pub fn warn(self, line: impl AsRef<str>) {
        err(&format!("{} {}", self.ink(Ink::Yellow, "warning:"), line.as_ref()));
    }

    /// Something long on stderr for people: a difference, a log. Scripts do not get it.
    pub fn detail(self, text: &str) {
        if !self.json {
            err(printable_lines(text).trim_end());
        }
    }

    /// As [`Ui::detail`], for what draws with control characters of our own.
    pub fn detail_as_is(self, text: &str) {
        if !self.json {
            err(text);
        }
    }

    /// The next command to type.
    pub fn next(self, command: impl AsRef<str>) {
        if !self.json {
            self.note(format!("{} {}", self.ink(Ink::Blue, "next:"), command.as_ref()));
        }
    }

    /// Asks for a yes; anything else is a no. Ask only where [`Ui::can_ask`].
    pub fn confirm(self, question: &str) -> bool {
        let mut answer = String::new();
        ignore_closed(write!(std::io::stderr().lock(), "{question} [y/N] "));
        std::io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
    }

    /// Asks for something that is not shown while it is typed. Ask only where [`Ui::can_ask`].
    ///
    /// # Errors
    /// Those of the terminal.
    pub fn ask_hidden(self, question: &str) -> std::io::Result<String> {
        ignore_closed(write!(std::io::stderr().lock(), "{question}"));
        console::Term::stderr().read_secure_line()
    }

    /// Asks for a line; Enter takes the default. `None` where nothing more can be read. Ask only where [`Ui::can_ask`].
    pub fn ask(self, question: &str, default: Option<&str>) -> Option<String> {
        let shown = default.map(|default| format!(" [{default}]")).unwrap_or_default();
        ignore_closed(write!(std::io::stderr().lock(), "{question}{shown}: "));
        let mut answer = String::new();
        if !std::io::stdin().read_line(&mut answer).is_ok_and(|bytes| bytes > 0) {
            return None;
        }
        let answer = answer.trim();
        Some(if answer.is_empty() { default.unwrap_or_default().to_owned() } else { answer.to_owned() })
    }

    /// The failure: the last thing on stderr.
    pub fn error(self, error: &CliError) {
        if self.json {
            return err(&error.to_json().to_string());
        }
        err(&format!("{} {}", self.ink(Ink::Red, "error:"), printable_lines(&error.message)));
        match &error.hint {
            Some(hint) => err(&format!("{} {}", self.ink(Ink::Blue, "hint:"), printable_lines(hint))),
            // Beside a hint it would be noise, and so it is in a log.
            None if std::io::stderr().is_terminal() && explain::is_known(error.explained_by()) => {
                err(&self.ink(Ink::Dim, &format!("more: omctl explain {}", error.explained_by())));
            }
            None => {}
        }
    }

    /// Diagnostics with the line they are about, on stderr. Scripts get them in the JSON instead.
    pub fn diagnostics(self, root: &Path, found: &[Diagnostic]) {
        if self.json {
            return;
        }
        for one in found {
            let (ink, word) = match one.severity {
                Severity::Error => (Ink::Red, "error"),
                Severity::Warning => (Ink::Yellow, "warning"),
            };
            let head = self.ink(ink, &format!("{word}[{}]:", one.code));
            err(&format!("{head} {}", self.ink(Ink::Bold, &printable(&one.message))));
            err(&format!("  {} {}", self.ink(Ink::Blue, "-->"), printable(&one.place.to_string())));
            if let Some((line, caret)) = excerpt(root, one) {
                let number = one.place.line.to_string();
                let margin = " ".repeat(number.len());
                err(&format!(" {} {line}", self.ink(Ink::Blue, &format!("{number} |"))));
                err(&format!(" {} {}", self.ink(Ink::Blue, &format!("{margin} |")), self.ink(ink, &caret)));
            }
            if let Some(hint) = &one.hint {
                err(&format!("  {} {}", self.ink(Ink::Blue, "hint:"), printable(hint)));
            }
            err("");
        }
    }

    fn ink(self, ink: Ink, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match ink {
            Ink::Red => "1;31",
            Ink::Yellow => "1;33",
            Ink::Blue => "34",
            Ink::Bold => "1",
            Ink::Dim => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// A diagnostic for scripts.
pub fn diagnostic_json(one: &Diagnostic) -> Value {
    json!({
        "severity": match one.severity { Severity::Error => "error", Severity::Warning => "warning" },
        "file": one.place.file.display().to_string(),
        "line": one.place.line,
        "column": one.place.column,
        "code": one.code,
        "message": one.message,
        "hint": one.hint,
    })
}

/// The line that a diagnostic is about, and carets below the word that it means. A line with a secret is never shown.
fn excerpt(root: &Path, one: &Diagnostic) -> Option<(String, String)> {
    if one.code == "secret_literal" || one.place.line == 0 {
        return None;
    }
    let text = std::fs::read_to_string(root.join(&one.place.file)).ok()?;
    // As YAML counts: neither a byte order mark nor the second half of a line break is a character.
    let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n").replace('\r', "\n");
    let line = printable(text.lines().nth(one.place.line - 1)?);
    // A URL with user information may hold a password, whatever the diagnostic is about.
    if line.contains("://") && line.contains('@') {
        return None;
    }
    let before = one.place.column.saturating_sub(1);
    // Of a very long line only what is around the place.
    let skipped = if line.chars().count() > LINE_CHARS_MAX { before.saturating_sub(LINE_CHARS_MAX / 2) } else { 0 };
    let mark = if skipped > 0 { "…" } else { "" };
    let line: String = mark.chars().chain(line.chars().skip(skipped).take(LINE_CHARS_MAX)).collect();
    let before = before - skipped + mark.chars().count();
    let word = line.chars().skip(before).take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '-')).count();
    Some((line, format!("{}{}", " ".repeat(before), "^".repeat(word.max(1)))))
}

/// The text on one line, without what would drive the terminal: a file's content and name are somebody else's.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            c if drives(c) => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// The same of a text of several lines that are ours.
fn printable_lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}

/// Whether a character does something to the terminal: moves, colours, or turns the direction of what follows.
pub(super) fn drives(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn err(line: &str) {
    ignore_closed(writeln!(std::io::stderr().lock(), "{line}"));
}

/// There is nobody left to tell about a stream that cannot be written.
fn ignore_closed(written: std::io::Result<()>) {
    drop(written);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Place;

    #[test]
    fn the_caret_stands_below_the_word_and_secrets_stay_hidden() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("f.yaml"), "a: 1\n\tünï: txet, \u{1b}[31m\n").unwrap();
        let place = Place { file: "f.yaml".into(), line: 2, column: 7 };
        let mut one =
            Diagnostic { severity: Severity::Error, code: "unknown_type", place, message: String::new(), hint: None };
        let (line, caret) = excerpt(folder.path(), &one).unwrap();
        assert_eq!((line.as_str(), caret.as_str()), (" ünï: txet, \u{fffd}[31m", "      ^^^^"));
        one.code = "secret_literal";
        assert_eq!(excerpt(folder.path(), &one), None);
    }
}
