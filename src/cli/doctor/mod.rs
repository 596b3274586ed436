//! `omctl doctor`: whether this project on this machine would serve, and what to do where it would not.
//!
//! Looks only: nothing is created, migrated or changed. What each finding is about is in the other files of this folder.

mod machine;
mod project;

use serde_json::{Value, json};

use super::remote::block_on;
use super::{Cli, CliError, Exit};

/// Look at the project and this machine for what would keep a server from working
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl doctor --json | jq '.checks[] | select(.status != \"ok\")'")]
pub(super) struct Args {
    /// Whose overlay of `env:` to use
    #[arg(long = "env", value_name = "NAME")]
    env_name: Option<String>,
}

/// How one thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Ok,
    Warn,
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug)]
struct Check {
    /// `project`, `disk`, `channel tickets`, …
    name: String,
    status: Status,
    /// What was found.
    text: String,
    /// What to do; only where it is not well.
    hint: Option<String>,
}

impl Check {
    fn ok(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), status: Status::Ok, text: text.into(), hint: None }
    }

    fn warn(name: impl Into<String>, text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { name: name.into(), status: Status::Warn, text: text.into(), hint: Some(hint.into()) }
    }

    fn fail(name: impl Into<String>, text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { name: name.into(), status: Status::Fail, text: text.into(), hint: Some(hint.into()) }
    }

    fn json(&self) -> Value {
        json!({ "name": self.name, "status": self.status.word(), "text": self.text, "hint": self.hint })
    }
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

pub(super) fn run(cli: &Cli, args: &Args) -> Result<Exit, CliError> {
    let checks = block_on(look(cli, args.env_name.as_deref()))?;
    let failed = checks.iter().filter(|check| check.status == Status::Fail).count();
    let all: Vec<Value> = checks.iter().map(Check::json).collect();
    if failed == 0 {
        cli.ui.result(text(&checks), || json!({ "type": "result", "schema": "omctl.doctor/1", "checks": all }));
        return Ok(Exit::Ok);
    }
    if !cli.ui.is_json() {
        cli.ui.out(&text(&checks));
    }
    let what = if failed == 1 { "1 check failed".to_owned() } else { format!("{failed} checks failed") };
    Err(CliError::new(Exit::Failed, "unhealthy", what)
        .hint("do what the hints above say, then look again: omctl doctor")
        .detail("schema", "omctl.doctor/1")
        .detail("checks", all))
}

async fn look(cli: &Cli, env_name: Option<&str>) -> Result<Vec<Check>, CliError> {
    let mut checks = Vec::new();
    if let Some(found) = project::find(cli, env_name, &mut checks) {
        machine::data_dir(found.data_dir(), &mut checks);
        project::store(found.data_dir(), &mut checks);
        project::server(&found, &mut checks).await;
        project::backends(&found, &mut checks).await;
    }
    machine::clock(&mut checks);
    machine::open_files(&mut checks);
    machine::sqlite(&mut checks);
    Ok(checks)
}

fn text(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for check in checks {
        lines.push(format!("{:<4}  {:<width$}  {}", check.status.word(), check.name, check.text));
        lines.extend(check.hint.iter().map(|hint| format!("      {:<width$}  hint: {hint}", "")));
    }
    lines.join("\n")
}
