//! `omctl new channel`: a channel from scratch, or channels from the live tables of a database.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use omctl_protocol::{AssignedBy, ChannelName};
use serde_json::json;

use super::channel_draft::{Draft, ScopeWish, channel_name};
use super::channel_fresh::{self, FieldWish, Wish};
use super::new::{Source, Writing, write};
use super::{Cli, CliError, Exit, editor};
use crate::backend::introspect::{self, KeyFit, TableShape};
use crate::catalog::{
    BackendDecl, CHANNELS_DIR, Catalog, MANAGED, PROJECT_FILE, can_be_key, near_hint, with_sqlite_backend,
};
use crate::scaffold::{Content, Plan, Wanted};

/// Write a channel from scratch, or channels from the live tables of a database
#[derive(Debug, Default, clap::Args)]
#[command(
    after_help = "Examples:\n  omctl new channel notes --field title:text:required --field hours:decimal:conflict=sum --scope public\n  omctl new channel visits --field customer:ref:customers --field status:enum:open,done --write create,update\n  omctl new channel --from 'sqlite:crm.db' --all --scope public --write create,update\n  omctl new channel tickets --from 'sqlite:crm.db#Ticket' --scope Assignee=account.email"
)]
pub(super) struct Args {
    /// The channel's name; with --from else the table's in snake case
    #[arg(conflicts_with = "all")]
    pub(super) name: Option<String>,
    /// A field of a channel from scratch: NAME:TYPE, then `required`, `default=…`, a ref's channel, an enum's words
    #[arg(long = "field", value_name = "FIELD", conflicts_with = "from")]
    pub(super) fields: Vec<FieldWish>,
    /// Where the records of a channel from scratch live; else OpenMobster's own store
    #[arg(long, value_name = "NAME", conflicts_with = "from")]
    pub(super) backend: Option<String>,
    /// The database, and the table: sqlite:FILE#TABLE, or BACKEND#TABLE of the project
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// All tables that have a key
    #[arg(long, requires = "from")]
    all: bool,
    /// The columns that tell rows apart, where the table does not say: of a view, or of a table without a key
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',', requires = "from", conflicts_with = "all")]
    key: Vec<String>,
    /// Who sees a record: public, FIELD=account.email, or via:REFERENCE; else nobody
    #[arg(long, value_name = "RULE")]
    pub(super) scope: Option<ScopeWish>,
    /// What any account may do: create,update,delete; else nothing
    #[arg(long, value_name = "OPERATIONS", value_delimiter = ',')]
    pub(super) write: Vec<Operation>,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    writing: Writing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Operation {
    Create,
    Update,
    Delete,
}

impl Args {
    /// `--write` as the entries of `write:`.
    pub(super) fn operations(&self) -> Option<String> {
        let mut wanted = self.write.clone();
        wanted.sort();
        wanted.dedup();
        let word = |operation: &Operation| match operation {
            Operation::Create => "create: any",
            Operation::Update => "update: any",
            Operation::Delete => "delete: any",
        };
        (!wanted.is_empty()).then(|| wanted.iter().map(word).collect::<Vec<_>>().join(", "))
    }

    /// The same from one text.
    pub(super) fn operations_of(text: &str) -> Result<String, String> {
        let words = text.split([',', ' ']).filter(|word| !word.is_empty());
        let write = words.map(|word| Operation::from_str(word, false)).collect::<Result<Vec<_>, _>>();
        let write = write.map_err(|_unknown| format!("`{text}` is not of create, update, delete"))?;
        Self { write, ..Self::default() }.operations().ok_or_else(|| "nothing was said".to_owned())
    }
}

pub(super) fn run(cli: &Cli, args: &Args) -> Result<Exit, CliError> {
    let root = cli.root()?;
    let prepared = prepare(cli, args, &root)?;
    for (table, reason) in &prepared.skipped {
        cli.ui.warn(format!("skipped `{table}`: {reason}"));
    }
    for (channel, columns) in &prepared.secrets {
        cli.ui.warn(format!(
            "left out of {channel}: {}; named like secrets, which devices would hold",
            columns.join(", ")
        ));
        cli.ui.note("  uncomment them in the file if devices shall have them");
    }
    let skipped: Vec<_> =
        prepared.skipped.iter().map(|(table, reason)| json!({ "table": table, "reason": reason })).collect();
    let members = json!({
        "backend": prepared.backend, "channels": prepared.channels, "skipped": skipped,
        "visible": prepared.unseen.is_empty(),
    });
    write(cli, &prepared.plan, args.writing, "omctl.new.channel/1", members)?;
    warn_unseen(cli, &prepared, args);
    if !args.writing.dry_run {
        editor::refresh(cli, &root);
        cli.ui.next(match (prepared.backend.as_str(), &args.from) {
            (MANAGED, _) => "omctl check".to_owned(),
            (_, Some(_)) => "omctl check && omctl channel install --all".to_owned(),
            // The table was only guessed.
            (_, None) => format!("omctl channel probe {}", prepared.channels.join(" ")),
        });
    }
    Ok(Exit::Ok)
}

/// Everything that is known before anything is written.
struct Prepared {
    backend: String,
    plan: Plan,
    channels: Vec<String>,
    /// Channels of which nobody will see anything.
    unseen: Vec<String>,
    /// Whether nobody may write.
    read_only: bool,
    skipped: Skipped,
    /// Columns of a channel that its file only mentions.
    secrets: Vec<(String, Vec<String>)>,
}

fn prepare(cli: &Cli, args: &Args, root: &Path) -> Result<Prepared, CliError> {
    if let Some(name) = args.name.as_deref().filter(|name| !ChannelName::is_valid(name)) {
        return Err(CliError::new(Exit::Usage, "usage", format!("`{name}` cannot name a channel"))
            .hint("lower-case letters, digits and `_`, beginning with a letter"));
    }
    // Warnings of other channels would only bury what is said of the new ones.
    let (catalog, _warnings) = cli.diagnose(root, None)?;
    match &args.from {
        Some(from) => from_tables(args, root, &catalog, from),
        None => from_scratch(cli, args, root, &catalog),
    }
}

fn from_scratch(cli: &Cli, args: &Args, root: &Path, catalog: &Catalog) -> Result<Prepared, CliError> {
    let wish = Wish::new(cli, args, catalog)?;
    let name = wish.name.to_string();
    if !ChannelName::is_valid(&name) {
        return Err(CliError::new(Exit::Usage, "usage", format!("`{name}` cannot name a channel"))
            .hint("lower-case letters, digits and `_`, beginning with a letter"));
    }
    let draft = wish.draft();
    let unseen = if draft.is_visible() { Vec::new() } else { vec![name.clone()] };
    let plan = Plan::new(&args.source.load()?, root, vec![wanted(&wish.name, &draft)?])?;
    if let Some(file) = plan.files.first() {
        channel_fresh::judge(catalog, &wish.name, file)?;
    }
    let read_only = wish.write.is_none();
    Ok(Prepared {
        backend: wish.backend,
        plan,
        channels: vec![name],
        unseen,
        read_only,
        skipped: Vec::new(),
        secrets: Vec::new(),
    })
}

fn wanted(name: &ChannelName, draft: &Draft) -> Result<Wanted, CliError> {
    let context = tera::Context::from_serialize(draft)
        .map_err(|error| CliError::new(Exit::Bug, "template", error.to_string()))?;
    let path = PathBuf::from(CHANNELS_DIR).join(format!("{name}.yaml"));
    Ok(Wanted { path, content: Content::Template("channel/channel.yaml".to_owned(), context) })
}

fn from_tables(args: &Args, root: &Path, catalog: &Catalog, from: &str) -> Result<Prepared, CliError> {
    let (file, table) = source(from, catalog)?;
    if args.all && table.is_some() {
        return Err(CliError::new(Exit::Usage, "usage", "`--all` and a table exclude each other")
            .hint(format!("omctl new channel --from 'sqlite:{}' --all", file.display())));
    }
    if !file.is_file() {
        let message = format!("there is no file `{}`", file.display());
        return Err(CliError::new(Exit::NotFound, "not_found", message));
    }
    let mut shapes =
        introspect::sqlite(&file).map_err(|error| CliError::new(Exit::Failed, "introspection", error.to_string()))?;
    if let (Some(table), [_, ..]) = (table.as_deref(), &*args.key) {
        give_key(&file, &mut shapes, table, args)?;
    }
    let (chosen, skipped) = choose(args, table.as_deref(), &shapes)?;
    let (backend, project_file) = backend(root, catalog, &file)?;
    let names = names(args, catalog, &backend, &chosen);
    let channel_of = |table: &str| match shapes.iter().find(|shape| shape.name.eq_ignore_ascii_case(table)) {
        Some(shape) if shape.key.len() == 1 => names.get(&shape.name).cloned(),
        _ => None,
    };
    let edited = |text| Wanted { path: PROJECT_FILE.into(), content: Content::Edited(text) };
    let mut files: Vec<Wanted> = project_file.map(edited).into_iter().collect();
    let (mut channels, mut unseen, mut secrets) = (Vec::new(), Vec::new(), Vec::new());
    for shape in &chosen {
        let Some(name) = names.get(&shape.name) else { continue };
        let draft = Draft::new(name, shape, &backend, args.scope.as_ref(), args.operations(), channel_of);
        if !draft.is_visible() {
            unseen.push(name.to_string());
        }
        let left_out: Vec<String> = draft.left_out().into_iter().map(str::to_owned).collect();
        if !left_out.is_empty() {
            secrets.push((name.to_string(), left_out));
        }
        files.push(wanted(name, &draft)?);
        channels.push(name.to_string());
    }
    if let Some(scope) = args.scope.as_ref().filter(|_| unseen.len() == chosen.len()) {
        return Err(scope.fits_nowhere(&chosen));
    }
    let plan = Plan::new(&args.source.load()?, root, files)?;
    Ok(Prepared { backend, plan, channels, unseen, read_only: args.write.is_empty(), skipped, secrets })
}

/// Gives a table the key that was said.
fn give_key(file: &Path, shapes: &mut [TableShape], table: &str, args: &Args) -> Result<(), CliError> {
    let exact = shapes.iter().position(|shape| shape.name == table);
    let place = exact.or_else(|| shapes.iter().position(|shape| shape.name.eq_ignore_ascii_case(table)));
    // What is not there is told by whoever chooses.
    let Some(shape) = place.map(|place| &mut shapes[place]).filter(|shape| !shape.is_virtual) else { return Ok(()) };
    if shape.is_view && !args.write.is_empty() {
        let text = format!("`{}` is a view: nothing can be written to it", shape.name);
        return Err(CliError::new(Exit::Usage, "usage", text).hint("leave out --write"));
    }
    let mut key = Vec::new();
    for wanted in &args.key {
        let Some(column) = shape.column(wanted) else {
            let text = format!("`{}` has no column `{wanted}`", shape.name);
            let names = shape.columns.iter().map(|column| column.name.as_str());
            let hint = near_hint(wanted, names.clone());
            let all = || format!("it has: {}", names.collect::<Vec<_>>().join(", "));
            return Err(CliError::new(Exit::Usage, "usage", text).hint(hint.unwrap_or_else(all)));
        };
        key.push(column.name.clone());
    }
    let fits = introspect::sqlite_key_fits(file, &shape.name, &key)
        .map_err(|error| CliError::new(Exit::Failed, "introspection", error.to_string()))?;
    let wrong = match fits {
        KeyFit::Unique => None,
        KeyFit::Null(rows) => Some(format!("{rows} rows of `{}` have NULL there", shape.name)),
        KeyFit::Shared(values) => Some(format!("{values} of its values stand in several rows of `{}`", shape.name)),
    };
    if let Some(wrong) = wrong {
        let text = format!("{} is no key: {wrong}", key.join(", "));
        return Err(CliError::new(Exit::Failed, "no_key", text).hint("name the columns that tell the rows apart"));
    }
    // Nobody but who creates a row can know such a key.
    (shape.key, shape.assigned_by) = (key, Some(AssignedBy::App));
    Ok(())
}

impl ScopeWish {
    /// No table has what the rule needs.
    fn fits_nowhere(&self, chosen: &[&TableShape]) -> CliError {
        let columns = |is_reference: bool| {
            let columns = chosen.iter().flat_map(|shape| &shape.columns);
            columns
                .filter(move |column| !is_reference || column.references.is_some())
                .map(|column| column.name.as_str())
        };
        let (text, hint) = match self {
            Self::Public => ("nobody sees a record".to_owned(), None),
            Self::Field(field, _) => (format!("there is no column `{field}`"), near_hint(field, columns(false))),
            Self::Via(field) => {
                let found = chosen.iter().find_map(|shape| shape.column(field));
                match found.and_then(|column| column.references.as_ref()) {
                    Some(to) => (
                        format!("`{field}` refers to `{}`, which is no channel with a key of one column", to.table),
                        Some("write the channel of that table first, or both at once: --all".to_owned()),
                    ),
                    None => {
                        let names = columns(true).collect::<Vec<_>>().join(", ");
                        let hint = (!names.is_empty()).then(|| format!("columns that refer to a table: {names}"));
                        (format!("`{field}` is no reference to another table"), hint)
                    }
                }
            }
        };
        CliError::new(Exit::Usage, "usage", text).hint(hint.unwrap_or_else(|| "--scope public, for example".to_owned()))
    }
}

/// Nothing is more puzzling than a channel that works and shows nothing: said loudly.
fn warn_unseen(cli: &Cli, prepared: &Prepared, args: &Args) {
    let unseen = &prepared.unseen;
    if !unseen.is_empty() {
        let reason = match &args.scope {
            Some(ScopeWish::Field(field, _)) => format!("no field `{field}` there"),
            Some(ScopeWish::Via(field)) => format!("`{field}` is no reference to a channel there"),
            _ => "no --scope was said".to_owned(),
        };
        cli.ui.warn(format!("NOBODY SEES ANYTHING YET of {}: {reason}", unseen.join(", ")));
        cli.ui.note("  uncomment `scope:` in the file, or run again with --scope public --force");
    }
    if prepared.read_only {
        cli.ui.warn("devices may only read: no --write was said");
        cli.ui.note("  uncomment `write:` in the file, or run again with --write create,update,delete --force");
    }
}

/// `sqlite:FILE`, `sqlite:FILE#TABLE`, `BACKEND`, `BACKEND#TABLE`.
fn source(from: &str, catalog: &Catalog) -> Result<(PathBuf, Option<String>), CliError> {
    let (head, table) = from.split_once('#').map_or((from, None), |(head, table)| (head, Some(table)));
    if let Some(BackendDecl::Sqlite { path }) = catalog.backends.get(head) {
        return Ok((path.clone(), table.filter(|table| !table.is_empty()).map(str::to_owned)));
    }
    if !from.contains(':') {
        let hint = near_hint(head, catalog.backends.keys().map(String::as_str));
        return Err(CliError::new(Exit::NotFound, "not_found", format!("no backend `{head}` is declared"))
            .hint(hint.unwrap_or_else(|| "give a SQLite file: --from 'sqlite:FILE#TABLE'".to_owned())));
    }
    let Some(rest) = from.strip_prefix("sqlite:") else {
        // The URL may hold a password: only its scheme is repeated.
        let scheme = from.split(':').next().unwrap_or_default();
        return Err(CliError::new(Exit::Usage, "usage", format!("channels cannot be written from `{scheme}`"))
            .hint("give a SQLite file: --from 'sqlite:FILE#TABLE'"));
    };
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let (file, table) = match rest.rsplit_once('#') {
        Some((file, table)) if !table.is_empty() => (file, Some(table.to_owned())),
        Some((file, _)) => (file, None),
        None => (rest, None),
    };
    if file.is_empty() {
        return Err(CliError::new(Exit::Usage, "usage", "`--from` names no file").hint("--from 'sqlite:FILE#TABLE'"));
    }
    Ok((PathBuf::from(file), table))
}

type Skipped = Vec<(String, &'static str)>;

/// The tables to write, and those that are left out with the reason.
fn choose<'s>(
    args: &Args,
    table: Option<&str>,
    shapes: &'s [TableShape],
) -> Result<(Vec<&'s TableShape>, Skipped), CliError> {
    let unfit = |shape: &TableShape| match shape {
        shape if shape.is_virtual => Some("it is a virtual table"),
        shape if shape.is_view && shape.key.is_empty() => Some("it is a view"),
        shape if shape.key.is_empty() => Some("it has no key"),
        shape if shape.name.is_empty() || shape.key.iter().any(String::is_empty) => Some("it or its key has no name"),
        shape if !shape.key.iter().filter_map(|key| shape.column(key)).all(|column| can_be_key(column.base)) => {
            Some("its key is of a type that cannot identify a record")
        }
        shape if shape.key.len() > 1 && shape.assigned_by != Some(AssignedBy::App) => {
            Some("its key cannot be assigned")
        }
        _ => None,
    };
    let all = || shapes.iter().map(|shape| shape.name.as_str()).collect::<Vec<_>>().join(", ");
    if args.all {
        let mut skipped = Skipped::new();
        for shape in shapes {
            if let Some(reason) = unfit(shape) {
                skipped.push((shape.name.clone(), reason));
            }
        }
        let chosen: Vec<_> = shapes.iter().filter(|shape| unfit(shape).is_none()).collect();
        if chosen.is_empty() {
            return Err(CliError::new(Exit::Failed, "no_tables", "the database has no table with a key"));
        }
        return Ok((chosen, skipped));
    }
    let Some(table) = table else {
        return Err(
            CliError::new(Exit::Usage, "usage", "no table was said").hint(format!("--all, or #TABLE: {}", all()))
        );
    };
    let exact = shapes.iter().find(|shape| shape.name == table);
    let Some(shape) = exact.or_else(|| shapes.iter().find(|shape| shape.name.eq_ignore_ascii_case(table))) else {
        let message = format!("the database has no table `{table}`");
        return Err(CliError::new(Exit::NotFound, "not_found", message).hint(format!("it has: {}", all())));
    };
    match unfit(shape) {
        Some(reason) => {
            Err(CliError::new(Exit::Failed, "no_key", format!("`{}` cannot be a channel: {reason}", shape.name)).hint(
                "a channel needs a primary key of text, whole numbers, decimals, dates or uuid; where the database \
                     does not declare it, name its columns: --key COLUMNS",
            ))
        }
        None => Ok((vec![shape], Skipped::new())),
    }
}

/// The channel of each table: those to be written, and those that the project has.
fn names(args: &Args, catalog: &Catalog, backend: &str, chosen: &[&TableShape]) -> BTreeMap<String, ChannelName> {
    let mut names: BTreeMap<String, ChannelName> = (catalog.channels.values())
        .filter(|channel| channel.backend == backend)
        .map(|channel| (channel.table.clone(), channel.name.clone()))
        .collect();
    for shape in chosen {
        if names.contains_key(&shape.name) && args.name.is_none() {
            continue;
        }
        let wanted = args.name.as_deref().map_or_else(|| channel_name(&shape.name), ChannelName::from);
        // Two tables may differ in case or marks alone. A channel of another table is in the way, and that is said.
        let taken = |name: &ChannelName| names.iter().any(|(table, known)| known == name && *table != shape.name);
        let free = std::iter::once(wanted.clone())
            .chain((2..).map(|n| ChannelName::from(format!("{wanted}_{n}"))))
            .find(|name| !taken(name))
            .expect("the numbers do not end");
        names.insert(shape.name.clone(), free);
    }
    names
}

/// The backend's name and, where it has to be added, the new text of the project file.
fn backend(root: &Path, catalog: &Catalog, file: &Path) -> Result<(String, Option<String>), CliError> {
    let io = |error: std::io::Error| CliError::new(Exit::Failed, "io", format!("`{}`: {error}", file.display()));
    let absolute = file.canonicalize().map_err(io)?;
    for (name, BackendDecl::Sqlite { path }) in &catalog.backends {
        if path.canonicalize().is_ok_and(|path| path == absolute) {
            return Ok((name.clone(), None));
        }
    }
    let stem = absolute.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let wanted = channel_name(&stem);
    let name = std::iter::once(wanted.to_string())
        .chain((2..).map(|n| format!("{wanted}_{n}")))
        .find(|name| name != MANAGED && !catalog.backends.contains_key(name))
        .expect("the numbers do not end");
    // Below the root the path moves with the project; elsewhere it stays as given, where that means the same to the root.
    let inside = root.canonicalize().ok().and_then(|root| absolute.strip_prefix(root).ok().map(Path::to_owned));
    let same_from_root = || root.join(file).canonicalize().is_ok_and(|path| path == absolute);
    let path = inside.unwrap_or_else(|| if same_from_root() { file.to_owned() } else { absolute.clone() });
    let text = std::fs::read_to_string(root.join(PROJECT_FILE)).map_err(io)?;
    let edited = with_sqlite_backend(&text, &name, &path.to_string_lossy()).ok_or_else(|| {
        CliError::new(Exit::Failed, "edit", format!("{PROJECT_FILE} cannot be edited"))
            .hint(format!("add it by hand: backends: {{ {name}: {{ kind: sqlite, path: … }} }}"))
    })?;
    Ok((name, Some(edited)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Globals, Ui};
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    const SCHEMA: &str = "
        CREATE TABLE Artist (ArtistId INTEGER PRIMARY KEY, Name NVARCHAR(120));
        CREATE TABLE Album (AlbumId INTEGER PRIMARY KEY, Title NVARCHAR(160) NOT NULL,
            ArtistId INTEGER NOT NULL REFERENCES Artist, LogId INTEGER REFERENCES Log, CoverOf INTEGER REFERENCES Album);
        CREATE TABLE PlaylistTrack (PlaylistId INTEGER NOT NULL, AlbumId INTEGER NOT NULL REFERENCES Album,
            PRIMARY KEY (PlaylistId, AlbumId));
        CREATE TABLE Odd (k TEXT PRIMARY KEY, id INTEGER, om_note TEXT, price NUMERIC(10,2), owner TEXT);
        CREATE TABLE Log (line TEXT);
        CREATE VIEW Names AS SELECT ArtistId, Name FROM Artist;
        CREATE VIRTUAL TABLE Search USING fts5(line);
        CREATE TABLE Login (LoginId INTEGER PRIMARY KEY, Email TEXT, Password_Hash TEXT NOT NULL, api_token TEXT);
        CREATE TABLE Loose (a INTEGER NOT NULL, b TEXT, c TEXT);
        INSERT INTO Loose VALUES (1, 'x', NULL), (1, 'y', 'z');";

    fn project() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(PROJECT_FILE), "version: 1\nname: t # mine\n").unwrap();
        rusqlite::Connection::open(folder.path().join("music.db")).unwrap().execute_batch(SCHEMA).unwrap();
        folder
    }

    fn prepared(folder: &Path, line: &str) -> Result<Prepared, CliError> {
        let from = format!("sqlite:{}/music.db", folder.display());
        let line = line.replace("DB", &from);
        let args = Line::parse_from(std::iter::once("x").chain(line.split(' '))).args;
        let cli = Cli { ui: Ui::new(true, true, true), globals: Globals::default() };
        prepare(&cli, &args, folder)
    }

    fn file(prepared: &Prepared, path: &str) -> String {
        prepared.plan.files.iter().find(|file| file.path == Path::new(path)).unwrap().content.clone()
    }

    #[test]
    fn all_tables_become_channels_that_load() {
        let folder = project();
        let all = prepared(folder.path(), "--from DB --all --scope public --write delete,create").unwrap();
        assert_eq!(all.channels, ["album", "artist", "login", "odd", "playlist_track"]);
        let skipped: Vec<_> = all.skipped.iter().map(|(table, reason)| format!("{table}: {reason}")).collect();
        assert_eq!(
            skipped,
            ["Log: it has no key", "Loose: it has no key", "Names: it is a view", "Search: it is a virtual table"]
        );
        assert_eq!(all.secrets, [("login".to_owned(), vec!["Password_Hash".to_owned(), "api_token".to_owned()])]);
        let login = file(&all, "channels/login.yaml");
        assert!(login.contains("\n  # api_token: { type: text }  # left out: "), "{login}");
        assert_eq!(
            file(&all, PROJECT_FILE),
            "version: 1\nname: t # mine\nbackends:\n  music: { kind: sqlite, path: music.db }\n"
        );
        let album = file(&all, "channels/album.yaml");
        for line in [
            "key: { columns: [AlbumId], assigned_by: backend }",
            "write: { create: any, delete: any }",
            "  AlbumId: { type: int }  # the key",
            "  Title: { type: text, required: true, max_length: 160 }",
            "  ArtistId: { type: ref, to: artist, required: true }",
            // Log has no key: nothing can be referred to in it.
            "  LogId: { type: int }",
            "  CoverOf: { type: ref, to: album }",
        ] {
            assert!(album.lines().any(|one| one == line), "{line}\n{album}");
        }
        assert!(file(&all, "channels/odd.yaml").contains("row_id: { column: id, type: int }"));
        all.plan.write(false).unwrap();
        let (catalog, warnings) = crate::catalog::load(folder.path(), &|_| None, None).unwrap();
        assert_eq!((catalog.channels.len(), warnings.len()), (5, 0));
        // Again: the backend is known, nothing differs.
        let again = prepared(folder.path(), "--from DB --all --scope public --write delete,create").unwrap();
        assert_eq!((again.backend.as_str(), again.plan.diff().as_str()), ("music", ""));
    }

    #[test]
    fn one_table_refers_to_what_the_project_has() {
        let folder = project();
        prepared(folder.path(), "singers --from DB#Artist --scope public").unwrap().plan.write(false).unwrap();
        let album = prepared(folder.path(), "--from DB#album --scope public").unwrap();
        assert!(file(&album, "channels/album.yaml").contains("ArtistId: { type: ref, to: singers, required: true }"));
    }

    #[test]
    fn a_scope_by_a_field_needs_the_field() {
        let folder = project();
        let all = prepared(folder.path(), "--from DB --all --scope Owner=account.email").unwrap();
        assert!(file(&all, "channels/odd.yaml").contains("\nscope: { owner: account.email }\n"));
        let alone = prepared(folder.path(), "--from DB#Album --scope via:ArtistId").err().unwrap();
        assert!(alone.message.contains("refers to `Artist`, which is no channel"), "{}", alone.message);
        let secret = prepared(folder.path(), "--from DB#Login --scope api_token=account.email").unwrap();
        assert!(file(&secret, "channels/login.yaml").contains("\n  api_token: { type: text }\n"));
        let inherited = prepared(folder.path(), "--from DB --all --scope via:ArtistId").unwrap();
        assert!(file(&inherited, "channels/album.yaml").contains("\nscope: { via: ArtistId }\n"));
        assert_eq!(all.unseen, ["album", "artist", "login", "playlist_track"]);
    }

    #[test]
    fn a_key_is_said_where_the_database_does_not() {
        let folder = project();
        let names = prepared(folder.path(), "--from DB#names --key artistid --scope public").unwrap();
        assert!(file(&names, "channels/names.yaml").contains("key: { columns: [ArtistId], assigned_by: app }"));
        prepared(folder.path(), "--from DB#Loose --key a,b --scope public").unwrap().plan.write(false).unwrap();
        crate::catalog::load(folder.path(), &|_| None, None).unwrap();
        for (line, told) in [
            ("--from DB#Loose --key a", "1 of its values stand in several rows"),
            ("--from DB#Loose --key c", "1 rows of `Loose` have NULL there"),
            ("--from DB#Loose --key d", "has no column `d`"),
            ("--from DB#Names --key ArtistId --write create", "is a view: nothing can be written"),
            ("--from DB#Search --key line", "it is a virtual table"),
        ] {
            let error = prepared(folder.path(), line).err().unwrap_or_else(|| panic!("{line} was taken"));
            assert!(error.message.contains(told), "{line}: {}", error.message);
        }
    }

    #[test]
    fn what_cannot_be_a_channel_is_refused() {
        let folder = project();
        for (line, exit, code) in [
            ("--from DB#Names", Exit::Failed, "no_key"),
            ("--from DB#Log", Exit::Failed, "no_key"),
            ("--from DB#Nobody", Exit::NotFound, "not_found"),
            ("--from DB#Album --scope nobody=account.email", Exit::Usage, "usage"),
            ("--from DB#Album --scope via:Title", Exit::Usage, "usage"),
            ("--from DB", Exit::Usage, "usage"),
            ("--from DB#Album --all", Exit::Usage, "usage"),
            ("Bad-Name --from DB#Album", Exit::Usage, "usage"),
            ("--from postgres://u:hunter2@h/x", Exit::Usage, "usage"),
            ("--from sqlite:nowhere.db#x", Exit::NotFound, "not_found"),
        ] {
            let error = prepared(folder.path(), line).err().unwrap_or_else(|| panic!("{line} was taken"));
            assert_eq!((error.exit, error.code), (exit, code), "{line}");
            assert!(!error.to_json().to_string().contains("hunter2"));
        }
    }
}
