//! What follows from changes: another run, or the knowledge that a run changes its own inputs.
//!
//! Knows no files and no clock: digests before and after, and those that steps used.

use super::snapshot::Snapshot;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use trees_core::event::{Digests, Event, EventKind};

/// The digests of the files that the steps of a run used; a file that changed meanwhile has two.
#[derive(Debug, Default, Clone)]
pub struct Used(BTreeMap<PathBuf, BTreeSet<String>>);

impl Used {
    /// What is recorded of a run that works in a folder.
    pub fn of(events: &[Event], dir: &Path) -> Self {
        let mut newest: BTreeMap<&str, &Digests> = BTreeMap::new();
        for event in events {
            let digests = match &event.kind {
                EventKind::StepStarted { digests, .. } | EventKind::StepCached { digests, .. } => digests.as_ref(),
                _ => None,
            };
            newest.extend(event.step.as_ref().zip(digests).map(|(step, digests)| (step.as_str(), digests)));
        }
        let mut used = Self::default();
        for (name, digest) in newest.values().flat_map(|d| &d.ingredients) {
            if let Some(name) = name.strip_prefix("file:") {
                used.add(dir.join(name).components().collect(), digest.clone());
            }
        }
        used
    }

    fn add(&mut self, path: PathBuf, digest: String) {
        self.0.entry(path).or_default().insert(digest);
    }

    /// The files.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path)
    }
}

/// What follows from what changed while a run worked.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Another run is due because of these.
    pub again: BTreeSet<PathBuf>,
    /// These changed in two successive runs: the run itself changes them.
    pub own: BTreeSet<PathBuf>,
}

/// The course of a watch, from run to run.
#[derive(Debug, Default)]
pub struct Course {
    /// What changed while the last run worked.
    during: BTreeSet<PathBuf>,
    /// What runs change themselves.
    ignored: BTreeSet<PathBuf>,
}

impl Course {
    /// Something changed while none ran: whoever did it, it was no run.
    pub fn between(&mut self, changed: BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
        self.ignored.retain(|path| !changed.contains(path));
        changed
    }

    /// What a look in the middle of a run says: the same as [`Self::ran`], nothing is concluded yet.
    pub fn meanwhile(&self, before: &Snapshot, now: &Snapshot, used: &Used) -> BTreeSet<PathBuf> {
        let mut changed = changed(before, now, used);
        changed.retain(|path| !self.ignored.contains(path) && !self.during.contains(path));
        changed
    }

    /// A run has ended.
    pub fn ran(&mut self, before: &Snapshot, after: &Snapshot, used: &Used) -> Verdict {
        let changed = changed(before, after, used);
        let unknown: BTreeSet<PathBuf> = changed.difference(&self.ignored).cloned().collect();
        let (own, again): (BTreeSet<PathBuf>, BTreeSet<PathBuf>) = unknown.into_iter().partition(|path| self.during.contains(path));
        self.ignored.extend(own.iter().cloned());
        self.during = changed;
        Verdict { again, own }
    }
}

/// A file that steps used is as it was if it is as they used it; another if it is as before.
fn changed(before: &Snapshot, after: &Snapshot, used: &Used) -> BTreeSet<PathBuf> {
    let differs = |path: &&Path| match used.0.get(*path) {
        Some(digests) => digests.iter().any(|digest| Some(digest.as_str()) != after.digest(path)),
        None => before.digest(path) != after.digest(path),
    };
    let known = before.paths().chain(after.paths());
    known.filter(differs).map(Path::to_path_buf).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a=1 b=2`.
    fn snapshot(text: &str) -> Snapshot {
        Snapshot::from_digests(text.split_whitespace().filter_map(|pair| pair.split_once('=')))
    }

    fn used(text: &str) -> Used {
        let mut used = Used::default();
        text.split_whitespace().filter_map(|pair| pair.split_once('=')).for_each(|(p, d)| used.add(p.into(), d.into()));
        used
    }

    fn names(paths: &BTreeSet<PathBuf>) -> String {
        paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(" ")
    }

    /// A run: what was there before, what its steps used, what is there after; what follows.
    #[track_caller]
    fn check(course: &mut Course, before: &str, uses: &str, after: &str, again: &str, own: &str) {
        let verdict = course.ran(&snapshot(before), &snapshot(after), &used(uses));
        assert_eq!((names(&verdict.again).as_str(), names(&verdict.own).as_str()), (again, own));
    }

    #[test]
    fn a_file_that_is_as_it_was_used_needs_no_run() {
        let course = &mut Course::default();
        check(course, "a=1", "a=1", "a=1", "", "");
        // Changed before its step used it.
        check(course, "a=1", "a=2", "a=2", "", "");
        // There and back: the step used what was between.
        check(course, "a=1", "a=2", "a=1", "a", "");
    }

    #[test]
    fn a_file_that_changed_after_it_was_used_triggers_one_more_run() {
        let course = &mut Course::default();
        check(course, "a=1 b=1", "a=1 b=1", "a=2 b=1", "a", "");
        check(course, "a=2 b=1", "a=2 b=1", "a=2 b=1", "", "");
        // One step used it before, another after.
        check(course, "a=2", "a=2 a=3", "a=3", "a", "");
    }

    #[test]
    fn what_no_step_used_is_compared_with_before() {
        let course = &mut Course::default();
        check(course, "t=1 gone=1", "", "t=2 new=1", "gone new t", "");
    }

    #[test]
    fn what_changes_in_two_successive_runs_is_ignored_until_it_changes_between() {
        let course = &mut Course::default();
        check(course, "a=1", "a=1", "a=1 log=1", "log", "");
        check(course, "a=1 log=1", "a=1 log=1", "a=1 log=2", "", "log");
        check(course, "a=1 log=2", "a=1 log=2", "a=2 log=3", "a", "");
        check(course, "a=2 log=3", "a=2 log=3", "a=2 log=4", "", "");
        assert_eq!(names(&course.between([PathBuf::from("log")].into())), "log");
        // It is not ignored any more, and found out again by the first run.
        check(course, "a=2 log=5", "a=2 log=5", "a=2 log=6", "", "log");
    }

    #[test]
    fn two_runs_with_one_between_that_changed_nothing_are_not_successive() {
        let course = &mut Course::default();
        check(course, "a=1", "a=1", "a=2", "a", "");
        check(course, "a=2", "a=2", "a=2", "", "");
        check(course, "a=2", "a=2", "a=3", "a", "");
    }

    #[test]
    fn in_the_middle_of_a_run_only_what_is_new_counts() {
        let mut course = Course::default();
        let middle = |course: &Course, after: &str| names(&course.meanwhile(&snapshot("a=1 log=1"), &snapshot(after), &used("a=1")));
        assert_eq!(middle(&course, "a=2 log=2"), "a log");
        course.ran(&snapshot("log=0"), &snapshot("log=1"), &Used::default());
        assert_eq!(middle(&course, "a=2 log=2"), "a");
        assert_eq!(middle(&course, "a=1 log=1"), "");
    }
}
