//! `omctl explain CODE`: what a stable code means, why it happens, and what to do.
//!
//! The one catalogue of codes. A code may have a meaning in several places: `exists` is a file for a command and a record
//! in a receipt. `tests/it/explain.rs` reads the sources and fails where a code has no entry, or an entry no code.

mod answers;
mod commands;
mod files;
mod receipts;

use serde_json::{Value, json};

use super::{Cli, CliError, Exit, columns};
use crate::catalog::near_hint;

/// Explain a code that a command, a receipt or the server gave
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl explain scope_write")]
pub(super) struct Args {
    /// The code; without one, all are listed
    code: Option<String>,
}

/// One meaning of one code.
#[derive(Clone, Copy, Debug)]
struct Entry {
    code: &'static str,
    at: Where,
    means: &'static str,
    why: &'static str,
    then: &'static str,
    example: &'static str,
}

/// Who says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Commands,
    Files,
    Receipts,
    Answers,
}

impl Where {
    /// What is said of a code there.
    const fn says(
        self,
        code: &'static str,
        means: &'static str,
        why: &'static str,
        then: &'static str,
        example: &'static str,
    ) -> Entry {
        Entry { code, at: self, means, why, then, example }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Commands => "command",
            Self::Files => "project file",
            Self::Receipts => "receipt",
            Self::Answers => "server",
        }
    }
}

pub(super) fn run(cli: &Cli, args: &Args) -> Result<Exit, CliError> {
    let chosen: Vec<&Entry> = match &args.code {
        None => entries().collect(),
        Some(code) => entries().filter(|one| one.code == code).collect(),
    };
    if let Some(code) = args.code.as_deref().filter(|_| chosen.is_empty()) {
        return Err(unknown(code));
    }
    let text = match &args.code {
        None => overview(&chosen),
        Some(_) => chosen.iter().map(|one| page(one)).collect::<Vec<_>>().join("\n\n"),
    };
    cli.ui.result(text, || {
        let codes: Vec<Value> = chosen.iter().map(|one| one.json()).collect();
        json!({ "type": "result", "schema": "omctl.explain/1", "codes": codes })
    });
    Ok(Exit::Ok)
}

/// Whether there is anything to say about a code.
pub(super) fn is_known(code: &str) -> bool {
    entries().any(|one| one.code == code)
}

fn entries() -> impl Iterator<Item = &'static Entry> {
    [commands::ENTRIES, files::ENTRIES, receipts::ENTRIES, answers::ENTRIES].into_iter().flatten()
}

fn unknown(code: &str) -> CliError {
    let known: Vec<&str> = entries().map(|one| one.code).collect();
    // Over twenty are no help in one line.
    let hint = near_hint(code, known.iter().copied()).unwrap_or_else(|| "list all codes: omctl explain".to_owned());
    CliError::new(Exit::NotFound, "not_found", format!("there is no code `{code}`")).hint(hint)
}

fn overview(chosen: &[&Entry]) -> String {
    let head = ["CODE", "SAID BY", "MEANING"].map(str::to_owned);
    let mut rows: Vec<&Entry> = chosen.to_vec();
    rows.sort_by_key(|one| one.code);
    columns(head, rows.iter().map(|one| [one.code.to_owned(), one.at.word().to_owned(), one.means.to_owned()]))
}

fn page(one: &Entry) -> String {
    let example = one.example.replace('\n', "\n          ");
    format!(
        "{} ({})\n  means   {}\n  why     {}\n  do      {}\n  example {example}",
        one.code,
        one.at.word(),
        one.means,
        one.why,
        one.then
    )
}

impl Entry {
    fn json(&self) -> Value {
        json!({
            "code": self.code, "said_by": self.at.word(), "means": self.means, "why": self.why, "do": self.then,
            "example": self.example,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of a command line, as a shell splits simple ones.
    fn words(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut quoted = false;
        for letter in line.chars() {
            match letter {
                '\'' => quoted = !quoted,
                ' ' if !quoted => words.push(String::new()),
                other => words.last_mut().expect("one is there from the start").push(other),
            }
        }
        words
    }

    #[test]
    fn every_command_that_an_example_shows_is_one() {
        for one in entries().filter(|one| one.example.starts_with("omctl ")) {
            let line = one.example.split([';', '|', '<', '>']).next().unwrap_or_default().trim();
            let parsed = super::super::command_tree().try_get_matches_from(words(line));
            let shown = parsed.err().filter(clap::Error::use_stderr).map(|error| error.to_string());
            assert_eq!(shown, None, "{}: `{line}`", one.code);
        }
    }

    #[test]
    fn a_code_has_one_meaning_in_one_place_and_each_says_all() {
        let mut seen = std::collections::BTreeSet::new();
        for one in entries() {
            assert!(seen.insert((one.at.word(), one.code)), "{} twice", one.code);
            for text in [one.means, one.why, one.then, one.example] {
                assert!(!text.is_empty() && !text.ends_with('.'), "{}: `{text}`", one.code);
            }
        }
        assert!(is_known("scope_write") && !is_known("nonsense"));
    }
}
