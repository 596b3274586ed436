//! The JSON Schemas that editors read, kept in step with the project: `catalog` makes them, this file writes them.

use std::path::Path;

use super::new::Source;
use super::{Cli, CliError, Exit, environment};
use crate::catalog::{self, Catalog, PROJECT_FILE, SCHEMA_DIR};
use crate::scaffold::{Content, Plan, Wanted};

/// Writes the schemas of a project that asks for them. Nothing fails for them: they are a help for typing.
pub(super) fn refresh(cli: &Cli, root: &Path) {
    let asks = std::fs::read_to_string(root.join(PROJECT_FILE)).is_ok_and(|text| catalog::wants_schemas(&text));
    if !asks {
        return;
    }
    // A project with mistakes keeps the schemas that it has.
    let Ok((catalog, _)) = catalog::load(root, &environment, None) else { return };
    if let Err(error) = write(root, &catalog) {
        cli.ui.note(format!("the schemas for editors could not be written: {}", error.message));
    }
}

/// Writes the schemas that differ from what is there.
pub(super) fn write(root: &Path, catalog: &Catalog) -> Result<(), CliError> {
    let folder = Path::new(SCHEMA_DIR);
    let wanted = |(name, text)| Wanted { path: folder.join(name), content: Content::Text(text) };
    let schemas = catalog::schemas(catalog);
    forget_others(root, &schemas).map_err(|error| CliError::new(Exit::Failed, "io", error.to_string()))?;
    let plan = Plan::new(&Source::default().load()?, root, schemas.into_iter().map(wanted).collect())?;
    // They are derived: whatever is there is out of date.
    Ok(plan.write(true)?)
}

/// Removes the schemas of seeds whose channel is gone. Never outside of the project, wherever a link leads.
fn forget_others(root: &Path, schemas: &[(String, String)]) -> std::io::Result<()> {
    let folder = root.join(SCHEMA_DIR).join("seed");
    let inside =
        folder.canonicalize().is_ok_and(|folder| root.canonicalize().is_ok_and(|root| folder.starts_with(root)));
    let Ok(entries) = std::fs::read_dir(&folder) else { return Ok(()) };
    if !inside {
        return Ok(());
    }
    for entry in entries.flatten() {
        let name = format!("seed/{}", entry.file_name().to_string_lossy());
        if name.ends_with(".json") && !schemas.iter().any(|(known, _)| *known == name) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_removed_where_a_link_leads_out() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let kept = elsewhere.path().join("kept.json");
        std::fs::write(&kept, "{}").unwrap();
        std::fs::create_dir_all(folder.path().join(SCHEMA_DIR)).unwrap();
        let seeds = folder.path().join(SCHEMA_DIR).join("seed");
        std::os::unix::fs::symlink(elsewhere.path(), &seeds).unwrap();
        forget_others(folder.path(), &[]).unwrap();
        assert!(kept.exists());
        std::fs::remove_file(&seeds).unwrap();
        std::fs::create_dir(&seeds).unwrap();
        std::fs::write(seeds.join("gone.json"), "{}").unwrap();
        forget_others(folder.path(), &[]).unwrap();
        assert!(!seeds.join("gone.json").exists());
    }
}
