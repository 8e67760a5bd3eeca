//! What must hold whatever bytes come: a module a target, each with one `run(data)` that panics
//! where it does not hold.
//!
//! These are the only bodies: the fuzzer calls them by `fuzz_targets/`, and the test `fuzz` of the
//! workspace calls them with every file of `corpus/`, by `#[path]`. They know public functions only.

pub mod archive;
pub mod dotenv;
pub mod event;
pub mod masker;
pub mod outputs;
pub mod pieces;
pub mod places;
pub mod script;
pub mod template;
pub mod tree;
pub mod trial;
pub mod units;

/// Panics where something does not hold.
pub type Target = fn(&[u8]);

/// All targets by the names of their folders in `corpus/`.
pub const TARGETS: [(&str, Target); 11] = [
    ("archive", archive::run),
    ("dotenv", dotenv::run),
    ("event", event::run),
    ("masker", masker::run),
    ("outputs", outputs::run),
    ("pieces", script::pieces),
    ("script", script::run),
    ("template", template::run),
    ("tree", tree::run),
    ("trial", trial::run),
    ("units", units::run),
];
