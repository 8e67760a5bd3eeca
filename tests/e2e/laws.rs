//! What must hold of a run whatever happened to it: from the ledger that its steps kept, from what
//! the client was told, and from the recorded events.

use crate::bench::Bench;
use crate::live::processes_of;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};

/// A line of shell that steps write into the ledger with: `mark start`, `mark end`. One write with
/// `O_APPEND` a line; what was written outlives any process.
pub const MARK: &str = "mark() { echo \"$TREES_STEP $TREES_ATTEMPT $1\" >> ledger; }\n";

/// What a client was told before each kill: the steps that were done, and the ledger's length then.
#[derive(Default)]
pub struct Told {
    done: Vec<(HashSet<String>, usize)>,
}

impl Told {
    /// Takes down what the events of a sitting said, once it has ended.
    pub fn note(&mut self, bench: &Bench, events: &[Value]) {
        let done = |e: &&Value| e["type"] == "step_succeeded";
        let mut all = self.done.last().map(|(all, _)| all.clone()).unwrap_or_default();
        all.extend(events.iter().filter(done).filter_map(|e| e["step"].as_str()).map(str::to_owned));
        self.done.push((all, ledger(bench).len()));
    }

    /// No step that was done is started again (but `finally`, which runs whenever the run ends).
    #[track_caller]
    pub fn holds(&self, bench: &Bench) {
        let lines = ledger(bench);
        for (done, length) in &self.done {
            for line in &lines[*length..] {
                let step = line.split(' ').next().unwrap();
                let again = line.ends_with(" start") && done.contains(step) && !step.starts_with("finally/");
                assert!(!again, "`{line}` after its success was told; the ledger:\n{}", lines.join("\n"));
            }
        }
    }
}

/// The ledger's lines.
pub fn ledger(bench: &Bench) -> Vec<String> {
    std::fs::read_to_string(bench.path("ledger")).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// The recorded events of a run.
#[track_caller]
pub fn events(bench: &Bench, run: &str) -> Vec<Value> {
    let printed = bench.run(&["events", run, "--format", "json"]).expect(0).stdout;
    printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The laws of the recorded events: numbers without a gap, nothing after the end of a sitting, no
/// start after a success, the last status.
#[track_caller]
pub fn of_events(events: &[Value], status: &str) {
    let mut done: HashSet<&str> = HashSet::new();
    for (n, event) in events.iter().enumerate() {
        assert_eq!(event["seq"], n + 1, "a gap before {event}");
        let step = event["step"].as_str().unwrap_or_default();
        match event["type"].as_str().unwrap() {
            "step_started" => assert!(!done.contains(step) || step.starts_with("finally/"), "started again: {event}"),
            "step_succeeded" | "step_cached" => {
                done.insert(step);
            }
            _ => {}
        }
    }
    let last = events.last().unwrap();
    assert_eq!((last["type"].as_str(), last["status"].as_str()), (Some("run_finished"), Some(status)), "{last}");
}

/// Every need's end comes before the dependant's start. `needs` are by step.
#[track_caller]
pub fn of_order(events: &[Value], needs: &BTreeMap<String, Vec<String>>) {
    let mut done: HashSet<&str> = HashSet::new();
    for event in events {
        let step = event["step"].as_str().unwrap_or_default();
        match event["type"].as_str().unwrap() {
            "step_started" => {
                let missing: Vec<&String> = needs.get(step).into_iter().flatten().filter(|need| !done.contains(need.as_str())).collect();
                assert!(missing.is_empty(), "{step} started before the end of {missing:?}");
            }
            "step_succeeded" | "step_cached" => {
                done.insert(step);
            }
            _ => {}
        }
    }
}

/// After the end of a run: nothing of it lives, and resuming it does nothing.
#[track_caller]
pub fn of_rest(bench: &Bench, run: &str) {
    let left = processes_of(run);
    assert!(left.is_empty(), "still there: {left:?}");
    let before = ledger(bench);
    bench.run(&["resume", run]).expect(0);
    assert_eq!(ledger(bench), before, "the resume of a run that succeeded did something");
}
