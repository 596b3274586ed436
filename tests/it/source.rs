//! Reads Rust sources just well enough to judge them: what is code, what is the content of a string, what is a test.
//!
//! It is no parser. It knows comments, strings, character literals and balanced braces, which is all that the rules of
//! `tidy` ask for, and it must not know any of these rules.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What holds nothing that anybody wrote.
const NOT_OURS: [&str; 4] = ["target", ".git", ".openmobster", "node_modules"];

/// One Rust file in two views of the same length as its text: a place in one is the same place in the others.
#[derive(Debug)]
pub(crate) struct Source {
    /// Relative to the repository, with `/`.
    pub(crate) path: String,
    /// As it is.
    pub(crate) text: String,
    /// Without comments, contents of strings, and test modules.
    pub(crate) code: String,
    /// Only the contents of strings outside of test modules.
    pub(crate) strings: String,
    /// The names of `#[cfg(test)] mod NAME;`.
    test_modules: Vec<String>,
}

impl Source {
    /// Splits a text into its views.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let (mut code, mut strings) = split(text);
        let test_modules = blank_tests(&mut code, &mut strings);
        let readable = |bytes| String::from_utf8(bytes).expect("blanks replace whole characters, byte by byte");
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code: readable(code),
            strings: readable(strings),
            test_modules,
        }
    }

    /// The module path below the crate's root: `src/store/log.rs` is `store`, `log`.
    pub(crate) fn module(&self) -> Vec<&str> {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let mut parts: Vec<&str> = below.trim_end_matches(".rs").split('/').collect();
        if parts.last() == Some(&"mod") {
            parts.pop();
        }
        parts
    }

    /// `path:line` of a place in a view.
    pub(crate) fn at(&self, offset: usize) -> String {
        let line = self.text.as_bytes()[..offset].iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("{}:{line}", self.path)
    }
}

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of the repository that somebody wrote, relative to it, in the order of the names.
pub(crate) fn files() -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root().to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository can be read") {
            let path = entry.expect("a folder of the repository can be read").path();
            let ours = !NOT_OURS.iter().any(|name| path.file_name().is_some_and(|file| file == *name));
            // By name, whatever it is: in a linked work tree `.git` is a file.
            if !ours {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(root()).expect("it was found below it").to_owned());
            }
        }
    }
    found.sort();
    found
}

/// Every Rust file of the repository; those that are compiled for tests only come with empty views.
pub(crate) fn sources() -> Vec<Source> {
    let mut sources: Vec<Source> = files()
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| {
            let text = fs::read_to_string(root().join(path)).expect("a source is readable UTF-8");
            Source::new(&slashes(path), &text)
        })
        .collect();
    let only_tests: BTreeSet<String> = sources.iter().flat_map(test_paths).collect();
    for source in &mut sources {
        let stem = source.path.trim_end_matches(".rs").trim_end_matches("/mod");
        if only_tests.iter().any(|test| stem == test || stem.starts_with(&format!("{test}/"))) {
            source.code.clear();
            source.strings.clear();
        }
    }
    sources
}

/// A path with `/`, whatever the system.
pub(crate) fn slashes(path: &Path) -> String {
    path.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

/// The paths, without `.rs`, of the test modules that a file declares.
fn test_paths(source: &Source) -> Vec<String> {
    let stem = source.path.trim_end_matches(".rs");
    let folder = ["mod", "lib", "main"].iter().find_map(|name| stem.strip_suffix(&format!("/{name}"))).unwrap_or(stem);
    source.test_modules.iter().map(|name| format!("{folder}/{name}")).collect()
}

/// The code view and the strings view; comments are in neither.
fn split(text: &str) -> (Vec<u8>, Vec<u8>) {
    let bytes = text.as_bytes();
    let blank: Vec<u8> = bytes.iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }).collect();
    let (mut code, mut strings) = (blank.clone(), blank);
    let mut i = 0;
    while i < bytes.len() {
        let end = match &bytes[i..] {
            [b'/', b'/', ..] => i + line_length(&bytes[i..]),
            [b'/', b'*', ..] => i + block_comment_length(&bytes[i..]),
            rest => match string_length(rest, i > 0 && is_word(bytes[i - 1])) {
                Some((prefix, suffix, length)) => {
                    let inside = i + prefix..(i + length).saturating_sub(suffix).max(i + prefix);
                    code[i..inside.start].copy_from_slice(&bytes[i..inside.start]);
                    code[inside.end..i + length].copy_from_slice(&bytes[inside.end..i + length]);
                    strings[inside.clone()].copy_from_slice(&bytes[inside]);
                    i + length
                }
                None => match character_length(rest) {
                    Some(length) => i + length,
                    None => {
                        code[i] = bytes[i];
                        i + 1
                    }
                },
            },
        };
        i = end;
    }
    (code, strings)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

fn line_length(rest: &[u8]) -> usize {
    rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
}

fn block_comment_length(rest: &[u8]) -> usize {
    let (mut depth, mut i) = (0, 0);
    while i + 1 < rest.len() {
        match &rest[i..i + 2] {
            b"/*" => (depth, i) = (depth + 1, i + 2),
            b"*/" => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    rest.len()
}

/// If a string literal begins here: the bytes before its content, those behind it, and its whole length.
fn string_length(rest: &[u8], in_word: bool) -> Option<(usize, usize, usize)> {
    let letters = if in_word { 0 } else { rest.iter().take(2).take_while(|b| matches!(b, b'b' | b'r' | b'c')).count() };
    let raw = rest[..letters].contains(&b'r');
    let hashes = if raw { rest[letters..].iter().take_while(|byte| **byte == b'#').count() } else { 0 };
    let prefix = letters + hashes + 1;
    if rest.get(prefix - 1) != Some(&b'"') {
        return None;
    }
    let mut i = prefix;
    while i < rest.len() {
        match rest[i] {
            b'\\' if !raw => i += 2,
            b'"' if rest[i + 1..].iter().take(hashes).filter(|byte| **byte == b'#').count() == hashes => {
                return Some((prefix, 1 + hashes, i + 1 + hashes));
            }
            _ => i += 1,
        }
    }
    Some((prefix, 0, rest.len()))
}

/// If a character literal (and not a lifetime) begins here: its length.
fn character_length(rest: &[u8]) -> Option<usize> {
    match rest {
        [b'\'', b'\\', ..] => rest.iter().skip(3).position(|byte| *byte == b'\'').map(|end| end + 4),
        [b'\'', first, ..] => {
            let width = match first {
                0xf0.. => 4,
                0xe0.. => 3,
                0xc0.. => 2,
                _ => 1,
            };
            (rest.get(1 + width) == Some(&b'\'')).then_some(width + 2)
        }
        _ => None,
    }
}

/// Blanks what is compiled for tests only, and names the test modules that live in files of their own.
fn blank_tests(code: &mut [u8], strings: &mut [u8]) -> Vec<String> {
    let mut modules = Vec::new();
    let mut from = 0;
    while let Some(begin) = find(code, b"#[cfg(test)]", from).or_else(|| find(code, b"#[cfg(all(test", from)) {
        let opening = (begin..code.len()).find(|i| matches!(code[*i], b'{' | b';')).unwrap_or(code.len());
        let end = if code.get(opening) == Some(&b'{') { closing(code, opening) } else { opening };
        if code.get(opening) == Some(&b';') {
            let item = String::from_utf8_lossy(&code[begin..opening]).into_owned();
            modules.extend(item.rsplit_once("mod ").map(|(_, name)| name.trim().to_owned()));
        }
        for i in begin..end.min(code.len()) {
            if code[i] != b'\n' {
                (code[i], strings[i]) = (b' ', b' ');
            }
        }
        from = end;
    }
    modules
}

fn find(haystack: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    haystack.get(from..)?.windows(needle.len()).position(|window| window == needle).map(|at| at + from)
}

/// Behind the brace that closes the one at `opening`.
fn closing(code: &[u8], opening: usize) -> usize {
    let mut depth = 0usize;
    for (i, byte) in code.iter().enumerate().skip(opening) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i + 1;
        }
    }
    code.len()
}

#[test]
fn views_tell_code_from_strings_comments_and_tests() {
    let source = Source::new(
        "src/x.rs",
        r###"//! "not a string"
fn a<'x>(t: &'x str) -> char { /* one /* two */ } */ let q = '"'; f("in \" here", r#"raw " there"#, 'z') }
#[cfg(test)]
mod tests { fn hidden() { "}" } }
#[cfg(test)]
mod apart;
fn after() {}
"###,
    );
    assert!(source.code.contains("fn a<'x>(t: &'x str)") && source.code.contains("fn after"));
    for gone in ["not", "one", "two", "in ", "raw", "hidden", "apart"] {
        assert!(!source.code.contains(gone), "{gone}");
    }
    assert!(source.strings.contains("in \\\" here") && source.strings.contains("raw \" there"));
    assert_eq!(
        (source.test_modules.as_slice(), test_paths(&source)),
        (&["apart".to_owned()][..], vec!["src/x/apart".to_owned()])
    );
    assert_eq!(source.at(source.code.find("after").unwrap()), "src/x.rs:7");
}
