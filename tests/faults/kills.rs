//! Crash at any time: `trees` is killed at a uniform random moment, up to three times in one run.

use crate::chance::{Chance, each_seed, seeds};
use crate::sample::{Sample, shapes};
use crate::verdict::{Reference, Trial};
use std::hint::spin_loop;
use std::time::{Duration, Instant};

/// Of one run, at most.
const KILLS: u64 = 3;

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

/// A moment is a number of microseconds: it is the case itself, and no wait for anything.
fn pass(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        spin_loop();
    }
}
