//! Runs and steps as listed, and the names that find them.

use crate::bench::{at, begins, bench, ended, event, finished, new_run, run_with, started, succeeds};
use serde_json::json;
use trees_core::event::{EventKind, Item, Reason, RunStatus, StepStatus};
use trees_core::journal::{Journal as _, RunFilter};
use trees_core::path::{RunId, StepPath};
use trees_core::store::Store as _;
use trees_state::StateError;

fn skipped() -> EventKind {
    EventKind::StepSkipped { reason: Reason { code: "condition".into(), text: "no".into(), file: None, line: None, values: [].into() } }
}

#[test]
fn a_run_counts_its_leaves() {
    let bench = bench();
    let items = vec![Item { key: "x".into(), value: json!("x") }];
    let plain = || EventKind::StepStarted { digests: None, idempotency_key: None };
    let hold = run_with(
        &bench.state,
        "t",
        vec![
            (None, started("t")),
            (Some("environment:production"), EventKind::ApprovalGiven { note: None }),
            (Some("a"), begins("1")),
            (Some("a"), succeeds(json!(null))),
            (Some("ab"), skipped()),
            (Some("fan"), plain()),
            (Some("fan"), EventKind::StepExpanded { items }),
            (Some("fan[x]"), plain()),
            (Some("fan[x]/deep"), begins("2")),
            (Some("fan[x]/deep"), EventKind::StepTimedOut { error: error() }),
        ],
    );
    let run = bench.state.run(hold.run()).unwrap();
    assert_eq!((run.done, run.failed, run.total, run.seq), (2, 1, 3, 10));
    assert_eq!((run.status, run.pid), (RunStatus::Running, Some(std::process::id())));
    assert_eq!((run.started, run.finished), (at(1), None));
    assert_eq!((run.file.as_str(), run.environment.as_str()), ("t.yaml", "staging"));
    bench.state.append(hold.run(), 10, 1, &[event(hold.run(), 11, None, finished(RunStatus::Failed))], &[]).unwrap();
    let run = bench.state.run(hold.run()).unwrap();
    assert_eq!((run.done, run.failed, run.total, run.status, run.finished), (2, 1, 3, RunStatus::Failed, Some(at(11))));
}

fn error() -> trees_core::event::StepError {
    trees_core::event::StepError { reason: trees_core::event::ErrorReason::Timeout, code: None, message: "late".into(), log: None }
}

#[test]
fn a_step_keeps_when_its_round_began() {
    let bench = bench();
    let hold = run_with(
        &bench.state,
        "t",
        vec![
            (Some("a"), begins("1")),
            (Some("a"), EventKind::AttemptFailed { error: error(), retry_at: at(3) }),
            (Some("a"), begins("1")),
            (Some("a"), EventKind::StepFailed { error: error() }),
        ],
    );
    let row = |seq: u64, kind: Option<EventKind>| {
        if let Some(kind) = kind {
            bench.state.append(hold.run(), seq, 1, &[event(hold.run(), seq + 1, Some("a"), kind)], &[]).unwrap();
        }
        let row = bench.state.steps(hold.run()).unwrap().pop().unwrap();
        (row.status, row.started, row.finished, row.settled)
    };
    assert_eq!(row(4, None), (StepStatus::Failed, Some(at(1)), Some(at(4)), 4));
    assert_eq!(row(4, Some(begins("1"))), (StepStatus::Running, Some(at(5)), None, 5), "a resume begins afresh");
    assert_eq!(row(5, Some(EventKind::IntentRecorded { record: json!(1) })), (StepStatus::Running, Some(at(5)), None, 5));
    assert_eq!(row(6, Some(succeeds(json!(1)))), (StepStatus::Succeeded, Some(at(5)), Some(at(7)), 7));
    assert_eq!(row(7, Some(EventKind::UndoStarted)), (StepStatus::Undoing, Some(at(5)), Some(at(7)), 8));
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
