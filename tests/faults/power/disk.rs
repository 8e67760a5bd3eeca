//! A disk after a power cut: what was synced is there; of the rest any part, in any order, sectors
//! torn, and names of files that were not synced with their folder may be missing.

use super::record::Happening;
use crate::chance::Chance;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

const SECTOR: usize = 512;

/// One.
pub struct Disk {
    /// Folders by path.
    folders: BTreeSet<String>,
    /// Files by path.
    files: BTreeMap<String, Vec<u8>>,
    /// How it came about, for a failure.
    pub note: String,
}

/// A change that is on the disk, or on its way.
#[derive(Debug, Clone)]
enum Change {
    Bytes { at: u64, bytes: Vec<u8> },
    Length(u64),
}

/// A name that came or went.
#[derive(Debug, Clone)]
enum Entry {
    File(String, usize),
    Folder(String),
    Gone(String),
    Renamed(String, String, usize),
}

/// How much of what was not synced is taken.
#[derive(Debug, Clone, Copy)]
enum Luck {
    /// All: the cut is a plain crash.
    All,
    /// Nothing.
    None,
    /// Each change by chance.
    Some,
    /// Each sector by chance.
    Torn,
}

#[derive(Default)]
struct Model {
    /// Changes of each file that ever was, with the number of their happening.
    contents: Vec<Vec<(usize, Change)>>,
    /// Up to where each is synced.
    synced: Vec<usize>,
    /// What each name means now.
    names: BTreeMap<String, usize>,
    /// Changes of names, with the number of their happening.
    entries: Vec<(usize, Entry)>,
    /// Up to where each folder is synced.
    folders: BTreeMap<String, usize>,
}

impl Disk {
    /// What the power may have left after these.
    pub fn after(happenings: &[Happening], chance: &mut Chance) -> Self {
        let mut model = Model::default();
        happenings.iter().enumerate().for_each(|(n, happening)| model.take(n, happening));
        let lucks = [Luck::All, Luck::None, Luck::Some, Luck::Torn];
        let (content, names) = (*chance.pick(&lucks), *chance.pick(&lucks[..3]));
        let mut disk = Self { folders: BTreeSet::new(), files: BTreeMap::new(), note: format!("contents {content:?}, names {names:?}") };
        let mut files = BTreeMap::<String, usize>::new();
        for (n, entry) in &model.entries {
            if *n < model.synced_folder(entry) || names.keeps(chance) {
                entry.put(&mut disk.folders, &mut files);
            } else {
                disk.note += &format!("\n  without {entry:?}");
            }
        }
        // A name whose folder is not there is nowhere.
        let folders = disk.folders.clone();
        let reachable = |path: &str| ancestors(path).all(|folder| folders.contains(folder));
        disk.folders.retain(|path| reachable(path));
        files.retain(|path, _| reachable(path));
        for (path, id) in files {
            let bytes = model.content(id, content, chance);
            disk.files.insert(path, bytes);
        }
        disk
    }

    /// Puts it there, where nothing is; nothing at all where the folder itself was lost.
    pub fn write(&self, root: &Path) {
        for folder in &self.folders {
            fs::DirBuilder::new().mode(0o700).create(root.join(folder)).unwrap();
        }
        for (path, bytes) in &self.files {
            fs::write(root.join(path), bytes).unwrap();
        }
    }
}

/// The folders above a path, the state folder itself included unless it is the path.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    Path::new(path).ancestors().skip(1).map(|folder| folder.to_str().unwrap())
}

fn parent(path: &str) -> Option<&str> {
    ancestors(path).next()
}

impl Luck {
    fn keeps(self, chance: &mut Chance) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Some | Self::Torn => chance.below(2) == 0,
        }
    }
}

impl Entry {
    fn path(&self) -> &str {
        match self {
            Self::File(path, _) | Self::Folder(path) | Self::Gone(path) | Self::Renamed(_, path, _) => path,
        }
    }

    fn put(&self, folders: &mut BTreeSet<String>, files: &mut BTreeMap<String, usize>) {
        match self {
            Self::File(path, id) => drop(files.insert(path.clone(), *id)),
            Self::Folder(path) => drop(folders.insert(path.clone())),
            Self::Gone(path) => drop(files.remove(path)),
            Self::Renamed(from, to, id) => {
                files.remove(from);
                files.insert(to.clone(), *id);
            }
        }
    }
}

impl Model {
    fn take(&mut self, n: usize, happening: &Happening) {
        match happening {
            Happening::Opened { path, emptied } => {
                let id = self.file(n, path);
                if *emptied {
                    self.contents[id].push((n, Change::Length(0)));
                }
            }
            Happening::Written { path, at, bytes } => {
                if let Some(id) = self.names.get(path) {
                    self.contents[*id].push((n, Change::Bytes { at: *at, bytes: bytes.clone() }));
                }
            }
            Happening::Cut { path, length } => {
                if let Some(id) = self.names.get(path) {
                    self.contents[*id].push((n, Change::Length(*length)));
                }
            }
            Happening::Synced { path, before } => match self.names.get(path) {
                Some(id) => self.synced[*id] = self.synced[*id].max(*before),
                None => drop(self.folders.insert(path.clone(), *before)),
            },
            Happening::Folder { path } => self.entries.push((n, Entry::Folder(path.clone()))),
            Happening::Renamed { from, to } => {
                let Some(id) = self.names.remove(from) else { panic!("a folder was renamed: {from}") };
                self.names.insert(to.clone(), id);
                self.entries.push((n, Entry::Renamed(from.clone(), to.clone(), id)));
            }
            Happening::Gone { path } => {
                self.names.remove(path);
                self.entries.push((n, Entry::Gone(path.clone())));
            }
            Happening::Told(_) => {}
        }
    }

    fn file(&mut self, n: usize, path: &str) -> usize {
        if let Some(id) = self.names.get(path) {
            return *id;
        }
        let id = self.contents.len();
        self.contents.push(Vec::new());
        self.synced.push(0);
        self.names.insert(path.to_owned(), id);
        self.entries.push((n, Entry::File(path.to_owned(), id)));
        id
    }

    /// Up to where the names in the folder of this one are synced.
    fn synced_folder(&self, entry: &Entry) -> usize {
        // Above the state folder the syncs are not followed: it is there once it was made.
        let Some(folder) = parent(entry.path()) else { return usize::MAX };
        self.folders.get(folder).copied().unwrap_or(0)
    }

    fn content(&self, id: usize, luck: Luck, chance: &mut Chance) -> Vec<u8> {
        let mut content = Vec::new();
        for (n, change) in &self.contents[id] {
            let sure = *n < self.synced[id];
            match change {
                Change::Length(length) if sure || luck.keeps(chance) => content.resize(usize::try_from(*length).unwrap(), 0),
                Change::Bytes { at, bytes } if !sure && matches!(luck, Luck::Torn) => {
                    torn(*at, bytes).filter(|_| chance.below(2) == 0).for_each(|(at, part)| put(&mut content, at, part));
                }
                Change::Bytes { at, bytes } if sure || luck.keeps(chance) => put(&mut content, usize::try_from(*at).unwrap(), bytes),
                Change::Length(_) | Change::Bytes { .. } => {}
            }
        }
        content
    }
}

/// The sectors of a write, as far as it covers them.
fn torn(at: u64, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let at = usize::try_from(at).unwrap();
    let mut from = 0;
    std::iter::from_fn(move || {
        let length = (SECTOR - (at + from) % SECTOR).min(bytes.len() - from);
        let part = (at + from, &bytes[from..from + length]);
        from += length;
        (length > 0).then_some(part)
    })
}

fn put(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if content.len() < at + bytes.len() {
        content.resize(at + bytes.len(), 0);
    }
    content[at..at + bytes.len()].copy_from_slice(bytes);
}
