//! A sync that fails once and never again. It is not taken for success: the sitting stops, or nothing was
//! told on the strength of it.

use super::{clean, sample};
use crate::sitting::Sitting;
use crate::strace;
use crate::verdict::{Reference, Trial};
use std::fs;

/// What strace saw, a line a call.
struct Seen<'a> {
    lines: Vec<&'a str>,
    /// Where the sync failed.
    failed: usize,
}

impl<'a> Seen<'a> {
    fn of(log: &'a str) -> Option<Self> {
        let lines: Vec<&str> = log.lines().collect();
        Some(Self { failed: lines.iter().position(|line| line.contains("(INJECTED)"))?, lines })
    }

    /// What could not be synced.
    fn path(&self) -> &'a str {
        self.lines[self.failed].split_once('<').and_then(|(_, rest)| rest.split_once('>')).unwrap().0
    }

    /// The first line for the client behind a place.
    fn told(&self, from: usize) -> Option<usize> {
        let told = |line: &&str| line.contains("write(1<pipe") && line.contains(r#"{\"v\":"#);
        self.lines[from..].iter().position(told).map(|at| from + at)
    }

    /// Whether a path was synced well between two places.
    fn synced(&self, path: &str, from: usize, to: usize) -> bool {
        let named = format!("<{path}>");
        let begun = |line: &str| line.contains("fsync(") && line.contains(&named);
        self.lines[from..to].iter().any(|line| begun(line) && (line.ends_with("= 0") || line.contains("unfinished")))
    }

    /// Whether what was told behind the failure rests on another sync of the same: a later one, or, of the folder,
    /// one of before, which already had all names in it.
    fn rests_elsewhere(&self, state: &str) -> bool {
        let Some(told) = self.told(self.failed) else { return true };
        let path = self.path();
        if self.synced(path, self.failed, told) {
            return true;
        }
        let log = format!("{state}/trees.db-wal");
        let made = |line: &&str| line.contains("openat(") && line.contains(&log) && line.contains("O_CREAT");
        let gone = |line: &&str| line.contains(&log) && (line.contains("unlink") || line.contains("ftruncate"));
        let fresh = self.lines[..told].iter().rposition(gone).unwrap_or(0);
        let made = self.lines[fresh..told].iter().position(made).map(|at| fresh + at);
        // What of the log was not taken into the database stays in the log, which was synced before.
        let kept = path == format!("{state}/trees.db") && !self.lines[self.failed..told].iter().any(gone);
        kept || path == state && made.is_some_and(|made| made < self.failed && self.synced(path, made, self.failed))
    }
}

#[test]
fn a_sync_that_fails_once_is_no_success() {
    if !strace::is_there("disk") {
        return;
    }
    let sample = sample();
    let reference = Reference::of(&sample);
    let (mut stopped, mut spared) = (0, 0);
    for n in 1.. {
        let mut trial = Trial::new(&sample);
        let log = trial.place.root().join("strace.log");
        let inject = format!("inject=fsync:error=EIO:when={n}");
        let options = ["-y", "-s", "40", "-o", log.to_str().unwrap(), "-e", "trace=fsync,openat,write,unlink,ftruncate", "-e", &inject];
        let told = Sitting::of(&trial.place, strace::around(&trial.place, &options, &trial.arguments())).end();
        let seen = String::from_utf8_lossy(&fs::read(&log).unwrap()).into_owned();
        let context = format!("{inject}\n{}\n{}", told.stdout, told.stderr);
        clean(&told, &context);
        let Some(seen) = Seen::of(&seen) else { break };
        let state = trial.place.path(".trees").canonicalize().unwrap();
        if told.code == 7 {
            stopped += 1;
            trial.note_cut_off(told);
        } else {
            spared += 1;
            assert!(seen.rests_elsewhere(state.to_str().unwrap()), "{} taken for success: {context}", seen.lines[seen.failed]);
            trial.note(told);
        }
        trial.finish();
        trial.judge(&reference);
    }
    assert!(stopped > 0);
    println!(
        "disk: {} syncs that fail once: {stopped} stopped with exit 7, {spared} with nothing told on the strength of them",
        stopped + spared
    );
}
