//! Many processes on one folder: one owner a run, nobody meets a locked database.

use crate::bench::{FAR, at, begins, bench, child, child_folder, ended, event, finished, open, run_with, started, succeeds};
use serde_json::Value;
use std::io::Read as _;
#[cfg(target_os = "linux")]
use std::process::{Command, Stdio};
use std::sync::Barrier;
use trees_core::event::{EventKind, RunStatus};
use trees_core::journal::{Journal, JournalError, RequestBody, RunFilter};
use trees_core::store::Store;
use trees_state::{Durability, State};

#[test]
fn the_holder_is_named() {
    let bench = bench();
    let hold = run_with(&bench.state, "t", vec![(None, started("t"))]);
    let other = open(&bench.dir);
    let refused = other.hold(hold.run()).err().unwrap();
    assert!(matches!(&refused, JournalError::Held { pid, .. } if *pid == std::process::id()), "{refused}");
    assert_eq!(other.run(hold.run()).unwrap().pid, Some(std::process::id()));
    let run = hold.run().clone();
    drop(hold);
    assert_eq!(other.run(&run).unwrap().status, RunStatus::Interrupted);
    assert_eq!(other.hold(&run).unwrap().epoch(), 2);
}

/// `trees` was killed between fork and exec of a step: the child has the lock for a moment more.
#[cfg(target_os = "linux")]
#[test]
fn a_lock_that_a_dead_holder_left_to_a_child_is_awaited() {
    let bench = bench();
    let run = run_with(&bench.state, "t", vec![(None, started("t"))]).run().clone();
    let lock = bench.dir.path().join(".trees/runs").join(&run.0).join("lock");
    // No process has a number above the kernel's greatest.
    std::fs::write(&lock, i32::MAX.to_string()).unwrap();
    let mut child = Command::new("flock").arg(&lock).args(["-c", "echo; exec sleep 0.3"]).stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
    assert_eq!(bench.state.hold(&run).unwrap().epoch(), 2);
    child.wait().unwrap();
}

#[test]
fn of_many_that_want_a_run_one_gets_it() {
    let bench = bench();
    let run = run_with(&bench.state, "t", vec![(None, started("t"))]).run().clone();
    let states: Vec<State> = (0..16).map(|_| open(&bench.dir)).collect();
    let (start, end) = (Barrier::new(16), Barrier::new(16));
    let winners: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = states
            .iter()
            .map(|state| {
                scope.spawn(|| {
                    start.wait();
                    let hold = state.hold(&run);
                    // Nobody lets go before all have tried.
                    end.wait();
                    usize::from(hold.is_ok())
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(winners, 1);
}

#[test]
fn an_overtaken_process_is_refused() {
    let bench = bench();
    let first = run_with(&bench.state, "t", vec![(None, started("t"))]);
    let run = first.run().clone();
    // As if the kernel lock had not held: the folder was moved away and a copy put back.
    std::fs::remove_file(bench.dir.path().join(".trees/runs").join(&run.0).join("lock")).unwrap();
    let other = open(&bench.dir);
    let second = other.hold(&run).unwrap();
    assert_eq!(second.epoch(), 2);
    let late = bench.state.append(&run, 1, first.epoch(), &[event(&run, 2, Some("a"), begins("i"))], &[]);
    assert!(matches!(late, Err(JournalError::Fenced { expected: 1, found: 2 })), "{late:?}");
}

const APPENDS: u64 = 20;

/// What each child process does.
#[test]
fn child_appends() {
    let Some(folder) = child_folder() else { return };
    let state = State::open(folder.join(".trees"), Durability::Normal).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| append_some(&state));
        }
    });
}

fn append_some(state: &State) {
    let hold = run_with(state, "crowd", vec![(None, started("crowd"))]);
    let run = hold.run();
    for n in 0..APPENDS {
        let seq = 1 + 2 * n;
        let path = format!("s{n}");
        let events = [event(run, seq + 1, Some(&path), begins("i")), event(run, seq + 2, Some(&path), succeeds(Value::Null))];
        state.append(run, seq, 1, &events, &[]).unwrap();
        assert_eq!(state.requests(run).unwrap(), []);
    }
    state.append(run, 1 + 2 * APPENDS, 1, &[event(run, 2 + 2 * APPENDS, None, finished(RunStatus::Succeeded))], &[]).unwrap();
}

#[test]
fn thirty_two_runs_in_eight_processes_write_at_once() {
    // Nothing is there yet: making the database is raced for too.
    let dir = tempfile::tempdir().unwrap();
    let mut children: Vec<_> = (0..8).map(|_| child("owners::child_appends", &dir).spawn().unwrap()).collect();
    let state = open(&dir);
    while children.iter_mut().any(|child| child.try_wait().unwrap().is_none()) {
        state.runs(&RunFilter::default()).unwrap();
    }
    for child in &mut children {
        let mut text = String::new();
        child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        assert!(child.wait().unwrap().success(), "{text}");
    }
    let runs = state.runs(&RunFilter::default()).unwrap();
    let mut numbers: Vec<u64> = runs.iter().map(|run| run.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=32).collect::<Vec<u64>>());
    for run in &runs {
        assert_eq!((run.status, run.progress, run.seq), (RunStatus::Succeeded, Some(FAR), 2 + 2 * APPENDS));
        let seqs: Vec<u64> = state.load(&run.run, 0).unwrap().iter().map(|event| event.seq).collect();
        assert_eq!(seqs, (1..=run.seq).collect::<Vec<u64>>());
    }
}

#[test]
fn a_request_from_another_process_is_seen() {
    let bench = bench();
    let hold = run_with(&bench.state, "t", vec![(None, started("t"))]);
    let other = open(&bench.dir);
    for n in 1..4 {
        assert_eq!(bench.state.requests(hold.run()).unwrap().len(), n - 1);
        other.ask(hold.run(), "ann", &RequestBody::Approve { step: format!("gate{n}"), note: None }).unwrap();
        assert_eq!(bench.state.requests(hold.run()).unwrap().len(), n);
    }
}

#[test]
fn a_lock_says_who_holds_it_and_goes_with_its_holder() {
    let bench = bench();
    let run = ended(&bench.state, "t", RunStatus::Succeeded);
    let other = open(&bench.dir);
    for name in ["deploy/production", "..", "", &"long".repeat(100)] {
        let guard = bench.state.lock(name, &run).unwrap().ok().unwrap();
        let holder = other.lock(name, &run).unwrap().err().unwrap();
        assert!(holder.starts_with(&format!("run {run} (process {}) since 20", std::process::id())), "{holder}");
        assert!(other.lock("another", &run).unwrap().is_ok());
        drop(guard);
        assert!(other.lock(name, &run).unwrap().is_ok());
    }
    let inside: Vec<_> = std::fs::read_dir(bench.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(inside, [".trees"], "no name leads out of the folder");
}

#[test]
fn one_writer_takes_what_waits_together() {
    let bench = bench();
    let hold = run_with(&bench.state, "t", vec![(None, started("t"))]);
    let run = hold.run();
    // All but one of these are refused, in whatever batch they come.
    let done: usize = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..24)
            .map(|n| {
                let state = &bench.state;
                scope.spawn(move || {
                    let kind = EventKind::AttemptFailed {
                        error: trees_core::event::StepError {
                            reason: trees_core::event::ErrorReason::Exit,
                            code: None,
                            message: n.to_string(),
                            log: None,
                        },
                        retry_at: at(1),
                    };
                    state.append(run, 1, 1, &[event(run, 2, Some("a"), kind)], &[]).is_ok()
                })
            })
            .collect();
        tries.into_iter().map(|one| usize::from(one.join().unwrap())).sum()
    });
    assert_eq!(done, 1);
    assert_eq!(bench.state.load(run, 0).unwrap().len(), 2);
}
