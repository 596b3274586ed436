//! `omctl new`: a project, or a channel of one.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Cli, CliError, Exit, new_channel};
use crate::catalog::scalar;
use crate::scaffold::{Content, Plan, Wanted};

/// The files of a project and their templates.
const FILES: [(&str, &str); 7] = [
    ("openmobster.yaml", "project/openmobster.yaml"),
    ("README.md", "project/README.md"),
    (".gitignore", "project/gitignore"),
    ("channels/customers.yaml", "project/channels/customers.yaml"),
    ("channels/tickets.yaml", "project/channels/tickets.yaml"),
    ("seed/01-customers.yaml", "project/seed/01-customers.yaml"),
    ("seed/02-tickets.yaml", "project/seed/02-tickets.yaml"),
];

/// Make a project, or a channel of a project
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(
    after_help = "Examples:\n  omctl new fieldwork\n  omctl new channel --from 'sqlite:crm.db' --all --scope public"
)]
pub(super) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// The folder to make; its last part is the project's name
    #[arg(required = true)]
    name: Option<PathBuf>,
    #[command(flatten)]
    writing: Writing,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Project(ProjectArgs),
    Channel(new_channel::Args),
}

/// Make a project in a new folder
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl new project fieldwork")]
struct ProjectArgs {
    /// The folder to make; its last part is the project's name
    name: PathBuf,
    #[command(flatten)]
    writing: Writing,
}

/// How to write files.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Writing {
    /// Show what would be written, and write nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Overwrite files that are there with another content
    #[arg(long)]
    force: bool,
}

pub(super) fn run(cli: &Cli, args: Args) -> Result<Exit, CliError> {
    match (args.what, args.name) {
        (Some(What::Channel(args)), _) => new_channel::run(cli, &args),
        (Some(What::Project(args)), _) => project(cli, &args),
        (None, Some(name)) => project(cli, &ProjectArgs { name, writing: args.writing }),
        (None, None) => Err(CliError::new(Exit::Usage, "usage", "what to make was not said").hint("omctl new NAME")),
    }
}

fn project(cli: &Cli, args: &ProjectArgs) -> Result<Exit, CliError> {
    let base = cli.globals.project.clone().unwrap_or_default();
    let root = base.join(&args.name);
    // `omctl new .` takes the name of the folder that it stands for.
    let named = if root.file_name().is_some() { root.clone() } else { root.canonicalize().unwrap_or_default() };
    let name = named.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.filter(|name| !name.is_empty()).ok_or_else(|| {
        CliError::new(Exit::Usage, "usage", format!("`{}` has no name for a project", args.name.display()))
            .hint("omctl new fieldwork")
    })?;
    let plan = project_plan(&root, &name)?;
    write(cli, &plan, args.writing, "omctl.new/1", json!({ "project": name, "root": root.display().to_string() }))?;
    if !args.writing.dry_run {
        cli.ui.next(format!("cd {} && omctl check", args.name.display()));
    }
    Ok(Exit::Ok)
}

fn project_plan(root: &Path, name: &str) -> Result<Plan, CliError> {
    let wanted = FILES.map(|(path, template)| {
        let mut context = tera::Context::new();
        // Markdown shows the name as it is; YAML may have to quote it.
        let shown = if path.ends_with(".yaml") { scalar(name) } else { name.to_owned() };
        context.insert("name", &shown);
        Wanted { path: path.into(), content: Content::Template(template, context) }
    });
    Ok(Plan::new(root, wanted.into())?)
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
    let files: Vec<Value> = (plan.files.iter())
        .map(|file| json!({ "path": file.path.display().to_string(), "action": file.action.word() }))
        .collect();
    if let Some(json) = members.as_object_mut() {
        json.insert("type".to_owned(), "result".into());
        json.insert("schema".to_owned(), schema.into());
        json.insert("files".to_owned(), files.into());
        json.insert("dry_run".to_owned(), dry_run.into());
    }
    let text = if dry_run {
        plan.diff().trim_end().to_owned()
    } else {
        let line = |file: &crate::scaffold::PlannedFile| format!("{:<8}{}", file.action.word(), file.path.display());
        plan.files.iter().map(line).collect::<Vec<_>>().join("\n")
    };
    cli.ui.result(text, || members);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `examples/fieldwork` is what `omctl new fieldwork` makes, so that it can be read and run without making it.
    #[test]
    fn a_new_project_loads_and_is_the_example() {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fieldwork");
        let plan = project_plan(&example, "fieldwork").unwrap();
        assert_eq!(plan.diff(), "", "the templates changed: (cd examples && omctl new fieldwork --force)");
        let (catalog, warnings) = crate::catalog::load(&example, &|_| None, Some("dev")).unwrap();
        assert_eq!((catalog.channels.len(), warnings.len()), (2, 0));
    }

    #[test]
    fn an_odd_name_is_quoted() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["1e3", "a: b", "true", "x # y"] {
            let root = folder.path().join(name);
            project_plan(&root, name).unwrap().write(false).unwrap();
            assert_eq!(crate::catalog::load(&root, &|_| None, None).unwrap().0.name, name);
        }
    }
}
