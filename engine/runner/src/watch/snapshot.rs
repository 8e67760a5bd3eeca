//! What the watched files hold, by hash.

use super::scope::Scope;
use super::walk::{Stat, Walked};
use crate::files;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A file changed so shortly ago may change again without another time stamp: it is read anew.
const FRESH: Duration = Duration::from_secs(2);

/// The files of a scope with their digests.
#[derive(Debug, Default, Clone)]
pub struct Snapshot(BTreeMap<PathBuf, Seen>);

/// One file as it was read.
#[derive(Debug, Clone)]
struct Seen {
    /// What it is known by without being read; `None` where that cannot be trusted.
    stat: Option<Stat>,
    sha256: String,
}

impl Snapshot {
    /// Reads what was found; what is as in `before` by its time stamps is not read again. A file
    /// that is gone meanwhile, or cannot be read, is not there.
    pub(super) fn of(walked: Walked, before: &Self) -> Self {
        let now = SystemTime::now();
        let read = |(path, stat): (PathBuf, Stat)| {
            let known = before.0.get(&path).filter(|seen| seen.stat == Some(stat));
            let sha256 = match known {
                Some(seen) => seen.sha256.clone(),
                None => files::digest(&path).ok()?,
            };
            Some((path, Seen { stat: stat.is_older_than(now, FRESH).then_some(stat), sha256 }))
        };
        Self(walked.files.into_iter().filter_map(read).collect())
    }

    /// With what both have as it is in `old`.
    pub(super) fn but_as_in(mut self, old: &Self) -> Self {
        for (path, seen) in &mut self.0 {
            if let Some(before) = old.0.get(path) {
                seen.clone_from(before);
            }
        }
        self
    }

    /// Without what a scope does not take.
    #[must_use]
    pub fn within(mut self, scope: &Scope) -> Self {
        self.0.retain(|path, _| scope.takes(path));
        self
    }

    /// The files that differ, came or went.
    pub(super) fn changed_since(&self, before: &Self) -> BTreeSet<PathBuf> {
        let all = self.paths().chain(before.paths());
        all.filter(|path| self.digest(path) != before.digest(path)).map(Path::to_path_buf).collect()
    }

    /// How many files.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a file holds.
    pub fn digest(&self, path: &Path) -> Option<&str> {
        self.0.get(path).map(|seen| seen.sha256.as_str())
    }

    /// The files.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path)
    }

    #[cfg(test)]
    pub(super) fn from_digests<'a>(files: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        Self(files.map(|(path, sha256)| (path.into(), Seen { stat: None, sha256: sha256.into() })).collect())
    }
}
