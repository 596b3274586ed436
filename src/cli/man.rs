//! `omctl man`: manual pages, made from the same tree that parses the command line.
//!
//! They are generated where they are wanted and kept nowhere, so that they cannot drift.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Cli, CliError, Exit, command_tree};

/// Print the manual page, or write those of all commands into a folder
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl man --dir ~/.local/share/man/man1")]
pub(super) struct Args {
    /// Write a page for each command into this folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn run(cli: &Cli, args: &Args) -> Result<Exit, CliError> {
    let pages = pages();
    let Some(dir) = &args.dir else {
        let (_, page) = pages.first().expect("the tree has a root");
        cli.ui.out(page.trim_end());
        return Ok(Exit::Ok);
    };
    let io = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| CliError::new(Exit::Failed, "io", format!("cannot write `{path}`: {error}"))
    };
    if dir.exists() && !dir.is_dir() {
        return Err(CliError::new(Exit::Usage, "usage", format!("`{}` is not a folder", dir.display()))
            .hint("name a folder, for example --dir ~/.local/share/man/man1"));
    }
    std::fs::create_dir_all(dir).map_err(io(dir))?;
    for (name, page) in &pages {
        let path = dir.join(name);
        std::fs::write(&path, page).map_err(io(&path))?;
    }
    let files: Vec<&String> = pages.iter().map(|(name, _)| name).collect();
    cli.ui.result(
        format!("{} pages in `{}`", files.len(), dir.display()),
        || json!({ "type": "result", "schema": "omctl.man/1", "dir": dir.display().to_string(), "files": files }),
    );
    Ok(Exit::Ok)
}

/// The name and text of every page, that of `omctl` itself first.
fn pages() -> Vec<(String, String)> {
    let mut tree = command_tree();
    tree.build();
    let mut pages = Vec::new();
    visit(&tree, "", &mut pages);
    pages
}

fn visit(command: &clap::Command, before: &str, pages: &mut Vec<(String, String)>) {
    let name =
        if before.is_empty() { command.get_name().to_owned() } else { format!("{before}-{}", command.get_name()) };
    let mut page = Vec::new();
    let named = command.clone().display_name(name.clone());
    clap_mangen::Man::new(named).render(&mut page).expect("a vector takes every byte");
    pages.push((format!("{name}.1"), String::from_utf8(page).expect("clap writes UTF-8")));
    command.get_subcommands().for_each(|command| visit(command, &name, pages));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_each_last_one_its_example() {
        let pages = pages();
        let page = |name: &str| &pages.iter().find(|(known, _)| known == name).unwrap().1;
        assert_eq!(pages[0].0, "omctl.1");
        assert!(page("omctl-channel-show.1").contains("omctl channel show tickets"));
        assert!(page("omctl.1").contains("omctl\\-channel"), "a page names those below it");
    }
}
