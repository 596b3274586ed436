//! The binary: one expression.

use std::process::ExitCode;

fn main() -> ExitCode {
    omctl::cli::run(std::env::args_os())
}
