//! Process trees: whatever a step has started, however it hid it, is gone once the step was
//! cancelled, timed out, or its engine was killed and the run resumed.

use crate::place::Place;
use crate::sitting::{PATIENCE, Sitting};
use crate::verdict::KILLED;
use crate::waiting;
use rustix::process::Signal;
use std::fmt::Display;
use std::thread;
use std::time::{Duration, Instant};

/// From the first signal to SIGTERM, as `--grace` says.
const GRACE: Duration = Duration::from_millis(300);
/// From SIGTERM to SIGKILL, as the page on the command line says.
const KILL: Duration = Duration::from_secs(5);
/// What the bound leaves for the rest.
const SLACK: Duration = Duration::from_secs(1);

/// The ways a step's processes hide. Each makes as many as `COUNT` says and then `touch`es nothing:
/// the step itself says when all of them are there.
const SHAPES: &[(&str, &str, usize)] = &[
    ("chain", "deep 20", 20),
    ("sessions", "apart 20", 20),
    ("session", "setsid sleep 600 &", 1),
    ("twice", "(setsid sh -c 'sleep 600 & exit 0' &)", 1),
    ("nohup", "nohup sleep 600 > /dev/null 2>&1 &", 1),
    ("deaf", "sh -c 'trap \"\" TERM; while :; do sleep 600 || :; done' &", 2),
    ("crowd", "n=0; while [ $n -lt 200 ]; do sleep 600 & n=$((n+1)); done", 200),
];

/// How the step is ended.
#[derive(Debug, Clone, Copy)]
enum Way {
    Interrupt,
    Twice,
    Thrice,
    Terminate,
    Hangup,
    Cancel,
    CancelNow,
    Timeout,
    Deadline,
    Crash,
}

impl Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Chains: each level starts the next and waits for it, in its own session in the second.
const HELPER: &str = r#"
set -e
case $1 in
  deep)  [ "$2" -gt 1 ] && { sh ./helper deep $(($2 - 1)) & } || exec sleep 600; wait ;;
  apart) [ "$2" -gt 1 ] && { setsid sh ./helper apart $(($2 - 1)) & } || exec sleep 600; wait ;;
esac
"#;

#[test]
fn nothing_is_left_of_a_step_that_was_ended() {
    let ways = [[Way::Interrupt, Way::Terminate, Way::Cancel, Way::Timeout], [Way::Twice, Way::Hangup, Way::CancelNow, Way::Deadline]];
    let slowest = ways.map(|ways| {
        thread::scope(|scope| {
            let all = ways.map(|way| scope.spawn(move || (way, ended(way))));
            all.map(|one| one.join().unwrap())
        })
    });
    // The bounds of these are short: they are not measured while the others load the machine.
    let quick = [Way::Thrice, Way::Crash].map(|way| (way, ended(way)));
    let count: usize = SHAPES.iter().map(|(_, _, count)| count).sum();
    for (way, took) in slowest.into_iter().flatten().chain(quick) {
        println!("descent: {way}: {count} processes of {} steps gone after {took:.2?}", SHAPES.len());
    }
}

/// How long it took until nothing was left.
fn ended(way: Way) -> Duration {
    let place = Place::with(&tree(way));
    place.write("helper", HELPER);
    let grace = format!("{}ms", GRACE.as_millis());
    let mut sitting = place.start(&["run", "tree.yaml", "--grace", &grace, "--format", "json"]);
    let run = sitting.until("run_started", "")["run"].as_str().unwrap().to_owned();
    sitting.until("step_succeeded", "ready");
    let begun = Instant::now();
    let mut sitting = end(way, &place, &run, &grace, sitting);
    let took = begun.elapsed();
    let (code, within) = match way {
        Way::Interrupt => (130, GRACE + KILL),
        // The second asks for SIGTERM at once, the third for SIGKILL.
        Way::Twice => (130, KILL),
        Way::Thrice => (130, Duration::ZERO),
        Way::Terminate => (143, GRACE + KILL),
        Way::Hangup => (129, GRACE + KILL),
        Way::Cancel | Way::CancelNow => (1, GRACE + KILL),
        // The time itself runs from the start of the step, or of the run.
        Way::Timeout | Way::Deadline => (1, TIMEOUT + GRACE + KILL),
        Way::Crash => (0, GRACE),
    };
    let told = sitting.end();
    assert!(told.code != KILLED, "{way}: it has not ended after {PATIENCE:?}");
    told.expect(code);
    let left = place.processes();
    assert!(left.is_empty(), "{way}: {} are left:\n{}", left.len(), left.join("\n"));
    assert!(took <= within + SLACK, "{way}: nothing was left only after {took:?}");
    took
}

/// Ends what runs, up to the word that it has ended; the sitting that said it.
fn end(way: Way, place: &Place, run: &str, grace: &str, mut sitting: Sitting) -> Sitting {
    match way {
        Way::Interrupt => sitting.signal(Signal::INT),
        Way::Twice | Way::Thrice => {
            // Each after the word about the one before has come to the steps.
            sitting.signal(Signal::INT);
            heard(place, "INT");
            sitting.signal(Signal::INT);
            if matches!(way, Way::Thrice) {
                heard(place, "TERM");
                sitting.signal(Signal::INT);
            }
        }
        Way::Terminate => sitting.signal(Signal::TERM),
        Way::Hangup => sitting.signal(Signal::HUP),
        Way::Cancel => drop(place.run(&["cancel", run]).expect(0)),
        Way::CancelNow => drop(place.run(&["cancel", run, "--now"]).expect(0)),
        Way::Timeout | Way::Deadline => {}
        Way::Crash => {
            sitting.kill();
            place.write("again", "");
            // What was left is gone when the first thing is recorded.
            let mut next = place.start(&["resume", run, "--grace", grace, "--format", "json"]);
            next.until("run_resumed", "");
            return next;
        }
    }
    sitting.rest(PATIENCE);
    sitting
}

/// Waits until a step says that it got a signal.
fn heard(place: &Place, signal: &str) {
    let path = place.path(&format!("heard-{signal}"));
    waiting::until(&place.path(""), &format!("the step to hear of {signal}"), || path.exists());
}

/// Long enough for every step to be whole by then.
const TIMEOUT: Duration = Duration::from_secs(3);

/// A step for each shape, and one that ends when all of them are there.
fn tree(way: Way) -> String {
    let deadline = if matches!(way, Way::Deadline) { format!("deadline: {}ms\n", TIMEOUT.as_millis()) } else { String::new() };
    let mut tree = format!("tree: descent\nmax_parallel: 20\n{deadline}steps:\n");
    let timeout = if matches!(way, Way::Timeout) { format!("\n    timeout: {}ms", TIMEOUT.as_millis()) } else { String::new() };
    for (name, script, count) in SHAPES {
        let script = script.replace("deep 20", "sh ./helper deep 20 &").replace("apart 20", "sh ./helper apart 20 &");
        tree += &format!(
            "  {name}:{timeout}\n    run: |\n      if [ -e again ]; then exit 0; fi\n      export SHAPE={name}\n      {script}\n      until [ \"$(grep -slz '^SHAPE={name}$' /proc/[0-9]*/environ | wc -l)\" -ge {count} ]; do sleep 0.1; done\n      : > {name}.there\n      while :; do sleep 600 || :; done\n"
        );
    }
    tree += &format!("  listens:{timeout}\n");
    tree += "    run: |\n      if [ -e again ]; then exit 0; fi\n      trap ': > heard-INT' INT\n      trap ': > heard-TERM' TERM\n      : > listens.there\n      while :; do sleep 600 || :; done\n";
    let names = SHAPES.iter().map(|(name, ..)| *name).chain(["listens"]);
    let there: Vec<String> = names.map(|name| format!("[ -e {name}.there ]")).collect();
    tree + &format!("  ready:\n    run: |\n      until {}; do sleep 0.05; done\n", there.join(" && "))
}
