//! `omctl new`: a project, or a channel or scenario of one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Cli, CliError, Exit, editor, new_channel, new_scenario};
use crate::catalog::{PROJECT_FILE, near_hint, scalar};
use crate::scaffold::{Action, Content, Filter, Plan, PlannedFile, Templates, Wanted};

/// What templates may use beside tera's own filters: `yaml` quotes a text where YAML needs it.
const FILTERS: [Filter; 1] = [("yaml", scalar)];

/// The variable that every project's template is given.
const NAME: &str = "name";

/// Make a project, or a channel or scenario of a project
///
/// `omctl new` alone asks on a terminal. A file that is there with another content stops it before anything is written.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(
    after_help = "Examples:\n  omctl new fieldwork\n  omctl new channel notes --field title:text:required --scope public\n  omctl new channel --from 'sqlite:crm.db' --all --scope public"
)]
pub(super) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    project: ProjectArgs,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Project(ProjectArgs),
    Channel(new_channel::Args),
    Scenario(new_scenario::Args),
}

/// Make a project in a new folder
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl new project fieldwork --set addr=127.0.0.1:7500")]
struct ProjectArgs {
    /// The folder to make; its last part is the project's name
    name: Option<PathBuf>,
    /// A variable of the template
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    writing: Writing,
}

/// Where templates come from.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Source {
    /// Take templates from this folder; `omctl template eject` makes one
    #[arg(long, value_name = "DIR")]
    template: Option<PathBuf>,
}

/// How to write files.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(super) struct Writing {
    /// Show what would be written, and write nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Overwrite files that are there with another content
    #[arg(long)]
    force: bool,
}

impl Source {
    pub(super) fn load(&self) -> Result<Templates, CliError> {
        Ok(Templates::load(self.template.as_deref(), &FILTERS)?)
    }
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

pub(super) fn run(cli: &Cli, args: Args) -> Result<Exit, CliError> {
    match args.what {
        Some(What::Channel(args)) => new_channel::run(cli, &args),
        Some(What::Scenario(args)) => new_scenario::run(cli, &args),
        Some(What::Project(args)) => project(cli, &args),
        None => project(cli, &args.project),
    }
}

fn project(cli: &Cli, args: &ProjectArgs) -> Result<Exit, CliError> {
    let templates = args.source.load()?;
    // Who says a name knows what to do; who says nothing is led.
    let (path, led) = match &args.name {
        Some(path) => (path.clone(), false),
        None => (ask_name(cli)?, true),
    };
    let root = cli.globals.project.clone().unwrap_or_default().join(&path);
    let name = project_name(&root)?;
    let variables = variables(cli, &templates, &args.set, led)?;
    let plan = project_plan(&templates, &root, &name, &variables)?;
    let members = json!({ "project": name, "root": root.display().to_string() });
    write(cli, &plan, args.writing, "omctl.new/1", members)?;
    let around = std::path::absolute(&root).unwrap_or_else(|_| root.clone());
    if let Some(outer) = around.ancestors().skip(1).find(|folder| folder.join(PROJECT_FILE).is_file()) {
        cli.ui.warn(format!("it lies within the project `{}`, which reads nothing of it", outer.display()));
    }
    if !args.writing.dry_run {
        editor::refresh(cli, &root);
        let here = root.canonicalize().ok() == std::env::current_dir().ok().and_then(|dir| dir.canonicalize().ok());
        let go = if here { String::new() } else { format!("cd {} && ", shell_word(&root.display().to_string())) };
        cli.ui.next(format!("{go}omctl serve"));
    }
    Ok(Exit::Ok)
}

fn ask_name(cli: &Cli) -> Result<PathBuf, CliError> {
    let answer = if cli.can_ask() { cli.ui.ask("Name of the project", Some("fieldwork")) } else { None };
    answer
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
        .ok_or_else(|| CliError::new(Exit::Usage, "usage", "what to make was not said").hint("omctl new fieldwork"))
}

/// The last part of the path, where it can name a project.
fn project_name(root: &Path) -> Result<String, CliError> {
    let refused = |reason: String| {
        CliError::new(Exit::Usage, "bad_name", format!("`{}` cannot be a project: {reason}", root.display()))
            .hint("choose another name, for example: omctl new fieldwork")
    };
    if root.exists() && !root.is_dir() {
        return Err(CliError::new(Exit::Exists, "exists", format!("`{}` is there and is no folder", root.display()))
            .hint("choose another name"));
    }
    // `omctl new .` takes the name of the folder that it stands for.
    let named = if root.file_name().is_some() { root.to_owned() } else { root.canonicalize().unwrap_or_default() };
    let Some(name) = named.file_name().filter(|name| !name.is_empty()) else {
        return Err(refused("it has no name".to_owned()));
    };
    let Some(name) = name.to_str() else { return Err(refused("its name is not UTF-8 text".to_owned())) };
    if name.chars().any(char::is_control) {
        return Err(refused("its name has a control character in it".to_owned()));
    }
    if name.trim() != name {
        return Err(refused("its name begins or ends with a space".to_owned()));
    }
    Ok(name.to_owned())
}

/// The value of every variable that is said or asked for; the template's defaults fill in the rest.
fn variables(
    cli: &Cli,
    templates: &Templates,
    said: &[(String, String)],
    led: bool,
) -> Result<BTreeMap<String, String>, CliError> {
    let known = templates.variables("project", &[NAME])?;
    let mut values = BTreeMap::new();
    for (name, value) in said {
        if !known.contains_key(name) {
            let hint = near_hint(name, known.keys().map(String::as_str));
            return Err(CliError::new(
                Exit::Usage,
                "unknown_variable",
                format!("the template has no variable `{name}`"),
            )
            .hint(hint.unwrap_or_else(|| "it has none at all".to_owned())));
        }
        if values.insert(name.clone(), value.clone()).is_some() {
            return Err(CliError::new(Exit::Usage, "usage", format!("`--set {name}=…` was said twice")));
        }
    }
    for (name, default) in &known {
        if values.contains_key(name) || (default.is_some() && !led) {
            continue;
        }
        let answer = if cli.can_ask() { cli.ui.ask(name, default.as_deref()) } else { None };
        match answer.filter(|answer| !answer.is_empty()) {
            Some(answer) => {
                values.insert(name.clone(), answer);
            }
            None if default.is_some() => {}
            None => {
                let message = format!("the template's variable `{name}` has no value");
                return Err(
                    CliError::new(Exit::Usage, "missing_variable", message).hint(format!("say it: --set {name}=VALUE"))
                );
            }
        }
    }
    Ok(values)
}

fn project_plan(
    templates: &Templates,
    root: &Path,
    name: &str,
    variables: &BTreeMap<String, String>,
) -> Result<Plan, CliError> {
    let mut context = tera::Context::new();
    variables.iter().for_each(|(name, value)| context.insert(name.clone(), value));
    context.insert(NAME, name);
    let wanted: Vec<Wanted> = (templates.of_kind("project"))
        .map(|(template, path)| Wanted {
            path: path.into(),
            content: Content::Template(template.to_owned(), context.clone()),
        })
        .collect();
    if !wanted.iter().any(|file| file.path == Path::new(PROJECT_FILE)) {
        let message = format!("the template makes no {PROJECT_FILE}, so what it makes is no project");
        return Err(CliError::new(Exit::Invalid, "template", message)
            .hint(format!("put project/{PROJECT_FILE}.tera into its folder; omctl template eject writes one")));
    }
    Ok(Plan::new(templates, root, wanted)?)
}

/// A word of a command line, quoted where a shell would take it apart.
pub(super) fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:@%+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// Shows a plan (`--dry-run`) or writes it, and prints the result.
pub(super) fn write(
    cli: &Cli,
    plan: &Plan,
    writing: Writing,
    schema: &str,
    mut members: Value,
) -> Result<(), CliError> {
    let Writing { dry_run, force } = writing;
    if !dry_run {
        for file in plan.in_the_way().filter(|_| !force) {
            cli.ui.detail(&file.diff());
        }
        plan.write(force)?;
    }
    let done = |file: &PlannedFile| match file.action {
        // What was in the way is there no longer.
        Action::Differs if !dry_run => "replace",
        action => action.word(),
    };
    let files: Vec<Value> = (plan.files.iter())
        .map(|file| json!({ "path": file.path.display().to_string(), "action": done(file) }))
        .collect();
    if let Some(json) = members.as_object_mut() {
        json.insert("type".to_owned(), "result".into());
        json.insert("schema".to_owned(), schema.into());
        json.insert("files".to_owned(), files.into());
        json.insert("dry_run".to_owned(), dry_run.into());
    }
    let text = if dry_run {
        match plan.diff() {
            diff if diff.is_empty() => "nothing would change".to_owned(),
            diff => diff.trim_end().to_owned(),
        }
    } else {
        let line = |file: &PlannedFile| format!("{:<8}{}", done(file), file.path.display());
        plan.files.iter().map(line).collect::<Vec<_>>().join("\n")
    };
    cli.ui.result(text, || members);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(root: &Path, name: &str) -> Plan {
        let templates = Source::default().load().unwrap();
        project_plan(&templates, root, name, &BTreeMap::new()).unwrap()
    }

    /// `examples/fieldwork` is what `omctl new fieldwork` makes, so that it can be read and run without making it.
    #[test]
    fn a_new_project_loads_and_is_the_example() {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fieldwork");
        let plan = plan(&example, "fieldwork");
        assert_eq!(plan.diff(), "", "the templates changed: (cd examples && omctl new fieldwork --force)");
        let (catalog, warnings) = crate::catalog::load(&example, &|_| None, Some("dev")).unwrap();
        assert_eq!((catalog.channels.len(), catalog.scenarios.len(), warnings.len()), (2, 1, 0));
    }

    #[test]
    fn an_odd_name_is_quoted() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["1e3", "a: b", "true", "x # y", "class", "日本", "a b", "it's", "{{ x }}"] {
            let root = folder.path().join(name);
            assert_eq!(project_name(&root).unwrap(), name);
            plan(&root, name).write(false).unwrap();
            assert_eq!(crate::catalog::load(&root, &|_| None, None).unwrap().0.name, name);
        }
    }

    #[test]
    fn names_that_are_none_are_refused_with_a_reason() {
        for (path, reason) in [("/", "no name"), ("a\nb", "control"), ("x ", "space"), ("gone/..", "no name")] {
            let error = project_name(Path::new(path)).unwrap_err();
            assert!(error.exit == Exit::Usage && error.message.contains(reason), "{path}: {}", error.message);
        }
        assert_eq!(project_name(Path::new("../x")).unwrap(), "x");
        assert_eq!(
            project_name(&Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap_err().exit,
            Exit::Exists
        );
    }

    #[test]
    fn a_shell_takes_a_quoted_word_as_one() {
        for (text, word) in [("a", "a"), ("a b", "'a b'"), ("it's", "'it'\\''s'"), ("日本", "日本"), ("$x", "'$x'")]
        {
            assert_eq!(shell_word(text), word);
        }
    }
}
