//! A disk that is full, or that fails: the run stops cleanly, exit 7 with the cure, nothing that is
//! not recorded is told or built upon, and after the cure it goes on to its end.

use crate::chance::{each_seed, seeds, size};
use crate::ledger::quiet_mark;
use crate::place::{Place, Told};
use crate::sample::{Sample, chain};
use crate::sitting::Sitting;
use crate::strace;
use crate::verdict::{Reference, Trial, integrity};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A call that fails, from its Nth time on or that once.
struct Point {
    call: &'static str,
    error: &'static str,
    n: u32,
    /// strace's word for how often: `+` from then on.
    lasting: &'static str,
    /// Whether commits must still follow that need it.
    needed: bool,
}

/// What the disk is asked to keep. A folder's sync is an fsync too.
const CALLS: [(&str, &[&str]); 3] = [("pwrite64", &["ENOSPC", "EIO"]), ("fsync", &["EIO", "ENOSPC"]), ("ftruncate", &["EIO"])];

/// Syncs after the last commit: the log is taken into the database, which may fail and be done later.
const CLOSING: u32 = 3;

/// Steps mark without the calls that fail.
fn sample() -> Sample {
    let mut sample = chain(2);
    sample.files.push(("mark", quiet_mark()));
    sample
}

fn points(sample: &Sample) -> Vec<Point> {
    let trial = Trial::new(sample);
    let counts = strace::count(&trial.place, &[], &trial.arguments());
    let mut points = Vec::new();
    for (call, errors) in CALLS {
        let most = counts.get(call).copied().unwrap_or(0);
        let step = usize::try_from(size((most / 5).max(1), 1)).unwrap();
        for (error, lasting) in errors.iter().flat_map(|error| ["", "+"].map(|lasting| (*error, lasting))) {
            points.extend((1..=most).step_by(step).map(|n| Point {
                call,
                error,
                n,
                lasting,
                needed: call == "fsync" && lasting == "+" && n + CLOSING < most,
            }));
        }
    }
    points
}

#[test]
fn each_write_and_sync_fails() {
    if !strace::is_there("disk") {
        return;
    }
    let sample = sample();
    let reference = Reference::of(&sample);
    let points = points(&sample);
    let [stopped, survived] = [AtomicU32::new(0), AtomicU32::new(0)];
    let all = u64::try_from(points.len()).unwrap();
    each_seed(seeds(all, all), |seed| {
        let point = &points[usize::try_from(seed - 1).unwrap()];
        let hit = fails(&sample, &reference, point);
        if hit { &stopped } else { &survived }.fetch_add(1, Ordering::Relaxed);
    });
    let [stopped, survived] = [stopped, survived].map(AtomicU32::into_inner);
    assert!(stopped > 0, "nothing ever stopped");
    println!("disk: {all} failures injected: {stopped} stopped with exit 7, {survived} not needed, 0 violations");
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

/// Whether the run stopped there.
fn fails(sample: &Sample, reference: &Reference, point: &Point) -> bool {
    let mut trial = Trial::new(sample);
    let inject = format!("inject={}:error={}:when={}{}", point.call, point.error, point.n, point.lasting);
    let trace = format!("trace={}", point.call);
    let told = strace::end(&trial.place, &["-e", &trace, "-e", &inject], &trial.arguments());
    let context = format!("{inject}\n{}\n{}", told.stdout, told.stderr);
    clean(&told, &context);
    assert!(told.code == 7 || !point.needed, "a failed sync was taken for success: {context}");
    if told.code == 7 {
        // Steps may have been running as it stopped.
        trial.note_cut_off(told.clone());
    } else {
        trial.note(told.clone());
    }
    relied(&trial, &told, &context);
    trial.finish();
    let broken = trial.broken(reference);
    assert!(broken.is_empty(), "{}\n{}\n{}{}", inject, broken.join("\n"), trial.place.ledger(), trial.history());
    told.code == 7
}

/// It ended in order: done, or exit 7 with the folder and a cure.
#[track_caller]
fn clean(told: &Told, context: &str) {
    assert!([0, 7].contains(&told.code), "exit {}: {context}", told.code);
    assert!(!told.stderr.contains("panicked"), "{context}");
    if told.code == 7 {
        let cures = ["free some space", "see to the disk", "--state", "run the command again"];
        assert!(told.stderr.contains(".trees") && cures.iter().any(|cure| told.stderr.contains(cure)), "no cure: {context}");
    }
}

/// Every step that began was told to begin, which is only after its start is on the disk; each
/// dependant's need was told as done.
fn relied(trial: &Trial<'_>, told: &Told, context: &str) {
    let events = told.events();
    let of = |kind: &str| -> BTreeSet<String> {
        events.iter().filter(|e| e["type"] == kind).filter_map(|e| e["step"].as_str().map(str::to_owned)).collect()
    };
    let (started, done) = (of("step_started"), of("step_succeeded"));
    for (step, _) in trial.place.ledger().marked("start") {
        assert!(started.contains(step), "{step} began and nobody was told: {context}");
        assert!(step != "s1" || done.contains("s0"), "{step} began before s0 was told as done: {context}");
    }
}

/// A small file system of our own; none where this needs a right that is missing.
struct Small(PathBuf);

impl Small {
    fn at(folder: &Path) -> Option<Self> {
        fs::create_dir_all(folder).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8m,mode=0700", "none"]).arg(folder).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then(|| Self(folder.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// A tree whose steps wait for the test at a named pipe and then say a lot.
fn loud() -> Sample {
    let mut sample = chain(3);
    sample.tree = sample.tree.replace("outputs: { n: integer }", "outputs: { n: integer, long: string }");
    sample.tree = sample.tree.replace("mark end'", "printf \"long=%0900000d\\n\" 1 >> \"$TREES_OUTPUT\"; mark end'");
    sample
}

#[test]
fn a_full_disk_is_survived() {
    let sample = loud();
    let reference = Reference::of(&sample);
    let mut hits = 0;
    // Kilobytes that are left for the run.
    let rooms: Vec<usize> = (0..8192).step_by(size(800, 64)).collect();
    for room in &rooms {
        let place = sample.place();
        let Some(_disk) = Small::at(&place.path(".trees")) else {
            println!("disk: left out: a tmpfs of 8 MiB cannot be mounted here (that needs root)");
            return;
        };
        hits += u32::from(filled(place, &sample, &reference, *room));
    }
    assert!(hits > 0, "the disk was never full");
    println!("disk: a tmpfs of 8 MiB with {} fillings: {hits} stopped with exit 7, all resumed, 0 violations", rooms.len());
}

/// Runs with so much room, then with all of it; whether the first stopped.
fn filled(place: Place, sample: &Sample, reference: &Reference, room: usize) -> bool {
    let filler = place.path(".trees/artifacts");
    fs::create_dir(&filler).unwrap();
    let filler = filler.join("filler");
    fs::write(&filler, vec![1_u8; (8192 - 16 - room.min(8176)) * 1024]).unwrap();
    let mut trial = Trial::at(place, sample);
    let told = trial.place.run(&trial.arguments());
    let context = format!("{room} KiB\n{}", told.stderr);
    clean(&told, &context);
    fs::remove_file(&filler).unwrap();
    if told.code == 7 {
        trial.note_cut_off(told.clone());
    } else {
        trial.note(told.clone());
    }
    trial.finish();
    let broken = trial.broken(reference);
    assert!(broken.is_empty(), "{context}\n{}\n{}", broken.join("\n"), trial.place.ledger());
    assert_eq!(integrity(&trial.place), Vec::<String>::new(), "{context}");
    told.code == 7
}
