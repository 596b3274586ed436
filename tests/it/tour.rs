//! `docs/tour.md`, typed: its commands are run in order in an empty folder, and what it shows is what is printed.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::serve::omctl;
use crate::source;

/// A command of the page, and what it shows behind it.
#[derive(Debug, PartialEq)]
struct Step {
    command: String,
    shown: Vec<String>,
}

/// What of the page is typed: the lines of ` ```console ` blocks that begin with `$ `.
fn steps(page: &str) -> Vec<Step> {
    let (mut steps, mut inside) = (Vec::<Step>::new(), false);
    for line in page.lines() {
        match (inside, line) {
            (_, "```console") => inside = true,
            (true, "```") => inside = false,
            (true, line) => match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => steps.push(Step { command: command.to_owned(), shown: Vec::new() }),
                (None, Some(step)) => step.shown.push(line.to_owned()),
                (None, None) => panic!("output before any command: {line}"),
            },
            (false, _) => {}
        }
    }
    steps
}

/// Whether a line is as shown; `…` stands for anything.
fn line_fits(shown: &str, line: &str) -> bool {
    let Some((head, rest)) = shown.split_once('…') else { return shown == line };
    let Some(mut line) = line.strip_prefix(head) else { return false };
    let mut parts: Vec<&str> = rest.split('…').collect();
    let tail = parts.pop().unwrap_or_default();
    for part in parts {
        let Some((_, after)) = line.split_once(part) else { return false };
        line = after;
    }
    line.ends_with(tail)
}

/// Whether the lines are as shown; a line of `…` stands for any lines, also for none.
fn fits(shown: &[String], lines: &[String]) -> bool {
    match (shown.split_first(), lines.split_first()) {
        (None, None) => true,
        (Some((first, more)), _) if first == "…" => (0..=lines.len()).any(|skipped| fits(more, &lines[skipped..])),
        (Some((first, more)), Some((line, rest))) => line_fits(first, line) && fits(more, rest),
        _ => false,
    }
}

/// A command in a shell that finds this `omctl`, with one pipe for both of its streams.
fn shell(command: &str, folder: &Path) -> (Child, BufReader<std::io::PipeReader>) {
    let program = PathBuf::from(omctl(folder).get_program());
    let mut path = program.parent().unwrap().as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()));
    let (reader, writer) = std::io::pipe().unwrap();
    let mut shell = Command::new("sh");
    // A port of its own, for tests run side by side.
    shell
        .args(["-c", &format!("exec {command}")])
        .current_dir(folder)
        .env("PATH", path)
        .env("OMCTL_ADDR", "127.0.0.1:0");
    for name in ["OMCTL_DATA_DIR", "OMCTL_ENV", "OMCTL_LOG", "OMCTL_TOKEN"] {
        shell.env_remove(name);
    }
    let child = shell.stdin(Stdio::null()).stdout(writer.try_clone().unwrap()).stderr(writer).spawn().unwrap();
    (child, BufReader::new(reader))
}

/// The line with the port that the page shows.
fn usual(line: &str) -> String {
    match line.split_once("http://127.0.0.1:") {
        Some((before, rest)) => {
            format!("{before}http://127.0.0.1:7400{}", rest.trim_start_matches(|c: char| c.is_ascii_digit()))
        }
        None => line.to_owned(),
    }
}

/// A server that ends with the test.
struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[cfg(unix)]
#[test]
fn the_tour_goes_as_it_is_told() {
    let page = std::fs::read_to_string(source::root().join("docs/tour.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut here = folder.path().to_owned();
    let mut servers = Vec::new();
    let steps = steps(&page);
    assert!(steps.len() > 8, "the page shows commands");
    for step in steps {
        if let Some(inner) = step.command.strip_prefix("cd ") {
            here = here.join(inner);
            continue;
        }
        let (mut child, output) = shell(&step.command, &here);
        let mut lines = Vec::new();
        for line in output.lines() {
            lines.push(usual(&line.unwrap()));
            // A server does not end; it has said what it has to say, and must not mind that nobody reads on.
            if step.command.starts_with("omctl serve") && fits(&step.shown, &lines) {
                break;
            }
        }
        assert!(fits(&step.shown, &lines), "$ {}\nshown: {:#?}\nprinted: {lines:#?}", step.command, step.shown);
        match step.command.starts_with("omctl serve") {
            true => servers.push(Background(child)),
            false => drop(child.wait()),
        }
    }
    assert_eq!(servers.len(), 1);
}

#[test]
fn a_page_that_lies_is_found_out() {
    let page = "text\n```console\n$ a b\none\n$ c\n```\n```sh\n$ not this\n```\n";
    let step = |command: &str, shown: &[&str]| Step {
        command: command.to_owned(),
        shown: shown.iter().map(ToString::to_string).collect(),
    };
    assert_eq!(steps(page), [step("a b", &["one"]), step("c", &[])]);
    let lines = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    for (shown, printed, expected) in [
        (&["a", "…", "z"][..], &["a", "z"][..], true),
        (&["a", "…", "z"], &["a", "b", "c", "z"], true),
        (&["a", "…", "z"], &["a", "b"], false),
        (&["lost 0, … p95 … ms"], &["lost 0, x p95 3 ms"], true),
        (&["lost 0, …"], &["lost 1, x"], false),
        (&["…lost 0"], &["lost 01"], false),
        (&["a"], &["a", "b"], false),
        (&["a", "b"], &["a"], false),
    ] {
        assert_eq!(fits(&lines(shown), &lines(printed)), expected, "{shown:?} {printed:?}");
    }
}
