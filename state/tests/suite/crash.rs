//! SIGKILL in a stream of appends: what was acknowledged is there.

use crate::bench::{begins, child, child_folder, event, new_run, open, started};
use std::io::{BufRead as _, BufReader, Write as _};
use trees_core::event::RunStatus;
use trees_core::journal::{Journal, RunFilter};
use trees_core::path::RunId;
use trees_state::{Durability, State};

/// Appends for ever and says what was acknowledged.
#[test]
fn child_appends_for_ever() {
    let Some(folder) = child_folder() else { return };
    let state = State::open(folder.join(".trees"), Durability::Full).unwrap();
    let hold = state.create(&new_run("doomed")).unwrap();
    let run = hold.run();
    state.append(run, 0, 1, &[event(run, 1, None, started("doomed"))], &[]).unwrap();
    let mut out = std::io::stdout();
    for seq in 1.. {
        writeln!(out, "\nack {run} {seq}").unwrap();
        out.flush().unwrap();
        let path = format!("s{seq}");
        state.append(run, seq, 1, &[event(run, seq + 1, Some(&path), begins("i"))], &[]).unwrap();
    }
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut runs: Vec<(RunId, u64)> = Vec::new();
    for most in [1, 5, 23, 60, 111] {
        let mut child = child("crash::child_appends_for_ever", &dir).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut last = None;
        for line in lines {
            let line = line.unwrap();
            let Some(ack) = line.strip_prefix("ack ") else { continue };
            let (run, seq) = ack.split_once(' ').unwrap();
            let seq: u64 = seq.parse().unwrap();
            last = Some((RunId(run.into()), seq));
            if seq == most {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        runs.push(last.unwrap());
    }
    let state = open(&dir);
    for (run, acknowledged) in runs {
        let events = state.load(&run, 0).unwrap();
        let seqs: Vec<u64> = events.iter().map(|event| event.seq).collect();
        assert!(events.len() as u64 >= acknowledged, "{} of {acknowledged}", events.len());
        assert_eq!(seqs, (1..=events.len() as u64).collect::<Vec<_>>());
        let summary = state.run(&run).unwrap();
        assert_eq!((summary.status, summary.seq, summary.pid), (RunStatus::Interrupted, events.len() as u64, None));
        assert_eq!(state.hold(&run).unwrap().epoch(), 2, "it can be taken up again");
    }
    assert_eq!(state.runs(&RunFilter::default()).unwrap().len(), 5);
    let wrong: Vec<_> =
        State::doctor(&dir.path().join(".trees"), &|_, _, _| None).into_iter().filter(|f| f.health == trees_state::Health::Bad).collect();
    assert_eq!(wrong, []);
}
