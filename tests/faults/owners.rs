//! Two owners: many `run`s and `resume`s at once on one state folder, and an owner that was stopped,
//! overtaken and continued. One owner a run; the late one is refused; nobody sees a busy database.

use crate::ledger::{Ledger, Line};
use crate::place::{Place, Told};
use crate::sitting::{PATIENCE, Sitting};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const TREE: &str = r#"
tree: owners
max_parallel: 2
steps:
  a: { run: ". ./mark; mark start; until [ -e go ]; do sleep 0.02; done; mark end" }
  b: { needs: a, run: ". ./mark; mark start; mark end" }
  c: { needs: a, run: ". ./mark; mark start; mark end" }
  d: { needs: [b, c], run: ". ./mark; mark start; mark end" }
"#;

/// Nobody's words tell of a database that somebody else has.
fn calm(told: &Told) {
    for text in [&told.stdout, &told.stderr] {
        let wrong = ["database is locked", "SQLITE_BUSY", "this is a bug", "cannot be used"].iter().find(|wrong| text.contains(**wrong));
        assert!(wrong.is_none(), "exit {}: {}", told.code, text);
    }
}

/// A run whose first step has begun, and its id. The event alone says only that it will begin.
fn under_way(place: &Place) -> (Sitting, String) {
    let mut sitting = place.start(&["run", "tree.yaml", "--format", "json"]);
    let run = sitting.until("step_started", "a")["run"].as_str().unwrap().to_owned();
    place.until_marked("a", "start");
    (sitting, run)
}

/// A run that was killed while its first step ran.
fn cut_off(place: &Place) -> String {
    let (mut sitting, run) = under_way(place);
    sitting.kill();
    run
}

/// All that is recorded of a run.
fn recorded(place: &Place, run: &str) -> Vec<Value> {
    place.run(&["events", run, "--format", "json"]).expect(0).events()
}

/// So many resumes of one run, so many runs, and listings all the while.
fn crowded(count: usize) -> String {
    let place = Place::with(TREE);
    let run = cut_off(&place);
    Ledger::note_crash(&place.path("ledger"));
    place.write("go", "");
    let over = AtomicBool::new(false);
    let (resumes, runs, listings) = thread::scope(|scope| {
        let lists = scope.spawn(|| {
            let mut listings = 0;
            while !over.load(Ordering::Relaxed) {
                let told = place.run(&["list", "--format", "json"]).expect(0);
                calm(&told);
                serde_json::from_str::<Value>(&told.stdout).unwrap();
                listings += 1;
            }
            listings
        });
        let mut resumes: Vec<_> = (0..count).map(|_| place.start(&["resume", &run, "--format", "json"])).collect();
        let mut runs: Vec<_> = (0..count).map(|_| place.start(&["run", "tree.yaml", "--format", "json"])).collect();
        let resumes: Vec<Told> = resumes.iter_mut().map(Sitting::end).collect();
        let runs: Vec<Told> = runs.iter_mut().map(Sitting::end).collect();
        over.store(true, Ordering::Relaxed);
        (resumes, runs, lists.join().unwrap())
    });
    resumes.iter().chain(&runs).for_each(calm);
    for told in runs {
        told.expect(0);
    }
    let drove = resumes.iter().filter(|told| told.code == 0 && !told.events().is_empty()).count();
    assert_eq!(drove, 1, "one of them drives it: {:?}", resumes.iter().map(|t| (t.code, &t.stderr)).collect::<Vec<_>>());
    let held = resumes.iter().filter(|told| told.code == 6).count();
    let late = resumes.iter().filter(|told| told.code == 0 && told.stderr.contains("nothing to do")).count();
    assert_eq!(drove + held + late, count, "{:?}", resumes.iter().map(|t| (t.code, &t.stderr)).collect::<Vec<_>>());
    each_attempt_once(&place);
    format!("{count}: {held} refused, {late} had nothing to do, {listings} listings")
}

/// No attempt begins twice, and no step of the run that was cut off more often than once for it
/// and once for the crash.
fn each_attempt_once(place: &Place) {
    let mut seen = BTreeSet::new();
    for line in &place.ledger().0 {
        let Line::Mark { run, step, attempt, word, .. } = line else { continue };
        if word == "start" {
            assert!(seen.insert((run.clone(), step.clone(), *attempt)), "{run}: {step} began attempt {attempt} twice");
            assert!(*attempt <= 2, "{run}: {step} began attempt {attempt}");
        }
    }
}

#[test]
fn one_owner_a_run() {
    let all: Vec<String> = [2, 8, 32].into_iter().map(crowded).collect();
    println!("owners: resumes and as many runs at once: {}; no busy database", all.join("; "));
}

#[test]
fn a_stopped_owner_is_not_overtaken_while_it_holds_the_lock() {
    let place = Place::with(TREE);
    let (mut sitting, run) = under_way(&place);
    sitting.signal(Signal::STOP);
    let mut second = place.start(&["resume", &run]);
    second.rest(PATIENCE);
    let refused = second.end();
    assert_eq!(refused.code, 6, "it drives beside another: {refused:?}");
    calm(&refused);
    assert!(refused.stderr.contains(&format!("held by process {}", sitting.pid())), "{}", refused.stderr);
    place.run(&["list"]).expect(0);
    sitting.signal(Signal::CONT);
    place.write("go", "");
    sitting.end().expect(0);
    each_attempt_once(&place);
    println!("owners: stopped by SIGSTOP: a resume exits 6; continued: exit 0");
}

/// The lock is a file, and files are removed: by a cleaner, by a person in a hurry.
#[test]
fn a_late_owner_is_refused() {
    let place = Place::with(TREE);
    let (mut late, run) = under_way(&place);
    late.signal(Signal::STOP);
    fs::remove_file(place.path(&format!(".trees/runs/{run}/lock"))).unwrap();
    Ledger::note_crash(&place.path("ledger"));
    place.write("go", "");
    let overtook = place.run(&["resume", &run, "--format", "json"]).expect(0);
    calm(&overtook);
    let before = (place.ledger(), recorded(&place, &run));
    late.signal(Signal::CONT);
    let told = late.end().expect(6);
    calm(&told);
    assert!(told.stderr.contains("another process"), "{}", told.stderr);
    assert_eq!(place.ledger(), before.0, "the late one started something");
    assert_eq!(recorded(&place, &run), before.1, "the late one recorded something");
    each_attempt_once(&place);
    let lost: Vec<_> = told.events().into_iter().chain(overtook.events()).filter(|e| !before.1.contains(e)).collect();
    assert!(lost.is_empty(), "told and not recorded: {lost:?}");
    assert_eq!(place.processes(), Vec::<String>::new());
    println!("owners: overtaken while stopped: exit 6, nothing started, nothing recorded");
}
