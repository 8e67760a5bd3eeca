//! A disk that is full, or that fails: the run stops cleanly, exit 7 with the cure, nothing that is
//! not recorded is told or built upon, and after the cure it goes on to its end.

use crate::calls::DIGEST;
use crate::chance::{each_seed, seeds, size};
use crate::ledger::quiet_mark;
use crate::place::Told;
use crate::sample::{Sample, chain_with_artifact};
use crate::sitting::Sitting;
use crate::strace;
use crate::verdict::{Reference, Trial};
use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

mod full;
mod syncs;

/// A call that fails, from its Nth time on or that once.
struct Point {
    call: &'static str,
    error: &'static str,
    n: u32,
    /// strace's word for how often: `+` from then on.
    lasting: &'static str,
    /// What strace looks at alone, where not at everything; `RUN` and `DIGEST` stand for what they are.
    only: Option<&'static str>,
    /// Whether commits must still follow that need it.
    needed: bool,
}

/// What the disk is asked to change besides, wherever that is.
const MORE: [&str; 3] = ["fchmod", "copy_file_range", "sendfile"];

/// The files that are made, written and read: there these calls are of `trees` alone, elsewhere also of the
/// loaders and shells of the steps, of standard output and of what wakes a thread.
const FILES: [(&str, &[&str]); 11] = [
    (".trees/.gitignore", &["openat", "write"]),
    (".trees/write.lock", &["openat"]),
    (".trees/trees.db", &["openat", "pread64", "pwrite64", "fsync"]),
    (".trees/trees.db-wal", &["openat", "pread64", "pwrite64", "fsync"]),
    (".trees/trees.db-shm", &["openat", "pwrite64", "ftruncate"]),
    (".trees/trees.db-journal", &["openat", "pwrite64", "fsync", "unlink"]),
    (".trees/artifacts", &["openat", "fsync"]),
    (".trees/artifacts/DIGEST", &["openat", "read"]),
    (".trees/runs/RUN/lock", &["openat", "write"]),
    (".trees/runs/RUN/processes", &["openat", "write", "read"]),
    (".trees/runs/RUN/steps/s1/2/output.log", &["openat", "write"]),
];

/// How often a call on one file is made to fail at most, in turn.
const TIMES: u32 = 6;

/// Syncs after the last commit: the log is taken into the database, which may fail and be done later.
const CLOSING: u32 = 3;

/// Steps mark without the calls that fail, and say something, so that there are logs.
fn sample() -> Sample {
    let mut sample = chain_with_artifact("s1");
    sample.tree = sample.tree.replace("mark start;", "mark start; echo said;");
    sample.files.push(("mark", quiet_mark()));
    sample
}

/// The points of a run: each call by its count.
fn points(sample: &Sample) -> Vec<Point> {
    let trial = Trial::new(sample);
    let calls = [&strace::CALLS[..], &MORE[..]].concat();
    let counts = strace::count_of(&calls, &trial.place, &[], &trial.arguments());
    let mut points = Vec::new();
    for call in calls {
        let most = counts.get(call).copied().unwrap_or(0);
        let step = usize::try_from(size((most / 3).max(1), 1)).unwrap();
        for (error, lasting) in pairs(&["ENOSPC", "EIO"]) {
            points.extend((1..=most).step_by(step).map(|n| {
                let needed = call == "fsync" && lasting == "+" && n + CLOSING < most;
                Point { call, error, n, lasting, only: None, needed }
            }));
        }
    }
    points
}

/// The points of a resume: each call on each file.
fn points_of_files() -> Vec<Point> {
    let mut points = Vec::new();
    for (file, calls) in FILES {
        for call in calls {
            let errors: &[&str] = if call.contains("read") { &["EIO"] } else { &["EIO", "ENOSPC"] };
            for (error, lasting) in pairs(errors) {
                let all = (1..=TIMES).step_by(size(6, 1));
                points.extend(all.map(|n| Point { call, error, n, lasting, only: Some(file), needed: false }));
            }
        }
    }
    points
}

/// Each error, once and for good.
fn pairs(errors: &'static [&str]) -> impl Iterator<Item = (&'static str, &'static str)> {
    errors.iter().flat_map(|error| ["", "+"].map(|lasting| (*error, lasting)))
}

#[test]
fn each_call_fails() {
    if !strace::is_there("disk") {
        return;
    }
    let sample = sample();
    let points = points(&sample);
    let (stopped, survived) = sweep(&sample, &points);
    println!("disk: {} failures of a run injected: {stopped} stopped with exit 7, {survived} not needed, 0 violations", points.len());
}

#[test]
fn each_file_fails() {
    if !strace::is_there("disk") {
        return;
    }
    let points = points_of_files();
    let (stopped, survived) = sweep(&sample(), &points);
    let files = FILES.len();
    println!("disk: {} failures at {files} files of a resume injected: {stopped} stopped with exit 7, {survived} not needed", points.len());
}

/// Does it at each point; how many sittings stopped, and how many did not.
fn sweep(sample: &Sample, points: &[Point]) -> (u32, u32) {
    let reference = Reference::of(sample);
    let [stopped, survived] = [AtomicU32::new(0), AtomicU32::new(0)];
    let all = u64::try_from(points.len()).unwrap();
    each_seed(seeds(all, all), |seed| {
        let point = &points[usize::try_from(seed - 1).unwrap()];
        let hit = fails(sample, &reference, point);
        if hit { &stopped } else { &survived }.fetch_add(1, Ordering::Relaxed);
    });
    let [stopped, survived] = [stopped, survived].map(AtomicU32::into_inner);
    assert!(stopped > 0 || std::env::var_os("TREES_SEED").is_some(), "nothing ever stopped");
    (stopped, survived)
}

/// SQLite says nothing when a folder cannot be synced, so the state must: not once, but until it can.
#[test]
fn a_folder_that_cannot_be_synced_stops_the_run() {
    if !strace::is_there("disk") {
        return;
    }
    let sample = sample();
    let reference = Reference::of(&sample);
    for folder in [".trees", ""] {
        let mut trial = Trial::new(&sample);
        let path = trial.place.path(folder);
        let path = path.to_str().unwrap().trim_end_matches('/').to_owned();
        let only = ["-P", &path, "-e", "trace=fsync"];
        let failing = [&only[..], &["-e", "inject=fsync:error=EIO:when=1+"]].concat();
        for _ in 0..2 {
            let told = strace::end(&trial.place, &failing, &trial.arguments());
            let context = format!("`{folder}`: {told:?}");
            clean(&told, &context);
            assert!(told.code == 7 && told.stdout.is_empty() && told.stderr.contains("syncing"), "{context}");
        }
        let log = trial.place.root().join("strace.log");
        let options = [&["-o", log.to_str().unwrap()], &only[..]].concat();
        let told = Sitting::of(&trial.place, strace::around(&trial.place, &options, &trial.arguments())).end();
        assert!(fs::read_to_string(&log).unwrap().contains("fsync("), "`{folder}` was never synced: {told:?}");
        trial.note(told);
        trial.finish();
        trial.judge(&reference);
    }
    println!("disk: 2 folders that cannot be synced: refused each time, synced after the cure");
}

/// Whether the run stopped there; of a file, the resume of one that was killed as its second step began.
fn fails(sample: &Sample, reference: &Reference, point: &Point) -> bool {
    let mut trial = Trial::new(sample);
    if point.only.is_some() {
        let mut sitting = trial.sit();
        sitting.until("step_started", "s1");
        let told = sitting.kill();
        trial.note_crash(told);
    }
    let inject = format!("inject={}:error={}:when={}{}", point.call, point.error, point.n, point.lasting);
    let trace = format!("trace={}", point.call);
    let mut options = vec!["-e", &trace, "-e", &inject];
    let digest = format!("{}/{DIGEST}", &DIGEST[..2]);
    let only = point.only.map(|path| trial.place.path(&path.replace("RUN", &trial.run).replace("DIGEST", &digest)));
    options.extend(only.as_ref().map(|path| ["-P", path.to_str().unwrap()]).into_iter().flatten());
    let told = strace::end(&trial.place, &options, &trial.arguments());
    let context = format!("{inject} of {only:?}\n{}\n{}", told.stdout, told.stderr);
    clean(&told, &context);
    assert!(told.code == 7 || !point.needed, "a failed sync was taken for success: {context}");
    if told.code == 7 {
        // Steps may have been running as it stopped.
        trial.note_cut_off(told.clone());
    } else {
        trial.note(told.clone());
    }
    relied(&trial, &context);
    trial.finish();
    let broken = trial.broken(reference);
    assert!(broken.is_empty(), "{context}\n{}\n{}{}", broken.join("\n"), trial.place.ledger(), trial.history());
    told.code == 7
}

/// It ended in order: done, or exit 7 with the folder (of the state, or of what is staged) and a cure.
#[track_caller]
fn clean(told: &Told, context: &str) {
    assert!([0, 7].contains(&told.code), "exit {}: {context}", told.code);
    assert!(!told.stderr.contains("panicked"), "{context}");
    if told.code == 7 {
        let cures = ["free some space", "see to the disk", "--state", "run the command again"];
        let named = [".trees", "the temporary folder "].iter().any(|place| told.stderr.contains(place));
        assert!(named && cures.iter().any(|cure| told.stderr.contains(cure)), "no cure: {context}");
    }
}

/// Every step that began was told to begin, which is only after its start is on the disk; each
/// dependant's need was told as done.
fn relied(trial: &Trial<'_>, context: &str) {
    let events = trial.told_events();
    let of = |kind: &str| -> BTreeSet<String> {
        events.iter().filter(|e| e["type"] == kind).filter_map(|e| e["step"].as_str().map(str::to_owned)).collect()
    };
    let (started, done) = (of("step_started"), of("step_succeeded"));
    for (step, _) in trial.place.ledger().marked("start") {
        assert!(started.contains(step), "{step} began and nobody was told: {context}");
        assert!(step != "s1" || done.contains("s0"), "{step} began before s0 was told as done: {context}");
    }
}
