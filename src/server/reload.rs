//! Hot reload: the project's files as they are now, made live as a whole; or the last good generation goes on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use omctl_protocol::{Field, FieldType};

use super::{ServerError, numbered, open_backend};
use crate::backend::Backend;
use crate::catalog::{self, BackendDecl, Catalog, Channel, Diagnostic, PROJECT_FILE, Place, Severity};
use crate::live::{self, Live, LiveHandle};
use crate::push::Push;
use crate::store::Store;
use crate::sync::Sync;
use crate::tasks::Tasks;

/// Looks up a variable of the process's environment.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + std::marker::Sync>;

/// Where the project's files are, and how they are read.
#[derive(Clone)]
pub struct ProjectFiles {
    /// The project root.
    pub root: PathBuf,
    /// Whose overlay of `env:` lies on top.
    pub env_name: String,
    /// What `${env:NAME}` names.
    pub environment: Environment,
}

/// What became of one look at the files.
#[derive(Clone, Debug, PartialEq)]
pub enum Reload {
    /// They say what is live already.
    Same,
    /// They are live.
    Live {
        /// The generation's number.
        generation: u64,
        /// What is other than before, one sentence each.
        changes: Vec<String>,
        /// What is doubtful, and what is wrong in files that nothing live depends on.
        found: Vec<Diagnostic>,
        /// How long it took to load and swap.
        took: Duration,
    },
    /// They have mistakes: this generation goes on.
    Refused {
        /// The last good one.
        generation: u64,
        /// Every mistake.
        found: Vec<Diagnostic>,
    },
}

/// Makes definitions live in a running server. Cheap to clone.
#[derive(Clone)]
pub struct Reloader(Arc<Inner>);

pub(super) struct Inner {
    pub(super) store: Store,
    pub(super) live: LiveHandle,
    pub(super) sync: Sync,
    pub(super) push: Push,
    pub(super) tasks: Tasks,
    /// What is live, and the backends that it opened; held while it is being replaced.
    pub(super) now: tokio::sync::Mutex<Now>,
}

/// What is live, as it was declared.
pub(super) struct Now {
    pub(super) catalog: Catalog,
    pub(super) backends: BTreeMap<String, Arc<dyn Backend>>,
}

impl ProjectFiles {
    /// Reads the files. With the catalog comes what does not hold it up.
    ///
    /// # Errors
    /// Every mistake of every file, warnings too.
    pub fn load(&self) -> Result<(Catalog, Vec<Diagnostic>), Vec<Diagnostic>> {
        let (catalog, mut found) = catalog::load(&self.root, &*self.environment, Some(&self.env_name))?;
        let meaningless = live::diagnose(&catalog);
        if meaningless.is_empty() {
            return Ok((catalog, found));
        }
        found.extend(meaningless);
        found.sort_by(|a, b| a.place.cmp(&b.place));
        Err(found)
    }
}

impl Reloader {
    pub(super) fn new(inner: Inner) -> Self {
        let this = Self(Arc::new(inner));
        this.place_when_ready();
        this
    }

    /// Over rooms that somebody else has built: what is live in them was made of this catalog, with these backends.
    pub fn over(
        (store, live, sync, push): (Store, LiveHandle, Sync, Push),
        tasks: Tasks,
        catalog: Catalog,
        backends: BTreeMap<String, Arc<dyn Backend>>,
    ) -> Self {
        let now = tokio::sync::Mutex::new(Now { catalog, backends });
        Self::new(Inner { store, live, sync, push, tasks, now })
    }

    /// Makes a catalog live that has no mistakes, or notes why not.
    pub async fn change(&self, catalog: Catalog) -> Reload {
        self.apply(catalog, Vec::new(), Instant::now()).await
    }

    /// Reads the files and makes them live, or notes why not.
    pub async fn reload(&self, files: &ProjectFiles) -> Reload {
        let began = Instant::now();
        let files = files.clone();
        match Tasks::blocking(move || files.load()).await {
            Ok((catalog, found)) => self.apply(catalog, found, began).await,
            Err(found) => self.refuse(found),
        }
    }

    pub(super) fn sessions(&self) -> usize {
        self.0.push.sessions()
    }

    /// Whether the files had mistakes the last time.
    pub(super) fn has_trouble(&self) -> bool {
        !self.0.live.trouble().is_empty()
    }

    /// What is live is what the files say, after they said something else in between.
    pub(super) fn well_again(&self) -> Reload {
        let generation = self.0.live.current().generation;
        Reload::Live { generation, changes: Vec::new(), found: Vec::new(), took: Duration::ZERO }
    }

    async fn apply(&self, catalog: Catalog, found: Vec<Diagnostic>, began: Instant) -> Reload {
        let mut now = self.0.now.lock().await;
        let changes = changes(&now.catalog, &catalog);
        let mistakes: Vec<_> = found.iter().filter(|one| one.severity == Severity::Error).cloned().collect();
        let generation = match changes.is_empty() {
            true => self.0.live.current().generation,
            false => match self.swap(&mut now, catalog).await {
                Ok(generation) => generation,
                Err(found) => return self.refuse(found),
            },
        };
        let is_same = changes.is_empty() && mistakes.is_empty();
        self.0.live.note_trouble(mistakes);
        if is_same {
            return Reload::Same;
        }
        Reload::Live { generation, changes, found, took: began.elapsed() }
    }

    fn refuse(&self, found: Vec<Diagnostic>) -> Reload {
        self.0.live.note_trouble(found.clone());
        Reload::Refused { generation: self.0.live.current().generation, found }
    }

    /// Builds the whole generation, then swaps. Where something fails, what was live before goes on.
    async fn swap(&self, now: &mut Now, catalog: Catalog) -> Result<u64, Vec<Diagnostic>> {
        let backends = reopened(now, &catalog)?;
        let before = self.0.live.current();
        let generation = before.generation + 1;
        match self.build(generation, &catalog, &backends).await {
            Ok(()) => {
                *now = Now { catalog, backends };
                self.0.push.definitions_changed();
                Ok(generation)
            }
            Err(error) => {
                // The store may wait for this number already.
                self.0.live.swap(Arc::new(before.again(generation)));
                Err(match error {
                    ServerError::Project(found) => found,
                    other => vec![trouble("reload", other.to_string())],
                })
            }
        }
    }

    async fn build(
        &self,
        generation: u64,
        catalog: &Catalog,
        backends: &BTreeMap<String, Arc<dyn Backend>>,
    ) -> Result<(), ServerError> {
        self.0.store.begin_generation(generation).await?;
        let numbered = numbered(catalog, &self.0.store).await?;
        let live = Live::build(generation, catalog, numbered, backends).map_err(ServerError::Project)?;
        Ok(self.0.sync.change_to(Arc::new(live)).await?)
    }

    /// Places the records of closed channels whenever some are ready, as a task of its own: the rest goes on meanwhile.
    fn place_when_ready(&self) {
        const AGAIN_AFTER: Duration = Duration::from_secs(1);
        let this = self.clone();
        self.0.tasks.start("place", async move {
            loop {
                this.0.sync.placeable().await;
                let before = this.0.sync.closed();
                while let Err(error) = this.0.sync.place_closed().await {
                    tracing::warn!(%error, "placing records is tried again");
                    tokio::time::sleep(AGAIN_AFTER).await;
                }
                if this.0.sync.closed() != before {
                    this.0.push.definitions_changed();
                }
            }
        });
    }
}

/// The backends of a catalog: those that are declared as before stay open.
fn reopened(now: &Now, catalog: &Catalog) -> Result<BTreeMap<String, Arc<dyn Backend>>, Vec<Diagnostic>> {
    let mut backends = BTreeMap::new();
    for (name, decl) in &catalog.backends {
        let is_same = now.catalog.backends.get(name) == Some(decl);
        let backend = match now.backends.get(name).filter(|_| is_same) {
            Some(open) => open.clone(),
            None => open_backend(name, decl).map_err(|error| vec![trouble("backend", error.to_string())])?,
        };
        backends.insert(name.clone(), backend);
    }
    Ok(backends)
}

/// Something that stands in no file.
fn trouble(code: &'static str, message: String) -> Diagnostic {
    let place = Place { file: Path::new(PROJECT_FILE).to_owned(), ..Place::default() };
    Diagnostic { severity: Severity::Error, code, place, message, hint: None }
}

/// What is other in a catalog than in the one before, one sentence each; nothing where both mean the same.
fn changes(before: &Catalog, now: &Catalog) -> Vec<String> {
    let mut changes = Vec::new();
    for name in before.channels.keys().filter(|name| !now.channels.contains_key(*name)) {
        changes.push(format!("{name} is gone"));
    }
    for (name, channel) in &now.channels {
        match before.channels.get(name) {
            None => changes.push(format!("{name} is new")),
            Some(old) => changes.extend(channel_changes(old, channel).map(|change| format!("{name}: {change}"))),
        }
    }
    let names: std::collections::BTreeSet<&String> = before.backends.keys().chain(now.backends.keys()).collect();
    for name in names {
        match (before.backends.get(name), now.backends.get(name)) {
            (None, Some(_)) => changes.push(format!("backend {name} is new")),
            (Some(_), None) => changes.push(format!("backend {name} is gone")),
            (Some(old), Some(new)) if old != new => changes.push(format!("backend {name} is {}", named(new))),
            _ => {}
        }
    }
    if before.name != now.name {
        changes.push(format!("the project is called {} now", now.name));
    }
    changes
}

fn named(decl: &BackendDecl) -> String {
    match decl {
        BackendDecl::Sqlite { path } => format!("{} now", path.display()),
    }
}

fn channel_changes(before: &Channel, now: &Channel) -> impl Iterator<Item = String> {
    let mut changes = field_changes(before, now);
    let mut said = |is_other: bool, what: &str| {
        if is_other {
            changes.push(what.to_owned());
        }
    };
    said(
        (&before.backend, &before.table) != (&now.backend, &now.table),
        "it has another home; its records are read anew",
    );
    said(before.filter != now.filter, "`where` is other");
    said(before.scope.placeless() != now.scope.placeless(), "`scope` is other");
    said(before.write != now.write, "`write` is other");
    said(before.schema.key != now.schema.key, "`key` is other");
    said(before.delete_vs_update != now.delete_vs_update, "`delete_vs_update` is other");
    said(before.poll_every != now.poll_every, "`detect` is other");
    // Whatever else a schema may have by now.
    if changes.is_empty() && before.schema != now.schema {
        changes.push("its fields are other".to_owned());
    }
    changes.into_iter()
}

fn field_changes(before: &Channel, now: &Channel) -> Vec<String> {
    let mut changes = Vec::new();
    let is_in = |fields: &[Field], name: &str| fields.iter().any(|field| field.name == name);
    let is_new = |field: &&Field| !is_in(&before.schema.fields, &field.name);
    for field in now.schema.fields.iter().filter(is_new) {
        let renamed = before
            .schema
            .fields
            .iter()
            .find(|old| old.column() == field.column() && !is_in(&now.schema.fields, &old.name));
        changes.push(match renamed {
            Some(old) => format!("field {} is called {} now", old.name, field.name),
            None => format!("field {} is new", field.name),
        });
    }
    for old in &before.schema.fields {
        match now.schema.field(&old.name) {
            Some((_, field)) if field.kind != old.kind => {
                changes.push(format!("field {} is {} now", field.name, kind(field.kind)));
            }
            Some((_, field)) if field != old => changes.push(format!("field {} is other", field.name)),
            Some(_) => {}
            None if now.schema.fields.iter().any(|field| field.column() == old.column()) => {}
            None => changes.push(format!("field {} is gone", old.name)),
        }
    }
    let order = |channel: &Channel| channel.schema.fields.iter().map(|field| field.name.clone()).collect::<Vec<_>>();
    if changes.is_empty() && order(before) != order(now) {
        changes.push("its fields stand in another order".to_owned());
    }
    changes
}

fn kind(kind: FieldType) -> &'static str {
    kind.word()
}
