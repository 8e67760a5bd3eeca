//! The run state machine against a seeded world: random trees, failures, cancels, approvals, and a
//! crash after every event. Any failure names the seed that repeats it.
//!
//! `TREES_SEEDS=100000` runs more seeds, `TREES_SEED=7` one of them.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test: what is impossible may end it, and the environment widens it")]

mod forest;
mod laws;
mod world;

use forest::Forest;
use laws::Laws;
use std::ops::Range;
use world::{Plan, World};

fn seeds(default: u64) -> Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    match number("TREES_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TREES_SEEDS").unwrap_or(default),
    }
}

/// Random trees run to an end, with failures, cancels, crashes and people that answer late.
#[test]
fn every_run_obeys_the_laws() {
    for seed in seeds(1_000) {
        let forest = Forest::grow(seed);
        let mut world = World::new(&forest, seed, Plan::wild(seed));
        world.run_to_the_end();
        Laws::of(&forest, &world).check();
    }
}

/// A run goes on from every prefix of its journal, and ends within the laws.
#[test]
fn a_crash_after_every_event_is_survived() {
    for seed in seeds(40) {
        let forest = Forest::grow(seed);
        let mut world = World::new(&forest, seed, Plan::wild(seed));
        world.run_to_the_end();
        for cut in 1..world.journal.len() {
            let mut again = World::from_prefix(&forest, seed, &world, cut);
            again.run_to_the_end();
            Laws::of(&forest, &again).check();
        }
    }
}

/// Runs that are taken back, by their tree or by a person, with undos that fail and crashes.
#[test]
fn what_was_done_is_taken_back() {
    for seed in seeds(1_000) {
        let forest = Forest::grow_undoable(seed);
        let mut world = World::new(&forest, seed, Plan::backwards(seed));
        world.run_to_the_end();
        Laws::of(&forest, &world).check();
    }
}

/// A rollback goes on from every prefix of its journal.
#[test]
fn a_crash_after_every_event_of_a_rollback_is_survived() {
    for seed in seeds(40) {
        let forest = Forest::grow_undoable(seed);
        let mut world = World::new(&forest, seed, Plan::backwards(seed));
        world.run_to_the_end();
        for cut in 1..world.journal.len() {
            let mut again = World::from_prefix(&forest, seed, &world, cut);
            again.run_to_the_end();
            Laws::of(&forest, &again).check();
        }
    }
}

/// The journal alone tells what the world said, and the scheduler decides the same again. Here any answer may come at
/// any time, so that what was said in silence is now and then ambiguous: it is asked of these seeds.
#[test]
fn every_run_is_decided_the_same_again() {
    for seed in seeds(120).take(300) {
        let (wild, undoable) = (Forest::grow(seed), Forest::grow_undoable(seed));
        for (forest, plan) in [(&wild, Plan::wild(seed)), (&undoable, Plan::backwards(seed))] {
            let mut world = World::new(forest, seed, plan);
            world.run_to_the_end();
            Laws::of(forest, &world).check_again();
        }
    }
}

/// The same seed gives the same journal.
#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in seeds(50) {
        let forest = Forest::grow(seed);
        let trace = || {
            let mut world = World::new(&forest, seed, Plan::wild(seed));
            world.run_to_the_end();
            world.journal
        };
        assert_eq!(trace(), trace(), "seed {seed}");
    }
}

/// Without faults and with a willing person every step of a tree without conditions succeeds.
#[test]
fn a_calm_world_succeeds() {
    for seed in seeds(300) {
        let forest = Forest::grow_calm(seed);
        let mut world = World::new(&forest, seed, Plan::calm());
        world.run_to_the_end();
        Laws::of(&forest, &world).check();
        let last = world.journal.last().map(|e| format!("{:?}", e.kind)).unwrap_or_default();
        assert!(last.starts_with("RunFinished { status: Succeeded,"), "seed {seed}: {last}\n{}", forest.text);
    }
}
