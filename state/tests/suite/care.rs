//! What is old goes, what is needed stays, what is wrong is told.

use crate::bench::{Bench, begins, bench, ended, event, finished, run_with, started};
use jiff::SignedDuration;
use std::fs;
use std::time::Duration;
use trees_core::event::{EventKind, RunStatus};
use trees_core::journal::{Journal as _, RunFilter};
use trees_core::path::{RunId, StepPath};
use trees_core::store::Store as _;
use trees_state::{Gc, Health, State};

fn now(gc: Gc) -> Gc {
    Gc { grace: Duration::ZERO, ..gc }
}

fn listed(state: &State) -> Vec<RunId> {
    state.runs(&RunFilter::default()).unwrap().into_iter().map(|run| run.run).collect()
}

/// A run whose only step left this content.
fn leaves(bench: &Bench, tree: &str, input: &str, content: &str, end: bool) -> (RunId, String) {
    let file = bench.dir.path().join("file");
    fs::write(&file, content).unwrap();
    let kept = bench.state.keep(&file, "file").unwrap();
    let sha256 = kept.sha256.clone();
    let done = EventKind::StepSucceeded { outputs: serde_json::Value::Null, artifacts: [("f".to_owned(), kept)].into() };
    let hold = run_with(&bench.state, tree, vec![(None, started(tree)), (Some("a"), begins(input)), (Some("a"), done)]);
    if end {
        bench.state.append(hold.run(), 3, 1, &[event(hold.run(), 4, None, finished(RunStatus::Succeeded))], &[]).unwrap();
    }
    (hold.run().clone(), sha256)
}

#[test]
fn old_runs_go_with_their_logs_and_unfinished_ones_stay() {
    let bench = bench();
    let resting = run_with(&bench.state, "a", vec![(None, started("a"))]).run().clone();
    let old = ended(&bench.state, "a", RunStatus::Failed);
    let logs = bench.state.attempt_folder(&old, &StepPath::root("s"), 1).unwrap();
    fs::create_dir_all(&logs).unwrap();
    fs::write(logs.join("output.log"), "x".repeat(1000)).unwrap();
    let other = ended(&bench.state, "b", RunStatus::Failed);
    let new = ended(&bench.state, "a", RunStatus::Succeeded);
    let gc = now(Gc { keep: Some(1), ..Gc::default() });
    let told = bench.state.gc(&Gc { dry_run: true, ..gc.clone() }).unwrap();
    assert_eq!(told.runs, std::slice::from_ref(&old));
    assert!(told.bytes >= 1000);
    assert!(logs.exists() && listed(&bench.state).len() == 4, "a dry run removes nothing");
    assert_eq!(bench.state.gc(&gc).unwrap(), told);
    assert_eq!(listed(&bench.state), [new, other, resting]);
    assert!(!bench.dir.path().join(".trees/runs").join(&old.0).exists());
    assert_eq!(bench.state.gc(&gc).unwrap().runs, []);
    assert_eq!(ended(&bench.state, "a", RunStatus::Succeeded), bench.state.find("a#4").unwrap(), "numbers go on");
}

#[test]
fn what_a_rollback_may_need_stays_as_long_as_its_run() {
    let bench = bench();
    let folder = bench.dir.path().join(".trees/undo");
    fs::create_dir(&folder).unwrap();
    let names = ["a", "b", "c"].map(|letter| letter.repeat(64));
    names.iter().for_each(|name| fs::write(folder.join(name), "before").unwrap());
    for name in &names[..2] {
        let intent = EventKind::IntentRecorded { record: serde_json::json!({ "before": { "sha256": name } }) };
        let hold = run_with(&bench.state, "a", vec![(None, started("a")), (Some("a"), begins("x")), (Some("a"), intent)]);
        bench.state.append(hold.run(), 3, 1, &[event(hold.run(), 4, None, finished(RunStatus::Succeeded))], &[]).unwrap();
    }
    bench.state.gc(&Gc { keep: Some(1), ..Gc::default() }).unwrap();
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 3, "what is young stays: its record may just be written");
    let told = bench.state.gc(&now(Gc { dry_run: true, ..Gc::default() })).unwrap();
    assert_eq!((told.bytes, fs::read_dir(&folder).unwrap().count()), (12, 3));
    assert_eq!(bench.state.gc(&now(Gc::default())).unwrap().bytes, 12);
    assert!(folder.join(&names[1]).exists() && fs::read_dir(&folder).unwrap().count() == 1);
}

#[test]
fn a_run_that_somebody_drives_stays() {
    let bench = bench();
    let run = ended(&bench.state, "a", RunStatus::Failed);
    let gc = now(Gc { keep: Some(0), ..Gc::default() });
    let hold = bench.state.hold(&run).unwrap();
    assert_eq!(bench.state.gc(&gc).unwrap().runs, []);
    drop(hold);
    assert_eq!(bench.state.gc(&gc).unwrap().runs, [run]);
}

#[test]
fn runs_go_by_age() {
    let bench = bench();
    let old = ended(&bench.state, "a", RunStatus::Failed);
    let gc = |days: i64| now(Gc { keep: None, older: Some(SignedDuration::from_hours(24 * days)), ..Gc::default() });
    assert_eq!(bench.state.gc(&gc(365_000)).unwrap().runs, []);
    assert_eq!(bench.state.gc(&gc(30)).unwrap().runs, [old]);
}

#[test]
fn definitions_go_with_their_last_run() {
    let bench = bench();
    for _ in 0..3 {
        ended(&bench.state, "a", RunStatus::Failed);
    }
    ended(&bench.state, "b", RunStatus::Failed);
    let count = || -> i64 {
        let db = rusqlite::Connection::open(bench.dir.path().join(".trees/trees.db")).unwrap();
        db.query_row("SELECT count(*) FROM definitions", [], |row| row.get(0)).unwrap()
    };
    bench.state.gc(&now(Gc { keep: Some(1), ..Gc::default() })).unwrap();
    assert_eq!(count(), 2);
    bench.state.gc(&now(Gc { keep: Some(0), ..Gc::default() })).unwrap();
    assert_eq!(count(), 0);
}

#[test]
fn the_oldest_of_the_cache_goes_first_and_what_a_run_needs_stays() {
    let bench = bench();
    let (_, needed) = leaves(&bench, "t", "0", &"n".repeat(5000), false);
    let (_, old) = leaves(&bench, "t", "1", &"o".repeat(5000), true);
    let db = rusqlite::Connection::open(bench.dir.path().join(".trees/trees.db")).unwrap();
    db.execute_batch("UPDATE results SET ts = ts - 1; UPDATE runs SET finished = finished - 1").unwrap();
    let (_, new) = leaves(&bench, "t", "2", &"p".repeat(5000), true);
    let unnamed = bench.dir.path().join("unnamed");
    fs::write(&unnamed, "q").unwrap();
    let unnamed = bench.state.keep(&unnamed, "q").unwrap().sha256;
    let gc = Gc { cache: 10_000, ..Gc::default() };
    assert_eq!(bench.state.gc(&gc).unwrap().artifacts, [] as [String; 0], "too young");
    assert_eq!(bench.state.gc(&now(gc)).unwrap().artifacts, [unnamed, old]);
    assert!(bench.state.content(&needed).is_some() && bench.state.content(&new).is_some());
    assert!(bench.state.cached("t", "def", "1").unwrap().is_none());
    assert!(bench.state.cached("t", "def", "2").unwrap().is_some());
    let removed = bench.state.gc(&now(Gc { keep: Some(0), cache: 0, ..Gc::default() })).unwrap();
    assert_eq!((removed.artifacts, removed.runs.len()), (vec![new], 2));
    assert!(bench.state.content(&needed).is_some(), "the run that has not ended may need it");
}

#[test]
fn results_outlive_their_runs() {
    let bench = bench();
    leaves(&bench, "t", "1", "content", true);
    bench.state.gc(&now(Gc { keep: Some(0), ..Gc::default() })).unwrap();
    assert_eq!(listed(&bench.state), []);
    let found = bench.state.cached("t", "def", "1").unwrap().unwrap();
    assert!(bench.state.restore(&found.artifacts["f"], &bench.dir.path().join("back")).unwrap());
}

#[test]
fn what_a_dead_process_left_goes() {
    let bench = bench();
    drop(bench.state.create(&crate::bench::new_run("t")).unwrap());
    let home = bench.dir.path().join(".trees");
    fs::create_dir_all(home.join("runs/0123456789ab")).unwrap();
    fs::create_dir_all(home.join("runs/not-a-run")).unwrap();
    fs::create_dir_all(home.join("artifacts/.trees-x")).unwrap();
    assert_eq!(bench.state.gc(&now(Gc::default())).unwrap().runs.len(), 1);
    let left: Vec<_> = fs::read_dir(home.join("runs")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["not-a-run"]);
    assert!(!home.join("artifacts/.trees-x").exists());
}

fn found(bench: &Bench, check: &str) -> Vec<(Health, String)> {
    let found = State::doctor(&bench.dir.path().join(".trees"), &|_, _, _| None).into_iter();
    found.filter(|finding| finding.check == check).map(|finding| (finding.health, finding.text)).collect()
}

#[test]
fn a_healthy_folder_is_well() {
    let bench = bench();
    ended(&bench.state, "t", RunStatus::Succeeded);
    for check in ["sqlite", "folder", "file system", "database"] {
        assert!(matches!(found(&bench, check)[..], [(Health::Good, _)]), "{check}");
    }
    assert_eq!(found(&bench, "runs"), []);
    assert_eq!(State::doctor(&bench.dir.path().join("none"), &|_, _, _| None).len(), 2, "no folder is fine too");
    assert!(!bench.dir.path().join("none").exists());
}

#[test]
fn what_is_wrong_is_told() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = bench();
    let run = run_with(&bench.state, "t", vec![(None, started("t")), (Some("a"), begins("i"))]).run().clone();
    fs::create_dir_all(bench.dir.path().join(".trees/runs/0123456789ab")).unwrap();
    assert_eq!(found(&bench, "runs"), [(Health::Note, format!("1 interrupted; the newest is {run} of t"))]);
    assert_eq!(found(&bench, "folders"), [(Health::Note, "folders of runs that are not recorded: 1".into())]);
    let db = rusqlite::Connection::open(bench.dir.path().join(".trees/trees.db")).unwrap();
    db.execute_batch("DELETE FROM events WHERE seq = 1").unwrap();
    assert_eq!(found(&bench, "database"), [(Health::Bad, format!("the events of run {run} have a gap"))]);
    db.execute_batch("PRAGMA foreign_keys = OFF; INSERT INTO uses VALUES (77, 'x')").unwrap();
    assert!(found(&bench, "database").contains(&(Health::Bad, "a row of uses points nowhere".into())));
    fs::set_permissions(bench.dir.path().join(".trees"), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(matches!(found(&bench, "folder")[..], [(Health::Bad, _)]));
}

#[test]
fn a_run_whose_record_is_lost_keeps_its_folder() {
    let bench = bench();
    let lost = bench.dir.path().join(".trees/runs/0123456789ab");
    fs::create_dir_all(lost.join("steps/a/1")).unwrap();
    let cure = "put back a copy of the state folder, or let the logs go too: trees gc --lost";
    let finding = State::doctor(&bench.dir.path().join(".trees"), &|_, _, _| None).into_iter().find(|f| f.check == "folders").unwrap();
    assert_eq!((finding.health, finding.cure.as_deref()), (Health::Bad, Some(cure)));
    let unknown = bench.state.find("0123456789ab").unwrap_err().to_string();
    assert!(unknown.contains("its record is lost") && unknown.contains("trees gc --lost"), "{unknown}");
    let gc = Gc { grace: Duration::ZERO, ..Gc::default() };
    assert_eq!(bench.state.gc(&gc).unwrap().lost, [RunId("0123456789ab".into())]);
    assert!(lost.exists());
    assert_eq!(bench.state.gc(&Gc { lost: true, ..gc }).unwrap().runs, [RunId("0123456789ab".into())]);
    assert!(!lost.exists());
}

#[test]
fn a_run_that_was_being_removed_goes_for_good() {
    let bench = bench();
    let removed = bench.dir.path().join(".trees/runs/0123456789ab");
    fs::create_dir_all(removed.join("steps/a/1")).unwrap();
    fs::write(removed.join("passing"), "").unwrap();
    assert_eq!(bench.state.gc(&Gc::default()).unwrap().lost, []);
    assert!(!removed.exists());
}

#[test]
fn what_began_and_is_not_recorded_is_seen() {
    let bench = bench();
    let events = vec![(None, started("t")), (Some("a"), begins("i")), (Some("a"), EventKind::UndoStarted)];
    let run = run_with(&bench.state, "t", events).run().clone();
    let steps = bench.dir.path().join(".trees/runs").join(&run.0).join("steps");
    for folder in ["a/1/undo-1", "a/1/undo-2", "a/2", "b[x]/1"] {
        fs::create_dir_all(steps.join(folder)).unwrap();
    }
    let events = bench.state.load(&run, 0).unwrap();
    let remains = bench.state.remains(&run, &events, None).unwrap();
    let seen: Vec<&str> = remains.iter().map(|r| r.what.as_str()).collect();
    assert_eq!(seen, ["an undo of `a`", "attempt 2 of `a`", "attempt 1 of `b[x]`"]);
    // In a tree that was changed a name may be one that no event has.
    assert_eq!(bench.state.remains(&run, &events, Some(&events)).unwrap(), remains[..2]);
    bench.state.put_aside(&remains).unwrap();
    assert_eq!(bench.state.remains(&run, &events, None).unwrap(), []);
    assert!(steps.join("a/1/undo-1").exists() && steps.join("a/2.lost-1").exists());
}
