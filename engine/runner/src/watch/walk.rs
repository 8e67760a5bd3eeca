//! Looks for the files of a scope and the folders they can appear in.

use super::ignored::Ignored;
use super::scope::{Root, Scope};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use walkdir::{DirEntry, WalkDir};

/// What a file is known by without being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    modified: (i64, i64),
    changed: (i64, i64),
    size: u64,
    inode: u64,
}

impl Stat {
    fn of(about: &Metadata) -> Self {
        Self {
            modified: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
            size: about.size(),
            inode: about.ino(),
        }
    }

    /// Whether it was changed for the last time before so long.
    pub fn is_older_than(&self, now: SystemTime, age: Duration) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).ok().and_then(|d| i64::try_from(d.as_secs()).ok());
        let age = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
        now.is_some_and(|now| self.changed.0.max(self.modified.0) + age < now)
    }
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Walked {
    /// The files of the scope.
    pub files: BTreeMap<PathBuf, Stat>,
    /// The folders in which one can appear.
    pub folders: BTreeSet<PathBuf>,
}

/// Looks through a scope. What cannot be read is not there.
pub(super) fn walk(scope: &Scope) -> Walked {
    let mut walk = Walk { scope, ignored: Ignored::new(scope.dir()), found: Walked::default() };
    let (deep, shallow): (Vec<Root>, Vec<Root>) = scope.roots().into_iter().partition(|root| root.depth.is_none());
    deep.iter().for_each(|root| walk.root(root));
    shallow.iter().for_each(|root| walk.root(root));
    walk.found
}

struct Walk<'a> {
    scope: &'a Scope,
    ignored: Ignored,
    found: Walked,
}

impl Walk<'_> {
    fn root(&mut self, root: &Root) {
        self.way(&root.path);
        // A folder that was looked through to its ground is not looked through again.
        let deep = if root.depth.is_none() { self.found.folders.clone() } else { BTreeSet::new() };
        let walker = WalkDir::new(&root.path).follow_links(false).follow_root_links(false).max_depth(root.depth.unwrap_or(usize::MAX));
        let mut walker = walker.into_iter();
        while let Some(entry) = walker.next() {
            let Ok(entry) = entry else { continue };
            if !entry.file_type().is_dir() {
                self.file(&entry);
            } else if (entry.depth() > 0 && deep.contains(entry.path())) || !self.enters(&entry) {
                walker.skip_current_dir();
            } else if root.depth.is_none_or(|depth| entry.depth() < depth) {
                self.found.folders.insert(entry.into_path());
            }
        }
    }

    /// The folders above a root, in which it can come and go; of one outside of the working folder
    /// only the nearest.
    fn way(&mut self, root: &Path) {
        let inside = |folder: &&Path| folder.starts_with(self.scope.dir());
        let above: Vec<&Path> = root.ancestors().skip(1).filter(inside).filter(|f| f.is_dir()).collect();
        let nearest = root.ancestors().skip(1).find(|f| f.is_dir());
        self.found.folders.extend(above.into_iter().chain(nearest.filter(|f| !f.starts_with(self.scope.dir()))).map(Path::to_path_buf));
    }

    /// What a glob names itself is entered even where git ignores it.
    fn enters(&self, entry: &DirEntry) -> bool {
        !self.scope.is_never(entry.path()) && (entry.depth() == 0 || !self.ignored.is_ignored(entry.path()))
    }

    fn file(&mut self, entry: &DirEntry) {
        if self.scope.takes(entry.path())
            && let Ok(about) = entry.metadata()
            && (about.is_file() || about.is_symlink())
        {
            self.found.files.insert(entry.path().to_path_buf(), Stat::of(&about));
        }
    }
}
