//! The model of a disk: what is certainly there, what may be there, and images of what a power cut can leave.
//!
//! Certain is what had been written when a sync of its file began that has ended; of everything else, any part may be
//! there, in any order, each sector of 512 bytes old or new. A name (a file made, renamed or removed, a folder made) is
//! certain when its folder was synced after it; syncing the file is not enough. What was not written is never damaged
//! (SQLite calls that "powersafe overwrite"), and where a file grew without its data, there is junk.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::strace::Call;
use crate::rng::Rng;

/// What a drive writes whole or not at all.
pub(super) const SECTOR_BYTES: u64 = 512;

/// What fills the holes of a torn write behind a file's old end.
const JUNK: u8 = 0xA5;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Node {
    Folder,
    File(usize),
}

#[derive(Clone, Debug)]
enum Change {
    Write { at: u64, data: Vec<u8> },
    Truncate { len: u64 },
}

/// What was done and is not certain.
#[derive(Clone, Debug)]
struct Pending<T> {
    number: usize,
    end: Option<usize>,
    what: T,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    certain: Vec<u8>,
    /// Counts the changes of what is certain.
    generation: usize,
    pending: Vec<Pending<Change>>,
    /// Its length as its writers see it.
    len: u64,
}

#[derive(Clone, Debug)]
enum Naming {
    Make { path: PathBuf, node: Node },
    Remove { path: PathBuf },
    Rename { from: PathBuf, to: PathBuf, node: Node },
}

impl Naming {
    fn path(&self) -> &Path {
        match self {
            Self::Make { path, .. } | Self::Remove { path } | Self::Rename { to: path, .. } => path,
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Self::Make { path, node } => drop(names.insert(path.clone(), *node)),
            Self::Remove { path } => drop(names.remove(path)),
            Self::Rename { from, to, node } => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
        }
    }
}

/// How much of what is not certain an image has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Nothing of it.
    Lost,
    /// All of it.
    All,
    /// Of each file what was written first, up to somewhere; the same of each folder.
    Prefix,
    /// Any part, each write and each name by itself.
    Subset,
    /// The last write of each file only in some of its sectors, everything before it whole.
    Torn,
    /// The same over a random part of what stood before.
    TornSubset,
    /// All names, and of the data nothing.
    Names,
    /// All data, and of the names nothing.
    Data,
}

impl Kind {
    pub(super) const ALL: [Self; 8] =
        [Self::Lost, Self::All, Self::Prefix, Self::Subset, Self::Torn, Self::TornSubset, Self::Names, Self::Data];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::All => "all",
            Self::Prefix => "prefix",
            Self::Subset => "subset",
            Self::Torn => "torn",
            Self::TornSubset => "torn_subset",
            Self::Names => "names",
            Self::Data => "data",
        }
    }
}

/// The files of one party under one folder.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    root: PathBuf,
    inodes: Vec<Inode>,
    /// As everybody sees them.
    names: BTreeMap<PathBuf, Node>,
    certain_names: BTreeMap<PathBuf, Node>,
    naming: Vec<Pending<Naming>>,
    count: usize,
    /// Syncs of files whose names end so do nothing, which a checker must find.
    forgets: Option<String>,
}

/// The place of a change among the pending ones of its file, and which of its sectors are there; without them, all.
type Kept = (usize, Option<Vec<bool>>);

/// One thing that a power cut can leave.
#[derive(Clone, Debug)]
pub(super) struct Image {
    names: BTreeMap<PathBuf, Node>,
    /// Of each file, the changes that it has.
    changes: BTreeMap<usize, Vec<Kept>>,
    /// The same for the same content.
    pub(super) fingerprint: [u64; 2],
}

impl Disk {
    /// The files under `root` as they stand there now are certain.
    pub(super) fn load(root: &Path, from: &Path, forgets: Option<&str>) -> io::Result<Self> {
        let mut disk = Self {
            root: root.to_owned(),
            inodes: Vec::new(),
            names: BTreeMap::new(),
            certain_names: BTreeMap::new(),
            naming: Vec::new(),
            count: 0,
            forgets: forgets.map(str::to_owned),
        };
        disk.load_folder(from, root)?;
        disk.names = disk.certain_names.clone();
        Ok(disk)
    }

    fn load_folder(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            if from.is_dir() {
                self.certain_names.insert(to.clone(), Node::Folder);
                self.load_folder(&from, &to)?;
            } else if !is_passing(&to) {
                let certain = fs::read(&from)?;
                let len = certain.len() as u64;
                self.certain_names.insert(to, Node::File(self.inodes.len()));
                self.inodes.push(Inode { certain, len, ..Inode::default() });
            }
        }
        Ok(())
    }

    /// Whether a call is about a file of this disk.
    pub(super) fn has(&self, path: &Path) -> bool {
        path.starts_with(&self.root) && !is_passing(path)
    }

    fn inode(&mut self, path: &Path) -> Option<usize> {
        match self.names.get(path) {
            Some(Node::File(inode)) => Some(*inode),
            _ => None,
        }
    }

    /// A call begins: from now on its effect may be on the disk. The answer is what [`Disk::end`] wants.
    pub(super) fn begin(&mut self, call: &Call) -> usize {
        self.count += 1;
        let number = self.count;
        match call {
            Call::Create { path, truncate } => match self.inode(path) {
                Some(inode) if *truncate && self.inodes[inode].len > 0 => {
                    self.change(inode, number, Change::Truncate { len: 0 });
                }
                Some(_) => {}
                None => {
                    let node = Node::File(self.inodes.len());
                    self.inodes.push(Inode::default());
                    self.rename(number, Naming::Make { path: path.clone(), node });
                }
            },
            Call::Write { path, at, data } => {
                if let Some(inode) = self.inode(path) {
                    // Our programs use `write` only for files that they write from the beginning or append to.
                    let at = at.unwrap_or(self.inodes[inode].len);
                    self.change(inode, number, Change::Write { at, data: data.clone() });
                }
            }
            Call::Truncate { path, len } => {
                if let Some(inode) = self.inode(path) {
                    self.change(inode, number, Change::Truncate { len: *len });
                }
            }
            Call::Rename { from, to } => {
                if let Some(node) = self.names.get(from).copied() {
                    self.rename(number, Naming::Rename { from: from.clone(), to: to.clone(), node });
                }
            }
            Call::Unlink { path } if self.names.contains_key(path) => {
                self.rename(number, Naming::Remove { path: path.clone() });
            }
            Call::MakeDir { path } => self.rename(number, Naming::Make { path: path.clone(), node: Node::Folder }),
            _ => {}
        }
        number
    }

    fn change(&mut self, inode: usize, number: usize, what: Change) {
        let inode = &mut self.inodes[inode];
        inode.len = match &what {
            Change::Write { at, data } => inode.len.max(at + data.len() as u64),
            Change::Truncate { len } => *len,
        };
        inode.pending.push(Pending { number, end: None, what });
    }

    fn rename(&mut self, number: usize, what: Naming) {
        what.apply(&mut self.names);
        self.naming.push(Pending { number, end: None, what });
    }

    /// A call ends that began on line `begin`: now a sync has its effect, and a later one will cover it.
    pub(super) fn end(&mut self, call: &Call, number: usize, (begin, end): (usize, usize)) {
        if let Call::Sync { path } = call {
            let name = path.to_string_lossy();
            if !self.forgets.as_ref().is_some_and(|end| name.ends_with(end.as_str())) {
                self.sync(path, begin);
            }
            return;
        }
        for inode in &mut self.inodes {
            if let Some(last) = inode.pending.iter_mut().rev().find(|pending| pending.number == number) {
                last.end = Some(end);
            }
        }
        if let Some(last) = self.naming.iter_mut().rev().find(|pending| pending.number == number) {
            last.end = Some(end);
        }
    }

    fn sync(&mut self, path: &Path, begin: usize) {
        let is_covered = |end: Option<usize>| end.is_some_and(|end| end < begin);
        if let Some(inode) = self.inode(path) {
            let inode = &mut self.inodes[inode];
            let (covered, open) =
                std::mem::take(&mut inode.pending).into_iter().partition::<Vec<_>, _>(|one| is_covered(one.end));
            inode.pending = open;
            inode.generation += usize::from(!covered.is_empty());
            for Pending { what, .. } in covered {
                match what {
                    Change::Truncate { len } => inode.certain.resize(len as usize, 0),
                    Change::Write { at, data } => {
                        let (from, to) = (at as usize, at as usize + data.len());
                        if inode.certain.len() < to {
                            inode.certain.resize(to, 0);
                        }
                        inode.certain[from..to].copy_from_slice(&data);
                    }
                }
            }
        } else {
            let (covered, open) = std::mem::take(&mut self.naming)
                .into_iter()
                .partition::<Vec<_>, _>(|one| is_covered(one.end) && one.what.path().parent() == Some(path));
            self.naming = open;
            covered.iter().for_each(|one| one.what.apply(&mut self.certain_names));
        }
    }

    /// An image of one kind; what it has by chance, `rng` says.
    pub(super) fn image(&self, kind: Kind, rng: &Rng) -> Image {
        let all_names = matches!(kind, Kind::All | Kind::Torn | Kind::Names);
        let no_names = matches!(kind, Kind::Lost | Kind::Data);
        let mut names = self.certain_names.clone();
        let mut ends: BTreeMap<&Path, u64> = BTreeMap::new();
        for (n, Pending { what, .. }) in self.naming.iter().enumerate() {
            let folder = what.path().parent().unwrap_or(Path::new("/"));
            let left = (self.naming.len() - n) as u64;
            let is_there = match kind {
                _ if all_names => true,
                _ if no_names => false,
                Kind::Prefix => (n as u64) < *ends.entry(folder).or_insert_with(|| n as u64 + rng.below(left + 1)),
                _ => rng.percent(50),
            };
            if is_there {
                what.apply(&mut names);
            }
        }
        // A name in a folder that is not there is nowhere.
        let root = self.root.clone();
        let known = names.clone();
        names.retain(|path, _| {
            path.ancestors()
                .skip(1)
                .take_while(|up| up.starts_with(&root) && *up != root)
                .all(|up| matches!(known.get(up), Some(Node::Folder)))
        });
        let mut changes = BTreeMap::new();
        for node in names.values() {
            if let Node::File(inode) = node {
                changes.insert(*inode, self.inodes[*inode].choose(kind, rng));
            }
        }
        let mut image = Image { names, changes, fingerprint: [0; 2] };
        image.fingerprint = [0_u64, 1].map(|salt| self.fingerprint(&image, salt));
        image
    }

    fn fingerprint(&self, image: &Image, salt: u64) -> u64 {
        let mut hasher = DefaultHasher::new();
        salt.hash(&mut hasher);
        image.names.hash(&mut hasher);
        for (inode, changes) in &image.changes {
            (inode, self.inodes[*inode].generation).hash(&mut hasher);
            for (n, sectors) in changes {
                (self.inodes[*inode].pending[*n].number, sectors).hash(&mut hasher);
            }
        }
        hasher.finish()
    }

    /// Whether there is anything that may or may not be there; and whether names are among it.
    pub(super) fn is_uncertain(&self) -> (bool, bool) {
        (self.inodes.iter().any(|inode| !inode.pending.is_empty()), !self.naming.is_empty())
    }

    /// Writes an image into an empty folder that stands for the root.
    pub(super) fn write(&self, image: &Image, folder: &Path) -> io::Result<()> {
        for (path, node) in &image.names {
            let to = folder.join(path.strip_prefix(&self.root).unwrap_or(path));
            match node {
                Node::Folder => fs::create_dir_all(&to)?,
                Node::File(inode) => self.inodes[*inode].write(&to, &image.changes[inode])?,
            }
        }
        Ok(())
    }
}

/// The index of a WAL is in shared memory, SQLite makes it anew after a crash; and nobody reads what is in a lock.
fn is_passing(path: &Path) -> bool {
    path.to_string_lossy().ends_with("-shm")
}

impl Inode {
    fn choose(&self, kind: Kind, rng: &Rng) -> Vec<(usize, Option<Vec<bool>>)> {
        let all = self.pending.len();
        let few = match kind {
            Kind::Lost | Kind::Names => 0,
            Kind::Prefix => rng.below(all as u64 + 1) as usize,
            _ => all,
        };
        let by_chance = matches!(kind, Kind::Subset | Kind::TornSubset);
        let tears = matches!(kind, Kind::Torn | Kind::TornSubset);
        let last_write = self.pending.iter().rposition(|pending| matches!(pending.what, Change::Write { .. }));
        let mut chosen = Vec::new();
        for (n, pending) in self.pending.iter().enumerate().take(few) {
            let is_torn = tears && last_write == Some(n);
            match &pending.what {
                Change::Write { at, data } if is_torn => chosen.push((n, Some(sectors(*at, data.len() as u64, rng)))),
                _ if by_chance && rng.percent(50) => {}
                _ => chosen.push((n, None)),
            }
        }
        chosen
    }

    fn write(&self, to: &Path, changes: &[(usize, Option<Vec<bool>>)]) -> io::Result<()> {
        fs::write(to, &self.certain)?;
        if changes.is_empty() {
            return Ok(());
        }
        let mut file = fs::OpenOptions::new().write(true).open(to)?;
        let put = |file: &mut fs::File, data: &[u8], at: u64| -> io::Result<()> {
            file.seek(SeekFrom::Start(at))?;
            file.write_all(data)
        };
        let mut len = self.certain.len() as u64;
        for (n, sectors) in changes {
            match &self.pending[*n].what {
                Change::Truncate { len: new } => {
                    file.set_len(*new)?;
                    len = *new;
                }
                Change::Write { at, data } => {
                    let end = at + data.len() as u64;
                    match sectors {
                        None => put(&mut file, data, *at)?,
                        Some(there) => {
                            let mut from = *at;
                            for is_there in there {
                                let to = end.min((from / SECTOR_BYTES + 1) * SECTOR_BYTES);
                                if *is_there {
                                    put(&mut file, &data[(from - at) as usize..(to - at) as usize], from)?;
                                } else if to > len {
                                    let junk = from.max(len);
                                    put(&mut file, &vec![JUNK; (to - junk) as usize], junk)?;
                                }
                                from = to;
                            }
                        }
                    }
                    len = len.max(end);
                }
            }
        }
        Ok(())
    }
}

/// Which sectors of a write are there: some are and some are not, where there are two at least.
fn sectors(at: u64, len: u64, rng: &Rng) -> Vec<bool> {
    let count = ((at + len).div_ceil(SECTOR_BYTES) - at / SECTOR_BYTES) as usize;
    let mut there: Vec<bool> = (0..count).map(|_| rng.percent(50)).collect();
    if count > 1 && there.iter().all(|one| *one == there[0]) {
        let other = rng.below(count as u64) as usize;
        there[other] = !there[other];
    }
    there
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("omctl-disk-{}-{count}-{name}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// Does calls one after the other, each ended before the next begins.
    fn play(disk: &mut Disk, calls: &[Call]) {
        for call in calls {
            let line = disk.count * 2;
            let number = disk.begin(call);
            disk.end(call, number, (line, line + 1));
        }
    }

    fn write(path: &str, at: u64, data: &[u8]) -> Call {
        Call::Write { path: path.into(), at: Some(at), data: data.to_vec() }
    }

    fn create(path: &str) -> Call {
        Call::Create { path: path.into(), truncate: false }
    }

    fn sync(path: &str) -> Call {
        Call::Sync { path: path.into() }
    }

    /// What an image has of `/d/f`.
    fn look(disk: &Disk, kind: Kind, seed: u64) -> Option<Vec<u8>> {
        let to = folder(&format!("look-{}-{seed}", kind.name()));
        disk.write(&disk.image(kind, &Rng::new(seed)), &to).unwrap();
        let content = fs::read(to.join("f")).ok();
        fs::remove_dir_all(to).unwrap();
        content
    }

    fn empty(name: &str, forgets: Option<&str>) -> Disk {
        Disk::load(Path::new("/d"), &folder(name), forgets).unwrap()
    }

    #[test]
    fn a_name_is_certain_when_its_folder_is_synced_and_data_when_their_file_is() {
        let mut disk = empty("names", None);
        play(&mut disk, &[create("/d/f"), write("/d/f", 0, b"one"), sync("/d/f")]);
        assert_eq!(look(&disk, Kind::Lost, 1), None, "its folder was not synced");
        assert_eq!(look(&disk, Kind::Names, 1), Some(b"one".to_vec()));
        play(&mut disk, &[sync("/d"), write("/d/f", 3, b"two")]);
        assert_eq!(look(&disk, Kind::Lost, 1), Some(b"one".to_vec()));
        assert_eq!(look(&disk, Kind::All, 1), Some(b"onetwo".to_vec()));
        play(&mut disk, &[Call::Unlink { path: "/d/f".into() }, create("/d/f")]);
        assert_eq!(look(&disk, Kind::Lost, 1), Some(b"one".to_vec()), "another file of this name comes back");
        assert_eq!(look(&disk, Kind::All, 1), Some(Vec::new()));
    }

    #[test]
    fn a_sync_covers_only_what_had_ended_before_it_began() {
        let mut disk = empty("order", None);
        play(&mut disk, &[create("/d/f"), sync("/d")]);
        let (late, flush) = (write("/d/f", 0, b"late"), sync("/d/f"));
        let number = disk.begin(&late);
        let syncing = disk.begin(&flush);
        disk.end(&late, number, (100, 102));
        disk.end(&flush, syncing, (101, 103));
        assert_eq!(look(&disk, Kind::Lost, 1), Some(Vec::new()));
        assert_eq!(look(&disk, Kind::All, 1), Some(b"late".to_vec()));
    }

    #[test]
    fn a_torn_write_has_whole_sectors_old_or_new_and_junk_behind_the_old_end() {
        let mut disk = empty("torn", None);
        play(&mut disk, &[create("/d/f"), sync("/d"), write("/d/f", 0, &[1; 1024]), sync("/d/f")]);
        play(&mut disk, &[write("/d/f", 100, &[2; 1948])]);
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..64 {
            let content = look(&disk, Kind::Torn, seed).unwrap();
            assert!(content[..100].iter().all(|byte| *byte == 1), "what was not written stays");
            let sectors: Vec<u8> = [100, 512, 1024, 1536].iter().filter_map(|at| content.get(*at).copied()).collect();
            for (sector, byte) in sectors.iter().enumerate() {
                let to = content.len().min((sector + 1) * 512);
                assert!(content[(sector * 512).max(100)..to].iter().all(|other| other == byte), "a sector is whole");
            }
            seen.insert(sectors);
        }
        assert!(seen.contains(&vec![2, 1, 2, JUNK]) && seen.len() >= 12, "{seen:?}");
    }

    #[test]
    fn subsets_are_many_and_a_forgotten_sync_keeps_nothing() {
        let calls =
            [create("/d/f"), sync("/d"), write("/d/f", 0, b"a"), write("/d/f", 1, b"b"), write("/d/f", 2, b"c")];
        let mut disk = empty("subsets", None);
        play(&mut disk, &calls);
        let prefixes: std::collections::BTreeSet<_> = (0..64).map(|seed| look(&disk, Kind::Prefix, seed)).collect();
        assert_eq!(prefixes.len(), 4);
        let subsets: std::collections::BTreeSet<_> = (0..200).map(|seed| look(&disk, Kind::Subset, seed)).collect();
        assert_eq!(subsets.len(), 8);
        let mut disk = empty("forgets", Some("f"));
        play(&mut disk, &calls);
        play(&mut disk, &[sync("/d/f")]);
        assert_eq!(look(&disk, Kind::Lost, 1), Some(Vec::new()));
    }
}
