//! `omctl completions SHELL`; `completions/` keeps what it prints.

use clap_complete::Shell;

use super::{Cli, CliError, Exit, command_tree};

/// Print a script that completes commands in your shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl completions bash > ~/.local/share/bash-completion/completions/omctl")]
pub(super) struct Args {
    /// The shell
    shell: Shell,
}

pub(super) fn run(cli: &Cli, args: &Args) -> Result<Exit, CliError> {
    cli.ui.out(script(args.shell).trim_end());
    Ok(Exit::Ok)
}

fn script(shell: Shell) -> String {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut command_tree(), "omctl", &mut out);
    String::from_utf8(out).expect("clap writes UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kept_scripts_are_what_is_printed() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("completions");
        let files = [
            (Shell::Bash, "omctl.bash"),
            (Shell::Zsh, "_omctl"),
            (Shell::Fish, "omctl.fish"),
            (Shell::PowerShell, "_omctl.ps1"),
        ];
        for (shell, file) in files {
            let kept = std::fs::read_to_string(folder.join(file)).unwrap_or_default();
            assert!(
                kept.replace("\r\n", "\n").trim_end() == script(shell).trim_end(),
                "the commands changed: omctl completions {shell} > completions/{file}"
            );
        }
    }
}
