//! `omctl config show`: every setting, its value, and who gave it.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Cli, CliError, Exit, columns, environment};
use crate::catalog::{self, Catalog, PROJECT_FILE, Written};
use crate::config::{FromFlags, Origin, Setting, Settings};

/// Look at the settings that are in force
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Show(ShowArgs),
}

/// Show every setting, as `omctl serve` with the same flags would take it
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl config show --origin --env prod")]
struct ShowArgs {
    /// Also say where each value comes from: default, a line of the project file, a variable, a flag
    #[arg(long)]
    origin: bool,
    /// As for `omctl serve`
    #[arg(long, value_name = "ADDR:PORT")]
    addr: Option<String>,
    /// As for `omctl serve`
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Whose overlay of `env:` to use
    #[arg(long = "env", value_name = "NAME")]
    env_name: Option<String>,
    /// As for `omctl serve`
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

/// One line of the answer.
struct Shown {
    name: String,
    value: Value,
    /// For people.
    text: String,
    from: Giver,
}

/// Where a value comes from.
enum Giver {
    Default,
    /// The line of the project file; 0 where it is not known.
    File(usize),
    Variable(&'static str),
    Flag(&'static str),
}

pub(super) fn run(cli: &Cli, args: Args) -> Result<Exit, CliError> {
    let What::Show(ShowArgs { origin, addr, data_dir, env_name, log }) = args.what;
    let root = cli.root()?;
    let catalog = cli.load(&root, env_name.as_deref())?;
    let settings = cli.settings(&catalog, FromFlags { addr, data_dir, env_name, log })?;
    let written = catalog::written(&root);
    let shown = collect(&catalog, &settings, &written, environment("OMCTL_TOKEN").is_some_and(|text| !text.is_empty()));
    let text = match origin {
        true => {
            let rows = shown.iter().map(|one| [one.name.clone(), one.text.clone(), one.from.text()]);
            columns(["SETTING", "VALUE", "ORIGIN"].map(str::to_owned), rows)
        }
        false => {
            let lines = shown.iter().map(|one| format!("{} = {}", one.name, one.text));
            lines.collect::<Vec<_>>().join("\n")
        }
    };
    cli.ui.result(text, || {
        let settings: Vec<Value> = (shown.iter())
            .map(|one| json!({ "name": one.name, "value": one.value, "origin": one.from.json() }))
            .collect();
        json!({
            "type": "result", "schema": "omctl.config/1", "root": root.display().to_string(), "settings": settings,
        })
    });
    Ok(Exit::Ok)
}

fn collect(catalog: &Catalog, settings: &Settings, written: &[Written], has_token: bool) -> Vec<Shown> {
    let env_name = settings.env_name.value.as_str();
    let line_of = |path: &[&str]| {
        let found = written.iter().rfind(|one| one.path.iter().map(String::as_str).eq(path.iter().copied()));
        found.map(|one| one.place.line)
    };
    // A value of the overlay stands there, any other below `server:`.
    let server_line = |key: &str| line_of(&["env", env_name, "server", key]).or_else(|| line_of(&["server", key]));
    let text = |name: &str, value: String, from: Giver| Shown {
        name: name.to_owned(),
        value: value.clone().into(),
        text: value,
        from,
    };
    let list = |key: &str, setting: &Setting<Vec<String>>| Shown {
        name: format!("server.{key}"),
        value: setting.value.clone().into(),
        text: if setting.value.is_empty() { "none".to_owned() } else { setting.value.join(", ") },
        from: Giver::of(setting, server_line(key)),
    };
    let mut shown = vec![
        text("name", catalog.name.clone(), line_of(&["name"]).map_or(Giver::Default, Giver::File)),
        text("env", env_name.to_owned(), Giver::of(&settings.env_name, None)),
        text("log", settings.log.value.clone(), Giver::of(&settings.log, None)),
        text("server.addr", settings.addr.value.to_string(), Giver::of(&settings.addr, server_line("addr"))),
        text(
            "server.data_dir",
            settings.data_dir.value.display().to_string(),
            Giver::of(&settings.data_dir, server_line("data_dir")),
        ),
        list("hosts", &settings.hosts),
        list("trusted_proxies", &settings.trusted_proxies),
    ];
    let backends = written.iter().filter(|one| one.path.first().is_some_and(|key| key == "backends"));
    shown.extend(backends.map(|one| text(&one.path.join("."), one.text.clone(), Giver::File(one.place.line))));
    // A secret is shown by its reference, whatever it holds.
    shown.push(match has_token {
        true => text("token", "${env:OMCTL_TOKEN}".to_owned(), Giver::Variable("OMCTL_TOKEN")),
        false => Shown { value: Value::Null, ..text("token", "none".to_owned(), Giver::Default) },
    });
    shown
}

impl Giver {
    fn of<T>(setting: &Setting<T>, line: Option<usize>) -> Self {
        match setting.origin {
            Origin::Default => Self::Default,
            Origin::ProjectFile => Self::File(line.unwrap_or(0)),
            Origin::Env(name) => Self::Variable(name),
            Origin::Flag(name) => Self::Flag(name),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Default => Origin::Default.to_string(),
            Self::File(0) => PROJECT_FILE.to_owned(),
            Self::File(line) => format!("{PROJECT_FILE}:{line}"),
            Self::Variable(name) => Origin::Env(name).to_string(),
            Self::Flag(name) => Origin::Flag(name).to_string(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Default => json!({ "kind": "default" }),
            Self::File(0) => json!({ "kind": "project", "file": PROJECT_FILE }),
            Self::File(line) => json!({ "kind": "project", "file": PROJECT_FILE, "line": line }),
            Self::Variable(name) => json!({ "kind": "env", "name": name }),
            Self::Flag(name) => json!({ "kind": "flag", "name": name }),
        }
    }
}
