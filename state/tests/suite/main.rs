//! The state folder from outside: one journal suite over memory and SQLite, then what only a
//! folder on a disk can do.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod artifacts;
mod audit;
mod bench;
mod care;
mod crash;
mod damage;
mod export;
mod journal;
mod listing;
mod owners;
mod secrets;
