//! Every code that the sources can give is explained, and every explanation is of a code that they can give.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::serve::omctl;
use crate::source::{self, Source};

/// Calls with a code among their arguments, and which it is; `None`: whichever is a code.
const CALLS: [(&str, Option<usize>); 12] = [
    ("CliError::new", Some(1)),
    ("ApiError::new", Some(1)),
    ("Self::new", Some(1)),
    ("Rejection::new", Some(0)),
    ("Rejection::of", Some(0)),
    ("error", Some(1)),
    ("warning", Some(1)),
    ("word", Some(2)),
    ("bad", Some(0)),
    ("refuse", None),
    ("refused", None),
    ("Some", None),
];

/// Files whose text is the catalogue itself.
const CATALOGUE: &str = "src/cli/explain/";

#[test]
fn every_code_is_explained_and_nothing_else_is() {
    let mut used: BTreeMap<String, String> = BTreeMap::new();
    for source in source::sources() {
        let ours = source.path.starts_with("src/") || source.path.starts_with("crates/protocol/src/");
        if ours && !source.path.starts_with(CATALOGUE) {
            used.extend(codes(&source));
        }
    }
    let output = omctl(source::root()).args(["explain", "--json"]).output().unwrap();
    let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let explained: BTreeSet<String> =
        listed["codes"].as_array().unwrap().iter().map(|one| one["code"].as_str().unwrap().to_owned()).collect();
    let missing: Vec<_> = used.iter().filter(|(code, _)| !explained.contains(*code)).collect();
    assert!(missing.is_empty(), "explain these in src/cli/explain: {missing:?}");
    let idle: Vec<_> = explained.iter().filter(|code| !used.contains_key(*code)).collect();
    assert!(idle.is_empty(), "no source gives these any more: {idle:?}");
}

#[test]
fn the_reader_of_codes_can_fail() {
    let found = |text: &str| codes(&Source::new("src/x.rs", text)).into_keys().collect::<Vec<_>>();
    assert_eq!(found(r#"fn f() { CliError::new(Exit::Ok, "one_code", format!("{}", g(1, "no"))) }"#), ["one_code"]);
    assert_eq!(found(r#"fn f() { report.error(at, "two", "a message").with_hint("x") }"#), ["two"]);
    assert_eq!(found(r#"let x = D { code: "three", at }; let y = D { code: Some("four") };"#), ["four", "three"]);
    assert_eq!(found(r#"let code = if a { "five" } else { "six" }; let b = "no";"#), ["five", "six"]);
    assert_eq!(found(r#"fn code(&self) -> &'static str { match self { A => "seven" } } fn g() { "no" }"#), ["seven"]);
    assert_eq!(found(r#"report.word(node, "no", "eight", &[("no", 1)])"#), ["eight"]);
    assert_eq!(found(r#"// CliError::new(Exit::Ok, "no", m)"#), Vec::<String>::new());
}

#[test]
fn an_unknown_code_is_not_found_and_the_nearest_is_named() {
    let run = |args: &[&str]| omctl(source::root()).arg("explain").args(args).output().unwrap();
    let output = run(&["scope_wriet"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(6), 0));
    assert!(String::from_utf8_lossy(&output.stderr).contains("did you mean `scope_write`?"), "{output:?}");
    let output = run(&["exists"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("exists (command)") && text.contains("exists (receipt)") && text.contains("exists (server)"));
}

/// The codes that a source gives, each with a place where it does.
fn codes(source: &Source) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut add = |from: usize, to: usize| {
        if let Some(code) = literal(source, from, to) {
            found.insert(code, source.at(from));
        }
    };
    for (call, which) in CALLS {
        // What is in a `Some` is a code only where that is a code.
        let needle = if call == "Some" { "code: Some(".to_owned() } else { format!("{call}(") };
        for begin in begins(&source.code, &needle) {
            let arguments = arguments(&source.code, begin + needle.len());
            let chosen = arguments.iter().enumerate().filter(|(n, _)| which.is_none_or(|which| which == *n));
            chosen.for_each(|(_, (from, to))| add(*from, *to));
        }
    }
    for begin in begins(&source.code, "code: \"") {
        let from = begin + "code: ".len();
        add(from, from + 1 + source.code[from + 1..].find('"').map_or(0, |length| length + 1));
    }
    for (opening, end) in
        [("let code = ", ";"), ("let (code, exit) = ", ";"), ("fn code(&self) -> &'static str {", "}")]
    {
        for begin in begins(&source.code, opening) {
            let from = begin + opening.len();
            let to = from + closing(&source.code[from..], end);
            for (quote, _) in source.code[from..to].match_indices('"').step_by(2) {
                let at = from + quote;
                add(at, at + 2 + source.code[at + 1..].find('"').unwrap_or(0));
            }
        }
    }
    found
}

/// Where a needle begins that does not continue a word.
fn begins(code: &str, needle: &str) -> Vec<usize> {
    let word = |offset: &usize| !code[..*offset].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    code.match_indices(needle).map(|(offset, _)| offset).filter(word).collect()
}

/// The ranges of a call's arguments, of which the first begins at `from`.
fn arguments(code: &str, from: usize) -> Vec<(usize, usize)> {
    let (mut found, mut depth, mut begin) = (Vec::new(), 1, from);
    for (offset, c) in code[from..].char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && c == ',') {
            found.push((begin, from + offset));
            begin = from + offset + 1;
        }
        if depth == 0 {
            break;
        }
    }
    found
}

/// Where a statement or a block ends.
fn closing(code: &str, end: &str) -> usize {
    let mut depth = 0;
    for (offset, c) in code.char_indices() {
        if depth == 0 && code[offset..].starts_with(end) {
            return offset;
        }
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// The code that stands alone between two places.
fn literal(source: &Source, from: usize, to: usize) -> Option<String> {
    let around = source.code[from..to].trim().trim_end_matches(".into()");
    let text = source.strings[from..to].trim();
    let alone = around.starts_with('"') && around.ends_with('"') && around[1..around.len() - 1].trim().is_empty();
    let is_code = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    (alone && is_code).then(|| text.to_owned())
}
