//! Crash at each system call: `trees` is killed as it is about to change the disk for the Nth time,
//! N = 1, 2, … until nothing is left to disturb. So are a resume, and a rollback.

use crate::chance::{each_seed, seeds, size};
use crate::ledger::{Ledger, quiet_mark};
use crate::place::Told;
use crate::sample::{Sample, chain_with_artifact};
use crate::strace;
use crate::verdict::{KILLED, Reference, Trial, integrity};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU32, Ordering};

/// A moment: before a call is made for the Nth time by a thread.
struct Point {
    call: &'static str,
    n: u32,
    /// What strace looks at alone, where not at everything.
    only: Vec<String>,
}

/// What `made` holds: its digest names the folder and the file that keep it.
pub const DIGEST: &str = "9ccbd3f1b19a1cdfd8d7c6ae48e9e822e2345f5be1a6187b19e41486c6941004";

/// A chain with an artifact, its steps marking without any of the calls that are swept.
fn sample() -> Sample {
    let mut sample = chain_with_artifact("s1");
    sample.files.push(("mark", quiet_mark()));
    sample.needs = BTreeMap::from([("s1", vec!["s0"]), ("made", vec!["s1"])]);
    sample
}

/// The points of a command that is run for counting; in the short form those of frequent calls thin out.
fn points(trial: &Trial<'_>, arguments: &[&str], thin: u32) -> Vec<Point> {
    let mut points = Vec::new();
    for (call, most) in strace::count(&trial.place, &[], arguments) {
        let step = size((most / thin).max(1), 1);
        // Counts differ a little from run to run: the last one passes undisturbed.
        points.extend((1..=most + 2).step_by(usize::try_from(step).unwrap()).map(|n| Point { call, n, only: Vec::new() }));
    }
    points
}

/// Killed there; nothing where it passed undisturbed.
fn killed(trial: &Trial<'_>, point: &Point, arguments: &[&str]) -> (bool, Told) {
    let inject = format!("inject={}:signal=KILL:when={}", point.call, point.n);
    let trace = format!("trace={}", point.call);
    let mut options = vec!["-e", &trace, "-e", &inject];
    let only: Vec<String> = point.only.iter().map(|path| trial.place.path(path).to_str().unwrap().to_owned()).collect();
    options.extend(only.iter().flat_map(|path| ["-P", path]));
    let told = strace::end(&trial.place, &options, arguments);
    assert!([0, KILLED].contains(&told.code), "{} {}: exit {}\n{}{}", point.call, point.n, told.code, told.stdout, told.stderr);
    (told.code == KILLED, told)
}

/// Does it for each point, and says how many there were.
fn sweep(what: &str, points: &[Point], work: impl Fn(&Point) -> bool + Sync) {
    let hits = AtomicU32::new(0);
    let all = u64::try_from(points.len()).unwrap();
    each_seed(seeds(all, all), |seed| {
        let point = &points[usize::try_from(seed - 1).unwrap()];
        let hit = catch_unwind(AssertUnwindSafe(|| work(point))).unwrap_or_else(|panic| {
            eprintln!("{what}: killed before {} number {} {:?}", point.call, point.n, point.only);
            resume_unwind(panic)
        });
        hits.fetch_add(u32::from(hit), Ordering::Relaxed);
    });
    let hits = hits.into_inner();
    assert!(hits > 0, "nothing was killed");
    println!("calls: {what}: {} points, {hits} killed, 0 violations", points.len());
}

#[test]
fn a_run_killed_at_each_call() {
    if !strace::is_there("calls") {
        return;
    }
    let sample = sample();
    let reference = Reference::of(&sample);
    let trial = Trial::new(&sample);
    let mut points = points(&trial, &trial.arguments(), 6);
    // Other threads count less than the first one, which would always be killed before.
    for (call, n) in [("mkdir", 1), ("mkdir", 2), ("mkdir", 3), ("rename", 1), ("fsync", 1), ("fsync", 2), ("fsync", 3)] {
        let fan = format!(".trees/artifacts/{}", &DIGEST[..2]);
        let only = vec![".trees/artifacts".into(), format!("{fan}/{DIGEST}"), fan];
        points.push(Point { call, n, only });
    }
    sweep("run", &points, |point| gone_on(Trial::new(&sample), point, &reference));
}

/// Kills the next sitting there, goes on to the end, and judges; whether it was killed.
fn gone_on(mut trial: Trial<'_>, point: &Point, reference: &Reference) -> bool {
    let (hit, told) = killed(&trial, point, &trial.arguments());
    trial.note_crash(told);
    trial.finish();
    trial.judge(reference);
    hit
}

/// A run that was killed as its second step began.
pub fn interrupted(sample: &Sample) -> Trial<'_> {
    let mut trial = Trial::new(sample);
    let mut sitting = trial.sit();
    sitting.until("step_started", "s1");
    let told = sitting.kill();
    trial.note_crash(told);
    trial
}

#[test]
fn a_resume_killed_at_each_call() {
    if !strace::is_there("calls") {
        return;
    }
    let sample = sample();
    let reference = Reference::of(&sample);
    let trial = interrupted(&sample);
    let points = points(&trial, &trial.arguments(), 4);
    sweep("resume", &points, |point| gone_on(interrupted(&sample), point, &reference));
}

/// Steps in a row with undos. None of them unlinks or renames: steps are traced too.
pub fn reversible() -> Sample {
    let step = |name: &str, needs: &str| {
        format!(
            "  {name}:\n    {needs}run: '. ./mark; mark start; touch made.{name}; mark end'\n    undo: {{ run: '. ./mark; mark undoing; : > undone.{name}; mark undone' }}\n"
        )
    };
    let tree = format!("tree: reversible\nsteps:\n{}{}{}", step("a", ""), step("b", "needs: a\n    "), step("c", "needs: b\n    "));
    Sample {
        tree,
        files: vec![("mark", quiet_mark())],
        needs: BTreeMap::from([("b", vec!["a"]), ("c", vec!["b"])]),
        once: Vec::new(),
        finally: Vec::new(),
        tries: BTreeMap::new(),
    }
}

#[test]
fn a_rollback_killed_at_each_call() {
    if !strace::is_there("calls") {
        return;
    }
    let sample = reversible();
    let done = || {
        let mut trial = Trial::new(&sample);
        trial.finish().expect(0);
        trial
    };
    let trial = done();
    let points = points(&trial, &["rollback", &trial.run, "--format", "json"], 2);
    sweep("rollback", &points, |point| {
        let trial = done();
        let arguments = ["rollback", &trial.run, "--format", "json"];
        let (hit, first) = killed(&trial, point, &arguments);
        if hit {
            Ledger::note_crash(&trial.place.path("ledger"));
        }
        let last = trial.place.run(&arguments);
        judge_rollback(&trial, hit, &first, &last);
        hit
    });
}

/// Every undo ended, in the reversed order; none was told as done and done again.
fn judge_rollback(trial: &Trial<'_>, hit: bool, first: &Told, last: &Told) {
    let ledger = trial.place.ledger();
    let context = || format!("first: {first:?}\nlast: {last:?}\n{ledger}");
    // What was rolled back to the end before the kill needs no second command, which may say so.
    assert_eq!(last.code, 0, "{}", context());
    let mut order: Vec<&str> = ledger.marked("undone").into_iter().map(|(step, _)| step).collect();
    let begun = ledger.marked("undoing").len();
    assert!(begun <= 3 + usize::from(hit), "undone too often: {}", context());
    order.dedup();
    assert_eq!(order, ["c", "b", "a"], "{}", context());
    let told = first.events().iter().filter(|e| e["type"] == "undo_succeeded").count();
    assert!(last.events().iter().filter(|e| e["type"] == "undo_succeeded").count() + told <= 3, "{}", context());
    let events = trial.recorded();
    let ended = events.iter().rev().find(|e| e["type"] == "run_finished").unwrap();
    assert_eq!(ended["status"], "rolled_back", "{}", context());
    for event in first.events() {
        assert!(events.contains(&event), "I2: {event} is missing\n{}", context());
    }
    assert_eq!(integrity(&trial.place), Vec::<String>::new(), "{}", context());
    assert_eq!(trial.place.processes(), Vec::<String>::new(), "{}", context());
}
