//! The templates: those that are built in, and the user's own folder that replaces some of them.
//!
//! A template's name is its path without `.tera`: `project/channels/tickets.yaml`. The first part is its *kind*. A folder
//! of one's own replaces whole kinds: what it has of `project/` is the project, and what it has not is taken from here.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use tera::{Context, Kwargs, State, Tera};

use super::ScaffoldError;

/// What a template's file is called at its end; files without it are taken as they are.
const ENDING: &str = ".tera";

/// Most files of a folder of templates: it is a folder of templates, not somebody's home.
const FILES_MAX: usize = 1_000;

/// Largest file of a folder of templates, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The files of `templates/` that are built in.
const EMBEDDED: [(&str, &str); 10] = [
    ("channel/channel.yaml.tera", include_str!("../../templates/channel/channel.yaml.tera")),
    ("project/.gitignore.tera", include_str!("../../templates/project/.gitignore.tera")),
    ("project/README.md.tera", include_str!("../../templates/project/README.md.tera")),
    ("project/channels/customers.yaml.tera", include_str!("../../templates/project/channels/customers.yaml.tera")),
    ("project/channels/tickets.yaml.tera", include_str!("../../templates/project/channels/tickets.yaml.tera")),
    ("project/openmobster.yaml.tera", include_str!("../../templates/project/openmobster.yaml.tera")),
    ("project/scenarios/rush-hour.yaml.tera", include_str!("../../templates/project/scenarios/rush-hour.yaml.tera")),
    ("project/seed/01-customers.yaml.tera", include_str!("../../templates/project/seed/01-customers.yaml.tera")),
    ("project/seed/02-tickets.yaml.tera", include_str!("../../templates/project/seed/02-tickets.yaml.tera")),
    ("scenario/scenario.yaml.tera", include_str!("../../templates/scenario/scenario.yaml.tera")),
];

/// A filter that templates may use.
pub type Filter = (&'static str, fn(&str) -> String);

/// Templates that can be rendered.
#[derive(Debug)]
pub struct Templates {
    tera: Tera,
    /// Path without `.tera` → the text as written, and whether it is rendered.
    sources: BTreeMap<String, (String, bool)>,
}

impl Templates {
    /// The templates that are built in, with the kinds of `folder` in their place.
    ///
    /// # Errors
    /// A folder that is none or cannot be read, a file that is not text, a template with a mistake.
    pub fn load(folder: Option<&Path>, filters: &[Filter]) -> Result<Self, ScaffoldError> {
        let own = folder.map(read_folder).transpose()?.unwrap_or_default();
        let replaced: BTreeSet<&str> = own.keys().filter_map(|path| path.split('/').next()).collect();
        let embedded = EMBEDDED.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        let kept = embedded.filter(|(path, _)| !path.split('/').next().is_some_and(|kind| replaced.contains(kind)));
        let mut sources = BTreeMap::new();
        for (path, text) in kept.chain(own.clone()) {
            match path.strip_suffix(ENDING) {
                Some(name) => sources.insert(name.to_owned(), (text, true)),
                None => sources.insert(path, (text, false)),
            };
        }
        let mut tera = Tera::default();
        // The files are YAML and Markdown, and nothing in them is escaped for HTML.
        tera.autoescape_on(Vec::<&str>::new());
        for (name, filter) in filters {
            let filter = *filter;
            tera.register_filter(*name, move |text: &str, _: Kwargs, _: &State<'_>| filter(text));
        }
        let rendered = sources.iter().filter(|(_, (_, renders))| *renders);
        let texts: Vec<(&str, &str)> = rendered.map(|(name, (text, _))| (name.as_str(), text.as_str())).collect();
        // One call, so that templates may include each other in any order.
        tera.add_raw_templates(texts).map_err(|source| broken("the templates", source))?;
        Ok(Self { tera, sources })
    }

    /// The built-in templates as files, for somebody who wants to change them.
    pub fn embedded() -> impl Iterator<Item = (PathBuf, &'static str)> {
        EMBEDDED.iter().map(|(path, text)| (PathBuf::from(path), *text))
    }

    /// The names of a kind, with the path of the file that each makes.
    pub fn of_kind(&self, kind: &str) -> impl Iterator<Item = (&str, &str)> {
        let prefix = format!("{kind}/");
        self.sources.keys().filter_map(move |name| Some((name.as_str(), name.strip_prefix(&prefix)?)))
    }

    /// The variables that the templates of a kind ask for, `given` not among them, with the default of each.
    ///
    /// # Errors
    /// A template that extends one that is not there.
    pub fn variables(&self, kind: &str, given: &[&str]) -> Result<BTreeMap<String, Option<String>>, ScaffoldError> {
        let mut variables = BTreeMap::new();
        for (name, _) in self.of_kind(kind) {
            let Some((text, true)) = self.sources.get(name).map(|(text, renders)| (text, *renders)) else { continue };
            let asked = self.tera.get_template_variables(name).map_err(|source| broken(name, source))?;
            for variable in asked.into_iter().filter(|variable| !given.contains(variable)) {
                let known: &mut Option<String> = variables.entry(variable.to_owned()).or_default();
                *known = known.take().or_else(|| default_of(text, variable));
            }
        }
        Ok(variables)
    }

    /// Fills a template.
    pub(super) fn render(&self, name: &str, context: &Context) -> Result<String, ScaffoldError> {
        if let Some((text, false)) = self.sources.get(name) {
            return Ok(text.clone());
        }
        let text = self.tera.render(name, context).map_err(|source| broken(name, source))?;
        // Loops leave an empty line behind; a file ends with one line break.
        Ok(format!("{}\n", text.trim_end()))
    }
}

fn broken(name: &str, source: tera::Error) -> ScaffoldError {
    ScaffoldError::Template { name: name.to_owned(), source: Box::new(source) }
}

/// What `{{ name | default(value="…") }}` says first.
fn default_of(text: &str, variable: &str) -> Option<String> {
    text.match_indices(variable).find_map(|(at, _)| {
        let rest = text[at + variable.len()..].trim_start().strip_prefix('|')?.trim_start();
        let rest = rest.strip_prefix("default(")?.trim_start().strip_prefix("value")?.trim_start();
        let rest = rest.strip_prefix('=')?.trim_start();
        let quote = rest.chars().next().filter(|quote| "\"'`".contains(*quote))?;
        rest[1..].split_once(quote).map(|(value, _)| value.to_owned())
    })
}

/// Every file of a folder, by its path with `/`.
fn read_folder(folder: &Path) -> Result<BTreeMap<String, String>, ScaffoldError> {
    let io = |path: &Path, source: io::Error| ScaffoldError::Io { path: path.to_owned(), source };
    let unfit = |path: &Path, reason: &str| ScaffoldError::Unfit { path: path.to_owned(), reason: reason.to_owned() };
    let (mut files, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(inner) = folders.pop() {
        for entry in std::fs::read_dir(&inner).map_err(|source| io(&inner, source))? {
            let entry = entry.map_err(|source| io(&inner, source))?;
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            // What editors and systems leave behind.
            if name.ends_with('~') || name.ends_with(".swp") || name == ".DS_Store" || name == ".git" {
                continue;
            }
            let kind = entry.file_type().map_err(|source| io(&path, source))?;
            if kind.is_dir() {
                folders.push(path);
                continue;
            }
            let about = std::fs::metadata(&path).map_err(|source| io(&path, source))?;
            if !about.is_file() {
                return Err(unfit(&path, "it is neither a file nor a folder"));
            }
            if about.len() > FILE_BYTES_MAX {
                return Err(unfit(&path, "it is larger than 1 MiB"));
            }
            if files.len() == FILES_MAX {
                return Err(unfit(folder, "it holds more than 1,000 files"));
            }
            let bytes = std::fs::read(&path).map_err(|source| io(&path, source))?;
            let text = String::from_utf8(bytes).map_err(|_not_text| unfit(&path, "it is not UTF-8 text"))?;
            let below = path.strip_prefix(folder).unwrap_or(&path);
            let parts: Vec<_> = below.components().map(|part| part.as_os_str().to_string_lossy()).collect();
            files.insert(parts.join("/"), text);
        }
    }
    let kinds: BTreeSet<&str> = EMBEDDED.iter().filter_map(|(path, _)| path.split('/').next()).collect();
    if !files.keys().filter_map(|path| path.split_once('/')).any(|(kind, _)| kinds.contains(kind)) {
        let kinds = kinds.into_iter().collect::<Vec<_>>().join(", ");
        return Err(unfit(folder, &format!("it has none of the folders that hold templates: {kinds}")));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_built_in() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
        let mut there = read_folder(&folder).unwrap();
        // The page of a report belongs to the commands and makes no file of a project.
        there.retain(|path, _| !path.starts_with("report/"));
        let embedded: BTreeMap<String, String> =
            Templates::embedded().map(|(path, text)| (path.to_string_lossy().into_owned(), text.to_owned())).collect();
        assert_eq!(embedded.keys().collect::<Vec<_>>(), there.keys().collect::<Vec<_>>());
        assert_eq!(embedded, there);
    }

    #[test]
    fn a_folder_of_ones_own_replaces_whole_kinds() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("project/openmobster.yaml.tera", "name: {{ name | loud }}\nport: {{ port | default(value='70') }}\n");
        write("project/notes.txt", "{{ as it is }}\n");
        write("project/.openmobster.yaml.swp", "\u{0}");
        let templates = Templates::load(Some(folder.path()), &[("loud", |text| text.to_uppercase())]).unwrap();
        let files: Vec<&str> = templates.of_kind("project").map(|(_, path)| path).collect();
        assert_eq!(files, ["notes.txt", "openmobster.yaml"]);
        assert!(templates.of_kind("channel").next().is_some(), "what the folder lacks is taken from the built-in ones");
        let variables = templates.variables("project", &["name"]).unwrap();
        assert_eq!(variables, BTreeMap::from([("port".to_owned(), Some("70".to_owned()))]));
        let mut context = Context::new();
        context.insert("name", "x");
        assert_eq!(templates.render("project/openmobster.yaml", &context).unwrap(), "name: X\nport: 70\n");
        assert_eq!(templates.render("project/notes.txt", &context).unwrap(), "{{ as it is }}\n");
    }

    #[test]
    fn what_is_no_folder_of_templates_is_refused_with_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |path: &Path| Templates::load(Some(path), &[]).unwrap_err().to_string();
        assert!(refused(folder.path()).contains("none of the folders"));
        assert!(refused(&folder.path().join("gone")).contains("gone"));
        std::fs::create_dir(folder.path().join("project")).unwrap();
        std::fs::write(folder.path().join("project/logo.png"), [0x89, 0x50, 0xff]).unwrap();
        assert!(refused(folder.path()).contains("not UTF-8"));
        std::fs::remove_file(folder.path().join("project/logo.png")).unwrap();
        std::fs::write(folder.path().join("project/a.yaml.tera"), "{{ name").unwrap();
        assert!(matches!(Templates::load(Some(folder.path()), &[]), Err(ScaffoldError::Template { .. })));
    }
}
