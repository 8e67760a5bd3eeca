//! Crash at any time: `trees` is killed at a uniform random moment, up to three times in one run.

use crate::chance::{Chance, each_seed, seeds, size};
use crate::place::Place;
use crate::sample::{Sample, shapes, unknown};
use crate::verdict::{Reference, Trial};
use std::hint::spin_loop;
use std::time::{Duration, Instant};

/// Of one run, at most.
const KILLS: u64 = 3;
/// What was in flight at a crash is settled by then.
const CLASSIFIED: Duration = Duration::from_secs(2);

#[test]
fn killed_at_any_moment() {
    let sample = shapes();
    let reference = Reference::of(&sample);
    each_seed(seeds(60, 1_000), |seed| disturbed(seed, &sample, &reference));
}

fn disturbed(seed: u64, sample: &Sample, reference: &Reference) {
    let mut chance = Chance(seed);
    let mut trial = Trial::new(sample);
    for _ in 0..=chance.below(KILLS) {
        let mut sitting = trial.sit();
        pass(reference.took.mul_f64(chance.fraction()));
        let told = sitting.kill();
        trial.note_crash(told);
    }
    trial.finish();
    trial.judge(reference);
}

/// Steps that never begin twice by themselves: a person says what became of them, and the run goes on.
#[test]
fn what_is_unknown_waits_for_a_person() {
    let sample = unknown();
    let reference = {
        let place = sample.place();
        place.write("go", "");
        Reference::at(&place)
    };
    let rounds = size(3, 50);
    for _ in 0..rounds {
        let mut trial = Trial::new(&sample);
        let mut sitting = trial.sit();
        for step in ["again", "asks", "fails"] {
            trial.place.until_marked(step, "start");
        }
        let told = sitting.kill();
        trial.note_crash(told);
        trial.place.write("go", "");
        // One rests, one has failed; neither begins again, however often it is tried.
        for _ in 0..2 {
            trial.finish().expect(3);
        }
        for step in &sample.once {
            trial.place.run(&["resolve", &trial.run, step, "--done"]).expect(0);
        }
        trial.finish().expect(0);
        trial.judge(&reference);
        let starts = |step: &str| trial.place.ledger().marked("start").iter().filter(|(s, _)| *s == step).count();
        assert_eq!(["again", "asks", "fails", "after"].map(starts), [2, 1, 1, 1], "{}", trial.place.ledger());
    }
    println!("kills: {rounds} with outcomes that a person settled: none began twice, 0 violations");
}

/// Nothing stays "running" after a crash: what was in flight is found, ended and settled at once.
#[test]
fn what_was_in_flight_is_classified_in_two_seconds() {
    let count = size(50, 200);
    let items: Vec<String> = (0..count).map(|n| n.to_string()).collect();
    let items = items.join(", ");
    let tree = format!(
        "tree: crowd\nmax_parallel: {count}\nsteps:\n  each: {{ foreach: {{ items: [{items}] }}, on_crash: ask, run: '. ./mark; mark start; exec sleep 600' }}\n"
    );
    let place = Place::with(&tree);
    let mut sitting = place.start(&["run", "tree.yaml", "--format", "json"]);
    (0..count).for_each(|n| place.until_marked(&format!("each[{n}]"), "start"));
    sitting.kill();
    let begun = Instant::now();
    let told = place.run(&["resume", "@last", "--format", "json"]).expect(3);
    let took = begun.elapsed();
    let settled = told.events().iter().filter(|event| event["type"] == "step_interrupted").count();
    assert_eq!(settled as u64, count, "{}", told.stdout);
    let left = place.processes();
    assert!(left.is_empty(), "{} are left:\n{}", left.len(), left.join("\n"));
    assert!(took <= CLASSIFIED, "{count} steps in flight were settled after {took:?}");
    println!("kills: {count} steps in flight: ended and settled {took:.2?} after the resume began");
}

/// A moment is a number of microseconds: it is the case itself, and no wait for anything.
fn pass(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        spin_loop();
    }
}
