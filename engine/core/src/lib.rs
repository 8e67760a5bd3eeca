//! The pure heart of `trees`: the tree language, the checked tree, the run state machine, its
//! events and hashes.
//!
//! Nothing in this crate reads a file, a clock, the environment or a random number; what it needs
//! of the world arrives as a value. Read [`tree::Tree`] first (what a tree file means once it is
//! checked), then [`event::Event`] (what can happen to a run), then [`run::Run`] (what follows).

pub mod diagnostic;
pub mod event;
pub mod expr;
pub mod hash;
pub mod journal;
pub mod language;
pub mod path;
pub mod run;
pub mod shell;
pub mod store;
pub mod tree;
pub mod trial;
pub mod units;
