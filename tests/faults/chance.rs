//! How much is tried, and the numbers that decide what: all from seeds that a failure names.

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

/// A stream of numbers (splitmix64).
pub struct Chance(pub u64);

impl Chance {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// One below `bound`, which is more than 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// One from 0 to 1.
    pub fn fraction(&mut self) -> f64 {
        f64::from(u32::try_from(self.below(1 << 32)).unwrap()) / f64::from(u32::MAX)
    }

    /// One of a list.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let index = self.below(u64::try_from(of.len()).unwrap());
        &of[usize::try_from(index).unwrap()]
    }
}
