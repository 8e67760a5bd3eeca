//! The laws of the journal, over memory and over SQLite.

use crate::bench::{FAR, at, begins, bench, event, finished, new_run, started, succeeds};
use serde_json::json;
use std::collections::BTreeMap;
use trees_core::event::*;
use trees_core::journal::{Journal, JournalError, MemoryJournal, RequestBody};
use trees_core::path::RunId;
use trees_core::store::Store as _;

type Ask<'a> = &'a dyn Fn(&RunId, &str, &RequestBody) -> Result<u64, JournalError>;

#[track_caller]
fn check(law: impl Fn(&dyn Journal, Ask<'_>)) {
    let memory = MemoryJournal::new();
    law(&memory, &|run, actor, body| memory.ask(run, actor, body, at(9)));
    let bench = bench();
    law(&bench.state, &|run, actor, body| bench.state.ask(run, actor, body));
}

#[test]
fn what_was_appended_comes_back_in_order() {
    check(|journal, _| {
        let hold = journal.create(&new_run("t")).unwrap();
        let run = hold.run();
        assert_eq!((hold.epoch(), hold.number()), (1, 1));
        assert_eq!(journal.load(run, 0).unwrap(), []);
        let first = [event(run, 1, None, started("t")), event(run, 2, Some("a"), begins("i"))];
        let second = [event(run, 3, Some("a"), succeeds(json!({"sha": "é\u{0}\"'"})))];
        journal.append(run, 0, 1, &first, &[]).unwrap();
        journal.append(run, 2, 1, &second, &[]).unwrap();
        assert_eq!(journal.load(run, 0).unwrap(), [&first[..], &second].concat());
        assert_eq!(journal.load(run, 2).unwrap(), second);
        assert_eq!(journal.load(run, 3).unwrap(), []);
    });
}

/// Each was read as its neighbour once: then a resume took the result for another.
#[test]
fn fractions_come_back_as_they_were() {
    check(|journal, _| {
        let hold = journal.create(&new_run("t")).unwrap();
        let run = hold.run();
        let numbers = json!({"a": 1.844_674_407_370_955_4e74, "b": 5e-324, "c": 0.1, "d": -0.0, "e": f64::MAX});
        let events =
            [event(run, 1, None, started("t")), event(run, 2, Some("a"), begins("i")), event(run, 3, Some("a"), succeeds(numbers))];
        journal.append(run, 0, 1, &events, &[]).unwrap();
        assert_eq!(journal.load(run, 0).unwrap(), events);
    });
}

#[test]
fn numbers_count_in_a_tree_and_definitions_are_kept() {
    check(|journal, _| {
        let holds: Vec<_> = ["a", "b", "a"].iter().map(|tree| journal.create(&new_run(tree)).unwrap()).collect();
        assert_eq!(holds.iter().map(|hold| hold.number()).collect::<Vec<_>>(), [1, 1, 2]);
        assert_eq!(journal.definition(holds[1].run()).unwrap(), new_run("b").definition);
        assert_ne!(holds[0].run(), holds[2].run());
    });
}

#[test]
fn a_writer_behind_is_refused_and_nothing_is_written() {
    check(|journal, ask| {
        let hold = journal.create(&new_run("t")).unwrap();
        let run = hold.run();
        journal.append(run, 0, 1, &[event(run, 1, None, started("t"))], &[]).unwrap();
        let id = ask(run, "me", &RequestBody::Cancel { now: false }).unwrap();
        let late = journal.append(run, 0, 1, &[event(run, 1, Some("a"), begins("i"))], &[id]);
        assert!(matches!(late, Err(JournalError::Fenced { expected: 0, found: 1 })), "{late:?}");
        let gap = journal.append(run, 1, 1, &[event(run, 3, Some("a"), begins("i"))], &[id]);
        assert!(matches!(gap, Err(JournalError::Fenced { expected: 3, found: 2 })), "{gap:?}");
        assert_eq!(journal.load(run, 0).unwrap().len(), 1);
        assert_eq!(journal.requests(run).unwrap().len(), 1);
    });
}

#[test]
fn a_new_holder_fences_the_old_one() {
    check(|journal, _| {
        let hold = journal.create(&new_run("t")).unwrap();
        let run = hold.run().clone();
        journal.append(&run, 0, 1, &[event(&run, 1, None, started("t"))], &[]).unwrap();
        assert!(matches!(journal.hold(&run), Err(JournalError::Held { run: held, .. }) if held == run));
        drop(hold);
        let second = journal.hold(&run).unwrap();
        assert_eq!((second.epoch(), second.number()), (2, 1));
        let zombie = journal.append(&run, 1, 1, &[event(&run, 2, Some("a"), begins("i"))], &[]);
        assert!(matches!(zombie, Err(JournalError::Fenced { expected: 1, found: 2 })), "{zombie:?}");
        journal.append(&run, 1, 2, &[event(&run, 2, None, EventKind::RunResumed { epoch: 2, definition: None })], &[]).unwrap();
        drop(second);
        assert_eq!(journal.hold(&run).unwrap().epoch(), 3);
    });
}

#[test]
fn requests_wait_until_an_append_takes_them() {
    check(|journal, ask| {
        let hold = journal.create(&new_run("t")).unwrap();
        let other = journal.create(&new_run("t")).unwrap();
        let run = hold.run();
        assert_eq!(journal.requests(run).unwrap(), []);
        let bodies = [
            RequestBody::Approve { step: "gate".into(), note: None },
            RequestBody::Resolve { step: "a".into(), resolution: Resolution::Done, outputs: Object::new(), note: Some("seen".into()) },
        ];
        let ids: Vec<u64> = bodies.iter().map(|body| ask(run, "ann", body).unwrap()).collect();
        ask(other.run(), "bob", &RequestBody::Cancel { now: true }).unwrap();
        let second = ask(run, "bob", &RequestBody::Reject { step: "gate".into(), note: None }).unwrap_err();
        assert_eq!(second.to_string(), "`gate` was answered already, by ann");
        let open = journal.requests(run).unwrap();
        assert_eq!(open.iter().map(|request| &request.body).collect::<Vec<_>>(), bodies.iter().collect::<Vec<_>>());
        assert_eq!(open.iter().map(|request| request.id).collect::<Vec<_>>(), ids);
        assert!(open.iter().all(|request| request.actor == "ann" && request.run == *run));
        journal.append(run, 0, 1, &[event(run, 1, None, started("t"))], &ids[..1]).unwrap();
        assert_eq!(journal.requests(run).unwrap(), open[1..]);
        journal.append(run, 1, 1, &[], &ids[1..]).unwrap();
        assert_eq!(journal.requests(run).unwrap(), []);
        assert_eq!(journal.requests(other.run()).unwrap().len(), 1, "another run's stays");
    });
}

#[test]
fn a_run_that_is_not_there_is_said() {
    check(|journal, ask| {
        for text in ["zzzzzzzzzzzz", "../../etc", ""] {
            let run = RunId(text.into());
            let unknown = |error: JournalError| assert!(matches!(&error, JournalError::Unknown(named) if named == text), "{error:?}");
            unknown(journal.load(&run, 0).unwrap_err());
            unknown(journal.definition(&run).unwrap_err());
            unknown(journal.hold(&run).err().unwrap());
            unknown(journal.append(&run, 0, 1, &[], &[]).unwrap_err());
            unknown(ask(&run, "me", &RequestBody::Cancel { now: false }).unwrap_err());
            assert_eq!(journal.requests(&run).unwrap(), []);
        }
    });
}

#[test]
fn every_kind_of_event_comes_back() {
    check(|journal, _| {
        let hold = journal.create(&new_run("t")).unwrap();
        let run = hold.run();
        let events: Vec<Event> = every_kind().into_iter().zip(1..).map(|(kind, seq)| event(run, seq, Some("a/b[c%2F]"), kind)).collect();
        let mut events = events;
        events[4].actor = Some("ann".into());
        events[5].attempt = None;
        journal.append(run, 0, 1, &events, &[]).unwrap();
        assert_eq!(journal.load(run, 0).unwrap(), events);
    });
}

fn every_kind() -> Vec<EventKind> {
    let error = StepError { reason: ErrorReason::Exit, code: Some(3), message: "no".into(), log: None };
    let reason =
        Reason { code: "c".into(), text: "t".into(), file: Some("f".into()), line: Some(3), values: [("a".into(), "b".into())].into() };
    let artifact = ArtifactRef { path: "p".into(), sha256: "0".repeat(64), size: 3 };
    let artifacts: BTreeMap<String, ArtifactRef> = [("bin".to_owned(), artifact)].into();
    let object = json!({"k": [1, null, "x"]}).as_object().unwrap().clone();
    let digests = Some(Digests { definition: "d".into(), input: "i".into(), ingredients: BTreeMap::new(), reusable: true });
    vec![
        started("t"),
        EventKind::RunResumed { epoch: 2, definition: None },
        EventKind::RunSuspended { status: RunStatus::Waiting, reason: "r".into(), signal: Some(2), progress: None },
        EventKind::RunFinished {
            status: RunStatus::Failed,
            outputs: object.clone(),
            error: Some("e".into()),
            progress: Some(FAR),
            deployed: vec![],
        },
        EventKind::CancelRequested { now: true },
        EventKind::RollbackStarted(Box::default()),
        begins("i"),
        EventKind::StepStarted { digests: None, idempotency_key: None },
        EventKind::ActionSucceeded { outputs: object.clone(), artifacts: artifacts.clone() },
        EventKind::StepSucceeded { outputs: json!([1, {"a": null}]), artifacts: artifacts.clone() },
        EventKind::StepCached { reason: reason.clone(), outputs: Json::Null, artifacts, digests },
        EventKind::StepSkipped { reason: reason.clone() },
        EventKind::StepBlocked { reason: reason.clone() },
        EventKind::StepFailed { error: error.clone() },
        EventKind::StepTimedOut { error: error.clone() },
        EventKind::StepCancelled { reason },
        EventKind::StepInterrupted { error: error.clone() },
        EventKind::StepResolved { resolution: Resolution::Undone, note: None, outputs: object },
        EventKind::StepExpanded { items: vec![Item { key: "a".into(), value: json!({"x": 1}) }] },
        EventKind::StepWaiting { what: WaitFor::Lock, on: "l".into() },
        EventKind::AttemptFailed { error: error.clone(), retry_at: at(5) },
        EventKind::ApprovalRequested { message: "m".into(), shown: "s".into(), expires_at: Some(at(6)) },
        EventKind::ApprovalGiven { note: Some("n".into()) },
        EventKind::ApprovalRejected { note: None },
        EventKind::ApprovalExpired,
        EventKind::IntentRecorded { record: json!({"made": true}) },
        EventKind::UndoStarted,
        EventKind::UndoSucceeded,
        EventKind::UndoFailed { error },
    ]
}

#[test]
fn what_is_derived_can_be_made_again() {
    let bench = bench();
    let hold = bench.state.create(&new_run("t")).unwrap();
    let run = hold.run();
    let mut kinds = every_kind();
    kinds.extend([begins("i"), succeeds(json!(1)), finished(RunStatus::Succeeded)]);
    for (kind, seq) in kinds.into_iter().zip(0..) {
        bench.state.append(run, seq, 1, &[event(run, seq + 1, Some("s"), kind)], &[]).unwrap();
    }
    let derived = || (bench.state.run(run).unwrap(), bench.state.cached("t", "def", "i").unwrap());
    let before = derived();
    assert!(before.0.progress.is_some() && before.1.is_some(), "{before:?}");
    bench.state.rebuild().unwrap();
    assert_eq!(derived(), before);
}
