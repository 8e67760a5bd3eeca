//! How much is tried, and the numbers that decide what: all from seeds that a failure names.

pub use crate::numbers::Chance;
use std::fmt::Debug;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Whether the long form is asked for: `TREES_FAULTS=long`, which `./test --faults` sets.
pub fn is_long() -> bool {
    std::env::var("TREES_FAULTS").is_ok_and(|form| form == "long")
}

/// One of two numbers, by the form.
pub fn size<T>(short: T, long: T) -> T {
    if is_long() { long } else { short }
}

/// The seeds of a case: as many as the form says from 1 on, or the one that `TREES_SEED` names.
pub fn seeds(short: u64, long: u64) -> Range<u64> {
    match std::env::var("TREES_SEED").ok().map(|text| text.parse::<u64>().expect("TREES_SEED is a number")) {
        Some(seed) => seed..seed + 1,
        None => 1..size(short, long) + 1,
    }
}

/// Does something for each seed, two at a time; a failure names its seed.
pub fn each_seed<R: Debug>(seeds: Range<u64>, work: impl Fn(u64) -> R + Sync) {
    let next = AtomicU64::new(seeds.start);
    let worker = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(seed))) {
                next.store(seeds.end, Ordering::Relaxed);
                eprintln!("failed with seed {seed}: repeat it with TREES_SEED={seed}");
                resume_unwind(panic);
            }
        }
    };
    thread::scope(|scope| {
        let workers = [scope.spawn(worker), scope.spawn(worker)];
        let ends = workers.map(thread::ScopedJoinHandle::join);
        if let Some(panic) = ends.into_iter().find_map(Result::err) {
            resume_unwind(panic);
        }
    });
}
