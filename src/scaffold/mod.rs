//! Files made from templates: planned, compared with what is there, shown, and only then written.
//!
//! [`Plan::new`] renders and compares, [`Plan::diff`] shows, [`Plan::write`] writes. A file that is there with another
//! content is never overwritten unasked. Knows nothing of channels or backends: whoever plans fills the context.
//!
//! *Invariant:* nothing is written outside the root, whatever a path or a symbolic link says.

mod diff;
mod templates;

use std::io;
use std::path::{Component, Path, PathBuf};

pub use templates::{Filter, Templates};
use tera::Context;

/// One file to be made.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Where, relative to the root.
    pub path: PathBuf,
    /// What is in it.
    pub content: Content,
}

/// Where a file's content comes from.
#[derive(Clone, Debug)]
pub enum Content {
    /// A template of this name, filled.
    Template(String, Context),
    /// This text.
    Text(String),
    /// The file as it is, edited: it replaces the old content without being asked for, for it keeps it.
    Edited(String),
}

/// What would be written, and what is there.
#[derive(Clone, Debug)]
pub struct Plan {
    root: PathBuf,
    /// The files in the order they were wanted.
    pub files: Vec<PlannedFile>,
}

/// One file of a [`Plan`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedFile {
    /// Where, relative to the root.
    pub path: PathBuf,
    /// What will be in it.
    pub content: String,
    /// What writing it means.
    pub action: Action,
    /// What is in it now.
    before: String,
}

/// What writing a file means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is not there yet.
    Create,
    /// It is there with this content.
    Same,
    /// It is there, and its content is changed in place.
    Edit,
    /// It is there with another content.
    Differs,
}

impl Action {
    /// The word in output.
    pub fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Same => "same",
            Self::Edit => "edit",
            Self::Differs => "differs",
        }
    }
}

/// Why nothing was made.
#[derive(Debug, thiserror::Error)]
pub enum ScaffoldError {
    /// Files are there with another content.
    #[error("{} there already with another content", listed(files))]
    Differs {
        /// Which.
        files: Vec<PathBuf>,
    },
    /// The path leads out of the root.
    #[error("`{}` leads out of the project", path.display())]
    Escapes {
        /// The path as wanted.
        path: PathBuf,
    },
    /// A template cannot be rendered.
    #[error("template `{name}` cannot be rendered")]
    Template {
        /// Its name.
        name: String,
        /// The reason.
        #[source]
        source: Box<tera::Error>,
    },
    /// Something in a folder of templates is no template.
    #[error("`{}` is no template: {reason}", path.display())]
    Unfit {
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The file system refuses.
    #[error("`{}`: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// Names a few; the rest are counted.
fn listed(files: &[PathBuf]) -> String {
    let names: Vec<String> = files.iter().take(3).map(|file| format!("`{}`", file.display())).collect();
    let rest = files.len() - names.len();
    match (names.as_slice(), rest) {
        ([only], 0) => format!("{only} is"),
        (few, 0) => format!("{} are", few.join(", ")),
        (few, rest) => format!("{} and {rest} more files are", few.join(", ")),
    }
}

impl Plan {
    /// Renders every file and compares it with what is there. Writes nothing.
    ///
    /// # Errors
    /// A path that leads out of `root`, a template that cannot be rendered, a file that cannot be read.
    pub fn new(templates: &Templates, root: &Path, wanted: Vec<Wanted>) -> Result<Self, ScaffoldError> {
        let mut files = Vec::new();
        for Wanted { path, content } in wanted {
            let target = target(root, &path)?;
            let before = match std::fs::read(&target) {
                // What is no text differs from every text, and is shown as well as it can be.
                Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(source) => return Err(ScaffoldError::Io { path: target, source }),
            };
            let (content, edited) = match content {
                Content::Edited(text) => (text, true),
                Content::Text(text) => (text, false),
                Content::Template(name, context) => (templates.render(&name, &context)?, false),
            };
            let action = match &before {
                None => Action::Create,
                Some(text) if *text == content => Action::Same,
                Some(_) if edited => Action::Edit,
                Some(_) => Action::Differs,
            };
            files.push(PlannedFile { path, content, action, before: before.unwrap_or_default() });
        }
        Ok(Self { root: root.to_owned(), files })
    }

    /// What would change, as a unified diff of all files.
    pub fn diff(&self) -> String {
        self.files.iter().filter(|file| file.action != Action::Same).map(PlannedFile::diff).collect()
    }

    /// The files that stand in the way of [`Plan::write`].
    pub fn in_the_way(&self) -> impl Iterator<Item = &PlannedFile> {
        self.files.iter().filter(|file| file.action == Action::Differs)
    }

    /// Writes the files, all or, where one stands in the way and `force` is not said, none.
    ///
    /// # Errors
    /// Files that differ, a path that leads out of the root by now, or what the file system refuses.
    pub fn write(&self, force: bool) -> Result<(), ScaffoldError> {
        let files: Vec<PathBuf> = self.in_the_way().map(|file| file.path.clone()).collect();
        if !force && !files.is_empty() {
            return Err(ScaffoldError::Differs { files });
        }
        for file in self.files.iter().filter(|file| file.action != Action::Same) {
            let target = target(&self.root, &file.path)?;
            let io = |source| ScaffoldError::Io { path: target.clone(), source };
            if let Some(folder) = target.parent() {
                std::fs::create_dir_all(folder).map_err(io)?;
            }
            std::fs::write(&target, &file.content).map_err(io)?;
        }
        Ok(())
    }
}

impl PlannedFile {
    /// What would change in this file.
    pub fn diff(&self) -> String {
        diff::unified(&self.path.display().to_string(), &self.before, &self.content)
    }
}

/// The path below the root, refused where it leads elsewhere: by `..`, by being absolute, or by a symbolic link.
fn target(root: &Path, path: &Path) -> Result<PathBuf, ScaffoldError> {
    let escapes = || ScaffoldError::Escapes { path: path.to_owned() };
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    if !plain || path.as_os_str().is_empty() {
        return Err(escapes());
    }
    let target = root.join(path);
    // A dangling link has no canonical path, and writing would follow it.
    if target.is_symlink() {
        return Err(escapes());
    }
    if let Ok(root) = root.canonicalize() {
        let existing = target.ancestors().find_map(|above| above.canonicalize().ok());
        if !existing.is_some_and(|existing| existing.starts_with(&root)) {
            return Err(escapes());
        }
    }
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(path: &str, name: &str) -> Wanted {
        Wanted { path: path.into(), content: Content::Text(format!("name: {name}\n")) }
    }

    fn planned(root: &Path, wanted: Vec<Wanted>) -> Result<Plan, ScaffoldError> {
        Plan::new(&Templates::load(None, &[("yaml", str::to_owned)]).unwrap(), root, wanted)
    }

    #[test]
    fn a_file_that_differs_is_not_overwritten_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let plan = planned(folder.path(), vec![wanted("a/p.yaml", "one")]).unwrap();
        assert_eq!(plan.files[0].action, Action::Create);
        plan.write(false).unwrap();
        let same = planned(folder.path(), vec![wanted("a/p.yaml", "one")]).unwrap();
        assert_eq!((same.files[0].action, same.diff().as_str()), (Action::Same, ""));
        let other = planned(folder.path(), vec![wanted("b.yaml", "two"), wanted("a/p.yaml", "two")]).unwrap();
        assert_eq!(other.files[1].action, Action::Differs);
        assert!(other.diff().contains("-name: one\n+name: two\n"), "{}", other.diff());
        assert!(matches!(other.write(false), Err(ScaffoldError::Differs { files }) if files.len() == 1));
        assert!(!folder.path().join("b.yaml").exists());
        other.write(true).unwrap();
        assert!(std::fs::read_to_string(folder.path().join("a/p.yaml")).unwrap().contains("name: two"));
    }

    #[test]
    fn paths_that_leave_the_root_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["../x", "/tmp/x", "a/../../x", ""] {
            let refused = planned(folder.path(), vec![wanted(path, "x")]);
            assert!(matches!(refused, Err(ScaffoldError::Escapes { .. })), "{path}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_that_leave_the_root_are_refused() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("out")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path().join("new"), folder.path().join("file")).unwrap();
        for path in ["out/x", "out/y/z", "file"] {
            let refused = planned(folder.path(), vec![wanted(path, "x")]);
            assert!(matches!(refused, Err(ScaffoldError::Escapes { .. })), "{path}");
        }
    }
}
