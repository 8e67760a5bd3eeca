//! The run state machine, played by hand: given this tree and these inputs, these events.
//!
//! A script has a turn a line; [`stage::check`] tells its words. Each turn gives one line: the events
//! as `step:type#attempt`, then what is asked of the world after `>`.

#![expect(clippy::unwrap_used, reason = "a test: what is impossible may end it")]

mod limits;
mod people;
mod places;
mod progress;
mod rules;
mod select;
mod stage;
mod unknown;
