//! Watching files: what a tree reads, when it has changed, and what follows from that.
//!
//! What the file system tells is a doorbell only (`bell`, `eyes`): it says that something may have
//! changed. What has changed is found by looking: a [`Snapshot`] of all that is in the [`Scope`], by
//! hash. So a save by rename, a folder that appears later, a checkout of thousands of files and a
//! queue that overflowed are one case. What follows is decided in `course`, without a clock or a
//! file. It starts nothing and prints nothing. Read [`Watch`] first.

mod bell;
mod course;
mod eyes;
mod git;
mod ignored;
mod reads;
mod scope;
mod snapshot;
mod walk;

pub use bell::Bell;
pub use course::{Course, Used, Verdict};
pub(crate) use reads::paths;
pub use scope::Scope;
pub use snapshot::Snapshot;

use eyes::Eyes;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

/// Files that are watched.
pub struct Watch {
    scope: Arc<Scope>,
    bell: Arc<Bell>,
    eyes: Eyes,
    seen: Snapshot,
}

impl Watch {
    /// Begins to watch. With `poll` the files are looked at again and again, where the system tells
    /// nothing.
    pub fn open(scope: Scope, poll: bool, bell: Arc<Bell>) -> Self {
        let scope = Arc::new(scope);
        let eyes = Eyes::open(poll, Arc::clone(&bell), &scope);
        let mut watch = Self { scope, bell, eyes, seen: Snapshot::default() };
        watch.seen = watch.snapshot();
        watch
    }

    /// Why the files are looked at again and again although nobody asked for it; once.
    pub fn blinded(&mut self) -> Option<String> {
        self.eyes.blinded()
    }

    /// What is watched.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// What was seen last.
    pub fn seen(&self) -> &Snapshot {
        &self.seen
    }

    /// Watches something else. What was known already stays as it was seen, so that a change is
    /// found by the next look.
    pub fn turn(&mut self, scope: Scope) {
        self.scope = Arc::new(scope);
        self.eyes.turn(&self.scope);
        let fresh = self.snapshot();
        self.seen = fresh.but_as_in(&self.seen);
    }

    /// Waits until something may have changed, it is quiet again and git is not at work. False: it is
    /// over first.
    pub fn wait(&self, over: &dyn Fn() -> bool) -> bool {
        loop {
            if !self.bell.wait(over) {
                return false;
            }
            if !git::is_at_work(self.scope.dir()) {
                return true;
            }
            self.bell.ring();
        }
    }

    /// Waits until it is quiet, if it is not.
    pub fn settle(&self, over: &dyn Fn() -> bool) {
        if self.bell.is_rung() {
            self.wait(over);
        }
    }

    /// Looks; what differs from what was seen before.
    pub fn look(&mut self) -> BTreeSet<PathBuf> {
        let fresh = self.snapshot();
        let changed = fresh.changed_since(&self.seen);
        self.seen = fresh;
        changed
    }

    /// Looks at all files. A folder is watched before it is looked at, so that nothing is missed
    /// between.
    fn snapshot(&mut self) -> Snapshot {
        loop {
            let walked = walk::walk(&self.scope);
            if !self.eyes.watch(&walked.folders) {
                return Snapshot::of(walked, &self.seen);
            }
        }
    }
}

#[cfg(test)]
mod tests;
