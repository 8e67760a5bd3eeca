//! Runs as listed, and the names that find them.

use crate::bench::{FAR, at, begins, bench, ended, event, finished, new_run, run_with, started, succeeds};
use serde_json::json;
use trees_core::event::{ErrorReason, EventKind, RunStatus, StepError};
use trees_core::journal::{Journal as _, RunFilter};
use trees_core::path::{RunId, StepPath};
use trees_core::store::Store as _;
use trees_state::StateError;

#[test]
fn a_run_keeps_how_far_it_came_while_it_rests() {
    let bench = bench();
    let hold = run_with(&bench.state, "t", vec![(None, started("t")), (Some("a"), begins("1")), (Some("a"), succeeds(json!(null)))]);
    let append = |seq: u64, kind| bench.state.append(hold.run(), seq - 1, 1, &[event(hold.run(), seq, None, kind)], &[]).unwrap();
    let run = bench.state.run(hold.run()).unwrap();
    assert_eq!((run.status, run.pid), (RunStatus::Running, Some(std::process::id())));
    assert_eq!((run.started, run.finished, run.progress, run.seq), (at(1), None, None, 3));
    assert_eq!((run.file.as_str(), run.environment.as_str()), ("t.yaml", "staging"));
    append(4, EventKind::RunSuspended { status: RunStatus::Paused, reason: "r".into(), signal: None, progress: Some(FAR) });
    let run = bench.state.run(hold.run()).unwrap();
    assert_eq!((run.status, run.finished, run.progress), (RunStatus::Paused, None, Some(FAR)));
    append(5, EventKind::RunResumed { epoch: 1, definition: None });
    assert_eq!(bench.state.run(hold.run()).unwrap().progress, None);
    append(6, finished(RunStatus::Failed));
    let run = bench.state.run(hold.run()).unwrap();
    assert_eq!((run.status, run.finished, run.progress), (RunStatus::Failed, Some(at(6)), Some(FAR)));
}

#[test]
fn runs_are_listed_newest_first() {
    let bench = bench();
    let a = ended(&bench.state, "a", RunStatus::Succeeded);
    let b = ended(&bench.state, "b", RunStatus::Failed);
    let c = run_with(&bench.state, "a", vec![(None, started("a"))]).run().clone();
    // A process that died between making a run and its first event.
    drop(bench.state.create(&new_run("a")).unwrap());
    let list = |filter: RunFilter| bench.state.runs(&filter).unwrap().into_iter().map(|run| run.run).collect::<Vec<RunId>>();
    assert_eq!(list(RunFilter::default()), [c.clone(), b.clone(), a.clone()]);
    assert_eq!(list(RunFilter { limit: 1, ..RunFilter::default() }), std::slice::from_ref(&c));
    assert_eq!(list(RunFilter { tree: Some("a".into()), ..RunFilter::default() }), [c.clone(), a.clone()]);
    assert_eq!(list(RunFilter { statuses: vec![RunStatus::Interrupted], limit: 1, ..RunFilter::default() }), [c]);
    assert_eq!(list(RunFilter { statuses: vec![RunStatus::Failed, RunStatus::Succeeded], ..RunFilter::default() }), [b, a]);
}

#[test]
fn runs_are_found_by_all_their_names() {
    let bench = bench();
    let state = &bench.state;
    let nothing = state.find("@last").unwrap_err();
    assert_eq!(nothing.to_string(), "no run `@last`; there are no runs yet");
    let a = ended(state, "a", RunStatus::Succeeded);
    let b = ended(state, "b", RunStatus::Failed);
    let c = ended(state, "a", RunStatus::Succeeded);
    let check = |text: &str, expected: &RunId| assert_eq!(state.find(text).unwrap(), *expected, "{text}");
    check(&a.0, &a);
    check(&a.0.to_uppercase(), &a);
    check(&b.0[..11], &b);
    check("@last", &c);
    check("@last-failed", &b);
    check("b@last", &b);
    check("a@last", &c);
    check("a#1", &a);
    check("a#2", &c);
    let unknown = |text: &str| state.find(text).unwrap_err().to_string();
    let newest = format!("the newest are {c} (a#2, succeeded), {b} (b#1, failed), {a} (a#1, succeeded)");
    assert_eq!(unknown("zzzzzzzzzzzzz"), format!("no run `zzzzzzzzzzzzz`; {newest}"));
    assert_eq!(unknown("%"), format!("no run `%`; {newest}"));
    assert_eq!(unknown(""), format!("no run ``; {newest}"));
    assert_eq!(unknown("../x"), format!("no run `../x`; {newest}"));
    assert_eq!(unknown("b#9"), format!("no run `b#9`; the newest are {b} (b#1, failed)"));
    assert_eq!(unknown("c@last"), format!("no run `c@last`; {newest}"));
    assert_eq!(unknown("@first"), "`@first` names no run; write an id, `@last`, `@last-failed`, `TREE@last` or `TREE#NUMBER`");
}

#[test]
fn a_prefix_of_two_is_refused_with_both() {
    let bench = bench();
    let mut runs: Vec<RunId> = Vec::new();
    // Of 33 ids two begin with the same of 32 letters.
    let (one, two) = loop {
        let run = ended(&bench.state, "t", RunStatus::Succeeded);
        if let Some(twin) = runs.iter().find(|other| other.0[..1] == run.0[..1]) {
            break (twin.clone(), run);
        }
        runs.push(run);
    };
    let error = bench.state.find(&one.0[..1]).unwrap_err();
    assert!(matches!(&error, StateError::Ambiguous { runs, .. } if *runs == [two.clone(), one.clone()]), "{error}");
    assert_eq!(error.to_string(), format!("`{}` means more than one run: {two}, {one}", &one.0[..1]));
}

#[test]
fn a_result_is_found_by_its_digests() {
    let bench = bench();
    let cached = |tree: &str, definition: &str, input: &str| bench.state.cached(tree, definition, input).unwrap();
    assert_eq!(cached("t", "def", "i"), None);
    let hold = run_with(&bench.state, "t", vec![(Some("a"), begins("i"))]);
    assert_eq!(cached("t", "def", "i"), None, "begun is not done");
    bench.state.append(hold.run(), 1, 1, &[event(hold.run(), 2, Some("a"), succeeds(json!({"sha": "1"})))], &[]).unwrap();
    let found = cached("t", "def", "i").unwrap();
    assert_eq!((found.run, found.step, found.outputs), (hold.run().clone(), StepPath::root("a"), json!({"sha": "1"})));
    assert_eq!((cached("u", "def", "i"), cached("t", "de", "fi"), cached("t", "def", "j")), (None, None, None));
    let newer = run_with(&bench.state, "t", vec![(Some("b"), begins("i")), (Some("b"), succeeds(json!(null)))]);
    let found = cached("t", "def", "i").unwrap();
    assert_eq!((found.run, found.outputs), (newer.run().clone(), json!(null)), "the newest counts");
    bench.state.rebuild().unwrap();
    assert_eq!(cached("t", "def", "i").unwrap().run, *newer.run());
}

#[test]
fn a_result_is_that_of_the_attempt_that_succeeded() {
    let bench = bench();
    let failed = || EventKind::StepFailed { error: error() };
    let hold = run_with(&bench.state, "t", vec![(Some("a"), begins("1")), (Some("a"), failed()), (Some("a"), begins("2"))]);
    let append = |seq: u64, kind| bench.state.append(hold.run(), seq - 1, 1, &[event(hold.run(), seq, Some("a"), kind)], &[]).unwrap();
    let known = || ["1", "2", "3"].map(|input| bench.state.cached("t", "def", input).unwrap().is_some());
    append(4, succeeds(json!(null)));
    assert_eq!(known(), [false, true, false]);
    append(5, begins("3"));
    append(6, failed());
    append(7, EventKind::StepStarted { digests: None, idempotency_key: None });
    append(8, succeeds(json!(null)));
    assert_eq!(known(), [false, true, false], "the last attempt may not be used again");
}

fn error() -> StepError {
    StepError { reason: ErrorReason::Timeout, code: None, message: "late".into(), log: None }
}

#[test]
fn folders_of_attempts_stay_inside() {
    let bench = bench();
    let run = ended(&bench.state, "t", RunStatus::Succeeded);
    let home = bench.dir.path().canonicalize().unwrap().join(".trees/runs").join(&run.0).join("steps");
    for (path, name) in [("build", "build"), ("a/b[x]", "a%2Fb%5Bx%5D"), ("..", "%2E."), ("../../x", "%2E.%2F..%2Fx")] {
        let folder = bench.state.attempt_folder(&run, &StepPath(path.into()), 2).unwrap();
        assert_eq!(folder, home.join(name).join("2"));
    }
    let long = StepPath("s".into()).instance(&"é".repeat(100));
    let other = StepPath("s".into()).instance(&format!("{}e", "é".repeat(99)));
    let (a, b) = (bench.state.attempt_folder(&run, &long, 1).unwrap(), bench.state.attempt_folder(&run, &other, 1).unwrap());
    assert_ne!(a, b);
    assert!(bench.state.attempt_folder(&RunId("../../../tmp".into()), &long, 1).is_err());
}
