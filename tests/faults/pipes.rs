//! A held pipe: a step ends, and what it left keeps its standard output open. The step is done all
//! the same.

use crate::place::Place;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// From the end of the step's own process to the word that it is done.
const BOUND: Duration = Duration::from_millis(500);
/// No try may take longer, however busy the machine: a pipe that is waited for is held for a minute.
const WORST: Duration = Duration::from_secs(1);
/// The median of so many tries counts: a machine that is busy may be late once or twice.
const TRIES: usize = 5;

/// What the step leaves behind, and whether it may stay.
const HOLDERS: &[(&str, &str, bool)] = &[
    ("child", "sleep 60 &", false),
    ("grandchild", "(sleep 60 &) &", false),
    ("session", "setsid sleep 60 &", false),
    ("nohup", "nohup sleep 60 &", false),
    ("writer", "(while :; do echo still; sleep 0.01; done) &", false),
    ("flood", "yes &", false),
    ("allowed", "sleep 60 &", true),
];

#[test]
fn a_step_whose_output_is_held_is_done() {
    let mut all = Vec::new();
    for (name, script, stays) in HOLDERS {
        let mut tries: Vec<Duration> = (0..TRIES).map(|_| held(name, script, *stays)).collect();
        tries.sort_unstable();
        let took = tries[TRIES / 2];
        assert!(took <= BOUND, "{name} was done more than {BOUND:?} after its end: {tries:?}");
        let worst = tries[TRIES - 1];
        assert!(worst <= WORST, "{name} was done more than {WORST:?} after its end: {tries:?}");
        all.push(format!("{name} {took:.0?} and {worst:.0?}"));
    }
    println!("pipes: done after the step's own end, the median of {TRIES} and the worst: {}", all.join(", "));
}

fn held(name: &str, script: &str, stays: bool) -> Duration {
    let place = Place::with(&format!(
        "tree: pipes\nsteps:\n  {name}:\n    leave_running: {stays}\n    run: |\n      {script}\n      echo before\n      date +%s%N > ended\n"
    ));
    let mut sitting = place.start(&["run", "tree.yaml", "--format", "json"]);
    sitting.until("step_succeeded", name);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let ended = Duration::from_nanos(place.read("ended").trim().parse().unwrap());
    let took = now.saturating_sub(ended);
    sitting.end().expect(0);
    let log = place.run(&["logs", "@last", name]).expect(0).stdout;
    assert!(log.contains("before\n"), "{name}: {log}");
    let left = place.processes();
    assert_eq!(left.len(), usize::from(stays), "{name} left {left:?}");
    place.end();
    took
}
